"""Who somebody is by Slack, asked when it counts, joined with the people that the settings declare."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any

from bot.contracts.people import Directory
from bot.core.errors import KeyturnError, Transient
from bot.core.policy import Person, PersonKind, Policy
from bot.slack.api import SlackApi
from bot.slack.identity import Identity, Workspace

if TYPE_CHECKING:
    from bot.settings import Settings

REMEMBERED_SECONDS = 300.0
"""How long an answer is good enough for words that only read."""
COALESCED_SECONDS = 3.0
"""Reads of one group that come together are one call: Slack allows twenty a minute."""
MOST_REMEMBERED = 10_000
_ACCOUNT = re.compile(r"slack:([TE][A-Z0-9]{2,20})/([UW][A-Z0-9]{2,20})")


@dataclass
class _Group:
    members: frozenset[str] | None = None
    read_at: float = float("-inf")
    not_before: float = float("-inf")


class SlackPeople:
    """Implements `bot.contracts.people.Directory`. `declared` knows the OS users and the groups of the settings."""

    def __init__(
        self,
        api: SlackApi,
        policy: Policy,
        identity: Identity,
        groups_of_slack: Mapping[str, str],
        declared: Directory,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.api = api
        self.identity = identity
        self._policy = policy
        self._slack_groups = dict(groups_of_slack)
        self._declared = declared
        self._now = monotonic
        self._lock = Lock()
        self._known: dict[str, tuple[float, Person]] = {}
        self._groups: dict[str, _Group] = {name: _Group() for name in groups_of_slack}
        self._reading: dict[str, Lock] = {name: Lock() for name in groups_of_slack}

    @classmethod
    def build(cls, settings: Settings, declared: Directory) -> SlackPeople:
        """From the settings, which have to hold the bot's token."""
        environment = settings.environment
        token = environment.bot_token
        assert token is not None, "there is no Slack without its token"
        api = SlackApi(token.reveal_text(), environment.slack_api_url)
        identity = Identity(api, settings.declared.slack.team or "")
        return cls(api, settings.policy, identity, settings.groups_of_slack, declared)

    def person(self, account: str) -> Person:
        """The person behind an account, looked up now; of kind `unknown` where that failed."""
        if account.startswith("os:"):
            return self._declared.person(account)
        match = _ACCOUNT.fullmatch(account)
        if match is None:
            return self._policy.resolve_person(account, kind=PersonKind.UNKNOWN)
        try:
            if self.identity.workspace is None:  # a worker without a room of its own, or Slack was away at the start
                self.identity.learn()
            found = self.api.call("users.info", user=match[2])
        except KeyturnError:
            return self._policy.resolve_person(account, kind=PersonKind.UNKNOWN)
        user = found.get("user")
        user = user if isinstance(user, Mapping) else {}
        person = self._policy.resolve_person(account, kind=self._kind(user, match[2]), name=_name(user))
        self._remember(account, person)
        return person

    def known(self, account: str) -> Person | None:
        """The person as last seen, within five minutes."""
        if account.startswith("os:"):
            return self._declared.known(account)
        with self._lock:
            seen = self._known.get(account)
        if seen is None or self._now() - seen[0] > REMEMBERED_SECONDS:
            return None
        return seen[1]

    def groups(self, names: Collection[str]) -> Mapping[str, frozenset[str] | None]:
        """Members of each group, read live; reads within a few seconds are one."""
        return {name: self._read(name) for name in names}

    def remembered(self, names: Collection[str]) -> Mapping[str, frozenset[str] | None]:
        """Members as last read, None for groups of which nothing recent is known."""
        return {name: self._recall(name) for name in names}

    def forget(self, group: str) -> None:
        """Slack says that a user group (its id) has other members now: ask again before the next answer."""
        with self._lock:
            for name, known in self._slack_groups.items():
                if known == group:
                    self._groups[name] = _Group()

    def _kind(self, user: Mapping[str, Any], wanted: str) -> PersonKind:
        """What the account is; anything that Slack leaves out makes it unknown, never a member."""
        home = self.identity.workspace
        if user.get("id") != wanted or home is None:
            return PersonKind.UNKNOWN
        if user.get("deleted") is not False:
            return PersonKind.DEACTIVATED
        if user.get("is_bot") is not False or user.get("is_workflow_bot") or wanted in ("USLACKBOT", home.bot_user):
            return PersonKind.BOT
        if user.get("is_stranger") or not _is_home(user, home):
            return PersonKind.STRANGER
        if user.get("is_restricted") or user.get("is_ultra_restricted"):
            return PersonKind.GUEST
        if user.get("is_restricted") is not False or user.get("is_ultra_restricted") is not False:
            return PersonKind.UNKNOWN
        return PersonKind.MEMBER

    def _remember(self, account: str, person: Person) -> None:
        with self._lock:
            self._known.pop(account, None)
            while len(self._known) >= MOST_REMEMBERED:
                self._known.pop(next(iter(self._known)))
            self._known[account] = (self._now(), person)

    def _recall(self, name: str) -> frozenset[str] | None:
        if name not in self._groups:
            return self._declared.groups([name]).get(name)
        with self._lock:
            group = self._groups[name]
            return group.members if self._now() - group.read_at <= REMEMBERED_SECONDS else None

    def _read(self, name: str) -> frozenset[str] | None:
        if name not in self._groups:
            return self._declared.groups([name]).get(name)
        asked_at = self._now()
        with self._reading[name]:
            group = self._groups[name]
            if group.read_at >= asked_at - COALESCED_SECONDS:
                return group.members
            if group.not_before > self._now():
                return None
            try:
                found = self.api.call("usergroups.users.list", usergroup=self._slack_groups[name])
            except Transient as error:
                group.not_before = self._now() + min(error.delay.total_seconds(), 60.0)
                return None
            except KeyturnError:
                return None
            members = self._people(found.get("users"))
            with self._lock:
                group.members, group.read_at = members, self._now()
            return members

    def _people(self, users: Any) -> frozenset[str] | None:
        if not isinstance(users, list):
            return None
        return frozenset(self._policy.resolve_person(f"slack:{user}").id for user in users if isinstance(user, str))


def _is_home(user: Mapping[str, Any], home: Workspace) -> bool:
    if user.get("team_id") == home.team:
        return True
    enterprise = user.get("enterprise_user")
    if not home.enterprise or not isinstance(enterprise, Mapping):
        return False
    teams = enterprise.get("teams")
    return enterprise.get("enterprise_id") == home.enterprise and isinstance(teams, list) and home.team in teams


def _name(user: Mapping[str, Any]) -> str:
    profile = user.get("profile")
    name = profile.get("real_name") if isinstance(profile, Mapping) else None
    return str(name or user.get("real_name") or user.get("name") or "")[:80]
