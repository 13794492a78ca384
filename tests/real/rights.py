"""What keyturn's account may do in a cluster: exactly what `keyturn permissions` says that its credentials need."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import yaml

import runbooks
from adapters.kubernetes.grants import grants
from bot.catalog import Catalog
from bot.core.runbook_file import load
from bot.engine.needs import needed_by_runbook
from playground.cluster.cluster import RBAC, Cluster

Rule = tuple[str, str, str, tuple[str, ...]]
"""Group, resource, verb, and the names that it is limited to."""
SHIPPED = Path(runbooks.__path__[0])


def rules(namespace: str, *credentials: Mapping[str, Any], files: Collection[Path] = ()) -> list[dict[str, Any]]:
    """The rules of a Role for credentials as settings declare them, by shipped runbooks or by `files`."""
    found: list[dict[str, Any]] = _rbac(credentials, files)["namespaces"][namespace]
    return found


@contextmanager
def account(
    cluster: Cluster, namespace: str, *credentials: Mapping[str, Any], without: Rule | None = None
) -> Iterator[str]:
    """A service account that may do just that, in the whole cluster too; `without` one rule. Its `namespace/name`."""
    everywhere: list[dict[str, Any]] = _rbac(credentials, ())["cluster"]
    allowed = [_less(rule, without) for rule in rules(namespace, *credentials)]
    name = cluster.account(namespace, "keyturn", [rule for rule in allowed if rule["verbs"]])
    whole = {"apiVersion": f"{RBAC}/v1", "metadata": {"name": f"{namespace}-keyturn"}}
    subject = {"kind": "ServiceAccount", "name": "keyturn", "namespace": namespace}
    ref = {"apiGroup": RBAC, "kind": "ClusterRole", "name": f"{namespace}-keyturn"}
    made: list[dict[str, Any]] = [
        whole | {"kind": "ClusterRole", "rules": everywhere},
        whole | {"kind": "ClusterRoleBinding", "roleRef": ref, "subjects": [subject]},
    ]
    cluster.apply(*made)
    try:
        yield name
    finally:
        for each in made:
            cluster.api.delete(cluster.api.path_of(each))


def _less(rule: Mapping[str, Any], without: Rule | None) -> dict[str, Any]:
    return {**rule, "verbs": [verb for verb in rule["verbs"] if without not in flat([{**rule, "verbs": [verb]}])]}


def _rbac(credentials: Collection[Mapping[str, Any]], files: Collection[Path]) -> dict[str, Any]:
    books = {path.stem: path for path in (*SHIPPED.glob("*.yaml"), *files)}
    catalog, needed = Catalog({}, _no_secrets), set[str]()
    for each in credentials:
        needed |= needed_by_runbook(catalog, load(books[each["runbook"]]).runbook, each["inputs"])["kubernetes"]
    granted = grants(sorted(needed), "values", {"cluster": "default"})
    if granted.problems:
        raise ValueError("; ".join(granted.problems))
    found: dict[str, Any] = yaml.safe_load(granted.text)["rbac"]
    return found


def flat(found: Iterable[Mapping[str, Any]]) -> set[Rule]:
    """Rules taken apart, so that two ways of writing the same are the same."""
    return {
        (group, resource, verb, tuple(sorted(rule.get("resourceNames") or ())))
        for rule in found
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def _no_secrets() -> NoReturn:
    raise AssertionError("describing what is needed reads no secrets")
