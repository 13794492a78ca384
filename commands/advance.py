"""Confirm a manual gate, or look again now where a step waits.

`advance R-7 --evidence "CHG-1234"` confirms what no probe can see. Where a step waits for time or a condition, it is
looked at again at once; that ends no wait before its time. A step named after the rotation has to be the current one,
so that a late click confirms nothing else.
"""

from __future__ import annotations

from bot.contracts.command import Answer, Call, Need, Rotations
from bot.core.errors import Refused

usage = 'advance R-7 [step] [--evidence "what you saw"]'
need = Need.ADVANCE
flags = {"evidence": "what you saw, or a ticket or change number"}


def run(call: Call, rotations: Rotations) -> Answer:
    """Confirm or look again."""
    if len(call.args) not in (1, 2):
        raise Refused(f"Say which rotation: {usage}.", code="usage")
    evidence = call.flags.get("evidence") or call.flags.get("reason", "")
    rotation = rotations.advance(call, call.args[0], evidence, "".join(call.args[1:]))
    return Answer(
        f"{rotation.id} ({rotation.plan.credential}) goes on from here; its card shows what happens.",
        rotation=rotation.number,
        data={"rotation": rotation.id, "state": rotation.state.value},
    )
