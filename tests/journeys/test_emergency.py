"""Revocations of both credentials in both orders: a second person approves, and the old one is accepted nowhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from bot.core.events import Event
from bot.core.rotation import Rotation, State
from playground.estate import Estate
from playground.estate.secret_files import current_version, read_current
from tests.world import World, describe, held, running

pytestmark = pytest.mark.journey
ORDERS = ("replace-first", "contain-first")
WEB = httpx.Client(trust_env=False, timeout=10, limits=httpx.Limits(max_keepalive_connections=0))


@pytest.fixture
def world(sqlite_url: str, tmp_path: Path) -> Iterator[World]:
    """An estate with traffic, in which ten minutes are half a second."""
    with (
        Estate.start(rate=1200.0, clients=6, calls_per_second=40.0) as estate,
        running(sqlite_url, estate, tmp_path) as world,
    ):
        yield world


def revoke(world: World, credential: str, order: str, person: str = "alice") -> Rotation:
    """Ask for a revocation whose plan was seen; nothing is done yet."""
    words = f'revoke {credential} --reason "seen in a public log" --order {order}'
    shown = world.say(person, words)
    assert shown.draft is not None or shown.data is not None, shown.text
    assert "Nothing is done yet" in shown.text
    answer = world.say(person, words, confirmed=True)
    assert answer.good, answer.text
    assert answer.rotation is not None
    return world.rotation(answer.rotation)


def approved(world: World, rotation: Rotation, requester: str = "alice") -> Rotation:
    """The requester's approval is refused, the second person's counts, and everything is done."""
    refused = world.say(requester, f"approve {rotation.id}")
    assert not refused.good
    assert world.rotation(rotation.number).state is State.REQUESTED
    assert all(not run.touched for run in world.rotation(rotation.number).steps)
    answer = world.say("bob", f"approve {rotation.id}")
    assert answer.good, answer.text
    done = world.wait(rotation.number, lambda one: one.is_over or held(one), 60)
    assert not held(done), describe(done)
    return done


def ran(world: World, number: int) -> list[str]:
    """Ids of the steps in the order in which they were begun."""
    begun = [str(row.detail["step"]) for row in world.audit(number) if row.event == Event.STEP_INTENT]
    return list(dict.fromkeys(begun))


@pytest.mark.timeout(120)
@pytest.mark.parametrize("order", ORDERS)
def test_a_suspected_signing_key_is_revoked(world: World, order: str) -> None:
    estate, old = world.estate, world.estate.signing_kid()
    stolen = {gateway.name: _token(estate, old, gateway.name) for gateway in estate.gateways}
    login = _login(estate)
    assert _let_in(estate, login) == [200, 200, 200]

    rotation = revoke(world, "identity-signing", order)
    assert estate.signing_kid() == old
    assert len(estate.identity.keys.all()) == 1, "something was done before the approval"
    done = approved(world, rotation)

    assert (done.plan.order, done.state) == (order, State.PROMOTED), describe(done)
    first = {"replace-first": ["publish"], "contain-first": ["fetch-back", "disable-now"]}[order]
    assert ran(world, done.number)[: len(first)] == first
    states = {key["kid"]: key["state"] for key in estate.identity.keys.all()}
    new = estate.signing_kid()
    assert states == {old: "disabled", new: "current"}
    assert [gateway.restarts for gateway in estate.gateways] == [1, 1, 1]
    assert _let_in(estate, login) == [401, 401, 401], "a token of the suspected key was let in"
    for gateway in estate.gateways:
        canary = WEB.get(f"{gateway.address}/canary", headers={"Authorization": f"Bearer {stolen[gateway.name]}"})
        assert (canary.status_code, canary.json()["error"]) == (401, "unknown_kid")
    accepted = _accepted(estate, new)
    world.until(lambda: _accepted(estate, new) > accepted + 20, "logins with the new key")
    assert _accepted(estate, old) == 0, "since its restart a gateway let the suspected key in"


def _token(estate: Estate, kid: str, gateway: str) -> str:
    return estate.identity.keys.sign_canary(kid, {**estate.identity._claims(f"canary:{gateway}", 1e6)})


def _login(estate: Estate) -> str:
    """A token of the suspected key, as somebody who holds it could have signed it for years to come."""
    claims = estate.identity._claims("findings-api", 1e8) | {"sub": "billing", "scope": "read"}
    return estate.identity.keys.sign(claims)[0]


def _let_in(estate: Estate, token: str) -> list[int]:
    headers = {"Authorization": f"Bearer {token}"}
    return [WEB.get(f"{gateway.address}/api/v1/findings", headers=headers).status_code for gateway in estate.gateways]


def _accepted(estate: Estate, kid: str) -> int:
    counted = [gateway.stats()["by_kid"].get(kid, {"accepted": 0}) for gateway in estate.gateways]
    return sum(int(one["accepted"]) for one in counted)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("order", ORDERS)
def test_a_suspected_api_key_is_revoked(world: World, order: str) -> None:
    estate = world.estate
    folder = estate.secrets_directory / "billing"
    secret, version = read_current(folder), current_version(folder)
    assert secret is not None

    rotation = revoke(world, "billing-api-key", order, person="dave")
    assert [key["enabled"] for key in estate.identity.api_keys.all("billing")] == [True]
    done = approved(world, rotation, "dave")

    assert (done.plan.order, done.state) == (order, State.PROMOTED), describe(done)
    assert ran(world, done.number)[0] == {"replace-first": "create", "contain-first": "disable-now"}[order]
    keys = {key["id"]: key["enabled"] for key in estate.identity.api_keys.all("billing")}
    assert keys.pop(secret.id) is False
    assert list(keys.values()) == [True]
    assert current_version(folder) != version
    used = estate.identity.api_keys.get(secret.id)["last_used_at"]
    refused = WEB.post(
        f"{estate.identity.address}/oauth2/token",
        data={"grant_type": "client_credentials"},
        auth=("billing", secret.value),
    )
    assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")
    assert estate.identity.api_keys.get(secret.id)["last_used_at"] == used

    def moved() -> bool:
        assert estate.clients is not None
        shown = estate.clients.stats()["clients"].values()
        return all(one["api_key_id"] in keys for one in shown if one["application"] == "billing")

    world.until(moved, "billing to log in with the new key")


@pytest.mark.timeout(60)
def test_a_revocation_is_approved_by_the_group_that_policy_names(world: World) -> None:
    rotation = revoke(world, "identity-signing", "contain-first")
    refused = world.say("erin", f"approve {rotation.id}")
    assert not refused.good, "erin is of the platform, which is only asked after a while"
    assert world.rotation(rotation.number).state is State.REQUESTED
    assert len(world.estate.identity.keys.all()) == 1


@pytest.mark.timeout(60)
def test_logins_meanwhile_are_told_why(world: World) -> None:
    """What the clients see between a containment and the new key."""
    estate = world.estate
    secret = read_current(estate.secrets_directory / "billing")
    assert secret is not None
    estate.identity.faults.turn("promote_fails")
    rotation = revoke(world, "identity-signing", "contain-first")
    world.say("bob", f"approve {rotation.id}")
    world.wait(rotation.number, lambda one: any(run.failures for run in one.steps), 30)
    answer = WEB.post(
        f"{estate.identity.address}/oauth2/token",
        data={"grant_type": "client_credentials"},
        auth=("billing", secret.value),
    )
    assert (answer.status_code, answer.json()["error"]) == (503, "no_signing_key")
    estate.identity.faults.clear()
    done = world.wait(rotation.number, lambda one: one.is_over or held(one), 60)
    assert done.state is State.PROMOTED, describe(done)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("path", ["/admin/refresh", "/admin/restart"])
@pytest.mark.parametrize("order", ORDERS)
def test_two_people_take_a_revocation_back_and_the_old_key_signs_again(world: World, order: str, path: str) -> None:
    estate, old = world.estate, world.estate.signing_kid()
    estate.gateways[1].faults.add("status", path, "POST", times=None, status=400)  # so that people are asked
    rotation = revoke(world, "identity-signing", order)
    assert world.say("bob", f"approve {rotation.id}").good
    world.wait(rotation.number, held, 60)
    estate.gateways[1].faults.clear()

    asked = world.say("alice", f'rollback {rotation.id} --reason "a false alarm"')
    assert "once a second person approves" in asked.text
    assert world.rotation(rotation.number).state is State.HELD, "one person alone took it back"
    agreed = world.say("carol", f"approve {rotation.id}")
    assert agreed.good, agreed.text
    done = world.wait(rotation.number, lambda one: one.is_over or held(one), 60)
    assert done.state is State.ROLLED_BACK, describe(done)
    assert estate.signing_kid() == old
    login = _login(estate)
    assert _let_in(estate, login) == [200, 200, 200]
