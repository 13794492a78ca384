"""Reject a rotation that somebody else asked for, with a reason.

`reject R-7 --reason "freeze until Monday"` ends the request; nothing was changed.
"""

from __future__ import annotations

from bot.contracts.command import Answer, Call, Need, Rotations
from bot.core.errors import Refused

usage = 'reject R-7 --reason "what is wrong"'
need = Need.APPROVE
flags = {"reason": "what is wrong with it; stands on the card and in the audit"}
reason = True


def run(call: Call, rotations: Rotations) -> Answer:
    """Count one rejection."""
    why = call.flags.get("reason", "").strip()
    if len(call.args) != 1 or not why:
        raise Refused(f"Say which rotation you reject, and why: {usage}.", code="usage")
    rotation = rotations.vote(call, call.args[0], approve=False, reason=why)
    return Answer(
        f"Your rejection of {rotation.id} ({rotation.plan.credential}) is counted.",
        rotation=rotation.number,
        data={"rotation": rotation.id, "state": rotation.state.value},
    )
