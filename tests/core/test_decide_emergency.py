"""Laws of emergencies over random histories, kept by a witness of its own that counts who has said what."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from bot.core.decide import Decision, Stale, decide
from bot.core.errors import Refused
from bot.core.rotation import (
    FINISHED,
    OPEN,
    Advanced,
    Asking,
    BackOut,
    Began,
    Called,
    Cancelled,
    Done,
    Due,
    Ended,
    Expired,
    Failed,
    GlassBroken,
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
    Voted,
)
from bot.core.runbook import Skip
from tests.core.emergency import (
    DISABLE,
    ELIGIBLE,
    HOUR,
    LOOK,
    MINUTE,
    REPLACE_FIRST,
    START,
    confirm,
    glass,
    opened,
    ordinary,
    plan,
    vote,
)

STAGES = ({"after": 300.0, "to": ["platform-oncall"], "page": True},)
WIDER = {**ELIGIBLE, "erin": "member of platform-oncall"}
PLANS = [
    plan(),
    plan(approvers=2, signed=False),
    plan(approvers=0),
    plan(steps=(DISABLE, LOOK), contained=2),
    plan(steps=REPLACE_FIRST, contained=0, order="replace-first"),
    plan(break_glass=None, escalation=STAGES, remind=2 * MINUTE),
    plan(escalation=STAGES, remind=7 * MINUTE),
    ordinary(),
    ordinary(signed=True, escalation=STAGES),
]
PEOPLE = st.sampled_from(["alice", "bob", "carol", "erin", "mallory"])
OUTCOMES = st.one_of(
    st.just(Done({"kid": "k"}, "ok")),
    st.builds(lambda: NotYet(START + HOUR)),
    st.builds(Failed, st.just("x"), st.just(""), st.sampled_from([None, timedelta(seconds=1)]), st.booleans()),
    st.just(Asking("?")),
    st.just(BackOut("bad")),
)


@dataclass
class Witness:
    """What was said, noted from the events alone."""

    consent: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)
    """(digest, nonce) -> person -> key, of every approval that was taken."""
    confirmed: bool = True
    glass: GlassBroken | None = None
    taken_over: bool = False
    asked: tuple[str, str] = ("", "")
    """Who asked last to skip or to undo, and by which nonce."""

    def note(self, event: Any, before: Rotation) -> None:
        match event:
            case Voted(approve=True):
                self.consent.setdefault((event.digest, event.nonce), {})[event.person] = event.key
            case GlassBroken():
                self.glass = event
                self.confirmed = self.confirmed or event.person == before.plan.requester
            case TakenOver():
                self.taken_over = True
            case Skipped() | RolledBack():
                self.asked = (event.person, event.nonce)
            case _ if type(event).__name__ == "Confirmed":
                self.confirmed = True

    def agreed(self, rotation: Rotation) -> bool:
        """Whether enough other people have approved exactly this."""
        said = self.consent.get((rotation.plan.digest, rotation.nonce), {})
        alone = self.glass.person if self.glass else ""
        others = {who: key for who, key in said.items() if who not in (rotation.plan.requester, alone)}
        if rotation.plan.signed:
            others = {who: key for who, key in others.items() if key}
        needed = max(rotation.plan.approvers, 1)
        return len(others) >= needed and self.confirmed


def likely(data: st.DataObject, rotation: Rotation, person: str, nonce: str) -> Any:
    """What brings it on, so that histories get far."""
    signed = vote(rotation, person)
    if rotation.amendment is not None:
        return signed
    i = rotation.current
    if i is None or rotation.is_over:
        return RolledBack(person, "because", nonce)
    run = rotation.steps[i]
    match run.stage:
        case Stage.QUEUED:
            return Began(i, run.attempt, "w1")
        case Stage.RUNNING:
            good = data.draw(st.integers(0, 7)) > 0
            return Ended(i, run.attempt, "w1", Done({}, "ok") if good else data.draw(OUTCOMES))
        case Stage.WAITING:
            return Due(i, run.attempt)
        case Stage.HELD | Stage.ASKING:
            steering = [Retried(person), Advanced(person), Skipped(person, "because", nonce)]
            return data.draw(st.sampled_from(steering))
    if rotation.unconfirmed:
        return confirm(rotation)
    return data.draw(st.sampled_from([signed, signed, glass(rotation, person)]))


def happen(data: st.DataObject, rotation: Rotation, old: list[tuple[str, str]], now: datetime) -> Any:
    steps = st.integers(0, len(rotation.steps) - 1)
    i = rotation.current if rotation.current is not None and data.draw(st.integers(0, 3)) else data.draw(steps)
    attempt = max(0, rotation.steps[i].attempt - data.draw(st.sampled_from([0, 0, 0, 1])))
    person = data.draw(PEOPLE)
    nonce = f"nonce-{data.draw(st.integers(10, 99))}"

    if data.draw(st.integers(0, 9)) < 6:
        return likely(data, rotation, person, nonce)

    def voted() -> Voted:
        digest, bound = data.draw(st.sampled_from(old)) if data.draw(st.integers(0, 4)) == 0 else ("", "")
        said = vote(rotation, person, approve=data.draw(st.integers(0, 5)) > 0, reason="r")
        said = replace(said, digest=digest, nonce=bound) if digest else said
        said = replace(said, key="", signature="") if data.draw(st.integers(0, 3)) == 0 else said
        return replace(said, instead_of="dora") if data.draw(st.integers(0, 5)) == 0 else said

    makers: list[Callable[[], Any]] = [
        *[lambda: Began(i, attempt, "w1")] * 3,
        *[lambda: Ended(i, attempt, "w1", Done())] * 2,
        lambda: Ended(i, attempt, "w1", data.draw(OUTCOMES)),
        lambda: Due(i, attempt),
        lambda: Lost(i, attempt),
        *[voted] * 4,
        lambda: glass(rotation, person, key=data.draw(st.sampled_from(["", f"SHA256:{person}"]))),
        lambda: confirm(rotation, person),
        lambda: Called(WIDER, rotation.escalated + data.draw(st.integers(0, 1))),
        lambda: Postponed(i, attempt, now + HOUR, now + 2 * HOUR, "outside of the window"),
        Expired,
        lambda: Advanced(person),
        lambda: Retried(person),
        lambda: Skipped(person, "because", nonce),
        lambda: Cancelled(person, "because"),
        lambda: RolledBack(person, "because", nonce),
        lambda: PlanChanged(replace(rotation.plan, reason=f"reading {data.draw(st.integers(1, 3))}"), nonce, ("x",)),
        lambda: TakenOver("R-10"),
    ]
    return data.draw(st.sampled_from(makers))()


def check(before: Rotation, decision: Decision, event: Any, witness: Witness) -> None:
    check_runs(before, decision.rotation, witness)
    check_consent(before, decision.rotation, witness)
    check_undoing(before, decision.rotation, event, witness)
    check_votes(decision.rotation)
    if witness.taken_over:
        assert decision.dispatch is None
        assert decision.rotation.state is State.ABANDONED
        assert isinstance(event, TakenOver | Ended | Lost)


def check_runs(before: Rotation, after: Rotation, witness: Witness) -> None:
    """Nothing runs without another person's word on exactly this plan, or within the glass."""
    forward = [i for i, run in enumerate(after.steps) if run.stage in (Stage.QUEUED, Stage.RUNNING) and not run.undoing]
    assert sum(run.stage in (Stage.QUEUED, Stage.RUNNING) for run in after.steps) <= 1
    for i in forward:
        if witness.taken_over or after.state is State.ROLLING_BACK:
            assert before.steps[i].stage is Stage.RUNNING, "it was in flight when it was taken over or rolled back"
        elif after.state is State.REQUESTED:
            assert witness.glass is not None
            assert i < after.plan.contained
            assert all(step.effect != "destroys" for step in after.plan.steps[: i + 1])
            assert witness.glass.key
            assert witness.glass.digest == after.plan.digest
            assert witness.confirmed
        else:
            assert witness.agreed(after), "it runs without another person's word on exactly this plan"
    if after.is_over and before.state in OPEN:
        assert not any(run.stage in (Stage.QUEUED, Stage.WAITING) for run in after.steps)


def check_consent(before: Rotation, after: Rotation, witness: Witness) -> None:
    """No state that approval leads to without it; and what was void stays void."""
    if after.state not in (State.REQUESTED, State.CANCELLED, State.ABANDONED, State.ROLLING_BACK, State.ROLLED_BACK):
        assert witness.agreed(after)
    if after.promoted_at is not None and before.promoted_at is None:
        assert witness.agreed(after)
    if after.state is State.REQUESTED:
        assert after.amendment is None
        assert not any(run.touched for run in after.steps) or after.glass is not None
    if before.state is not State.REQUESTED and after.state is State.REQUESTED:
        assert after.nonce != before.nonce, "an old vote would fit"
        assert (after.votes, after.glass) == ((), None)


def check_undoing(before: Rotation, after: Rotation, event: Any, witness: Witness) -> None:
    """Two people for putting a suspected credential back and for skipping a proof."""
    if after.plan.emergency and after.state is State.ROLLING_BACK and before.state is not State.ROLLING_BACK:
        if before.state is not State.REQUESTED:
            assert isinstance(event, Voted)
            assert event.person != witness.asked[0], "one person alone put a suspected credential back into use"
            assert event.key or not after.plan.signed
        else:
            assert before.glass is not None
    for i, run in enumerate(after.steps):
        was = before.steps[i]
        if run.stage is Stage.SKIPPED and was.stage is not Stage.SKIPPED:
            assert not after.plan.steps[i].changes
            if after.plan.steps[i].skip is Skip.SECOND_PERSON:
                assert isinstance(event, Voted)
                assert event.person != witness.asked[0]
                assert event.key or not after.plan.signed
        if run.undoing and not was.undoing:
            assert after.plan.steps[i].effect != "destroys"


def check_votes(after: Rotation) -> None:
    """Distinct people, none of them the requester, nobody's right twice."""
    counted = {vote.person for vote in after.votes}
    assert len(counted) == len(after.votes)
    assert after.plan.requester not in counted
    assert "mallory" not in counted
    stood_in = [vote.instead_of for vote in after.votes if vote.instead_of]
    assert len(stood_in) == len(set(stood_in))
    assert after.calls_at is None or after.state is State.REQUESTED


def finish(rotation: Rotation, now: datetime) -> Rotation:
    """Nobody says anything any more: workers work, time passes. It ends, or waits for people in a way that they see."""
    for _ in range(200):
        if rotation.is_over or rotation.current is None:
            return rotation
        due = [rotation.expires_at] if rotation.state is State.REQUESTED else []
        event: Any = None
        for i, run in enumerate(rotation.steps):
            if run.stage is Stage.QUEUED:
                event = Began(i, run.attempt, "w1")
            elif run.stage is Stage.RUNNING:
                event = Ended(i, run.attempt, run.worker, Done({}, "ok"))
            elif run.stage is Stage.WAITING:
                assert run.due_at is not None
                now = max(now, run.due_at)
                event = Due(i, run.attempt)
        if event is None and rotation.state is not State.REQUESTED:
            assert rotation.steps[rotation.current].stage in (Stage.HELD, Stage.ASKING), "it hangs"
            return rotation
        if event is None:
            now, event = max(now, *due), Expired()
        try:
            rotation = decide(rotation, event, now).rotation
        except Stale:
            assert isinstance(event, Expired)
            raise
    raise AssertionError("it never ends")


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_laws_of_emergencies(data: st.DataObject) -> None:
    unconfirmed = data.draw(st.integers(0, 3)) == 0
    eligible = data.draw(st.sampled_from([ELIGIBLE, ELIGIBLE, WIDER]))
    rotation = opened(data.draw(st.sampled_from(PLANS)), unconfirmed=unconfirmed, eligible=eligible)
    witness, now = Witness(confirmed=not unconfirmed), START
    old = [(rotation.plan.digest, rotation.nonce), ("sha256:other", rotation.nonce), (rotation.plan.digest, "other-no")]
    for _ in range(data.draw(st.integers(1, 60))):
        now += data.draw(st.sampled_from([timedelta(0), timedelta(0), MINUTE, 10 * MINUTE, HOUR]))
        event = happen(data, rotation, old, now)
        try:
            decision = decide(rotation, event, now)
        except (Refused, Stale):
            continue
        if isinstance(event, Voted):
            bound = rotation.amendment or rotation
            digest = rotation.amendment.digest if rotation.amendment else rotation.plan.digest
            assert (event.digest, event.nonce) == (digest, bound.nonce), "a vote on something else counted"
            assert now < bound.expires_at
        witness.note(event, rotation)
        check(rotation, decision, event, witness)
        rotation = decision.rotation
        old.append((rotation.plan.digest, rotation.nonce))
    ended = finish(rotation, now)
    if witness.taken_over:
        assert ended.state is State.ABANDONED
    if ended.is_over and ended.state is State.ROLLED_BACK:
        for step, run in zip(ended.plan.steps, ended.steps, strict=True):
            assert not (step.changes and run.touched) or run.stage in FINISHED
