"""Rollback from every step before the end: the old credential is in use again, and nobody failed to log in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bot.core.rotation import Rotation, State
from playground.estate import Estate
from playground.estate.secret_files import current_version
from tests.world import World, describe, running

KEYS = "/api/v1/admin/keys"
API_KEYS = "/api/v1/admin/api-keys"
Spoil = Callable[[Estate], Any]


@pytest.fixture
def estate() -> Iterator[Estate]:
    with Estate.start(rate=2400.0, clients=6, calls_per_second=40.0, jwks_max_age=300) as running_estate:
        yield running_estate


@pytest.fixture
def world(estate: Estate, sqlite_url: str, tmp_path: Path) -> Iterator[World]:
    with running(sqlite_url, estate, tmp_path, watched="1h") as started:
        yield started


def at(step: str) -> Callable[[Rotation], bool]:
    """Whether this step was begun and is not finished."""

    def look(rotation: Rotation) -> bool:
        i = rotation.current
        return i is not None and rotation.plan.steps[i].id == step and rotation.steps[i].touched

    return look


def roll_back_at(world: World, number: int, step: str) -> Rotation:
    """Approve, wait for the step, roll back; the rotation at its end."""
    assert world.say("bob", f"approve R-{number}").good
    world.wait(number, at(step))
    answer = world.say("carol", f'rollback R-{number} --reason "errors"')
    assert answer.good, answer.text
    done = world.wait(number, lambda r: r.is_over)
    asked = next(run for run in reversed(world.audit(number)) if run.event == "rotation.rolling-back")
    assert asked.actor == "carol"
    return done


SIGNING: list[tuple[str, Spoil | None]] = [
    ("key-store", lambda estate: estate.identity.faults.turn("key_store_down")),
    ("publish", lambda estate: estate.identity.faults.add("lose", f"{KEYS}/rotate", "POST")),
    ("served", lambda estate: estate.identity.faults.add("status", "/.well-known/*", times=None, status=410)),
    ("learn", lambda estate: estate.gateways[0].faults.turn("lagging")),
    ("promote", None),
    ("healthy", None),
    ("outlive", None),
    ("quiet", None),
    ("fetch", None),
    ("disable", None),
    ("dead", lambda estate: estate.gateways[1].faults.turn("ignores_removal")),
]


@pytest.mark.parametrize(("step", "spoil"), SIGNING, ids=[step for step, _ in SIGNING])
def test_the_old_key_signs_again(world: World, step: str, spoil: Spoil | None) -> None:
    estate, old = world.estate, world.estate.signing_kid()
    rotation = world.start()
    fault = spoil(estate) if spoil is not None else None
    done = roll_back_at(world, rotation.number, step)
    assert done.state is State.ROLLED_BACK, describe(done)
    assert "Rolled back by carol: errors" in done.outcome
    assert estate.signing_kid() == old
    assert estate.identity.keys.get(old)["state"] == "current"
    # A key that has signed stays published until its tokens have run out; one that has not is gone.
    others = [key for key in estate.identity.keys.all() if key["kid"] != old]
    assert all(key["state"] == "previous" and key["last_signed_at"] for key in others)
    assert len(others) <= (0 if step in ("key-store", "publish", "served", "learn") else 1)
    assert fault is None or fault.fired
    if step != "key-store":  # without its key store the service signs for nobody
        _nobody_fails_to_log_in(world)
    with world.database.read() as reader:
        credential = reader.credential("identity-signing")[0]
    assert credential.next_due is None
    assert world.say("alice", 'start identity-signing --reason "again" --yes').good


def _nobody_fails_to_log_in(world: World) -> None:
    clients = world.estate.clients
    assert clients is not None
    logins = clients.stats()["logins_total"]
    world.until(lambda: clients.stats()["logins_total"] > logins + 30, "more logins")
    assert clients.stats()["failures_total"] == 0


API: list[tuple[str, Spoil | None]] = [
    ("create", lambda estate: estate.identity.faults.add("lose", API_KEYS, "POST")),
    ("move", None),
    ("healthy", None),
    ("quiet", None),
    ("disable", None),
]


POINTED = {"move", "healthy", "quiet", "disable"}
"""Where clients are, or were, told of the new key."""


@pytest.mark.parametrize(("step", "spoil"), API, ids=[step for step, _ in API])
def test_the_old_api_key_is_used_again(world: World, step: str, spoil: Spoil | None) -> None:
    estate = world.estate
    folder = estate.secrets_directory / "billing"
    first, old = current_version(folder), estate.identity.api_keys.all("billing")
    rotation = world.start("dave", "billing-api-key")
    fault = spoil(estate) if spoil is not None else None
    done = roll_back_at(world, rotation.number, step)
    assert done.state is State.ROLLED_BACK, describe(done)
    assert current_version(folder) == first
    left = [(key["id"], key["enabled"]) for key in estate.identity.api_keys.all("billing")]
    told = done.steps[0].evidence
    kept = [one for one in left if f"{one[0]} stays enabled and stored" in told]
    assert len(kept) == (1 if step in POINTED else 0), "what clients may have taken by then goes on working"
    assert [one for one in left if one not in kept] == [(key["id"], True) for key in old], (
        "an orphan, or a disabled one"
    )
    assert fault is None or fault.fired
    _nobody_fails_to_log_in(world)


def test_after_the_point_of_no_return_a_rollback_is_refused(world: World) -> None:
    fault = world.estate.identity.faults.add("status", f"{API_KEYS}/*", "DELETE", times=None, status=409)
    rotation = world.start("dave", "billing-api-key")
    assert world.say("bob", f"approve R-{rotation.number}").good
    world.wait(rotation.number, lambda r: at("remove")(r) and fault.fired > 0)
    answer = world.say("carol", f'rollback R-{rotation.number} --reason "errors"')
    assert not answer.good
    assert "past its point of no return (remove has run); start a new rotation instead" in answer.text
