"""Revocations through the board, the legs and the timers: what they take over, what one person may do, the way back."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bot.contracts.command import Need
from bot.contracts.delivery import Leg
from bot.core.errors import KeyturnError, Refused
from bot.core.rotation import Asking, Began, Done, Failed, Outcome, Rotation, State
from bot.core.rotation import Stage as Step
from bot.store.database import Database
from playground.estate import Estate
from tests.engine.stage import MINUTE, ORDINARY, REVOKING, Stage, bound_to
from tests.ssh import need_ssh_keygen
from tests.store import samples
from tests.world import World, describe, held, running

UNSIGNED = (replace(REVOKING, signed=False), ORDINARY)


@pytest.fixture
def stage(database: Database, tmp_path: Path) -> Stage:
    """On each kind of database, with clicks that count."""
    return Stage(database, tmp_path, UNSIGNED)


@pytest.fixture
def signed(sqlite_database: Database, tmp_path: Path) -> Stage:
    """Where votes count with signatures only."""
    need_ssh_keygen()
    return Stage(sqlite_database, tmp_path)


def refusal(act: Callable[[], object]) -> str:
    with pytest.raises(Refused) as refused:
        act()
    return refused.value.code


def approve(stage: Stage, rotation: Rotation, person: str = "bob") -> Rotation:
    stage.vote(person, rotation, sign=False)
    return stage.load(rotation)


def begun(stage: Stage, rotation: Rotation) -> list[str]:
    return [str(row.detail["step"]) for row in stage.audit(rotation, "step.intent")]


# --- one at a time, and what it takes over ----------------------------------------------------------------------------


def test_one_revocation_at_a_time_and_nothing_ordinary_beside_it(stage: Stage) -> None:
    answers: list[str] = []
    ready = threading.Barrier(4)

    def ask() -> None:
        ready.wait()
        try:
            answers.append(stage.revoke().id)
        except KeyturnError as error:
            answers.append(type(error).__name__)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 4
    assert sum(one.startswith("R-") for one in answers) == 1, answers
    with stage.database.read() as reader:
        assert len(reader.rotations(limit=10)) == 1
    assert refusal(stage.start) == "already-open"


@pytest.mark.parametrize("order", ["contain-first", "replace-first"])
def test_it_takes_over_what_is_under_way(stage: Stage, order: str) -> None:
    ordinary = stage.start()
    stage.outcome = lambda rotation, i: Asking("sure?") if rotation.number == ordinary.number else Done({}, "ok")
    approve(stage, ordinary)
    stage.work()
    rotation = stage.revoke(order=order)
    assert stage.load(ordinary).state is State.ASKING, "asking for a revocation takes nothing over"
    approve(stage, rotation)
    taken = stage.load(ordinary)
    assert (taken.state, taken.ended_at is not None) == (State.ABANDONED, True)
    assert [row.detail["by"] for row in stage.audit(ordinary, "rotation.taken-over")] == [rotation.id]
    stage.work()
    assert stage.load(rotation).state is State.PROMOTED
    first = {"contain-first": "disable", "replace-first": "publish"}[order]
    assert begun(stage, rotation)[0] == first
    assert begun(stage, ordinary) == ["publish"]


def test_a_rejected_revocation_takes_nothing_over(stage: Stage) -> None:
    ordinary = stage.start()
    stage.vote("bob", stage.revoke(), sign=False, approve=False)
    assert stage.load(ordinary).state is State.REQUESTED


def test_the_step_in_flight_ends_and_nothing_follows(stage: Stage) -> None:
    ordinary, inside, go_on = stage.start(), threading.Event(), threading.Event()

    def outcome(rotation: Rotation, i: int) -> Outcome:
        if rotation.number == ordinary.number:
            inside.set()
            assert go_on.wait(20)
        return Done({"id": f"x{i}"}, "ok")

    stage.outcome = outcome
    approve(stage, ordinary)
    leg = threading.Thread(target=stage.legs.run, args=(Leg(ordinary.number, 0, 1),))
    leg.start()
    assert inside.wait(20)
    rotation = stage.revoke()
    approve(stage, rotation)
    assert stage.load(ordinary).steps[0].stage is Step.RUNNING
    stage.work()
    assert stage.load(rotation).state is State.PROMOTED, "the emergency does not wait for it"
    go_on.set()
    leg.join()
    taken = stage.load(ordinary)
    assert (taken.state, taken.steps[0].stage, taken.steps[0].outputs) == (State.ABANDONED, Step.DONE, {"id": "x0"})
    assert [run.attempt for run in taken.steps[1:]] == [0] * (len(taken.steps) - 1)


def test_taking_over_while_its_steps_fly_by(stage: Stage) -> None:
    for _ in range(5):
        ordinary = stage.start()
        approve(stage, ordinary)
        rotation = stage.revoke()
        leg = threading.Thread(target=stage.legs.run, args=(Leg(ordinary.number, 0, 1),))
        leg.start()
        approve(stage, rotation)
        leg.join()
        stage.work()
        taken, done = stage.load(ordinary), stage.load(rotation)
        assert done.state is State.PROMOTED
        assert taken.is_over
        if taken.state is State.ABANDONED:
            takes = stage.audit(ordinary, "rotation.taken-over")[0].seq
            assert all(row.seq < takes for row in stage.audit(ordinary, "step.intent"))


def test_the_worker_of_what_was_taken_over_dies(stage: Stage) -> None:
    ordinary = approve(stage, stage.start())
    with stage.database.begin() as tx:
        samples.apply(tx, ordinary, Began(0, ordinary.steps[0].attempt, "w-dead"))
    rotation = approve(stage, stage.revoke())
    stage.timers().reap()
    stage.work()
    taken = stage.load(ordinary)
    assert (taken.state, taken.steps[0].stage, taken.steps[0].attempt) == (State.ABANDONED, Step.PENDING, 1)
    assert stage.load(rotation).state is State.PROMOTED


# --- the plan that was approved ---------------------------------------------------------------------------------------


def test_a_world_that_changed_voids_the_approval(stage: Stage) -> None:
    rotation = stage.revoke()
    stage.plans.fact = "k2"
    approve(stage, rotation)
    stage.work()
    again = stage.load(rotation)
    assert (again.state, again.votes, begun(stage, rotation)) == (State.REQUESTED, (), [])
    assert refusal(lambda: stage.vote("carol", rotation, sign=False)) == "stale-plan"
    approve(stage, again, "carol")
    stage.work()
    assert stage.load(rotation).state is State.PROMOTED


def test_a_fact_that_cannot_be_read_does_not_stop_an_emergency(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    rotation, ordinary = stage.revoke(), None
    plan = stage.plans.plan

    def unreadable(*words: str) -> None:
        raise Refused("old cannot be read from identity", code="fact-unreadable")

    monkeypatch.setattr(stage.plans, "plan", unreadable)
    approve(stage, rotation)
    stage.work()
    assert stage.load(rotation).state is State.PROMOTED
    monkeypatch.setattr(stage.plans, "plan", plan)
    ordinary = stage.start()
    monkeypatch.setattr(stage.plans, "plan", unreadable)
    approve(stage, ordinary)
    stage.work()
    assert stage.load(ordinary).state is State.REQUESTED, "an ordinary one asks again"


# --- one person alone -------------------------------------------------------------------------------------------------


def test_one_person_contains_and_another_goes_on(signed: Stage) -> None:
    ordinary, rotation = signed.start(), signed.revoke()
    contained = signed.contain("alice", rotation)
    assert contained.glass is not None
    assert signed.load(ordinary).state is State.ABANDONED, "what it contains is not rotated meanwhile"
    signed.work()
    waiting = signed.load(rotation)
    assert (waiting.state, begun(signed, rotation)) == (State.REQUESTED, ["disable", "refused"])
    assert refusal(lambda: signed.vote("alice", waiting)) == "own-request"
    assert signed.vote("bob", waiting).state is State.RUNNING
    signed.work()
    assert signed.load(rotation).state is State.PROMOTED


def test_nobody_else_comes_and_it_is_put_back(signed: Stage) -> None:
    rotation = signed.revoke()
    signed.contain("alice", rotation)
    signed.work()
    signed.pass_time(59 * MINUTE)
    assert signed.load(rotation).state is State.REQUESTED
    signed.pass_time(2 * MINUTE)
    signed.work()
    back = signed.load(rotation)
    assert (back.state, back.steps[0].stage) == (State.ROLLED_BACK, Step.UNDONE)
    assert begun(signed, rotation) == ["disable", "refused"]
    assert len(signed.audit(rotation, "emergency.glass-lapsed")) == 1
    assert refusal(lambda: signed.vote("bob", rotation)) == "late"


def test_the_last_step_of_the_containment_ends_after_the_time_is_over(signed: Stage) -> None:
    rotation = signed.revoke()
    signed.contain("alice", rotation)

    def outcome(rotation: Rotation, i: int) -> Outcome:
        if i == 1 and not rotation.steps[i].undoing:
            signed.clock.advance(61 * MINUTE)
            signed.timers().tick()
        return Done({}, "ok")

    signed.outcome = outcome
    signed.work()
    back = signed.load(rotation)
    assert (back.state, back.steps[0].stage, back.steps[2].attempt) == (State.ROLLED_BACK, Step.UNDONE, 0)


def test_signatures_that_break_no_glass(signed: Stage) -> None:
    rotation = signed.revoke()
    contain = signed.board.break_glass
    for flags, code in [
        ({}, "unsigned"),
        ({"signature": signed.signature("alice", rotation)}, "bad-signature"),
        ({"signature": signed.signature("bob", rotation, "break-glass")}, "unknown-signer"),
    ]:
        call = signed.call("alice", Need.REVOKE, flags=flags, bound=bound_to(rotation))
        assert refusal(lambda call=call: contain(call, rotation.id, "nobody answers")) == code  # type: ignore[misc]
    assert signed.load(rotation).glass is None
    assert len(signed.audit(rotation, "vote.refused")) == 3
    assert refusal(lambda: signed.vote("bob", rotation, sign=signed.signature("bob", rotation, "break-glass"))) == (
        "bad-signature"
    ), "a signature to contain is no approval"


def test_nobody_contains_by_a_plan_that_does_not_hold_any_more(signed: Stage) -> None:
    rotation = signed.revoke()
    signed.plans.fact = "k2"
    assert refusal(lambda: signed.contain("alice", rotation)) == "stale-plan"
    again = signed.load(rotation)
    assert (again.glass, begun(signed, rotation)) == (None, [])
    assert again.plan.digest != rotation.plan.digest
    signed.contain("alice", again)
    signed.work()
    assert begun(signed, rotation) == ["disable", "refused"]


def test_replacing_first_there_is_nothing_to_contain(signed: Stage) -> None:
    rotation = signed.revoke(order="replace-first")
    assert refusal(lambda: signed.contain("alice", rotation)) == "not-contain-first"


def test_a_request_on_the_host_is_contained_by_its_requester_only(signed: Stage) -> None:
    rotation = signed.revoke(surface="cli")
    assert refusal(lambda: signed.contain("bob", rotation)) == "unconfirmed"
    assert not signed.contain("alice", rotation).unconfirmed


# --- the way back -----------------------------------------------------------------------------------------------------


def revoked(stage: Stage) -> Rotation:
    rotation = stage.revoke()
    approve(stage, rotation)
    stage.work()
    done = stage.load(rotation)
    assert done.state is State.PROMOTED
    return done


def test_a_done_revocation_is_undone_by_two_people(stage: Stage) -> None:
    asked = stage.rollback("alice", revoked(stage))
    assert asked.state is State.PROMOTED
    assert refusal(lambda: stage.vote("alice", asked, sign=False)) == "own-request"
    stage.vote("carol", asked, sign=False)
    stage.work()
    back = stage.load(asked)
    assert back.state is State.ROLLED_BACK
    stages = [run.stage for run in back.steps if run.touched]
    assert stages == [
        Step.UNDONE,
        Step.DONE,
        Step.UNDONE,
        Step.DONE,
        Step.UNDONE,
    ]


def test_undoing_takes_a_signature_where_revoking_did(signed: Stage) -> None:
    rotation = signed.revoke()
    signed.vote("bob", rotation)
    signed.work()
    asked = signed.rollback("alice", signed.load(rotation))
    assert refusal(lambda: signed.vote("carol", asked, sign=False)) == "unsigned"
    assert refusal(lambda: signed.vote("carol", asked, sign=signed.signature("carol", rotation))) == "bad-signature"
    assert signed.vote("carol", asked).state is State.ROLLING_BACK


@pytest.mark.parametrize("how_far", ["open", "promoted"])
def test_nothing_is_undone_under_a_rotation_that_began_since(stage: Stage, how_far: str) -> None:
    asked = stage.rollback("alice", revoked(stage))
    newer = stage.start()
    if how_far == "promoted":
        approve(stage, newer)
        stage.work()
    code = {"open": "already-open", "promoted": "superseded"}[how_far]
    assert refusal(lambda: stage.vote("carol", asked, sign=False)) == code
    assert stage.load(asked).state is State.PROMOTED


def test_a_held_revocation_waits_for_people_and_goes_on(stage: Stage) -> None:
    stage.outcome = lambda rotation, i: Failed("the service is away") if i == 2 else Done({}, "ok")
    rotation = approve(stage, stage.revoke())
    stage.work()
    assert stage.load(rotation).state is State.HELD
    stage.outcome = lambda rotation, i: Done({}, "ok")
    stage.board.retry(stage.call("alice", Need.RETRY), rotation.id, "it is back")
    stage.work()
    assert stage.load(rotation).state is State.PROMOTED


# --- in the estate ----------------------------------------------------------------------------------------------------


@pytest.fixture
def world(sqlite_url: str, tmp_path: Path) -> Iterator[World]:
    with (
        Estate.start(rate=1200.0, clients=4, jwks_max_age=300) as estate,
        running(sqlite_url, estate, tmp_path) as world,
    ):
        yield world


@pytest.mark.timeout(120)
@pytest.mark.parametrize("order", ["contain-first", "replace-first"])
def test_a_rotation_that_has_published_its_key_is_taken_over(world: World, order: str) -> None:
    old, ordinary = world.estate.signing_kid(), world.start()
    assert world.say("bob", f"approve {ordinary.id}").good
    world.wait(ordinary.number, lambda r: r.current is not None and r.plan.steps[r.current].id == "learn")
    words = f'revoke identity-signing --reason "seen in a log" --order {order}'
    answer = world.say("alice", words, confirmed=True)
    assert answer.good, answer.text
    number = answer.rotation
    assert number is not None
    assert world.say("bob", f"approve R-{number}").good
    done = world.wait(number, lambda r: r.is_over or held(r), 90)
    assert done.state is State.PROMOTED, describe(done)
    taken = world.rotation(ordinary.number)
    assert taken.state is State.ABANDONED
    assert world.estate.signing_kid() != old
    assert world.estate.identity.keys.get(old)["state"] == "disabled"
