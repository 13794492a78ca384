"""What happens to a rotation: the events that `bot.core.decide` applies. Import them from `bot.core.rotation`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from bot.core.plan import Plan

if TYPE_CHECKING:  # a box is part of the rotation, which re-exports what is here
    from bot.core.rotation import Box


UNDERWAY = "underway"
"""In the notes of a step that is being undone: that has been done, and it is looked at until it has taken effect."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A person asked for it; the plan is what they saw."""

    number: int
    plan: Plan
    nonce: str
    channel: str
    boxes: tuple[Box, ...]
    eligible: Mapping[str, str] | None = None
    unconfirmed: bool = False


@dataclass(frozen=True, slots=True)
class Called:
    """Nobody has approved yet: remind, or call the next ones."""

    eligible: Mapping[str, str] | None
    """Who may approve once that stage is called."""
    stage: int
    """The stage of the escalation for which that was asked; 0 is none."""


@dataclass(frozen=True, slots=True)
class GlassBroken:
    """One person, with a signature, contains without waiting for a second one."""

    person: str
    reason: str
    digest: str
    nonce: str
    key: str
    signature: str


@dataclass(frozen=True, slots=True)
class TakenOver:
    """An approved revocation of the same credential goes on instead of this rotation."""

    by: str


@dataclass(frozen=True, slots=True)
class Voted:
    """A vote that policy and live membership allow; what it binds to is compared here."""

    person: str
    approve: bool
    because: str
    digest: str
    nonce: str
    reason: str = ""
    key: str = ""
    """Fingerprint of the SSH key that signed the vote; empty without a signature."""
    signature: str = ""
    """The signature itself, for the audit."""
    instead_of: str = ""
    """The person whom a delegate stands in for."""


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The requester signs what they asked for on the command line, where an account of the host proves little."""

    person: str
    digest: str
    nonce: str
    key: str
    signature: str


@dataclass(frozen=True, slots=True)
class Postponed:
    """Approved, but ordinary rotations may not begin now: look again at `at`. The consent ends at `until`."""

    step: int
    attempt: int
    at: datetime
    until: datetime
    why: str


@dataclass(frozen=True, slots=True)
class Kept:
    """A step that destroys may not begin now: an incident wants the material kept. Look again at `at`."""

    step: int
    attempt: int
    at: datetime
    why: str


@dataclass(frozen=True, slots=True)
class Ticked:
    """A named person vouches for a box of the checklist."""

    person: str
    box: str
    evidence: str = ""


@dataclass(frozen=True, slots=True)
class PlanChanged:
    """Planning again gave another digest: consent is void."""

    plan: Plan
    nonce: str
    what: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Began:
    """A worker takes a queued step; the intent is saved before the effect."""

    step: int
    attempt: int
    worker: str


@dataclass(frozen=True, slots=True)
class Done:
    """The step is finished."""

    outputs: Mapping[str, Any] = field(default_factory=dict)
    evidence: str = ""


@dataclass(frozen=True, slots=True)
class NotYet:
    """All is well, look again at `at`."""

    at: datetime
    evidence: str = ""
    progress: Mapping[str, Any] = field(default_factory=dict)
    outputs: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """It did not work. With `retry_in` it is tried again while tries are left; `ambiguous` always asks people."""

    problem: str
    hint: str = ""
    retry_in: timedelta | None = None
    ambiguous: bool = False
    outputs: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Asking:
    """The step needs a person's word."""

    question: str


@dataclass(frozen=True, slots=True)
class BackOut:
    """The watched probe failed after a reversible change: undo the change now, then hold."""

    problem: str


Outcome = Done | NotYet | Failed | Asking | BackOut


@dataclass(frozen=True, slots=True)
class Ended:
    """A worker reports what came of the step it began."""

    step: int
    attempt: int
    worker: str
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Due:
    """A wait is over, or a look is due."""

    step: int
    attempt: int


@dataclass(frozen=True, slots=True)
class Lost:
    """The worker that ran the step is dead."""

    step: int
    attempt: int


@dataclass(frozen=True, slots=True)
class Expired:
    """Time passed: nobody approved in time, or an amendment lapsed."""


@dataclass(frozen=True, slots=True)
class Advanced:
    """A person confirms a manual gate, or asks to look again now."""

    person: str
    evidence: str = ""
    step: str = ""
    """The step that the person saw; empty for whichever is current."""


@dataclass(frozen=True, slots=True)
class Retried:
    """A person asks to try the failed step again."""

    person: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Skipped:
    """A person asks to skip the current step or end its wait early."""

    person: str
    reason: str
    nonce: str
    step: str = ""
    """The step that the person saw; empty for whichever is current."""


@dataclass(frozen=True, slots=True)
class Cancelled:
    """A person withdraws a request of which nothing was done yet."""

    person: str
    reason: str


@dataclass(frozen=True, slots=True)
class RolledBack:
    """A person asks to put everything back. Of a revocation that needs a second person, who agrees by the nonce."""

    person: str
    reason: str
    nonce: str = ""


Happening = (
    Opened
    | Called
    | GlassBroken
    | TakenOver
    | Confirmed
    | Postponed
    | Kept
    | Voted
    | Ticked
    | PlanChanged
    | Began
    | Ended
    | Due
    | Lost
    | Expired
    | Advanced
    | Retried
    | Skipped
    | Cancelled
    | RolledBack
)
