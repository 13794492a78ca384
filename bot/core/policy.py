"""Who may do what: roles, approval rules and people as data, and pure functions that decide and say why."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
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
class ApprovalRule:
    """How many others must approve, who they may be, and how long a vote holds.

    An empty `who` means whoever a role allows to approve.
    """

    count: int = 1
    who: Who = Who()
    expires: timedelta = timedelta(hours=24)
    environments: frozenset[str] = frozenset()
    classes: frozenset[str] = frozenset()
    words: frozenset[str] = frozenset()

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
        special = [word for word, given in (("owner", self.who.owner), ("everyone", self.who.everyone)) if given]
        return (*sorted(self.who.groups), *sorted(self.who.people), *special)


WITHOUT_APPROVAL = "development"
"""The one environment in which a rule may ask for no approver."""

Membership = Mapping[str, frozenset[str] | None]
"""Group -> ids of the people in it now; None, or no entry, when that is not known."""

_SLACK_ID = re.compile(r"(?:[TE][A-Z0-9]+/)?[UW][A-Z0-9]+")
_SEE_ALL = Role("members", Who(everyone=True), frozenset({Need.SEE}))
_KINDS = {
    PersonKind.GUEST: "Guests cannot use keyturn; ask a full member of the workspace.",
    PersonKind.BOT: "Bots and workflows cannot use keyturn; a person has to do this.",
    PersonKind.DEACTIVATED: "This account is deactivated.",
    PersonKind.STRANGER: "This account belongs to another workspace.",
    PersonKind.UNKNOWN: "Slack did not say who you are, so nothing was done; try again in a minute.",
}


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


@dataclass(frozen=True)
class Policy:
    """Everything that settings say about rights. Build it once; ask it with a membership that was read just now."""

    people: tuple[Person, ...] = ()
    groups: frozenset[str] = frozenset()
    roles: tuple[Role, ...] = ()
    rules: tuple[ApprovalRule, ...] = ()
    """The first that fits a credential and a word holds."""
    _accounts: Mapping[str, Person] = field(init=False, repr=False, compare=False)
    _spellings: Mapping[str, str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        accounts = {name: person for person in self.people for name in _accounts_of(person)}
        spellings = {_spelling(name): person.id for name, person in accounts.items()}
        spellings |= {_spelling(person.id): person.id for person in self.people}
        object.__setattr__(self, "_accounts", accounts)
        object.__setattr__(self, "_spellings", spellings)

    def resolve_person(self, account: str, *, kind: PersonKind = PersonKind.UNKNOWN, name: str = "") -> Person:
        """The one person behind an account: a Slack id (`U1`, `T1/U1`, `slack:T1/U1`) or `os:alice`.

        An account that settings do not bind stands for a person of its own.
        """
        if not account.startswith("os:"):
            account = "slack:" + account.removeprefix("slack:").rpartition("/")[2]
        known = self._accounts.get(account)
        if known is not None:
            return replace(known, kind=kind, name=known.name or name)
        scheme, _, plain = account.partition(":")
        if scheme == "os":
            return Person(account, name or plain, kind=kind, os_user=plain)
        return Person(account, name or plain, frozenset({plain}), kind)

    def same_person(self, person: Person, other: str) -> bool:
        """Whether a person's id or account, under any spelling, means this person."""
        return self._identity(other) in self._identities(person)

    def may(self, person: Person, need: Need, credential: Target, channel: str, groups: Membership) -> Verdict:
        """Whether the person may use a right on a credential from a channel (empty: the command line, no channel)."""
        denied = Verdict(
            False,
            f"You may not {need.value} {credential.name} ({credential.environment}) from here; "
            f"{self._advice(need, credential)}",
            "not-allowed",
        )
        return self._decide(person, self._granted(need, credential, channel), credential, groups, denied)

    def may_approve(
        self,
        person: Person,
        credential: Target,
        requester_id: str,
        channel: str,
        groups: Membership,
        word: str = "start",
    ) -> Verdict:
        """Whether a vote of this person counts: never the requester's, under no account of theirs."""
        if self.same_person(person, requester_id):
            return Verdict(False, "You asked for this yourself; somebody else has to approve it.", "own-request")
        denied = Verdict(
            False,
            f"You are not an approver of {credential.name} ({credential.environment}); "
            f"{self._advice(Need.APPROVE, credential, word)}",
            "not-an-approver",
        )
        return self._decide(person, self._granted(Need.APPROVE, credential, channel, word), credential, groups, denied)

    def rule(self, credential: Target, word: str = "start") -> ApprovalRule:
        """The approval rule for a word on a credential. Where none is declared: one other person, within a day."""
        fitting = (r for r in self.rules if _fits(r, credential) and (not r.words or word in r.words))
        return next(fitting, ApprovalRule())

    def eligible(self, credential: Target, groups: Membership, word: str = "start") -> Eligible:
        """Who may approve, as membership stands, in any channel; the requester is not taken out."""
        return self._members(self._granted(Need.APPROVE, credential, None, word), credential, groups)

    def needed_groups(self, credential: Target) -> frozenset[str]:
        """Every group whose members matter for a credential: what to read before asking `may`."""
        parts: tuple[Role | ApprovalRule, ...] = (*self.roles, *self.rules)
        fitting = [part.who for part in parts if _fits(part, credential)]
        return frozenset(group for who in fitting for group in self._named(who, credential)[1])

    def hopeless(self, credential: Target, groups: Membership, word: str = "start") -> str:
        """Why nobody could ever get an approval for a word, empty when somebody could.

        Groups whose members are not known are taken to have enough of them.
        """
        rule = self.rule(credential, word)
        approvers = self.eligible(credential, groups, word)
        starters = self._members(self._granted(Need(word), credential, None), credential, groups)
        if not (starters.people or starters.open):
            return f"nobody may {word} it"
        if rule.count == 0 or approvers.open or len(approvers.people) > rule.count:
            return ""
        if len(approvers.people) < rule.count:
            return f"{word} needs {rule.count} approvers and {len(approvers.people)} people may approve"
        if starters.open or set(starters.people) - set(approvers.people):
            return ""
        return f"{word} needs {rule.count} approvers besides the requester, and everybody who may {word} is one of them"

    def _granted(self, need: Need, credential: Target, channel: str | None, word: str = "start") -> list[Who]:
        """Who has a right; channel None means in any channel. An approval rule that names people replaces the roles."""
        if need is Need.APPROVE and (named := self.rule(credential, word).who):
            return [named]
        return [
            role.who
            for role in (*self.roles, _SEE_ALL)
            if need in role.may
            and _fits(role, credential)
            and (channel is None or not role.channels or channel in role.channels)
        ]

    def _decide(
        self, person: Person, granted: Sequence[Who], credential: Target, groups: Membership, denied: Verdict
    ) -> Verdict:
        if person.kind is not PersonKind.MEMBER:
            return Verdict(False, _KINDS[person.kind], f"kind-{person.kind.value}")
        mine = self._identities(person)
        unknown: set[str] = set()
        for who in granted:
            people, whole = self._named(who, credential)
            if any(self._identity(name) in mine for name in people):
                return Verdict(True, "named in the settings")
            for group in sorted(whole):
                members = groups.get(group)
                if members is None:
                    unknown.add(group)
                elif any(self._identity(member) in mine for member in members):
                    return Verdict(True, f"member of {group}")
            if who.everyone:
                return Verdict(True, "every member may")
        if unknown:
            names = ", ".join(sorted(unknown))
            return Verdict(
                False, f"Slack did not say who is in {names}, so nothing was done; try again.", "group-unknown"
            )
        return denied

    def _members(self, granted: Sequence[Who], credential: Target, groups: Membership) -> Eligible:
        found: dict[str, str] = {}
        unknown: set[str] = set()
        for who in granted:
            people, whole = self._named(who, credential)
            found.update((self._known(name), "named in the settings") for name in people)
            for group in sorted(whole):
                members = groups.get(group)
                if members is None:
                    unknown.add(group)
                for member in sorted(members or ()):
                    found.setdefault(self._known(member), f"member of {group}")
        return Eligible(found, tuple(sorted(unknown)), any(who.everyone for who in granted))

    def _named(self, who: Who, credential: Target) -> tuple[frozenset[str], frozenset[str]]:
        """People and groups, with `owner` replaced by the credential's."""
        if not who.owner or not credential.owner:
            return who.people, who.groups
        if credential.owner in self.groups:
            return who.people, who.groups | {credential.owner}
        return who.people | {credential.owner}, who.groups

    def _identities(self, person: Person) -> set[str]:
        return {self._identity(name) for name in (person.id, *_accounts_of(person))}

    def _identity(self, name: str) -> str:
        spelling = _spelling(name)
        as_account = spelling.replace("id:", "slack:", 1)
        return self._spellings.get(spelling) or self._spellings.get(as_account) or spelling

    def _known(self, name: str) -> str:
        return self._spellings.get(_spelling(name), name)

    def _advice(self, need: Need, credential: Target, word: str = "start") -> str:
        names: list[str] = []
        for who in self._granted(need, credential, None, word):
            people, whole = self._named(who, credential)
            names += sorted(whole) + sorted(people)
        listed = ", ".join(dict.fromkeys(names))
        return f"ask {listed}." if listed else f"no role in the settings grants {need.value} to anybody."


def _fits(part: Role | ApprovalRule, credential: Target) -> bool:
    return (not part.environments or credential.environment in part.environments) and (
        not part.classes or credential.kind in part.classes
    )


def _accounts_of(person: Person) -> list[str]:
    found = [f"slack:{name}" for name in sorted(person.slack_ids)]
    return [*found, f"os:{person.os_user}"] if person.os_user else found


def _spelling(name: str) -> str:
    """One form for comparing: `slack:T1/U1`, `T1/U1` and ` U1` are the same account; a person's id is no account."""
    plain = name.strip()
    folded = plain.casefold()
    if folded.startswith("os:"):
        return folded
    if folded.startswith("slack:") or _SLACK_ID.fullmatch(plain):
        return "slack:" + folded.removeprefix("slack:").rpartition("/")[2]
    return "id:" + folded
