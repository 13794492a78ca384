"""Reminders and escalations: each once, in order, and never beyond the request."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import timedelta

import pytest

from bot.core.decide import Stale, decide
from bot.core.errors import Refused
from bot.core.events import Event
from bot.core.rotation import Began, Called, PlanChanged, Rotation, State
from tests.core.emergency import ELIGIBLE, HALF_HOUR, MINUTE, START, approved, contained, glass, opened, plan, vote

STAGES = (
    {"after": 300.0, "to": ["platform-oncall"], "page": True},
    {"after": 900.0, "to": ["director"], "page": True},
)
WIDER = {**ELIGIBLE, "erin": "member of platform-oncall"}


def waiting(**changes: object) -> Rotation:
    return opened(plan(**{"remind": 2 * MINUTE, "escalation": STAGES, **changes}))


def test_the_whole_chain_happens_once_and_in_time() -> None:
    rotation, told = waiting(), []
    while (due := rotation.calls_at) is not None:
        with pytest.raises(Stale):
            decide(rotation, Called(WIDER, rotation.escalated + 1), due - timedelta(microseconds=1))
        decision = decide(rotation, Called(WIDER, rotation.escalated + 1), due)
        told.append(((due - START) // MINUTE, decision.entries[0].event))
        with pytest.raises(Stale):
            decide(decision.rotation, Called(WIDER, rotation.escalated + 1), due)
        rotation = decision.rotation
    stages = [minute for minute, event in told if event is Event.ESCALATED]
    assert stages == [5, 15]
    minutes = [minute for minute, _ in told]
    assert minutes == sorted(minutes)
    assert minutes[-1] < 30
    assert all(1 <= later - earlier <= 2 for earlier, later in itertools.pairwise(minutes))
    assert rotation.eligible == WIDER


def test_a_late_timer_calls_each_stage_by_itself() -> None:
    rotation, late = waiting(), START + 20 * MINUTE
    first = decide(rotation, Called(WIDER, 1), late)
    assert first.entries[0].detail["to"] == ["platform-oncall"]
    second = decide(first.rotation, Called(WIDER, 2), late)
    assert second.entries[0].detail["to"] == ["director"]
    with pytest.raises(Stale):
        decide(second.rotation, Called(WIDER, 3), late)


def test_who_was_asked_for_another_stage_is_not_taken() -> None:
    rotation = waiting()
    with pytest.raises(Stale):  # asked just before the stage was due, decided just after
        decide(rotation, Called(ELIGIBLE, 0), START + 5 * MINUTE)
    with pytest.raises(Stale):
        decide(rotation, Called(WIDER, 2), START + 20 * MINUTE)


def test_a_reminder_changes_nobody_s_right() -> None:
    rotation = decide(waiting(), Called(None, 0), START + 2 * MINUTE).rotation
    assert (rotation.eligible, rotation.escalated) == (ELIGIBLE, 0)
    with pytest.raises(Refused) as refused:
        decide(rotation, vote(rotation, "erin"), START + 2 * MINUTE)
    assert refused.value.code == "not-eligible-then"


def test_who_was_called_may_approve_and_reject() -> None:
    rotation = decide(waiting(), Called(WIDER, 1), START + 5 * MINUTE).rotation
    assert decide(rotation, vote(rotation, "erin"), START + 6 * MINUTE).rotation.state is State.APPROVED


@pytest.mark.parametrize("approve", [True, False])
def test_who_joined_after_the_request_has_no_say(approve: bool) -> None:
    with pytest.raises(Refused) as refused:
        decide(waiting(), vote(waiting(), "mallory", approve=approve, reason="no"), START)
    assert refused.value.code == "not-eligible-then"


def test_nobody_is_called_once_it_is_decided() -> None:
    assert approved(waiting()).calls_at is None
    with pytest.raises(Stale):
        decide(approved(waiting()), Called(WIDER, 1), START + HALF_HOUR)


def test_people_are_still_called_behind_the_glass() -> None:
    rotation = decide(waiting(), glass(waiting()), START).rotation
    assert rotation.calls_at == START + 2 * MINUTE
    assert contained().calls_at is None, "its policy calls nobody"


def test_asked_again_the_stages_count_from_then() -> None:
    rotation, later = approved(waiting()), START + 20 * MINUTE
    changed = replace(rotation.plan, reason="another reading")
    again = decide(rotation, PlanChanged(changed, "nonce-01", ("reason",)), later).rotation
    assert again.asked_at == later
    assert again.calls_at == later + 2 * MINUTE
    with pytest.raises(Stale):
        decide(again, Called(WIDER, 1), later + MINUTE)
    assert decide(again, Called(WIDER, 1), later + 5 * MINUTE).rotation.escalated == 1


def test_an_approval_that_was_not_used_in_time_calls_people_again() -> None:
    rotation, later = approved(waiting()), START + HALF_HOUR
    again = decide(rotation, Began(0, rotation.steps[0].attempt, "w1"), later).rotation
    assert (again.state, again.calls_at) == (State.REQUESTED, later + 2 * MINUTE)
