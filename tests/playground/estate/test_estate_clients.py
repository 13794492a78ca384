"""Clients: they sign in with what is on file, notice a new version, and count honestly."""

import json
import stat
from collections.abc import Callable

import httpx
import pytest

from playground.estate import Estate
from playground.estate.secret_files import current_version, point, read_current, write_version

WEB = httpx.Client(trust_env=False, timeout=5, limits=httpx.Limits(max_keepalive_connections=0))

Until = Callable[..., None]


def test_logins_flow_without_failures(until: Until) -> None:
    with Estate.start(rate=1440, clients=6, calls_per_second=60) as estate:
        assert estate.clients is not None
        stats = estate.clients.stats
        until(lambda: stats()["logins_total"] >= 100)
        seen = WEB.get(f"{estate.clients.address}/stats").json()
        assert seen["failures_total"] == seen["unauthorized_total"] == seen["token_failures_total"] == 0
        assert 20 < seen["logins_per_second"] < 70
        assert seen["window"]["logins"] >= WEB.get(f"{estate.clients.address}/stats?over=60").json()["window"]["logins"]
        assert WEB.get(f"{estate.clients.address}/stats?over=nan").status_code == 422
        assert set(seen["by_kid"]) == {estate.signing_kid()}
        assert set(seen["by_api_key"]) == {key["id"] for key in estate.identity.api_keys.all()}
        assert seen["counting_since"] < seen["by_kid"][estate.signing_kid()] <= estate.clock.now()
        assert sorted(seen["clients"]) == [f"{name}-{n}" for name in ("billing", "reports", "scanner") for n in (1, 2)]
        strip = WEB.get(f"{estate.clients.address}/strip").json()
        assert [gateway["kids"] for gateway in strip["gateways"]] == [[estate.signing_kid()]] * 3
        assert (strip["signing_kid"], strip["clock"]["rate"]) == (estate.signing_kid(), 1440)


def test_a_new_version_is_picked_up_and_a_straggler_is_seen(until: Until) -> None:
    with Estate.start(rate=1440, clients=3, calls_per_second=60) as estate:
        assert estate.clients is not None
        estate.clients.faults.turn("stale_reader", "reports")
        until(lambda: len(estate.stats()["clients"]["by_api_key"]) == 3)
        old = {name: read_current(estate.secrets_directory / name) for name in ("billing", "reports")}
        new = {}
        for name in old:
            key, value = estate.identity.api_keys.create(name, "m", "read write", None)
            write_version(estate.secrets_directory / name, "v2", key["id"], value)
            point(estate.secrets_directory / name, "v2")
            new[name] = key["id"]
        until(lambda: new["billing"] in estate.stats()["clients"]["by_api_key"])
        shown = estate.clients.stats()["clients"]
        assert (shown["billing-1"]["secret_version"], shown["reports-1"]["secret_version"]) == ("v2", "v1")
        assert old["reports"] is not None
        estate.identity.api_keys.switch(old["reports"].id, False)
        until(lambda: estate.stats()["clients"]["token_failures_total"] > 0)
        assert estate.identity.api_keys.get(old["reports"].id)["last_refused_at"] is not None
        until(lambda: estate.stats()["clients"]["failures_total"] > 0)
        estate.heal()
        until(lambda: new["reports"] in estate.stats()["clients"]["by_api_key"])


def test_one_gateway_away_is_no_failure_but_all_are(until: Until) -> None:
    with Estate.start(rate=60, gateways=2, clients=3, calls_per_second=60) as estate:
        assert estate.clients is not None
        stats = estate.clients.stats
        until(lambda: stats()["logins_total"] > 10)
        estate.gateways[0].stop()
        before = stats()["logins_total"]
        until(lambda: stats()["logins_total"] > before + 20)
        assert stats()["failures_total"] == 0
        estate.gateways[1].stop()
        until(lambda: stats()["failures_total"] > 0)
        estate.gateways[0].start()
        before = stats()["logins_total"]
        until(lambda: stats()["logins_total"] > before + 5)


def test_the_identity_service_may_be_away_while_tokens_last(until: Until) -> None:
    with Estate.start(rate=60, gateways=1, clients=3, calls_per_second=60) as estate:
        assert estate.clients is not None
        stats = estate.clients.stats
        until(lambda: all(client["kid"] for client in stats()["clients"].values()))
        estate.identity.stop()
        before = stats()["logins_total"]
        until(lambda: stats()["logins_total"] > before + 20)
        estate.identity.start()
        assert stats()["failures_total"] == 0


def test_secret_files_are_private_and_switch_at_once(still: Estate) -> None:
    folder = still.secrets_directory / "billing"
    value = folder / "versions" / "v1" / "value"
    assert stat.S_IMODE(value.stat().st_mode) == 0o600
    assert (folder / "current" / "value").read_text() == value.read_text()
    write_version(folder, "v2", "ak-2", "second")
    assert current_version(folder) == "v1"
    point(folder, "v2")
    secret = read_current(folder)
    assert secret == ("v2", "ak-2", "second")
    assert "second" not in repr(secret)
    assert read_current(folder.parent / "nobody") is None


def test_a_client_without_secrets_is_refused(still: Estate) -> None:
    from playground.estate.clients import Clients

    empty = still.ground.directory / "empty"
    empty.mkdir()
    with pytest.raises(ValueError, match="no secret"):
        Clients(still.clock, still.identity.address, [], empty).start()


def test_nothing_secret_is_shown(until: Until) -> None:
    with Estate.start(rate=1440, clients=3, calls_per_second=60) as estate:
        assert estate.clients is not None
        until(lambda: estate.stats()["clients"]["logins_total"] > 10)
        secrets = [read_current(estate.secrets_directory / name) for name in ("billing", "reports", "scanner")]
        held = [client.token for client in estate.clients._population if client.token]
        values = [*held, estate.admin_token, *(secret.value for secret in secrets if secret)]
        shown = json.dumps([estate.stats(), estate.describe()]) + repr(estate.clients._population)
        assert len(values) > 4
        assert not [value for value in values if value in shown]
