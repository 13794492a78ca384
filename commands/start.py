"""Ask for a rotation.

`start identity-signing --reason "weekly"` plans the rotation and shows the plan: its steps, waits, checklist and
digest. Nothing happens before the form is submitted (on the command line: before `--yes`), and nothing is touched
before another person approves it.
"""

from __future__ import annotations

from bot.contracts.command import Answer, Call, Need, Rotations
from bot.core.errors import Refused

usage = 'start <credential> --reason "why"'
need = Need.START
form = True
flags = {
    "reason": "why it is rotated; stands on the card and in the audit",
    "yes": "start at once, the plan was seen (yes or no)",
}


def run(call: Call, rotations: Rotations) -> Answer:
    """Show the plan first; open the rotation when the plan was seen."""
    if len(call.args) != 1:
        raise Refused(f"Say which credential to rotate: {usage}; list shows them.", code="usage")
    credential, reason = call.args[0], call.flags.get("reason", "")
    if not call.confirmed:
        draft = rotations.draft(call, credential, reason)
        plan = draft.plan
        text = (
            f"This is the plan for {plan.credential} in {plan.environment}: {len(plan.steps)} steps by the runbook "
            f"{plan.runbook}. Nothing is started yet."
        )
        return Answer(text, draft=draft, data={"digest": plan.digest, "plan": plan.to_json()})
    rotation = rotations.start(call, credential, reason)
    missing = rotation.missing_approvals
    wait = f"{missing} more {'person has' if missing == 1 else 'people have'} to approve it" if missing else "it begins"
    open_boxes = [box.name for box in rotation.boxes if not box.ticked]
    boxes = f", and these boxes are still open: {', '.join(open_boxes)}" if open_boxes else ""
    return Answer(
        f"{rotation.id} is open for {rotation.plan.credential} in {rotation.plan.environment}; {wait}{boxes}.",
        rotation=rotation.number,
        data={"rotation": rotation.id, "state": rotation.state.value, "digest": rotation.plan.digest},
    )
