"""Permissions as text, `secrets: get, patch @ default/shop/admin`: read, and narrowed to what a call touches."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from adapters.kubernetes.names import LABEL, OBJECT
from adapters.kubernetes.places import WORKLOADS
from bot.contracts.adapter import Part

_WHAT = re.compile(r"(?P<resource>[a-z]+)(?:\.(?P<group>[a-z0-9.-]+))?(?:/(?P<subresource>[a-z]+))?")
_VERBS = frozenset({"get", "list", "watch", "create", "update", "patch", "delete"})
_NAMELESS = frozenset({"list", "watch", "create"})
_PLACE = re.compile(
    rf"(?P<cluster>[A-Za-z0-9][A-Za-z0-9._-]{{0,127}})(?:/(?P<namespace>{LABEL})(?:/(?P<name>{OBJECT}))?)?"
)
_ONLY = {"cluster": re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}"), "namespace": re.compile(LABEL)}
CLUSTER_WIDE = frozenset({"tokenreviews", "selfsubjectaccessreviews"})


@dataclass(frozen=True, slots=True)
class Permission:
    """Verbs on a kind of object. Where it is not narrowed, cluster, namespace or name are empty.

    `resource` and `group` are as a Role has them: `deployments` and `apps`; `subresource` is `token` or `log`.
    """

    resource: str
    group: str
    subresource: str
    verbs: tuple[str, ...]
    cluster: str = ""
    namespace: str = ""
    name: str = ""


def parse(text: str) -> Permission:
    """Read a permission; raises `ValueError`."""
    head, narrow, place = text.partition(" @ ")
    what, separator, verbs = head.partition(": ")
    found, given = _WHAT.fullmatch(what), tuple(verbs.split(", "))
    if found is None or not separator or not set(given) <= _VERBS:
        raise ValueError(f"{text!r} is no permission; write resource.group/subresource: verb, verb @ cluster/ns/name")
    at = _PLACE.fullmatch(place) if narrow else None
    if narrow and at is None:
        raise ValueError(f"{place!r} is no place; write cluster, cluster/namespace or cluster/namespace/name")
    where = {name: value or "" for name, value in (at.groupdict() if at else {}).items()}
    return Permission(found["resource"], found["group"] or "", found["subresource"] or "", given, **where)


def narrowed(permission: str, cluster: str, namespace: str = "", name: str = "") -> str:
    """The permission at this place, as far as it is known. What lists or creates is never narrowed to a name."""
    what = parse(permission)
    if what.resource in CLUSTER_WIDE:
        return f"{permission} @ {cluster}"
    if not namespace:
        return f"{permission} @ {cluster}"
    nameless = not what.subresource and _NAMELESS & set(what.verbs)
    return f"{permission} @ {cluster}/{namespace}" + (f"/{name}" if name and not nameless else "")


def known_text(known: Mapping[str, Any], name: str, default: str = "") -> str:
    """An argument that is known by now and fit to stand in a permission; the default otherwise."""
    value = known.get(name, default)
    fits = isinstance(value, str) and _ONLY.get(name, re.compile(rf"(?:[a-z]+/)?{OBJECT}")).fullmatch(value)
    return value if fits else default


class Placed(Part):
    """Narrows permissions to the objects that a call names; `named` says which parameter names a kind of object."""

    named: ClassVar[Mapping[str, str]] = {}

    @classmethod
    def needs(cls, known: Mapping[str, Any]) -> tuple[str, ...]:
        cluster, namespace = known_text(known, "cluster", "default"), known_text(known, "namespace")
        found = []
        for text in cls.permissions:
            resource = text.partition(":")[0].partition("/")[0]
            name = known_text(known, cls.named.get(resource, ""))
            kind, slash, rest = name.partition("/")
            if slash and WORKLOADS.get(kind, _BUNDLES.get(kind)) != resource:
                continue
            found.append(narrowed(text, cluster, namespace, rest if slash else name))
        return tuple(found)


_BUNDLES = {"configmap": "configmaps", "secret": "secrets"}
ON_SECRET = {"secrets": "secret"}
"""The parameter `secret` names the Secret."""
