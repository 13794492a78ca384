"""The playground's account in its cluster may do what the product says that it needs."""

from __future__ import annotations

from playground.cluster import requests_proxy, site
from tests.real.rights import flat, rules


def test_the_role_of_the_playground_is_what_the_runbook_needs() -> None:
    needed = rules(site.NAMESPACE, site.credential("http://127.0.0.1:1"))
    assert flat(requests_proxy.rules(site.RELEASE)) == flat(needed)
