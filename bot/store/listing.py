"""Lists of the inventory, a page at a time by key: never all of it at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, case, exists, func, or_, select, text, tuple_

from bot.contracts.inventory import Overlapping, Overlaps
from bot.store.columns import moment
from bot.store.credential_rows import PLAIN, credentials
from bot.store.records import CredentialRow
from bot.store.session import Session
from bot.store.tables import CREDENTIAL, OVERLAP

_C = CREDENTIAL.c
_O = OVERLAP.c
AGES = (("30 days", 30), ("90 days", 90), ("180 days", 180), ("a year", 365))
OLDEST, UNKNOWN_AGE = "over a year", "not known"
_LISTED = text("credential.removed_at IS NULL")
_ESCAPE = "\\"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a list is narrowed to; None and False mean everything."""

    due_before: datetime | None = None
    owner: str | None = None
    kind: str | None = None
    environment: str | None = None
    text: str | None = None
    status: str | None = None
    overlapping: bool = False
    findings: bool = False

    @property
    def by_due(self) -> bool:
        """Whether it is sorted by due date."""
        return self.due_before is not None


Place = tuple[int, str, str]
"""Where a page ends: due date (or 0 where the list is by name), name, environment."""


class Listing(Session):
    """Reading the inventory by pages."""

    def listed(self, wanted: Wanted, limit: int, after: Place | None = None) -> list[CredentialRow]:
        """A page: what comes after a place, by due date where the list asks for one, by name otherwise."""
        query = select(*PLAIN).where(*_conditions(wanted)).limit(limit)
        if wanted.by_due:
            query = query.where(text("credential.next_due IS NOT NULL"))
            query = query.order_by(_C.next_due, _C.name, _C.environment)
        else:
            query = query.order_by(_C.name, _C.environment)
        if after is not None:
            query = query.where(_behind(after, by_due=wanted.by_due))
        return credentials(self.connection.execute(query))

    def standings(self, wanted: Wanted) -> dict[str, int]:
        """How many of them stand how."""
        now = self.now
        standing = case(
            (and_(_C.expires_at <= now, _C.next_due <= _C.expires_at), "expired"),  # as `stands` has it
            (_C.next_due.is_(None), "unknown"),
            (_C.next_due <= now, "overdue"),
            (_C.soon_at <= now, "soon"),
            else_="fine",
        ).label("standing")
        inner: Select[Any] = select(standing).where(*_conditions(wanted))
        rows = self.connection.execute(_counted(inner))
        return {row[0]: int(row[1]) for row in rows}

    def ages(self) -> list[tuple[str, int]]:
        """How many credentials are how old since their last rotation, or since they were made; youngest first."""
        begun = func.coalesce(_C.last_rotated_at, _C.created_at)
        buckets = [(begun >= self.now - timedelta(days=days), f"up to {name}") for name, days in AGES]
        standing = case((begun.is_(None), UNKNOWN_AGE), *buckets, else_=OLDEST).label("standing")
        found = {row[0]: row[1] for row in self.connection.execute(_counted(select(standing).where(_LISTED)))}
        return [(name, int(found.get(name, 0))) for name in (*(told for _, told in buckets), OLDEST, UNKNOWN_AGE)]

    def overlapping(self, limit: int) -> Overlaps:
        """The old versions that are being retired, the longest ones first."""
        still = text("overlap.state IN ('blocked', 'retiring')")
        names = (_O.credential, _O.environment, _O.opened_at, _O.deadline)
        rows = self.connection.execute(select(*names).where(still).order_by(_O.opened_at, _O.rotation).limit(limit))
        late = func.count(case((_O.deadline < self.now, 1)))
        count, past = self.connection.execute(select(func.count(), late).select_from(OVERLAP).where(still)).one()
        return Overlaps(tuple(Overlapping(*row) for row in rows), int(count), int(past))

    def owners(self) -> Iterator[str]:
        """Everybody who owns something now, each once, in pages."""
        last: str | None = None
        effective = func.coalesce(_C.owner_override, _C.owner)
        while True:
            query = select(effective).where(_LISTED).distinct().order_by(effective).limit(500)
            if last is not None:
                query = query.where(effective > last)
            page = list(self.connection.execute(query).scalars())
            yield from page
            if len(page) < 500:
                return
            last = page[-1]


def owned_by(owner: str) -> ColumnElement[bool]:
    """Whose owner is this one now."""
    return or_(and_(_C.owner_override.is_(None), _C.owner == owner), _C.owner_override == owner)


def _counted(inner: Select[Any]) -> Select[Any]:
    found = inner.subquery()
    return select(found.c.standing, func.count()).group_by(found.c.standing)


def _conditions(wanted: Wanted) -> list[Any]:
    found: list[Any] = [_LISTED]
    if wanted.due_before is not None:
        found.append(_C.next_due <= wanted.due_before)
    if wanted.owner is not None:
        found.append(owned_by(wanted.owner))
    if wanted.kind is not None:
        found.append(_C.kind == wanted.kind)
    if wanted.environment is not None:
        found.append(_C.environment == wanted.environment)
    if wanted.text is not None:
        part = f"%{_plain(wanted.text.casefold())}%"
        found.append(or_(*(func.lower(c).like(part, escape=_ESCAPE) for c in (_C.name, _C.place))))
    if wanted.status is not None:
        found += [text("credential.status <> 'known'"), _C.status == wanted.status]
    if wanted.overlapping:
        still = text("overlap.state IN ('blocked', 'retiring')")
        found.append(exists().where(OVERLAP.c.credential == _C.name, OVERLAP.c.environment == _C.environment, still))
    if wanted.findings:
        found.append(
            or_(
                text("credential.finding <> ''"),
                text("credential.owner_finding <> ''"),
                text("credential.status <> 'known'"),
                _C.next_due.is_(None),
                func.coalesce(_C.owner_override, _C.owner) == "",
            )
        )
    return found


def _plain(text: str) -> str:
    for sign in (_ESCAPE, "%", "_"):
        text = text.replace(sign, _ESCAPE + sign)
    return text


def _behind(place: Place, *, by_due: bool) -> ColumnElement[bool]:
    due, name, environment = place
    if not by_due:
        return tuple_(_C.name, _C.environment) > tuple_(name, environment)
    at = moment(due)
    return or_(_C.next_due > at, and_(_C.next_due == at, tuple_(_C.name, _C.environment) > tuple_(name, environment)))
