"""List the credentials, all of them or those that need something.

`list` shows what you may see by name; `list payments` shows the names that hold that text. `--expiring 7d` shows what
is due or expires within a week, the next first; `--owner me`, `--class`, `--environment` narrow it down; `--unmanaged`
shows what was found and nobody declares, `--overlapping` what still has an old version, `--findings` what is wrong.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from bot.contracts.command import Answer, Call, CredentialPage, CredentialView, Filters, Need, Rotations, Table
from bot.core import duration
from bot.core.errors import Refused

usage = "list [part of a name] [--expiring 7d] [--owner me] [--page 2]"
need = Need.SEE
at_once = True
flags = {
    "expiring": "due or expiring within so long, such as 7d",
    "owner": "whose: me, a person or a group",
    "class": "of this class, such as database-password",
    "environment": "in this environment, such as production",
    "unmanaged": "found in a system, and declared by nobody (yes or no)",
    "gone": "declared, and no longer shown by its system (yes or no)",
    "overlapping": "with an old version that is still being retired (yes or no)",
    "findings": "with something wrong (yes or no)",
    "page": "which page of the list",
}
PER_PAGE = 25
STRIDE = 100
MOST_PAGES = 400
_STANDINGS = ("expired", "overdue", "soon", "fine", "unknown")


def run(call: Call, rotations: Rotations) -> Answer:
    """Show one page."""
    if len(call.args) > 1:
        raise Refused(f"Give one part of a name: {usage}.", code="usage")
    page, filters = _number(call.flags.get("page", "1")), _filters(call)
    found = _turn(call, rotations, filters, page)
    data = {
        "credentials": [_data(one) for one in found.rows],
        "page": page,
        "more": bool(found.cursor),
    }
    if not found.rows:
        return Answer(_nothing(call, page), data=data)
    counts = rotations.inventory.counts(call, filters)
    data["counts"] = dict(counts)
    table = Table(("credential", "environment", "owner", "due", "last rotated", "now"), tuple(map(_row, found.rows)))
    total = sum(counts.values())
    text = "This is 1 credential" if len(found.rows) == 1 else f"These are {len(found.rows)} credentials"
    if total > len(found.rows):
        told = ", ".join(f"{counts[name]} {name}" for name in _STANDINGS if counts.get(name))
        text += f" of {total} ({told})"
    text += ", the next due first." if filters.within is not None else ", by name."
    return Answer(text + (f" More on: {_again(call, page + 1)}" if found.cursor else ""), table=table, data=data)


def _filters(call: Call) -> Filters:
    given = call.flags
    owner = given.get("owner", "").strip()
    return Filters(
        within=_span(given["expiring"]) if "expiring" in given else None,
        owner=call.person.id if owner.casefold() in ("me", "@me") else owner,
        kind=given.get("class", ""),
        environment=given.get("environment", ""),
        text=call.args[0] if call.args else "",
        unmanaged="unmanaged" in given,
        gone="gone" in given,
        overlapping="overlapping" in given,
        findings="findings" in given,
    )


def _span(text: str) -> timedelta:
    try:
        return duration.parse(text)
    except ValueError as error:
        raise Refused(f"{error}: list --expiring 7d.", code="usage") from None


def _turn(call: Call, rotations: Rotations, filters: Filters, page: int) -> CredentialPage:
    """The page of this number: those before it are passed over, as few at a time as a list may hold."""
    left, cursor = (page - 1) * PER_PAGE, ""
    while left:
        passed = rotations.inventory.search(call, filters, limit=min(left, STRIDE), cursor=cursor)
        left, cursor = left - len(passed.rows), passed.cursor
        if not cursor:
            return CredentialPage(())
    return rotations.inventory.search(call, filters, limit=PER_PAGE, cursor=cursor)


def _again(call: Call, page: int) -> str:
    """The same list, another page."""
    words = ["list", *call.args]
    for name, value in call.flags.items():
        if name != "page":
            words.append(f"--{name}" if flags[name].endswith("(yes or no)") else f"--{name} {value}")
    return f"{' '.join(words)} --page {page}"


def _nothing(call: Call, page: int) -> str:
    if page > 1:
        return f"There is no page {page}; begin with: list."
    if call.args and not call.flags:
        return f"No credential that you may see has “{call.args[0]}” in its name; see all with: list."
    if call.args or call.flags:
        return "No credential that you may see is like that; see all with: list."
    return "There is no credential that you may see; keyturn.yml declares them."


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= MOST_PAGES):
        raise Refused(f"A page is a number from 1 to {MOST_PAGES}: list --page 2.", code="usage")
    return int(text)


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


def _data(one: CredentialView) -> dict[str, Any]:
    return {
        "name": one.name,
        "environment": one.environment,
        "class": one.kind,
        "owner": one.owner,
        "declared_owner": one.declared_owner,
        "status": one.status,
        "standing": one.standing,
        "next_due": _iso(one.next_due),
        "expires_at": _iso(one.expires_at),
        "last_rotated_at": _iso(one.last_rotated_at),
        "open_rotation": f"R-{one.open_rotation}" if one.open_rotation else None,
        "overlaps": one.open_overlaps,
        "snoozed_until": _iso(one.snoozed_until),
        "snooze_note": one.snooze_note,
        "findings": list(one.findings),
    }


def _row(one: CredentialView) -> tuple[str, ...]:
    due = f"{one.next_due:%Y-%m-%d}" if one.next_due else "not scheduled"
    if one.standing in ("overdue", "expired"):
        due += f" ({one.standing})"
    last = f"{one.last_rotated_at:%Y-%m-%d}" if one.last_rotated_at else "never"
    return one.name, one.environment, one.whose, due, last, "; ".join(_now(one))


def _now(one: CredentialView) -> list[str]:
    told = [f"R-{one.open_rotation} is open"] if one.open_rotation else []
    if one.open_overlaps:
        told.append(f"{one.open_overlaps} old one(s) being retired")
    if one.snoozed:
        told.append(one.snoozed)
    return [*told, *one.findings]
