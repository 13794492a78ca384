"""What the pictures beside the forecast show, gathered a page at a time."""

from __future__ import annotations

from datetime import datetime

from bot.contracts.command import Call, Chart, CredentialView, Filters, Rotations
from bot.core.rotation import Overlap
from bot.plots import ages, overlaps

PAGE = 100
MOST = 10_000


def pictures(call: Call, rotations: Rotations, now: datetime) -> list[Chart]:
    """The estate's age, and the overlaps that are open; only what there is."""
    made = []
    views = _everything(call, rotations)
    if views:
        made.append(ages(views, now))
    found = []
    for one in rotations.recent(call, only_open=True, limit=100):
        if one.overlap in (Overlap.RETIRING.value, Overlap.BLOCKED.value):
            rotation = rotations.find(call, f"R-{one.number}")
            if rotation.promoted_at is not None:
                found.append((one.credential, rotation.promoted_at, rotation.overlap_deadline))
    if found:
        made.append(overlaps(found, now))
    return made


def _everything(call: Call, rotations: Rotations) -> list[CredentialView]:
    views: list[CredentialView] = []
    cursor = ""
    while len(views) < MOST:
        page = rotations.inventory.search(call, Filters(), limit=PAGE, cursor=cursor)
        views += page.rows
        cursor = page.cursor
        if not cursor:
            break
    return views
