"""The playground's account in its cluster may do what the product says that it needs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from playground.cluster import requests_proxy, site
from tests.real.rights import rules

Rule = tuple[str, str, str, tuple[str, ...]]


def flat(found: Iterable[dict[str, Any]]) -> set[Rule]:
    return {
        (group, resource, verb, tuple(sorted(rule.get("resourceNames", ()))))
        for rule in found
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def test_the_role_of_the_playground_is_what_the_runbook_needs() -> None:
    needed = rules(site.NAMESPACE, site.credential("http://127.0.0.1:1"))
    assert flat(requests_proxy.rules(site.RELEASE)) == flat(needed)
