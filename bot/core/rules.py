"""What settings say about rights: people, roles, approval rules, delegates, and the answers that policy gives."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from enum import StrEnum
from typing import Protocol


class Need(StrEnum):
    """A right that a word or a button needs."""

    SEE = "see"
    START = "start"
    APPROVE = "approve"
    """Approve or reject."""
    TICK = "tick"
    """Vouch for a box of the checklist."""
    ADVANCE = "advance"
    RETRY = "retry"
    SKIP = "skip"
    CANCEL = "cancel"
    ROLLBACK = "rollback"
    REPAIR = "repair"
    """Run a branch of the runbook's troubleshooting."""
    REVOKE = "revoke"
    SNOOZE = "snooze"
    RECORD = "record"
    OWN = "own"
    """Give a credential to another owner."""


class PersonKind(StrEnum):
    """What Slack says about an account. Only members may do anything."""

    MEMBER = "member"
    GUEST = "guest"
    BOT = "bot"
    DEACTIVATED = "deactivated"
    STRANGER = "stranger"
    """Of another workspace."""
    UNKNOWN = "unknown"
    """Could not be looked up."""


@dataclass(frozen=True, slots=True)
class Person:
    """A human behind one or several accounts. `id` is the name in settings, or `slack:U…` for somebody undeclared."""

    id: str
    name: str = ""
    slack_ids: frozenset[str] = frozenset()
    kind: PersonKind = PersonKind.UNKNOWN
    os_user: str = ""


class Target(Protocol):
    """What policy has to know of a credential; `kind` is its class."""

    @property
    def name(self) -> str: ...
    @property
    def environment(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def owner(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer, with one sentence for people and a code for the audit. Its truth is whether it allows."""

    allowed: bool
    because: str
    code: str = "allowed"
    instead_of: str = ""
    """For a vote that counts only as a delegate's: the id of the person who is away."""

    def __bool__(self) -> bool:
        return self.allowed


@dataclass(frozen=True, slots=True)
class Who:
    """People by name, groups by name, `owner` (the credential's own), or every full member."""

    people: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    owner: bool = False
    everyone: bool = False

    def __bool__(self) -> bool:
        return bool(self.people or self.groups or self.owner or self.everyone)

    @property
    def names(self) -> tuple[str, ...]:
        """All of it, for a card: `("sec-oncall", "alice", "owner")`."""
        special = [word for word, given in (("owner", self.owner), ("everyone", self.everyone)) if given]
        return (*sorted(self.groups), *sorted(self.people), *special)


@dataclass(frozen=True, slots=True)
class Role:
    """Who may what, and where. Empty environments, classes or channels mean all of them."""

    name: str
    who: Who
    may: frozenset[Need]
    environments: frozenset[str] = frozenset()
    classes: frozenset[str] = frozenset()
    channels: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Escalation:
    """Who else may approve once a request has waited so long; with `page` they are paged."""

    after: timedelta
    who: Who
    page: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Everybody whom it adds, for a card."""
        return self.who.names


@dataclass(frozen=True, slots=True)
class ApprovalRule:
    """How many others must approve, who they may be, and how long a request waits for them.

    An empty `who` means whoever a role allows to approve.
    """

    count: int = 1
    who: Who = Who()
    expires: timedelta = timedelta(hours=24)
    environments: frozenset[str] = frozenset()
    classes: frozenset[str] = frozenset()
    words: frozenset[str] = frozenset()
    escalation: tuple[Escalation, ...] = ()
    """In the order of `after`; each one adds people and takes none away."""
    remind: timedelta | None = None
    """How often those who may approve are reminded; None is once, when half of the time is over."""
    signed: bool = False
    """Whether an approval counts only with an SSH signature."""
    break_glass: timedelta | None = None
    """For how long one person alone may contain a suspected credential; None is not at all."""
    private: bool = False
    """Whether the channel of an incident is private."""

    @property
    def reminds(self) -> timedelta:
        """How often they are reminded."""
        return self.remind if self.remind is not None else self.expires / 2

    @property
    def groups(self) -> frozenset[str]:
        """Groups whose members may approve."""
        return self.who.groups

    @property
    def people(self) -> frozenset[str]:
        """People who may approve by name."""
        return self.who.people

    @property
    def names(self) -> tuple[str, ...]:
        """Everybody who may approve, for a card: `("sec-oncall", "alice", "owner")`."""
        return self.who.names


@dataclass(frozen=True, slots=True)
class Delegate:
    """A person who stands in for another up to and with a moment (UTC)."""

    absent: str
    stands_in: str
    until: datetime

    def holds(self, now: datetime) -> bool:
        """Whether it still holds."""
        return now <= self.until

    @property
    def because(self) -> str:
        """`delegate of alice until 2026-12-01`; the hour is told where it is not a whole day."""
        whole = self.until.time() in (time.min, time.max)
        return f"delegate of {self.absent} until {self.until:{'%Y-%m-%d' if whole else '%Y-%m-%d %H:%M UTC'}}"


@dataclass(frozen=True, slots=True)
class Eligible:
    """Who may approve: people by id, groups whose members are not known now, and whether every member may."""

    people: Mapping[str, str]
    """Person id -> why: `member of sec-oncall`."""
    unknown: tuple[str, ...] = ()
    everyone: bool = False

    @property
    def open(self) -> bool:
        """Whether there may be more people than are listed."""
        return self.everyone or bool(self.unknown)


Membership = Mapping[str, frozenset[str] | None]
"""Group -> ids of the people in it now; None, or no entry, when that is not known."""

WITHOUT_APPROVAL = "development"
"""The one environment in which a rule may ask for no approver."""

_SLACK_ID = re.compile(r"(?:[TE][A-Z0-9]+/)?[UW][A-Z0-9]+")


class Placed(Protocol):
    """What holds in some environments and for some classes; none named means all."""

    @property
    def environments(self) -> frozenset[str]: ...
    @property
    def classes(self) -> frozenset[str]: ...


def fits(part: Placed, credential: Target) -> bool:
    """Whether a role, a rule, a window or a freeze is meant for a credential."""
    return (not part.environments or credential.environment in part.environments) and (
        not part.classes or credential.kind in part.classes
    )


def accounts_of(person: Person) -> list[str]:
    """`slack:U1`, `os:alice`: every account that is theirs."""
    found = [f"slack:{name}" for name in sorted(person.slack_ids)]
    return [*found, f"os:{person.os_user}"] if person.os_user else found


def spelling(name: str) -> str:
    """One form for comparing: `slack:T1/U1`, `T1/U1` and ` U1` are the same account; a person's id is no account."""
    plain = name.strip()
    folded = plain.casefold()
    if folded.startswith("os:"):
        return folded
    if folded.startswith("slack:") or _SLACK_ID.fullmatch(plain):
        return "slack:" + folded.removeprefix("slack:").rpartition("/")[2]
    return "id:" + folded


def undeclared(name: str) -> str:
    """The id of a person whom settings do not declare: `slack:U1` for `T1/U1`; other names stay as they are."""
    plain = name.strip()
    if not spelling(plain).startswith("slack:"):
        return plain
    return "slack:" + plain.rpartition(":")[2].rpartition("/")[2]
