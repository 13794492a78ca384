"""What an emergency may do beside two people's consent: contain on one signature for a time, and take over."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from bot.core.decision import BOT, TAKEN_OVER, Decision, Stale, note, past, queue
from bot.core.errors import Refused
from bot.core.events import Event
from bot.core.plan import DESTROYS
from bot.core.rotation import FINISHED, OPEN, Glass, GlassBroken, Rotation, Stage, State, TakenOver


def glass_broken(rotation: Rotation, event: GlassBroken, now: datetime) -> Decision:
    """Begin the containment on one person's signature; what cannot be put back is never part of it."""
    plan = rotation.plan
    if rotation.state is not State.REQUESTED or rotation.glass is not None:
        raise Refused(f"{rotation.id} {past(rotation)}; there is no glass to break.", code="late")
    if plan.break_glass is None or not plan.emergency:
        raise Refused(
            f"Policy does not let one person contain {plan.credential} alone; somebody else has to approve "
            f"{rotation.id}.",
            code="no-break-glass",
        )
    if not plan.contained:
        raise Refused(
            f"{rotation.id} does not begin with a containment; revoke again with: "
            f"revoke {plan.credential} --order contain-first.",
            code="not-contain-first",
        )
    if any(planned.effect == DESTROYS for planned in plan.steps[: plan.contained]):
        raise Refused(f"The containment of {plan.credential} cannot be undone, so it needs two people.", "irreversible")
    if not event.reason.strip():
        raise Refused("Breaking the glass needs a reason.", code="reason-missing")
    if not event.key:
        raise Refused("Breaking the glass needs your SSH signature.", code="unsigned")
    if event.digest != plan.digest or event.nonce != rotation.nonce:
        raise Refused(
            f"The plan of {rotation.id} is not the one that you signed; sign what its card shows now.", "stale-plan"
        )
    if now >= rotation.expires_at:
        raise Refused(f"The request for {rotation.id} has expired; revoke again.", code="expired")
    if rotation.unconfirmed and event.person != plan.requester:
        raise Refused(
            f"{plan.requester} has not signed that they asked for {rotation.id}. If they did not, cancel it and revoke "
            f"again yourself.",
            code="unconfirmed",
        )
    until = now + plan.break_glass
    rotation = replace(
        rotation,
        glass=Glass(event.person, event.reason, now, until, event.key),
        expires_at=until,
        started_at=now,
        unconfirmed=False,
    )
    entry = note(
        rotation,
        Event.GLASS_BROKEN,
        event.person,
        plan=plan.digest,
        reason=event.reason,
        until=until.isoformat(),
        key=event.key,
        signature=event.signature,
    )
    return queue(rotation, 0, (entry,))


def taken_over(rotation: Rotation, event: TakenOver, now: datetime) -> Decision:
    """End what is under way because a revocation goes on instead; a step in flight is still noted when it ends."""
    if rotation.state not in OPEN or rotation.plan.emergency:
        raise Stale("there is nothing to take over")
    steps = tuple(
        run if run.stage in FINISHED or run.stage is Stage.RUNNING else replace(run, stage=Stage.PENDING, due_at=None)
        for run in rotation.steps
    )
    outcome = f"{TAKEN_OVER} {event.by}; what it had done stays as it is."
    was = rotation.state.value
    rotation = replace(rotation, state=State.ABANDONED, steps=steps, amendment=None, ended_at=now, outcome=outcome)
    return Decision(rotation, (note(rotation, Event.TAKEN_OVER, BOT, by=event.by, was=was),))
