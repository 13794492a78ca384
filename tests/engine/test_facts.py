"""Facts: those that look others up are read after them, and a wait is believed to be over only on today's facts."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from logging import LoggerAdapter, getLogger
from typing import Any

import pytest

from bot.contracts.adapter import Fact, Known, Model, Part, Run, Sensor, Sighting
from bot.core.errors import Refused
from bot.core.plan import Plan, PlannedStep
from bot.core.rotation import Rotation, Stage, StepRun
from bot.core.runbook import QuietStep, Runbook, Section, StepBase, WaitStep
from bot.engine.executor import Executor
from bot.engine.facts import read_facts
from bot.engine.legs import Legs
from bot.engine.planner import timeline
from bot.engine.target_rows import TargetRows
from bot.engine.timers import Timers
from bot.store.database import Database
from tests.engine.test_review_recovery import ME, Noted, load, noted
from tests.store import samples

__all__ = ["noted"]
DAY, HOUR, SECOND = timedelta(days=1), timedelta(hours=1), timedelta(seconds=1)


class Entry(Fact):
    """What stands in a box of the test's world, under the key that is in use unless another one is named."""

    class Params(Model):
        box: str
        key: str = ""

    def __init__(self, world: Mapping[str, Mapping[str, Any]]) -> None:
        self._world = world

    def read(self, p: Params, run: Run) -> Known:
        box = self._world[p.box]
        return Known(box[p.key or box["active"]], p.box)


class Unseen(Sensor):
    """Nobody ever uses the old credential."""

    class Params(Model):
        pass

    def last_seen(self, p: Params, run: Run) -> Sighting:
        return Sighting(datetime(2020, 1, 1, tzinfo=UTC), "counted", None, ())


class Registry:
    """One fact and one sensor."""

    def __init__(self, world: Mapping[str, Mapping[str, Any]]) -> None:
        self._world = world

    def part(self, word: str) -> type[Part]:
        return Entry

    def fact(self, word: str) -> Fact:
        return Entry(self._world)

    def sensor(self, word: str) -> Sensor:
        return Unseen(None)


def book(facts: Mapping[str, Any], **more: Any) -> Runbook:
    steps = [{"id": "done", "ask": "Is it done?"}]
    said = {"runbook": "sample", "summary": "Reads facts and does nothing.", "rollback_within": "5m", "steps": steps}
    return Runbook.model_validate({**said, "facts": facts, **more})


def read(runbook: Runbook, world: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    registry: Any = Registry(world)
    secrets: Any = None
    run = Run("plan", "plan", "ada", secrets, samples.NOW, LoggerAdapter(getLogger("t"), {}), time.monotonic() + 5)
    plan = replace(samples.plan(), arguments=runbook.with_)
    return read_facts(registry, runbook, plan, run)[0]


# --- planning ---------------------------------------------------------------------------------------------------------


def test_a_fact_that_looks_others_up_is_read_after_them() -> None:
    world = {"versions": {"active": "now", "now": "v1"}, "owners": {"active": "v2", "v1": "ann", "v2": "bob"}}
    facts = {
        "last": {"read": "a.entry", "with": {"box": "owners", "key": "${{ facts.version }}"}},
        "version": {"read": "a.entry", "with": {"box": "versions"}},
    }
    found = read(book(facts), world)
    assert list(found) == ["last", "version"], "as they stand in the runbook"
    assert {name: fact["value"] for name, fact in found.items()} == {"last": "ann", "version": "v1"}


def test_a_shared_argument_that_looks_a_fact_up_is_one_of_its_look_ups() -> None:
    world = {"versions": {"active": "now", "now": "v1"}, "owners": {"active": "v2", "v1": "ann", "v2": "bob"}}
    facts = {
        "last": {"read": "a.entry", "with": {"box": "owners"}},
        "version": {"read": "a.entry", "with": {"box": "versions", "key": "now"}},
    }
    shared = {"key": "${{ facts.version }}", "not-taken": "${{ facts.last }}"}
    assert read(book(facts, **{"with": shared}), world)["last"]["value"] == "ann"


def test_facts_that_look_each_other_up_are_refused() -> None:
    facts = {
        "one": {"read": "a.entry", "with": {"box": "${{ facts.other }}"}},
        "other": {"read": "a.entry", "with": {"box": "${{ facts.one }}"}},
        "alone": {"read": "a.entry", "with": {"box": "b"}},
    }
    with pytest.raises(Refused, match="the facts one, other look each other up"):
        read(book(facts), {"b": {"active": "x", "x": 1}})


@pytest.mark.parametrize("value", ["soon", "2026-03-01T12:00:00", 90, None])
def test_a_moment_has_to_be_one(value: Any) -> None:
    facts = {"ends": {"read": "a.entry", "type": "moment", "with": {"box": "tokens"}}}
    with pytest.raises(Refused, match=r"ends is read from a\.entry, which gives no moment"):
        read(book(facts), {"tokens": {"active": "v1", "v1": value}})


# --- waits ------------------------------------------------------------------------------------------------------------


class Waiting:
    """A rotation whose retirement is one step, and the two hands that move it: legs and timers."""

    def __init__(self, database: Database, noted: Noted, plan: Plan, world: Mapping[str, Mapping[str, Any]]) -> None:
        self.database, self._noted = database, noted
        registry: Any = Registry(world)
        secrets: Any = None
        executor = Executor(registry, secrets, database.now, lambda delay: delay, TargetRows(database))
        self._legs = Legs(database, executor, lambda rotation: None, ME)
        self._timers = Timers(database, ME)
        with database.begin() as tx:
            rotation = tx.save(None, samples.opened(tx.next_number(), plan, tx.now))
        rotation = samples.approve(database, rotation)
        while rotation.promoted_at is None:
            rotation = samples.finish_step(database, rotation)
        self.rotation = rotation
        del noted.legs[:-1]  # those of the steps that are done
        self._work()
        began = self.step.began_at
        assert began is not None
        self.began = began

    @property
    def step(self) -> StepRun:
        return self.now().steps[-1]

    def after(self, span: timedelta) -> StepRun:
        """How the step stands so long after it began."""
        return self.at(self.began + span)

    def at(self, when: datetime) -> StepRun:
        self.database.clock.advance(when - self.database.now())
        self._timers.tick()
        self._work()
        return self.step

    def now(self) -> Rotation:
        return load(self.database, self.rotation.number)

    def _work(self) -> None:
        while self._noted.legs:
            self._legs.run(self._noted.legs.pop(0))


def planned(step: StepBase, facts: Mapping[str, Any], world: Mapping[str, Mapping[str, Any]]) -> Plan:
    """A plan with facts as they are read now, whose retirement is the step."""
    plan = samples.plan(retire=0, retire_within=60 * DAY)
    steps = (*plan.steps, PlannedStep(Section.RETIRE, step))
    return replace(plan, steps=steps, facts=read(book(facts), world))


Begin = Callable[[StepBase, Mapping[str, Any], Mapping[str, Mapping[str, Any]]], Waiting]


@pytest.fixture
def begin(database: Database, noted: Noted) -> Begin:
    return lambda step, facts, world: Waiting(database, noted, planned(step, facts, world), world)


LIFE = WaitStep.model_validate({"id": "outlive", "wait": "${{ facts.life }}"})
QUIET = QuietStep.model_validate({"id": "unused", "quiet": "a.seen", "for": "1m", "at_least": "${{ facts.life }}"})


def life(**bound: Any) -> dict[str, Any]:
    return {"life": {"read": "a.entry", "type": "duration", "with": {"box": "settings"}, **bound}}


AT_MOST = life(bound="at_most", at_most="3d")


@pytest.mark.parametrize("step", [LIFE, QUIET], ids=["wait", "quiet"])
def test_a_wait_goes_on_where_its_fact_has_grown_within_bounds(begin: Begin, step: StepBase) -> None:
    world: dict[str, dict[str, Any]] = {"settings": {"active": "ttl", "ttl": DAY.total_seconds()}}
    waiting = begin(step, AT_MOST, world)
    world["settings"]["ttl"] = (2 * DAY).total_seconds()
    run = waiting.after(DAY + SECOND)
    assert run.stage is Stage.WAITING
    assert waiting.after(2 * DAY - HOUR).stage is Stage.WAITING
    assert waiting.after(2 * DAY + SECOND).stage is Stage.DONE


@pytest.mark.parametrize("step", [LIFE, QUIET], ids=["wait", "quiet"])
@pytest.mark.parametrize(
    ("facts", "grown"), [(AT_MOST, 4 * DAY), (life(), 2 * DAY)], ids=["above-at-most", "no-longer-the-same"]
)
def test_people_are_asked_where_a_fact_has_left_its_bounds(
    begin: Begin, step: StepBase, facts: Mapping[str, Any], grown: timedelta
) -> None:
    world: dict[str, dict[str, Any]] = {"settings": {"active": "ttl", "ttl": DAY.total_seconds()}}
    waiting = begin(step, facts, world)
    world["settings"]["ttl"] = grown.total_seconds()
    assert waiting.after(DAY - HOUR).stage is Stage.WAITING, "it is read when it matters"
    run = waiting.after(DAY + SECOND)
    assert run.stage is Stage.HELD
    assert run.problem == f"life is now {grown.total_seconds()} (settings), outside of what the plan allows"


def test_a_wait_is_never_shorter_than_planned(begin: Begin) -> None:
    """What was issued before the setting was lowered still lives as long as it said."""
    world: dict[str, dict[str, Any]] = {"settings": {"active": "ttl", "ttl": (2 * DAY).total_seconds()}}
    waiting = begin(LIFE, life(bound="any"), world)
    world["settings"]["ttl"] = HOUR.total_seconds()
    assert waiting.after(2 * DAY - HOUR).stage is Stage.WAITING
    assert waiting.after(2 * DAY + SECOND).stage is Stage.DONE


UNTIL = WaitStep.model_validate({"id": "expire", "wait": "${{ max(until(facts.ends), 1h) }}"})
TOKEN = {
    "version": {"read": "a.entry", "with": {"box": "pointer"}},
    "ends": {"read": "a.entry", "type": "moment", "with": {"box": "tokens", "key": "${{ facts.version }}"}},
}


def tokens(now: datetime) -> dict[str, dict[str, Any]]:
    """The token in use ends in a week, the one that replaces it in a quarter."""
    ends = {"v1": (now + 7 * DAY).isoformat(), "v2": (now + 90 * DAY).isoformat()}
    return {"pointer": {"active": "name", "name": "v1"}, "tokens": {"active": "v1", **ends}}


def test_a_wait_for_a_moment_ends_then_whatever_is_in_use_by_now(database: Database, begin: Begin) -> None:
    world = tokens(database.now())
    ends = datetime.fromisoformat(world["tokens"]["v1"])
    database.clock.advance(2 * HOUR)  # planned, and approved later
    waiting = begin(UNTIL, TOKEN, world)
    due = waiting.step.due_at
    assert due is not None
    assert timedelta(0) <= due - ends <= SECOND
    world["tokens"]["active"] = world["pointer"]["name"] = "v2"
    assert waiting.at(ends - SECOND).stage is Stage.WAITING
    assert waiting.at(due).stage is Stage.DONE


def test_a_moment_that_has_passed_is_waited_for_no_longer(database: Database, begin: Begin) -> None:
    world = tokens(database.now())
    world["tokens"]["v1"] = (database.now() - DAY).isoformat()
    waiting = begin(UNTIL, TOKEN, world)
    assert waiting.step.due_at == waiting.began + HOUR
    assert waiting.after(HOUR + SECOND).stage is Stage.DONE


def test_people_are_asked_where_the_moment_is_another_one(database: Database, begin: Begin) -> None:
    world = tokens(database.now())
    ends = datetime.fromisoformat(world["tokens"]["v1"])
    waiting = begin(UNTIL, TOKEN, world)
    world["tokens"]["v1"] = (ends + DAY).isoformat()
    run = waiting.at(ends + 2 * SECOND)
    assert run.stage is Stage.HELD
    assert "ends is now" in run.problem


def test_a_plan_tells_when_a_moment_comes_and_not_how_long_that_is_after_its_other_waits() -> None:
    step = WaitStep.model_validate({"id": "before", "wait": "2d"})
    plan = planned(UNTIL, TOKEN, tokens(samples.NOW))
    plan = replace(plan, steps=(PlannedStep(Section.RETIRE, step), *plan.steps))
    waits, _, whole = timeline(plan, samples.NOW)
    assert whole == 7 * DAY
    assert waits["expire"] == "5d = max(until(facts.ends), 1h) (tokens)"
