"""Show what a rotation would do, without starting it.

`plan identity-signing` reads the facts, checks permissions and the checklist, and shows steps, waits and the digest.
"""

from __future__ import annotations

from bot.contracts.command import Answer, Call, Draft, Need, Rotations, Table
from bot.core.errors import Refused
from bot.core.plan import fact_lines, reviewed

usage = "plan <credential>"
need = Need.SEE


def run(call: Call, rotations: Rotations) -> Answer:
    """Draft a plan and show it as a table."""
    if len(call.args) != 1:
        raise Refused(f"Say which credential to plan for: {usage}; list shows them.", code="usage")
    draft = rotations.draft(call, call.args[0], "")
    plan = draft.plan
    text = (
        f"A rotation of {plan.credential} in {plan.environment} follows the runbook {plan.runbook} and would be done "
        f"by {draft.expected_end:%Y-%m-%d %H:%M} UTC; {plan.approvers} "
        f"{'person has' if plan.approvers == 1 else 'people have'} to approve it. Plan {plan.digest}."
    )
    for line in fact_lines(plan):
        text += f" {line}."
    text += f" The runbook was {reviewed(plan)}."
    for warning in draft.warnings:
        text += f" Note: {warning}."
    return Answer(text, table=_steps(draft), data={"digest": plan.digest, "plan": plan.to_json()})


def _steps(draft: Draft) -> Table:
    plan = draft.plan
    no_return = plan.point_of_no_return()
    rows = []
    for i, planned in enumerate(plan.steps):
        effect = planned.effect + (", no way back" if i == no_return else "")
        rows.append((planned.id, planned.title, effect, draft.waits.get(planned.id, ""), planned.skip.value))
    return Table(("step", "what", "effect", "waits", "may be skipped"), tuple(rows))
