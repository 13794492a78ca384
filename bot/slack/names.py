"""How people are named in Slack: as mentions where their account is known, by name otherwise."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Protocol

from bot.core.policy import Person
from bot.slack.text import escape, plain

_USER = re.compile(r"[UW][A-Z0-9]{2,20}")


class Names(Protocol):
    """Names people on cards."""

    def mention(self, person: str) -> str:
        """mrkdwn that Slack draws as the person, or the escaped name."""
        ...

    def spoken(self, person: str) -> str:
        """The same for top-level text, escaped, and without a mention: nobody is pinged twice."""
        ...


class Roster:
    """Names of the people in settings; anybody else is known by the account's id alone."""

    def __init__(self, people: Iterable[Person] = ()) -> None:
        self._ids: dict[str, str] = {}
        self._names: dict[str, str] = {}
        for person in people:
            self._names[person.id] = person.name or person.id
            found = sorted(one.rpartition("/")[2].upper() for one in person.slack_ids)
            if found:
                self._ids[person.id] = found[0]

    def mention(self, person: str) -> str:
        """`<@U123>` for an account, the escaped name otherwise."""
        if person in ("", "keyturn"):
            return "keyturn"
        user = self.user(person)
        return f"<@{user}>" if user else escape(self._names.get(person, person), 80)

    def user(self, person: str) -> str:
        """The person's Slack id; empty where none is known."""
        found = self._ids.get(person) or (person.rpartition("/")[2] if person.startswith("slack:") else "")
        found = found.removeprefix("slack:")
        return found if _USER.fullmatch(found) else ""

    def spoken(self, person: str) -> str:
        """The name as it is in settings."""
        if person in ("", "keyturn"):
            return "keyturn"
        return escape(plain(self._names.get(person, person.removeprefix("slack:")), 80), 90)
