"""Contain a suspected credential alone, for a time.

`contain R-9 --reason "nobody answers"` does the reversible beginning of an emergency that nobody has approved yet,
where policy allows it. It needs your SSH signature, is announced at once, and is put back unless a second person
approves in time. The rest waits for that person.
"""

from __future__ import annotations

from bot.contracts.command import Answer, Call, Need, Rotations
from bot.core import duration
from bot.core.errors import Refused

usage = 'contain R-9 --reason "why nobody else can be waited for"'
need = Need.REVOKE
flags = {
    "reason": "why it cannot wait for a second person; somebody else reviews it",
    "signature": "your SSH signature; the refusal without it says how to make one",
}
reason = True
sign = "break-glass"


def run(call: Call, rotations: Rotations) -> Answer:
    """Contain on one signature."""
    why = call.flags.get("reason", "").strip()
    if len(call.args) != 1 or not why:
        raise Refused(f"Say which emergency, and why it cannot wait: {usage}.", code="usage")
    rotation = rotations.break_glass(call, call.args[0], why)
    glass = rotation.glass
    spell = duration.show(glass.until - glass.at) if glass else ""
    return Answer(
        f"You contain {rotation.plan.credential} alone ({rotation.id}). It is put back in {spell} unless a second "
        f"person approves; everybody concerned is told.",
        rotation=rotation.number,
        data={"rotation": rotation.id, "state": rotation.state.value},
    )
