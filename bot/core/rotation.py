"""The rotation, and by import the events that happen to it. `decide` is in `bot.core.decide`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from bot.core.happening import (
    UNDERWAY,
    Advanced,
    Asking,
    BackOut,
    Began,
    Called,
    Cancelled,
    Confirmed,
    Done,
    Due,
    Ended,
    Expired,
    Failed,
    GlassBroken,
    Happening,
    Kept,
    Lost,
    NotYet,
    Opened,
    Outcome,
    PlanChanged,
    Postponed,
    Retried,
    RolledBack,
    Skipped,
    TakenOver,
    Ticked,
    Voted,
)
from bot.core.plan import Plan
from bot.core.policy import counted

__all__ = [
    "UNDERWAY",
    "Advanced",
    "Amendment",
    "Asking",
    "BackOut",
    "Began",
    "Box",
    "Called",
    "Cancelled",
    "Confirmed",
    "Done",
    "Due",
    "Ended",
    "Expired",
    "FINISHED",
    "Failed",
    "Glass",
    "GlassBroken",
    "Happening",
    "Kept",
    "Lost",
    "MOVING",
    "NotYet",
    "OPEN",
    "Opened",
    "Outcome",
    "Overlap",
    "PlanChanged",
    "Postponed",
    "Retried",
    "RolledBack",
    "Rotation",
    "Skipped",
    "Stage",
    "State",
    "StepRun",
    "TakenOver",
    "Ticked",
    "Vote",
    "Voted",
]


class State(StrEnum):
    """Where a rotation stands. All but the last four lock the credential against a second start."""

    REQUESTED = "requested"
    APPROVED = "approved"
    RUNNING = "running"
    WAITING = "waiting"
    ASKING = "asking"
    HELD = "held"
    ROLLING_BACK = "rolling_back"
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled_back"
    CANCELLED = "cancelled"
    ABANDONED = "abandoned"


OPEN = frozenset(
    {State.REQUESTED, State.APPROVED, State.RUNNING, State.WAITING, State.ASKING, State.HELD, State.ROLLING_BACK}
)
MOVING = frozenset({State.APPROVED, State.RUNNING, State.WAITING, State.ASKING, State.HELD})
"""States in which the rotation proper is under way, forwards."""


class Overlap(StrEnum):
    """What promotion leaves: old and new, both valid."""

    NONE = "none"
    RETIRING = "retiring"
    BLOCKED = "blocked"
    RETIRED = "retired"
    ROLLED_BACK = "rolled_back"


class Stage(StrEnum):
    """Where one step stands. `queued` and `running` have a leg under way, `waiting` has a due time."""

    PENDING = "pending"
    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    ASKING = "asking"
    HELD = "held"
    DONE = "done"
    SKIPPED = "skipped"
    UNDONE = "undone"


FINISHED = frozenset({Stage.DONE, Stage.SKIPPED, Stage.UNDONE})


@dataclass(frozen=True, slots=True)
class StepRun:
    """What has become of one planned step.

    `attempt` counts dispatches and fences late workers; `failures` counts errors in a row. `touched` says that the
    operation was begun at least once, so that the engine looks before it acts and a rollback includes it.
    """

    stage: Stage = Stage.PENDING
    attempt: int = 0
    failures: int = 0
    touched: bool = False
    undoing: bool = False
    worker: str = ""
    due_at: datetime | None = None
    began_at: datetime | None = None
    ended_at: datetime | None = None
    outputs: Mapping[str, Any] = field(default_factory=dict)
    progress: Mapping[str, Any] = field(default_factory=dict)
    """Notes of the step's kind between two looks; JSON, no values."""
    evidence: str = ""
    problem: str = ""
    hint: str = ""
    ambiguous: bool = False
    by: str = ""
    """Who confirmed or skipped it."""


@dataclass(frozen=True, slots=True)
class Vote:
    """One person's counted vote."""

    person: str
    because: str
    at: datetime
    key: str = ""
    """Fingerprint of the SSH key that signed it; empty for a click."""
    instead_of: str = ""
    """The person whom a delegate stood in for."""


@dataclass(frozen=True, slots=True)
class Glass:
    """One person contained alone, for a time: undone at `until` unless somebody else approves."""

    by: str
    reason: str
    at: datetime
    until: datetime
    key: str
    """Fingerprint of the SSH key that signed it."""


@dataclass(frozen=True, slots=True)
class Box:
    """One box of the pre-rotation checklist. `by` is a person, or `keyturn` for what was checked."""

    name: str
    ticked: bool = False
    by: str = ""
    evidence: str = ""


@dataclass(frozen=True, slots=True)
class Amendment:
    """What needs a second person while a rotation runs: a step to skip, a wait to end early, a revocation to undo."""

    step: int
    """Of the step to skip; -1 when everything is to be rolled back."""
    requester: str
    reason: str
    digest: str
    nonce: str
    expires_at: datetime
    attempt: int

    @property
    def undoes(self) -> bool:
        """Whether everything is to be rolled back, rather than a step skipped."""
        return self.step < 0


@dataclass(frozen=True, slots=True)
class Rotation:
    """One run of a runbook for one credential: the aggregate that is loaded, decided upon and saved."""

    number: int
    plan: Plan
    nonce: str
    state: State
    steps: tuple[StepRun, ...]
    created_at: datetime
    expires_at: datetime
    """Until when the request can be approved, and the approval be used."""
    version: int = 0
    overlap: Overlap = Overlap.NONE
    overlap_deadline: datetime | None = None
    votes: tuple[Vote, ...] = ()
    boxes: tuple[Box, ...] = ()
    amendment: Amendment | None = None
    channel: str = ""
    started_at: datetime | None = None
    promoted_at: datetime | None = None
    ended_at: datetime | None = None
    next_due: datetime | None = None
    outcome: str = ""
    """One sentence: why it ended or is held."""
    eligible: Mapping[str, str] | None = None
    """Who may approve, as membership stood at the request: person -> why. None where it is not frozen, because every
    member may or because a group could not be read then."""
    escalated: int = 0
    """How many stages of the plan's escalation were called."""
    called_at: datetime | None = None
    """When people were asked last: at the request, by a reminder, or by an escalation."""
    glass: Glass | None = None
    unconfirmed: bool = False
    """Asked for on the command line, and the requester's own signature is still missing."""

    @property
    def id(self) -> str:
        """What people type: `R-7`."""
        return f"R-{self.number}"

    @property
    def current(self) -> int | None:
        """Index of the step that is next or under way; None when all are finished."""
        if self.state is State.ROLLING_BACK or any(run.undoing for run in self.steps):
            return next((i for i in reversed(range(len(self.steps))) if self.steps[i].undoing), None)
        return next((i for i, run in enumerate(self.steps) if run.stage not in FINISHED), None)

    @property
    def missing_approvals(self) -> int:
        """How many more people have to approve."""
        needed = max(self.plan.approvers, 1) if self.plan.emergency else self.plan.approvers
        return max(0, needed - self.counted_votes)

    @property
    def counted_votes(self) -> int:
        """How many of the votes count: that of a delegate does not when the one who was away votes too."""
        return sum(counted([(vote.person, vote.instead_of) for vote in self.votes]))

    @property
    def asked_at(self) -> datetime:
        """When approval was asked for last: at the request, or again after consent became void."""
        if self.state is State.REQUESTED and self.glass is None:
            return self.expires_at - self.plan.approve_within
        return self.created_at

    @property
    def calls_at(self) -> datetime | None:
        """When people have to be reminded or the next ones called; None when nobody is waited for."""
        if self.state is not State.REQUESTED or not self.missing_approvals:
            return None
        plan, last = self.plan, self.called_at or self.created_at
        times = [last + plan.remind] if plan.remind else []
        if self.escalated < len(plan.escalation):
            times.append(self.asked_at + timedelta(seconds=plan.escalation[self.escalated]["after"]))
        return min((at for at in times if at < self.expires_at), default=None)

    @property
    def is_over(self) -> bool:
        """Whether nothing will happen to it any more."""
        if self.state is State.PROMOTED:
            return self.overlap in (Overlap.NONE, Overlap.RETIRED)
        return self.state not in OPEN
