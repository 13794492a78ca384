"""What words see of the inventory: credentials in lists, findings, the forecast, and the use cases behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from bot.contracts.command import Call


@dataclass(frozen=True, slots=True)
class CredentialView:
    """A credential in a list."""

    name: str
    environment: str
    kind: str
    owner: str
    runbook: str
    next_due: datetime | None
    last_rotated_at: datetime | None
    open_rotation: int | None
    open_overlaps: int
    """How many of its rotations still retire their old version."""
    status: str = "known"
    """`known`, `unmanaged` (found, and nobody declares it), or `gone` (its system no longer shows it)."""
    standing: str = "unknown"
    """`fine`, `soon` (in its reminders, or past 90 % of its age), `overdue`, `expired`, or `unknown` (no date)."""
    due_source: str = ""
    """What `next_due` comes from: `expiry` (its system), `cadence`, or nothing."""
    expires_at: datetime | None = None
    """When the system itself will refuse it."""
    created_at: datetime | None = None
    """Since when there is the version in use, as the system says."""
    cadence: timedelta | None = None
    place: str = ""
    """Where it lives, as discoveries name it."""
    versions: int = 0
    """How many valid versions the system shows; more than one without an open overlap is a leftover."""
    found_at: datetime | None = None
    """When the system last showed it."""
    declared_owner: str = ""
    """Who owns it by the file; `owner` is who owns it now."""
    snoozed_until: datetime | None = None
    snooze_note: str = ""
    reminded_at: datetime | None = None
    findings: tuple[str, ...] = ()
    """What is wrong with it, in sentences: no owner, no date, never rotated, a wrong expiry."""
    starts_at: datetime | None = None
    """When policy starts its rotation by itself."""

    @property
    def whose(self) -> str:
        """Its owner, beside the one of the file where that was changed in chat: `bob (file: alice)`."""
        if self.owner == self.declared_owner:
            return self.owner or "nobody"
        by = "system" if self.status == "unmanaged" else "file"
        return f"{self.owner or 'nobody'} ({by}: {self.declared_owner or 'nobody'})"

    @property
    def snoozed(self) -> str:
        """Until when its reminders are put off, by whom and why; empty where they are not."""
        if self.snoozed_until is None:
            return ""
        note = f" ({self.snooze_note})" if self.snooze_note else ""
        return f"snoozed until {self.snoozed_until:%Y-%m-%d}{note}"


@dataclass(frozen=True, slots=True)
class Filters:
    """What a list of credentials is narrowed to; nothing given means everything."""

    within: timedelta | None = None
    """Due or expiring in so long, what is late included."""
    owner: str = ""
    kind: str = ""
    environment: str = ""
    text: str = ""
    """Part of the name or of the place."""
    unmanaged: bool = False
    gone: bool = False
    overlapping: bool = False
    """With an old version that is still being retired."""
    findings: bool = False
    """With something wrong: no owner, no date, never rotated, a wrong expiry."""


@dataclass(frozen=True, slots=True)
class CredentialPage:
    """One page of a list: by due date where `within` is given, by name otherwise."""

    rows: tuple[CredentialView, ...]
    cursor: str = ""
    """For the next page; empty when this is the last one."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about a credential, or about a discovery, that needs a person."""

    credential: str
    environment: str
    code: str
    """`no-owner`, `owner-away`, `empty-group`, `no-date`, `never-rotated`, `wrong-expiry`, `unmanaged`, `gone`,
    `leftover`, `expiry-moved`, `not-listed`; `unseen` of a discovery, which has no environment."""
    text: str
    """In a sentence."""
    route: str = ""
    """Who is told instead of the owner: a group, a channel, `on-call`."""


@dataclass(frozen=True, slots=True)
class Told:
    """A reminder that was sent."""

    expiry: datetime
    tier: str
    at: datetime
    to: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Week:
    """The load of a week, from its Monday on (UTC)."""

    begins: date
    due: tuple[str, ...]
    """`name@environment` of what is due in it; at most 100 names."""
    count: int
    automatic: int
    """How many of them policy starts by itself."""


@dataclass(frozen=True, slots=True)
class Overlapping:
    """An old version that is still valid beside the new one."""

    credential: str
    environment: str
    since: datetime
    deadline: datetime | None
    """By when it is to be retired."""


@dataclass(frozen=True, slots=True)
class Overlaps:
    """The old versions that are being retired."""

    longest: tuple[Overlapping, ...] = ()
    """Those that are valid for the longest time, at most 20."""
    count: int = 0
    late: int = 0
    """How many are past their deadline."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is due in the days to come, and what will get in the way."""

    weeks: tuple[Week, ...]
    collisions: tuple[str, ...]
    """Sentences: due dates inside a freeze, several on the same day in the same environment."""
    gaps: tuple[str, ...]
    """Sentences: rotations for which too few people could approve."""
    at: datetime
    ages: tuple[tuple[str, int], ...] = ()
    """How many credentials are how old, from `up to 30 days` to `over a year` and `not known`."""
    overlaps: Overlaps = Overlaps()


class Inventory(Protocol):
    """The use cases of the inventory; they refuse as those of rotations do, and check `call.need`.

    A credential is named `name` or `name@environment`.
    """

    def search(self, call: Call, filters: Filters, *, limit: int = 25, cursor: str = "") -> CredentialPage:
        """A page of what the person may see. A cursor that is none begins anew."""
        ...

    def counts(self, call: Call, filters: Filters) -> Mapping[str, int]:
        """How many stand how (`expired`, `overdue`, `soon`, `fine`, `unknown`), of what the person may see."""
        ...

    def snooze(self, call: Call, name: str, until: datetime | timedelta, reason: str) -> CredentialView:
        """No reminders to its owner until then. Refused beyond what its date leaves (`snooze_budget`)."""
        ...

    def snooze_budget(self, call: Call, name: str) -> datetime | None:
        """Until when it may be snoozed at most now; None when not at all."""
        ...

    def own(self, call: Call, name: str, who: str) -> CredentialView:
        """Give it to a person or a group (`@bob`, a mention, `me`, a group's name); empty: back to what is declared."""
        ...

    def disown(self, call: Call, name: str, reason: str = "") -> CredentialView:
        """Not mine, says its owner: it goes to the team, then to on-call, until somebody owns it."""
        ...

    def record(
        self, call: Call, name: str, *, type: str, old_id: str, new_id: str, operator: str, reason: str
    ) -> CredentialView:
        """Record a rotation that was done by hand; proved by a look at its system where there is one."""
        ...

    def forecast(self, call: Call, days: int = 90) -> Forecast:
        """The load of the weeks to come, collisions, and approvers who are missing."""
        ...

    def findings(self, call: Call, *, owner: str = "", limit: int = 100) -> Sequence[Finding]:
        """What needs a person, of what this person may see: of everything, or of what one owner has."""
        ...

    def reminders(self, call: Call, name: str, *, limit: int = 20) -> Sequence[Told]:
        """Which reminders were sent, when and to whom, the newest first."""
        ...
