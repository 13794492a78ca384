"""Run a branch of the runbook's troubleshooting for a failed step.

`fix R-7 gateway-401` looks at what the branch checks and does what it offers; the step is then tried again with retry.
The branches of a failed step stand on its card.
"""

from __future__ import annotations

from bot.contracts.command import Answer, Call, Need, Rotations
from bot.core.errors import Refused

usage = "fix R-7 <branch>"
need = Need.REPAIR


def run(call: Call, rotations: Rotations) -> Answer:
    """Run the branch and say what it found or did."""
    if len(call.args) != 2:
        branches = ""
        if len(call.args) == 1:
            rotation = rotations.find(call, call.args[0])
            names = ", ".join(str(branch["id"]) for branch in rotation.plan.trouble)
            branches = f" The runbook of {rotation.id} offers: {names or 'nothing'}."
        raise Refused(f"Say which rotation and which branch: {usage}.{branches}", code="usage")
    found = rotations.trouble(call, call.args[0], call.args[1])
    rotation = rotations.find(call, call.args[0])
    return Answer(f"{call.args[1]} of {rotation.id}: {found}", rotation=rotation.number, data={"found": found})
