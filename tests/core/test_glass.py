"""Breaking the glass: one person contains what can be put back, for a time; everything else waits for another."""

from __future__ import annotations

from typing import Any

import pytest

from bot.core.decide import Stale, decide
from bot.core.errors import Refused
from bot.core.events import Event
from bot.core.rotation import (
    Advanced,
    BackOut,
    Cancelled,
    Expired,
    Failed,
    Lost,
    PlanChanged,
    Retried,
    RolledBack,
    Rotation,
    Skipped,
    Stage,
    State,
)
from tests.core.emergency import (
    DELETE,
    DISABLE,
    HALF_HOUR,
    HOUR,
    LOOK,
    REFUSED,
    START,
    approved,
    begin,
    broken,
    contained,
    end,
    glass,
    opened,
    ordinary,
    plan,
    reject,
    run,
    vote,
)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"key": "", "signature": ""}, "unsigned"),
        ({"reason": " "}, "reason-missing"),
        ({"digest": "sha256:other"}, "stale-plan"),
        ({"nonce": "old-nonce"}, "stale-plan"),
    ],
)
def test_it_needs_a_signature_of_this_plan_and_a_reason(change: dict[str, Any], code: str) -> None:
    with pytest.raises(Refused) as refused:
        decide(opened(), glass(opened(), **change), START)
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("rotation", "code"),
    [
        (opened(plan(break_glass=None)), "no-break-glass"),
        (opened(ordinary(break_glass=HOUR, contained=1)), "no-break-glass"),
        (opened(plan(contained=0, order="replace-first")), "not-contain-first"),
        (opened(plan(steps=(DISABLE, DELETE, LOOK), contained=2)), "irreversible"),
        (broken(), "late"),
        (approved(), "late"),
        (decide(opened(), Cancelled("alice", "false alarm"), START).rotation, "late"),
    ],
)
def test_where_it_cannot_be_broken(rotation: Rotation, code: str) -> None:
    with pytest.raises(Refused) as refused:
        decide(rotation, glass(rotation), START)
    assert refused.value.code == code


def test_nobody_breaks_it_when_the_request_is_over() -> None:
    with pytest.raises(Refused, match="has expired"):
        decide(opened(), glass(opened()), START + HALF_HOUR)


def test_the_containment_runs_and_then_everything_waits() -> None:
    rotation = broken()
    assert (rotation.state, rotation.steps[0].stage, rotation.expires_at) == (
        State.REQUESTED, Stage.QUEUED, START + HOUR,
    )  # fmt: skip
    last = end(begin(run(rotation)))
    assert last.dispatch is None
    assert last.entries[-1].event is Event.CONTAINED
    assert [each.stage for each in last.rotation.steps[:3]] == [Stage.DONE, Stage.DONE, Stage.PENDING]
    assert last.rotation.state is State.REQUESTED


def test_a_plan_that_is_nothing_but_a_containment_waits_too() -> None:
    rotation = run(run(broken(steps=(DISABLE, REFUSED))))
    assert (rotation.state, rotation.promoted_at) == (State.REQUESTED, None), "one person alone promoted it"
    assert decide(rotation, vote(rotation), START).rotation.state is State.PROMOTED


def test_the_one_who_broke_it_is_not_the_second_person() -> None:
    rotation = decide(opened(), glass(opened(), "bob"), START).rotation
    with pytest.raises(Refused) as refused:
        decide(rotation, vote(rotation, "bob"), START)
    assert refused.value.code == "self-approval"
    with pytest.raises(Refused) as refused:
        decide(rotation, vote(rotation, "alice"), START)
    assert refused.value.code == "self-approval"
    assert decide(rotation, vote(rotation, "carol"), START).rotation.state is State.RUNNING


@pytest.mark.parametrize(
    ("change", "code"), [({"instead_of": "bob"}, "stood-in-already"), ({"key": "SHA256:bob"}, "shared-key")]
)
def test_nobody_approves_by_the_right_or_the_key_of_who_broke_it(change: dict[str, str], code: str) -> None:
    rotation = decide(opened(), glass(opened(), "bob"), START).rotation
    with pytest.raises(Refused) as refused:
        decide(rotation, vote(rotation, "carol", **change), START)
    assert refused.value.code == code


def test_approval_after_the_containment_goes_on() -> None:
    decision = decide(contained(), vote(contained()), START)
    assert (decision.rotation.state, decision.dispatch) == (State.RUNNING, 2)


def test_approval_while_the_last_step_of_the_containment_runs() -> None:
    rotation = begin(run(broken()))
    rotation = decide(rotation, vote(rotation), START).rotation
    assert rotation.steps[1].stage is Stage.RUNNING
    following = end(rotation)
    assert (following.rotation.state, following.dispatch) == (State.RUNNING, 2)


def test_approval_while_a_step_of_the_containment_is_held() -> None:
    held = run(broken(), Failed("the service is away"))
    assert (held.state, held.steps[0].stage) == (State.REQUESTED, Stage.HELD)
    on = decide(held, vote(held), START)
    assert (on.rotation.state, on.dispatch) == (State.HELD, None)
    again = decide(on.rotation, Retried("alice"), START).rotation
    assert run(run(again)).steps[2].stage is Stage.QUEUED


def test_a_held_step_is_tried_again_under_the_glass() -> None:
    held = run(broken(), Failed("the service is away"))
    again = decide(held, Retried("alice"), START)
    assert (again.dispatch, again.rotation.state) == (0, State.REQUESTED)
    assert run(run(again.rotation)).steps[2].stage is Stage.PENDING


def test_approval_while_the_worker_is_lost() -> None:
    rotation = begin(broken())
    approving = decide(rotation, vote(rotation), START).rotation
    back = decide(approving, Lost(0, approving.steps[0].attempt), START)
    assert (back.dispatch, back.rotation.state) == (0, State.RUNNING)
    assert run(run(back.rotation)).steps[2].stage is Stage.QUEUED


def test_approval_while_a_watched_change_is_put_back() -> None:
    rotation = end(begin(broken()), BackOut("logins fail")).rotation
    assert rotation.steps[0].undoing
    on = decide(rotation, vote(rotation), START)
    assert (on.dispatch, on.rotation.state) == (None, State.RUNNING)
    assert run(on.rotation).state is State.HELD


@pytest.mark.parametrize("how", ["rejected", "expired", "rolled back"])
@pytest.mark.parametrize("when", ["queued", "running", "held", "complete"])
def test_it_is_put_back(how: str, when: str) -> None:
    rotation = {
        "queued": lambda: run(broken()),
        "running": lambda: begin(run(broken())),
        "held": lambda: run(run(broken()), Failed("unclear", ambiguous=True)),
        "complete": contained,
    }[when]()
    event, now = {
        "rejected": (reject(rotation), START),
        "expired": (Expired(), START + HOUR),
        "rolled back": (RolledBack("alice", "a false alarm"), START),
    }[how]
    rotation = decide(rotation, event, now).rotation
    assert rotation.state is State.ROLLING_BACK
    if when == "running":
        rotation = end(rotation).rotation
    assert rotation.steps[0].undoing
    rotation = run(rotation)
    assert rotation.state is State.ROLLED_BACK
    assert rotation.steps[0].stage is Stage.UNDONE
    assert not any(each.touched for each in rotation.steps[2:])
    with pytest.raises(Refused) as refused:
        decide(rotation, vote(rotation, "carol"), START)
    assert refused.value.code == "late"


def test_a_vote_after_its_time_does_not_save_it() -> None:
    with pytest.raises(Refused, match="has expired"):
        decide(contained(), vote(contained()), START + HOUR)
    with pytest.raises(Stale):
        decide(contained(), Expired(), START + HALF_HOUR)


@pytest.mark.parametrize(
    "event",
    [
        Skipped("alice", "in a hurry", "n2"),
        Skipped("alice", "in a hurry", "n2", "publish"),
        Advanced("alice"),
        Retried("alice"),
    ],
)
def test_nobody_steers_what_waits_for_the_second_person(event: Any) -> None:
    with pytest.raises(Refused) as refused:
        decide(contained(), event, START)
    assert refused.value.code == "not-approved"


def test_a_check_that_anybody_may_skip_is_not_skipped_before_approval() -> None:
    rotation = run(broken(steps=(DISABLE, LOOK, *opened().plan.steps[2:]), contained=1))
    with pytest.raises(Refused) as refused:
        decide(rotation, Skipped("alice", "in a hurry", "n2"), START)
    assert refused.value.code == "not-approved"


def test_a_skip_that_takes_two_waits_for_the_approval() -> None:
    held = run(run(broken()), Failed("still accepted"))
    with pytest.raises(Refused) as refused:
        decide(held, Skipped("alice", "a broken probe", "n2"), START)
    assert refused.value.code == "not-approved", "an open amendment would keep the approval out"
    held = decide(held, vote(held), START).rotation
    asked = decide(held, Skipped("alice", "a broken probe", "n2"), START).rotation
    assert decide(asked, vote(asked, "carol"), START).dispatch == 2


def test_its_plan_is_fixed() -> None:
    with pytest.raises(Stale):
        decide(broken(), PlanChanged(plan(reason="other"), "nonce-01", ("reason",)), START)


def test_cancelled_before_the_worker_came_means_nothing_runs() -> None:
    rotation = decide(broken(), Cancelled("alice", "a false alarm"), START).rotation
    assert rotation.state is State.CANCELLED
    with pytest.raises(Stale):
        begin(rotation)
    with pytest.raises(Refused, match="roll it back"):
        decide(begin(broken()), Cancelled("alice", "a false alarm"), START)
