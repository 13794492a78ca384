"""A key expired in use: by a person's word and by the bot's own look, through the recovery to the mended reminder."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from bot.core.rotation import Overlap, Rotation, Stage, State
from bot.store.tables import CREDENTIAL, NOTICE
from playground.estate import Estate
from playground.estate.secret_files import read_current
from tests.world import World, describe, held, running

pytestmark = pytest.mark.journey
DAY = timedelta(days=1)
BOXES = ("access", "incidents", "rollback-plan", "notified", "dashboard", "contacts")


@pytest.fixture
def world(sqlite_url: str, tmp_path: Path) -> Iterator[World]:
    with (
        Estate.start(rate=1200.0, clients=6, calls_per_second=40.0) as estate,
        running(sqlite_url, estate, tmp_path, watched="1h") as world,
    ):
        yield world


def set_dates(world: World, name: str, **values: Any) -> None:
    """What a discovery and the reminders leave in the inventory."""
    with world.database.begin() as tx:
        tx.connection.execute(update(CREDENTIAL).where(CREDENTIAL.c.name == name).values(**values))


def expire(world: World, name: str) -> None:
    past = world.database.now() - DAY
    set_dates(world, name, expires_at=past, next_due=past, due_source="expiry")


def stage(world: World, number: int, name: str) -> Rotation:
    """Until the incident asks this."""

    def asks(found: Rotation) -> bool:
        i = found.current
        return i is not None and found.plan.steps[i].id == name and found.steps[i].stage is Stage.ASKING

    return world.wait(number, asks, 30)


def opened(world: World, name: str) -> int | None:
    with world.database.read() as reader:
        return reader.open_expiry(name, "production")


def notice(world: World, key: str) -> str:
    with world.database.read() as reader:
        rows = reader.connection.execute(NOTICE.select().where(NOTICE.c.key == key))
        return "".join(row.text for row in rows)


def investigated(world: World, number: int, person: str) -> None:
    """Identify, contain, and answer what the data leave open."""
    for name in ("identify", "contain", "investigate"):
        stage(world, number, name)
        if name == "investigate":
            for question in world.say(person, f"incident R-{number}").data["unanswered"]:
                assert world.say(person, f'incident R-{number} --answer {question} --text "nobody had looked"').good
        assert world.say(person, f"advance R-{number} {name}").good


@pytest.mark.timeout(120)
def test_the_bot_notices_a_key_that_expired_and_it_is_recovered_with_its_material_kept(world: World) -> None:
    estate = world.estate
    old = read_current(estate.secrets_directory / "billing")
    assert old is not None
    expire(world, "billing-api-key")
    number = world.until(lambda: opened(world, "billing-api-key"), "the bot to notice it")
    asked = stage(world, number, "identify")
    assert asked.plan.requester == "keyturn"
    evidence = asked.steps[0].evidence
    assert "callers receive authentication failures" in evidence
    assert "Calls with the new key fail" not in evidence, "there is no new key yet"
    assert world.say("bob", f"incident R-{number} --commander me").good

    asked_for = world.say("dave", f'start R-{number} --reason "it expired"', confirmed=True, ticked=BOXES)
    assert asked_for.good, asked_for.text
    recovery = asked_for.rotation
    assert recovery is not None
    assert not world.say("dave", f"approve R-{recovery}").good, "the recovery needs the consent that a rotation needs"
    assert world.say("bob", f"approve R-{recovery}").good
    world.wait(recovery, lambda one: one.promoted_at is not None or held(one), 60)
    assert world.rotation(recovery).state is State.PROMOTED, describe(world.rotation(recovery))

    investigated(world, number, "bob")
    stage(world, number, "communicate")
    assert world.rotation(number).steps[3].by == "keyturn", "passed by the promotion, not by a person"
    kept = world.wait(recovery, lambda one: any("kept for the audit" in run.evidence for run in one.steps), 60)
    destroying = [i for i, planned in enumerate(kept.plan.steps) if planned.effect == "destroys"]
    assert not any(kept.steps[i].touched for i in destroying)
    assert old.id in {key["id"] for key in estate.identity.api_keys.all("billing")}, "the failed key is there"

    refused = world.say("bob", f"advance R-{number}")
    assert "whether data are at risk" in refused.text
    assert world.say("bob", f'incident R-{number} --answer integrity --text "none; calls only failed"').good
    assert world.say("bob", f"advance R-{number} communicate").good
    told = notice(world, f"callers-{number}")
    assert f"R-{recovery}" in told
    assert old.id in told, "which key it was"
    assert "none; calls only failed" in told

    assert "is not mended" in world.say("bob", f"incident R-{number} --close").text
    now = world.database.now()
    set_dates(world, "billing-api-key", expires_at=None, next_due=now + 900 * DAY, remind_at=now + 800 * DAY)
    assert "First see to it that the reminder works" in world.say("bob", f"incident R-{number} --close").text
    assert world.say("bob", f'incident R-{number} --fixed "it has an owner who is reminded"').good
    closed = world.say("bob", f"incident R-{number} --close")
    assert closed.good, closed.text
    done = world.wait(recovery, lambda one: one.is_over or held(one), 60)
    assert done.overlap is Overlap.RETIRED, describe(done)
    assert all(done.steps[i].stage is Stage.DONE for i in destroying)
    events = [row.event for row in world.audit(recovery)]
    assert "step.material-kept" in events


@pytest.mark.timeout(120)
def test_a_person_says_that_a_signing_key_expired(world: World) -> None:
    shown = world.say("alice", "expired tokens are rejected")
    assert "identity-signing" in {one["credential"] for one in shown.data}
    said = world.say("alice", 'expired identity-signing --reason "gateways answer 401"')
    number = said.rotation
    assert number is not None
    asked = stage(world, number, "identify")
    assert "A gateway answers 401 although the key is served: no: " in asked.steps[0].evidence
    found = world.say("alice", f"fix R-{number} cache-age")
    assert "good: " in found.text
    assert "already the incident" in world.say("bob", "expired identity-signing").text
    rotation = world.start("alice", "identity-signing")
    assert world.say("bob", f"approve {rotation.id}").good
    world.wait(rotation.number, lambda one: one.promoted_at is not None or held(one), 60)
    investigated(world, number, "alice")
    stage(world, number, "communicate")
    assert rotation.id in world.rotation(number).steps[3].evidence
    with world.database.read() as reader:
        (row,) = reader.history(rotation=f"R-{number}", event="incident.opened")
        credential = reader.credential("identity-signing")[0]
    assert row.detail["known"]["owner"] == "alice"
    assert credential.last_rotated_at == world.rotation(rotation.number).promoted_at


@pytest.mark.timeout(60)
def test_somebody_of_no_role_opens_and_closes_nothing(world: World) -> None:
    said = world.say("alice", "expired identity-signing")
    number = said.rotation
    assert number is not None
    stage(world, number, "identify")
    account = "slack:T0KEYTURN/U0STRANGER"
    for words in ("expired billing-api-key", f"advance R-{number}", f"incident R-{number} --close"):
        receipt = world.engine.intake.hear(_heard(words, account))
        answer = world.answer(receipt.number)
        assert not answer.good, words
    assert opened(world, "billing-api-key") is None
    assert stage(world, number, "identify").current == 0


def _heard(words: str, account: str) -> Any:
    from bot.engine.intake import Heard

    return Heard(key=f"stranger {words}", account=account, text=words, channel="C0OPS")
