"""The least that a service account has to be granted: permissions as Roles of Kubernetes, or as values of the chart."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from adapters.kubernetes.admission import policy
from adapters.kubernetes.permissions import CLUSTER_WIDE, Permission, parse
from bot.contracts.adapter import Granted
from bot.core.errors import Permanent

RBAC = "rbac.authorization.k8s.io"
ROLE = "keyturn-rotation"
_OWN_RULE = frozenset({"create"})
_UNTOLD = "the names come from what is found when it runs: every one in the namespace"
_ANYBODY = frozenset({"selfsubjectaccessreviews"})
"""What every account that is authenticated may ask."""


@dataclass(frozen=True, slots=True, order=True)
class Rule:
    """One rule of a Role; no names means every object of the kind in the namespace."""

    group: str
    resource: str
    verbs: tuple[str, ...]
    names: tuple[str, ...] = ()

    @property
    def is_broad(self) -> bool:
        """Whether it changes, or reads in full, objects that nobody has named."""
        return not self.names and bool({"get", "update", "patch", "delete"} & set(self.verbs))

    @property
    def creates_secrets(self) -> bool:
        """Whether an admission policy has to say which ones."""
        return (self.group, self.resource) == ("", "secrets") and "create" in self.verbs

    def lines(self) -> Iterator[str]:
        """As an entry of a YAML list."""
        if self.is_broad:
            yield f"# {_UNTOLD}"
        yield f"- apiGroups: {json.dumps([self.group])}"
        yield f"  resources: {json.dumps([self.resource])}"
        if self.names:
            yield f"  resourceNames: {json.dumps(list(self.names))}"
        yield f"  verbs: {json.dumps(list(self.verbs))}"


@dataclass(slots=True)
class Rules:
    """The rules per namespace and those of the cluster, and what cannot be granted with a reason for each."""

    namespaces: dict[str, list[Rule]] = field(default_factory=dict)
    cluster: list[Rule] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def grants(permissions: Collection[str], form: str, where: Mapping[str, str]) -> Granted:
    """Text to apply: `roles` with an admission policy where one is needed, or `values` for the chart.

    `where` says for which `cluster`, and for `roles` for which service account (`account`, `namespace`).
    """
    cluster = where.get("cluster", "default")
    rules = rules_of([parse(text) for text in permissions], cluster)
    head = [f"# What keyturn has to be granted in cluster {cluster}; made by `keyturn permissions --{form}`."]
    if form == "values":
        lines = [*head, *_values(rules)]
    elif form == "roles":
        lines = [*head, *_roles(rules, where.get("account", "keyturn"), where.get("namespace", "keyturn"))]
    else:
        raise Permanent(f"Kubernetes is not granted as {form}.", "Say --roles or --values.")
    return Granted("\n".join([*lines, ""]), tuple(rules.problems))


def rules_of(permissions: Sequence[Permission], cluster: str) -> Rules:
    """The least rules for these permissions in one cluster: what is wanted of one object is one rule with its name."""
    wanted: dict[tuple[str, str, str, str], set[str]] = {}
    found = Rules()
    for one in permissions:
        if one.cluster not in ("", cluster) or one.resource in _ANYBODY:
            continue
        if problem := _problem(one):
            found.problems.append(problem)
            continue
        namespace = "" if one.resource in CLUSTER_WIDE else one.namespace
        for verb in one.verbs:
            name = "" if verb in ("list", "watch") or (verb == "create" and not one.subresource) else one.name
            wanted.setdefault((namespace, one.group, _resource(one), name), set()).add(verb)
    per_namespace: dict[str, list[Rule]] = {}
    for (namespace, group, resource, name), verbs in wanted.items():
        if name:  # what every object of the kind may get need not be said again for this one
            verbs = verbs - wanted.get((namespace, group, resource, ""), set())
        for part in (verbs & _OWN_RULE, verbs - _OWN_RULE) if not name else (verbs,):
            if part:
                rule = Rule(group, resource, tuple(sorted(part)), (name,) if name else ())
                per_namespace.setdefault(namespace, []).append(rule)
    merged = {namespace: _merged(rules) for namespace, rules in sorted(per_namespace.items())}
    found.cluster = merged.pop("", [])
    found.namespaces = merged
    found.problems.sort()
    return found


def _problem(one: Permission) -> str:
    """Why this cannot be granted; empty when it can."""
    told = f"{_resource(one)}{f'.{one.group}' if one.group else ''}: {', '.join(one.verbs)}"
    if one.resource in CLUSTER_WIDE:
        return ""
    if not one.namespace:
        return f"{told}: nobody says in which namespace, so nothing is granted; give it as an input of the credential"
    if one.resource == "secrets" and not one.subresource and not one.name and set(one.verbs) - _OWN_RULE:
        return (
            f"{told} in {one.namespace}: Secrets are granted by name only, and this one's is not known; "
            "give it as an input of the credential"
        )
    if one.resource == "serviceaccounts" and one.subresource == "token" and not one.name:
        return (
            f"{told} in {one.namespace}: tokens are granted for one service account each, and this one's name is not "
            "known; give it as an input of the credential"
        )
    return ""


def _resource(one: Permission) -> str:
    return f"{one.resource}/{one.subresource}" if one.subresource else one.resource


def _merged(rules: Sequence[Rule]) -> list[Rule]:
    """Rules that differ in their names alone become one."""
    names: dict[tuple[str, str, tuple[str, ...]], set[str]] = {}
    whole: list[Rule] = []
    for rule in rules:
        if rule.names:
            names.setdefault((rule.group, rule.resource, rule.verbs), set()).update(rule.names)
        else:
            whole.append(rule)
    return sorted([*whole, *(Rule(*key, tuple(sorted(found))) for key, found in names.items())])


def _values(rules: Rules) -> Iterator[str]:
    yield "rbac:"
    yield "  namespaces:" if rules.namespaces else "  namespaces: {}"
    for namespace, found in rules.namespaces.items():
        yield f"    {json.dumps(namespace)}:"
        yield from _indented(found, 6)
    yield "  cluster:" if rules.cluster else "  cluster: []"
    yield from _indented(rules.cluster, 4)


def _roles(rules: Rules, account: str, home: str) -> Iterator[str]:
    for namespace, found in rules.namespaces.items():
        yield from _granted("Role", namespace, found, account, home)
    if rules.cluster:
        yield from _granted("ClusterRole", "", rules.cluster, account, home)
    if any(rule.creates_secrets for found in rules.namespaces.values() for rule in found):
        yield from policy(account, home)


def _granted(kind: str, namespace: str, rules: Sequence[Rule], account: str, home: str) -> Iterator[str]:
    """A role, and its binding to the account."""
    for what in (kind, f"{kind}Binding"):
        yield from ("---", f"apiVersion: {RBAC}/v1", f"kind: {what}", "metadata:", f"  name: {ROLE}")
        if namespace:
            yield f"  namespace: {json.dumps(namespace)}"
        if what == kind:
            yield "rules:"
            yield from _indented(rules, 2)
        else:
            yield from ("roleRef:", f"  apiGroup: {RBAC}", f"  kind: {kind}", f"  name: {ROLE}", "subjects:")
            yield from ("  - kind: ServiceAccount", f"    name: {account}", f"    namespace: {home}")


def _indented(rules: Sequence[Rule], by: int) -> Iterator[str]:
    return (" " * by + line for rule in rules for line in rule.lines())
