"""What a fault between two transactions leaves behind is found by the living process itself, on both databases."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from sqlalchemy import event, update

from bot.contracts.command import Answer, Call, Need, Rotations
from bot.contracts.delivery import Leg
from bot.core.errors import Refused
from bot.core.policy import Person, PersonKind
from bot.core.rotation import Done, NotYet, Outcome, Rotation, Stage
from bot.engine.legs import Legs
from bot.engine.timers import Timers
from bot.engine.worker import Worker
from bot.store.database import Database
from bot.store.tables import ROTATION
from tests.store import samples

ME = "w-me"


class Executor:
    """Carries a step out by asking the test."""

    def __init__(self, act: Callable[[Rotation, int], Outcome]) -> None:
        self._act = act
        self.calls = 0

    def execute(self, rotation: Rotation, i: int) -> Outcome:
        self.calls += 1
        return self._act(rotation, i)


class Noted:
    """A delivery that only remembers."""

    def __init__(self) -> None:
        self.legs: list[Leg] = []

    def enqueue(self, connection: Any, leg: Leg) -> None:
        self.legs.append(leg)

    def start(self, run: Callable[[Leg], None], workers: int) -> None: ...

    def stop(self, within: float) -> None: ...


@pytest.fixture
def noted(database: Database) -> Noted:
    database.delivery = Noted()
    with database.begin() as tx:
        tx.heartbeat(ME)
    return database.delivery


class Someone:
    """A directory with one member."""

    def person(self, account: str) -> Person:
        return Person(account, kind=PersonKind.MEMBER)

    def known(self, account: str) -> Person | None:
        return self.person(account)

    def groups(self, names: Any) -> Mapping[str, frozenset[str] | None]:
        return {}

    remembered = groups


def make_worker(database: Database, executor: Any, commands: Mapping[str, Any] | None = None) -> Worker:
    legs = Legs(database, executor, lambda rotation: None, ME)
    rotations: Any = None
    return Worker(database, legs, lambda: commands or {}, rotations, Someone(), ME)


def approved(database: Database, **changes: Any) -> Rotation:
    return samples.approve(database, samples.request(database, **changes))


def load(database: Database, number: int) -> Rotation:
    with database.read() as reader:
        found = reader.rotation(number)
    assert found is not None
    return found


@contextmanager
def away(database: Database) -> Iterator[None]:
    """Nothing can be written."""

    def refuse(connection: Any, cursor: Any, statement: str, *more: Any) -> None:
        if statement.startswith("UPDATE"):
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR
            raise error

    event.listen(database.engine, "before_cursor_execute", refuse)
    try:
        yield
    finally:
        event.remove(database.engine, "before_cursor_execute", refuse)


def test_a_step_whose_outcome_could_not_be_saved_goes_on_without_a_restart(database: Database, noted: Noted) -> None:
    fault = ExitStack()

    def act(rotation: Rotation, i: int) -> Outcome:
        if rotation.steps[i].attempt == 1 and i == 0:
            fault.enter_context(away(database))
        return Done({}, "done")

    worker = make_worker(database, Executor(act))
    timers = Timers(database, ME, under_way=worker.under_way)
    rotation = approved(database)
    worker.run(noted.legs.pop())
    fault.close()
    assert load(database, rotation.number).steps[0].stage is Stage.RUNNING
    timers.reap()
    assert load(database, rotation.number).steps[0].stage is Stage.QUEUED
    assert load(database, rotation.number).steps[0].attempt == 2, "the next attempt looks first"
    while noted.legs:
        worker.run(noted.legs.pop(0))
    assert load(database, rotation.number).is_over


def test_a_step_that_runs_is_left_alone(database: Database, noted: Noted) -> None:
    timers: list[Timers] = []

    def act(rotation: Rotation, i: int) -> Outcome:
        timers[0].reap()
        return Done({}, "done")

    executor = Executor(act)
    worker = make_worker(database, executor)
    timers.append(Timers(database, ME, under_way=worker.under_way))
    rotation = approved(database)
    worker.run(noted.legs.pop())
    assert load(database, rotation.number).is_over
    assert executor.calls == 3


def test_an_outcome_that_is_no_data_holds_the_step_instead_of_hanging(database: Database, noted: Noted) -> None:
    worker = make_worker(database, Executor(lambda rotation, i: Done({"key": object()}, "done")))
    rotation = approved(database)
    worker.run(noted.legs.pop())
    held = load(database, rotation.number).steps[0]
    assert held.stage is Stage.HELD
    assert "could not be stored" in held.problem


def test_a_worker_that_was_declared_dead_begins_nothing(database: Database, noted: Noted) -> None:
    executor = Executor(lambda rotation, i: Done({}, "done"))
    worker = make_worker(database, executor)
    rotation = approved(database)
    with database.begin() as tx:
        tx.leave(ME)
    worker.run(noted.legs.pop())
    assert (executor.calls, load(database, rotation.number).steps[0].stage) == (0, Stage.QUEUED)


def test_a_worker_that_dies_in_a_step_leaves_the_next_one_to_others(database: Database, noted: Noted) -> None:
    def act(rotation: Rotation, i: int) -> Outcome:
        with database.begin() as tx:
            tx.leave(ME)
        return Done({}, "done")

    executor = Executor(act)
    worker = make_worker(database, executor)
    rotation = approved(database)
    worker.run(noted.legs.pop())
    after = load(database, rotation.number)
    assert [run.stage for run in after.steps[:2]] == [Stage.DONE, Stage.QUEUED]
    assert executor.calls == 1
    assert noted.legs == [Leg(rotation.number, 1, 1)]


def test_one_rotation_that_cannot_be_read_keeps_no_other_waiting(database: Database, noted: Noted) -> None:
    worker = make_worker(database, Executor(lambda rotation, i: NotYet(rotation.created_at, "soon")))
    broken, fine = approved(database), approved(database, credential="other")
    for leg in list(noted.legs):
        worker.run(leg)
    noted.legs.clear()
    with database.engine.begin() as connection:
        broken_vote = update(ROTATION).where(ROTATION.c.number == broken.number).values(votes=[{"newer": 1}])
        connection.execute(broken_vote)
    assert Timers(database, ME).tick() == 1
    assert noted.legs == [Leg(fine.number, 0, 2)]


# --- intents ----------------------------------------------------------------------------------------------------------


class Word:
    """A word of `/rotate`."""

    need = Need.ADVANCE

    def __init__(self, act: Callable[[Call], Answer]) -> None:
        self._act = act

    def run(self, call: Call, rotations: Rotations) -> Answer:
        return self._act(call)


def ask(database: Database, subject: str = "R-1") -> int:
    with database.begin() as tx:
        payload = {"args": [], "flags": {}, "bound": {}, "confirmed": False, "ticked": []}
        row, _ = tx.add_intent(f"key-{database.now()}", "poke", "slack:T1/U1", "C1", "slack", subject, payload)
    return row.number


def answer_of(database: Database, number: int) -> Mapping[str, Any] | None:
    with database.read() as reader:
        row = reader.intent(number)
    assert row is not None
    return row.answer


def test_an_answer_that_could_not_be_saved_blocks_its_subject_only_until_the_next_look(
    database: Database, noted: Noted
) -> None:
    fault, calls = ExitStack(), []

    def act(call: Call) -> Answer:
        calls.append(call.intent)
        if len(calls) == 1:
            fault.enter_context(away(database))
        return Answer("done")

    worker = make_worker(database, Executor(lambda rotation, i: Done()), {"poke": Word(act)})
    timers = Timers(database, ME, under_way=worker.under_way)
    first, second = ask(database), ask(database)
    worker.run(Leg(first))
    fault.close()
    worker.run(Leg(second))
    assert answer_of(database, second) is None, "it waits for the first"
    timers.reap()
    noted.legs = [leg for leg in noted.legs if leg.number == first][-1:]
    while noted.legs:
        worker.run(noted.legs.pop(0))
    assert answer_of(database, first) is not None
    assert answer_of(database, second) is not None


def test_an_answer_that_is_no_data_is_answered_as_a_defect(database: Database, noted: Noted) -> None:
    worker = make_worker(
        database, Executor(lambda r, i: Done()), {"poke": Word(lambda call: Answer("x", data=object()))}
    )
    number = ask(database)
    worker.run(Leg(number))
    answer = answer_of(database, number)
    assert answer is not None
    assert answer["good"] is False


def test_a_defect_after_the_effect_does_not_say_that_nothing_was_changed(database: Database, noted: Noted) -> None:
    rotation = samples.request(database)

    def act(call: Call) -> Answer:
        with database.begin() as tx:
            assert tx.mark_intent(call.intent, rotation.number)
        raise KeyError("a mistake in how the answer is written")

    worker = make_worker(database, Executor(lambda r, i: Done()), {"poke": Word(act)})
    number = ask(database)
    worker.run(Leg(number))
    answer = answer_of(database, number)
    assert answer is not None
    assert (answer["good"], answer["rotation"]) == (False, rotation.number)
    assert f"was done: see R-{rotation.number}" in answer["text"]


def test_an_intent_has_its_effect_once_even_under_two_workers(database: Database, noted: Noted) -> None:
    rotation, number = samples.request(database), ask(database)
    with database.begin() as tx:
        assert tx.mark_intent(number, rotation.number)
    with database.begin() as tx:
        assert not tx.mark_intent(number, rotation.number)


def test_a_worker_that_lost_an_intent_does_not_answer_it(database: Database, noted: Noted) -> None:
    other = "w-other"

    def act(call: Call) -> Answer:
        with database.begin() as tx:
            tx.heartbeat(other)
            tx.leave(ME)
        with database.begin() as tx:
            assert tx.lost_intents(tx.now) == [call.intent]
            assert tx.begin_intent(call.intent, other) is not None
        return Answer("too late")

    worker = make_worker(database, Executor(lambda r, i: Done()), {"poke": Word(act)})
    number = ask(database)
    worker.run(Leg(number))
    assert answer_of(database, number) is None, "the other one answers"


def test_the_words_of_a_refusal_are_kept(database: Database, noted: Noted) -> None:
    def act(call: Call) -> Answer:
        raise Refused("Not like this.", code="no")

    worker = make_worker(database, Executor(lambda r, i: Done()), {"poke": Word(act)})
    number = ask(database)
    worker.run(Leg(number))
    answer = answer_of(database, number)
    assert answer is not None
    assert answer["text"] == "Not like this."
