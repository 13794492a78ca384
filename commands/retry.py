"""Try a failed step again.

`retry R-7` looks first what the last attempt did, then does what is missing.
"""

from __future__ import annotations

from bot.contracts.command import Answer, Call, Need, Rotations
from bot.core.errors import Refused

usage = 'retry R-7 [--reason "what was repaired"]'
need = Need.RETRY
flags = {"reason": "what was repaired meanwhile"}


def run(call: Call, rotations: Rotations) -> Answer:
    """Release the held step."""
    if len(call.args) != 1:
        raise Refused(f"Say which rotation to try again: {usage}.", code="usage")
    rotation = rotations.retry(call, call.args[0], call.flags.get("reason", ""))
    return Answer(
        f"The failed step of {rotation.id} ({rotation.plan.credential}) is tried again.",
        rotation=rotation.number,
        data={"rotation": rotation.id, "state": rotation.state.value},
    )
