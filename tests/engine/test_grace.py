"""A grace that ends soon: people hear of it where a sensor still sees the old credential, and only there."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from bot.contracts.adapter import Model, Run, Sensor, Sighting
from bot.core.plan import PlannedStep
from bot.core.rotation import Rotation, Stage
from bot.core.runbook import QuietStep, Section
from bot.engine.executor import Executor
from bot.engine.judge import silence
from bot.engine.legs import Legs
from bot.engine.target_rows import TargetRows
from bot.engine.timers import Timers
from bot.store.database import Database
from bot.store.records import NoticeRow
from bot.store.tables import NOTICE
from tests.engine.test_review_recovery import ME, Noted, load, noted
from tests.store import samples

__all__ = ["noted"]
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
GRACE = 14 * DAY


class Seen(Sensor):
    """What a test says was seen, and by whom."""

    class Params(Model):
        pass

    ago: timedelta | None = None
    """How long before every look; None for never."""
    since = datetime(2020, 1, 1, tzinfo=UTC)

    def last_seen(self, p: Params, run: Run) -> Sighting:
        at = None if self.ago is None else run.now - self.ago
        return Sighting(self.since, "counted", at, ("billing",) if at else ())


class Words:
    """A registry of one sensor."""

    def __init__(self, sensor: Sensor) -> None:
        self._sensor = sensor

    def sensor(self, word: str) -> Sensor:
        return self._sensor


class Grace:
    """A rotation whose old credential is watched, and the two hands that move it: legs and timers."""

    def __init__(self, database: Database, noted: Noted) -> None:
        self.database, self._noted = database, noted
        self.clock = database.clock
        self.sensor = Seen(None)
        registry: Any = Words(self.sensor)
        secrets: Any = None
        executor = Executor(registry, secrets, database.now, lambda delay: delay, TargetRows(database))
        self._legs = Legs(database, executor, lambda rotation: None, ME)
        self._timers = Timers(database, ME)
        said = {"id": "unused", "quiet": "seen.key", "for": "2d", "at_least": "10d", "within": "14d"}
        step = QuietStep.model_validate(said)
        quiet = PlannedStep(Section.RETIRE, step)
        plan = samples.plan(retire=0, retire_within=GRACE)
        plan = replace(plan, steps=(*plan.steps, quiet))
        with database.begin() as tx:
            rotation = tx.save(None, samples.opened(tx.next_number(), plan, tx.now))
        rotation = samples.approve(database, rotation)
        while rotation.promoted_at is None:
            rotation = samples.finish_step(database, rotation)
        self.rotation = rotation
        del noted.legs[:-1]  # those of the steps that are done
        self._work()

    def after(self, span: timedelta) -> None:
        """Look once more, so long after the credential was promoted."""
        assert self.rotation.promoted_at is not None
        self.clock.advance(self.rotation.promoted_at + span - self.database.now())
        self._timers.tick()
        self._work()

    def told(self, what: str = "grace-") -> list[NoticeRow]:
        with self.database.read() as reader:
            rows = reader.connection.execute(select(NOTICE).where(NOTICE.c.key.startswith(what)))
            return [NoticeRow(*row) for row in rows]

    def _work(self) -> None:
        while self._noted.legs:
            self._legs.run(self._noted.legs.pop(0))

    def now(self) -> Rotation:
        return load(self.database, self.rotation.number)


@pytest.fixture
def grace(database: Database, noted: Noted) -> Grace:
    return Grace(database, noted)


def test_who_still_uses_it_is_looked_for_a_day_before_the_grace_ends(grace: Grace) -> None:
    grace.sensor.ago = 3 * HOUR
    grace.after(GRACE - DAY - HOUR)
    assert grace.told() == [], "there is more than a day left"
    grace.after(GRACE - DAY + HOUR)
    channel, owner = sorted(grace.told(), key=lambda row: row.person)
    assert (channel.channel, owner.person) == ("C1", "@payments")
    assert channel.text == owner.text
    assert "the old credential is still in use" in channel.text
    assert "ago by billing" in channel.text
    assert f"{grace.now().overlap_deadline:%Y-%m-%d %H:%M} UTC" in channel.text
    grace.after(GRACE - HOUR)
    assert len(grace.told()) == 2, "once"


def test_nobody_is_sent_to_look_for_a_use_that_no_sensor_sees(grace: Grace) -> None:
    grace.after(HOUR)
    grace.sensor.since = grace.database.now() + GRACE - 2 * DAY  # the counters are younger than what is demanded
    grace.after(GRACE - 2 * DAY)
    grace.after(GRACE - DAY + HOUR)
    assert grace.now().steps[-1].stage is Stage.WAITING, "it is not at its end: only a use would be told"
    assert grace.told() == []


def test_a_use_that_is_seen_first_on_the_last_day_is_told_then(grace: Grace) -> None:
    grace.after(HOUR)
    grace.sensor.since = grace.database.now() + GRACE - 2 * DAY  # the counters are younger than what is demanded
    grace.after(GRACE - DAY + HOUR)
    assert grace.told() == []
    grace.sensor.ago = HOUR
    grace.after(GRACE - DAY + 5 * HOUR)
    grace.after(GRACE - DAY + 6 * HOUR)
    grace.after(GRACE - DAY + 9 * HOUR)
    assert sorted(row.person for row in grace.told()) == ["", "@payments"]


def test_an_overlap_past_its_deadline_is_said_where_its_card_is_and_to_its_owner(grace: Grace) -> None:
    grace.sensor.ago = 3 * HOUR
    grace.after(GRACE - HOUR)
    assert grace.told("overdue-") == []
    grace.after(GRACE + HOUR)
    row, owner = sorted(grace.told("overdue-"), key=lambda row: row.person)
    assert (owner.person, owner.text) == ("@payments", row.text)
    assert (row.person, row.channel) == ("", "C1")
    assert row.payload == {"rotation": grace.rotation.number, "broadcast": True}
    assert row.text.startswith("R-1 (checkout, production) is past its deadline: the old credential is still valid.")
    assert "It waits at: " in row.text
    assert "ago by billing" in row.text
    grace.after(GRACE + 6 * DAY)
    assert len(grace.told("overdue-")) == 2
    grace.after(GRACE + 8 * DAY)
    assert len(grace.told("overdue-")) == 4, "said again while the old credential is valid"


@pytest.mark.parametrize(
    ("ago", "since", "recent"),
    [(None, 30 * DAY, False), (HOUR, 30 * DAY, True), (DAY, 30 * DAY, False), (2 * DAY, HOUR, False)],
    ids=["never", "lately", "long-enough-ago", "before-the-counters"],
)
def test_a_use_counts_while_it_alone_forbids(ago: timedelta | None, since: timedelta, recent: bool) -> None:
    now = samples.NOW
    seen = Sighting(now - since, "counted", None if ago is None else now - ago)
    found = silence({"a": seen}, quiet_for=DAY, since=now - HOUR, at_least=9 * DAY, now=now)
    assert not found.quiet
    assert (found.used_at is not None) is recent
