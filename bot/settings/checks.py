"""Compares the sections of `keyturn.yml` with each other and with the runbooks; every mistake with its line."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from bot.core.document import Document, Location, Problem, close
from bot.core.runbook_file import LoadedRunbook
from bot.core.suspicion import looks_like_secret
from bot.core.words import rotation_number
from bot.settings.declared import CredentialEntry, Declared
from bot.settings.rights import SPECIAL

_CHANNEL = re.compile(r"[CG][A-Z0-9]+")


def secret_problems(document: Document) -> list[Problem]:
    """Texts that look like secrets: the file is meant for git and holds references only."""
    return [
        document.problem(at, f"this looks like {kind}", "write where it lives, such as file:/run/secrets/admin-token")
        for at, text in _texts(document.data, ())
        if (kind := looks_like_secret(text))
    ]


def cross_problems(document: Document, declared: Declared, runbooks: Mapping[str, LoadedRunbook]) -> list[Problem]:
    """Names that name nothing, accounts bound twice, credentials declared twice or with the wrong inputs."""
    return [
        *_people(document, declared),
        *_names(document, declared),
        *_places(document, declared),
        *_credentials(document, declared, runbooks),
    ]


def _people(document: Document, declared: Declared) -> Iterator[Problem]:
    accounts: dict[str, str] = {}
    for name, entry in declared.people.items():
        if name in SPECIAL:
            yield document.problem(("people", name), f"{name!r} is a word of its own", "choose another name")
        named: list[tuple[Location, str]] = [
            (("people", name, "slack"), account.rpartition("/")[2]) for account in entry.slack
        ]
        named += [(("people", name, "os"), f"os:{entry.os}")] if entry.os else []
        for at, account in named:
            if accounts.setdefault(account, name) != name:
                message = f"the account {account} already belongs to {accounts[account]}"
                yield document.problem(at, message, "an account is one person's")
    slack: dict[str, str] = {}
    for name, group in declared.groups.items():
        if name in SPECIAL or name in declared.people:
            message = f"{name!r} is {'a word of its own' if name in SPECIAL else 'a person already'}"
            yield document.problem(("groups", name), message, "choose another name")
        if group.slack and slack.setdefault(group.slack, name) != name:
            message = f"{group.slack} is already the group {slack[group.slack]}"
            yield document.problem(("groups", name, "slack"), message, "use one name for it")
        for index, member in enumerate(group.members or []):
            if member not in declared.people:
                where = ("groups", name, "members", index)
                yield document.problem(where, f"{member!r} is not among the people", close(member, declared.people))


def _names(document: Document, declared: Declared) -> Iterator[Problem]:
    known = {*declared.people, *declared.groups, *SPECIAL}
    listed: list[tuple[Location, list[str]]] = [
        (("roles", name, "who"), role.who) for name, role in declared.roles.items()
    ]
    for number, policy in enumerate(declared.policies):
        listed.append((("policies", number, "from"), policy.from_))
        listed += [(("policies", number, "escalate", step, "to"), one.to) for step, one in enumerate(policy.escalate)]
    listed.append((("incidents", "invite"), declared.incidents.invite))
    for at, names in listed:
        for index, name in enumerate(names):
            if at[0] == "incidents" and name == "everyone":
                yield document.problem((*at, index), "a channel cannot be made for everyone", "name a group")
            elif name not in known:
                yield document.problem((*at, index), f"{name!r} is neither a person nor a group", close(name, known))


def _places(document: Document, declared: Declared) -> Iterator[Problem]:
    """Environments, classes and channels of roles and policies that no credential and no channel has."""
    environments = {entry.environment for entry in declared.credentials}
    classes = {entry.class_ for entry in declared.credentials}
    parts: list[tuple[Location, Any]] = [(("roles", name), role) for name, role in declared.roles.items()]
    sections: dict[str, list[Any]] = {
        "policies": list(declared.policies),
        "windows": list(declared.windows),
        "freezes": list(declared.freezes),
    }
    parts += [((section, index), part) for section, listed in sections.items() for index, part in enumerate(listed)]
    for at, part in parts:
        pairs = (("environments", part.environments, environments), ("classes", part.classes, classes))
        for key, names, known in pairs:
            for index, name in enumerate(names):
                near = close(name, known)
                if name not in known and near.startswith("did you mean"):
                    yield document.problem((*at, key, index), f"no credential has {name!r} here", near)
    for name, role in declared.roles.items():
        for index, channel in enumerate(role.channels):
            if channel not in declared.channels and not _CHANNEL.fullmatch(channel):
                at = ("roles", name, "channels", index)
                yield document.problem(at, f"{channel!r} is no channel", close(channel, declared.channels))


def _credentials(document: Document, declared: Declared, runbooks: Mapping[str, LoadedRunbook]) -> Iterator[Problem]:
    seen: dict[tuple[str, str], int] = {}
    for index, entry in enumerate(declared.credentials):
        at: Location = ("credentials", index)
        key = (entry.name, entry.environment)
        if key in seen:
            message = f"{entry.name!r} in {entry.environment} stands twice, first in line {seen[key]}"
            yield document.problem((*at, "name"), message, "a name is unique per environment")
        seen.setdefault(key, document.line((*at, "name")))
        if rotation_number(entry.name) is not None:
            yield document.problem((*at, "name"), f"{entry.name!r} reads like a rotation's id", "choose another name")
        if entry.owner not in declared.people and entry.owner not in declared.groups:
            known = {*declared.people, *declared.groups}
            message = f"the owner {entry.owner!r} is neither a person nor a group"
            yield document.problem((*at, "owner"), message, close(entry.owner, known))
        named: list[tuple[Location, str]] = [((*at, "callers", i), name) for i, name in enumerate(entry.callers)]
        for where, name in [((*at, "channel"), entry.channel or ""), *named]:
            if name not in declared.channels and not _CHANNEL.fullmatch(name) and (name or where[-1] != "channel"):
                yield document.problem(where, f"{name!r} is no channel", close(name, declared.channels))
        loaded = runbooks.get(entry.runbook)
        if loaded is None:
            message = f"there is no runbook {entry.runbook!r}"
            yield document.problem((*at, "runbook"), message, close(entry.runbook, runbooks))
        else:
            yield from _inputs(document, at, entry, loaded)


def _inputs(document: Document, at: Location, entry: CredentialEntry, loaded: LoadedRunbook) -> Iterator[Problem]:
    declared = loaded.runbook.inputs
    for name, value in entry.inputs.items():
        place = (*at, "inputs", name)
        if name not in declared:
            yield document.problem(place, f"{loaded.name} has no input {name!r}", close(name, declared))
            continue
        try:
            declared[name].check(value)
        except ValueError as error:
            yield document.problem(place, f"{name}: {error}")
    for name, wanted in declared.items():
        if wanted.required and name not in entry.inputs:
            hint = wanted.help or f"a {wanted.type}"
            yield document.problem((*at, "inputs"), f"{entry.name}: the input {name!r} is missing", hint)


def _texts(value: Any, at: Location) -> Iterator[tuple[Location, str]]:
    if isinstance(value, str):
        yield at, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _texts(inner, (*at, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _texts(inner, (*at, index))
