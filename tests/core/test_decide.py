"""`decide` keeps its promises: examples for every event, and laws over random histories."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.core.decide import Decision, Stale, decide
from bot.core.errors import Refused
from bot.core.events import Event
from bot.core.plan import Plan, PlannedStep
from bot.core.rotation import (
    FINISHED,
    OPEN,
    Advanced,
    Asking,
    BackOut,
    Began,
    Box,
    Cancelled,
    Done,
    Due,
    Ended,
    Expired,
    Failed,
    Lost,
    NotYet,
    Opened,
    Overlap,
    PlanChanged,
    Retried,
    RolledBack,
    Rotation,
    Skipped,
    Stage,
    State,
    Ticked,
    Voted,
)
from bot.core.runbook import AskStep, CheckStep, DoStep, QuietStep, Section, StepBase, WaitStep

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def planned(section: Section, step: StepBase, effect: str = "reads") -> PlannedStep:
    return PlannedStep(section, step, effect)


STEPS = (
    planned(Section.STEPS, DoStep(id="publish", do="identity.publish_key"), "creates"),
    planned(Section.STEPS, WaitStep(id="learn", wait="15m")),
    planned(Section.STEPS, DoStep(id="promote", do="identity.promote_key"), "changes"),
    planned(Section.STEPS, AskStep(id="confirm", ask="Does the partner see it?")),
    planned(Section.RETIRE, QuietStep(id="quiet", quiet=["gateways.kid_last_seen"], **{"for": "24h"})),
    planned(Section.RETIRE, DoStep(id="disable", do="identity.disable_key"), "changes"),
    planned(Section.RETIRE, CheckStep(id="dead", check="jwks.old_refused_everywhere")),
    planned(Section.RETIRE, DoStep(id="delete", do="identity.delete_api_key"), "destroys"),
)


def plan(**changes: Any) -> Plan:
    fields: dict[str, Any] = {
        "credential": "identity-signing",
        "environment": "production",
        "kind": "signing-key",
        "owner": "alice",
        "runbook": "identity-es256",
        "runbook_hash": "sha256:00",
        "requester": "alice",
        "reason": "weekly",
        "inputs": {},
        "facts": {},
        "steps": STEPS,
        "before": ("access", "notified"),
        "arguments": {},
        "replaced": {},
        "approvers": 1,
        "approve_from": ("sec-oncall",),
        "approve_within": timedelta(hours=24),
        "rollback_within": timedelta(minutes=10),
        "retire_within": timedelta(days=14),
        "cadence": timedelta(days=7),
        "counts_old": False,
        "max_valid": 2,
    }
    return Plan(**{**fields, **changes})


def opened(ticked: bool = True, **changes: Any) -> Rotation:
    boxes = tuple(Box(name, ticked, "keyturn" if ticked else "") for name in ("access", "notified"))
    return decide(None, Opened(7, plan(**changes), "nonce", "C1", boxes), START).rotation


def vote(rotation: Rotation, person: str = "bob", **changes: Any) -> Voted:
    fields = {"approve": True, "because": "member of sec-oncall", "digest": rotation.plan.digest, "nonce": "nonce"}
    return Voted(person, **{**fields, **changes})


def approved() -> Rotation:
    rotation = opened()
    return decide(rotation, vote(rotation), START).rotation


def run_step(rotation: Rotation, outcome: Any = None, now: datetime = START) -> Decision:
    i = rotation.current
    assert i is not None
    attempt = rotation.steps[i].attempt
    begun = decide(rotation, Began(i, attempt, "w1"), now).rotation
    return decide(begun, Ended(i, attempt, "w1", outcome or Done({f"out{i}": "x"}, "ok")), now)


def forward(steps: int) -> Rotation:
    rotation = approved()
    for _ in range(steps):
        i = rotation.current
        assert i is not None
        if isinstance(rotation.plan.steps[i].step, AskStep):
            rotation = run_step(rotation, Asking("sure?")).rotation
            rotation = decide(rotation, Advanced("carol", "I looked"), START).rotation
        else:
            rotation = run_step(rotation).rotation
    return rotation


def events(decision: Decision) -> list[Event]:
    return [entry.event for entry in decision.entries]


def test_approval_of_another_person_starts_the_first_step() -> None:
    rotation = opened()
    assert rotation.state is State.REQUESTED
    decision = decide(rotation, vote(rotation), START)
    assert decision.rotation.state is State.APPROVED
    assert decision.dispatch == 0
    assert events(decision) == [Event.VOTE_COUNTED, Event.APPROVED]


def test_an_open_box_holds_the_start_until_somebody_ticks_it() -> None:
    rotation = opened(ticked=False)
    rotation = decide(rotation, vote(rotation), START).rotation
    assert rotation.state is State.REQUESTED
    rotation = decide(rotation, Ticked("alice", "access"), START).rotation
    decision = decide(rotation, Ticked("carol", "notified", "told #platform"), START)
    assert decision.rotation.state is State.APPROVED
    assert decision.rotation.boxes[1].by == "carol"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"person": "alice"}, "self-approval"),
        ({"digest": "sha256:other"}, "stale-plan"),
        ({"nonce": "old"}, "stale-plan"),
        ({"digest": ""}, "stale-plan"),
        ({"approve": False}, "reason-missing"),
    ],
)
def test_votes_that_do_not_count(change: dict[str, Any], code: str) -> None:
    rotation = opened()
    with pytest.raises(Refused) as refused:
        decide(rotation, vote(rotation, **change), START)
    assert refused.value.code == code


def test_two_approvers_are_two_people() -> None:
    rotation = opened(approvers=2)
    rotation = decide(rotation, vote(rotation), START).rotation
    with pytest.raises(Refused, match="already counted"):
        decide(rotation, vote(rotation), START)
    assert decide(rotation, vote(rotation, "carol"), START).rotation.state is State.APPROVED


def test_rejection_ends_it_and_late_votes_are_told_so() -> None:
    rotation = opened()
    rotation = decide(rotation, vote(rotation, approve=False, reason="freeze"), START).rotation
    assert rotation.state is State.CANCELLED
    with pytest.raises(Refused, match="was cancelled"):
        decide(rotation, vote(rotation), START)


def test_votes_expire_and_so_do_requests() -> None:
    rotation = opened()
    late = START + timedelta(hours=24)
    with pytest.raises(Refused, match="expired"):
        decide(rotation, vote(rotation), late)
    assert decide(rotation, Expired(), late).rotation.state is State.ABANDONED
    with pytest.raises(Stale):
        decide(rotation, Expired(), START)


def test_an_approval_that_expired_before_the_first_step_is_asked_again() -> None:
    rotation = approved()
    decision = decide(rotation, Began(0, rotation.steps[0].attempt, "w1"), START + timedelta(hours=25))
    assert decision.rotation.state is State.REQUESTED
    assert decision.rotation.votes == ()
    assert decision.rotation.steps[0].stage is Stage.PENDING


def test_a_changed_plan_voids_consent_but_not_after_the_first_step() -> None:
    rotation = approved()
    changed = PlanChanged(plan(inputs={"service": "other"}), "nonce2", ("inputs",))
    after = decide(rotation, changed, START).rotation
    assert (after.state, after.votes, after.nonce) == (State.REQUESTED, (), "nonce2")
    with pytest.raises(Stale):
        decide(forward(1), changed, START)


def test_the_whole_way_promotes_and_retires() -> None:
    rotation = forward(4)
    assert (rotation.state, rotation.overlap) == (State.PROMOTED, Overlap.RETIRING)
    assert rotation.next_due == START + timedelta(days=7)
    for _ in range(4):
        rotation = run_step(rotation).rotation
    assert (rotation.state, rotation.overlap, rotation.is_over) == (State.PROMOTED, Overlap.RETIRED, True)


def test_a_late_worker_is_fenced() -> None:
    rotation = approved()
    attempt = rotation.steps[0].attempt
    begun = decide(rotation, Began(0, attempt, "w1"), START).rotation
    taken = decide(begun, Lost(0, attempt), START).rotation
    assert taken.steps[0].attempt == attempt + 1
    with pytest.raises(Stale):
        decide(taken, Ended(0, attempt, "w1", Done()), START)
    with pytest.raises(Stale):
        decide(taken, Began(0, attempt, "w1"), START)


def test_failures_back_off_and_then_ask_people() -> None:
    rotation = approved()
    for tries in range(1, 6):
        rotation = run_step(rotation, Failed("503", retry_in=timedelta(seconds=1))).rotation
        run = rotation.steps[0]
        assert (run.stage, run.failures) == (Stage.WAITING, tries)
        assert run.due_at is not None
        with pytest.raises(Stale):
            decide(rotation, Due(0, run.attempt), START)
        rotation = decide(rotation, Due(0, run.attempt), run.due_at).rotation
    rotation = run_step(rotation, Failed("503", retry_in=timedelta(seconds=1))).rotation
    assert rotation.state is State.HELD
    rotation = decide(rotation, Retried("bob"), START).rotation
    assert rotation.steps[0].stage is Stage.QUEUED


def test_an_ambiguous_failure_is_never_retried_by_itself() -> None:
    rotation = run_step(approved(), Failed("lost answer", ambiguous=True, retry_in=HOUR)).rotation
    assert rotation.state is State.HELD
    assert rotation.steps[0].ambiguous


def test_effects_are_never_skipped_and_waits_only_by_two() -> None:
    rotation = run_step(approved(), Failed("no")).rotation
    with pytest.raises(Refused, match="never be skipped"):
        decide(rotation, Skipped("alice", "hurry", "n2"), START)
    rotation = run_step(forward(1), NotYet(START + HOUR)).rotation
    asked = decide(rotation, Skipped("alice", "caches are empty", "n2"), START).rotation
    amendment = asked.amendment
    assert amendment is not None
    assert asked.steps[1].stage is Stage.WAITING
    own = Voted("alice", True, "", amendment.digest, "n2")
    with pytest.raises(Refused, match="another person"):
        decide(asked, own, START)
    with pytest.raises(Refused, match="not the one that you saw"):
        decide(asked, vote(asked), START)
    decision = decide(asked, replace(own, person="bob"), START)
    assert decision.rotation.steps[1].stage is Stage.SKIPPED
    assert decision.rotation.amendment is None
    assert decision.dispatch == 2


def test_a_wait_that_ends_by_itself_drops_the_request_to_skip_it() -> None:
    rotation = run_step(forward(1), NotYet(START + HOUR)).rotation
    rotation = decide(rotation, Skipped("alice", "hurry", "n2"), START).rotation
    rotation = decide(rotation, Due(1, rotation.steps[1].attempt), START + HOUR).rotation
    assert run_step(rotation).rotation.amendment is None


def test_advance_is_no_key_to_a_wait() -> None:
    rotation = run_step(forward(1), NotYet(START + HOUR)).rotation
    decision = decide(rotation, Advanced("bob"), START)
    assert decision.rotation.steps[1].stage is Stage.QUEUED  # it only looks again; the executor still waits
    assert run_step(decision.rotation, NotYet(START + HOUR)).rotation.steps[1].stage is Stage.WAITING


def test_a_failed_brownout_is_undone_and_blocks_the_overlap() -> None:
    rotation = forward(5)
    decision = run_step(rotation, BackOut("logins fail"))
    assert decision.rotation.steps[5].undoing
    assert decision.dispatch == 5
    rotation = run_step(decision.rotation).rotation
    assert (rotation.overlap, rotation.steps[5].stage) == (Overlap.BLOCKED, Stage.HELD)
    assert not rotation.steps[5].touched
    rotation = decide(rotation, Retried("bob"), START).rotation
    assert (rotation.overlap, rotation.steps[5].undoing) == (Overlap.RETIRING, False)


def test_what_was_destroyed_is_not_undone_when_its_watch_fails() -> None:
    rotation = forward(7)
    assert rotation.plan.steps[7].effect == "destroys"
    decision = run_step(rotation, BackOut("logins fail"))
    run = decision.rotation.steps[7]
    assert (run.stage, run.undoing, run.touched, decision.dispatch) == (Stage.HELD, False, True, None)
    assert "cannot be put back" in run.hint


@pytest.mark.parametrize("done", range(1, 8))
def test_rollback_undoes_every_change_in_reverse_order(done: int) -> None:
    rotation = decide(forward(done), RolledBack("bob", "errors"), START).rotation
    undone = []
    while rotation.state is State.ROLLING_BACK:
        i = rotation.current
        assert i is not None
        undone.append(i)
        rotation = run_step(rotation).rotation
    assert undone == [i for i in (5, 2, 0) if i < done]
    assert rotation.state is State.ROLLED_BACK
    assert rotation.overlap in (Overlap.NONE, Overlap.ROLLED_BACK)


def test_nothing_rolls_back_past_the_point_of_no_return() -> None:
    rotation = forward(7)
    rotation = run_step(rotation, Failed("timeout")).rotation
    with pytest.raises(Refused, match="point of no return"):
        decide(rotation, RolledBack("bob", "errors"), START)


def test_rollback_waits_for_the_step_in_flight_and_undoes_it_too() -> None:
    rotation = forward(2)
    attempt = rotation.steps[2].attempt
    rotation = decide(rotation, Began(2, attempt, "w1"), START).rotation
    rotation = decide(rotation, RolledBack("bob", "errors"), START).rotation
    assert rotation.steps[2].stage is Stage.RUNNING
    decision = decide(rotation, Ended(2, attempt, "w1", Failed("broke")), START)
    assert decision.dispatch == 2
    assert decision.rotation.steps[2].undoing


def test_cancel_is_only_for_what_has_not_begun() -> None:
    assert decide(opened(), Cancelled("alice", "later"), START).rotation.state is State.CANCELLED
    with pytest.raises(Refused, match="roll it back"):
        decide(forward(1), Cancelled("alice", "later"), START)
    with pytest.raises(Refused, match="nothing to cancel"):
        decide(decide(opened(), Cancelled("alice", "later"), START).rotation, Cancelled("alice", ""), START)


def test_cancelled_before_the_worker_came_means_nothing_runs() -> None:
    rotation = approved()
    attempt = rotation.steps[0].attempt
    rotation = decide(rotation, Cancelled("alice", "wait"), START).rotation
    with pytest.raises(Stale):
        decide(rotation, Began(0, attempt, "w1"), START)


# --- laws over random histories ---------------------------------------------------------------------------------------

PEOPLE = st.sampled_from(["alice", "bob", "carol"])
OUTCOMES = st.one_of(
    st.builds(Done, st.just({"kid": "k"}), st.just("ok")),
    st.builds(lambda: NotYet(START + HOUR)),
    st.builds(Failed, st.just("x"), st.just(""), st.sampled_from([None, timedelta(seconds=1)]), st.booleans()),
    st.just(Asking("?")),
    st.just(BackOut("bad")),
)


def happenings(data: st.DataObject, rotation: Rotation) -> Any:
    steps = st.integers(0, len(rotation.steps) - 1)
    i = rotation.current if rotation.current is not None and data.draw(st.booleans()) else data.draw(steps)
    attempt = max(0, rotation.steps[i].attempt - data.draw(st.sampled_from([0, 0, 0, 1])))
    bound = rotation.amendment or rotation
    digest = rotation.amendment.digest if rotation.amendment else rotation.plan.digest
    makers = [
        lambda: Began(i, attempt, "w1"),
        lambda: Began(i, attempt, "w1"),
        lambda: Ended(i, attempt, "w1", data.draw(OUTCOMES)),
        lambda: Ended(i, attempt, "w1", Done()),
        lambda: Due(i, attempt),
        lambda: Lost(i, attempt),
        lambda: Voted(data.draw(PEOPLE), data.draw(st.booleans()), "m", digest, bound.nonce, "r"),
        lambda: Ticked(data.draw(PEOPLE), data.draw(st.sampled_from(["access", "notified", "nonsense"]))),
        Expired,
        lambda: Advanced(data.draw(PEOPLE)),
        lambda: Retried(data.draw(PEOPLE)),
        lambda: Skipped(data.draw(PEOPLE), "because", "n3"),
        lambda: Cancelled(data.draw(PEOPLE), "because"),
        lambda: RolledBack(data.draw(PEOPLE), "because"),
        lambda: PlanChanged(plan(reason=data.draw(st.sampled_from(["weekly", "other"]))), "n4", ("reason",)),
    ]
    return data.draw(st.sampled_from(makers))()


def check_laws(before: Rotation, decision: Decision, event: Any) -> None:
    after = decision.rotation
    running = [i for i, run in enumerate(after.steps) if run.stage in (Stage.RUNNING, Stage.QUEUED)]
    assert len(running) <= 1, "one step at a time"
    if decision.dispatch is not None:
        assert after.steps[decision.dispatch].stage is Stage.QUEUED
        assert after.steps[decision.dispatch].attempt > before.steps[decision.dispatch].attempt
    for i, run in enumerate(after.steps):
        assert run.attempt >= before.steps[i].attempt or isinstance(event, PlanChanged)
        assert run.due_at is None or run.stage is Stage.WAITING
        if run.touched and not before.steps[i].touched:
            assert isinstance(event, Began)
            assert after.state not in (State.REQUESTED, State.CANCELLED, State.ABANDONED)
            assert all(b.ticked for b in after.boxes)
            assert len(after.votes) >= after.plan.approvers
            assert all(earlier.stage in FINISHED for earlier in after.steps[:i])
        if run.stage is Stage.SKIPPED and before.steps[i].stage is not Stage.SKIPPED:
            assert not after.plan.steps[i].changes
            assert isinstance(event, Voted), "nobody alone ends a wait or skips a proof"
    assert all(v.person != after.plan.requester for v in after.votes)
    assert len({v.person for v in after.votes}) == len(after.votes)
    if after.overlap is Overlap.RETIRED:
        assert all(run.stage in (Stage.DONE, Stage.SKIPPED) for run in after.steps)
    if after.state is State.ROLLED_BACK:
        for step, run in zip(after.plan.steps, after.steps, strict=True):
            assert not (step.changes and run.touched) or run.stage is Stage.UNDONE or run.by
            assert not (step.effect == "destroys" and run.touched)
    if before.is_over:
        raise AssertionError("something happened to a rotation that was over")
    if before.state in OPEN and after.state not in OPEN:
        assert running == [] or after.state is State.PROMOTED


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_laws_over_random_histories(data: st.DataObject) -> None:
    rotation = opened(ticked=data.draw(st.booleans()), approvers=data.draw(st.sampled_from([0, 1, 2])))
    now = START
    for _ in range(data.draw(st.integers(1, 60))):
        now += data.draw(st.sampled_from([timedelta(0), timedelta(minutes=1), HOUR]))
        event = happenings(data, rotation)
        try:
            decision = decide(rotation, event, now)
        except (Refused, Stale):
            continue
        check_laws(rotation, decision, event)
        rotation = decision.rotation


def test_plans_survive_storage_and_bind_every_field() -> None:
    original = plan()
    assert Plan.of_json(original.to_json()).digest == original.digest
    for name, value in {
        "credential": "x", "environment": "x", "kind": "x", "owner": "x", "runbook": "x", "runbook_hash": "x",
        "requester": "x", "reason": "x", "inputs": {"a": 1}, "before": (), "arguments": {"a": 1},
        "replaced": {"old": "x"}, "approvers": 0, "approve_from": (), "approve_within": HOUR, "rollback_within": HOUR,
        "retire_within": HOUR, "cadence": None, "counts_old": True, "max_valid": 3, "steps": STEPS[:-1],
        "trouble": ({"id": "x"},), "facts": {"kid": {"value": "k1", "bound": "same"}},
    }.items():  # fmt: skip
        assert plan(**{name: value}).digest != original.digest, name


def test_a_fact_that_may_move_does_not_change_the_digest() -> None:
    def with_life(value: int, bound: str) -> str:
        return plan(facts={"life": {"value": value, "source": f"s{value}", "bound": bound, "at_most": 9}}).digest

    assert with_life(1, "at_most") == with_life(2, "at_most")
    assert with_life(1, "same") != with_life(2, "same")
