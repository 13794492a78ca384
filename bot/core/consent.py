"""Asking and consenting: a request, its checklist, votes, and what makes consent void."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from bot.core.decision import BOT, Decision, Stale, note, past, queue, skip_now
from bot.core.errors import Refused
from bot.core.events import Entry, Event
from bot.core.rotation import (
    Amendment,
    Box,
    Expired,
    Opened,
    PlanChanged,
    Rotation,
    State,
    StepRun,
    Ticked,
    Vote,
    Voted,
)


def opened(event: Opened, now: datetime) -> Decision:
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
    entries = (note(rotation, Event.REQUESTED, plan.requester, **detail),)
    return release(rotation, entries, now)


def release(rotation: Rotation, entries: tuple[Entry, ...], now: datetime) -> Decision:
    """Start when consent and checklist are complete."""
    complete = not rotation.missing_approvals and all(box.ticked for box in rotation.boxes)
    if rotation.state is not State.REQUESTED or not complete:
        return Decision(rotation, entries)
    entry = note(rotation, Event.APPROVED, BOT, plan=rotation.plan.digest, by=[vote.person for vote in rotation.votes])
    return queue(replace(rotation, state=State.APPROVED), 0, (*entries, entry))


def voted(rotation: Rotation, event: Voted, now: datetime) -> Decision:
    if rotation.amendment is not None:
        return _voted_on_amendment(rotation, rotation.amendment, event, now)
    if rotation.state is not State.REQUESTED:
        raise Refused(f"{rotation.id} {past(rotation)}; your vote changed nothing.", code="late")
    _same_plan(rotation.id, event, rotation.plan.digest, rotation.nonce)
    if now >= rotation.expires_at:
        raise Refused(f"The request for {rotation.id} has expired; start it again.", code="expired")
    if event.person == rotation.plan.requester:
        raise Refused(
            f"You asked for {rotation.id} yourself; another person has to {verb(event)} it. "
            f"You can withdraw it with cancel.",
            code="self-approval",
        )
    if not event.approve:
        return _rejected(rotation, event, now)
    if any(vote.person == event.person for vote in rotation.votes):
        raise Refused(f"Your approval of {rotation.id} is already counted.", code="double-vote")
    rotation = replace(rotation, votes=(*rotation.votes, Vote(event.person, event.because, now)))
    entry = note(
        rotation,
        Event.VOTE_COUNTED,
        event.person,
        plan=event.digest,
        because=event.because,
        counted=len(rotation.votes),
        needed=rotation.plan.approvers,
    )
    return release(rotation, (entry,), now)


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
            note(rotation, Event.VOTE_COUNTED, event.person, reject=True, reason=event.reason, because=event.because),
            note(rotation, Event.CANCELLED, event.person, reason=event.reason, rejected=True),
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
            (note(rotation, Event.AMENDMENT_LAPSED, event.person, step=step, rejected=True, reason=event.reason),),
        )
    entry = note(
        rotation,
        Event.AMENDMENT_APPROVED,
        event.person,
        step=step,
        plan=amendment.digest,
        because=event.because,
        asked_by=amendment.requester,
    )
    by = f"{amendment.requester} and {event.person}"
    return skip_now(rotation, amendment.step, by, amendment.reason, (entry,), now)


def _same_plan(rotation_id: str, event: Voted, wanted: str, nonce: str) -> None:
    if event.digest != wanted or event.nonce != nonce:
        raise Refused(
            f"The plan of {rotation_id} is not the one that you saw; look at its card and {verb(event)} what stands "
            f"there now.",
            code="stale-plan",
        )


def verb(event: Voted) -> str:
    return "approve" if event.approve else "reject"


def ticked(rotation: Rotation, event: Ticked, now: datetime) -> Decision:
    if rotation.state is not State.REQUESTED:
        raise Refused(f"{rotation.id} {past(rotation)}; its checklist is closed.", code="late")
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
    entry = note(rotation, Event.BOX_TICKED, event.person, box=event.box, evidence=event.evidence)
    return release(rotation, (entry,), now)


def plan_changed(rotation: Rotation, event: PlanChanged, now: datetime) -> Decision:
    if rotation.state not in (State.REQUESTED, State.APPROVED) or any(run.touched for run in rotation.steps):
        raise Stale("the rotation has begun; its plan is fixed")
    old = rotation.plan.digest
    rotation = replace(
        rotation,
        plan=event.plan,
        nonce=event.nonce,
        state=State.REQUESTED,
        steps=tuple(StepRun(attempt=run.attempt) for run in _fitted(rotation.steps, len(event.plan.steps))),
        boxes=_kept(rotation.boxes, event.plan.before),
        votes=(),
        expires_at=now + event.plan.approve_within,
        outcome=f"The plan changed ({', '.join(event.what)}), so it needs approval again."[:1000],
    )
    entry = note(rotation, Event.PLAN_CHANGED, BOT, was=old, plan=event.plan.digest, what=list(event.what))
    return Decision(rotation, (entry,))


def _kept(boxes: tuple[Box, ...], wanted: tuple[str, ...]) -> tuple[Box, ...]:
    """The boxes that the new plan wants; what was vouched for stays so."""
    known = {box.name: box for box in boxes}
    return tuple(known.get(name) or Box(name) for name in wanted)


def _fitted(runs: tuple[StepRun, ...], length: int) -> tuple[StepRun, ...]:
    return (*runs, *(StepRun() for _ in range(length)))[:length]


def expired(rotation: Rotation, event: Expired, now: datetime) -> Decision:
    if rotation.amendment is not None and now >= rotation.amendment.expires_at:
        step = rotation.plan.steps[rotation.amendment.step].id
        rotation = replace(rotation, amendment=None)
        return Decision(rotation, (note(rotation, Event.AMENDMENT_LAPSED, BOT, step=step, expired=True),))
    if rotation.state is State.REQUESTED and now >= rotation.expires_at:
        outcome = "Nobody approved in time; nothing was changed. Start it again when an approver is there."
        rotation = replace(rotation, state=State.ABANDONED, ended_at=now, outcome=outcome)
        return Decision(rotation, (note(rotation, Event.ABANDONED, BOT, reason="approval expired"),))
    raise Stale("nothing has expired")
