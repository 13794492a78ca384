"""List the credentials by their due date.

`list` shows what you may see, the next due first; `list payments` shows the names that hold that text.
"""

from __future__ import annotations

from datetime import datetime

from bot.contracts.command import Answer, Call, CredentialView, Need, Rotations, Table
from bot.core.errors import Refused

usage = "list [part of a name] [--page 2]"
need = Need.SEE
at_once = True
flags = {"page": "which page of the list"}
PER_PAGE = 25


def run(call: Call, rotations: Rotations) -> Answer:
    """Show one page."""
    if len(call.args) > 1:
        raise Refused(f"Give one part of a name: {usage}.", code="usage")
    page = _page(call.flags.get("page", "1"))
    if call.args:
        wanted = call.args[0].casefold()
        matching = [one for one in rotations.credentials(call, limit=1000) if wanted in one.name.casefold()]
        found = matching[(page - 1) * PER_PAGE : page * PER_PAGE + 1]
    else:
        found = list(rotations.credentials(call, limit=PER_PAGE + 1, offset=(page - 1) * PER_PAGE))
    more, found = len(found) > PER_PAGE, found[:PER_PAGE]
    data = [{"name": one.name, "environment": one.environment, "next_due": _iso(one.next_due)} for one in found]
    if not found:
        return Answer(_nothing(call, page), data=data)
    table = Table(("credential", "environment", "owner", "due", "last rotated", "now"), tuple(map(_row, found)))
    text = f"These are {len(found)} credentials, the next due first."
    return Answer(text + (f" More on: list --page {page + 1}." if more else ""), table=table, data=data)


def _nothing(call: Call, page: int) -> str:
    if page > 1:
        return f"There is no page {page}; begin with: list."
    if call.args:
        return f"No credential that you may see has “{call.args[0]}” in its name; see all with: list."
    return "There is no credential that you may see; keyturn.yml declares them."


def _page(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= 10_000):
        raise Refused("A page is a number from 1 on: list --page 2.", code="usage")
    return int(text)


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


def _row(one: CredentialView) -> tuple[str, ...]:
    due = f"{one.next_due:%Y-%m-%d}" if one.next_due else "not scheduled"
    last = f"{one.last_rotated_at:%Y-%m-%d}" if one.last_rotated_at else "never"
    now = f"R-{one.open_rotation} is open" if one.open_rotation else ""
    if one.open_overlaps:
        now = (now + "; " if now else "") + f"{one.open_overlaps} old one(s) being retired"
    return one.name, one.environment, one.owner, due, last, now
