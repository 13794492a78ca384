"""Revoke a credential that is suspected to be in wrong hands.

`revoke identity-signing --reason "key seen in a public log"` shows the emergency plan, with what each order costs:
`--order contain-first` takes the suspected credential out at once and accepts an outage, `--order replace-first` puts
a new one in place before. It always needs a second person, whatever policy says. What is being rotated at that moment
is taken over.
"""

from __future__ import annotations

from bot.contracts.command import Answer, Call, Need, Rotations
from bot.core.errors import Refused

usage = 'revoke <credential> --reason "why" [--order contain-first]'
need = Need.REVOKE
form = True
flags = {
    "reason": "what is suspected; stands on the card and in the audit",
    "order": "contain-first or replace-first; the runbook's own order when it is left out",
    "yes": "ask at once, the plan was seen (yes or no)",
}


def run(call: Call, rotations: Rotations) -> Answer:
    """Show the emergency plan first; ask for the second person when it was seen."""
    if len(call.args) != 1:
        raise Refused(f"Say which credential to revoke: {usage}; list shows them.", code="usage")
    credential, reason, order = call.args[0], call.flags.get("reason", ""), call.flags.get("order", "")
    if not call.confirmed:
        draft = rotations.revocation(call, credential, reason, order)
        plan = draft.plan
        costs = " ".join(
            f"{name.capitalize()}: outage: {cost['outage']} Exposure: {cost['exposure']}"
            for name, cost in draft.orders.items()
            if cost["outage"]
        )
        text = (
            f"This is the emergency plan for {plan.credential} in {plan.environment}, {plan.order}: {len(plan.steps)} "
            f"steps. {costs} Nothing is done yet."
        )
        return Answer(text, draft=draft, data={"digest": plan.digest, "plan": plan.to_json()})
    rotation = rotations.revoke(call, credential, reason, order)
    plan, missing = rotation.plan, rotation.missing_approvals
    wait = f"{missing} more {'person has' if missing == 1 else 'people have'} to approve it"
    if rotation.unconfirmed:
        wait += f", and you have to sign what you asked for; approve {rotation.id} tells you how"
    return Answer(
        f"{rotation.id} asks to revoke {plan.credential} in {plan.environment}, {plan.order}; {wait}.",
        rotation=rotation.number,
        data={"rotation": rotation.id, "state": rotation.state.value, "digest": plan.digest},
    )
