"""Put everything back as it was before the rotation.

`rollback R-7 --reason "logins fail"` undoes each change, the last one first. It works until the point of no return that
the plan marks, also after the new credential is in use.
"""

from __future__ import annotations

from bot.contracts.command import Answer, Call, Need, Rotations
from bot.core.errors import Refused

usage = 'rollback R-7 --reason "why"'
need = Need.ROLLBACK
flags = {"reason": "why it is put back"}
reason = True


def run(call: Call, rotations: Rotations) -> Answer:
    """Begin the rollback."""
    why = call.flags.get("reason", "").strip()
    if len(call.args) != 1 or not why:
        raise Refused(f"Say which rotation to put back, and why: {usage}.", code="usage")
    rotation = rotations.rollback(call, call.args[0], why)
    asked = rotation.amendment is not None and rotation.amendment.undoes
    told = "is rolled back once a second person approves" if asked else "is being rolled back; its card shows each step"
    return Answer(
        f"{rotation.id} ({rotation.plan.credential}) {told}.",
        rotation=rotation.number,
        data={"rotation": rotation.id, "state": rotation.state.value},
    )
