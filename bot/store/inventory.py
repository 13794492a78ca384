"""Credentials: what settings declare, what was changed in chat, and when each wants a reminder."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any

from sqlalchemy import bindparam, func, select, update

from bot.store.columns import json_bytes
from bot.store.discoveries import UNSEEN, DiscoveryReader, DiscoveryWriter
from bot.store.listing import Listing
from bot.store.records import Applied, CredentialRow, Declared
from bot.store.reminding import ReminderReader, ReminderWriter
from bot.store.session import upsert
from bot.store.tables import CREDENTIAL, SETTING
from bot.store.watching import WatchReader

_CHUNK = 500
_NAMES = 5000
DECLARED = "settings"
_by_name = (
    select(CREDENTIAL)
    .where(CREDENTIAL.c.name == bindparam("name"), CREDENTIAL.c.removed_at.is_(None))
    .order_by(CREDENTIAL.c.environment)
)
_OVERRIDES = frozenset(
    {
        "owner_override",
        "snoozed_until",
        "snooze_note",
        "last_rotated_at",
        "next_due",
        "remind_at",
        "starts_at",
        "owner_finding",
    }
)


class InventoryReader(Listing, ReminderReader, DiscoveryReader, WatchReader):
    """Looking credentials up."""

    def credential(self, name: str, environment: str | None = None) -> list[CredentialRow]:
        """Every environment's credential of exactly this name, or the one of the environment."""
        query = _by_name if environment is None else _by_name.where(CREDENTIAL.c.environment == environment)
        return [CredentialRow(*row) for row in self.connection.execute(query, {"name": name})]

    def credentials(
        self,
        *,
        environment: str | None = None,
        kind: str | None = None,
        owner: str | None = None,
        due_before: datetime | None = None,
        limit: int = 50,
        offset: int = 0,
    ) -> list[CredentialRow]:
        """Credentials by name; with `due_before`, those due by then, the most urgent first."""
        query = select(CREDENTIAL).where(CREDENTIAL.c.removed_at.is_(None)).limit(limit).offset(offset)
        if due_before is not None:
            query = query.where(CREDENTIAL.c.next_due <= due_before).order_by(CREDENTIAL.c.next_due)
        for column, value in ((CREDENTIAL.c.environment, environment), (CREDENTIAL.c.kind, kind)):
            if value is not None:
                query = query.where(column == value)
        if owner is not None:
            query = query.where(func.coalesce(CREDENTIAL.c.owner_override, CREDENTIAL.c.owner) == owner)
        query = query.order_by(CREDENTIAL.c.name, CREDENTIAL.c.environment)
        return [CredentialRow(*row) for row in self.connection.execute(query)]

    def similar_names(self, name: str, limit: int = 3) -> list[str]:
        """Names that a person may have meant, the closest first."""
        known = select(CREDENTIAL.c.name).where(CREDENTIAL.c.removed_at.is_(None)).distinct()
        names = list(self.connection.execute(known.limit(_NAMES + 1)).scalars())
        if len(names) > _NAMES:  # too many to compare all: those that begin alike
            start = name[:2]
            alike = known.where(CREDENTIAL.c.name >= start, CREDENTIAL.c.name < start + "\U0010ffff")
            names = list(self.connection.execute(alike.order_by(CREDENTIAL.c.name).limit(_NAMES)).scalars())
        return difflib.get_close_matches(name, names, n=limit, cutoff=0.5)


class InventoryWriter(InventoryReader, ReminderWriter, DiscoveryWriter):
    """Changing them."""

    def apply_credentials(self, rows: Iterable[Declared], source: str = DECLARED, *, partial: bool = False) -> Applied:
        """Make the inventory of this source equal to the rows, and say what changed.

        Dates and overrides stay; what a system showed of another place does not. Rows that the source no longer
        declares are marked removed, unless `partial`. A credential of another source with the same name is taken over.
        """
        added: list[tuple[str, str]] = []
        changed: list[tuple[str, str]] = []
        moved: dict[str, set[str]] = {}
        seen: set[tuple[str, str]] = set()
        iterator = iter(rows)
        while chunk := list(islice(iterator, _CHUNK)):
            known = self._known(chunk)
            kept, placed = [], []
            for row in chunk:
                key = (row.name, row.environment)
                seen.add(key)
                values = _values(row, source)
                old = known.get(key)
                if old is None or old["removed_at"] is not None:
                    added.append(key)
                elif any(old[name] != value for name, value in values.items()):
                    changed.append(key)
                else:
                    continue
                values |= {"removed_at": None, "remind_at": self.now}
                if old is not None and old["removed_at"] is None and old["place"] == row.place:
                    kept.append(values)
                    continue
                placed.append({**values, **UNSEEN})
                for place in (row.place, old["place"] if old is not None else ""):  # who is there now, and who was
                    if place:
                        moved.setdefault(row.environment, set()).add(place)
            for writes in (kept, placed):
                if writes:
                    self._upsert(writes)
        for environment, places in moved.items():
            self.reconcile(environment, places, concluded=False)
        removed = [] if partial else self._remove_others(seen, source)
        return Applied(tuple(added), tuple(changed), tuple(removed))

    def _known(self, chunk: Sequence[Declared]) -> dict[tuple[str, str], Mapping[str, Any]]:
        query = select(CREDENTIAL).where(CREDENTIAL.c.name.in_({row.name for row in chunk}))
        rows = self.connection.execute(query).mappings()
        return {(row["name"], row["environment"]): dict(row) for row in rows}

    def _upsert(self, writes: Sequence[Mapping[str, Any]]) -> None:
        statement: Any = upsert(CREDENTIAL, self.connection)
        names = [name for name in writes[0] if name not in ("name", "environment")]
        statement = statement.on_conflict_do_update(
            index_elements=[CREDENTIAL.c.name, CREDENTIAL.c.environment],
            set_={name: statement.excluded[name] for name in names},
        )
        self.connection.execute(statement, [dict(row) for row in writes])

    def _remove_others(self, seen: set[tuple[str, str]], source: str) -> list[tuple[str, str]]:
        query = select(CREDENTIAL.c.name, CREDENTIAL.c.environment).where(
            CREDENTIAL.c.source == source, CREDENTIAL.c.removed_at.is_(None)
        )
        gone = [key for row in self.connection.execute(query) if (key := (row[0], row[1])) not in seen]
        if gone:
            statement = update(CREDENTIAL).where(
                CREDENTIAL.c.name == bindparam("n"), CREDENTIAL.c.environment == bindparam("e")
            )
            self.connection.execute(
                statement.values(removed_at=self.now), [{"n": name, "e": environment} for name, environment in gone]
            )
        return sorted(gone)

    def hold_credential(self, name: str, environment: str) -> CredentialRow | None:
        """The credential, with its row locked until the end: whoever changes it at the same time waits."""
        query = _by_name.where(CREDENTIAL.c.environment == environment).with_for_update()
        row = self.connection.execute(query, {"name": name}).one_or_none()
        return None if row is None else CredentialRow(*row)

    def update_credential(self, name: str, environment: str, **changes: Any) -> bool:
        """Change what chat may change; returns whether there is such a credential."""
        unknown = set(changes) - _OVERRIDES
        if unknown:
            raise ValueError(f"not a field that can be changed: {', '.join(sorted(unknown))}")
        statement = update(CREDENTIAL).where(
            CREDENTIAL.c.name == name, CREDENTIAL.c.environment == environment, CREDENTIAL.c.removed_at.is_(None)
        )
        return self.connection.execute(statement.values(**changes)).rowcount == 1

    def record_setting(self, key: str, value: str) -> None:
        """Remember a value under a key, such as the hash of the settings."""
        statement: Any = upsert(SETTING, self.connection).values(key=key, value=value, at=self.now)
        self.connection.execute(
            statement.on_conflict_do_update(
                index_elements=[SETTING.c.key], set_={"value": statement.excluded.value, "at": statement.excluded.at}
            )
        )


def _values(row: Declared, source: str) -> dict[str, Any]:
    return {
        "name": row.name,
        "environment": row.environment,
        "kind": row.kind,
        "owner": row.owner,
        "runbook": row.runbook,
        "cadence": row.cadence,
        "inputs": json.loads(json_bytes(row.inputs)),
        "detail": json.loads(json_bytes(row.detail)),
        "source": source,
        "place": row.place,
    }
