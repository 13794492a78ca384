"""Approved ahead: a rotation waits for its window, and its consent ends with that window."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from bot.core.decide import Stale, decide
from bot.core.errors import Refused
from bot.core.rotation import (
    Advanced,
    Began,
    Cancelled,
    Due,
    PlanChanged,
    Postponed,
    Rotation,
    Skipped,
    Stage,
    State,
)
from bot.core.runbook import Section
from tests.core.emergency import HOUR, LOOK, REFUSED, START, approved, opened, ordinary, planned, run, vote

DAY = timedelta(days=1)
OPENS, CLOSES = START + 5 * DAY, START + 5 * DAY + 2 * HOUR


def ahead(approve_within: timedelta = DAY) -> Rotation:
    return approved(opened(ordinary(approve_within=approve_within)))


def postpone(rotation: Rotation, at: datetime, until: datetime, now: datetime = START) -> Rotation:
    i = rotation.current
    assert i is not None
    return decide(rotation, Postponed(i, rotation.steps[i].attempt, at, until, "outside of the window"), now).rotation


def due(rotation: Rotation, now: datetime) -> Rotation:
    i = rotation.current
    assert i is not None
    return decide(rotation, Due(i, rotation.steps[i].attempt), now).rotation


def begin(rotation: Rotation, now: datetime) -> Rotation:
    i = rotation.current
    assert i is not None
    return decide(rotation, Began(i, rotation.steps[i].attempt, "w1"), now).rotation


def test_it_begins_in_its_window_though_the_request_would_be_over() -> None:
    rotation = postpone(ahead(), OPENS, CLOSES)
    assert (rotation.state, rotation.steps[0].stage, rotation.steps[0].due_at) == (
        State.APPROVED, Stage.WAITING, OPENS,
    )  # fmt: skip
    with pytest.raises(Stale):
        due(rotation, OPENS - timedelta(seconds=1))
    begun = begin(due(rotation, OPENS), OPENS)
    assert begun.state is State.RUNNING
    assert begun.steps[0].progress == {}


def test_consent_ends_with_the_window() -> None:
    rotation = due(postpone(ahead(), OPENS, CLOSES), OPENS)
    again = begin(rotation, CLOSES)
    assert (again.state, again.votes) == (State.REQUESTED, ())


def test_consent_ends_with_a_window_that_is_over_before_the_request_would_be() -> None:
    rotation = postpone(ahead(timedelta(days=30)), OPENS, CLOSES)
    assert begin(due(rotation, OPENS), CLOSES).state is State.REQUESTED


def test_a_second_window_does_not_prolong_it() -> None:
    rotation = due(postpone(ahead(), OPENS, CLOSES), CLOSES - HOUR)
    later = postpone(rotation, OPENS + 7 * DAY, CLOSES + 7 * DAY, CLOSES - HOUR)  # a freeze was declared meanwhile
    assert later.expires_at == CLOSES
    assert postpone(due(later, CLOSES), OPENS + 7 * DAY, CLOSES + 7 * DAY, CLOSES).state is State.REQUESTED


def test_a_worker_that_comes_after_the_window_asks_again() -> None:
    rotation = due(postpone(ahead(), OPENS, CLOSES), CLOSES + HOUR)
    again = postpone(rotation, OPENS + 7 * DAY, CLOSES + 7 * DAY, CLOSES + HOUR)
    assert (again.state, again.votes, again.steps[0].stage) == (State.REQUESTED, (), Stage.PENDING)


def test_where_no_window_opens_it_is_asked_again_in_the_end() -> None:
    rotation, now = ahead(), START
    for _ in range(30):
        if rotation.state is State.REQUESTED:
            break
        rotation = postpone(rotation, now + HOUR, rotation.expires_at, now)
        if rotation.state is State.APPROVED:
            due_at = rotation.steps[0].due_at
            assert due_at is not None
            now = due_at
            rotation = due(rotation, now)
    assert (rotation.state, now) == (State.REQUESTED, START + DAY)


def test_votes_from_before_do_not_count_when_it_is_asked_again() -> None:
    rotation = opened(ordinary())
    old = vote(rotation, "carol")
    again = begin(decide(rotation, vote(rotation), START).rotation, START + HOUR)
    assert again.state is State.REQUESTED
    with pytest.raises(Refused) as refused:
        decide(again, old, START + HOUR)
    assert refused.value.code == "stale-plan", "a click from before the lapse was replayed"


def test_a_new_approval_has_a_window_of_its_own() -> None:
    again = begin(due(postpone(ahead(), OPENS, CLOSES), OPENS), CLOSES)
    again = decide(again, vote(again), CLOSES).rotation
    assert postpone(again, OPENS + 7 * DAY, CLOSES + 7 * DAY, CLOSES).expires_at == CLOSES + 7 * DAY


def test_advance_looks_again_and_no_more() -> None:
    rotation = decide(postpone(ahead(), OPENS, CLOSES), Advanced("bob"), START).rotation
    assert (rotation.steps[0].stage, rotation.expires_at) == (Stage.QUEUED, CLOSES)
    assert postpone(rotation, OPENS, CLOSES).expires_at == CLOSES


def wait_first() -> Rotation:
    steps = (planned(REFUSED.step, section=Section.STEPS), planned(LOOK.step, section=Section.STEPS), *ordinary().steps)
    return postpone(approved(opened(ordinary(steps=steps))), OPENS, CLOSES)


def test_a_skip_that_was_asked_for_ends_with_the_rotation() -> None:
    asked = decide(wait_first(), Skipped("alice", "hurry", "nonce-sk"), START).rotation
    assert asked.amendment is not None
    agreed = vote(asked, "carol")
    gone = decide(asked, Cancelled("alice", "later"), START).rotation
    with pytest.raises((Refused, Stale)):
        decide(gone, agreed, START)
    changed = decide(asked, PlanChanged(ordinary(reason="x"), "nonce-01", ("reason",)), START).rotation
    assert changed.amendment is None
    with pytest.raises(Refused):
        decide(changed, agreed, START)


def test_a_skip_before_the_window_does_not_open_it() -> None:
    asked = decide(wait_first(), Skipped("alice", "hurry", "nonce-sk"), START).rotation
    on = decide(asked, vote(asked, "carol"), START).rotation
    assert (on.state, on.current) == (State.APPROVED, 1)
    assert postpone(on, OPENS + 7 * DAY, CLOSES + 7 * DAY).expires_at == CLOSES


def test_only_what_has_not_begun_is_postponed() -> None:
    for rotation in (run(ahead()), opened(ordinary())):
        with pytest.raises(Stale):
            decide(rotation, Postponed(0, rotation.steps[0].attempt, OPENS, CLOSES, "outside"), START)
