"""What can be done about a credential from a reminder, a list or Home: its buttons, and the forms that they open."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bot.core.discovered import usable
from bot.core.errors import Refused
from bot.core.identifiers import LONGEST as LONGEST_ID
from bot.core.identifiers import public_id
from bot.slack.blocks import Block, Element, actions, button, context, option, plain_text, section, text_input
from bot.slack.forms import View, is_channel, modal, reason_input
from bot.slack.text import code

ACTION = re.compile(r"credential:(start|plan|snooze|own|not-mine|record)")
FORM = re.compile(r"credential-(snooze|own|not-mine|record)")
WITH_FORM = frozenset({"snooze", "own", "record"})
"""Words that open a form when they are typed with nothing but a credential."""
DAYS, REASON, PERSON, GROUP = "days", "reason", "person", "group"
TYPE, OLD, NEW, OPERATOR = "type", "old", "new", "operator"
TYPES = ("manual", "scheduled", "emergency", "migration")
MOST_DAYS = 60
_ENVIRONMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,60}")


def buttons(name: str, environment: str) -> Block:
    """The next actions of a reminder: Start, Snooze, Not mine, Plan."""
    target, spoken = f"{name}@{environment}", f"{name} in {environment}"

    def one(word: str, label: str, what: str, style: str = "") -> Element:
        return button(label, f"credential:{word}", target, spoken=f"{what} {spoken}", style=style)

    return actions(
        one("start", "Start", "Start a rotation of", "primary"),
        one("snooze", "Snooze", "Put off the reminders of"),
        one("not-mine", "Not mine", "Say that it is not mine:"),
        one("plan", "Plan", "Show the plan for"),
    )


def target(value: Any) -> str:
    """The credential that a button or a form names. Raises `Refused` for anything else."""
    if not _is_target(value):
        raise Refused("This button is not one of keyturn's; use the words: /rotate help.", code="bad-button")
    return str(value)


def _is_target(value: Any) -> bool:
    """Whether it may name a credential: declared ones have plain names, and found ones whatever their system says."""
    if not isinstance(value, str):
        return False
    name, at, environment = value.partition("@")
    return usable(name) and name == name.strip() and (not at or _ENVIRONMENT.fullmatch(environment) is not None)


@dataclass(frozen=True, slots=True)
class CredentialNote:
    """What such a form remembers."""

    target: str
    channel: str

    def __str__(self) -> str:
        return f"{self.target} {self.channel or '-'}"

    @classmethod
    def read(cls, text: str) -> CredentialNote:
        """Read it back; raises `Refused` for what no form of ours says."""
        name, _, channel = text.rpartition(" ")
        if not _is_target(name) or not is_channel(channel):
            raise Refused("This form is not one of keyturn's; use the words: /rotate help.", code="bad-form")
        return cls(name, "" if channel == "-" else channel)


def form(word: str, credential: str, channel: str) -> View:
    """The form of a word for a credential."""
    note = str(CredentialNote(target(credential), channel if is_channel(channel) else "-"))
    title, submit, blocks = _FORMS[word](credential)
    return modal(title, blocks, submit=submit, callback=f"credential-{word}", note=note)


def _snooze(credential: str) -> tuple[str, str, list[Block]]:
    days = text_input(
        DAYS,
        "For how many days?",
        most=3,
        hint="Only you are quiet meanwhile. It becomes less as its expiry comes nearer.",
    )
    return "Snooze", "Snooze", [_about(credential), days, reason_input("", "Why can it wait?")]


def _own(credential: str) -> tuple[str, str, list[Block]]:
    person: Block = {
        "type": "input",
        "block_id": PERSON,
        "optional": True,
        "label": plain_text("A person", 2000),
        "element": {"type": "users_select", "action_id": "value", "placeholder": plain_text("Choose somebody", 150)},
    }
    group = text_input(GROUP, "Or a group", most=80, hint="Its name in keyturn.yml.", optional=True)
    return "Owner", "Give it", [_about(credential), person, group, context("The new owner gets its reminders.")]


def _not_mine(credential: str) -> tuple[str, str, list[Block]]:
    told = context("Its reminders go to the team, then to on-call, until somebody owns it.")
    return (
        "Not mine",
        "It is not mine",
        [_about(credential), reason_input("", "What do you know?", optional=True), told],
    )


def _record(credential: str) -> tuple[str, str, list[Block]]:
    kinds: Block = {
        "type": "input",
        "block_id": TYPE,
        "label": plain_text("What was done?", 2000),
        "element": {
            "type": "static_select",
            "action_id": "value",
            "options": [option(one, one) for one in TYPES],
            "initial_option": option(TYPES[0], TYPES[0]),
        },
    }
    hint = "An id or a version, never its value."
    return (
        "Rotated by hand",
        "Record it",
        [
            _about(credential),
            kinds,
            text_input(OLD, "Id of the old one", most=LONGEST_ID, hint=hint),
            text_input(NEW, "Id of the new one", most=LONGEST_ID, hint=hint),
            text_input(OPERATOR, "Who did it?", most=80, hint="You, when left empty.", optional=True),
            reason_input("", "Why was it rotated?"),
        ],
    )


_FORMS = {"snooze": _snooze, "own": _own, "not-mine": _not_mine, "record": _record}


def _about(credential: str) -> Block:
    return section(f"This is about {code(credential, 190)}.")


class Wrong(Exception):
    """What is wrong with one field of a form."""

    def __init__(self, field: str, text: str) -> None:
        super().__init__(text)
        self.field = field


def typed(word: str, note: CredentialNote, entered: Mapping[str, str]) -> tuple[str, tuple[str, ...], dict[str, str]]:
    """The word, its arguments and flags that a submitted form stands for. Raises `Wrong`."""
    reason = entered.get(REASON, "").strip()
    if word in ("snooze", "record") and not reason:
        raise Wrong(REASON, "Write a reason; it stands in the audit.")
    if word == "snooze":
        days = entered.get(DAYS, "").strip()
        if not (days.isascii() and days.isdigit() and 0 < int(days) <= MOST_DAYS):
            raise Wrong(DAYS, f"Write a number of days from 1 to {MOST_DAYS}.")
        return "snooze", (note.target, f"{int(days)}d"), {"reason": reason}
    if word == "own":
        person, group = entered.get(PERSON, ""), entered.get(GROUP, "").strip()
        if bool(person) == bool(group):
            raise Wrong(GROUP, "Choose a person or name a group, and not both.")
        return "own", (note.target,), {"to": f"<@{person}>" if person else group}
    if word == "not-mine":
        return "own", (note.target,), {"not-mine": "yes"} | ({"reason": reason} if reason else {})
    flags = {TYPE: entered.get(TYPE, ""), REASON: reason}
    for field, what in ((OLD, "old id"), (NEW, "new id")):
        try:
            flags[field] = public_id(entered.get(field, ""), what)
        except Refused as error:
            raise Wrong(field, str(error)) from None
    if operator := entered.get(OPERATOR, "").strip():
        flags[OPERATOR] = operator
    return "record", (note.target,), flags
