"""The small words in which Block Kit's limits are written down: text of so many characters, lists of so many items."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Surface = Literal["message", "modal", "home"]


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, and where: `pointer` is a JSON pointer from the argument's name down."""

    message: str
    pointer: str

    def __str__(self) -> str:
        return f"[ERROR] {self.message} [json-pointer:{self.pointer}]"


@dataclass
class Walk:
    """One validation on its way through a payload; gathers every problem instead of stopping at the first."""

    surface: Surface
    problems: list[Problem] = field(default_factory=list)
    within: list[str] = field(default_factory=list)

    def refuse(self, message: str, pointer: str) -> None:
        """Note a problem."""
        self.problems.append(Problem(message, pointer))


Check = Callable[[Walk, Any, str], None]
Rule = Callable[[Walk, Mapping[str, Any], str], None]


def text(most: int, least: int = 1) -> Check:
    """A string of `least` to `most` characters."""

    def check(walk: Walk, value: Any, at: str) -> None:
        if not isinstance(value, str):
            walk.refuse("must be a string", at)
        elif len(value) > most:
            walk.refuse(f"must be less than {most + 1} characters", at)
        elif len(value) < least:
            walk.refuse(f"must be more than {least - 1} characters", at)

    return check


def matching(pattern: str, what: str) -> Check:
    """A string of a given form."""

    def check(walk: Walk, value: Any, at: str) -> None:
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            walk.refuse(f"must be {what}", at)

    return check


def flag(walk: Walk, value: Any, at: str) -> None:
    """true or false."""
    if not isinstance(value, bool):
        walk.refuse("must be a boolean", at)


def whole(least: int, most: int) -> Check:
    """A whole number between two bounds."""

    def check(walk: Walk, value: Any, at: str) -> None:
        if not isinstance(value, int) or isinstance(value, bool):
            walk.refuse("must be an integer", at)
        elif not least <= value <= most:
            walk.refuse(f"must be between {least} and {most}", at)

    return check


def choice(*allowed: str) -> Check:
    """One of a few strings."""

    def check(walk: Walk, value: Any, at: str) -> None:
        if value not in allowed:
            walk.refuse(f"must be a valid enum value, one of {', '.join(allowed)}", at)

    return check


def many(item: Check, least: int, most: int) -> Check:
    """A list of `least` to `most` items."""

    def check(walk: Walk, value: Any, at: str) -> None:
        if not isinstance(value, list):
            walk.refuse("must be an array", at)
            return
        if len(value) > most:
            walk.refuse(f"no more than {most} items allowed", at)
        if len(value) < least:
            walk.refuse(f"must have at least {least} items", at)
        for index, one in enumerate(value[: most + 1]):
            item(walk, one, f"{at}/{index}")

    return check


def shape(
    required: Mapping[str, Check] | None = None, optional: Mapping[str, Check] | None = None, *rules: Rule
) -> Check:
    """An object with exactly these fields; the rules see it when its fields are right."""
    needed = dict(required or {})
    known = needed | dict(optional or {})

    def check(walk: Walk, value: Any, at: str) -> None:
        if not isinstance(value, dict):
            walk.refuse("must be an object", at)
            return
        before = len(walk.problems)
        for name in needed:
            if value.get(name) is None:
                walk.refuse(f"missing required field: {name}", at)
        for name, one in value.items():
            if name not in known:
                walk.refuse(f"invalid additional property: {name}", at)
            elif one is not None:
                known[name](walk, one, f"{at}/{name}")
        if len(walk.problems) == before:
            for rule in rules:
                rule(walk, value, at)

    return check


def kinds(known: Mapping[str, Check], what: str) -> Check:
    """An object whose `type` says which shape it has."""

    def check(walk: Walk, value: Any, at: str) -> None:
        kind = value.get("type") if isinstance(value, dict) else None
        if kind is None:
            walk.refuse(f"missing required field: type ({what})", at)
        elif not isinstance(kind, str) or kind not in known:
            walk.refuse(f"unsupported type: {kind}", f"{at}/type")
        else:
            known[kind](walk, value, at)

    return check


def anything(walk: Walk, value: Any, at: str) -> None:
    """No constraint."""


def one_of_fields(*names: str) -> Rule:
    """Exactly one of these fields is set."""

    def rule(walk: Walk, value: Mapping[str, Any], at: str) -> None:
        if sum(value.get(name) is not None for name in names) != 1:
            walk.refuse(f"must define either {' or '.join(f'`{name}`' for name in names)}", at)

    return rule


def any_of_fields(*names: str) -> Rule:
    """At least one of these fields is set."""

    def rule(walk: Walk, value: Mapping[str, Any], at: str) -> None:
        if not any(value.get(name) for name in names):
            walk.refuse(f"must define at least one of {', '.join(f'`{name}`' for name in names)}", at)

    return rule
