"""Reminders: which credentials want a look, what was told of them, and messages that still wait to be sent."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import and_, bindparam, delete, func, or_, select, text, tuple_, update

from bot.core.reminders import STAGE
from bot.core.rotation import OPEN
from bot.store.credential_rows import PLAIN, credentials
from bot.store.outbox import GIVEN_UP, LOST
from bot.store.records import CredentialRow, NoticeRow, ReminderRow
from bot.store.session import Session, Writing, upsert
from bot.store.tables import CREDENTIAL, NOTICE, REMINDER, ROTATION, SETTING

_CHUNK = 400
CLOSED = "undelivered."
"""What the key of a setting begins with that says of a person or a channel why it takes no messages."""
_LOCK = 0x6B65797475_7231  # "keytur1", for pg_try_advisory_xact_lock
_C = CREDENTIAL.c
_owner = func.coalesce(_C.owner_override, _C.owner).label("owner")
_waiting = text("credential.remind_at IS NOT NULL AND credential.removed_at IS NULL")
_due = select(*PLAIN).where(_C.remind_at <= bindparam("now"), _waiting).order_by(_C.remind_at).limit(bindparam("limit"))
_next = select(_C.remind_at).where(_waiting).order_by(_C.remind_at).limit(1)
_next_start = (
    select(_C.starts_at)
    .where(text("credential.starts_at IS NOT NULL AND credential.removed_at IS NULL"))
    .order_by(_C.starts_at)
    .limit(1)
)
_rows_due = _due.with_only_columns(_C.kind, _C.environment, _owner, _C.detail, _C.remind_at).subquery()
_concerned = select(_rows_due.c.kind, _rows_due.c.environment, _rows_due.c.owner, _rows_due.c.detail).distinct()
_starting = (
    select(*PLAIN)
    .where(
        _C.starts_at <= bindparam("now"),
        text("credential.starts_at IS NOT NULL AND credential.removed_at IS NULL"),
    )
    .order_by(_C.starts_at)
    .limit(bindparam("limit"))
)
_open = select(ROTATION.c.credential, ROTATION.c.environment).where(
    text("rotation.state IN (" + ", ".join(f"'{state.value}'" for state in sorted(OPEN)) + ")")
)
SETTLED = ("next_due", "due_source", "remind_at", "soon_at", "starts_at", "reminded_at", "snoozed_until")
"""What a look works out."""
_settle = (
    update(CREDENTIAL)
    .where(_C.name == bindparam("of"), _C.environment == bindparam("at"))
    .values({name: bindparam(name) for name in SETTLED})
)
_SNOOZE = "snooze-"
"""Rows of this tier say that nothing was told: when a snooze was asked for (`told_at`), and until when (`due_at`)."""
_FIELDS = tuple(one.name for one in fields(ReminderRow))
Key = tuple[str, str]
"""Name and environment."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What decides who hears of a credential. Implements `Target`, whose name decides nothing here."""

    kind: str
    environment: str
    owner: str
    detail: Mapping[str, Any]
    name: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """That a tier of its own was told, escalations aside: of which expiry, when and to whom."""

    expiry: datetime
    told_at: datetime
    told: tuple[str, ...]


class ReminderReader(Session):
    """What is due, and what was told."""

    def reminders_for(self, now: datetime, limit: int = 500) -> list[Heard]:
        """Who may have to hear of what is due now, each once: what has to be looked up before it is told."""
        return [Heard(*row) for row in self.connection.execute(_concerned, {"now": now, "limit": limit})]

    def reminders_due(self, now: datetime, limit: int = 500) -> list[CredentialRow]:
        """The credentials themselves."""
        return credentials(self.connection.execute(_due, {"now": now, "limit": limit}))

    def next_remind_at(self) -> datetime | None:
        """When the next credential wants a look."""
        found: datetime | None = self.connection.execute(_next).scalar_one_or_none()
        return found

    def next_start_at(self) -> datetime | None:
        """When policy starts something by itself next."""
        found: datetime | None = self.connection.execute(_next_start).scalar_one_or_none()
        return found

    def starts_due(self, now: datetime, limit: int = 50) -> list[CredentialRow]:
        """Credentials that policy starts by itself now."""
        return credentials(self.connection.execute(_starting, {"now": now, "limit": limit}))

    def told(self, keys: Collection[Key]) -> dict[Key, set[tuple[datetime, str]]]:
        """Which tiers of each were told."""
        found: dict[Key, set[tuple[datetime, str]]] = {}
        columns = select(REMINDER.c.credential, REMINDER.c.environment, REMINDER.c.expiry, REMINDER.c.tier)
        listed = list(keys)
        for begin in range(0, len(listed), _CHUNK):
            part = listed[begin : begin + _CHUNK]
            query = columns.where(tuple_(REMINDER.c.credential, REMINDER.c.environment).in_(part))
            for name, environment, expiry, tier in self.connection.execute(query):
                found.setdefault((name, environment), set()).add((expiry, tier))
        return found

    def messages(self, keys: Collection[Key]) -> dict[Key, list[Message]]:
        """What was told of each to its owner, or to those who hear instead."""
        found: dict[Key, list[Message]] = {}
        r = REMINDER.c
        columns = select(r.credential, r.environment, r.expiry, r.told_at, r.told)
        columns = columns.where(r.tier.not_like(f"{STAGE}%"), r.tier.not_like(f"{_SNOOZE}%"))
        listed = list(keys)
        for begin in range(0, len(listed), _CHUNK):
            part = listed[begin : begin + _CHUNK]
            query = columns.where(tuple_(r.credential, r.environment).in_(part))
            for name, environment, expiry, at, told in self.connection.execute(query):
                found.setdefault((name, environment), []).append(Message(expiry, at, tuple(told)))
        return found

    def being_rotated(self, keys: Collection[Key]) -> set[Key]:
        """Those of them of which a rotation is open."""
        found: set[Key] = set()
        listed = list(keys)
        for begin in range(0, len(listed), _CHUNK):
            part = listed[begin : begin + _CHUNK]
            query = _open.where(tuple_(ROTATION.c.credential, ROTATION.c.environment).in_(part))
            found |= {(row[0], row[1]) for row in self.connection.execute(query)}
        return found

    def reminders(self, name: str, environment: str, limit: int = 20) -> list[ReminderRow]:
        """What was told of a credential, the newest first."""
        query = select(REMINDER).where(REMINDER.c.credential == name, REMINDER.c.environment == environment)
        query = query.where(REMINDER.c.tier.not_like(f"{_SNOOZE}%"))
        query = query.order_by(REMINDER.c.told_at.desc(), REMINDER.c.due_at.desc()).limit(limit)
        return [ReminderRow(*row) for row in self.connection.execute(query)]

    def snoozes(self, name: str, environment: str, expiry: datetime) -> list[tuple[datetime, datetime]]:
        """When it was snoozed before this date, and until when each time."""
        query = select(REMINDER.c.told_at, REMINDER.c.due_at).where(
            REMINDER.c.credential == name,
            REMINDER.c.environment == environment,
            REMINDER.c.expiry == expiry,
            REMINDER.c.tier.like(f"{_SNOOZE}%"),
        )
        return [(asked, until) for asked, until in self.connection.execute(query)]

    def told_in(self, notice: str) -> list[ReminderRow]:
        """Everything that a message tells; rare, since it looks at every reminder."""
        query = select(REMINDER).where(REMINDER.c.notice.contains(notice, autoescape=True))
        rows = [ReminderRow(*row) for row in self.connection.execute(query)]
        return [row for row in rows if notice in row.notice.split()]

    def arrivals(self, notices: Collection[str]) -> dict[str, datetime | None]:
        """Those of these messages that were not given up, and when Slack took them."""
        query = select(NOTICE.c.key, NOTICE.c.sent_at).where(
            NOTICE.c.key.in_(list(notices)), NOTICE.c.note.not_like(f"{GIVEN_UP}%")
        )
        return {key: sent_at for key, sent_at in self.connection.execute(query)}

    def closed_places(self, since: datetime) -> dict[str, str]:
        """People and channels that did not take a message lately, and why."""
        query = select(SETTING.c.key, SETTING.c.value).where(SETTING.c.key.like(f"{CLOSED}%"), SETTING.c.at > since)
        return {key.removeprefix(CLOSED): value for key, value in self.connection.execute(query)}


class ReminderWriter(ReminderReader, Writing):
    """Taking what is due, and saying that it was told."""

    def alone(self) -> bool:
        """Whether nobody else sends reminders until this transaction ends: what falls together is told together."""
        if self.is_sqlite:
            return True  # one process, and one writer at a time
        lock = select(func.pg_try_advisory_xact_lock(_LOCK))
        return bool(self.connection.execute(lock).scalar_one())

    def claim_reminders(self, now: datetime, limit: int = 500) -> list[CredentialRow]:
        """Credentials that want a look, locked until the end; those that somebody changes just now are left out."""
        query = _due if self.is_sqlite else _due.with_for_update(skip_locked=True)
        return credentials(self.connection.execute(query, {"now": now, "limit": limit}))

    def settle(self, looked: Iterable[tuple[Key, Mapping[str, Any]]]) -> None:
        """What looks at credentials worked out; each with every field of `SETTLED`."""
        rows = [{"of": key[0], "at": key[1], **values} for key, values in looked]
        if rows:
            self.connection.execute(_settle, rows)

    def add_reminders(self, rows: Sequence[ReminderRow]) -> None:
        """Say that these tiers were told. One that was told before is a mistake, and fails."""
        if rows:
            values = [{name: getattr(row, name) for name in _FIELDS} | {"told": list(row.told)} for row in rows]
            self.connection.execute(REMINDER.insert(), values)

    def add_snooze(self, name: str, environment: str, expiry: datetime, until: datetime) -> None:
        """Remember how much of what may be snoozed before this date was used."""
        number = len(self.snoozes(name, environment, expiry)) + 1
        self.add_reminders([ReminderRow(name, environment, expiry, f"{_SNOOZE}{number}", until, self.now, [], "")])

    def waiting_reminder(self, person: str, channel: str) -> NoticeRow | None:
        """A message with reminders that cannot have been posted yet: more can be said in it."""
        query = select(NOTICE).where(
            text("notice.sent_at IS NULL"),
            NOTICE.c.key.like("remind-%"),
            NOTICE.c.person == person,
            NOTICE.c.channel == channel,
            NOTICE.c.claimed_until.is_(None),
            NOTICE.c.note.not_like(f"{LOST}%"),
        )
        query = query.order_by(NOTICE.c.id.desc()).limit(1)
        if not self.is_sqlite:
            query = query.with_for_update(skip_locked=True)
        row = self.connection.execute(query).one_or_none()
        return None if row is None else NoticeRow(*row)

    def say_more(self, id: int, text: str, payload: Mapping[str, Any], *, urgent: bool) -> None:
        """Change what a message that waits will say."""
        statement = update(NOTICE).where(NOTICE.c.id == id)
        self.connection.execute(statement.values(text=text, payload=payload, urgent=urgent))

    def close_place(self, place: str, why: str) -> None:
        """Remember that a person or a channel does not take messages."""
        statement: Any = upsert(SETTING, self.connection).values(key=CLOSED + place, value=why, at=self.now)
        values = {"value": statement.excluded.value, "at": statement.excluded.at}
        self.connection.execute(statement.on_conflict_do_update(index_elements=[SETTING.c.key], set_=values))

    def untell(self, rows: Sequence[ReminderRow]) -> None:
        """These tiers reached nobody: their credentials are looked at anew, soon."""
        for name, environment in sorted({(row.credential, row.environment) for row in rows}):
            self.look_again(name, environment)
        key = tuple_(REMINDER.c.credential, REMINDER.c.environment, REMINDER.c.expiry, REMINDER.c.tier)
        keys = [(row.credential, row.environment, row.expiry, row.tier) for row in rows]
        for begin in range(0, len(keys), _CHUNK):
            self.connection.execute(delete(REMINDER).where(key.in_(keys[begin : begin + _CHUNK])))

    def note_owner(self, owner: str, finding: str) -> None:
        """Why this owner cannot be reached, on everything that is theirs; empty when they can be."""
        theirs = or_(and_(_C.owner_override.is_(None), _C.owner == owner), _C.owner_override == owner)
        statement = update(CREDENTIAL).where(theirs, _C.removed_at.is_(None), _C.owner_finding != finding)
        if not owner:
            statement = statement.where(_C.owner_override.is_(None))  # what somebody said of it themselves stays
        self.connection.execute(statement.values(owner_finding=finding))

    def look_again(self, name: str, environment: str) -> None:
        """Something about it changed: its dates and reminders are worked out anew, soon."""
        statement = update(CREDENTIAL).where(_C.name == name, _C.environment == environment)
        self.connection.execute(statement.values(remind_at=self.now))

    def look_at_all(self) -> None:
        """The rules changed: every credential is looked at anew."""
        self.connection.execute(update(CREDENTIAL).where(_C.removed_at.is_(None)).values(remind_at=self.now))

    def put_setting_once(self, key: str, value: str) -> bool:
        """Remember that something was done; False when it was known, and so done, before."""
        statement: Any = upsert(SETTING, self.connection).values(key=key, value=value, at=self.now)
        statement = statement.on_conflict_do_nothing(index_elements=[SETTING.c.key]).returning(SETTING.c.key)
        return self.connection.execute(statement).first() is not None
