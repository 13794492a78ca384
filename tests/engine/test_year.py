"""A small year, lived as fast as it goes: every tier once, whatever people, restarts and the clock do."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest

from bot.core.reminders import Rules, Stage
from bot.store.clock import Clock
from bot.store.database import Database
from bot.store.writing import Transaction
from tests.conftest import Opener
from tests.engine.keeping_stage import DAY, HOUR, MONDAY, Keep
from tests.engine.year import Year, judge

RULES = Rules(escalation=(Stage(7 * DAY, ("channel",)), Stage(timedelta(0), ("security",))))
CREDENTIALS, RESTARTS, JUMPS, ACTS = 12, 12, 5, 60


class Killed(Exception):
    """The process died inside a transaction."""


@pytest.mark.parametrize("seed", [7, 11, pytest.param(random.SystemRandom().randrange(10**6), id="fresh")])
def test_every_tier_of_a_year_is_told_once(
    seed: int, sqlite_url: str, open_database: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(seed)
    keep = Keep(open_database(sqlite_url), RULES)
    year = Year(chance)
    year.declare(keep.database, CREDENTIALS)
    end = MONDAY + 366 * DAY
    moments = sorted(MONDAY + 360 * DAY * chance.random() for _ in range(RESTARTS + JUMPS + ACTS))
    acts = ["restart"] * RESTARTS + ["jump"] * JUMPS + ["act"] * ACTS
    chance.shuffle(acts)
    for at, act in zip(moments, acts, strict=True):
        if at > keep.now:
            keep.run_until(at)
        if act == "restart":
            keep = _die(keep, open_database(sqlite_url, Clock(offset=keep.database.clock.offset)), monkeypatch)
        elif act == "jump":
            keep.database.clock.advance(chance.choice((-1, 1)) * chance.random() * 3 * DAY)
        else:
            year.act(keep.database)
        if chance.random() < 0.5:
            keep.deliver()
    keep.run_until(max(end, keep.now))
    assert judge(keep.database, year, RULES) == [], f"seed {seed}"


def _die(keep: Keep, again: Database, monkeypatch: pytest.MonkeyPatch) -> Keep:
    """Killed in the middle of the next reminders, after everything was written and before it was committed."""

    def die(tx: Transaction, looked: object) -> None:
        raise Killed

    with keep.database.begin() as tx:
        tx.look_at_all()
    with monkeypatch.context() as patched:
        patched.setattr(Transaction, "settle", die)
        with pytest.raises(Killed):
            keep.reminders.turn()
    fresh = Keep(again, RULES, at=again.now())
    assert abs(fresh.now - keep.now) < HOUR
    return fresh


def test_the_judge_sees_what_is_missing_and_what_is_twice(sqlite_url: str, open_database: Opener) -> None:
    """A control: the same year in which everything is forgotten on its third day."""
    keep = Keep(open_database(sqlite_url), RULES)
    year = Year(random.Random(3))
    year.declare(keep.database, 5)
    keep.run_until(MONDAY + 3 * DAY)
    with keep.database.begin() as tx:
        tx.connection.exec_driver_sql("UPDATE credential SET remind_at = NULL")
    keep.run_until(MONDAY + 366 * DAY)
    assert judge(keep.database, year, RULES) != []
