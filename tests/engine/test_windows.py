"""Windows and freezes through board, legs and timers: approved ahead, begun in time, never in an emergency's way."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from bot.core.rotation import Rotation, Stage, State
from bot.core.windows import Calendar, Freeze, Window
from bot.store.database import Database
from bot.store.records import Declared
from bot.store.tables import CREDENTIAL
from tests.engine.stage import MINUTE, ORDINARY, REVOKING, bound_to
from tests.engine.stage import Stage as World

HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)
RULES = (ORDINARY,)


def window(database: Database, begins: timedelta, lasts: timedelta) -> Window:
    """One that opens daily so long after now."""
    now = database.now()
    return Window("nightly", (now + begins).time(), (now + begins + lasts).time())


def freeze(database: Database, begins: timedelta, ends: timedelta) -> Freeze:
    now = database.now()
    return Freeze("year end", now + begins, now + ends, "few people")


def make(
    database: Database, folder: Path, *, windows: tuple[Window, ...] = (), freezes: tuple[Freeze, ...] = ()
) -> World:
    return World(database, folder, RULES, calendar=Calendar(windows, freezes))


def approve(world: World, rotation: Rotation) -> Rotation:
    approved = world.vote("bob", rotation, sign=False)
    assert approved.state is State.APPROVED
    world.work()
    return world.load(rotation)


def pass_time(world: World, by: timedelta) -> None:
    world.clock.advance(by)
    world.timers().tick()
    world.work()


def test_approved_ahead_it_begins_when_its_window_opens(database: Database, tmp_path: Path) -> None:
    world = make(database, tmp_path, windows=(window(database, 3 * HOUR, HOUR),))
    rotation = approve(world, world.start())
    assert (rotation.state, rotation.steps[0].stage) == (State.APPROVED, Stage.WAITING)
    assert not rotation.steps[0].touched
    assert "nightly" in rotation.outcome
    assert len(world.audit(rotation, "rotation.postponed")) == 1
    pass_time(world, 2 * HOUR)
    assert world.load(rotation).state is State.APPROVED
    pass_time(world, HOUR + SECOND)
    assert world.load(rotation).state is State.PROMOTED


def test_within_its_window_it_begins_at_once(sqlite_database: Database, tmp_path: Path) -> None:
    world = make(sqlite_database, tmp_path, windows=(window(sqlite_database, -HOUR, 2 * HOUR),))
    assert approve(world, world.start()).state is State.PROMOTED


def test_consent_ends_with_the_window(sqlite_database: Database, tmp_path: Path) -> None:
    world = make(sqlite_database, tmp_path, windows=(window(sqlite_database, 3 * HOUR, HOUR),))
    seen = world.start()
    rotation = approve(world, seen)
    pass_time(world, 4 * HOUR + MINUTE)  # nobody worked while it was open
    again = world.load(rotation)
    assert (again.state, again.votes) == (State.REQUESTED, ())
    assert bound_to(again) != bound_to(seen)
    pass_time(world, 25 * HOUR)
    assert world.load(rotation).state is State.ABANDONED


def test_a_freeze_holds_it_until_it_ends(sqlite_database: Database, tmp_path: Path) -> None:
    world = make(sqlite_database, tmp_path, freezes=(freeze(sqlite_database, -HOUR, 5 * HOUR),))
    rotation = approve(world, world.start())
    assert "frozen by year end" in rotation.outcome
    pass_time(world, 4 * HOUR)
    assert world.load(rotation).state is State.APPROVED
    pass_time(world, HOUR + SECOND)
    assert world.load(rotation).state is State.PROMOTED


@pytest.mark.parametrize(("due", "begins"), [(4 * HOUR, True), (6 * HOUR, False)])
def test_a_freeze_never_lets_a_credential_expire(
    sqlite_database: Database, tmp_path: Path, due: timedelta, begins: bool
) -> None:
    world = make(sqlite_database, tmp_path, freezes=(freeze(sqlite_database, -HOUR, 5 * HOUR),))
    make_due(sqlite_database, sqlite_database.now() + due)
    assert (approve(world, world.start()).state is State.PROMOTED) is begins


def make_due(database: Database, at: datetime) -> None:
    """As after a rotation whose next one is due then."""
    with database.begin() as tx:
        tx.apply_credentials(
            [Declared("identity-signing", "production", "signing-key", "alice", "identity-es256", None, {}, {})]
        )
    with database.engine.begin() as connection:
        connection.execute(update(CREDENTIAL).values(next_due=at))
    with database.read() as reader:
        assert reader.credential("identity-signing")[0].next_due == at


def test_an_emergency_waits_for_neither(database: Database, tmp_path: Path) -> None:
    rules = (replace(REVOKING, signed=False), ORDINARY)
    calendar = Calendar((window(database, 3 * HOUR, HOUR),), (freeze(database, -HOUR, 5 * HOUR),))
    world = World(database, tmp_path, rules, calendar=calendar)
    rotation = approve(world, world.revoke())
    assert rotation.state is State.PROMOTED
    assert world.audit(rotation, "rotation.postponed") == []


def test_an_emergency_takes_over_what_waits_for_its_window(sqlite_database: Database, tmp_path: Path) -> None:
    calendar = Calendar((window(sqlite_database, 3 * HOUR, HOUR),))
    world = World(sqlite_database, tmp_path, (replace(REVOKING, signed=False), ORDINARY), calendar=calendar)
    ordinary = approve(world, world.start())
    assert approve(world, world.revoke()).state is State.PROMOTED
    pass_time(world, 3 * HOUR + SECOND)
    taken = world.load(ordinary)
    assert (taken.state, taken.steps[0].touched) == (State.ABANDONED, False)


def test_a_window_that_a_freeze_covers_is_not_the_one(sqlite_database: Database, tmp_path: Path) -> None:
    windows, freezes = (window(sqlite_database, HOUR, HOUR),), (freeze(sqlite_database, 0 * HOUR, 3 * HOUR),)
    world = make(sqlite_database, tmp_path, windows=windows, freezes=freezes)
    rotation = approve(world, world.start())
    due = rotation.steps[0].due_at
    assert due is not None
    assert due - sqlite_database.now() > 24 * HOUR
    pass_time(world, 25 * HOUR + SECOND)
    assert world.load(rotation).state is State.PROMOTED, "its consent lasts to the end of its window"
