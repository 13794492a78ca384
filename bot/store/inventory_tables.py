"""The tables of the inventory: credentials, what discoveries found, and what was reminded of."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, ClassVar

from sqlalchemy import Index, Integer, Text
from sqlmodel import Field, SQLModel

from bot.store.columns import Json, Moment, Name, Span, Words, partial, table


class CredentialTable(SQLModel, table=True):
    """An entry of the inventory: what settings declare, what was changed in chat, and what its system shows."""

    __tablename__ = "credential"
    __table_args__: ClassVar[Any] = (
        partial("credential_remind", "remind_at", where="remind_at IS NOT NULL AND removed_at IS NULL"),
        partial("credential_due", "next_due", where="next_due IS NOT NULL AND removed_at IS NULL"),
        partial("credential_starts", "starts_at", where="starts_at IS NOT NULL AND removed_at IS NULL"),
        partial("credential_place", "place", "environment", where="place <> ''"),
        partial("credential_several", "place", "environment", where="versions > 1 AND removed_at IS NULL"),
        partial("credential_status", "status", "name", where="status <> 'known' AND removed_at IS NULL"),
        partial("credential_finding", "name", where="(finding <> '' OR owner_finding <> '') AND removed_at IS NULL"),
        partial("credential_owner", "owner", where="owner_override IS NULL AND removed_at IS NULL"),
        partial("credential_given", "owner_override", where="owner_override IS NOT NULL AND removed_at IS NULL"),
    )
    name: str = Field(primary_key=True, sa_type=Name)
    environment: str = Field(primary_key=True, sa_type=Name)
    kind: str = Field(sa_type=Words)
    owner: str = Field(sa_type=Words)
    runbook: str = Field(sa_type=Words)
    cadence: timedelta | None = Field(sa_type=Span)
    inputs: Any = Field(sa_type=Json)
    detail: Any = Field(sa_type=Json)
    source: str = Field(sa_type=Words)
    owner_override: str | None = Field(sa_type=Words)
    snoozed_until: datetime | None = Field(sa_type=Moment)
    last_rotated_at: datetime | None = Field(sa_type=Moment)
    next_due: datetime | None = Field(sa_type=Moment)
    """The effective date: the real expiry or the end of the cadence, whichever is first."""
    remind_at: datetime | None = Field(sa_type=Moment)
    """When the reminders want the next look at it; the past means now."""
    removed_at: datetime | None = Field(sa_type=Moment)
    place: str = Field(sa_type=Name)
    """Where it lives, as discoveries name it; empty where no runbook says."""
    status: str = Field(sa_type=Text)
    """`known`, `unmanaged` (found, and nobody declares it), or `gone` (a complete look no longer shows it)."""
    expires_at: datetime | None = Field(sa_type=Moment)
    """When the system itself will refuse the version in use, as far as that can be believed."""
    created_at: datetime | None = Field(sa_type=Moment)
    """Since when there is the version in use, as the system says."""
    version: str = Field(sa_type=Words)
    versions: int = Field(sa_type=Integer)
    """How many valid versions the system shows."""
    found_at: datetime | None = Field(sa_type=Moment)
    gone_at: datetime | None = Field(sa_type=Moment)
    due_source: str = Field(sa_type=Text)
    """What `next_due` comes from: `expiry`, `cadence`, or nothing."""
    finding: str = Field(sa_type=Words)
    """What is wrong with what the system says, in a sentence."""
    owner_finding: str = Field(sa_type=Words)
    """Why the owner cannot be reached, in a sentence."""
    snooze_note: str = Field(sa_type=Words)
    """Who asked for the snooze, and why."""
    reminded_at: datetime | None = Field(sa_type=Moment)
    soon_at: datetime | None = Field(sa_type=Moment)
    """From when on it is shown as due soon."""
    starts_at: datetime | None = Field(sa_type=Moment)
    """When policy starts it by itself, or asks for consent to that."""


class ReminderTable(SQLModel, table=True):
    """That a tier of an expiry was told: its key is why none is told twice."""

    __tablename__ = "reminder"
    credential: str = Field(primary_key=True, sa_type=Name)
    environment: str = Field(primary_key=True, sa_type=Name)
    expiry: datetime = Field(primary_key=True, sa_type=Moment)
    tier: str = Field(primary_key=True, sa_type=Name)
    due_at: datetime = Field(sa_type=Moment)
    told_at: datetime = Field(sa_type=Moment)
    told: Any = Field(sa_type=Json)
    """To whom: people and channels."""
    notice: str = Field(sa_type=Words)
    """Keys of the notices that say it, with blanks between them; several tiers and credentials share one. Empty where
    nobody had to be told."""


class DiscoveryTable(SQLModel, table=True):
    """A discovery that settings declare, and how far its rounds are."""

    __tablename__ = "discovery"
    __table_args__: ClassVar[Any] = (partial("discovery_due", "due_at", where="due_at IS NOT NULL"),)
    name: str = Field(primary_key=True, sa_type=Name)
    round: int = Field(sa_type=Integer)
    began_at: datetime | None = Field(sa_type=Moment)
    completed_at: datetime | None = Field(sa_type=Moment)
    """End of the last round that listed everything."""
    found: int = Field(sa_type=Integer)
    """How many versions that round listed."""
    failures: int = Field(sa_type=Integer)
    error: str = Field(sa_type=Words)
    due_at: datetime | None = Field(sa_type=Moment)
    """When its next round begins; NULL once settings no longer declare it."""
    claimed_until: datetime | None = Field(sa_type=Moment)


class FoundTable(SQLModel, table=True):
    """One version of a credential that a discovery has listed; never its value."""

    __tablename__ = "found"
    __table_args__: ClassVar[Any] = (
        Index("found_of_place", "place", "environment"),
        Index("found_of_round", "discovery", "round", "place"),
    )
    discovery: str = Field(primary_key=True, sa_type=Name)
    place: str = Field(primary_key=True, sa_type=Name)
    version: str = Field(primary_key=True, sa_type=Name)
    environment: str = Field(sa_type=Name)
    kind: str = Field(sa_type=Words)
    owner: str = Field(sa_type=Words)
    created_at: datetime | None = Field(sa_type=Moment)
    expires_at: datetime | None = Field(sa_type=Moment)
    problem: str = Field(sa_type=Words)
    """What cannot be believed of it, in a sentence."""
    round: int = Field(sa_type=Integer)
    seen_at: datetime = Field(sa_type=Moment)


class PageTable(SQLModel, table=True):
    """A page about a credential that nobody acts on."""

    __tablename__ = "page"
    __table_args__: ClassVar[Any] = (
        partial("page_due", "due_at", where="done_at IS NULL"),
        partial("page_sent", "credential", where="done_at IS NOT NULL AND note = ''"),
    )
    key: str = Field(primary_key=True, sa_type=Words)
    credential: str = Field(sa_type=Name)
    environment: str = Field(sa_type=Name)
    payload: Any = Field(sa_type=Json)
    due_at: datetime = Field(sa_type=Moment)
    claimed_until: datetime | None = Field(sa_type=Moment)
    failures: int = Field(sa_type=Integer)
    note: str = Field(sa_type=Words)
    done_at: datetime | None = Field(sa_type=Moment)


CREDENTIAL = table(CredentialTable)
REMINDER = table(ReminderTable)
DISCOVERY = table(DiscoveryTable)
FOUND = table(FoundTable)
PAGE = table(PageTable)
