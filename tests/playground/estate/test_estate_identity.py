"""The identity service: states of keys, idempotency by marker, API keys shown once, refusals."""

import base64
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from playground.estate import Estate
from playground.estate.secret_files import read_current

WEB = httpx.Client(trust_env=False, timeout=5, limits=httpx.Limits(max_keepalive_connections=0))


def header(token: str) -> dict[str, Any]:
    coded = token.split(".")[0]
    return dict(json.loads(base64.urlsafe_b64decode(coded + "=" * (-len(coded) % 4))))


def published(estate: Estate) -> list[str]:
    return [key["kid"] for key in WEB.get(f"{estate.identity.address}/.well-known/jwks.json").json()["keys"]]


def login(estate: Estate, client: str, value: str, **form: str) -> httpx.Response:
    return WEB.post(
        f"{estate.identity.address}/oauth2/token",
        data={"grant_type": "client_credentials", **form},
        auth=(client, value),
    )


def billing(estate: Estate) -> str:
    secret = read_current(estate.secrets_directory / "billing")
    assert secret is not None
    return secret.value


def state(admin: httpx.Client, kid: str) -> str:
    return str(admin.get(f"/keys/{kid}").json()["state"])


def test_the_key_set_says_how_long_it_may_be_kept(still: Estate) -> None:
    answer = WEB.get(f"{still.identity.address}/.well-known/jwks.json")
    assert answer.headers["Cache-Control"] == "public, max-age=900"
    assert all("d" not in key and key["alg"] == "ES256" for key in answer.json()["keys"])


def test_rotation_publishes_and_promotion_signs(still: Estate, admin: httpx.Client) -> None:
    old = still.signing_kid()
    first = admin.post("/keys/rotate", json={"marker": "R-1.publish"})
    again = admin.post("/keys/rotate", json={"marker": "R-1.publish"})
    new = first.json()["kid"]
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json()["kid"] == new
    assert (state(admin, new), state(admin, old)) == ("next", "current")
    assert published(still) == [old, new]
    assert header(login(still, "billing", billing(still)).json()["access_token"])["kid"] == old

    assert admin.post(f"/keys/{new}/promote").status_code == 200
    assert admin.post(f"/keys/{new}/promote").json()["state"] == "current"
    assert state(admin, old) == "previous"
    assert header(login(still, "billing", billing(still)).json()["access_token"])["kid"] == new
    assert admin.get(f"/keys/{new}").json()["last_signed_at"] == pytest.approx(still.clock.now(), abs=5)


def test_disable_is_reversible_and_never_hits_the_signer(still: Estate, admin: httpx.Client) -> None:
    old = still.signing_kid()
    assert admin.post(f"/keys/{old}/disable").json()["error"] == "key_is_current"
    new = admin.post("/keys/rotate", json={}).json()["kid"]
    admin.post(f"/keys/{new}/promote")
    assert admin.post(f"/keys/{old}/disable").json()["state"] == "disabled"
    assert admin.post(f"/keys/{old}/disable").status_code == 200
    assert published(still) == [new]
    assert admin.post(f"/keys/{old}/promote").json()["error"] == "key_disabled"
    assert admin.post(f"/keys/{old}/enable").json()["state"] == "previous"
    assert published(still) == [old, new]


def test_in_an_emergency_even_the_signer_is_disabled_and_another_one_takes_over(
    still: Estate, admin: httpx.Client
) -> None:
    old = still.signing_kid()
    assert admin.post(f"/keys/{old}/disable", json={"even_current": "yes"}).status_code == 422
    for _ in range(2):
        assert admin.post(f"/keys/{old}/disable", json={"even_current": True}).json()["state"] == "disabled"
    assert published(still) == []
    refused = login(still, "billing", billing(still))
    assert (refused.status_code, refused.json()["error"]) == (503, "no_signing_key")
    assert "until one is promoted" in refused.json()["message"]
    new = admin.post("/keys/rotate", json={}).json()["kid"]
    assert published(still) == [new]
    assert login(still, "billing", billing(still)).status_code == 503
    assert admin.post(f"/keys/{new}/promote").json()["state"] == "current"
    assert header(login(still, "billing", billing(still)).json()["access_token"])["kid"] == new
    assert admin.post(f"/keys/{old}/enable").json()["state"] == "previous"


def test_only_keys_without_tokens_can_be_deleted(still: Estate, admin: httpx.Client) -> None:
    old = still.signing_kid()
    unused = admin.post("/keys/rotate", json={"marker": "a"}).json()["kid"]
    assert admin.delete(f"/keys/{old}").status_code == 409
    assert admin.delete(f"/keys/{unused}").status_code == 204
    assert admin.delete(f"/keys/{unused}").status_code == 404
    new = admin.post("/keys/rotate", json={"marker": "b"}).json()["kid"]
    admin.post(f"/keys/{new}/promote")
    assert admin.delete(f"/keys/{old}").json()["error"] == "key_in_use"


def test_bootstrap_is_only_for_a_house_without_keys(still: Estate, admin: httpx.Client) -> None:
    assert admin.post("/keys/bootstrap").json()["error"] == "keys_exist"
    with still.identity._lock, still.identity._db:
        still.identity._db.execute("UPDATE signing_keys SET state = 'disabled'")
    assert login(still, "billing", billing(still)).json()["error"] == "no_signing_key"
    first, again = (admin.post("/keys/bootstrap", json={"marker": "R-4"}) for _ in range(2))
    assert (first.status_code, again.status_code, first.json()["state"]) == (201, 200, "current")
    assert first.json()["kid"] == again.json()["kid"]
    assert login(still, "billing", billing(still)).status_code == 200


def test_private_keys_are_sealed_and_survive_a_restart(still: Estate, admin: httpx.Client) -> None:
    old = still.signing_kid()
    address = still.identity.address
    with still.identity._lock:
        sealed, public = still.identity._db.execute("SELECT sealed, public FROM signing_keys").fetchone()
    assert b'"d"' not in sealed
    assert '"d"' not in public
    still.identity.restart()
    assert still.identity.address == address
    assert header(login(still, "billing", billing(still)).json()["access_token"])["kid"] == old


def test_the_key_store_can_be_out_of_reach(still: Estate, admin: httpx.Client) -> None:
    still.identity.faults.turn("key_store_down")
    health = admin.get("/health")
    assert (health.status_code, health.json()["key_encryption"], health.json()["database"]) == (503, False, True)
    assert admin.post("/keys/rotate", json={}).json()["error"] == "key_store_unavailable"
    assert login(still, "billing", billing(still)).status_code == 503
    still.identity.faults.clear()
    assert admin.get("/health").json() == {"healthy": True, "database": True, "key_encryption": True}


def test_api_keys_show_their_value_once(still: Estate, admin: httpx.Client) -> None:
    body = {"client": "billing", "marker": "R-2.create", "scope": "read,write", "expires_in": 3600}
    first, second = (admin.post("/api-keys", json=body).json() for _ in range(2))
    assert first["id"] != second["id"], "creating is not idempotent"
    listed = admin.get("/api-keys", params={"client": "billing"}).json()["api_keys"]
    assert [key["marker"] for key in listed] == ["seed", "R-2.create", "R-2.create"]
    assert first["value"] not in json.dumps(listed)
    with still.identity._lock:
        assert first["value"] not in "\n".join(still.identity._db.iterdump())

    assert login(still, "billing", first["value"]).status_code == 200
    assert admin.get(f"/api-keys/{first['id']}").json()["last_used_at"] == pytest.approx(still.clock.now(), abs=5)
    assert admin.get(f"/api-keys/{second['id']}").json()["last_used_at"] is None


def test_disabled_deleted_and_expired_api_keys_are_refused(
    still: Estate, admin: httpx.Client, until: Callable[..., None]
) -> None:
    key = admin.post("/api-keys", json={"client": "billing"}).json()
    admin.post(f"/api-keys/{key['id']}/disable")
    assert login(still, "billing", key["value"]).json()["error"] == "invalid_client"
    assert admin.get(f"/api-keys/{key['id']}").json()["last_refused_at"] is not None
    admin.post(f"/api-keys/{key['id']}/enable")
    assert login(still, "billing", key["value"]).status_code == 200
    assert login(still, "reports", key["value"]).status_code == 401, "another client's key"
    assert admin.delete(f"/api-keys/{key['id']}").status_code == 204
    assert admin.delete(f"/api-keys/{key['id']}").status_code == 404
    assert login(still, "billing", key["value"]).status_code == 401
    brief = admin.post("/api-keys", json={"client": "billing", "expires_in": 0.001}).json()
    until(lambda: still.clock.now() > brief["expires_at"])
    assert login(still, "billing", brief["value"]).status_code == 401


def test_scopes_cannot_be_widened(still: Estate, admin: httpx.Client) -> None:
    key = admin.post("/api-keys", json={"client": "billing", "scope": "write"}).json()
    assert login(still, "billing", key["value"], scope="read").status_code == 403
    token = login(still, "billing", key["value"]).json()["access_token"]
    finding = WEB.get(f"{still.gateways[0].address}/api/v1/findings", headers={"Authorization": f"Bearer {token}"})
    assert (finding.status_code, finding.json()["error"]) == (403, "insufficient_scope")


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("/keys/rotate", {"marker": "x y"}, "invalid_marker"),
        ("/keys/rotate", {"marker": 7}, "invalid_marker"),
        ("/api-keys", {}, "invalid_client_name"),
        ("/api-keys", {"client": "../x"}, "invalid_client_name"),
        ("/api-keys", {"client": "billing", "scope": "root"}, "invalid_scope"),
        ("/api-keys", {"client": "billing", "expires_in": True}, "invalid_expiry"),
        ("/api-keys", {"client": "billing", "expires_in": -1}, "invalid_expiry"),
    ],
)
def test_bad_input_is_named(admin: httpx.Client, path: str, body: dict[str, Any], code: str) -> None:
    answer = admin.post(path, json=body)
    assert (answer.status_code, answer.json()["error"]) == (422, code)


def test_a_canary_opens_nothing_but_its_own_gateway(still: Estate, admin: httpx.Client) -> None:
    kid = still.signing_kid()
    assert admin.post(f"/keys/{kid}/canary", json={"audience": "findings-api"}).status_code == 422
    token = admin.post(f"/keys/{kid}/canary", json={"audience": "canary:gateway-1"}).json()["token"]
    sent = {"Authorization": f"Bearer {token}"}
    one, two = (gateway.address for gateway in still.gateways)
    assert WEB.get(f"{one}/canary", headers=sent).json()["kid"] == kid
    assert WEB.get(f"{two}/canary", headers=sent).json()["error"] == "wrong_audience"
    assert WEB.get(f"{one}/api/v1/findings", headers=sent).json()["error"] == "wrong_audience"
    assert admin.get(f"/keys/{kid}").json()["last_signed_at"] is None, "a canary is no use of the key"


def test_admin_tokens_are_checked(still: Estate) -> None:
    url = f"{still.identity.address}/api/v1/admin"

    def call(token: str, method: str, path: str) -> tuple[int, str]:
        answer = WEB.request(method, url + path, headers={"Authorization": f"Bearer {token}"})
        return answer.status_code, answer.json().get("error", "")

    assert call("wrong", "GET", "/keys") == (401, "unauthorized")
    assert call(still.viewer_token, "GET", "/keys") == (200, "")
    assert call(still.viewer_token, "POST", "/keys/rotate") == (403, "forbidden")
    assert call(still.admin_token, "GET", "/nothing") == (404, "not_found")
    assert call(still.admin_token, "DELETE", "/settings") == (405, "method_not_allowed")
    still.identity.faults.turn("reject_admin")
    assert call(still.admin_token, "GET", "/keys") == (401, "unauthorized")
