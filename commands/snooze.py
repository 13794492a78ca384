"""Put the reminders that the owner of a credential gets off for some days.

`snooze billing-api-key 3d --reason "release on Friday"`. How long it may be shrinks as its expiry comes nearer and with
what was snoozed before the same date, and it never goes beyond that. Whom `reminders.escalate` names is called all the
same.
"""

from __future__ import annotations

from bot.contracts.command import Answer, Call, Need, Rotations
from bot.core import duration
from bot.core.errors import Refused

usage = 'snooze <credential> 3d --reason "why it can wait"'
need = Need.SNOOZE
flags = {"reason": "why it can wait; stands in the audit"}


def run(call: Call, rotations: Rotations) -> Answer:
    """Put them off."""
    reason = call.flags.get("reason", "").strip()
    if len(call.args) != 2 or not reason:
        raise Refused(f"Say which credential, for how long, and why: {usage}.", code="usage")
    days = call.args[1] + ("d" if call.args[1].isascii() and call.args[1].isdigit() else "")
    try:
        spell = duration.parse(days)
    except ValueError as error:
        raise Refused(f"{error}: {usage}.", code="usage") from None
    view = rotations.inventory.snooze(call, call.args[0], spell, reason)
    until = view.snoozed_until
    due = f"; it is due on {view.next_due:%Y-%m-%d}" if view.next_due else ""
    told = f"until {until:%Y-%m-%d %H:%M} UTC" if until else "for now"
    data = {"credential": view.name, "environment": view.environment, "until": until.isoformat() if until else None}
    return Answer(f"The owner of {view.name} in {view.environment} is not reminded {told}{due}.", data=data)
