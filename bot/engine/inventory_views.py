"""How credentials are shown in lists: their standing, what is wrong with them, and where a page ends."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from datetime import datetime

from bot.contracts.inventory import CredentialView, Finding
from bot.core.discovered import MOVED, UNLISTED
from bot.core.rotation import OPEN, Overlap
from bot.core.schedule import stands
from bot.store.columns import micros
from bot.store.listing import Place
from bot.store.reading import Reader
from bot.store.records import CredentialRow, RotationSummary

UNSAFE = 2**62


def views(reader: Reader, rows: Sequence[CredentialRow]) -> tuple[CredentialView, ...]:
    """A page of credentials with their rotations, which are read all at once."""
    names = {row.name for row in rows}
    found: dict[tuple[str, str], list[RotationSummary]] = {}
    for one in reader.rotations(credentials=names, under_way=True, limit=10 * len(rows)) if names else ():
        found.setdefault((one.credential, one.environment), []).append(one)
    return tuple(_view(reader, row, found.get((row.name, row.environment), [])) for row in rows)


def view(reader: Reader, row: CredentialRow) -> CredentialView:
    """A credential with its rotations."""
    return views(reader, [row])[0]


def _view(reader: Reader, row: CredentialRow, under_way: Sequence[RotationSummary]) -> CredentialView:
    overlaps = sum(run.overlap in (Overlap.RETIRING, Overlap.BLOCKED) for run in under_way)
    opened = next((run.number for run in under_way if run.state in OPEN), None)
    busy = opened is not None or overlaps > 0
    return CredentialView(
        name=row.name,
        environment=row.environment,
        kind=row.kind,
        owner=row.owner,
        runbook=row.runbook,
        next_due=row.next_due,
        last_rotated_at=row.last_rotated_at,
        open_rotation=opened,
        open_overlaps=overlaps,
        status=row.status,
        standing=stands(reader.now, row.next_due, row.soon_at, row.expires_at),
        due_source=row.due_source,
        expires_at=row.expires_at,
        created_at=row.created_at,
        cadence=row.cadence,
        place=row.place,
        versions=row.versions,
        found_at=row.found_at,
        declared_owner=row.declared_owner,
        snoozed_until=row.snoozed_until,
        snooze_note=row.snooze_note if row.snoozed_until else "",
        reminded_at=row.reminded_at,
        findings=tuple(finding.text for finding in findings_of(row, busy=busy)),
        starts_at=row.starts_at,
    )


def findings_of(row: CredentialRow, *, busy: bool = False) -> Iterator[Finding]:
    """What needs a person; `busy` while a rotation of it is open, which explains several versions."""

    def found(code: str, text: str) -> Finding:
        return Finding(row.name, row.environment, code, text)

    if row.status == "unmanaged":
        yield found("unmanaged", "Nobody declares it; add it to keyturn.yml, or remove it from its system.")
    if row.status == "gone":
        since = f" since {_day(row.gone_at)}" if row.gone_at else ""
        yield found("gone", f"Its system has not shown it{since}; remove it from keyturn.yml if that is meant.")
    if not row.owner:
        yield found("no-owner", "It has no owner; name one with: own.")
    elif row.owner_finding:
        code = "empty-group" if "group" in row.owner_finding else "owner-away"
        yield found(code, row.owner_finding)
    if MOVED in row.finding:
        yield found("expiry-moved", f"{row.finding}; that replaces nothing.")
    elif row.finding == UNLISTED:
        yield found("not-listed", f"{row.finding[:1].upper()}{row.finding[1:]}.")
    elif row.finding:
        yield found("wrong-expiry", f"Its system's dates are not believed ({row.finding}).")
    if row.next_due is None and row.status != "gone":
        if row.cadence is not None and row.dates.begins is None:
            yield found("never-rotated", "It was never rotated, so its age is not known; rotate it, or: record.")
        else:
            yield found("no-date", "It has no date: no cadence is declared, and its system names no expiry.")
    if row.versions > 1 and not busy:
        yield found("leftover", f"{row.versions} versions of it are valid, and no rotation retires the old ones.")


def cursor_of(row: CredentialRow, *, by_due: bool) -> str:
    """Where the next page goes on."""
    due = micros(row.next_due) if by_due and row.next_due is not None else 0
    return base64.urlsafe_b64encode(json.dumps([due, row.name, row.environment]).encode()).decode()


def place_of(cursor: str) -> Place | None:
    """The place that a cursor names; None, the beginning, for one that is none."""
    try:
        due, name, environment = json.loads(base64.urlsafe_b64decode(cursor.encode()))
    except (ValueError, TypeError):
        return None
    if type(due) is not int or not 0 <= due < UNSAFE // 16 or not isinstance(name, str):
        return None
    return (due, name, environment) if isinstance(environment, str) else None


def _day(at: datetime) -> str:
    return f"{at:%Y-%m-%d}"
