"""Approve a rotation that somebody else asked for.

`approve R-7` counts your approval for the plan that stands on the card. It does not count for your own request, and not
when the plan has changed since you saw it. It also agrees to a step that somebody asked to skip.
"""

from __future__ import annotations

from bot.contracts.command import Answer, Call, Need, Rotations
from bot.core.errors import Refused

usage = "approve R-7"
need = Need.APPROVE
flags = {"signature": "your SSH signature, where policy asks for one; keyturn approve makes it"}
sign = "approve"


def run(call: Call, rotations: Rotations) -> Answer:
    """Count one approval."""
    if len(call.args) != 1:
        raise Refused(f"Say which rotation you approve: {usage}; status shows the open ones.", code="usage")
    rotation = rotations.vote(call, call.args[0], approve=True, reason=call.flags.get("reason", ""))
    missing = rotation.missing_approvals
    if rotation.unconfirmed:
        still = f" {rotation.plan.requester} still has to sign what they asked for."
        return Answer(f"Your approval of {rotation.id} is counted.{still}", rotation=rotation.number)
    still = f" {missing} more {'is' if missing == 1 else 'are'} needed." if missing else ""
    open_boxes = [box.name for box in rotation.boxes if not box.ticked] if not missing else []
    if open_boxes:
        still = f" It begins when these boxes are ticked: {', '.join(open_boxes)}."
    return Answer(
        f"Your approval of {rotation.id} ({rotation.plan.credential}) is counted.{still}",
        rotation=rotation.number,
        data={"rotation": rotation.id, "state": rotation.state.value, "missing": missing},
    )
