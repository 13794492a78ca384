"""The order decides: publish, learn, promote, wait, disable fails nobody; any shortcut fails logins."""

from collections.abc import Callable, Iterator

import httpx
import pytest

from playground.estate import Estate

WEB = httpx.Client(trust_env=False, timeout=5, limits=httpx.Limits(max_keepalive_connections=0))

Until = Callable[..., None]


@pytest.fixture
def busy(until: Until) -> Iterator[Estate]:
    """Clients at work; token life 2.5 s and cache life 0.63 s of real time."""
    with Estate.start(rate=1440, clients=12, calls_per_second=80) as estate:
        assert estate.clients is not None
        until(lambda: all(client["kid"] for client in estate.stats()["clients"]["clients"].values()))
        yield estate


def accepted_everywhere(estate: Estate, kid: str) -> bool:
    return all(opens(estate, kid, gateway.name) for gateway in estate.gateways)


def opens(estate: Estate, kid: str, name: str) -> bool:
    url = f"{estate.identity.address}/api/v1/admin/keys/{kid}/canary"
    token = WEB.post(
        url, json={"audience": f"canary:{name}"}, headers={"Authorization": f"Bearer {estate.admin_token}"}
    ).json()["token"]
    sent = {"Authorization": f"Bearer {token}"}
    return WEB.get(f"{estate.gateway(name).address}/canary", headers=sent).status_code == 200


def failures(estate: Estate) -> int:
    return int(estate.stats()["clients"]["failures_total"])


def test_the_right_order_fails_nobody(busy: Estate, until: Until) -> None:
    old, keys = busy.signing_kid(), busy.identity.keys
    new = keys.rotate("R-1")[0]["kid"]
    until(lambda: accepted_everywhere(busy, new))
    keys.promote(new)
    promoted = busy.clock.now()
    quiet = busy.identity.token_life + busy.identity.jwks_max_age
    until(lambda: busy.clock.now() > promoted + quiet)
    assert busy.stats()["clients"]["by_kid"][old] < busy.clock.now() - busy.identity.jwks_max_age
    keys.disable(old)
    until(lambda: not any(opens(busy, old, gateway.name) for gateway in busy.gateways))
    before = busy.stats()["clients"]["logins_total"]
    until(lambda: busy.stats()["clients"]["logins_total"] > before + 20)
    assert failures(busy) == 0
    assert busy.stats()["clients"]["signing_kid"] == new


def test_promoting_at_once_fails_logins(busy: Estate, until: Until) -> None:
    for gateway in busy.gateways:
        gateway.faults.turn("lagging")
    new = busy.identity.keys.rotate("R-1")[0]["kid"]
    busy.identity.keys.promote(new)
    until(lambda: busy.stats()["clients"]["unauthorized_total"] > 0)
    assert failures(busy) > 0
    assert any("unknown_kid" in stats["refused_by_reason"] for stats in busy.stats()["gateways"].values())


def test_promoting_at_once_fails_logins_even_where_caches_refresh(busy: Estate, until: Until) -> None:
    # Caches of an age turn within the same 0.6 s, so the shortcut may be lucky once, but not ten times in a row.
    for attempt in range(10):
        busy.identity.keys.promote(busy.identity.keys.rotate(f"R-{attempt}")[0]["kid"])
        until(lambda: accepted_everywhere(busy, busy.signing_kid()))
        if failures(busy):
            return
    pytest.fail("ten hasty promotions failed nobody")


def test_disabling_too_early_fails_logins(busy: Estate, until: Until) -> None:
    old, keys = busy.signing_kid(), busy.identity.keys
    new = keys.rotate("R-1")[0]["kid"]
    until(lambda: accepted_everywhere(busy, new))
    keys.promote(new)
    keys.disable(old)
    until(lambda: failures(busy) > 0)
    assert busy.stats()["clients"]["unauthorized_total"] > 0
