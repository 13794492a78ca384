"""Whom a person means: a mention, `@bob`, a declared name, `me`; looked up now."""

from __future__ import annotations

import re
from collections.abc import Iterator

from bot.contracts.command import Call
from bot.contracts.people import Directory
from bot.core.errors import Refused
from bot.core.policy import Person, PersonKind, Policy
from bot.store.database import Database

_MENTION = re.compile(r"<@(?P<user>[UW][A-Z0-9]{2,20})(?:\|[^<>]*)?>")


class Somebody:
    """Finds full members by what is typed."""

    def __init__(self, database: Database, policy: Policy, directory: Directory) -> None:
        self._database = database
        self._policy = policy
        self._directory = directory

    def find(self, call: Call, text: str) -> Person:
        """The member whom `@bob`, a mention, an id or `me` stands for, looked up now."""
        text = text.strip()
        if text.casefold() in ("me", "@me"):
            return call.person
        for account in self._accounts(call, text):
            person = self._directory.person(account)
            if person.kind is PersonKind.MEMBER:
                return person
        raise Refused(
            f"{text[:80]!r} is nobody who could be looked up as a full member here; mention a person.", "unknown-person"
        )

    def _accounts(self, call: Call, text: str) -> Iterator[str]:
        """The accounts under which the person can be looked up, those of Slack first."""
        match = _MENTION.fullmatch(text)
        name = match["user"] if match else text.removeprefix("@")
        declared = [
            person
            for person in self._policy.people
            if person.id.casefold() == name.casefold() or any(each.endswith(name) for each in person.slack_ids if match)
        ]
        team = self._team(call)
        users = [match["user"]] if match else []
        users += [user for person in declared for user in sorted(person.slack_ids)]
        for user in dict.fromkeys(each.removeprefix("slack:").rpartition("/")[2] for each in users):
            yield f"slack:{team}/{user}" if team else f"slack:{user}"
        for person in declared:
            if person.os_user:
                yield f"os:{person.os_user.removeprefix('os:')}"

    def _team(self, call: Call) -> str:
        """The workspace from which the caller speaks; empty on the command line."""
        if not call.intent:
            return ""
        with self._database.read() as reader:
            row = reader.intent(call.intent)
        account = row.person if row is not None else ""
        return account.removeprefix("slack:").partition("/")[0] if account.startswith("slack:") else ""
