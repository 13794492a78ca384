"""A revocation takes over the ordinary rotation of its credential, in whichever state that is."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from bot.core.decide import Stale, decide
from bot.core.decision import past
from bot.core.errors import Refused
from bot.core.rotation import (
    Advanced,
    Asking,
    BackOut,
    Began,
    Cancelled,
    Done,
    Due,
    Expired,
    Failed,
    Lost,
    NotYet,
    PlanChanged,
    Postponed,
    Retried,
    RolledBack,
    Rotation,
    Skipped,
    Stage,
    State,
    TakenOver,
)
from tests.core.emergency import HOUR, START, approved, begin, broken, contained, end, opened, ordinary, run, vote


def rotating() -> Rotation:
    return approved(opened(ordinary()))


def asking_to_skip() -> Rotation:
    rotation = run(run(rotating()), NotYet(START + HOUR))
    return run(decide(rotation, Due(1, rotation.steps[1].attempt), START + HOUR).rotation, Failed("not served"))


STATES: dict[str, Callable[[], Rotation]] = {
    "requested": lambda: opened(ordinary()),
    "approved": rotating,
    "postponed": lambda: decide(rotating(), Postponed(0, 1, START + HOUR, START + 2 * HOUR, "outside"), START).rotation,
    "running": lambda: begin(run(rotating())),
    "queued": lambda: run(rotating()),
    "waiting": lambda: run(run(rotating()), NotYet(START + HOUR)),
    "backing off": lambda: run(rotating(), Failed("503", retry_in=timedelta(seconds=1))),
    "asking": lambda: run(rotating(), Asking("sure?")),
    "held": lambda: run(rotating(), Failed("no")),
    "undoing what was watched": lambda: end(begin(rotating()), BackOut("logins fail")).rotation,
    "rolling back": lambda: decide(run(rotating()), RolledBack("bob", "errors"), START).rotation,
    "running while rolling back": lambda: decide(begin(run(rotating())), RolledBack("bob", "errors"), START).rotation,
}


@pytest.mark.parametrize("state", STATES)
def test_nothing_of_it_runs_again(state: str) -> None:
    rotation = STATES[state]()
    running = [i for i, each in enumerate(rotation.steps) if each.stage is Stage.RUNNING]
    decision = decide(rotation, TakenOver("R-9"), START)
    taken = decision.rotation
    assert (taken.state, taken.is_over, taken.amendment, decision.dispatch) == (State.ABANDONED, True, None, None)
    assert "R-9" in taken.outcome
    assert past(taken).startswith("was taken over by an emergency")
    assert taken.calls_at is None
    assert [i for i, each in enumerate(taken.steps) if each.stage is Stage.RUNNING] == running
    assert not any(each.stage in (Stage.QUEUED, Stage.WAITING, Stage.ASKING, Stage.HELD) for each in taken.steps)
    later = START + 100 * HOUR
    for i, each in enumerate(taken.steps):
        events: list[Any] = [Due(i, each.attempt), Due(i, each.attempt - 1)]
        events += [Lost(i, each.attempt)] if i not in running else []
        for event in events:
            with pytest.raises(Stale):
                decide(taken, event, later)
        if i not in running:
            with pytest.raises(Stale):
                decide(taken, begun(i, each.attempt), later)
    for event in (
        Expired(), Advanced("bob"), Retried("bob"), Skipped("bob", "hurry", "n2"), Cancelled("bob", "no"),
        RolledBack("bob", "no"), vote(taken), TakenOver("R-10"), PlanChanged(ordinary(reason="x"), "n", ("reason",)),
        Postponed(0, taken.steps[0].attempt, later, later, "outside"),
    ):  # fmt: skip
        with pytest.raises((Stale, Refused)):
            decide(taken, event, later)


def begun(i: int, attempt: int) -> Any:
    return Began(i, attempt, "w2")


@pytest.mark.parametrize(
    "outcome", [Done({"kid": "k"}), Failed("no"), NotYet(START + HOUR), Asking("?"), BackOut("bad"), "lost"]
)
def test_the_step_in_flight_is_noted_and_nothing_follows(outcome: Any) -> None:
    taken = decide(STATES["running"](), TakenOver("R-9"), START).rotation
    i = next(i for i, each in enumerate(taken.steps) if each.stage is Stage.RUNNING)
    lost = Lost(i, taken.steps[i].attempt)
    decision = decide(taken, lost, START) if outcome == "lost" else end(taken, outcome)
    after = decision.rotation
    assert (decision.dispatch, after.state, len(decision.entries)) == (None, State.ABANDONED, 1)
    assert after.steps[i].stage is (Stage.DONE if isinstance(outcome, Done) else Stage.PENDING)
    assert after.steps[i].touched
    if isinstance(outcome, Done):
        assert after.steps[i].outputs == {"kid": "k"}
    with pytest.raises(Stale):
        decide(after, lost, START)


@pytest.mark.parametrize(
    "rotation",
    [
        opened(),
        approved(),
        broken(),
        contained(),
        run(run(run(rotating()))),
        decide(opened(), Expired(), START + HOUR).rotation,
    ],
    ids=["revocation", "approved revocation", "glass", "contained", "promoted", "abandoned"],
)
def test_what_cannot_be_taken_over(rotation: Rotation) -> None:
    with pytest.raises(Stale):
        decide(rotation, TakenOver("R-10"), START)


def test_a_request_to_skip_ends_with_it() -> None:
    held = asking_to_skip()
    held = decide(held, Skipped("alice", "hurry", "n2"), START).rotation
    assert decide(held, TakenOver("R-9"), START).rotation.amendment is None
