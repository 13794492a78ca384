"""Asking and consenting: a request, its checklist, votes, and what makes consent void."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from bot.core.decision import (
    BOT,
    LAPSED,
    Decision,
    Stale,
    ask_again,
    go_on,
    note,
    past,
    put,
    put_back,
    queue,
    settled,
    skip_now,
)
from bot.core.errors import Refused
from bot.core.events import EVERYTHING, Entry, Event
from bot.core.plan import DESTROYS
from bot.core.progress import approval_expired
from bot.core.rotation import (
    MOVING,
    Amendment,
    Box,
    Confirmed,
    Expired,
    Opened,
    PlanChanged,
    Postponed,
    Rotation,
    Stage,
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
        eligible=event.eligible,
        called_at=now,
        unconfirmed=event.unconfirmed,
    )
    detail = {
        "plan": plan.digest,
        "runbook": plan.runbook,
        "runbook_hash": plan.runbook_hash,
        "reason": plan.reason,
        "word": plan.word,
        "order": plan.order,
        "eligible": dict(event.eligible) if event.eligible is not None else None,
        "boxes": {box.name: {"ticked": box.ticked, "by": box.by, "evidence": box.evidence} for box in event.boxes},
    }
    entries = (note(rotation, Event.REQUESTED, plan.requester, **detail),)
    return release(rotation, entries, now)


def release(rotation: Rotation, entries: tuple[Entry, ...], now: datetime) -> Decision:
    """Start when consent and checklist are complete."""
    complete = not rotation.missing_approvals and all(box.ticked for box in rotation.boxes) and not rotation.unconfirmed
    if rotation.state is not State.REQUESTED or not complete:
        return Decision(rotation, entries)
    entry = note(rotation, Event.APPROVED, BOT, plan=rotation.plan.digest, by=[vote.person for vote in rotation.votes])
    entries += (entry,)
    if rotation.glass is None:
        return queue(replace(rotation, state=State.APPROVED), 0, entries)
    rotation = replace(rotation, state=State.RUNNING)
    following = rotation.current
    if following is None or rotation.steps[following].stage is Stage.PENDING:
        return go_on(rotation, entries, now)
    return Decision(settled(rotation), entries)  # a step of the containment is still under way or held


def check_ballot(rotation: Rotation, event: Voted, now: datetime) -> None:
    """Refuse a vote that comes too late or is about another plan: nobody has to be asked about that."""
    amendment = rotation.amendment
    if amendment is not None:
        _same_plan(rotation.id, event, amendment.digest, amendment.nonce)
        if now >= amendment.expires_at:
            wanted = "undo" if amendment.undoes else "skip a step of"
            raise Refused(f"The request to {wanted} {rotation.id} has expired; ask again.", code="expired")
        return
    if rotation.state is not State.REQUESTED:
        raise Refused(f"{rotation.id} {past(rotation)}; your vote changed nothing.", code="late")
    _same_plan(rotation.id, event, rotation.plan.digest, rotation.nonce)
    _in_time(rotation, now)


def voted(rotation: Rotation, event: Voted, now: datetime) -> Decision:
    check_ballot(rotation, event, now)
    if rotation.amendment is not None:
        return _voted_on_amendment(rotation, rotation.amendment, event, now)
    if event.person == rotation.plan.requester:
        raise Refused(
            f"You asked for {rotation.id} yourself; another person has to {verb(event)} it. "
            f"You can withdraw it with cancel.",
            code="self-approval",
        )
    if rotation.eligible is not None and event.person not in rotation.eligible:
        raise Refused(
            f"You were not an approver when {rotation.id} was asked for; somebody who was has to {verb(event)} it.",
            code="not-eligible-then",
        )
    if not event.approve:
        return _rejected(rotation, event, now)
    _signed(rotation, event)
    if rotation.glass is not None and event.person == rotation.glass.by:
        raise Refused(f"You contained {rotation.id} alone; another person has to approve the rest.", "self-approval")
    if any(vote.person == event.person for vote in rotation.votes):
        raise Refused(f"Your approval of {rotation.id} is already counted.", code="double-vote")
    keys = {vote.key for vote in rotation.votes} | ({rotation.glass.key} if rotation.glass else set())
    if event.key and event.key in keys:
        raise Refused(f"Somebody has signed {rotation.id} with the same key; a key is one person's.", "shared-key")
    taken = {name for vote in rotation.votes for name in (vote.person, vote.instead_of)}
    taken |= {rotation.glass.by} if rotation.glass else set()
    if event.instead_of and event.instead_of in taken:
        raise Refused(
            f"You may vote in place of {event.instead_of} only, and that vote has been counted.", "stood-in-already"
        )
    rotation = replace(
        rotation, votes=(*rotation.votes, Vote(event.person, event.because, now, event.key, event.instead_of))
    )
    entry = note(
        rotation,
        Event.VOTE_COUNTED,
        event.person,
        plan=event.digest,
        because=event.because,
        counted=rotation.counted_votes,
        needed=rotation.plan.approvers,
        **_signature(event),
    )
    return release(rotation, (entry,), now)


def _rejected(rotation: Rotation, event: Voted, now: datetime) -> Decision:
    if not event.reason.strip():
        raise Refused(
            f'A rejection needs a reason: reject {rotation.id} --reason "what is wrong".', code="reason-missing"
        )
    outcome = f"Rejected by {event.person}: {event.reason}"
    vote = note(rotation, Event.VOTE_COUNTED, event.person, reject=True, reason=event.reason, because=event.because)
    if rotation.glass is not None:
        return put_back(rotation, outcome, (vote,), now)
    rotation = replace(rotation, state=State.CANCELLED, ended_at=now, outcome=outcome)
    return Decision(
        rotation,
        (
            vote,
            note(rotation, Event.CANCELLED, event.person, reason=event.reason, rejected=True),
        ),
    )


def _voted_on_amendment(rotation: Rotation, amendment: Amendment, event: Voted, now: datetime) -> Decision:
    if event.person == amendment.requester:
        wanted = "undo" if amendment.undoes else "skip this step of"
        raise Refused(f"You asked to {wanted} {rotation.id}; another person has to agree.", "self-approval")
    if event.approve:
        _signed(rotation, event)
    if amendment.undoes:
        _can_be_put_back(rotation)
    step = _about(rotation, amendment)
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
        **_signature(event),
    )
    if amendment.undoes:
        outcome = f"Rolled back by {amendment.requester} and {event.person}: {amendment.reason}"
        return put_back(rotation, outcome, (entry,), now)
    by = f"{amendment.requester} and {event.person}"
    return skip_now(rotation, amendment.step, by, amendment.reason, (entry,), now)


def _about(rotation: Rotation, amendment: Amendment) -> str:
    """For the audit: the step to skip, or that everything is to be undone."""
    return EVERYTHING if amendment.undoes else rotation.plan.steps[amendment.step].id


def _can_be_put_back(rotation: Rotation) -> None:
    """The revocation has gone on since it was asked to undo it."""
    gone = [
        planned.id
        for planned, run in zip(rotation.plan.steps, rotation.steps, strict=True)
        if planned.effect == DESTROYS and run.touched
    ]
    if gone:
        raise Refused(
            f"{rotation.id} is past its point of no return ({gone[0]} has run); start a new rotation instead.",
            code="point-of-no-return",
        )
    if rotation.state not in MOVING and rotation.state is not State.PROMOTED:
        raise Refused(f"{rotation.id} {past(rotation)}; there is nothing to roll back.", code="late")


def _same_plan(rotation_id: str, event: Voted, wanted: str, nonce: str) -> None:
    if event.digest != wanted or event.nonce != nonce:
        raise Refused(
            f"The plan of {rotation_id} is not the one that you saw; look at its card and {verb(event)} what stands "
            f"there now.",
            code="stale-plan",
        )


def _signed(rotation: Rotation, event: Voted) -> None:
    if rotation.plan.signed and not event.key:
        raise Refused(
            f"{rotation.id} is critical: your approval counts only with your SSH signature. Run: "
            f"keyturn approve {rotation.id}, on your own machine.",
            code="unsigned",
        )


def confirmed(rotation: Rotation, event: Confirmed, now: datetime) -> Decision:
    """The requester's own signature of what they asked for on the command line."""
    if rotation.state is not State.REQUESTED or not rotation.unconfirmed:
        raise Refused(f"{rotation.id} {past(rotation)}; it needs no signature of yours.", code="late")
    if event.digest != rotation.plan.digest or event.nonce != rotation.nonce:
        raise Refused(f"The plan of {rotation.id} is not the one that you signed; sign what it says now.", "stale-plan")
    if event.person != rotation.plan.requester:
        raise Refused(
            f"Only {rotation.plan.requester} can sign that they asked for {rotation.id}.", "not-the-requester"
        )
    if not event.key:
        raise Refused("What was asked for on the command line is confirmed with an SSH signature.", code="unsigned")
    _in_time(rotation, now)
    entry = note(
        rotation,
        Event.VOTE_COUNTED,
        event.person,
        plan=event.digest,
        request=True,
        key=event.key,
        signature=event.signature,
    )
    return release(replace(rotation, unconfirmed=False), (entry,), now)


def postponed(rotation: Rotation, event: Postponed, now: datetime) -> Decision:
    """An approved rotation waits for its window. The consent ends with that window; no later one prolongs it."""
    run = rotation.steps[event.step]
    if rotation.state is not State.APPROVED or run.stage is not Stage.QUEUED or run.attempt != event.attempt:
        raise Stale("the step has moved on")
    if now >= rotation.expires_at:
        return approval_expired(rotation, now)
    bound = any("window" in each.progress for each in rotation.steps)
    ends = min(rotation.expires_at, event.until) if bound else event.until
    progress = {} if ends == rotation.expires_at else {"window": ends.isoformat()}
    run = replace(run, stage=Stage.WAITING, due_at=min(event.at, ends), progress={**run.progress, **progress})
    rotation = replace(rotation, steps=put(rotation.steps, event.step, run), expires_at=ends, outcome=event.why)
    detail = {"at": event.at.isoformat(), "until": ends.isoformat(), "why": event.why}
    return Decision(rotation, (note(rotation, Event.POSTPONED, BOT, **detail),))


def _signature(event: Voted) -> dict[str, str]:
    signed = {"key": event.key, "signature": event.signature} if event.key else {}
    return signed | ({"instead_of": event.instead_of} if event.instead_of else {})


def _in_time(rotation: Rotation, now: datetime) -> None:
    if now >= rotation.expires_at:
        raise Refused(f"The request for {rotation.id} has expired; start it again.", code="expired")


def verb(event: Voted) -> str:
    return "approve" if event.approve else "reject"


def ticked(rotation: Rotation, event: Ticked, now: datetime) -> Decision:
    if rotation.state is not State.REQUESTED:
        raise Refused(f"{rotation.id} {past(rotation)}; its checklist is closed.", code="late")
    _in_time(rotation, now)
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
    begun = any(run.touched for run in rotation.steps) or rotation.glass is not None
    if rotation.state not in (State.REQUESTED, State.APPROVED) or begun:
        raise Stale("the rotation has begun; its plan is fixed")
    old = rotation.plan.digest
    steps, boxes = _fitted(rotation.steps, len(event.plan.steps)), _kept(rotation.boxes, event.plan.before)
    outcome = f"The plan changed ({', '.join(event.what)}), so it needs approval again."[:1000]
    rotation = ask_again(replace(rotation, plan=event.plan, steps=steps, boxes=boxes), outcome, now)
    rotation = replace(rotation, nonce=event.nonce)
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
        step = _about(rotation, rotation.amendment)
        rotation = replace(rotation, amendment=None)
        return Decision(rotation, (note(rotation, Event.AMENDMENT_LAPSED, BOT, step=step, expired=True),))
    if rotation.glass is not None and rotation.state is State.REQUESTED and now >= rotation.expires_at:
        entry = note(rotation, Event.GLASS_LAPSED, BOT, by=rotation.glass.by)
        return put_back(rotation, LAPSED, (entry,), now)
    if rotation.state is State.REQUESTED and now >= rotation.expires_at:
        outcome = "Nobody approved in time; nothing was changed. Start it again when an approver is there."
        rotation = replace(rotation, state=State.ABANDONED, ended_at=now, outcome=outcome)
        return Decision(rotation, (note(rotation, Event.ABANDONED, BOT, reason="approval expired"),))
    raise Stale("nothing has expired")
