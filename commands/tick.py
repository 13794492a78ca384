"""Vouch for a box of the checklist.

`tick R-7 notified --evidence "posted in #payments"` puts your name beside the box. What can be checked is ticked by
keyturn itself, with its evidence.
"""

from __future__ import annotations

from bot.contracts.command import Answer, Call, Need, Rotations
from bot.core.errors import Refused

usage = 'tick R-7 <box> [--evidence "what you looked at"]'
need = Need.TICK
flags = {"evidence": "what you looked at"}


def run(call: Call, rotations: Rotations) -> Answer:
    """Tick one box."""
    if len(call.args) != 2:
        raise Refused(f"Say which rotation and which box: {usage}; status R-7 shows its boxes.", code="usage")
    rotation = rotations.tick(call, call.args[0], call.args[1], call.flags.get("evidence", ""))
    left = [box.name for box in rotation.boxes if not box.ticked]
    rest = f"still open: {', '.join(left)}" if left else "the checklist is complete"
    return Answer(
        f"Your name stands beside {call.args[1]} of {rotation.id}; {rest}.",
        rotation=rotation.number,
        data={"rotation": rotation.id, "open": left},
    )
