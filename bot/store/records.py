"""What the store hands out besides rotations: frozen records, no sessions attached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from bot.core.discovered import unseen
from bot.core.rotation import Overlap, State
from bot.core.schedule import Dates


@dataclass(frozen=True, slots=True)
class RotationSummary:
    """One line of a list of rotations."""

    number: int
    version: int
    state: State
    overlap: Overlap
    overlap_deadline: datetime | None
    credential: str
    environment: str
    kind: str
    owner: str
    runbook: str
    requester: str
    channel: str
    created_at: datetime
    started_at: datetime | None
    promoted_at: datetime | None
    ended_at: datetime | None
    outcome: str

    @property
    def id(self) -> str:
        """What people type: `R-7`."""
        return f"R-{self.number}"


@dataclass(frozen=True, slots=True)
class IntentRow:
    """What a person asked for. `state` is new, running or done; `answer` is set when done."""

    number: int
    key: str
    word: str
    person: str
    channel: str
    surface: str
    subject: str
    payload: Mapping[str, Any]
    state: str
    worker: str
    received_at: datetime
    began_at: datetime | None
    ended_at: datetime | None
    answer: Mapping[str, Any] | None
    effect: int | None
    """Number of the rotation that it has changed already."""


@dataclass(frozen=True, slots=True)
class TargetRow:
    """One target of a step that fans out; `stage` is the executor's word."""

    target: str
    attempt: int
    stage: str
    outputs: Mapping[str, Any]
    evidence: str
    at: datetime


@dataclass(frozen=True, slots=True)
class TargetWrite:
    """What became of one target in one attempt of its step, to be stored."""

    rotation: int
    step: int
    target: str
    attempt: int
    stage: str
    outputs: Mapping[str, Any]
    evidence: str


@dataclass(frozen=True, slots=True)
class Declared:
    """A credential as settings, an import or a discovery describe it."""

    name: str
    environment: str
    kind: str
    owner: str
    runbook: str
    cadence: timedelta | None = None
    inputs: Mapping[str, Any] = field(default_factory=dict)
    detail: Mapping[str, Any] = field(default_factory=dict)
    """Whatever else was declared: channels, labels. JSON; never a value."""
    place: str = ""
    """Where it lives, as discoveries name it."""


@dataclass(frozen=True, slots=True)
class CredentialRow:
    """A credential with what is declared, what was changed in chat, and its dates."""

    name: str
    environment: str
    kind: str
    declared_owner: str
    runbook: str
    cadence: timedelta | None
    inputs: Mapping[str, Any]
    detail: Mapping[str, Any]
    source: str
    owner_override: str | None
    snoozed_until: datetime | None
    last_rotated_at: datetime | None
    next_due: datetime | None
    remind_at: datetime | None
    removed_at: datetime | None
    place: str = ""
    status: str = "known"
    """`known`, `unmanaged` or `gone`."""
    expires_at: datetime | None = None
    created_at: datetime | None = None
    version: str = ""
    versions: int = 0
    found_at: datetime | None = None
    gone_at: datetime | None = None
    due_source: str = ""
    """`expiry`, `cadence`, or nothing."""
    finding: str = ""
    owner_finding: str = ""
    snooze_note: str = ""
    reminded_at: datetime | None = None
    soon_at: datetime | None = None
    starts_at: datetime | None = None

    @property
    def dates(self) -> Dates:
        """Everything that says when it ends. What was seen before it was rotated is the expiry of what was replaced."""
        seen, rotated = self.found_at, self.last_rotated_at
        old = seen is not None and rotated is not None and seen < rotated
        return Dates(self.cadence, self.last_rotated_at, self.created_at, None if old else self.expires_at)

    @property
    def owner(self) -> str:
        """Who owns it now."""
        return self.owner_override if self.owner_override is not None else self.declared_owner


@dataclass(frozen=True, slots=True)
class Applied:
    """What applying declarations changed, as (name, environment)."""

    added: tuple[tuple[str, str], ...]
    changed: tuple[tuple[str, str], ...]
    removed: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class ReminderRow:
    """A tier of an expiry that was told."""

    credential: str
    environment: str
    expiry: datetime
    tier: str
    due_at: datetime
    told_at: datetime
    told: Sequence[str]
    """To whom: `@alice`, `slack:T1/U1`, or a channel's id."""
    notice: str
    """Keys of the notices that say it, with blanks between them; empty where nobody had to be told."""


@dataclass(frozen=True, slots=True)
class DiscoveryRow:
    """A declared discovery, and how far its rounds are."""

    name: str
    round: int
    began_at: datetime | None
    completed_at: datetime | None
    found: int
    failures: int
    error: str
    due_at: datetime | None
    claimed_until: datetime | None

    def unseen(self, now: datetime) -> str:
        """Why what it keeps may be stale; empty where it works."""
        return unseen(self.name, self.failures, self.began_at, self.completed_at, self.error, now)


@dataclass(frozen=True, slots=True)
class FoundRow:
    """One version of a credential, as a discovery listed it."""

    discovery: str
    place: str
    version: str
    environment: str
    kind: str
    owner: str
    created_at: datetime | None
    expires_at: datetime | None
    problem: str
    round: int
    seen_at: datetime


@dataclass(frozen=True, slots=True)
class PageRow:
    """A page about a credential that nobody acts on."""

    key: str
    credential: str
    environment: str
    payload: Mapping[str, Any]
    due_at: datetime
    claimed_until: datetime | None
    failures: int
    note: str
    done_at: datetime | None


@dataclass(frozen=True, slots=True)
class DrawingRow:
    """A message that shows a rotation; `ts` is empty until it was posted first."""

    id: int
    rotation: int
    form: str
    place: str
    ts: str
    drawn: int
    wanted: int
    urgent: bool
    due_at: datetime
    claimed_until: datetime | None
    failures: int
    note: str


@dataclass(frozen=True, slots=True)
class NoticeRow:
    """A message that is sent once."""

    id: int
    key: str
    person: str
    channel: str
    text: str
    payload: Mapping[str, Any]
    urgent: bool
    due_at: datetime
    claimed_until: datetime | None
    failures: int
    note: str
    ts: str
    sent_at: datetime | None
    incident: int | None = None
    """Number of the emergency in whose incident it is said."""


@dataclass(frozen=True, slots=True)
class ErrandRow:
    """Something that is run once beside an emergency; `outputs` is what it returned."""

    id: int
    key: str
    rotation: int
    kind: str
    """`page`, `resolve` or `ticket`."""
    payload: Mapping[str, Any]
    due_at: datetime
    claimed_until: datetime | None
    failures: int
    outputs: Mapping[str, Any]
    note: str
    done_at: datetime | None


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One row of the audit, with its place in the chain."""

    seq: int
    at: datetime
    event: str
    actor: str
    rotation: str
    credential: str
    detail: Mapping[str, Any]
    hash: str
    prev: str


@dataclass(frozen=True, slots=True)
class Counts:
    """How much of everything there is, for metrics."""

    rotations: Mapping[str, int]
    """State -> rotations."""
    overlaps: Mapping[str, int]
    credentials: int
    overdue: int
    intents: int
    messages: int


@dataclass(frozen=True, slots=True)
class Head:
    """An end of the chain: the number and hash of its last row. (0, zeros) when there is none."""

    seq: int
    hash: str

    @property
    def short(self) -> str:
        """What stands on cards: `1204:9f2c41d0a7b3`."""
        return f"{self.seq}:{self.hash[:12]}"
