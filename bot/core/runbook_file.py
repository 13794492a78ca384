"""Reads runbooks from YAML: every mistake at once, each with its file, line and a hint."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bot.core import duration, template
from bot.core.document import LARGEST, Document, Location, Problem, close, model_problems, nearest_line, read
from bot.core.errors import Invalid
from bot.core.runbook import KINDS, SHAPES, Emergency, Kind, Runbook, StepBase
from bot.core.template import TemplateError

_SPANS = (
    "wait",
    "for",
    "at_least",
    "every",
    "within",
    "timeout",
    "over",
    "rollback_within",
    "retire_within",
    "at_most",
)
_PLACEHOLDER = {"id": "placeholder", "wait": "0s"}


@dataclass(frozen=True)
class LoadedRunbook:
    """A runbook with where it came from: what a plan pins and what the linter points at."""

    runbook: Runbook
    path: str
    sha256: str
    """Hex digest of the file's bytes, as `sha256sum` prints it."""
    lines: Mapping[Location, int] = field(repr=False)

    @property
    def name(self) -> str:
        """The runbook's own name, `identity-es256`."""
        return self.runbook.runbook

    def line(self, *location: str | int) -> int:
        """The line of a place such as `"steps", 2, "with"`, or of the nearest place around it."""
        return nearest_line(dict(self.lines), location)


def load(path: Path) -> LoadedRunbook:
    """Read a file; its name must be the runbook's. Raises `Invalid` with every mistake, `OSError` when unreadable."""
    if path.stat().st_size > LARGEST:
        raise Invalid(path.name, (str(Problem(str(path), 1, f"the file is larger than {LARGEST // 1024} KiB")),))
    content = path.read_bytes()
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise Invalid(path.name, (str(Problem(str(path), line, "this is not UTF-8 text")),)) from None
    loaded = loads(text, str(path))
    if loaded.name != path.stem:
        problem = Problem(
            str(path),
            loaded.line("runbook"),
            f"the file is called {path.stem!r} and the runbook {loaded.name!r}",
            "give both the same name",
        )
        raise Invalid(path.name, (str(problem),))
    return loaded


def loads(text: str, name: str) -> LoadedRunbook:
    """Read a runbook from text; `name` stands for the file in messages. Raises `Invalid` with every mistake."""
    document = read(text, name)
    if not isinstance(document.data, dict):
        raise Invalid(name, (str(Problem(name, 1, "a runbook is a mapping", "start with runbook: <name>")),))
    problems, data = _steps_of(document)
    runbook: Runbook | None = None
    try:
        runbook = Runbook.model_validate(data)
    except ValidationError as error:
        problems += model_problems(document, (), Runbook, error, SHAPES)
    problems += _spans(document, document.data, ())
    problems += _expressions(document, document.data, ())
    problems += _twice(document)
    if problems or runbook is None:
        raise Invalid(name, tuple(str(problem) for problem in sorted(set(problems))))
    return LoadedRunbook(runbook, name, hashlib.sha256(text.encode()).hexdigest(), document.lines)


def schema() -> dict[str, Any]:
    """JSON Schema of a runbook file, for editors."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "keyturn runbook",
        **Runbook.model_json_schema(by_alias=True),
    }


def _steps_of(document: Document) -> tuple[list[Problem], dict[str, Any]]:
    """The data with each step already of its model, so that a mistake in one step speaks of that step alone."""
    problems: list[Problem] = []
    data = dict(document.data)
    for section in ("steps", "retire"):
        if isinstance(data.get(section), list):
            data[section] = [
                _step(document, (section, index), item, problems) for index, item in enumerate(data[section])
            ]
    emergency = data.get("emergency")
    if isinstance(emergency, dict) and isinstance(emergency.get("steps"), list):
        steps = [
            item if isinstance(item, str) else _step(document, ("emergency", "steps", index), item, problems)
            for index, item in enumerate(emergency["steps"])
        ]
        try:
            data["emergency"] = Emergency.model_validate({**emergency, "steps": steps})
        except ValidationError as error:
            problems += model_problems(document, ("emergency",), Emergency, error, SHAPES)
            data["emergency"] = None
    return problems, data


def _step(document: Document, at: Location, item: Any, problems: list[Problem]) -> StepBase | Any:
    placeholder = KINDS[Kind.WAIT].model_validate(_PLACEHOLDER)
    if not isinstance(item, dict):
        problems.append(document.problem(at, "a step is a mapping", "write {id: ..., do: ...}"))
        return placeholder
    kinds = [kind for kind in Kind if kind.value in item]
    if len(kinds) != 1:
        had = " and ".join(kinds) if kinds else "none of them"
        wanted = "a step says one of do, check, wait, quiet or ask"
        spelled = next((hint for key in item if (hint := close(str(key), list(Kind))).startswith("did")), "")
        problems.append(document.problem(at, f"{wanted}; this one says {had}", spelled))
        return placeholder
    model = KINDS[kinds[0]]
    try:
        return model.model_validate(item)
    except ValidationError as error:
        problems.extend(model_problems(document, at, model, error, SHAPES))
        return placeholder


def _spans(document: Document, value: Any, at: Location) -> list[Problem]:
    """Durations that are literals and cannot be read; expressions are judged when their values are known."""
    found: list[Problem] = []
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in ("with", "inputs"):
                continue
            if key in _SPANS and isinstance(inner, str) and "${{" not in inner:
                try:
                    duration.parse(inner)
                except ValueError as error:
                    found.append(document.problem((*at, key), f"{key}: {error}"))
            found += _spans(document, inner, (*at, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            found += _spans(document, inner, (*at, index))
    return found


def _expressions(document: Document, value: Any, at: Location) -> list[Problem]:
    """Expressions that cannot be read."""
    if isinstance(value, dict):
        return [found for key, inner in value.items() for found in _expressions(document, inner, (*at, key))]
    if isinstance(value, list):
        return [found for index, inner in enumerate(value) for found in _expressions(document, inner, (*at, index))]
    try:
        template.references(value)
    except TemplateError as error:
        return [document.problem(at, str(error), error.hint)]
    return []


def _twice(document: Document) -> list[Problem]:
    """Step ids that stand twice: outputs, rollback and the emergency find a step by its id."""
    found: list[Problem] = []
    first: dict[str, int] = {}
    emergency = document.data.get("emergency")
    own = emergency.get("steps") if isinstance(emergency, dict) else None
    places = (
        (("steps",), document.data.get("steps")),
        (("retire",), document.data.get("retire")),
        (("emergency", "steps"), own),
    )
    for at, items in places:
        for index, item in enumerate(items if isinstance(items, list) else []):
            name = item.get("id") if isinstance(item, dict) else None
            if not isinstance(name, str):
                continue
            line = document.line((*at, index, "id"))
            if name in first:
                found.append(
                    Problem(document.file, line, f"the id {name!r} stands twice, first in line {first[name]}", "rename")
                )
            first.setdefault(name, line)
    return found
