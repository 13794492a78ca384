"""A YAML file as plain data, with the line of every place in it. Reads no tags and calls no constructors."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError
from yaml.error import MarkedYAMLError, YAMLError
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from bot.core.errors import Invalid

Location = tuple[str | int, ...]
"""Where something stands: `("steps", 2, "with", "kid")`."""

LARGEST = 256 * 1024
DEEPEST = 24
MOST_VALUES = 20_000
PARSER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's, which reads the shipped runbooks in 20 ms instead of 400, where PyYAML was built with it."""

_INTEGER = re.compile(r"[-+]?[0-9]{1,18}")
_FLOAT = re.compile(r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+)(?:[eE][-+]?[0-9]{1,3})?")
_NULL = ("", "~", "null", "Null", "NULL")
_BOOLEAN = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One mistake with its place; shown as `file:line: message. hint`."""

    file: str
    line: int
    message: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}" + (f" ({self.hint})" if self.hint else "")


@dataclass(frozen=True)
class Document:
    """Plain data (`dict`, `list`, `str`, `int`, `float`, `bool`, `None`) and where each place stands."""

    file: str
    data: Any
    lines: dict[Location, int] = field(repr=False)

    def line(self, location: Iterable[str | int]) -> int:
        """The line of a place, or of the nearest place around it."""
        return nearest_line(self.lines, location)

    def problem(self, location: Iterable[str | int], message: str, hint: str = "") -> Problem:
        """A mistake at this place."""
        return Problem(self.file, self.line(location), message, hint)


def nearest_line(lines: dict[Location, int], location: Iterable[str | int]) -> int:
    """The line of a place, or of the nearest place around it that has one."""
    place = tuple(location)
    while place and place not in lines:
        place = place[:-1]
    return lines.get(place, 1)


def read(text: str, file: str) -> Document:
    """Read one YAML document. Raises `Invalid` with the line of what it refuses: tags, bombs, twice the same key."""
    if len(text.encode("utf-8", "surrogatepass")) > LARGEST:
        raise Invalid(file, (str(Problem(file, 1, f"the file is larger than {LARGEST // 1024} KiB", "split it")),))
    reader = _Reader(file, yaml.parse(text, Loader=PARSER))
    try:
        data = reader.document()
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise Invalid(
            file, (str(Problem(file, line, f"this is not YAML: {error.problem or 'cannot be read'}")),)
        ) from None
    except (YAMLError, ValueError, RecursionError, OverflowError) as error:
        # what is no text at all, and brackets on which the parser without libyaml recurses before it gives an event
        message = f"this is not YAML ({type(error).__name__})"
        raise Invalid(file, (str(Problem(file, 1, message, "save it as UTF-8 text")),)) from None
    if reader.problems:
        raise Invalid(file, tuple(str(problem) for problem in sorted(reader.problems)))
    return Document(file, data, reader.lines)


class _Stop(YAMLError):
    """A limit was hit: nothing behind it is read."""


def _line(event: Event) -> int:
    return event.start_mark.line + 1 if event.start_mark is not None else 1


class _Reader:
    """Turns parser events into data; keeps lines, refuses what is no plain data."""

    def __init__(self, file: str, events: Iterator[Event]) -> None:
        self.file = file
        self.events = events
        self.lines: dict[Location, int] = {}
        self.problems: list[Problem] = []
        self.anchors: dict[str, tuple[Any, int]] = {}
        self.values = 0

    def document(self) -> Any:
        data: Any = None
        seen = False
        try:
            for event in self.events:
                if isinstance(event, DocumentStartEvent):
                    if seen:
                        self._refuse(event, "a second document starts here", "one file holds one document; remove ---")
                        break
                    seen = True
                    data = self._value(next(self.events), ())
        except _Stop:
            return None
        return data

    def _refuse(self, event: Event, message: str, hint: str = "") -> None:
        self.problems.append(Problem(self.file, _line(event), message, hint))

    def _value(self, event: Event, at: Location) -> Any:
        self._count(event, 1)
        if len(at) > DEEPEST:
            self._refuse(event, f"nested more than {DEEPEST} deep", "flatten it")
            raise _Stop
        self.lines.setdefault(at, _line(event))
        if isinstance(event, AliasEvent):
            return self._alias(event)
        before = self.values
        if isinstance(event, ScalarEvent):
            value = self._scalar(event)
        elif isinstance(event, SequenceStartEvent):
            self._plain_tag(event, "tag:yaml.org,2002:seq")
            value = self._list(at)
        elif isinstance(event, MappingStartEvent):
            self._plain_tag(event, "tag:yaml.org,2002:map")
            value = self._mapping(at)
        else:
            self._refuse(event, "a value is missing here")
            raise _Stop
        anchor = getattr(event, "anchor", None)
        if anchor:
            self.anchors[anchor] = (value, self.values - before + 1)
        return value

    def _alias(self, event: AliasEvent) -> Any:
        known = self.anchors.get(event.anchor or "")
        if known is None:
            self._refuse(event, f"*{event.anchor} is not known here", "an anchor stands before its aliases, not around")
            return None
        self._count(event, known[1])
        return known[0]

    def _count(self, event: Event, more: int) -> None:
        self.values += more
        if self.values > MOST_VALUES:
            self._refuse(event, f"more than {MOST_VALUES} values", "split the file; aliases count as what they repeat")
            raise _Stop

    def _list(self, at: Location) -> list[Any]:
        found: list[Any] = []
        for event in self.events:
            if isinstance(event, SequenceEndEvent):
                break
            found.append(self._value(event, (*at, len(found))))
        return found

    def _mapping(self, at: Location) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for event in self.events:
            if isinstance(event, MappingEndEvent):
                break
            key = self._key(event)
            place = (*at, key)
            if key in found:
                self._refuse(
                    event, f"{_quoted(key)} stands twice, first in line {self.lines[place]}", "keep one of them"
                )
                place = (*at, f"{key}\0{len(found)}\0{self.values}")
            self.lines[place] = _line(event)
            value = self._value(next(self.events), place)
            found.setdefault(key, value)
        return found

    def _key(self, event: Event) -> str:
        if not isinstance(event, ScalarEvent):
            self._refuse(
                event, "a key must be a word", "put quotes around ${{ }} and around text with braces or colons"
            )
            raise _Stop
        self._plain_tag(event, "tag:yaml.org,2002:str")
        if event.value == "<<" and not event.style:
            self._refuse(event, "merge keys (<<) are not read", "write the values out")
        return str(event.value)

    def _scalar(self, event: ScalarEvent) -> Any:
        self._plain_tag(event, "tag:yaml.org,2002:str")
        text = str(event.value)
        if event.style or event.tag:
            return text
        if text in _NULL:
            return None
        if text in _BOOLEAN:
            return _BOOLEAN[text]
        if _INTEGER.fullmatch(text):
            return int(text)
        if _FLOAT.fullmatch(text) and math.isfinite(float(text)):
            return float(text)
        return text

    def _plain_tag(self, event: Any, allowed: str) -> None:
        tag = str(event.tag or "")
        if tag not in ("", "!", allowed):
            self._refuse(event, f"the tag {_quoted(tag)} is not read", "write plain values")


def _quoted(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")


def close(word: str, known: Iterable[str]) -> str:
    """Advice for a word that is not known: the nearest one, else all of them."""
    names = sorted(known)
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if near:
        return f"did you mean {near[0]}?"
    return f"known: {', '.join(names)}" if 0 < len(names) <= 24 else ""


def model_problems(
    document: Document,
    at: Location,
    model: type[BaseModel],
    error: ValidationError,
    shapes: Mapping[str, str] | None = None,
) -> list[Problem]:
    """Every mistake that pydantic found in the data at a place, with lines and hints; never the values.

    `shapes` says what to write where a text does not fit a pattern.
    """
    found = []
    for detail in error.errors(include_url=False, include_input=False):
        inner = tuple(part for part in detail["loc"] if not (isinstance(part, str) and "[" in part))
        place = (*at, *inner)
        name = str(inner[-1]) if inner else ""
        if detail["type"] == "extra_forbidden":
            owner = _model_at(model, inner[:-1])
            hint = close(name, _keys(owner)) if owner else ""
            found.append(document.problem(place, f"{_quoted(name)} is not known here", hint))
        elif detail["type"] == "missing":
            found.append(document.problem(place[:-1], f"{_quoted(name)} is missing", f"add {name}: ..."))
        else:
            message = _MESSAGES.get(detail["type"], detail["msg"].removeprefix("Value error, "))
            pattern = str(detail.get("ctx", {}).get("pattern", ""))
            path = ".".join(str(part) for part in inner)
            hint = (shapes or {}).get(pattern, "")
            message = "this is not written as it must be" if hint else message
            if detail["type"] in ("enum", "literal_error"):
                options = _OPTION.findall(str(detail.get("ctx", {}).get("expected", "")))
                message, hint = _choice(document, place, options)
            found.append(document.problem(place, f"{path}: {message}" if path else message, hint))
    return found


_OPTION = re.compile(r"'([^']*)'")


def _choice(document: Document, place: Location, options: list[str]) -> tuple[str, str]:
    value = document.data
    for part in place:
        inside = isinstance(value, dict) or (isinstance(value, list) and isinstance(part, int) and part < len(value))
        value = value[part] if inside and (not isinstance(value, dict) or part in value) else None
    near = close(value, options) if isinstance(value, str) else ""
    return f"must be one of {', '.join(options)}", near if near.startswith("did") else ""


_MESSAGES = {
    "string_type": "must be a text; put quotes around it",
    "list_type": "must be a list",
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "too_short": "must not be empty",
    "string_too_short": "is too short",
    "string_too_long": "is too long",
}


def _keys(model: type[BaseModel]) -> list[str]:
    return [info.alias or name for name, info in model.model_fields.items()]


def _model_at(model: type[BaseModel], inner: Location) -> type[BaseModel] | None:
    """The model behind a path of field names, through lists, mappings and optional values."""
    for part in inner:
        if isinstance(part, int):
            continue
        info = next((info for name, info in model.model_fields.items() if part in (name, info.alias)), None)
        if info is None:
            continue  # a key of a mapping of models
        found = next(_models(info.annotation), None)
        if found is None:
            return None
        model = found
    return model


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)
