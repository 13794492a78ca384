"""Rounds of discoveries, the versions that they list, and what those say of each credential."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from itertools import islice
from typing import Any

from sqlalchemy import ColumnElement, and_, bindparam, case, delete, func, literal, or_, select, text, tuple_, update

from bot.core.discovered import MOVED, UNLISTED, InUse, Version, in_use, moved_by_hand, named, settled
from bot.store.records import CredentialRow, DiscoveryRow, FoundRow
from bot.store.session import Session, Writing, upsert
from bot.store.tables import CREDENTIAL, DISCOVERY, FOUND, ROTATION

FOUND_BY = "discovery"
"""The source of what nobody declares."""
UNSEEN: Mapping[str, Any] = {
    "status": "known",
    "gone_at": None,
    "expires_at": None,
    "created_at": None,
    "version": "",
    "versions": 0,
    "found_at": None,
    "finding": "",
}
"""Columns of a credential of whose place nothing is known."""
_CHUNK = 400
_VERSION = tuple(one.name for one in fields(Version))
_C = CREDENTIAL.c
_due = (
    select(DISCOVERY)
    .where(
        text("discovery.due_at IS NOT NULL"),
        DISCOVERY.c.due_at <= bindparam("now"),
        or_(DISCOVERY.c.claimed_until.is_(None), DISCOVERY.c.claimed_until <= bindparam("now")),
    )
    .order_by(DISCOVERY.c.due_at)
    .limit(1)
)
_next = select(func.min(DISCOVERY.c.due_at)).where(text("discovery.due_at IS NOT NULL"))


class DiscoveryReader(Session):
    """How discoveries stand."""

    def discoveries(self) -> list[DiscoveryRow]:
        """Those that settings declare."""
        query = select(DISCOVERY).where(DISCOVERY.c.due_at.is_not(None)).order_by(DISCOVERY.c.name)
        return [DiscoveryRow(*row) for row in self.connection.execute(query)]

    def next_discovery_at(self) -> datetime | None:
        """When the next round begins."""
        found: datetime | None = self.connection.execute(_next).scalar_one_or_none()
        return found

    def versions(self, place: str, environment: str) -> list[FoundRow]:
        """What was listed of a place."""
        query = select(FOUND).where(FOUND.c.place == place, FOUND.c.environment == environment)
        return [FoundRow(*row) for row in self.connection.execute(query.order_by(FOUND.c.version))]


class DiscoveryWriter(DiscoveryReader, Writing):
    """Rounds, a page at a time."""

    def apply_discoveries(self, names: Collection[str]) -> None:
        """Declare these and no others; one that is new is due at once. `forget_undeclared` clears up after others."""
        statement: Any = upsert(DISCOVERY, self.connection)
        statement = statement.on_conflict_do_update(
            index_elements=[DISCOVERY.c.name],
            set_={"due_at": func.coalesce(DISCOVERY.c.due_at, statement.excluded.due_at)},
        )
        rows = [{"name": n, "round": 0, "found": 0, "failures": 0, "error": "", "due_at": self.now} for n in names]
        if rows:
            self.connection.execute(statement, rows)
        others = update(DISCOVERY).where(DISCOVERY.c.name.not_in(list(names)))
        self.connection.execute(others.values(due_at=None, claimed_until=None))

    def claim_discovery(self, now: datetime, until: datetime) -> DiscoveryRow | None:
        """Begin the round that is due, with the next number; until then nobody else begins it."""
        query = _due if self.is_sqlite else _due.with_for_update(skip_locked=True)
        row = self.connection.execute(query, {"now": now}).one_or_none()
        if row is None:
            return None
        values = {"round": row.round + 1, "began_at": now, "claimed_until": until}
        self.connection.execute(update(DISCOVERY).where(DISCOVERY.c.name == row.name).values(values))
        return DiscoveryRow(**{**row._mapping, **values})

    def list_again(self, credential: str, environment: str) -> None:
        """A rotation has changed what a system holds: the discoveries that list this credential are due at once.

        Call it before the credential is written, for rounds lock both in this order.
        """
        same = and_(_C.place == FOUND.c.place, _C.environment == FOUND.c.environment)
        listing = select(FOUND.c.discovery).join(CREDENTIAL, same)
        listing = listing.where(_C.name == credential, _C.environment == environment, text("credential.place <> ''"))
        later = update(DISCOVERY).where(DISCOVERY.c.name.in_(listing), DISCOVERY.c.due_at.is_not(None))
        self.connection.execute(later.values(due_at=self.now))

    def _holds(self, name: str, round: int) -> bool:
        query = select(DISCOVERY.c.round).where(DISCOVERY.c.name == name, DISCOVERY.c.due_at.is_not(None))
        if not self.is_sqlite:
            query = query.with_for_update()
        return bool(self.connection.execute(query).scalar_one_or_none() == round)

    def put_found(
        self, name: str, round: int, environment: str, page: Sequence[tuple[str, Version]], until: datetime
    ) -> bool:
        """Keep a page of a round, and go by it. False when the round was taken over: then nothing was kept."""
        if not self._holds(name, round):
            return False
        self.connection.execute(update(DISCOVERY).where(DISCOVERY.c.name == name).values(claimed_until=until))
        rows = {
            (place, one.version): {name: getattr(one, name) for name in _VERSION}
            | {"discovery": name, "place": place, "environment": environment, "round": round, "seen_at": self.now}
            for place, one in page
        }
        statement: Any = upsert(FOUND, self.connection)
        keys = ("discovery", "place", "version")
        statement = statement.on_conflict_do_update(
            index_elements=[FOUND.c[key] for key in keys],
            set_={column.name: statement.excluded[column.name] for column in FOUND.c if column.name not in keys},
        )
        if rows:
            self.connection.execute(statement, list(rows.values()))
            self.reconcile(environment, {place for place, _ in rows})
        return True

    def forget_unlisted(self, name: str, round: int, limit: int = _CHUNK) -> int | None:
        """After a complete round: forget a number of versions that it did not list, and say that they are gone.

        Returns how many there were, None when the round was taken over.
        """
        if not self._holds(name, round):
            return None
        which = and_(FOUND.c.discovery == name, FOUND.c.round < round)
        return self._forget(name, which, limit, concluded=True)

    def forget_undeclared(self, limit: int = _CHUNK) -> bool:
        """Forget a part of what discoveries had found that are no longer declared; returns whether that was all.

        What nobody lists any more is dropped where nobody declares it either. What is declared keeps its dates, and has
        a finding: no look has concluded anything of it. While one that is declared has not completed a round, it may be
        the other by a new name, and nothing is forgotten.
        """
        query = select(DISCOVERY.c.name).where(DISCOVERY.c.due_at.is_(None)).order_by(DISCOVERY.c.name).limit(1)
        if not self.is_sqlite:
            query = query.with_for_update()
        new = select(DISCOVERY.c.name).where(DISCOVERY.c.due_at.is_not(None), DISCOVERY.c.completed_at.is_(None))
        name = self.connection.execute(query).scalar_one_or_none()
        if name is None or self.connection.execute(new.limit(1)).first() is not None:
            return True
        if not self._forget(name, FOUND.c.discovery == name, limit, concluded=False):
            self.connection.execute(delete(DISCOVERY).where(DISCOVERY.c.name == name))
        return False

    def _forget(self, name: str, which: ColumnElement[bool], limit: int, *, concluded: bool) -> int:
        """Forget a number of versions of a discovery, and bring their credentials in line; returns how many."""
        query = select(FOUND.c.place, FOUND.c.version, FOUND.c.environment)
        rows = list(self.connection.execute(query.where(which).limit(limit)))
        places: dict[str, set[str]] = {}
        for row in rows:
            places.setdefault(row.environment, set()).add(row.place)
        if rows:
            keys = [(row.place, row.version) for row in rows]
            condition = tuple_(FOUND.c.place, FOUND.c.version).in_(keys)
            self.connection.execute(delete(FOUND).where(FOUND.c.discovery == name, condition))
        for environment, there in places.items():
            self.reconcile(environment, there, concluded=concluded)
        return len(rows)

    def end_round(self, name: str, round: int, due_at: datetime, *, found: int = 0, error: str = "") -> bool:
        """The round is complete, or it failed with this error. False when it was taken over."""
        if not self._holds(name, round):
            return False
        # `list_again` in the meantime: what was listed before may be what the rotation has changed since
        asked = DISCOVERY.c.due_at > DISCOVERY.c.began_at
        again = case((asked, DISCOVERY.c.due_at), else_=literal(due_at, DISCOVERY.c.due_at.type))
        values: dict[str, Any] = {"due_at": again, "claimed_until": None, "error": error}
        if error:
            values["failures"] = DISCOVERY.c.failures + 1
        else:
            values |= {"failures": 0, "found": found, "completed_at": self.now}
        self.connection.execute(update(DISCOVERY).where(DISCOVERY.c.name == name).values(values))
        return True

    def reconcile(self, environment: str, places: Iterable[str], *, concluded: bool = True) -> None:
        """Bring credentials in line with what is listed of these places; what nobody declares is kept as unmanaged.

        Only where a look `concluded` it is what no longer has a version gone.
        """
        listed = iter(sorted(places))
        while chunk := list(islice(listed, _CHUNK)):
            found = self._found(environment, chunk)
            known: dict[str, list[CredentialRow]] = {}
            query = select(CREDENTIAL).where(
                text("credential.place <> ''"), _C.place.in_(chunk), _C.environment == environment
            )
            for row in self.connection.execute(query):
                one = CredentialRow(*row)
                known.setdefault(one.place, []).append(one)
            moving = self._moving(environment, [row.name for rows in known.values() for row in rows])
            for place in chunk:
                self._reconcile_place(environment, place, found.get(place, []), known.get(place, []), moving, concluded)

    def _reconcile_place(
        self,
        environment: str,
        place: str,
        versions: Sequence[FoundRow],
        rows: Sequence[CredentialRow],
        moving: Collection[str],
        concluded: bool,
    ) -> None:
        mine = [row for row in rows if row.removed_at is None]
        declared = [row for row in mine if row.source != FOUND_BY]
        unmanaged = [row for row in mine if row.source == FOUND_BY]
        use = in_use([_version(row) for row in versions], self.now)
        if declared:
            for row in unmanaged:
                self._write(row, {"removed_at": self.now, "remind_at": None})
            if use is not None or (concluded and any(row.found_at for row in declared)):
                for row in declared:
                    if row.name not in moving:
                        self._write(row, self._facts(row, use, versions))
            elif not concluded:
                for row in declared:
                    if row.expires_at is not None and row.status == "known":
                        self._write(row, {"versions": 0, "finding": UNLISTED})
        elif use is None:
            for row in unmanaged:
                self._write(row, {"removed_at": self.now, "gone_at": self.now, "remind_at": None})
        elif unmanaged:
            self._write(unmanaged[0], self._facts(unmanaged[0], use, versions) | {"owner": use.owner})
        else:
            self._add_unmanaged(environment, place, use, versions)

    def _facts(self, row: CredentialRow, use: InUse | None, versions: Sequence[FoundRow]) -> dict[str, Any]:
        """What is listed of it, as columns. What is gone keeps its dates for the record, but has no versions."""
        if use is None:
            return {"status": "gone", "gone_at": row.gone_at or self.now, "versions": 0, "finding": ""}
        status = "unmanaged" if row.source == FOUND_BY else "known"
        expires, finding = use.expires_at, use.finding
        if use.version == row.version and row.expires_at is not None:
            if expires is None:  # what was to expire yesterday does not live for ever today
                expires = row.expires_at
                finding = finding or f"{use.version}: it no longer says when it expires; what it said before counts"
            expires = settled(row.expires_at, expires) or expires
            later, known = expires > row.expires_at, row.finding.startswith(f"{use.version}: {MOVED}")
            if not finding and (known or (later and not _replaced(row, use))):
                finding = moved_by_hand(use.version, row.finding, row.expires_at, expires) if later else row.finding
        return {
            "status": status,
            "gone_at": None,
            "expires_at": expires,
            "created_at": use.created_at,
            "version": use.version,
            "versions": use.valid,
            "found_at": max(one.seen_at for one in versions),
            "finding": finding,
        }

    def _write(self, row: CredentialRow, values: dict[str, Any]) -> None:
        """Only what changed; when dates did, its reminders are worked out anew."""
        was = {name: getattr(row, "declared_owner" if name == "owner" else name) for name in values}
        changed = {name: value for name, value in values.items() if was[name] != value}
        if not changed:
            return
        if "remind_at" not in values and set(changed) - {"found_at"}:
            changed["remind_at"] = self.now
        statement = update(CREDENTIAL).where(_C.name == row.name, _C.environment == row.environment)
        self.connection.execute(statement.values(changed))

    def _add_unmanaged(self, environment: str, place: str, use: InUse, versions: Sequence[FoundRow]) -> None:
        row: dict[str, Any] = {
            "name": named(place),
            "environment": environment,
            "kind": use.kind,
            "owner": use.owner,
            "runbook": "",
            "inputs": {},
            "detail": {},
            "source": FOUND_BY,
            "place": place,
            "status": "unmanaged",
            "removed_at": None,
            "gone_at": None,
            "expires_at": use.expires_at,
            "created_at": use.created_at,
            "version": use.version,
            "versions": use.valid,
            "found_at": max(one.seen_at for one in versions),
            "finding": use.finding,
            "remind_at": self.now,
        }
        statement: Any = upsert(CREDENTIAL, self.connection)
        statement = statement.on_conflict_do_update(
            index_elements=[_C.name, _C.environment],
            set_={name: statement.excluded[name] for name in row if name not in ("name", "environment")},
            where=or_(_C.source == FOUND_BY, _C.removed_at.is_not(None)),
        )
        self.connection.execute(statement, row)

    def _found(self, environment: str, places: Collection[str]) -> dict[str, list[FoundRow]]:
        found: dict[str, list[FoundRow]] = {}
        query = select(FOUND).where(FOUND.c.place.in_(places), FOUND.c.environment == environment)
        for row in self.connection.execute(query):
            found.setdefault(row.place, []).append(FoundRow(*row))
        return found

    def _moving(self, environment: str, names: Sequence[str]) -> set[str]:
        """Those that a rotation is replacing just now: a version that nobody uses yet must not move their dates."""
        if not names:
            return set()
        query = select(ROTATION.c.credential).where(
            ROTATION.c.credential.in_(names),
            ROTATION.c.environment == environment,
            ROTATION.c.promoted_at.is_(None),
            ROTATION.c.started_at.is_not(None),
            ROTATION.c.ended_at.is_(None),
        )
        return set(self.connection.execute(query).scalars())


def _replaced(row: CredentialRow, use: InUse) -> bool:
    """Whether what has the same name was made anew since it was seen last: its system says so, or a rotation did it."""
    rotated = row.last_rotated_at is not None and (row.found_at is None or row.last_rotated_at > row.found_at)
    return rotated or use.created_at != row.created_at


def _version(row: FoundRow) -> Version:
    return Version(row.version, row.kind, row.owner, row.created_at, row.expires_at, row.problem)
