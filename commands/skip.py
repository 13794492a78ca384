"""Skip the current step, or end its wait early.

`skip R-7 --reason "gateway-3 is being retired"`: each step says who may skip it. Checks, waits and proofs of quiet need
a second person, who approves it on the card; changes themselves are never skipped.
"""

from __future__ import annotations

from bot.contracts.command import Answer, Call, Need, Rotations
from bot.core.errors import Refused

usage = 'skip R-7 --reason "why it is safe" [step]'
need = Need.SKIP
flags = {"reason": "why it is safe to go on without the step"}
reason = True


def run(call: Call, rotations: Rotations) -> Answer:
    """Skip, or ask a second person whether to."""
    why = call.flags.get("reason", "").strip()
    if len(call.args) not in (1, 2) or not why:
        raise Refused(f"Say which rotation, and why skipping is safe: {usage}.", code="usage")
    rotation = rotations.skip(call, call.args[0], why, "".join(call.args[1:]))
    if rotation.amendment is not None and not rotation.amendment.undoes:
        step = rotation.plan.steps[rotation.amendment.step]
        text = f"Skipping {step.id} of {rotation.id} needs a second person, who can approve it on the card."
    else:
        text = f"The step of {rotation.id} ({rotation.plan.credential}) is skipped."
    return Answer(text, rotation=rotation.number, data={"rotation": rotation.id, "state": rotation.state.value})
