"""Record a rotation that was done by hand.

`record billing-api-key --type manual --old key-7 --new key-8 --operator "Bob" --reason "leaked in a ticket"`. Old and
new are ids or versions, never values. Where its system can be asked, it is asked, and a record that it does not confirm
is refused.
"""

from __future__ import annotations

from bot.contracts.command import Answer, Call, Need, Rotations
from bot.core.errors import Refused
from bot.core.identifiers import public_id

usage = 'record <credential> --type manual --old <id> --new <id> --operator <who> --reason "why"'
need = Need.RECORD
flags = {
    "type": "what was done: scheduled, emergency, manual or migration",
    "old": "the id or version that was replaced, never its value",
    "new": "the id or version that is in use now, never its value",
    "operator": "who did it; you, when left out",
    "reason": "why it was rotated",
}
TYPES = ("scheduled", "emergency", "manual", "migration")


def run(call: Call, rotations: Rotations) -> Answer:
    """Check what was typed, strictly, and write it down."""
    given = {name: call.flags.get(name, "").strip() for name in flags}
    missing = [name for name in ("old", "new", "reason") if not given[name]]
    if len(call.args) != 1 or missing:
        raise Refused(f"Say which credential, old and new id, and why: {usage}.", code="usage")
    kind = given["type"] or "manual"
    if kind not in TYPES:
        raise Refused(f"The type of a rotation is {', '.join(TYPES[:-1])} or {TYPES[-1]}: {usage}.", code="usage")
    view = rotations.inventory.record(
        call,
        call.args[0],
        type=kind,
        old_id=public_id(given["old"], "old id"),
        new_id=public_id(given["new"], "new id"),
        operator=given["operator"] or call.person.name or call.person.id,
        reason=given["reason"],
    )
    due = f" It is due again on {view.next_due:%Y-%m-%d}." if view.next_due else ""
    data = {
        "credential": view.name,
        "environment": view.environment,
        "next_due": view.next_due.isoformat() if view.next_due else None,
    }
    return Answer(f"The rotation of {view.name} in {view.environment} by hand is recorded.{due}", data=data)
