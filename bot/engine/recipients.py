"""Who hears of a credential: its owner, the members of a group, a channel; and who hears instead where nobody can."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from bot.contracts.people import Directory
from bot.core.policy import Person, PersonKind, Policy

MOST_MEMBERS = 15
"""People of a group that get a message each; a larger one needs a channel."""
MOST_ASKED = 20
PATIENCE_SECONDS = 5.0
"""Once an answer takes so long, nobody else is asked in this turn: a hundred like it would hold up all reminders, and
the pages too."""
Asked = TypeVar("Asked")
Answer = TypeVar("Answer")
_CHANNEL = re.compile(r"[CG][A-Z0-9]+")
_AWAY = {
    PersonKind.DEACTIVATED: "is deactivated",
    PersonKind.STRANGER: "belongs to another workspace",
    PersonKind.BOT: "is a bot",
    PersonKind.GUEST: "is a guest",
}


@dataclass(frozen=True, slots=True, order=True)
class Recipient:
    """One message: to a person (`@alice`), or to a channel."""

    person: str = ""
    channel: str = ""

    @property
    def name(self) -> str:
        """How the audit calls it."""
        return self.person or self.channel


@dataclass(frozen=True, slots=True)
class Reached:
    """Who hears of it, and why it is not the owner."""

    to: tuple[Recipient, ...]
    finding: str = ""
    later: tuple[tuple[Recipient, ...], ...] = ()
    """Who hears as well once those before them were told and nothing was done: the rest of the route, in its order."""

    def after(self, messages: int) -> tuple[Recipient, ...]:
        """Who hears once so many messages had no effect."""
        return tuple(dict.fromkeys([*self.to, *(one for group in self.later[:messages] for one in group)]))


@dataclass
class Recipients:
    """Looks people up once; make a new one for each turn."""

    policy: Policy
    directory: Directory
    channels: Mapping[str, str] = field(default_factory=dict)
    """Label -> Slack id; and group -> the channel of the group."""
    route: Collection[str] = ()
    closed: Mapping[str, str] = field(default_factory=dict)
    """People (`@alice`) and channels that did not take a message lately, and why."""
    monotonic: Callable[[], float] = time.monotonic
    _known: dict[str, tuple[tuple[Recipient, ...], str]] = field(default_factory=dict)
    _slow: bool = False

    def owner(self, owner: str, channel: str) -> Reached:
        """The owner, or those of the route who can be reached: the first at once, the others later."""
        to, why = self._whose(owner, channel) if owner else ((), "it has no owner")
        if to:
            return Reached(to)
        there = [name for name in self.route if self._find(name, channel)[0]]
        later = tuple(self._called(name, channel) for name in there[1:])
        return Reached(self._first(channel), f"{why[:1].upper()}{why[1:]}.", later)

    def all(self, names: Collection[str], channel: str) -> tuple[Recipient, ...]:
        """Everybody of several who can be reached."""
        return tuple(dict.fromkeys(one for name in names for one in self._called(name, channel)))

    def _called(self, name: str, channel: str) -> tuple[Recipient, ...]:
        """Who is called beside the others. A group without a channel of its own is called by a message to each of its
        members: the channel of the cards has been told, and that has moved nobody."""
        to, _ = self._find(name, channel)
        members, _ = self._known.get(name, ((), ""))
        if to and name in self.policy.groups and name not in self.channels and 0 < len(members) <= MOST_MEMBERS:
            return members
        return to

    def instead(self, names: Collection[str], channel: str) -> tuple[Recipient, ...]:
        """Everybody of several who can be reached, or the first of the route where none of them can be."""
        return self.all(names, channel) or (self._first(channel) if names else ())

    def _first(self, channel: str) -> tuple[Recipient, ...]:
        """The first of the route who can be reached."""
        return next((to for name in self.route if (to := self._find(name, channel)[0])), ())

    def _find(self, name: str, channel: str) -> tuple[tuple[Recipient, ...], str]:
        if name == "channel":
            return self._place(channel) if channel else ((), "there is no channel")
        if name in self.policy.groups or any(person.id == name for person in self.policy.people):
            return self._whose(name, channel)
        if name in self.channels or _CHANNEL.fullmatch(name):
            return self._place(self.channels.get(name, name))
        return self._whose(name, channel)

    def _whose(self, name: str, channel: str) -> tuple[tuple[Recipient, ...], str]:
        """A person or a group; never a channel, which owns nothing."""
        if name in self.policy.groups:
            if name not in self._known:
                self._known[name] = self._group(name)
            members, why = self._known[name]
            if why:
                return (), why
            home = self.channels.get(name) or channel
            if home and home not in self.closed:
                return (Recipient(channel=home),), ""
            return members[:MOST_MEMBERS], ("" if members else f"nobody knows who is in the group {name}")
        if name not in self._known:
            why = self._away(name)
            self._known[name] = ((() if why else (Recipient(f"@{name}"),)), why)
        return self._known[name]

    def _place(self, channel: str) -> tuple[tuple[Recipient, ...], str]:
        why = self.closed.get(channel)
        return ((Recipient(channel=channel),), "") if why is None else ((), f"the channel {channel} is closed ({why})")

    def _group(self, name: str) -> tuple[tuple[Recipient, ...], str]:
        """Its members; an empty group, or one of people who are all away, is nobody."""
        members = self._ask(self.directory.groups, self.directory.remembered, [name]).get(name)
        if members is None:
            return (), ""  # cannot be told now: its channel will do
        if not members:
            return (), f"the group {name} is empty"
        listed = sorted(members)
        here = [member for member in listed[:MOST_ASKED] if not self._away(member)]
        if not here and len(listed) <= MOST_ASKED:
            return (), f"nobody in the group {name} can be reached"
        return tuple(Recipient(f"@{member}") for member in here or listed[:MOST_MEMBERS]), ""

    def _away(self, name: str) -> str:
        """Why a person cannot be reached. Whoever cannot be looked up now may well be reached later."""
        if f"@{name}" in self.closed:
            return f"Slack takes no messages for {name} ({self.closed[f'@{name}']})"
        person = self._declared(name)
        accounts = sorted(person.slack_ids)
        if not accounts:
            return f"{name} has no Slack account"
        kinds = {self._kind(account) for account in accounts}
        if kinds & {PersonKind.MEMBER, PersonKind.UNKNOWN}:
            return ""
        return f"the account of {name} {_AWAY[min(kinds & set(_AWAY))]}"

    def _kind(self, account: str) -> PersonKind:
        found = self._ask(self.directory.person, self.directory.known, f"slack:{account}")
        return found.kind if found is not None else PersonKind.UNKNOWN

    def _ask(self, live: Callable[[Asked], Answer], remembered: Callable[[Asked], Answer], about: Asked) -> Answer:
        """What the directory says now; once it has been slow, what it knows without asking anybody."""
        if self._slow:
            return remembered(about)
        asked_at = self.monotonic()
        found = live(about)
        self._slow = self.monotonic() - asked_at >= PATIENCE_SECONDS
        return found

    def _declared(self, name: str) -> Person:
        found = next((person for person in self.policy.people if person.id == name), None)
        if found is not None:
            return found
        return self.policy.resolve_person(name) if name.startswith("slack:") else Person(name)
