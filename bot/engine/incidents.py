"""What an emergency sets going beside its steps: the incident, and the errands that page people and keep a ticket."""

from __future__ import annotations

from bot.core import incident as core
from bot.core.rotation import Rotation, State
from bot.store.writing import Transaction

_UNBEGUN = frozenset({State.REQUESTED, State.CANCELLED, State.ABANDONED})


def consented(rotation: Rotation | None) -> bool:
    """Whether anybody's consent lets it act: enough people approved, or one broke the glass."""
    return rotation is not None and (rotation.glass is not None or rotation.state not in _UNBEGUN)


def open_incident(tx: Transaction, before: Rotation | None, after: Rotation) -> None:
    """Open the incident in the transaction in which the revocation is approved, or contained by one person."""
    if not after.plan.emergency or consented(before) or not consented(after):
        return
    solo = after.glass.by if after.glass else ""
    known = tx.incident(after.number)
    if known is not None:  # approved again after its plan had changed
        if solo and known.is_open:
            tx.save_incident(known, core.broken_by(known, solo))
        return
    plan = after.plan
    incident, entry = core.opened(
        after.number,
        plan.credential,
        plan.environment,
        private=plan.private,
        by=plan.requester,
        now=tx.now,
        solo=solo,
        late=_late(tx, after),
    )
    tx.save_incident(None, incident, entry)
    tx.add_drawing(after.number, "room", "", 1, urgent=True)


def _late(tx: Transaction, rotation: Rotation) -> str:
    """What had failed before the emergency: the credential was past the date by which it was to be rotated."""
    plan = rotation.plan
    for row in tx.credential(plan.credential, plan.environment):
        if row.next_due is not None and row.next_due <= tx.now:
            return f"{plan.credential} was due on {row.next_due:%Y-%m-%d} and had not been rotated."
    return ""
