"""Tell the whole story of a credential or a rotation from the audit.

`history identity-signing` or `history R-7`: who asked, who approved and why, each step with its proof, and the end.
"""

from __future__ import annotations

from bot.contracts.command import Answer, Call, HistoryLine, Need, Rotations, Table
from bot.core.errors import Refused
from bot.core.events import Event
from bot.core.story import tell

usage = "history <credential> | R-7"
need = Need.SEE
at_once = True


def run(call: Call, rotations: Rotations) -> Answer:
    """Read the audit as sentences, oldest first."""
    if len(call.args) != 1:
        raise Refused(f"Say whose history: {usage}.", code="usage")
    # What was asked for stands in the audit as received, too; its effect tells the story.
    lines = [line for line in rotations.history(call, call.args[0]) if line.event != Event.INTENT]
    data = [
        {
            "seq": line.seq,
            "at": line.at.isoformat(),
            "event": str(line.event),
            "actor": line.actor,
            "rotation": line.rotation,
            "detail": dict(line.detail),
        }
        for line in lines
    ]
    if not lines:
        return Answer(f"The audit has nothing yet about {call.args[0]}.", data=data)
    text = f"The audit tells this about {call.args[0]}, in {len(lines)} lines, the oldest first."
    return Answer(text, table=Table(("when", "rotation", "what"), tuple(map(_row, lines)), newest_last=True), data=data)


def _row(line: HistoryLine) -> tuple[str, ...]:
    return f"{line.at:%Y-%m-%d %H:%M:%S}", line.rotation, tell(line.event, line.actor, line.detail)
