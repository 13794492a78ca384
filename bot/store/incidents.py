"""Incidents and their errands: read, saved by compare-and-swap, claimed by one replica at a time."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, exists, func, or_, select, text, update

from bot.core.decide import Stale
from bot.core.incident import Answered, Incident, Note
from bot.core.plan import EXPIRED
from bot.core.rotation import OPEN
from bot.store.columns import micros, moment
from bot.store.records import CredentialRow, ErrandRow
from bot.store.session import Session, Writing, upsert
from bot.store.tables import CREDENTIAL, ERRAND, INCIDENT, NOTICE, ROTATION

_COLUMNS = tuple(column.name for column in INCIDENT.columns if column.name not in ("rotation", "said_at"))
_incident = select(INCIDENT).where(INCIDENT.c.rotation == bindparam("number"))
_quiet = (
    select(INCIDENT.c.rotation)
    .where(INCIDENT.c.quiet_since <= bindparam("since"))
    .order_by(INCIDENT.c.quiet_since)
    .limit(bindparam("limit"))
)
_said = select(func.max(NOTICE.c.due_at)).where(NOTICE.c.incident == bindparam("number"))
_update = (
    update(INCIDENT)
    .where(INCIDENT.c.rotation == bindparam("of"), INCIDENT.c.version == bindparam("seen"))
    .values({name: bindparam(name) for name in _COLUMNS})
)
_after_expiry = (
    select(INCIDENT.c.rotation)
    .join_from(INCIDENT, ROTATION, ROTATION.c.number == INCIDENT.c.rotation)
    .where(
        INCIDENT.c.credential == bindparam("credential"),
        INCIDENT.c.environment == bindparam("environment"),
        INCIDENT.c.closed_at.is_(None),
        ROTATION.c.word == EXPIRED,
    )
    .order_by(INCIDENT.c.rotation.desc())
    .limit(1)
)
_lapsed_in_use = (
    select(CREDENTIAL)
    .where(
        CREDENTIAL.c.next_due <= bindparam("now"),  # never later than the expiry, and indexed
        CREDENTIAL.c.expires_at <= bindparam("now"),
        CREDENTIAL.c.removed_at.is_(None),
        CREDENTIAL.c.status == "known",
        or_(  # what was seen before it was rotated is the expiry of the one that was replaced
            CREDENTIAL.c.last_rotated_at.is_(None),
            CREDENTIAL.c.found_at.is_(None),
            CREDENTIAL.c.found_at >= CREDENTIAL.c.last_rotated_at,
        ),
        ~exists().where(
            INCIDENT.c.credential == CREDENTIAL.c.name,
            INCIDENT.c.environment == CREDENTIAL.c.environment,
            or_(INCIDENT.c.closed_at.is_(None), INCIDENT.c.opened_at >= CREDENTIAL.c.expires_at),
        ),
        ~exists().where(
            ROTATION.c.credential == CREDENTIAL.c.name,
            ROTATION.c.environment == CREDENTIAL.c.environment,
            ROTATION.c.word == "revoke",
            text("rotation.state IN (" + ", ".join(f"'{state.value}'" for state in sorted(OPEN)) + ")"),
        ),
    )
    .order_by(CREDENTIAL.c.expires_at, CREDENTIAL.c.name)
    .limit(bindparam("limit"))
)
_is_due = text("errand.done_at IS NULL")
_due_errands = (
    select(ERRAND)
    .where(
        _is_due,
        ERRAND.c.due_at <= bindparam("now"),
        or_(ERRAND.c.claimed_until.is_(None), ERRAND.c.claimed_until <= bindparam("now")),
    )
    .order_by(ERRAND.c.due_at, ERRAND.c.id)
    .limit(bindparam("limit"))
)
_next_errand = select(ERRAND.c.due_at).where(_is_due).order_by(ERRAND.c.due_at).limit(1)
_errands = select(ERRAND).where(ERRAND.c.rotation == bindparam("number")).order_by(ERRAND.c.id)


class IncidentReader(Session):
    """Looking at incidents and errands."""

    def incident(self, number: int) -> Incident | None:
        """The incident of the emergency with this number; None where none was opened."""
        row = self.connection.execute(_incident, {"number": number}).mappings().one_or_none()
        return None if row is None else _read(row)

    def open_expiry(self, credential: str, environment: str) -> int | None:
        """Number of the open incident after an expiry of the credential."""
        named = {"credential": credential, "environment": environment}
        found: int | None = self.connection.execute(_after_expiry, named).scalar_one_or_none()
        return found

    def expired_in_use(self, now: datetime, limit: int = 20) -> list[CredentialRow]:
        """Known credentials whose system refuses them by now, of which no incident or revocation tells."""
        return [CredentialRow(*row) for row in self.connection.execute(_lapsed_in_use, {"now": now, "limit": limit})]

    def quiet_incidents(self, since: datetime, limit: int = 50) -> list[int]:
        """Open incidents in which, as far as it was looked at, nothing was said since then."""
        return list(self.connection.execute(_quiet, {"since": since, "limit": limit}).scalars())

    def last_said(self, number: int) -> datetime | None:
        """When something was said in the incident last."""
        found: datetime | None = self.connection.execute(_said, {"number": number}).scalar_one_or_none()
        return found

    def errands(self, number: int) -> list[ErrandRow]:
        """Every errand of the emergency, in the order in which they came up."""
        return [ErrandRow(*row) for row in self.connection.execute(_errands, {"number": number})]

    def next_errand_at(self) -> datetime | None:
        """When an errand is due next."""
        found: datetime | None = self.connection.execute(_next_errand).scalar_one_or_none()
        return found


class IncidentWriter(IncidentReader, Writing):
    """Changing incidents, and claiming errands."""

    def put_incident(self, before: Incident | None, after: Incident) -> None:
        """Store it under the next version; raises `Stale` when somebody saved in between."""
        row = _row(after)
        if before is None:
            statement = upsert(INCIDENT, self.connection).on_conflict_do_nothing().returning(INCIDENT.c.rotation)
            if self.connection.execute(statement, row).first() is None:
                raise Stale(f"the incident of {after.id} is open already")
            return
        row["of"], row["seen"] = row.pop("rotation"), before.version
        said = row.pop("said_at")
        if not self.connection.execute(_update, row).rowcount:
            raise Stale(f"the incident of {after.id} was changed by somebody else in between")
        if after.said_at != before.said_at:
            self.connection.execute(update(INCIDENT).where(INCIDENT.c.rotation == after.number).values(said_at=said))

    def heard(self, number: int, at: datetime) -> None:
        """Something was said in the incident since it was looked at; its version stays."""
        self._look_after(number, at, {"said_at": at})

    def look_later(self, number: int, at: datetime) -> None:
        """Take the incident for quiet from then on, without anything having been said."""
        self._look_after(number, at, {})

    def _look_after(self, number: int, at: datetime, also: Mapping[str, Any]) -> None:
        statement = update(INCIDENT).where(INCIDENT.c.rotation == number, INCIDENT.c.quiet_since < at)
        self.connection.execute(statement.values(quiet_since=at, **also))

    # --- errands ------------------------------------------------------------------------------------------------------

    def add_errand(self, key: str, rotation: int, kind: str, payload: Mapping[str, Any]) -> bool:
        """Have something run once beside the emergency. False when the key is known."""
        row = {
            "key": key,
            "rotation": rotation,
            "kind": kind,
            "payload": dict(payload),
            "due_at": self.now,
            "failures": 0,
            "outputs": {},
            "note": "",
        }
        statement: Any = upsert(ERRAND, self.connection)
        statement = statement.on_conflict_do_nothing(index_elements=[ERRAND.c.key]).returning(ERRAND.c.id)
        return self.connection.execute(statement, row).first() is not None

    def claim_errands(self, now: datetime, until: datetime, limit: int = 1) -> list[ErrandRow]:
        """Take errands that are due; until then nobody else takes them. Due again then, should we die."""
        query = _due_errands if self.is_sqlite else _due_errands.with_for_update(skip_locked=True)
        rows = list(self.connection.execute(query, {"now": now, "limit": limit}))
        for row in rows:
            taken = update(ERRAND).where(ERRAND.c.id == row.id)
            self.connection.execute(taken.values(claimed_until=until, due_at=until))
        return [ErrandRow(*row) for row in rows]

    def finish_errand(self, id: int, outputs: Mapping[str, Any], note: str = "") -> None:
        """It is done."""
        done = update(ERRAND).where(ERRAND.c.id == id, _is_due)
        self.connection.execute(done.values(done_at=self.now, outputs=dict(outputs), note=note, claimed_until=None))

    def postpone_errand(self, id: int, due_at: datetime, failures: int, note: str) -> None:
        """It did not work: try again then."""
        later = update(ERRAND).where(ERRAND.c.id == id, _is_due)
        self.connection.execute(later.values(due_at=due_at, failures=failures, note=note, claimed_until=None))


def _row(incident: Incident) -> dict[str, Any]:
    row = {name: getattr(incident, name) for name in (*_COLUMNS, "said_at") if name not in ("notes", "review", "room")}
    row.update(
        rotation=incident.number,
        room=dict(incident.room),
        notes=[[micros(note.at), note.by, note.text] for note in incident.notes],
        review=[[one.question, one.text, one.by, micros(one.at)] for one in incident.review],
    )
    return row


def _read(row: Mapping[Any, Any]) -> Incident:
    values = {name: row[name] for name in (*_COLUMNS, "said_at") if name not in ("quiet_since", "notes", "review")}
    return Incident(
        number=row["rotation"],
        notes=tuple(Note(moment(at), by, text) for at, by, text in row["notes"]),
        review=tuple(Answered(question, text, by, moment(at)) for question, text, by, at in row["review"]),
        **values,
    )
