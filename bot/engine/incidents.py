"""What an emergency or an expiry sets going beside its steps: the incident, word of every step, and errands."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from bot.core import duration
from bot.core import incident as core
from bot.core.decision import LAPSED
from bot.core.rotation import FINISHED, Rotation, Stage, State
from bot.engine.arrivals import delivery, failures
from bot.store.writing import Transaction

_UNBEGUN = frozenset({State.REQUESTED, State.CANCELLED, State.ABANDONED})

CAPTURED = 200
"""Events of the audit that are noted with an expiry."""
MOST_TOLD = 20
REVIEW_EVERY = timedelta(days=1)
"""How often an incident that is over is asked for its review."""


def consented(rotation: Rotation | None) -> bool:
    """Whether anybody's consent lets it act: enough people approved, or one broke the glass."""
    return rotation is not None and (rotation.glass is not None or rotation.state not in _UNBEGUN)


def unattended(rotation: Rotation) -> bool:
    """Whether nobody came in time: the suspected credential is in use, so a person has to end the alert."""
    given_up = rotation.state is State.ABANDONED and not rotation.plan.expiry
    return given_up or (rotation.glass is not None and rotation.outcome == LAPSED)


def of_incident(before: Rotation | None, after: Rotation) -> Mapping[str, Any]:
    """What marks a notice as one of the incident; nothing where none was opened."""
    opened = after.plan.has_incident and (consented(before) or consented(after))
    return {"incident": True} if opened else {}


def follow_emergency(tx: Transaction, before: Rotation | None, after: Rotation) -> None:
    """Open the incident, tell it of every finished step, and send the errands, as the change demands."""
    if consented(after) and not consented(before):
        _open(tx, after)
    if before is None:
        return
    if consented(before):
        _tell_steps(tx, before, after)
        _tell_approval(tx, before, after)
    if before.state is State.REQUESTED and after.state is State.ABANDONED and not after.unconfirmed:
        tx.add_errand(f"page-{after.number}-expired", after.number, "page", {"why": "nobody approved in time"})
    elif before.glass is not None and before.state is State.REQUESTED and after.state is State.ROLLING_BACK:
        say(tx, after, "put-back", f"What one person contained alone is put back. {after.outcome}", broadcast=True)
        tx.add_errand(f"page-{after.number}-put-back", after.number, "page", {"why": "the containment is put back"})
    if after.is_over and not before.is_over and not unattended(after):
        tx.add_errand(f"resolve-{after.number}", after.number, "resolve", {})


def say(tx: Transaction, rotation: Rotation, what: str, text: str, *, broadcast: bool = False) -> bool:
    """One message in the incident, or in the card's thread where there is no room. False when it was said before."""
    payload = {"rotation": rotation.number, "incident": True} | ({"broadcast": True} if broadcast else {})
    return tx.add_notice(f"incident-{rotation.number}-{what}", "", rotation.channel, text, payload, urgent=True)


def nudge(tx: Transaction, number: int, after: timedelta) -> None:
    """Ask for an update in an incident that looks quiet: once per `after`, and once a day when all is done."""
    rotation, found = tx.rotation(number), tx.incident(number)
    if rotation is None or found is None or not found.is_open:
        return
    said = tx.last_said(number)
    if said is not None and tx.now - said < after:
        tx.heard(number, min(said, tx.now))
        return
    if rotation.is_over and found.nudged_at is not None and tx.now - found.nudged_at < REVIEW_EVERY:
        tx.look_later(number, tx.now)
        return
    asked, entry = core.nudged(found, tx.now)
    tx.save_incident(found, asked, entry)
    i = rotation.current
    lead = found.commander or "Nobody leads this yet; somebody take command"
    if rotation.is_over:
        text = f"{lead}, {found.id} is over and its review is open. See: incident {found.id}."
    else:
        step = f" It is at: {rotation.plan.steps[i].title}." if i is not None else ""
        text = f"{lead}, nothing was said for {duration.show(after)}. What is going on?{step}"
    say(tx, rotation, f"nudge-{asked.version}", text)


def _open(tx: Transaction, rotation: Rotation) -> None:
    """In the transaction in which the revocation is approved, or contained by one person, or an expiry is found."""
    plan, (late, facts) = rotation.plan, _known(tx, rotation)
    solo = rotation.glass.by if rotation.glass else ""
    found = tx.incident(rotation.number)
    if found is not None:  # approved again after its plan had changed
        if solo and found.is_open:
            tx.save_incident(found, core.broken_by(found, solo))
        return
    incident, entry = core.opened(
        rotation.number,
        plan.credential,
        plan.environment,
        private=plan.private,
        by=plan.requester,
        now=tx.now,
        solo=solo,
        late=late,
        known=facts,
    )
    tx.save_incident(None, incident, entry)
    tx.add_drawing(rotation.number, "room", "", 1, urgent=True)
    what = f"{plan.credential} in {plan.environment} ({rotation.id}, {plan.order})"
    if plan.expiry:
        told = f"{plan.credential} in {plan.environment} has expired in use ({rotation.id}): {plan.reason}."
        text = f"{told} Its stages are passed one by one; its recovery may be started at once."
        say(tx, rotation, "opened", text, broadcast=True)
    elif rotation.glass is not None:
        say(
            tx,
            rotation,
            "opened",
            f"{solo} contains {what} alone: {rotation.glass.reason}. It is put back at "
            f"{rotation.glass.until:%Y-%m-%d %H:%M} UTC unless a second person approves it.",
            broadcast=True,
        )
    else:
        by = ", ".join(vote.person for vote in rotation.votes)
        say(
            tx,
            rotation,
            "opened",
            f"The revocation of {what} begins, asked for by {plan.requester} and approved by {by}: {plan.reason}.",
        )
    tx.add_errand(f"page-{rotation.number}-opened", rotation.number, "page", {"why": "an incident was opened"})
    tx.add_errand(f"ticket-{rotation.number}", rotation.number, "ticket", {})


def _tell_steps(tx: Transaction, before: Rotation, after: Rotation) -> None:
    """A line for every step that ended with this change; what is held or asks is announced to everybody."""
    for i, (planned, run) in enumerate(zip(after.plan.steps, after.steps, strict=True)):
        was = before.steps[i] if i < len(before.steps) else None
        if run.stage not in FINISHED or (was is not None and was.stage is run.stage):
            continue
        if run.stage is Stage.DONE:
            told = f"done{f': {run.evidence}' if run.evidence not in ('', 'done') else ''}"
        elif run.stage is Stage.SKIPPED:
            told = f"skipped by {run.by}: {run.evidence}"
        else:
            told = "undone"
        say(tx, after, f"{planned.id}-{run.stage.value}-{run.attempt}", f"{planned.title}: {told}.".replace("..", "."))


def _tell_approval(tx: Transaction, before: Rotation, after: Rotation) -> None:
    """The second person's consent to what one person began."""
    ended = after.state in _UNBEGUN or after.state is State.ROLLING_BACK
    if before.glass is not None and before.state is State.REQUESTED and not ended:
        by = ", ".join(vote.person for vote in after.votes)
        say(tx, after, f"approved-{after.version}", f"{by} approved what {before.glass.by} began alone; it goes on.")


def _known(tx: Transaction, rotation: Rotation) -> tuple[str, dict[str, Any]]:
    """What had failed before the emergency, and what the inventory knows; a promotion writes over its dates."""
    plan = rotation.plan
    rows = tx.credential(plan.credential, plan.environment)
    if not rows:
        return "", {}
    row, late = rows[0], ""
    missed: list[str] = []
    if plan.expiry:
        expired = f" at {row.expires_at:%Y-%m-%d %H:%M} UTC" if row.expires_at is not None else ""
        late = f"{plan.credential} expired{expired} while it was in use, and no reminder had prevented that."
        missed = failures(tx, plan.credential, plan.environment, row.last_rotated_at)
        late += f" Reminders were not delivered: {'; '.join(missed[-3:])}." if missed else ""
    elif row.next_due is not None and row.next_due <= tx.now:
        late = f"{plan.credential} was due on {row.next_due:%Y-%m-%d} and had not been rotated."
    dates = {"next_due": row.next_due, "last_rotated_at": row.last_rotated_at, "remind_at": row.remind_at}
    also: dict[str, Any] = {}
    if plan.expiry:
        dates["expires_at"] = row.expires_at
        told = [
            one
            for one in reversed(tx.reminders(plan.credential, plan.environment, MOST_TOLD))
            if row.last_rotated_at is None or one.told_at >= row.last_rotated_at
        ]
        also = {
            "owner_finding": row.owner_finding,
            "told": delivery(tx, told),
            "undelivered": missed,
            "captured": _captured(tx, plan.credential),
        }
    return late, {
        "owner": row.owner,
        "source": row.source,
        "cadence": duration.show(row.cadence) if row.cadence else "",
        **{name: at.isoformat() if at else None for name, at in dates.items()},
        **also,
    }


def _captured(tx: Transaction, credential: str) -> list[str]:
    """The last events of the audit about it, as numbers and names, so that they stand in the incident too."""
    return [f"{row.seq} {row.event} {row.actor}" for row in reversed(tx.history(credential=credential, limit=CAPTURED))]
