"""People as the settings alone know them: for the command line, and for workers without Slack."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from bot.core.policy import Membership, Person, PersonKind, Policy


class DeclaredPeople:
    """Implements `Directory`. Only declared OS users are somebody; groups that Slack keeps are unknown."""

    def __init__(self, policy: Policy, members: Membership) -> None:
        self._policy = policy
        self._members = members

    def person(self, account: str) -> Person:
        """A declared person is a member; anybody else is unknown, which policy refuses."""
        person = self._policy.resolve_person(account)
        if account.startswith("os:") and any(person.id == declared.id for declared in self._policy.people):
            return self._policy.resolve_person(account, kind=PersonKind.MEMBER)
        return person

    def known(self, account: str) -> Person | None:
        """As `person`, for accounts of this machine; nothing is known of others."""
        return self.person(account) if account.startswith("os:") else None

    def groups(self, names: Collection[str]) -> Mapping[str, frozenset[str] | None]:
        """Groups whose members the settings list; None for those that Slack keeps."""
        return {name: self._members.get(name) for name in names}

    def remembered(self, names: Collection[str]) -> Mapping[str, frozenset[str] | None]:
        """The same."""
        return self.groups(names)
