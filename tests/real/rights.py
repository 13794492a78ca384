"""What keyturn's account may do in a cluster: exactly what `keyturn permissions` says that its credentials need."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from ruamel.yaml import YAML

import runbooks
from adapters.kubernetes.grants import grants
from bot.catalog import Catalog
from bot.core.runbook_file import load
from bot.engine.needs import needed_by_runbook

Rule = tuple[str, str, str, tuple[str, ...]]
"""Group, resource, verb, and the names that it is limited to."""
SHIPPED = Path(runbooks.__path__[0])


def rules(namespace: str, *credentials: Mapping[str, Any], files: Collection[Path] = ()) -> list[dict[str, Any]]:
    """The rules of a Role for credentials as settings declare them, by shipped runbooks or by `files`."""
    books = {path.stem: path for path in (*SHIPPED.glob("*.yaml"), *files)}
    catalog, needed = Catalog({}, _no_secrets), set[str]()
    for each in credentials:
        needed |= needed_by_runbook(catalog, load(books[each["runbook"]]).runbook, each["inputs"])["kubernetes"]
    granted = grants(sorted(needed), "values", {"cluster": "default"})
    if granted.problems:
        raise ValueError("; ".join(granted.problems))
    found: list[dict[str, Any]] = YAML(typ="safe").load(granted.text)["rbac"]["namespaces"][namespace]
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
