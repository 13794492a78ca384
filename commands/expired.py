"""Open the incident of a credential that expired in use.

`expired identity-signing --reason "gateways answer 401"` opens it: identify, contain, investigate, recover,
communicate, each with its button. `expired "tokens are rejected"` only shows which credentials may be behind a symptom,
and what the checks of the first few say now. Neither changes anything. The recovery is an ordinary rotation:
`start R-9` shows its plan, and `incident R-9 --close` ends the incident once the reminder that should have prevented it
is mended.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bot.contracts.command import Answer, Call, Need, Rotations, Suspect, Table
from bot.core.errors import Refused

usage = 'expired <credential> | "symptom"'
need = Need.START
flags = {"reason": "what people see; stands on the card and in the audit"}


def run(call: Call, rotations: Rotations) -> Answer:
    """Open the incident of a credential, or show what a symptom may come from."""
    said = " ".join(call.args).strip()
    if not said:
        raise Refused(f"Name what expired, or what people see: {usage}.", code="usage")
    if len(call.args) == 1 and " " not in said:
        try:
            return _opened(call, rotations, said)
        except Refused as error:
            if error.code != "unknown-credential":
                raise
            found = rotations.suspects(call, said)
            if not found:
                raise
            shown = _suspects(found)
            return replace(shown, text=f"{error} Taken as a symptom: {shown.text}", good=False)
    return _suspects(rotations.suspects(call, said))


def _opened(call: Call, rotations: Rotations, name: str) -> Answer:
    rotation = rotations.expired(call, name, call.flags.get("reason", ""))
    plan = rotation.plan
    return Answer(
        f"{rotation.id} is the incident of {plan.credential} in {plan.environment}; its card asks what is next. Start "
        f'the recovery as soon as you know the class: start {rotation.id} --reason "it expired".',
        rotation=rotation.number,
        data={"rotation": rotation.id, "state": rotation.state.value, "class": plan.kind},
    )


def _suspects(rows: Sequence[Suspect]) -> Answer:
    data = [
        {"credential": one.name, "environment": one.environment, "class": one.kind, "reading": one.reading}
        for one in rows
    ]
    if not rows:
        return Answer(
            "No credential that you may see is known for that symptom. See them by date with: list; then open the "
            "incident with: expired <credential>.",
            data=data,
            good=False,
        )
    cells = tuple((f"{one.name}@{one.environment}", one.kind, _date(one), one.shows, one.reading) for one in rows)
    text = f"These may be behind it, what is past its date first. Open the incident with: expired {rows[0].name}."
    head = ("credential", "class", "date", "an expiry shows so", "its checks say now")
    return Answer(text, table=Table(head, cells), data=data)


def _date(one: Suspect) -> str:
    at, word = (one.expires_at, "expires") if one.expires_at else (one.next_due, "due")
    return f"{word} {at:%Y-%m-%d}" if at else "no date"
