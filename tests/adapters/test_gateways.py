"""Gateways, key set and clients: sightings claim no more than was watched, canaries find the odd one out."""

from __future__ import annotations

import time
from collections.abc import Callable

import httpx
import pytest

from bot.contracts.adapter import Absent, Present
from bot.core.errors import Permanent, Transient
from playground.estate.secret_files import point, read_current, write_version
from tests.adapters.conftest import Bench

Until = Callable[..., None]


def log_in(bench: Bench, gateway: str, times: int = 1, token: str = "") -> str:
    """Use a gateway with a token of the current key; returns the token."""
    secret = read_current(bench.estate.secrets_directory / "billing")
    assert secret is not None
    if not token:
        answer = httpx.post(
            f"{bench.estate.identity.address}/oauth2/token",
            data={"grant_type": "client_credentials"},
            auth=("billing", secret.value),
        )
        token = answer.json()["access_token"]
    for _ in range(times):
        httpx.get(
            f"{bench.estate.gateway(gateway).address}/api/v1/findings", headers={"Authorization": f"Bearer {token}"}
        )
    return str(token)


# --- gateways ---------------------------------------------------------------------------------------------------------


def test_the_last_use_is_the_latest_of_all_gateways(bench: Bench) -> None:
    kid = bench.estate.signing_kid()
    never = bench.seen("gateways.kid_last_seen", kid=kid)
    assert (never.at, never.by) == (None, ())
    log_in(bench, "gateway-1")
    log_in(bench, "gateway-2")
    seen = bench.seen("gateways.kid_last_seen", kid=kid)
    assert seen.at is not None
    assert seen.by == ("gateway-2",)
    assert abs(seen.at.timestamp() - time.time()) < 5
    assert seen.since == never.since
    assert bench.seen("gateways.kid_last_seen", kid="es256-other").at is None


def test_canaries_are_no_use(bench: Bench) -> None:
    kid = bench.estate.signing_kid()
    assert bench.check("jwks.canary_accepted_everywhere", kid=kid).passed
    assert bench.seen("gateways.kid_last_seen", kid=kid).at is None


def test_a_restarted_gateway_claims_nothing_about_before(bench: Bench) -> None:
    kid = bench.estate.signing_kid()
    log_in(bench, "gateway-1")
    before = bench.seen("gateways.kid_last_seen", kid=kid)
    bench.do("gateways.restart", gateway="gateway-2")
    after = bench.seen("gateways.kid_last_seen", kid=kid)
    assert after.at is None, "gateway-2 may have seen it until it restarted"
    assert before.at is not None
    assert after.since > before.at


def test_the_success_rate_counts_tokens_only(bench: Bench) -> None:
    with pytest.raises(Transient, match="no rate"):
        bench.check("gateways.success_rate", over=300)
    log_in(bench, "gateway-1", times=3)
    good = log_in(bench, "gateway-2", times=0)
    log_in(bench, "gateway-2", token=good[:-8] + "AAAAAAAA")
    httpx.get(f"{bench.estate.gateways[0].address}/api/v1/findings")
    reading = bench.check("gateways.success_rate", over=300)
    assert reading.value == 0.75
    assert "gateway-2 refused 1" in reading.evidence


def test_a_restart_is_known_by_its_marker(bench: Bench) -> None:
    operation, p = bench.operation("gateways.restart", gateway="gateway-1")
    assert isinstance(operation.observe(p, bench.run("one")), Absent)
    outputs = operation.ensure(p, bench.run("one"))
    assert operation.observe(p, bench.run("one")) == Present(outputs)
    assert isinstance(operation.observe(p, bench.run("two")), Absent)
    assert operation.ensure(p, bench.run("two"))["boot_id"] != outputs["boot_id"]
    assert bench.estate.gateways[0].restarts == 2


def test_stale_caches_are_named_and_refreshed(bench: Bench) -> None:
    assert bench.check("gateways.caches_fresh").passed
    lagging = bench.estate.gateways[1]
    lagging.faults.turn("lagging")
    lagging.faults.turn("slow_cache", 1e-9)
    reading = bench.check("gateways.caches_fresh", gateway="gateway-2")
    assert (reading.passed, "gateway-2" in reading.evidence) == (False, True)
    assert bench.check("gateways.caches_fresh", gateways=["gateway-1"]).passed
    with pytest.raises(Permanent, match="not among"):
        bench.check("gateways.caches_fresh", gateways=["gateway-1"], gateway="gateway-2")
    lagging.faults.clear()
    new = bench.estate.identity.keys.rotate("m")[0]["kid"]
    assert bench.do("gateways.refresh", gateway="gateway-2") == {"gateway": "gateway-2"}
    assert new in lagging.stats()["kids"]
    with pytest.raises(Transient, match="429"):
        bench.do("gateways.refresh", gateway="gateway-2")


def test_unknown_gateways_are_not_contacted(bench: Bench) -> None:
    with pytest.raises(Permanent, match="not configured"):
        bench.seen("gateways.kid_last_seen", gateways=["gateway-9"], kid="x")
    with pytest.raises(Permanent, match="not configured"):
        bench.do("gateways.restart", gateway="gateway-9")


# --- key set ----------------------------------------------------------------------------------------------------------


def replace(bench: Bench, *, refresh: bool = True) -> tuple[str, str]:
    """Promote a new key and disable the old one; the gateways may learn of it."""
    keys, old = bench.estate.identity.keys, bench.estate.signing_kid()
    new = keys.rotate("m")[0]["kid"]
    keys.promote(new)
    keys.disable(old)
    if refresh:
        for gateway in bench.estate.gateways:
            gateway.restart()
    return old, new


def test_a_canary_shows_who_has_not_learned_yet(bench: Bench) -> None:
    new = bench.do("identity.publish_key")["kid"]
    assert bench.check("jwks.key_served", kid=new).passed
    assert not bench.check("jwks.key_served", kid="es256-other").passed
    reading = bench.check("jwks.canary_accepted_everywhere", kid=new)
    assert (reading.passed, "0 of 2" in reading.evidence) == (False, True)
    bench.do("gateways.refresh", gateway="gateway-1")
    reading = bench.check("jwks.canary_accepted_everywhere", kid=new)
    assert (reading.passed, "not gateway-2 (unknown_kid)" in reading.evidence) == (False, True)
    bench.do("gateways.refresh", gateway="gateway-2")
    assert bench.check("jwks.canary_accepted_everywhere", kid=new).passed
    with pytest.raises(Permanent, match="no key"):
        bench.check("jwks.canary_accepted_everywhere", kid="es256-other")


def test_the_dead_check_finds_the_gateway_that_ignores_removal(bench: Bench) -> None:
    bench.estate.gateways[1].faults.turn("ignores_removal")
    keys, old = bench.estate.identity.keys, bench.estate.signing_kid()
    keys.promote(keys.rotate("m")[0]["kid"])
    assert not bench.check("jwks.old_refused_everywhere", kid=bench.estate.signing_kid()).passed, "it signs"
    keys.disable(old)
    for gateway in bench.estate.gateways:
        bench.do("gateways.refresh", gateway=gateway.name)
    reading = bench.check("jwks.old_refused_everywhere", kid=old)
    assert (reading.passed, "gateway-2 STILL accepts it" in reading.evidence) == (False, True)
    bench.estate.heal()
    assert bench.check("jwks.old_refused_everywhere", kid=old).passed


def test_a_gateway_that_refuses_everybody_proves_nothing(bench: Bench) -> None:
    old, _ = replace(bench, refresh=False)
    with pytest.raises(Transient, match="refuses the current key too"):
        bench.check("jwks.old_refused_everywhere", kid=old)


def test_a_deleted_key_is_judged_by_the_gateways_lists(bench: Bench) -> None:
    old, _ = replace(bench)
    bench.estate.identity.keys.delete(old)
    reading = bench.check("jwks.old_refused_everywhere", kid=old)
    assert (reading.passed, "lists of keys only" in reading.evidence) == (True, True)
    bench.estate.identity.keys.rotate("other")
    listed = bench.estate.gateways[0].stats()["kids"][0]
    assert listed == bench.estate.signing_kid()


def test_the_slowest_cache_counts(bench: Bench) -> None:
    bench.estate.gateways[1].faults.turn("slow_cache", 4)
    assert bench.fact("jwks.cache_ttl") == 3600
    assert bench.fact("jwks.cache_ttl", gateways=["gateway-1"]) == 900
    bench.estate.gateways[1].faults.turn("slow_cache", 1e9)
    with pytest.raises(Permanent, match="no believable cache life"):
        bench.fact("jwks.cache_ttl")


# --- clients ----------------------------------------------------------------------------------------------------------


def test_clients_say_what_they_use(busy: Bench, until: Until) -> None:
    assert busy.estate.clients is not None
    old = {name: busy.fact("identity.current_api_key", client=name) for name in ("billing", "reports")}
    assert busy.check("clients.uses_api_key", client="billing", key_id=old["billing"]).passed
    assert not busy.check("clients.uses_api_key", key_id=old["billing"]).passed, "the others use keys of their own"
    busy.estate.clients.faults.turn("stale_reader", "reports")
    new = {}
    for name in old:
        key, value = busy.estate.identity.api_keys.create(name, "m", "read", None)
        write_version(busy.estate.secrets_directory / name, "v2", key["id"], value)
        point(busy.estate.secrets_directory / name, "v2")
        new[name] = key["id"]
    until(lambda: busy.check("clients.uses_api_key", client="billing", key_id=new["billing"]).passed)
    straggling = busy.check("clients.uses_api_key", client="reports", key_id=new["reports"])
    assert (straggling.passed, "reports-1" in straggling.evidence) == (False, True)
    seen = busy.seen("clients.api_key_last_seen", key_id=old["reports"])
    assert seen.at is not None
    assert seen.by == ("reports-1", "reports-2")
    assert busy.seen("clients.api_key_last_seen", key_id="ak-never").at is None
    kid = busy.seen("clients.kid_last_seen", kid=busy.estate.signing_kid())
    assert kid.at is not None
    assert abs(kid.at.timestamp() - busy.estate.clock.now()) < 3600
    assert busy.check("clients.success_rate", over=3600).value == 1.0
    with pytest.raises(Permanent, match="no client nobody"):
        busy.check("clients.uses_api_key", client="nobody", key_id="x")
    with pytest.raises(Permanent, match="not configured"):
        busy.check("clients.success_rate", population="elsewhere")


def test_a_refresh_for_the_way_back_waits_for_no_gateway_before(bench: Bench) -> None:
    gateway = bench.estate.gateways[0]
    before = gateway.stats()["jwks_fetches"]
    outputs = bench.do("gateways.refresh", gateway=gateway.name, only_back=True)
    assert gateway.stats()["jwks_fetches"] == before
    bench.undo("gateways.refresh", outputs, gateway=gateway.name, only_back=True)
    assert gateway.stats()["jwks_fetches"] == before + 1
