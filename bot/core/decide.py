"""`decide(rotation, event, now)`: the only way in which a rotation changes. Pure; total over events."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from bot.core import duration
from bot.core.errors import KeyturnError, Refused
from bot.core.events import Entry, Event
from bot.core.plan import DESTROYS, digest
from bot.core.rotation import (
    FINISHED,
    MOVING,
    Advanced,
    Amendment,
    Asking,
    BackOut,
    Began,
    Cancelled,
    Done,
    Due,
    Ended,
    Expired,
    Failed,
    Happening,
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
    StepRun,
    Ticked,
    Vote,
    Voted,
)
from bot.core.runbook import Skip

BOT = "keyturn"
FIRST_BACKOFF = timedelta(seconds=2)
LONGEST_BACKOFF = timedelta(minutes=5)


class Stale(KeyturnError):
    """A worker's or timer's message about something that has moved on; it is dropped, nothing is wrong."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What follows from an event: the rotation as it is now, rows for the audit, and the step to dispatch."""

    rotation: Rotation
    entries: tuple[Entry, ...]
    dispatch: int | None = None


def decide(rotation: Rotation | None, event: Happening, now: datetime) -> Decision:
    """Apply one event.

    Raises `Refused` (tell the person, audit it) or `Stale` (drop it). `now` is the engine's clock, UTC.
    """
    if isinstance(event, Opened):
        return _opened(event, now)
    if rotation is None:
        raise Stale("there is no such rotation")
    return _RULES[type(event)](rotation, event, now)


# --- asking and consenting --------------------------------------------------------------------------------------------


def _opened(event: Opened, now: datetime) -> Decision:
    plan = event.plan
    rotation = Rotation(
        number=event.number,
        plan=plan,
        nonce=event.nonce,
        state=State.REQUESTED,
        steps=tuple(StepRun() for _ in plan.steps),
        created_at=now,
        expires_at=now + plan.approve_within,
        boxes=event.boxes,
        channel=event.channel,
    )
    detail = {
        "plan": plan.digest,
        "runbook": plan.runbook,
        "runbook_hash": plan.runbook_hash,
        "reason": plan.reason,
        "boxes": {box.name: {"ticked": box.ticked, "by": box.by, "evidence": box.evidence} for box in event.boxes},
    }
    entries = (_entry(rotation, Event.REQUESTED, plan.requester, **detail),)
    return _release(rotation, entries, now)


def _release(rotation: Rotation, entries: tuple[Entry, ...], now: datetime) -> Decision:
    """Start when consent and checklist are complete."""
    complete = not rotation.missing_approvals and all(box.ticked for box in rotation.boxes)
    if rotation.state is not State.REQUESTED or not complete:
        return Decision(rotation, entries)
    entry = _entry(
        rotation, Event.APPROVED, BOT, plan=rotation.plan.digest, by=[vote.person for vote in rotation.votes]
    )
    return _queue(replace(rotation, state=State.APPROVED), 0, (*entries, entry))


def _voted(rotation: Rotation, event: Voted, now: datetime) -> Decision:
    if rotation.amendment is not None:
        return _voted_on_amendment(rotation, rotation.amendment, event, now)
    if rotation.state is not State.REQUESTED:
        raise Refused(f"{rotation.id} {_past(rotation)}; your vote changed nothing.", code="late")
    _same_plan(rotation.id, event, rotation.plan.digest, rotation.nonce)
    if now >= rotation.expires_at:
        raise Refused(f"The request for {rotation.id} has expired; start it again.", code="expired")
    if event.person == rotation.plan.requester:
        raise Refused(
            f"You asked for {rotation.id} yourself; another person has to {_verb(event)} it. "
            f"You can withdraw it with cancel.",
            code="self-approval",
        )
    if not event.approve:
        return _rejected(rotation, event, now)
    if any(vote.person == event.person for vote in rotation.votes):
        raise Refused(f"Your approval of {rotation.id} is already counted.", code="double-vote")
    rotation = replace(rotation, votes=(*rotation.votes, Vote(event.person, event.because, now)))
    entry = _entry(
        rotation,
        Event.VOTE_COUNTED,
        event.person,
        plan=event.digest,
        because=event.because,
        counted=len(rotation.votes),
        needed=rotation.plan.approvers,
    )
    return _release(rotation, (entry,), now)


def _rejected(rotation: Rotation, event: Voted, now: datetime) -> Decision:
    if not event.reason.strip():
        raise Refused(
            f'A rejection needs a reason: reject {rotation.id} --reason "what is wrong".', code="reason-missing"
        )
    outcome = f"Rejected by {event.person}: {event.reason}"
    rotation = replace(rotation, state=State.CANCELLED, ended_at=now, outcome=outcome)
    return Decision(
        rotation,
        (
            _entry(rotation, Event.VOTE_COUNTED, event.person, reject=True, reason=event.reason, because=event.because),
            _entry(rotation, Event.CANCELLED, event.person, reason=event.reason, rejected=True),
        ),
    )


def _voted_on_amendment(rotation: Rotation, amendment: Amendment, event: Voted, now: datetime) -> Decision:
    _same_plan(rotation.id, event, amendment.digest, amendment.nonce)
    if now >= amendment.expires_at:
        raise Refused(f"The request to skip a step of {rotation.id} has expired; ask again.", code="expired")
    if event.person == amendment.requester:
        raise Refused(f"You asked to skip this step of {rotation.id}; another person has to agree.", "self-approval")
    step = rotation.plan.steps[amendment.step].id
    rotation = replace(rotation, amendment=None)
    if not event.approve:
        if not event.reason.strip():
            raise Refused(f'A rejection needs a reason: reject {rotation.id} --reason "…".', code="reason-missing")
        return Decision(
            rotation,
            (_entry(rotation, Event.AMENDMENT_LAPSED, event.person, step=step, rejected=True, reason=event.reason),),
        )
    entry = _entry(
        rotation,
        Event.AMENDMENT_APPROVED,
        event.person,
        step=step,
        plan=amendment.digest,
        because=event.because,
        asked_by=amendment.requester,
    )
    by = f"{amendment.requester} and {event.person}"
    return _skip_now(rotation, amendment.step, by, amendment.reason, (entry,), now)


def _same_plan(rotation_id: str, event: Voted, wanted: str, nonce: str) -> None:
    if event.digest != wanted or event.nonce != nonce:
        raise Refused(
            f"The plan of {rotation_id} is not the one that you saw; look at its card and {_verb(event)} what stands "
            f"there now.",
            code="stale-plan",
        )


def _ticked(rotation: Rotation, event: Ticked, now: datetime) -> Decision:
    if rotation.state is not State.REQUESTED:
        raise Refused(f"{rotation.id} {_past(rotation)}; its checklist is closed.", code="late")
    known = [box.name for box in rotation.boxes]
    if event.box not in known:
        raise Refused(f"{rotation.id} has no box {event.box!r}; its boxes: {', '.join(known)}.", code="unknown-box")
    boxes = tuple(
        replace(box, ticked=True, by=event.person, evidence=event.evidence or box.evidence)
        if box.name == event.box and not box.ticked
        else box
        for box in rotation.boxes
    )
    if boxes == rotation.boxes:
        raise Refused(f"The box {event.box} of {rotation.id} is already ticked.", code="late")
    rotation = replace(rotation, boxes=boxes)
    entry = _entry(rotation, Event.BOX_TICKED, event.person, box=event.box, evidence=event.evidence)
    return _release(rotation, (entry,), now)


def _plan_changed(rotation: Rotation, event: PlanChanged, now: datetime) -> Decision:
    if rotation.state not in (State.REQUESTED, State.APPROVED) or any(run.touched for run in rotation.steps):
        raise Stale("the rotation has begun; its plan is fixed")
    old = rotation.plan.digest
    rotation = replace(
        rotation,
        plan=event.plan,
        nonce=event.nonce,
        state=State.REQUESTED,
        steps=tuple(StepRun(attempt=run.attempt) for run in _fitted(rotation.steps, len(event.plan.steps))),
        votes=(),
        expires_at=now + event.plan.approve_within,
    )
    entry = _entry(rotation, Event.PLAN_CHANGED, BOT, was=old, plan=event.plan.digest, what=list(event.what))
    return Decision(rotation, (entry,))


def _fitted(runs: tuple[StepRun, ...], length: int) -> tuple[StepRun, ...]:
    return (*runs, *(StepRun() for _ in range(length)))[:length]


def _cancelled(rotation: Rotation, event: Cancelled, now: datetime) -> Decision:
    if rotation.state not in (State.REQUESTED, State.APPROVED) or any(run.touched for run in rotation.steps):
        if rotation.is_over or rotation.state is State.ROLLING_BACK:
            raise Refused(f"{rotation.id} {_past(rotation)}; there is nothing to cancel.", code="late")
        raise Refused(
            f"{rotation.id} has already changed things, so it cannot just be cancelled; "
            f"roll it back with: rollback {rotation.id}.",
            code="under-way",
        )
    rotation = replace(
        rotation,
        state=State.CANCELLED,
        ended_at=now,
        outcome=f"Cancelled by {event.person}: {event.reason}",
        steps=tuple(replace(run, stage=Stage.PENDING, due_at=None) for run in rotation.steps),
    )
    return Decision(rotation, (_entry(rotation, Event.CANCELLED, event.person, reason=event.reason),))


def _expired(rotation: Rotation, event: Expired, now: datetime) -> Decision:
    if rotation.amendment is not None and now >= rotation.amendment.expires_at:
        step = rotation.plan.steps[rotation.amendment.step].id
        rotation = replace(rotation, amendment=None)
        return Decision(rotation, (_entry(rotation, Event.AMENDMENT_LAPSED, BOT, step=step, expired=True),))
    if rotation.state is State.REQUESTED and now >= rotation.expires_at:
        outcome = "Nobody approved in time; nothing was changed. Start it again when an approver is there."
        rotation = replace(rotation, state=State.ABANDONED, ended_at=now, outcome=outcome)
        return Decision(rotation, (_entry(rotation, Event.ABANDONED, BOT, reason="approval expired"),))
    raise Stale("nothing has expired")


# --- a worker's reports -----------------------------------------------------------------------------------------------


def _began(rotation: Rotation, event: Began, now: datetime) -> Decision:
    run = rotation.steps[event.step]
    if run.stage is not Stage.QUEUED or run.attempt != event.attempt:
        raise Stale("the step has moved on")
    if rotation.state is State.APPROVED and now >= rotation.expires_at:
        rotation = replace(
            rotation,
            state=State.REQUESTED,
            votes=(),
            expires_at=now + rotation.plan.approve_within,
            steps=_with(rotation.steps, event.step, replace(run, stage=Stage.PENDING)),
            outcome="The approval expired before the first step could start; it needs approval again.",
        )
        return Decision(rotation, (_entry(rotation, Event.PLAN_CHANGED, BOT, what=["approval expired"]),))
    started = rotation.state is State.APPROVED
    planned = rotation.plan.steps[event.step]
    again = run.touched
    rotation = replace(
        rotation,
        started_at=rotation.started_at or now,
        steps=_with(
            rotation.steps,
            event.step,
            replace(
                run,
                stage=Stage.RUNNING,
                worker=event.worker,
                touched=run.touched or not run.undoing,
                began_at=run.began_at or now,
                due_at=None,
                problem="",
                hint="",
                ambiguous=False,
            ),
        ),
    )
    entries: tuple[Entry, ...] = ()
    if started:
        rotation = replace(rotation, state=State.RUNNING, outcome="")
        entries = (_entry(rotation, Event.STARTED, BOT, plan=rotation.plan.digest),)
    name = Event.UNDO_INTENT if run.undoing else Event.STEP_INTENT
    if planned.changes or not again:
        entries += (
            _entry(rotation, name, BOT, step=planned.id, does=planned.title, attempt=run.attempt, worker=event.worker),
        )
    return Decision(_settled(rotation), entries)


def _ended(rotation: Rotation, event: Ended, now: datetime) -> Decision:
    run = rotation.steps[event.step]
    if run.stage is not Stage.RUNNING or run.attempt != event.attempt or run.worker != event.worker:
        raise Stale("the step has been taken over")
    outcome = event.outcome
    if rotation.state is State.ROLLING_BACK and not run.undoing:
        return _ended_while_rolling_back(rotation, event.step, outcome, now)
    match outcome:
        case Done():
            return _step_done(rotation, event.step, outcome, now)
        case NotYet():
            return _step_waits(rotation, event.step, outcome)
        case Failed():
            return _step_failed(rotation, event.step, outcome, now)
        case Asking():
            return _step_asks(rotation, event.step, outcome)
        case BackOut():
            return _back_out(rotation, event.step, outcome)


def _step_done(rotation: Rotation, i: int, outcome: Done, now: datetime) -> Decision:
    planned, run = rotation.plan.steps[i], rotation.steps[i]
    if run.undoing:
        return _step_undone(rotation, i, outcome, now)
    done = replace(
        run,
        stage=Stage.DONE,
        outputs={**run.outputs, **outcome.outputs},
        evidence=outcome.evidence,
        ended_at=now,
        failures=0,
        progress={},
    )
    rotation = _lapse(replace(rotation, steps=_with(rotation.steps, i, done)), i)
    entry = _entry(
        rotation,
        Event.STEP_OUTCOME,
        BOT,
        step=planned.id,
        result="done",
        outputs=dict(done.outputs),
        evidence=outcome.evidence,
        attempt=run.attempt,
    )
    return _go_on(rotation, (entry,), now)


def _step_waits(rotation: Rotation, i: int, outcome: NotYet) -> Decision:
    planned, run = rotation.plan.steps[i], rotation.steps[i]
    first = run.evidence == "" and run.progress == {}
    outputs = run.outputs if outcome.outputs is None else {**run.outputs, **outcome.outputs}
    waiting = replace(
        run,
        stage=Stage.WAITING,
        due_at=outcome.at,
        evidence=outcome.evidence,
        progress=outcome.progress,
        outputs=outputs,
        failures=0,
    )
    rotation = _settled(replace(rotation, steps=_with(rotation.steps, i, waiting)))
    entries: tuple[Entry, ...] = ()
    if first or outcome.outputs is not None:
        entries = (
            _entry(
                rotation,
                Event.STEP_OUTCOME,
                BOT,
                step=planned.id,
                result="waiting",
                evidence=outcome.evidence,
                until=outcome.at.isoformat(),
                outputs=dict(outputs),
            ),
        )
    return Decision(rotation, entries)


def _step_failed(rotation: Rotation, i: int, outcome: Failed, now: datetime) -> Decision:
    planned, run = rotation.plan.steps[i], rotation.steps[i]
    failures = run.failures + 1
    again = outcome.retry_in is not None and not outcome.ambiguous and failures < planned.step.tries
    outputs = run.outputs if outcome.outputs is None else {**run.outputs, **outcome.outputs}
    run = replace(run, failures=failures, problem=outcome.problem, hint=outcome.hint, outputs=outputs)
    detail = {
        "step": planned.id,
        "result": "retry" if again else "ambiguous" if outcome.ambiguous else "failed",
        "problem": outcome.problem,
        "hint": outcome.hint,
        "attempt": run.attempt,
    }
    name = Event.UNDO_OUTCOME if run.undoing else Event.STEP_OUTCOME
    entry = _entry(rotation, name, BOT, **detail)
    if again:
        assert outcome.retry_in is not None
        wait = max(outcome.retry_in, min(FIRST_BACKOFF * 2 ** (failures - 1), LONGEST_BACKOFF))
        run = replace(run, stage=Stage.WAITING, due_at=now + wait)
        return Decision(_settled(replace(rotation, steps=_with(rotation.steps, i, run))), (entry,))
    run = replace(run, stage=Stage.HELD, ambiguous=outcome.ambiguous)
    return _hold(replace(rotation, steps=_with(rotation.steps, i, run)), i, (entry,))


def _hold(rotation: Rotation, i: int, entries: tuple[Entry, ...]) -> Decision:
    run, planned = rotation.steps[i], rotation.plan.steps[i]
    rotation = replace(rotation, outcome=f"{planned.title}: {run.problem}")
    rotation = _settled(rotation)
    name = Event.OVERLAP_BLOCKED if rotation.overlap is Overlap.BLOCKED else Event.HELD
    entry = _entry(rotation, name, BOT, step=planned.id, problem=run.problem, hint=run.hint)
    return Decision(rotation, (*entries, entry))


def _step_asks(rotation: Rotation, i: int, outcome: Asking) -> Decision:
    run = replace(rotation.steps[i], stage=Stage.ASKING, evidence=outcome.question)
    rotation = _settled(replace(rotation, steps=_with(rotation.steps, i, run)))
    entry = _entry(
        rotation, Event.STEP_OUTCOME, BOT, step=rotation.plan.steps[i].id, result="asking", question=outcome.question
    )
    return Decision(rotation, (entry,))


def _back_out(rotation: Rotation, i: int, outcome: BackOut) -> Decision:
    planned, run = rotation.plan.steps[i], rotation.steps[i]
    entry = _entry(rotation, Event.STEP_OUTCOME, BOT, step=planned.id, result="backing-out", problem=outcome.problem)
    run = replace(run, undoing=True, problem=outcome.problem, progress={"backed_out": outcome.problem}, failures=0)
    return _queue(replace(rotation, steps=_with(rotation.steps, i, run)), i, (entry,))


def _step_undone(rotation: Rotation, i: int, outcome: Done, now: datetime) -> Decision:
    planned, run = rotation.plan.steps[i], rotation.steps[i]
    entry = _entry(rotation, Event.UNDO_OUTCOME, BOT, step=planned.id, result="undone", evidence=outcome.evidence)
    run = replace(run, undoing=False, failures=0, ended_at=now, evidence=outcome.evidence)
    if rotation.state is State.ROLLING_BACK:
        run = replace(run, stage=Stage.UNDONE)
        return _undo_next(replace(rotation, steps=_with(rotation.steps, i, run)), (entry,), now)
    problem = str(run.progress.get("backed_out", "the change was undone"))
    run = replace(run, stage=Stage.HELD, problem=problem, hint="It was undone; nothing is broken.", progress={})
    run = replace(run, touched=False, outputs={}, began_at=None, ended_at=None)
    return _hold(replace(rotation, steps=_with(rotation.steps, i, run)), i, (entry,))


def _ended_while_rolling_back(rotation: Rotation, i: int, outcome: Any, now: datetime) -> Decision:
    """The step that was in flight when the rollback was asked for: note what came of it, then undo it with the rest."""
    run = rotation.steps[i]
    outputs = getattr(outcome, "outputs", None) or {}
    stage = Stage.DONE if isinstance(outcome, Done) else Stage.HELD
    run = replace(run, stage=stage, outputs={**run.outputs, **outputs}, ended_at=now)
    rotation = replace(rotation, steps=_with(rotation.steps, i, run))
    entry = _entry(
        rotation,
        Event.STEP_OUTCOME,
        BOT,
        step=rotation.plan.steps[i].id,
        result=type(outcome).__name__.lower(),
        outputs=dict(run.outputs),
        then="rolling back",
    )
    return _undo_next(rotation, (entry,), now)


def _due(rotation: Rotation, event: Due, now: datetime) -> Decision:
    run = rotation.steps[event.step]
    if run.stage is not Stage.WAITING or run.attempt != event.attempt or run.due_at is None or run.due_at > now:
        raise Stale("the step is not due")
    return _queue(rotation, event.step, ())


def _lost(rotation: Rotation, event: Lost, now: datetime) -> Decision:
    run, planned = rotation.steps[event.step], rotation.plan.steps[event.step]
    if run.stage not in (Stage.RUNNING, Stage.QUEUED) or run.attempt != event.attempt:
        raise Stale("the step has moved on")
    entries: tuple[Entry, ...] = ()
    if run.stage is Stage.RUNNING:
        entries = (_entry(rotation, Event.STEP_LOST, BOT, step=planned.id, attempt=run.attempt, worker=run.worker),)
    if rotation.state is State.ROLLING_BACK and not run.undoing:
        steps = _with(rotation.steps, event.step, replace(run, stage=Stage.HELD))
        return _undo_next(replace(rotation, steps=steps), entries, now)
    return _queue(rotation, event.step, entries)


# --- people steering --------------------------------------------------------------------------------------------------


def _advanced(rotation: Rotation, event: Advanced, now: datetime) -> Decision:
    i, run = _current(rotation, "advance")
    planned = rotation.plan.steps[i]
    if run.stage is Stage.ASKING:
        done = replace(run, stage=Stage.DONE, by=event.person, evidence=event.evidence, ended_at=now)
        rotation = _lapse(replace(rotation, steps=_with(rotation.steps, i, done)), i)
        entry = _entry(rotation, Event.STEP_CONFIRMED, event.person, step=planned.id, evidence=event.evidence)
        return _go_on(rotation, (entry,), now)
    if run.stage is Stage.WAITING:
        entry = _entry(rotation, Event.STEP_RELEASED, event.person, step=planned.id, looks_again=True)
        return _queue(rotation, i, (entry,))
    if run.stage is Stage.HELD:
        raise Refused(
            f"{rotation.id} is held at {planned.id}: {run.problem}. Use retry {rotation.id}, or rollback {rotation.id}.",
            code="held",
        )
    raise Refused(f"{rotation.id} is working on {planned.id} right now; there is nothing to advance.", code="late")


def _retried(rotation: Rotation, event: Retried, now: datetime) -> Decision:
    i, run = _current(rotation, "retry")
    planned = rotation.plan.steps[i]
    backing_off = run.stage is Stage.WAITING and run.failures > 0
    if run.stage is not Stage.HELD and not backing_off:
        raise Refused(f"No step of {rotation.id} has failed; there is nothing to retry.", code="late")
    run = replace(run, failures=0, began_at=None if run.stage is Stage.HELD else run.began_at)
    entry = _entry(rotation, Event.STEP_RELEASED, event.person, step=planned.id, retry=True, reason=event.reason)
    return _queue(replace(rotation, steps=_with(rotation.steps, i, run), outcome=""), i, (entry,))


def _skipped(rotation: Rotation, event: Skipped, now: datetime) -> Decision:
    i, run = _current(rotation, "skip")
    planned = rotation.plan.steps[i]
    if not event.reason.strip():
        raise Refused(f'Skipping needs a reason: skip {rotation.id} --reason "why it is safe".', code="reason-missing")
    if run.stage in (Stage.QUEUED, Stage.RUNNING):
        raise Refused(f"{planned.id} is running right now; wait for its outcome.", code="under-way")
    rule = Skip.SECOND_PERSON if run.undoing else planned.skip
    if rule is Skip.NEVER:
        raise Refused(
            f"{planned.id} may never be skipped; use retry {rotation.id} or rollback {rotation.id}.", code="never"
        )
    if rule is Skip.FREE:
        return _skip_now(rotation, i, event.person, event.reason, (), now)
    if rotation.amendment is not None:
        raise Refused(
            f"{rotation.amendment.requester} has already asked to skip a step of {rotation.id}; "
            f"a second person can approve that.",
            code="late",
        )
    covered = {"plan": rotation.plan.digest, "skip": planned.id, "by": event.person, "reason": event.reason}
    amendment = Amendment(
        i, event.person, event.reason, digest(covered), event.nonce, now + rotation.plan.approve_within, run.attempt
    )
    rotation = replace(rotation, amendment=amendment)
    entry = _entry(
        rotation, Event.AMENDMENT_ASKED, event.person, step=planned.id, reason=event.reason, plan=amendment.digest
    )
    return Decision(rotation, (entry,))


def _skip_now(rotation: Rotation, i: int, by: str, reason: str, entries: tuple[Entry, ...], now: datetime) -> Decision:
    run, planned = rotation.steps[i], rotation.plan.steps[i]
    if run.stage in FINISHED or run.stage in (Stage.QUEUED, Stage.RUNNING):
        raise Refused(f"{planned.id} has moved on meanwhile; nothing was skipped.", code="late")
    entry = _entry(rotation, Event.STEP_SKIPPED, by, step=planned.id, reason=reason, undo=run.undoing)
    skipped = replace(run, by=by, evidence=reason, ended_at=now, due_at=None, problem="", hint="")
    if run.undoing:
        skipped = replace(skipped, stage=Stage.UNDONE, undoing=False)
        rotation = replace(rotation, steps=_with(rotation.steps, i, skipped))
        return _undo_next(rotation, (*entries, entry), now)
    skipped = replace(skipped, stage=Stage.SKIPPED)
    rotation = replace(rotation, steps=_with(rotation.steps, i, skipped), outcome="")
    return _go_on(rotation, (*entries, entry), now)


def _rolled_back(rotation: Rotation, event: RolledBack, now: datetime) -> Decision:
    retiring = rotation.state is State.PROMOTED and rotation.overlap in (Overlap.RETIRING, Overlap.BLOCKED)
    if rotation.state not in MOVING and not retiring:
        if rotation.state is State.REQUESTED:
            raise Refused(f"Nothing of {rotation.id} has run; withdraw it with: cancel {rotation.id}.", code="not-run")
        raise Refused(f"{rotation.id} {_past(rotation)}; there is nothing to roll back.", code="late")
    for planned, run in zip(rotation.plan.steps, rotation.steps, strict=True):
        if planned.effect == DESTROYS and run.touched:
            raise Refused(
                f"{rotation.id} is past its point of no return ({planned.id} has run); start a new rotation instead.",
                code="point-of-no-return",
            )
    if not any(run.touched for run in rotation.steps) and rotation.state is State.APPROVED:
        return _cancelled(rotation, Cancelled(event.person, event.reason), now)
    entry = _entry(rotation, Event.ROLLING_BACK, event.person, reason=event.reason, was=rotation.state.value)
    outcome = f"Rolled back by {event.person}: {event.reason}"
    rotation = replace(rotation, state=State.ROLLING_BACK, amendment=None, outcome=outcome)
    if any(run.stage is Stage.RUNNING for run in rotation.steps):
        return Decision(rotation, (entry,))  # its outcome, or the loss of its worker, goes on from here
    return _undo_next(rotation, (entry,), now)


def _undo_next(rotation: Rotation, entries: tuple[Entry, ...], now: datetime) -> Decision:
    for i in reversed(range(len(rotation.steps))):
        planned, run = rotation.plan.steps[i], rotation.steps[i]
        if planned.changes and run.touched and run.stage not in (Stage.UNDONE, Stage.SKIPPED):
            run = replace(run, undoing=True, failures=0, began_at=None)
            return _queue(replace(rotation, steps=_with(rotation.steps, i, run)), i, entries)
    steps = tuple(
        run if run.stage in FINISHED else replace(run, stage=Stage.PENDING, due_at=None) for run in rotation.steps
    )
    overlap = rotation.overlap if rotation.overlap is Overlap.NONE else Overlap.ROLLED_BACK
    rotation = replace(rotation, steps=steps, state=State.ROLLED_BACK, overlap=overlap, ended_at=now, next_due=None)
    return Decision(rotation, (*entries, _entry(rotation, Event.ROLLED_BACK, BOT, outcome=rotation.outcome)))


# --- shared -----------------------------------------------------------------------------------------------------------


def _go_on(rotation: Rotation, entries: tuple[Entry, ...], now: datetime) -> Decision:
    """Queue the next step, promote when the rotation proper is complete, retire when everything is."""
    following = rotation.current
    if rotation.promoted_at is None and (following is None or following >= rotation.plan.promotion):
        rotation, promoted = _promote(rotation, has_overlap=following is not None, now=now)
        entries += promoted
    if following is not None:
        return _queue(rotation, following, entries)
    rotation = replace(rotation, ended_at=now, outcome="")
    if rotation.overlap is not Overlap.NONE:
        rotation = replace(rotation, overlap=Overlap.RETIRED)
        entries += (_entry(rotation, Event.OVERLAP_RETIRED, BOT, retired=_names(rotation)),)
    return Decision(rotation, entries)


def _promote(rotation: Rotation, *, has_overlap: bool, now: datetime) -> tuple[Rotation, tuple[Entry, ...]]:
    cadence = rotation.plan.cadence
    rotation = replace(
        rotation,
        state=State.PROMOTED,
        promoted_at=now,
        overlap=Overlap.RETIRING if has_overlap else Overlap.NONE,
        overlap_deadline=now + rotation.plan.retire_within if has_overlap else None,
        next_due=now + cadence if cadence else None,
        outcome="",
    )
    entries = [_entry(rotation, Event.PROMOTED, BOT, replaced=_names(rotation))]
    if rotation.next_due is not None and cadence is not None:
        due = rotation.next_due.isoformat()
        entries.append(_entry(rotation, Event.NEXT_DUE, BOT, due=due, cadence=duration.show(cadence)))
    if rotation.overlap_deadline is not None:
        entries.append(_entry(rotation, Event.OVERLAP_OPENED, BOT, deadline=rotation.overlap_deadline.isoformat()))
    return rotation, tuple(entries)


def _names(rotation: Rotation) -> dict[str, Any]:
    """Every output so far, so that the audit says which id replaced which."""
    return {
        planned.id: dict(run.outputs)
        for planned, run in zip(rotation.plan.steps, rotation.steps, strict=True)
        if run.outputs
    }


def _queue(rotation: Rotation, i: int, entries: tuple[Entry, ...]) -> Decision:
    run = rotation.steps[i]
    run = replace(run, stage=Stage.QUEUED, attempt=run.attempt + 1, worker="", due_at=None)
    rotation = _settled(replace(rotation, steps=_with(rotation.steps, i, run)))
    return Decision(rotation, entries, dispatch=i)


_BY_STAGE: Mapping[Stage, State] = {
    Stage.WAITING: State.WAITING,
    Stage.ASKING: State.ASKING,
    Stage.HELD: State.HELD,
}


def _settled(rotation: Rotation) -> Rotation:
    """Derive the rotation's state from its current step."""
    i = rotation.current
    if i is None or rotation.state in (State.APPROVED, State.ROLLING_BACK):
        return rotation
    stage = rotation.steps[i].stage
    if rotation.state is State.PROMOTED:
        return replace(rotation, overlap=Overlap.BLOCKED if stage is Stage.HELD else Overlap.RETIRING)
    return replace(rotation, state=_BY_STAGE.get(stage, State.RUNNING))


def _lapse(rotation: Rotation, i: int) -> Rotation:
    """A step that finishes by itself makes the request to skip it pointless."""
    if rotation.amendment is not None and rotation.amendment.step == i:
        return replace(rotation, amendment=None)
    return rotation


def _current(rotation: Rotation, word: str) -> tuple[int, StepRun]:
    if rotation.state is State.REQUESTED:
        raise Refused(f"{rotation.id} still waits for approval; nobody can {word} it yet.", code="not-approved")
    if rotation.is_over:
        raise Refused(f"{rotation.id} {_past(rotation)}; there is nothing to {word}.", code="late")
    i = rotation.current
    if i is None:
        raise Refused(f"{rotation.id} is being rolled back; wait for the step in flight.", code="late")
    return i, rotation.steps[i]


def _past(rotation: Rotation) -> str:
    """What became of it, to follow its id: `was cancelled on 2026-11-21`."""
    if rotation.votes and rotation.state in MOVING:
        last = rotation.votes[-1]
        return f"was already approved by {last.person} at {last.at:%Y-%m-%d %H:%M} UTC"
    ended = f" at {rotation.ended_at:%Y-%m-%d %H:%M} UTC" if rotation.ended_at else ""
    words = {
        State.PROMOTED: "is done" if rotation.is_over else "is promoted and retires the old credential",
        State.ROLLED_BACK: "was rolled back",
        State.CANCELLED: "was cancelled",
        State.ABANDONED: "was abandoned because nobody approved it in time",
        State.ROLLING_BACK: "is being rolled back",
    }
    return words.get(rotation.state, "is already under way") + ended


def _verb(event: Voted) -> str:
    return "approve" if event.approve else "reject"


def _with(runs: tuple[StepRun, ...], i: int, run: StepRun) -> tuple[StepRun, ...]:
    return (*runs[:i], run, *runs[i + 1 :])


def _entry(rotation: Rotation, event: Event, actor: str, **detail: Any) -> Entry:
    return Entry(event, actor, rotation.id, rotation.plan.credential, detail)


_RULES: dict[type[Any], Callable[[Rotation, Any, datetime], Decision]] = {
    Voted: _voted,
    Ticked: _ticked,
    PlanChanged: _plan_changed,
    Cancelled: _cancelled,
    Expired: _expired,
    Began: _began,
    Ended: _ended,
    Due: _due,
    Lost: _lost,
    Advanced: _advanced,
    Retried: _retried,
    Skipped: _skipped,
    RolledBack: _rolled_back,
}
