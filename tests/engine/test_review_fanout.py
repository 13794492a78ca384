"""A fan-out that is half done: it stops when it no longer goes on here, and its undo knows what each target gave."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bot.contracts.adapter import Absent, Effect, Model, Observed, Operation, Outputs, Run, Sighting
from bot.core.decide import decide
from bot.core.errors import Permanent, Underway
from bot.core.plan import PlannedStep
from bot.core.rotation import (
    Began,
    Done,
    Due,
    Ended,
    Failed,
    Opened,
    RolledBack,
    Rotation,
    Stage,
    State,
    TakenOver,
    Voted,
)
from bot.core.runbook import DoStep, Section
from bot.engine.announce import _told
from bot.engine.executor import Executor
from bot.engine.judge import silence
from bot.engine.legs import Legs
from bot.engine.target_rows import TargetRows
from bot.store.database import Database
from tests.engine.test_review_recovery import ME, Noted, load, noted
from tests.store import samples

__all__ = ["noted"]
TARGETS = [f"gw-{i}" for i in range(20)]


class Restart(Operation):
    """Remembers what it did and what its undo was told."""

    effect = Effect.CHANGES

    class Params(Model):
        name: str

    def __init__(self, hook: Callable[[str], None] = lambda name: None) -> None:
        super().__init__(None)
        self.hook = hook
        self.touched: list[str] = []
        self.undone: dict[str, Outputs] = {}

    def observe(self, p: Params, run: Run) -> Observed:
        return Absent()

    def ensure(self, p: Params, run: Run) -> Outputs:
        self.touched.append(p.name)
        self.hook(p.name)
        return {"changed": False, "name": p.name}

    def undo(self, p: Params, run: Run, outputs: Outputs) -> None:
        if p.name not in self.undone:
            self.undone[p.name] = outputs
            if p.name == "gw-1":
                raise Permanent("not now")
        self.undone[p.name] = outputs


class Words:
    """A registry of one word."""

    def __init__(self, operation: Operation) -> None:
        self._operation = operation

    def operation(self, word: str) -> Operation:
        return self._operation


def make(database: Database, operation: Operation) -> Legs:
    registry: Any = Words(operation)
    secrets: Any = None
    executor = Executor(registry, secrets, database.now, lambda delay: delay, TargetRows(database))
    return Legs(database, executor, lambda rotation: None, ME)


def step(**more: Any) -> tuple[PlannedStep, ...]:
    said = {"id": "restart", "do": "gateways.restart", "each": TARGETS, "with": {"name": "${{ each }}"}, **more}
    line = DoStep.model_validate(said)
    return (PlannedStep(Section.STEPS, line, "changes"),)


def roll_back(database: Database, number: int) -> None:
    with database.begin() as tx:
        rotation = tx.rotation(number)
        tx.save(rotation, decide(rotation, RolledBack("carol", "stop"), tx.now))


def run_all(database: Database, legs: Legs, noted: Noted) -> None:
    while noted.legs:
        legs.run(noted.legs.pop(0))


def test_a_rollback_stops_the_targets_that_were_not_begun(database: Database, noted: Noted) -> None:
    started = request_fanout(database, at_once=1)

    def ask(name: str) -> None:
        if name == "gw-2":
            roll_back(database, started.number)

    operation = Restart(ask)
    run_all(database, make(database, operation), noted)
    assert operation.touched == TARGETS[:3]
    assert load(database, started.number).state in (State.ROLLING_BACK, State.ROLLED_BACK)


def test_an_emergency_that_takes_over_stops_the_targets_that_were_not_begun(database: Database, noted: Noted) -> None:
    started = request_fanout(database, at_once=1)

    def ask(name: str) -> None:
        if name == "gw-2":
            with database.begin() as tx:
                rotation = tx.rotation(started.number)
                tx.save(rotation, decide(rotation, TakenOver("R-9"), tx.now))

    operation = Restart(ask)
    run_all(database, make(database, operation), noted)
    assert operation.touched == TARGETS[:3]
    assert load(database, started.number).state is State.ABANDONED


def test_the_undo_of_a_half_done_fan_out_is_told_what_was_given(database: Database, noted: Noted) -> None:
    started = request_fanout(database, at_once=1, tries=1)

    def fail(name: str) -> None:
        if name == "gw-2":
            raise Permanent("broken")

    operation = Restart(fail)
    legs = make(database, operation)
    run_all(database, legs, noted)
    roll_back(database, started.number)
    run_all(database, legs, noted)
    assert operation.undone["gw-0"] == {"changed": False, "name": "gw-0"}
    assert operation.undone["gw-1"] == {"changed": False, "name": "gw-1"}
    assert operation.undone["gw-2"] == {}
    with database.read() as reader:
        failed = reader.targets(started.number, 0)["gw-1"]
    assert (failed.stage, dict(failed.outputs)) == ("failed", {"changed": False, "name": "gw-1"})


class Leaves(Restart):
    """Leaves something in place on purpose, and says so."""

    def undo(self, p: Restart.Params, run: Run, outputs: Outputs) -> str | None:  # type: ignore[override]
        return f"the key of {p.name} stays, to verify what it signed"


def test_what_an_undo_leaves_on_purpose_is_said(database: Database, noted: Noted) -> None:
    started = request_fanout(database, each=None, **{"with": {"name": "billing"}})
    run_all(database, make(database, Leaves(lambda name: roll_back(database, started.number))), noted)
    run = load(database, started.number).steps[0]
    assert (run.stage, run.evidence) == (Stage.UNDONE, "the key of billing stays, to verify what it signed")


class Slow(Restart):
    """Takes its time to be undone."""

    looks = 0

    def undo(self, p: Restart.Params, run: Run, outputs: Outputs) -> None:
        self.looks += 1
        if self.looks < 9:
            raise Underway(f"{self.looks} of 9 pods", timedelta(0))


def test_an_undo_that_takes_its_time_is_looked_at_again_and_nothing_has_failed(
    database: Database, noted: Noted
) -> None:
    started = request_fanout(database, each=None, tries=2, **{"with": {"name": "billing"}})
    operation = Slow(lambda name: roll_back(database, started.number))
    legs = make(database, operation)
    run_all(database, legs, noted)
    for looks in range(1, 9):
        run = load(database, started.number).steps[0]
        assert (run.stage, run.undoing, run.failures, run.evidence) == (Stage.WAITING, True, 0, f"{looks} of 9 pods")
        with database.begin() as tx:
            rotation = tx.rotation(started.number)
            assert run.due_at is not None
            tx.save(rotation, decide(rotation, Due(0, run.attempt), run.due_at))
        run_all(database, legs, noted)
    done = load(database, started.number)
    assert (done.state, done.steps[0].stage, operation.looks) == (State.ROLLED_BACK, Stage.UNDONE, 9)
    with database.read() as reader:
        events = [row.event for row in reader.history(rotation=done.id)]
    assert events.count("undo.intent") == 1, "what is looked at is no effect"


class Made(Operation):
    """Remembers what its undo was told of those who may rely on what it made."""

    effect = Effect.CREATES

    class Params(Model):
        name: str

    def __init__(self, hook: Callable[[str], None]) -> None:
        super().__init__(None)
        self.hook = hook
        self.undone: dict[str, bool] = {}

    def observe(self, p: Params, run: Run) -> Observed:
        return Absent()

    def ensure(self, p: Params, run: Run) -> Outputs:
        self.hook(p.name)
        return {}

    def undo(self, p: Params, run: Run, outputs: Outputs) -> None:
        self.undone[p.name] = run.relied_on


@pytest.mark.parametrize(
    ("stops", "effect", "relied_on"),
    [("second", "changes", True), ("second", "reads", False), ("first", "changes", False)],
    ids=["a-change-was-begun", "nothing-was-changed", "nothing-was-begun"],
)
def test_an_undo_knows_whether_anything_may_rely_on_what_it_made(
    database: Database, noted: Noted, stops: str, effect: str, relied_on: bool
) -> None:
    lines = [
        DoStep.model_validate({"id": name, "do": "keys.make", "with": {"name": name}}) for name in ("first", "second")
    ]
    steps = (PlannedStep(Section.STEPS, lines[0], "creates"), PlannedStep(Section.STEPS, lines[1], effect))
    with database.begin() as tx:
        the_plan = replace(samples.plan(), steps=steps)
        rotation = tx.save(None, samples.opened(tx.next_number(), the_plan, tx.now))
    started = samples.approve(database, rotation)
    made = Made(lambda name: roll_back(database, started.number) if name == stops else None)
    run_all(database, make(database, made), noted)
    assert load(database, started.number).state is State.ROLLED_BACK
    assert made.undone["first"] is relied_on
    assert made.undone.get("second", False) is False


def request_fanout(database: Database, **more: Any) -> Rotation:
    with database.begin() as tx:
        the_plan = replace(samples.plan(), steps=step(**more))
        rotation = tx.save(None, samples.opened(tx.next_number(), the_plan, tx.now))
    return samples.approve(database, rotation)


def test_a_sensor_that_forgot_is_believed_only_from_when_it_began_to_count() -> None:
    now = datetime(2026, 11, 21, tzinfo=UTC)
    forgot = Sighting(since=now - timedelta(hours=1), evidence="restarted", at=now - timedelta(days=3))
    day = timedelta(days=1)
    found = silence({"s": forgot}, quiet_for=day, since=now - 9 * day, at_least=day, now=now)
    assert not found.quiet
    assert found.earliest == forgot.since + day


def held_at(steps: tuple[PlannedStep, ...], rotation: Rotation) -> Rotation:
    for _ in steps[:-1]:
        i = rotation.current
        assert i is not None
        rotation = decide(rotation, Began(i, rotation.steps[i].attempt, "w"), rotation.created_at).rotation
        ended = Ended(i, rotation.steps[i].attempt, "w", Done())
        rotation = decide(rotation, ended, rotation.created_at).rotation
    i = rotation.current
    assert i is not None
    rotation = decide(rotation, Began(i, rotation.steps[i].attempt, "w"), rotation.created_at).rotation
    return decide(rotation, Ended(i, rotation.steps[i].attempt, "w", Failed("no")), rotation.created_at).rotation


@pytest.mark.parametrize(
    ("effects", "said"),
    [
        (("reads", "reads"), "The old credential still works"),
        (("changes", "reads"), "Retiring the old credential has begun"),
        (("changes", "destroys", "reads"), "There is no way back"),
    ],
)
def test_a_held_retirement_says_whether_the_old_one_is_still_there(effects: tuple[str, ...], said: str) -> None:
    steps = tuple(
        PlannedStep(Section.RETIRE, DoStep(id=f"s{i}", do="identity.x"), effect) for i, effect in enumerate(effects)
    )
    the_plan = replace(samples.plan(), steps=(PlannedStep(Section.STEPS, DoStep(id="a", do="x.y"), "creates"), *steps))
    rotation = decide(None, Opened(7, the_plan, "nonce", "C1", ()), samples.NOW).rotation
    vote = Voted("bob", True, "why", the_plan.digest, "nonce")
    rotation = held_at(the_plan.steps, decide(rotation, vote, samples.NOW).rotation)
    told = _told(None, rotation)
    assert told is not None
    assert said in told[1]
