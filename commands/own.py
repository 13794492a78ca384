"""Say whose a credential is.

`own billing-api-key @bob` gives it to a person or a group, who gets its reminders and is told so; `own
billing-api-key me` takes it; `own billing-api-key --back` gives it back to whom keyturn.yml names; `own billing-api-key
--not-mine --reason "moved teams"` sends its reminders to the team until somebody owns it.
"""

from __future__ import annotations

from bot.contracts.command import Answer, Call, CredentialView, Need, Rotations
from bot.core.errors import Refused

usage = "own <credential> me | group | @person | --back | --not-mine"
need = Need.OWN
flags = {
    "to": "whose it is from now on: me, a person or a group",
    "back": "back to whom keyturn.yml names (yes or no)",
    "not-mine": "it is not yours, and nobody else is known (yes or no)",
    "reason": "why it is not yours",
}


def run(call: Call, rotations: Rotations) -> Answer:
    """Give it to somebody, or away."""
    given = [*call.args[1:], *([call.flags["to"]] if "to" in call.flags else [])]
    ways = len(given) + ("back" in call.flags) + ("not-mine" in call.flags)
    if not call.args or ways != 1:
        raise Refused(f"Name one credential and its one owner: {usage}.", code="usage")
    name, inventory = call.args[0], rotations.inventory
    if "not-mine" in call.flags:
        view = inventory.disown(call, name, call.flags.get("reason", ""))
        text = (
            f"{view.name} in {view.environment} has no owner now; its reminders go to the team until somebody owns it."
        )
        return Answer(text, data=_data(view))
    view = inventory.own(call, name, given[0] if given else "")
    whose = f"belongs to {view.owner}" if view.owner else "has no owner"
    return Answer(f"{view.name} in {view.environment} {whose} now.", data=_data(view))


def _data(view: CredentialView) -> dict[str, str]:
    return {"credential": view.name, "environment": view.environment, "owner": view.owner}
