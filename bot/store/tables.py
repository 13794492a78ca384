"""The tables; those of the inventory are in `inventory_tables`."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar, cast

from sqlalchemy import BigInteger, Index, Integer, LargeBinary, Text, UniqueConstraint
from sqlmodel import Field, SQLModel

from bot.core.rotation import OPEN
from bot.store.columns import Json, Moment, Name, Words, partial, table
from bot.store.inventory_tables import CREDENTIAL, DISCOVERY, FOUND, PAGE, REMINDER

__all__ = [
    "AUDIT",
    "AUDIT_HEAD",
    "AUDIT_SIGNATURE",
    "CREDENTIAL",
    "DISCOVERY",
    "DRAWING",
    "ERRAND",
    "FOUND",
    "INCIDENT",
    "INTENT",
    "METADATA",
    "NOTICE",
    "OPEN_INDEX",
    "OVERLAP",
    "PAGE",
    "PLAN",
    "REMINDER",
    "ROTATION",
    "SETTING",
    "STEP",
    "TARGET",
    "WORKER",
]

_OPEN = "state IN (" + ", ".join(f"'{state.value}'" for state in sorted(OPEN)) + ")"
OPEN_INDEX = "rotation_open_once"


class PlanTable(SQLModel, table=True):
    """A plan by its digest: the canonical bytes that approvals bind to. Never changed, only added."""

    __tablename__ = "plan"
    digest: str = Field(primary_key=True, sa_type=Text)
    body: bytes = Field(sa_type=LargeBinary)


class RotationTable(SQLModel, table=True):
    """A rotation without its steps and its overlap."""

    __tablename__ = "rotation"
    __table_args__: ClassVar[Any] = (
        partial(OPEN_INDEX, "credential", "environment", "word", unique=True, where=_OPEN),
        partial("rotation_calling", "calls_at", where="calls_at IS NOT NULL"),
        partial("rotation_lapsing", "lapses_at", where="lapses_at IS NOT NULL"),
        Index("rotation_of_credential", "credential", "environment", "number"),
    )
    number: int = Field(primary_key=True, sa_type=Integer, sa_column_kwargs={"autoincrement": False})
    version: int = Field(sa_type=Integer)
    state: str = Field(sa_type=Text)
    credential: str = Field(sa_type=Name)
    environment: str = Field(sa_type=Name)
    kind: str = Field(sa_type=Words)
    owner: str = Field(sa_type=Words)
    runbook: str = Field(sa_type=Words)
    requester: str = Field(sa_type=Words)
    plan: str = Field(sa_type=Text, foreign_key="plan.digest")
    nonce: str = Field(sa_type=Words)
    created_at: datetime = Field(sa_type=Moment)
    expires_at: datetime = Field(sa_type=Moment)
    lapses_at: datetime | None = Field(sa_type=Moment)
    """When the request or an amendment lapses; NULL when nothing can."""
    votes: Any = Field(sa_type=Json)
    boxes: Any = Field(sa_type=Json)
    amendment: Any = Field(sa_type=Json, nullable=True)
    channel: str = Field(sa_type=Words)
    word: str = Field(sa_type=Text)
    """`start` or `revoke`: a revocation may be open beside an ordinary rotation, which it takes over."""
    eligible: Any = Field(sa_type=Json, nullable=True)
    escalated: int = Field(sa_type=Integer)
    called_at: datetime | None = Field(sa_type=Moment)
    calls_at: datetime | None = Field(sa_type=Moment)
    """When somebody has to be reminded or called; NULL when nobody is waited for."""
    glass: Any = Field(sa_type=Json, nullable=True)
    unconfirmed: bool
    started_at: datetime | None = Field(sa_type=Moment)
    promoted_at: datetime | None = Field(sa_type=Moment)
    ended_at: datetime | None = Field(sa_type=Moment)
    next_due: datetime | None = Field(sa_type=Moment)
    outcome: str = Field(sa_type=Words)


class OverlapTable(SQLModel, table=True):
    """What a promotion left: old and new, both valid."""

    __tablename__ = "overlap"
    __table_args__: ClassVar[Any] = (
        partial("overlap_open", "credential", "environment", where="state IN ('blocked', 'retiring')"),
        partial("overlap_remind", "remind_at", where="remind_at IS NOT NULL"),
    )
    rotation: int = Field(primary_key=True, sa_type=Integer, foreign_key="rotation.number")
    credential: str = Field(sa_type=Name)
    environment: str = Field(sa_type=Name)
    state: str = Field(sa_type=Text)
    deadline: datetime | None = Field(sa_type=Moment)
    counts_old: bool
    opened_at: datetime = Field(sa_type=Moment)
    closed_at: datetime | None = Field(sa_type=Moment)
    remind_at: datetime | None = Field(sa_type=Moment)
    was_rotated_at: datetime | None = Field(sa_type=Moment)
    was_due: datetime | None = Field(sa_type=Moment)


class StepTable(SQLModel, table=True):
    """What has become of one planned step; the truth that delivery works from."""

    __tablename__ = "step"
    __table_args__: ClassVar[Any] = (
        partial("step_due", "due_at", where="stage = 'waiting'"),
        partial("step_under_way", "since", where="stage IN ('queued', 'running')"),
    )
    rotation: int = Field(primary_key=True, sa_type=Integer, foreign_key="rotation.number")
    position: int = Field(primary_key=True, sa_type=Integer)
    stage: str = Field(sa_type=Text)
    attempt: int = Field(sa_type=Integer)
    failures: int = Field(sa_type=Integer)
    touched: bool
    undoing: bool
    worker: str = Field(sa_type=Words)
    due_at: datetime | None = Field(sa_type=Moment)
    began_at: datetime | None = Field(sa_type=Moment)
    ended_at: datetime | None = Field(sa_type=Moment)
    outputs: Any = Field(sa_type=Json)
    progress: Any = Field(sa_type=Json)
    evidence: str = Field(sa_type=Words)
    problem: str = Field(sa_type=Words)
    hint: str = Field(sa_type=Words)
    ambiguous: bool
    by: str = Field(sa_type=Words)
    since: datetime = Field(sa_type=Moment)
    """When this row was last written."""


class TargetTable(SQLModel, table=True):
    """One target of a step that fans out."""

    __tablename__ = "target"
    rotation: int = Field(primary_key=True, sa_type=Integer, foreign_key="rotation.number")
    step: int = Field(primary_key=True, sa_type=Integer)
    target: str = Field(primary_key=True, sa_type=Name)
    attempt: int = Field(sa_type=Integer)
    stage: str = Field(sa_type=Words)
    outputs: Any = Field(sa_type=Json)
    evidence: str = Field(sa_type=Words)
    at: datetime = Field(sa_type=Moment)


class IntentTable(SQLModel, table=True):
    """What a person asked for, as received; unique by its delivery key."""

    __tablename__ = "intent"
    __table_args__: ClassVar[Any] = (
        UniqueConstraint("key", name="intent_key"),
        partial("intent_open", "subject", "number", where="state IN ('new', 'running')"),
    )
    number: int = Field(primary_key=True, sa_type=cast("Any", BigInteger().with_variant(Integer(), "sqlite")))
    key: str = Field(sa_type=Words)
    word: str = Field(sa_type=Words)
    person: str = Field(sa_type=Words)
    channel: str = Field(sa_type=Words)
    surface: str = Field(sa_type=Words)
    subject: str = Field(sa_type=Name)
    payload: Any = Field(sa_type=Json)
    state: str = Field(sa_type=Text)
    worker: str = Field(sa_type=Words)
    received_at: datetime = Field(sa_type=Moment)
    began_at: datetime | None = Field(sa_type=Moment)
    ended_at: datetime | None = Field(sa_type=Moment)
    answer: Any = Field(sa_type=Json, nullable=True)
    effect: int | None = Field(sa_type=Integer, nullable=True)
    """Number of the rotation that it changed: run again after a crash, it only answers."""


class DrawingTable(SQLModel, table=True):
    """A Slack message that shows state: due while what is wanted is newer than what was drawn."""

    __tablename__ = "drawing"
    __table_args__: ClassVar[Any] = (
        UniqueConstraint("rotation", "form", "place", name="drawing_once"),
        Index("drawing_message", "place", "ts"),
        partial("drawing_due", "due_at", where="wanted > drawn"),
    )
    id: int = Field(primary_key=True, sa_type=cast("Any", BigInteger().with_variant(Integer(), "sqlite")))
    rotation: int = Field(sa_type=Integer)
    form: str = Field(sa_type=Words)
    place: str = Field(sa_type=Words)
    ts: str = Field(sa_type=Words)
    drawn: int = Field(sa_type=Integer)
    wanted: int = Field(sa_type=Integer)
    urgent: bool
    due_at: datetime = Field(sa_type=Moment)
    claimed_until: datetime | None = Field(sa_type=Moment)
    failures: int = Field(sa_type=Integer)
    note: str = Field(sa_type=Words)


class NoticeTable(SQLModel, table=True):
    """A message that is sent once: a reminder, an answer, a page."""

    __tablename__ = "notice"
    __table_args__: ClassVar[Any] = (
        UniqueConstraint("key", name="notice_key"),
        partial("notice_due", "due_at", where="sent_at IS NULL"),
        partial("notice_of_incident", "incident", "due_at", where="incident IS NOT NULL"),
    )
    id: int = Field(primary_key=True, sa_type=cast("Any", BigInteger().with_variant(Integer(), "sqlite")))
    key: str = Field(sa_type=Words)
    person: str = Field(sa_type=Words)
    channel: str = Field(sa_type=Words)
    text: str = Field(sa_type=Words)
    payload: Any = Field(sa_type=Json)
    urgent: bool
    due_at: datetime = Field(sa_type=Moment)
    claimed_until: datetime | None = Field(sa_type=Moment)
    failures: int = Field(sa_type=Integer)
    note: str = Field(sa_type=Words)
    ts: str = Field(sa_type=Words)
    sent_at: datetime | None = Field(sa_type=Moment)
    incident: int | None = Field(sa_type=Integer, nullable=True)
    """Number of the emergency in whose incident it is said."""


class IncidentTable(SQLModel, table=True):
    """The incident of an emergency: roles, notes, review, and how far its Slack channel is."""

    __tablename__ = "incident"
    __table_args__: ClassVar[Any] = (partial("incident_quiet", "quiet_since", where="quiet_since IS NOT NULL"),)
    rotation: int = Field(primary_key=True, sa_type=Integer, foreign_key="rotation.number")
    version: int = Field(sa_type=Integer)
    credential: str = Field(sa_type=Name)
    environment: str = Field(sa_type=Name)
    private: bool
    opened_at: datetime = Field(sa_type=Moment)
    opened_by: str = Field(sa_type=Words)
    commander: str = Field(sa_type=Words)
    scribe: str = Field(sa_type=Words)
    closed_at: datetime | None = Field(sa_type=Moment)
    closed_by: str = Field(sa_type=Words)
    solo: str = Field(sa_type=Words)
    place: str = Field(sa_type=Words)
    place_note: str = Field(sa_type=Words)
    room: Any = Field(sa_type=Json)
    said_at: datetime | None = Field(sa_type=Moment)
    nudged_at: datetime | None = Field(sa_type=Moment)
    quiet_since: datetime | None = Field(sa_type=Moment)
    """Since when nothing was said, as far as it was looked at; NULL once it is closed."""
    notes: Any = Field(sa_type=Json)
    review: Any = Field(sa_type=Json)
    late: str = Field(sa_type=Words)
    fixed: str = Field(sa_type=Words)


class ErrandTable(SQLModel, table=True):
    """Something that is run once beside an emergency: a page, its end, a ticket."""

    __tablename__ = "errand"
    __table_args__: ClassVar[Any] = (
        UniqueConstraint("key", name="errand_key"),
        Index("errand_of_rotation", "rotation", "id"),
        partial("errand_due", "due_at", where="done_at IS NULL"),
    )
    id: int = Field(primary_key=True, sa_type=cast("Any", BigInteger().with_variant(Integer(), "sqlite")))
    key: str = Field(sa_type=Words)
    rotation: int = Field(sa_type=Integer, foreign_key="rotation.number")
    kind: str = Field(sa_type=Words)
    payload: Any = Field(sa_type=Json)
    due_at: datetime = Field(sa_type=Moment)
    claimed_until: datetime | None = Field(sa_type=Moment)
    failures: int = Field(sa_type=Integer)
    outputs: Any = Field(sa_type=Json)
    note: str = Field(sa_type=Words)
    done_at: datetime | None = Field(sa_type=Moment)


class WorkerTable(SQLModel, table=True):
    """A process that runs legs; dead ones stay for the record."""

    __tablename__ = "worker"
    __table_args__: ClassVar[Any] = (partial("worker_alive", "seen_at", where="dead_at IS NULL"),)
    id: str = Field(primary_key=True, sa_type=Words)
    started_at: datetime = Field(sa_type=Moment)
    seen_at: datetime = Field(sa_type=Moment)
    """Of the database's own clock, not the engine's: a heartbeat is real time."""
    dead_at: datetime | None = Field(sa_type=Moment)


class SettingTable(SQLModel, table=True):
    """What the bot remembers about itself, such as the hash of the settings applied last."""

    __tablename__ = "setting"
    key: str = Field(primary_key=True, sa_type=Words)
    value: str = Field(sa_type=Words)
    at: datetime = Field(sa_type=Moment)


class AuditTable(SQLModel, table=True):
    """One row of the chain. `body` is what was hashed; the columns repeat parts of it for searching."""

    __tablename__ = "audit"
    __table_args__: ClassVar[Any] = (
        partial("audit_of_rotation", "rotation", "seq", where="rotation <> ''"),
        partial("audit_of_credential", "credential", "seq", where="credential <> ''"),
    )
    seq: int = Field(
        primary_key=True,
        sa_type=cast("Any", BigInteger().with_variant(Integer(), "sqlite")),
        sa_column_kwargs={"autoincrement": False},
    )
    at: int = Field(sa_type=BigInteger)
    event: str = Field(sa_type=Text)
    actor: str = Field(sa_type=Text)
    rotation: str = Field(sa_type=Name)
    credential: str = Field(sa_type=Name)
    body: bytes = Field(sa_type=LargeBinary)
    hash: str = Field(sa_type=Text)
    prev: str = Field(sa_type=Text)


class AuditHeadTable(SQLModel, table=True):
    """The end of the chain; locked last, just before the commit."""

    __tablename__ = "audit_head"
    id: int = Field(primary_key=True, sa_type=Integer, sa_column_kwargs={"autoincrement": False})
    seq: int = Field(sa_type=BigInteger)
    hash: str = Field(sa_type=Text)


class AuditSignatureTable(SQLModel, table=True):
    """A signed head of the chain."""

    __tablename__ = "audit_signature"
    seq: int = Field(
        primary_key=True,
        sa_type=cast("Any", BigInteger().with_variant(Integer(), "sqlite")),
        sa_column_kwargs={"autoincrement": False},
    )
    at: int = Field(sa_type=BigInteger)
    hash: str = Field(sa_type=Text)
    key: str = Field(sa_type=Text)
    signature: bytes = Field(sa_type=LargeBinary)


PLAN = table(PlanTable)
ROTATION = table(RotationTable)
OVERLAP = table(OverlapTable)
STEP = table(StepTable)
TARGET = table(TargetTable)
INTENT = table(IntentTable)
DRAWING = table(DrawingTable)
NOTICE = table(NoticeTable)
INCIDENT = table(IncidentTable)
ERRAND = table(ErrandTable)
WORKER = table(WorkerTable)
SETTING = table(SettingTable)
AUDIT = table(AuditTable)
AUDIT_HEAD = table(AuditHeadTable)
AUDIT_SIGNATURE = table(AuditSignatureTable)
METADATA = SQLModel.metadata
