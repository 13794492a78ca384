"""Withdraw a request of which nothing was done yet.

`cancel R-7 --reason "wrong environment"`. Once something was changed, `rollback` puts it back instead.
"""

from __future__ import annotations

from bot.contracts.command import Answer, Call, Need, Rotations
from bot.core.errors import Refused

usage = 'cancel R-7 --reason "why"'
need = Need.CANCEL
flags = {"reason": "why it is withdrawn"}
reason = True


def run(call: Call, rotations: Rotations) -> Answer:
    """Withdraw it."""
    why = call.flags.get("reason", "").strip()
    if len(call.args) != 1 or not why:
        raise Refused(f"Say which rotation you withdraw, and why: {usage}.", code="usage")
    rotation = rotations.cancel(call, call.args[0], why)
    return Answer(
        f"{rotation.id} ({rotation.plan.credential}) is cancelled; nothing was changed.",
        rotation=rotation.number,
        data={"rotation": rotation.id, "state": rotation.state.value},
    )
