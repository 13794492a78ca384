"""List the runbooks, and which credentials use them."""

from __future__ import annotations

from bot.contracts.command import Answer, Call, Need, Rotations, RunbookView, Table

usage = "runbooks"
need = Need.SEE
at_once = True


def run(call: Call, rotations: Rotations) -> Answer:
    """Show every runbook."""
    found = rotations.runbooks(call)
    data = [{"runbook": one.name, "credentials": list(one.credentials), "problems": one.problems} for one in found]
    if not found:
        return Answer("There is no runbook yet; put one into runbooks/.", data=data)
    return Answer(
        f"There are {len(found)} runbooks." if len(found) != 1 else "There is 1 runbook.",
        table=Table(("runbook", "what it does", "credentials", "problems"), tuple(map(_row, found))),
        data=data,
        good=not any(one.problems for one in found),
    )


def _row(one: RunbookView) -> tuple[str, ...]:
    used = ", ".join(one.credentials[:5])
    if len(one.credentials) > 5:
        used += f" and {len(one.credentials) - 5} more"
    return one.name, one.summary, used or "none", str(one.problems) if one.problems else "none"
