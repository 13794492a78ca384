"""People steering: confirm, retry, skip, roll back."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from bot.core.decision import Decision, go_on, lapse, note, past, put, put_back, queue, skip_now, waits_behind_glass
from bot.core.errors import Refused
from bot.core.events import EVERYTHING, Event
from bot.core.plan import DESTROYS, digest
from bot.core.rotation import (
    MOVING,
    Advanced,
    Amendment,
    Cancelled,
    Overlap,
    Retried,
    RolledBack,
    Rotation,
    Skipped,
    Stage,
    State,
    StepRun,
)
from bot.core.runbook import Skip


def advanced(rotation: Rotation, event: Advanced, now: datetime) -> Decision:
    i, run = current_step(rotation, "advance", event.step)
    planned = rotation.plan.steps[i]
    if run.stage is Stage.ASKING:
        done = replace(run, stage=Stage.DONE, by=event.person, evidence=event.evidence, ended_at=now)
        rotation = lapse(replace(rotation, steps=put(rotation.steps, i, done)), i)
        entry = note(rotation, Event.STEP_CONFIRMED, event.person, step=planned.id, evidence=event.evidence)
        return go_on(rotation, (entry,), now)
    if run.stage is Stage.WAITING:
        entry = note(rotation, Event.STEP_RELEASED, event.person, step=planned.id, looks_again=True)
        return queue(rotation, i, (entry,))
    if run.stage is Stage.HELD:
        raise Refused(
            f"{rotation.id} is held at {planned.id}: {run.problem}. "
            f"Try again with: retry {rotation.id}, or put everything back with: rollback {rotation.id}.",
            code="held",
        )
    raise Refused(f"{rotation.id} is working on {planned.id} right now; there is nothing to advance.", code="late")


def retried(rotation: Rotation, event: Retried, now: datetime) -> Decision:
    i, run = current_step(rotation, "retry")
    planned = rotation.plan.steps[i]
    backing_off = run.stage is Stage.WAITING and run.failures > 0
    if run.stage is not Stage.HELD and not backing_off:
        raise Refused(f"No step of {rotation.id} has failed; there is nothing to retry.", code="late")
    run = replace(run, failures=0, began_at=None if run.stage is Stage.HELD else run.began_at)
    entry = note(rotation, Event.STEP_RELEASED, event.person, step=planned.id, retry=True, reason=event.reason)
    return queue(replace(rotation, steps=put(rotation.steps, i, run), outcome=""), i, (entry,))


def skipped(rotation: Rotation, event: Skipped, now: datetime) -> Decision:
    i, run = current_step(rotation, "skip", event.step)
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
        return skip_now(rotation, i, event.person, event.reason, (), now)
    if waits_behind_glass(rotation):
        raise Refused(
            f"Skipping {planned.id} takes a second person, and {rotation.id} waits for one to approve it; that comes "
            f"first.",
            code="not-approved",
        )
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
    entry = note(
        rotation, Event.AMENDMENT_ASKED, event.person, step=planned.id, reason=event.reason, plan=amendment.digest
    )
    return Decision(rotation, (entry,))


def cancelled(rotation: Rotation, event: Cancelled, now: datetime) -> Decision:
    _not_an_incident(rotation)
    if rotation.state not in (State.REQUESTED, State.APPROVED) or any(run.touched for run in rotation.steps):
        if rotation.is_over or rotation.state is State.ROLLING_BACK:
            raise Refused(f"{rotation.id} {past(rotation)}; there is nothing to cancel.", code="late")
        raise Refused(
            f"{rotation.id} has already changed things, so it cannot just be cancelled; "
            f"roll it back with: rollback {rotation.id}.",
            code="under-way",
        )
    rotation = replace(
        rotation,
        state=State.CANCELLED,
        amendment=None,
        ended_at=now,
        outcome=f"Cancelled by {event.person}: {event.reason}",
        steps=tuple(replace(run, stage=Stage.PENDING, due_at=None) for run in rotation.steps),
    )
    return Decision(rotation, (note(rotation, Event.CANCELLED, event.person, reason=event.reason),))


def rolled_back(rotation: Rotation, event: RolledBack, now: datetime) -> Decision:
    _not_an_incident(rotation)
    retiring = rotation.state is State.PROMOTED and rotation.overlap in (Overlap.RETIRING, Overlap.BLOCKED)
    contained = rotation.state is State.REQUESTED and rotation.glass is not None
    revoked = rotation.plan.emergency and rotation.state is State.PROMOTED
    if rotation.state not in MOVING and not retiring and not contained and not revoked:
        if rotation.state is State.REQUESTED:
            raise Refused(f"Nothing of {rotation.id} has run; withdraw it with: cancel {rotation.id}.", code="not-run")
        raise Refused(f"{rotation.id} {past(rotation)}; there is nothing to roll back.", code="late")
    for planned, run in zip(rotation.plan.steps, rotation.steps, strict=True):
        if planned.effect == DESTROYS and run.touched:
            raise Refused(
                f"{rotation.id} is past its point of no return ({planned.id} has run); start a new rotation instead.",
                code="point-of-no-return",
            )
    if not any(run.touched for run in rotation.steps) and rotation.state is State.APPROVED:
        return cancelled(rotation, Cancelled(event.person, event.reason), now)
    if rotation.plan.emergency and not contained and any(run.touched for run in rotation.steps):
        return _asked_to_put_back(rotation, event, now)
    return put_back(rotation, f"Rolled back by {event.person}: {event.reason}", (), now, event.person, event.reason)


def _not_an_incident(rotation: Rotation) -> None:
    if rotation.plan.expiry:
        raise Refused(
            f"{rotation.id} is an incident, which changed nothing that could be put back. Pass its stages with "
            f"advance, or for a false alarm skip its recovery, and end it with: incident {rotation.id} --close.",
            code="incident",
        )


def _asked_to_put_back(rotation: Rotation, event: RolledBack, now: datetime) -> Decision:
    """Putting a suspected credential back into use takes as many people as revoking it."""
    if not event.reason.strip():
        raise Refused(f'Undoing a revocation needs a reason: rollback {rotation.id} --reason "…".', "reason-missing")
    if rotation.amendment is not None:
        raise Refused(
            f"{rotation.amendment.requester} has already asked for a change of {rotation.id}; a second person can "
            f"approve or reject that.",
            code="late",
        )
    covered = {"plan": rotation.plan.digest, "rollback": True, "by": event.person, "reason": event.reason}
    ends = now + rotation.plan.approve_within
    amendment = Amendment(-1, event.person, event.reason, digest(covered), event.nonce, ends, 0)
    rotation = replace(rotation, amendment=amendment)
    entry = note(
        rotation, Event.AMENDMENT_ASKED, event.person, step=EVERYTHING, reason=event.reason, plan=amendment.digest
    )
    return Decision(rotation, (entry,))


def current_step(rotation: Rotation, word: str, seen: str = "") -> tuple[int, StepRun]:
    """The step that a word is about; `seen` names the one that the person looked at, which may be over by now."""
    if rotation.state is State.REQUESTED and rotation.glass is None:
        raise Refused(f"{rotation.id} still waits for approval; nobody can {word} it yet.", code="not-approved")
    if rotation.is_over:
        raise Refused(f"{rotation.id} {past(rotation)}; there is nothing to {word}.", code="late")
    i = rotation.current
    if i is None:
        raise Refused(f"{rotation.id} is being rolled back; wait for the step in flight.", code="late")
    if waits_behind_glass(rotation) and i >= rotation.plan.contained:
        raise Refused(
            f"{rotation.id} is contained; what follows waits for a second person, and nobody can {word} it yet.",
            code="not-approved",
        )
    if seen and rotation.plan.index(seen) is None:
        raise Refused(
            f"{rotation.id} has no step {seen[:40]!r}; see its steps with: status {rotation.id}.", "unknown-step"
        )
    if seen and rotation.plan.steps[i].id != seen:
        raise Refused(
            f"{rotation.id} has moved on from {seen} to {rotation.plan.steps[i].id}; nothing was done.",
            code="late",
        )
    return i, rotation.steps[i]
