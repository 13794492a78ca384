"""Who may do what: pure functions that decide on rights and say why."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from bot.core.rules import (
    WITHOUT_APPROVAL,
    ApprovalRule,
    Delegate,
    Eligible,
    Escalation,
    Membership,
    Need,
    Person,
    PersonKind,
    Role,
    Target,
    Verdict,
    Who,
    accounts_of,
    fits,
    spelling,
    undeclared,
)

__all__ = [
    "WITHOUT_APPROVAL",
    "ApprovalRule",
    "Delegate",
    "Eligible",
    "Escalation",
    "Membership",
    "Need",
    "Person",
    "PersonKind",
    "Policy",
    "Role",
    "Target",
    "Verdict",
    "Who",
    "counted",
]

_SEE_ALL = Role("members", Who(everyone=True), frozenset({Need.SEE}))
_REVOKE = ApprovalRule(expires=timedelta(minutes=30))
_KINDS = {
    PersonKind.GUEST: "Guests cannot use keyturn; ask a full member of the workspace.",
    PersonKind.BOT: "Bots and workflows cannot use keyturn; a person has to do this.",
    PersonKind.DEACTIVATED: "This account is deactivated.",
    PersonKind.STRANGER: "This account belongs to another workspace.",
    PersonKind.UNKNOWN: "Slack did not say who you are, so nothing was done; try again in a minute.",
}


@dataclass(frozen=True)
class Policy:
    """Everything that settings say about rights. Build it once; ask it with a membership that was read just now."""

    people: tuple[Person, ...] = ()
    groups: frozenset[str] = frozenset()
    roles: tuple[Role, ...] = ()
    rules: tuple[ApprovalRule, ...] = ()
    """The first that fits a credential and a word holds."""
    delegates: tuple[Delegate, ...] = ()
    _accounts: Mapping[str, Person] = field(init=False, repr=False, compare=False)
    _spellings: Mapping[str, str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        accounts = {name: person for person in self.people for name in accounts_of(person)}
        spellings = {spelling(name): person.id for name, person in accounts.items()}
        spellings |= {spelling(person.id): person.id for person in self.people}
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

    def same_name(self, one: str, other: str) -> bool:
        """Whether two names or accounts, under any spelling, mean one person."""
        return self._identity(one) == self._identity(other)

    def may(self, person: Person, need: Need, credential: Target, channel: str, groups: Membership) -> Verdict:
        """Whether the person may use a right on a credential from a channel (empty: the command line, no channel)."""
        if person.kind is not PersonKind.MEMBER:
            return _refused(person.kind)
        granted = self._granted(need, credential, channel)
        because, unknown = self._held(self._identities(person), granted, credential, groups)
        advice = self._advice(self._granted(need, credential, None), credential, need)
        denied = f"You may not {need.value} {credential.name} ({credential.environment}) from here; {advice}"
        return _verdict(because, unknown, Verdict(False, denied, "not-allowed"))

    def may_approve(
        self,
        person: Person,
        credential: Target,
        requester_id: str,
        channel: str,
        groups: Membership,
        word: str = "start",
        *,
        now: datetime | None = None,
        stage: int = 0,
        taken: Collection[str] = (),
    ) -> Verdict:
        """Whether a vote of this person counts: never the requester's, under no account of theirs.

        `stage` is how many escalations have been reached. With `now` a delegate may vote in place of somebody who is
        away, which `Verdict.instead_of` tells; not of those in `taken`: people who voted, or for whom one was counted.
        """
        if self.same_person(person, requester_id):
            return Verdict(False, "You asked for this yourself; somebody else has to approve it.", "own-request")
        if person.kind is not PersonKind.MEMBER:
            return _refused(person.kind)
        granted = self._approving(credential, channel, word, stage)
        because, unknown = self._held(self._identities(person), granted, credential, groups)
        if because:
            return Verdict(True, because)
        spent: list[str] = []
        for delegate in self._standing_in(person, requester_id, now):
            because, _ = self._held({self._identity(delegate.absent)}, granted, credential, groups)
            if because and self._identity(delegate.absent) not in {self._identity(name) for name in taken}:
                return Verdict(True, delegate.because, instead_of=self._known(delegate.absent))
            spent += [delegate.absent] if because else []
        if spent:
            told = f"You may vote in place of {spent[0]} only, and that vote has been counted."
            return Verdict(False, told, "stood-in-already")
        advice = self._advice(self._approving(credential, None, word, stage), credential, Need.APPROVE)
        denied = f"You are not an approver of {credential.name} ({credential.environment}); {advice}"
        return _verdict("", unknown, Verdict(False, denied, "not-an-approver"))

    def rule(self, credential: Target, word: str = "start") -> ApprovalRule:
        """The approval rule for a word on a credential.

        Where none is declared: one other person, within a day; to revoke, within 30 minutes. Revoking needs another
        person whatever is declared.
        """
        fitting = (r for r in self.rules if fits(r, credential) and (not r.words or word in r.words))
        found = next(fitting, _REVOKE if word == Need.REVOKE else ApprovalRule())
        return replace(found, count=1) if word == Need.REVOKE and found.count < 1 else found

    def eligible(
        self,
        credential: Target,
        groups: Membership,
        word: str = "start",
        *,
        now: datetime | None = None,
        stage: int = 0,
        requester_id: str = "",
    ) -> Eligible:
        """Who may approve, as membership stands, in any channel; with `now`, delegates too.

        The requester is taken out where `requester_id` is given, and those who could only stand in for them.
        """
        found = self._members(self._approving(credential, None, word, stage), credential, groups)
        asker = self._identity(requester_id) if requester_id else ""
        people = {name: why for name, why in found.people.items() if not asker or self._identity(name) != asker}
        present = {self._identity(name) for name in people}
        for delegate in self.delegates if now is not None else ():
            stand_in = self._identity(delegate.stands_in)
            held = now is not None and delegate.holds(now) and self._identity(delegate.absent) in present
            if held and stand_in not in present and stand_in != asker:
                people.setdefault(self._known(delegate.stands_in), delegate.because)
        return replace(found, people=people)

    def needed_groups(self, credential: Target) -> frozenset[str]:
        """Every group whose members matter for a credential: what to read before asking `may`."""
        fitting = [role.who for role in self.roles if fits(role, credential)]
        for rule in self.rules:
            if fits(rule, credential):
                fitting += [rule.who, *(one.who for one in rule.escalation)]
        return frozenset(group for who in fitting for group in self._named(who, credential)[1])

    def hopeless(self, credential: Target, groups: Membership, word: str = "start") -> str:
        """Why nobody could ever get an approval for a word, empty when somebody could.

        Groups whose members are not known are taken to have enough of them.
        """
        return self._wanting(credential, groups, word, len(self.rule(credential, word).escalation))

    def late(self, credential: Target, groups: Membership, word: str = "start") -> str:
        """Why only an escalation could get an approval for a word, empty when it needs none, or none would do."""
        if self.hopeless(credential, groups, word):
            return ""
        why = self._wanting(credential, groups, word, 0)
        return f"{why}; only the escalation brings more" if why else ""

    def granted_to(self, need: Need, credential: Target, groups: Membership) -> Eligible:
        """Who has a right on a credential in some channel, as membership stands."""
        return self._members(self._granted(need, credential, None), credential, groups)

    def _wanting(self, credential: Target, groups: Membership, word: str, stage: int) -> str:
        rule = self.rule(credential, word)
        approvers = self.eligible(credential, groups, word, stage=stage)
        starters = self.granted_to(Need(word), credential, groups)
        if not (starters.people or starters.open):
            return f"nobody may {word} it"
        if rule.count == 0 or approvers.open or len(approvers.people) > rule.count:
            return ""
        wanted = f"{word} needs {rule.count} approver{'s' if rule.count > 1 else ''}"
        if len(approvers.people) < rule.count:
            named = {group for who in self._approving(credential, None, word, stage) for group in who.groups}
            empty = sorted(group for group in named if groups.get(group) == frozenset())
            told = f" ({', '.join(empty)} has no members)" if empty else ""
            return f"{wanted} and {len(approvers.people)} people may approve{told}"
        if starters.open or set(starters.people) - set(approvers.people):
            return ""
        return f"{wanted} besides the requester, and everybody who may {word} is one of them"

    def _granted(self, need: Need, credential: Target, channel: str | None) -> list[Who]:
        """Who has a right; channel None means in any channel. An approval rule that names people replaces the roles."""
        if need is Need.APPROVE:
            return self._approving(credential, channel, Need.START, 0)
        return self._by_role(need, credential, channel)

    def _by_role(self, need: Need, credential: Target, channel: str | None) -> list[Who]:
        return [
            role.who
            for role in (*self.roles, _SEE_ALL)
            if need in role.may
            and fits(role, credential)
            and (channel is None or not role.channels or channel in role.channels)
        ]

    def _approving(self, credential: Target, channel: str | None, word: str, stage: int) -> list[Who]:
        """Who may approve: an approval rule that names people replaces the roles; escalations reached add to it."""
        rule = self.rule(credential, word)
        named = [rule.who] if rule.who else self._by_role(Need.APPROVE, credential, channel)
        return [*named, *(one.who for one in rule.escalation[: max(stage, 0)])]

    def _standing_in(self, person: Person, requester_id: str, now: datetime | None) -> Iterable[Delegate]:
        """For whom somebody may vote now: never for the requester, nor for themselves."""
        if now is None:
            return ()
        mine, asker = self._identities(person), self._identity(requester_id)
        return [
            delegate
            for delegate in self.delegates
            if delegate.holds(now)
            and self._identity(delegate.stands_in) in mine
            and self._identity(delegate.absent) not in {*mine, asker}
        ]

    def _held(
        self, mine: set[str], granted: Sequence[Who], credential: Target, groups: Membership
    ) -> tuple[str, set[str]]:
        """Why these identities have it, empty when they do not; and the groups of which that cannot be told."""
        unknown: set[str] = set()
        for who in granted:
            people, whole = self._named(who, credential)
            if any(self._identity(name) in mine for name in people):
                return "named in the settings", set()
            for group in sorted(whole):
                members = groups.get(group)
                if members is None:
                    unknown.add(group)
                elif any(self._identity(member) in mine for member in members):
                    return f"member of {group}", set()
            if who.everyone:
                return "every member may", set()
        return "", unknown

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
        return {self._identity(name) for name in (person.id, *accounts_of(person))}

    def _identity(self, name: str) -> str:
        """One form for comparing people and accounts under all their spellings."""
        return self._declared(name) or spelling(name)

    def _known(self, name: str) -> str:
        """The id that `resolve_person` gives."""
        return self._declared(name) or undeclared(name)

    def _declared(self, name: str) -> str | None:
        spelled = spelling(name)
        return self._spellings.get(spelled) or self._spellings.get(spelled.replace("id:", "slack:", 1))

    def _advice(self, granted: Sequence[Who], credential: Target, need: Need) -> str:
        names: list[str] = []
        for who in granted:
            people, whole = self._named(who, credential)
            names += sorted(whole) + sorted(people)
        listed = ", ".join(dict.fromkeys(names))
        return f"ask {listed}." if listed else f"no role in the settings grants {need.value} to anybody."


def counted(votes: Sequence[tuple[str, str]]) -> tuple[bool, ...]:
    """Which votes count, in their order; a vote is the voter's id and the id of whom they voted in place of, or "".

    A person counts once. A delegate's vote is void when the one who is away votes too, and two delegates of one
    person are one vote: nobody is behind two of the votes that count.
    """
    present = {person for person, instead_of in votes if not instead_of}
    behind: set[str] = set()
    found = []
    for person, instead_of in votes:
        counts = instead_of not in present and not behind & {person, instead_of}
        if counts:
            behind |= {person, instead_of} - {""}
        found.append(counts)
    return tuple(found)


def _refused(kind: PersonKind) -> Verdict:
    return Verdict(False, _KINDS[kind], f"kind-{kind.value}")


def _verdict(because: str, unknown: set[str], denied: Verdict) -> Verdict:
    """Allowed where there is a reason, else not to be told where groups are unknown, else denied."""
    if because:
        return Verdict(True, because)
    if not unknown:
        return denied
    names = ", ".join(sorted(unknown))
    return Verdict(False, f"Slack did not say who is in {names}, so nothing was done; try again.", "group-unknown")
