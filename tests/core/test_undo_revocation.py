"""Putting a suspected credential back into use takes two people, at any time until something was destroyed."""

from __future__ import annotations

from typing import Any

import pytest

from bot.core.decide import Stale, decide
from bot.core.errors import Refused
from bot.core.events import Event
from bot.core.rotation import (
    Began,
    Cancelled,
    Expired,
    Failed,
    PlanChanged,
    RolledBack,
    Rotation,
    Skipped,
    Stage,
    State,
)
from tests.core.emergency import (
    CONTAIN_FIRST,
    HALF_HOUR,
    START,
    approved,
    begin,
    end,
    opened,
    plan,
    reject,
    run,
    vote,
)

REVERSIBLE = plan(steps=CONTAIN_FIRST[:-1])
ASKS = RolledBack("alice", "a false alarm", "nonce-rb")


def forward(steps: int) -> Rotation:
    rotation = approved(opened(REVERSIBLE))
    for _ in range(steps):
        rotation = run(rotation)
    return rotation


def asked(steps: int) -> Rotation:
    return decide(forward(steps), ASKS, START).rotation


@pytest.mark.parametrize("steps", range(1, 6))
def test_a_second_person_is_needed_at_any_time_also_when_it_is_done(steps: int) -> None:
    before = forward(steps)
    rotation = asked(steps)
    assert (rotation.state, rotation.steps) == (before.state, before.steps), "one person alone changed something"
    for person in ("alice",):
        with pytest.raises(Refused) as refused:
            decide(rotation, vote(rotation, person), START)
        assert refused.value.code == "self-approval"
    decision = decide(rotation, vote(rotation, "carol"), START)
    assert [entry.event for entry in decision.entries][:2] == [Event.AMENDMENT_APPROVED, Event.ROLLING_BACK]
    rotation = decision.rotation
    while rotation.state is State.ROLLING_BACK:
        rotation = run(rotation)
    assert rotation.state is State.ROLLED_BACK
    assert all(each.stage is Stage.UNDONE for i, each in enumerate(rotation.steps[:steps]) if i in (0, 2, 4))
    assert "alice and carol" in rotation.outcome


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"key": "", "signature": ""}, "unsigned"),
        ({"digest": REVERSIBLE.digest, "nonce": "nonce-00"}, "stale-plan"),
        ({"nonce": "nonce-00"}, "stale-plan"),
    ],
)
def test_agreements_that_do_not_count(change: dict[str, Any], code: str) -> None:
    with pytest.raises(Refused) as refused:
        decide(asked(2), vote(asked(2), "carol", **change), START)
    assert refused.value.code == code


def test_a_skip_in_a_signed_plan_takes_a_signature_too() -> None:
    held = run(forward(1), Failed("still accepted"))
    skip = decide(held, Skipped("alice", "a broken probe", "nonce-sk"), START).rotation
    with pytest.raises(Refused) as refused:
        decide(skip, vote(skip, "carol", key="", signature=""), START)
    assert refused.value.code == "unsigned"
    assert decide(skip, vote(skip, "carol"), START).dispatch == 2


def test_it_needs_a_reason_and_can_be_refused_and_lapses() -> None:
    with pytest.raises(Refused, match="needs a reason"):
        decide(forward(2), RolledBack("alice", " ", "nonce-rb"), START)
    assert decide(asked(2), reject(asked(2), "carol"), START).rotation.amendment is None
    with pytest.raises(Refused, match="has expired"):
        decide(asked(2), vote(asked(2), "carol"), START + HALF_HOUR)
    lapsed = decide(asked(2), Expired(), START + HALF_HOUR).rotation
    assert (lapsed.amendment, lapsed.state) == (None, State.RUNNING)


def test_the_revocation_goes_on_meanwhile_and_the_step_in_flight_is_undone_too() -> None:
    rotation = begin(asked(2))
    rotation = decide(rotation, vote(rotation, "carol"), START).rotation
    assert rotation.steps[2].stage is Stage.RUNNING
    rotation = end(rotation).rotation
    assert rotation.steps[2].undoing


def test_what_was_destroyed_meanwhile_cannot_be_undone() -> None:
    rotation = approved()
    for _ in range(5):
        rotation = run(rotation)
    rotation = decide(rotation, ASKS, START).rotation
    rotation = begin(rotation)
    with pytest.raises(Refused) as refused:
        decide(rotation, vote(rotation, "carol"), START)
    assert refused.value.code == "point-of-no-return"
    done = end(rotation).rotation
    with pytest.raises(Refused):
        decide(done, vote(done, "carol"), START)
    with pytest.raises(Refused, match="point of no return"):
        decide(done, RolledBack("bob", "errors", "nonce-r2"), START)


def test_one_request_at_a_time() -> None:
    with pytest.raises(Refused) as refused:
        decide(asked(2), RolledBack("bob", "errors", "nonce-r2"), START)
    assert refused.value.code == "late"


def test_before_anything_was_done_it_is_just_cancelled() -> None:
    assert decide(approved(), RolledBack("bob", "errors", "nonce-rb"), START).rotation.state is State.CANCELLED
    assert decide(opened(), Cancelled("alice", "false alarm"), START).rotation.state is State.CANCELLED


def test_a_changed_plan_of_an_approved_revocation_voids_the_consent() -> None:
    rotation = approved()
    changed = plan(facts={"old": {"value": "k2", "source": "jwks", "bound": "same", "at_most": None}})
    again = decide(rotation, PlanChanged(changed, "nonce-01", ("fact old",)), START).rotation
    assert (again.state, again.votes, again.missing_approvals) == (State.REQUESTED, (), 1)
    with pytest.raises(Stale):
        decide(again, Began(0, rotation.steps[0].attempt, "w1"), START)
    with pytest.raises(Refused) as refused:
        decide(again, vote(rotation, "carol"), START)
    assert refused.value.code == "stale-plan"
    assert approved(again).state is State.APPROVED


def test_a_revocation_needs_another_person_whatever_its_plan_says() -> None:
    rotation = opened(plan(approvers=0))
    assert (rotation.state, rotation.missing_approvals) == (State.REQUESTED, 1)
