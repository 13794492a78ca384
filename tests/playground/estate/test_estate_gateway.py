"""Gateways: the cache decides who is let in, counters tell who was, restarts forget."""

import base64
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey

from playground.estate import Estate
from playground.estate.identity import AUDIENCE, ISSUER

WEB = httpx.Client(trust_env=False, timeout=5, limits=httpx.Limits(max_keepalive_connections=0))

Until = Callable[..., None]


def canary(estate: Estate, admin: httpx.Client, kid: str, gateway: str) -> tuple[int, str]:
    token = admin.post(f"/keys/{kid}/canary", json={"audience": f"canary:{gateway}"}).json()["token"]
    answer = WEB.get(f"{estate.gateway(gateway).address}/canary", headers={"Authorization": f"Bearer {token}"})
    return answer.status_code, answer.json().get("error", "")


def manage(estate: Estate, gateway: str, word: str, **headers: str) -> httpx.Response:
    sent = {"Authorization": f"Bearer {estate.admin_token}", **headers}
    return WEB.post(f"{estate.gateway(gateway).address}/admin/{word}", headers=sent)


def replace_key(estate: Estate, admin: httpx.Client) -> tuple[str, str]:
    old = estate.signing_kid()
    new = admin.post("/keys/rotate", json={}).json()["kid"]
    admin.post(f"/keys/{new}/promote")
    admin.post(f"/keys/{old}/disable")
    return old, new


def test_an_unknown_kid_does_not_refresh_the_cache(still: Estate, admin: httpx.Client) -> None:
    new = admin.post("/keys/rotate", json={}).json()["kid"]
    assert canary(still, admin, new, "gateway-1") == (401, "unknown_kid")
    assert canary(still, admin, new, "gateway-1") == (401, "unknown_kid")
    assert manage(still, "gateway-1", "refresh").status_code == 200
    assert canary(still, admin, new, "gateway-1") == (200, "")
    assert canary(still, admin, new, "gateway-2") == (401, "unknown_kid")


def test_refreshing_by_hand_is_rate_limited(still: Estate) -> None:
    assert manage(still, "gateway-1", "refresh").status_code == 200
    again = manage(still, "gateway-1", "refresh")
    assert again.status_code == 429
    assert 0 < float(again.headers["Retry-After"]) <= 1


def test_a_disabled_key_is_refused_once_the_cache_is_fresh(still: Estate, admin: httpx.Client) -> None:
    old, _ = replace_key(still, admin)
    assert canary(still, admin, old, "gateway-1") == (200, "")
    manage(still, "gateway-1", "refresh")
    assert canary(still, admin, old, "gateway-1") == (401, "unknown_kid")


def test_one_gateway_may_ignore_removal(still: Estate, admin: httpx.Client) -> None:
    still.gateway("gateway-2").faults.turn("ignores_removal")
    old, _ = replace_key(still, admin)
    for name in ("gateway-1", "gateway-2"):
        manage(still, name, "refresh")
    assert canary(still, admin, old, "gateway-1") == (401, "unknown_kid")
    assert canary(still, admin, old, "gateway-2") == (200, "")
    assert old not in still.gateway("gateway-2").stats()["kids"], "its own words do not give it away"


def test_the_cache_lives_as_long_as_the_key_set_says(until: Until) -> None:
    with Estate.start(rate=100, gateways=2, clients=0, jwks_max_age=20) as estate:
        lagging = estate.gateway("gateway-2")
        lagging.faults.turn("lagging")
        new = estate.identity.keys.rotate("m")[0]["kid"]
        until(lambda: new in estate.gateway("gateway-1").stats()["kids"])
        until(lambda: lagging.stats()["cache_age_seconds"] > 40)
        assert new not in lagging.stats()["kids"]
        assert estate.gateway("gateway-1").stats()["cache_ttl_seconds"] == 20
        assert manage(estate, "gateway-2", "refresh").status_code == 200
        assert new in lagging.stats()["kids"]
        lagging.faults.clear()
        lagging.faults.turn("slow_cache", 3)
        assert lagging.stats()["cache_ttl_seconds"] == 60


def test_failed_fetches_are_counted_and_old_keys_kept(until: Until) -> None:
    with Estate.start(rate=100, gateways=1, clients=0, jwks_max_age=20) as estate:
        kid = estate.signing_kid()
        estate.identity.faults.add("status", "/.well-known/jwks.json", times=None, status=500)
        until(lambda: estate.gateways[0].stats()["jwks_fetch_failures"] >= 2)
        assert estate.gateways[0].stats()["kids"] == [kid]
        estate.identity.faults.clear()
        until(lambda: estate.gateways[0].stats()["cache_age_seconds"] < 15)


def test_a_restart_happens_once_per_marker_and_forgets(still: Estate, admin: httpx.Client, until: Until) -> None:
    gateway = still.gateway("gateway-1")
    canary(still, admin, still.signing_kid(), "gateway-1")
    new = admin.post("/keys/rotate", json={}).json()["kid"]
    before = gateway.stats()["boot_id"]
    first = manage(still, "gateway-1", "restart", **{"Idempotency-Key": "R-3.restart"})
    assert (first.status_code, first.json()["boot_id"]) == (202, before)
    away = WEB.get(f"{gateway.address}/healthz")
    assert (away.status_code, away.headers["Retry-After"]) == (503, "1")
    until(lambda: WEB.get(f"{gateway.address}/healthz").status_code == 200)
    after = WEB.get(f"{gateway.address}/stats").json()
    assert after["boot_id"] != before
    assert after["last_restart_marker"] == "R-3.restart"
    assert new in after["kids"]
    assert after["canaries"] == {}
    repeated = manage(still, "gateway-1", "restart", **{"Idempotency-Key": "R-3.restart"})
    assert (repeated.status_code, repeated.json()["boot_id"]) == (200, after["boot_id"])
    patient = manage(still, "gateway-1", "restart", **{"Idempotency-Key": "R-4.restart", "Prefer": "wait=5"})
    assert (patient.status_code, patient.json()["restarting"]) == (200, False)
    assert patient.json()["boot_id"] not in (before, after["boot_id"])


def test_admin_calls_need_the_admin_token(still: Estate) -> None:
    for word in ("restart", "refresh"):
        url = f"{still.gateways[0].address}/admin/{word}"
        assert WEB.post(url).status_code == 401
        assert WEB.post(url, headers={"Authorization": f"Bearer {still.viewer_token}"}).status_code == 403


def test_uses_are_counted_per_kid_and_canaries_apart(still: Estate, admin: httpx.Client) -> None:
    kid = still.signing_kid()
    key = admin.post("/api-keys", json={"client": "billing"}).json()
    answer = WEB.post(
        f"{still.identity.address}/oauth2/token",
        data={"grant_type": "client_credentials"},
        auth=("billing", key["value"]),
    )
    sent = {"Authorization": f"Bearer {answer.json()['access_token']}"}
    address = still.gateways[0].address
    assert WEB.get(f"{address}/api/v1/findings", headers=sent).status_code == 200
    assert WEB.get(f"{address}/api/v1/findings/F-1", headers=sent).status_code == 200
    assert WEB.get(f"{address}/canary", headers=sent).json()["error"] == "wrong_audience"
    canary(still, admin, kid, "gateway-1")
    stats = WEB.get(f"{address}/stats", params={"over": 60}).json()
    assert (stats["by_kid"][kid]["accepted"], stats["by_kid"][kid]["refused"]) == (2, 0)
    assert stats["by_kid"][kid]["last_seen"] == pytest.approx(still.clock.now(), abs=5)
    assert (stats["canaries"][kid]["accepted"], stats["canaries"][kid]["refused"]) == (1, 1)
    assert stats["window"] == {"seconds": 60, "accepted": 2, "refused": 0}


def forge(estate: Estate, how: str) -> str | None:
    """A token that must not be let in."""
    kid, stranger = estate.signing_kid(), ECKey.generate_key("P-256")
    now = int(estate.clock.now())
    claims: dict[str, Any] = {"iss": ISSUER, "aud": AUDIENCE, "exp": now + 600, "scope": "read"}
    signed = {
        "expired": {**claims, "exp": now - 120},
        "wrong_issuer": {**claims, "iss": "somebody"},
        "wrong_audience": {**claims, "aud": [AUDIENCE, "x"]},
    }
    if how in signed:
        return estate.identity.keys.sign(signed[how])[0]
    if how == "bad_signature":
        return jwt.encode({"alg": "ES256", "kid": kid}, claims, stranger)
    if how == "unknown_kid":
        return jwt.encode({"alg": "ES256", "kid": "es256-stranger"}, claims, stranger)
    if how == "wrong_algorithm":
        return jwt.encode({"alg": "HS256", "kid": kid}, claims, OctKey.import_key("x" * 32))
    none = base64.urlsafe_b64encode(json.dumps({"alg": "none", "kid": kid}).encode()).decode().rstrip("=")
    return {"none": f"{none}.e30.", "malformed": "a.b.c", "long": "a" * 9000 + ".b.c"}.get(how)


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("missing", "missing_token"),
        ("malformed", "malformed"),
        ("long", "malformed"),
        ("none", "wrong_algorithm"),
        ("wrong_algorithm", "wrong_algorithm"),
        ("unknown_kid", "unknown_kid"),
        ("bad_signature", "bad_signature"),
        ("expired", "expired"),
        ("wrong_issuer", "wrong_issuer"),
        ("wrong_audience", "wrong_audience"),
    ],
)
def test_what_is_forged_is_refused(still: Estate, how: str, reason: str) -> None:
    token = forge(still, how)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    answer = WEB.get(f"{still.gateways[0].address}/api/v1/findings", headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (401, reason)
    assert still.gateways[0].stats()["refused_by_reason"] == {reason: 1}


def test_strangers_cannot_fill_the_memory(still: Estate) -> None:
    key = ECKey.generate_key("P-256")
    with httpx.Client(base_url=still.gateways[0].address) as http:
        for number in range(60):
            token = jwt.encode({"alg": "ES256", "kid": f"k{number}"}, {}, key)
            assert http.get("/api/v1/findings", headers={"Authorization": f"Bearer {token}"}).status_code == 401
    seen = still.gateways[0].stats()["by_kid"]
    assert len(seen) <= 33
    assert seen["others"]["refused"] == 60 - 32


def test_without_any_keys_it_says_so_instead_of_refusing() -> None:
    with Estate.start(rate=1, gateways=1, clients=0) as estate:
        token, _ = estate.identity.keys.sign({})
        estate.identity.stop()
        estate.gateways[0].restart()
        sent = {"Authorization": f"Bearer {token}"}
        answer = WEB.get(f"{estate.gateways[0].address}/api/v1/findings", headers=sent)
        assert (answer.status_code, answer.json()["error"]) == (503, "no_keys")
