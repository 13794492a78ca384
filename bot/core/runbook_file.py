"""Reads runbooks from YAML: every mistake at once, each with its file, line and a hint."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bot.core import duration, template
from bot.core.document import LARGEST, Document, Location, Problem, close, model_problems, nearest_line, read
from bot.core.errors import Invalid
from bot.core.plan import digest
from bot.core.runbook import KINDS, SHAPES, Emergency, Kind, Runbook, StepBase, WaitStep
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
_NAME = r"^[a-z][a-z0-9-]{0,40}$"
_ID = re.compile(r"[a-z][a-z0-9-]{0,40}")
_STAND_INS = {"runbook": "unnamed", "summary": "not readable", "rollback_within": "1h"}


@dataclass(frozen=True)
class LoadedRunbook:
    """A runbook with where it came from: what a plan pins and what the linter points at."""

    runbook: Runbook
    path: str
    sha256: str
    """Hex digest of the file's bytes, as `sha256sum` prints it."""
    lines: Mapping[Location, int] = field(repr=False)
    content: str = ""
    """Digest of everything in it but `reviewed`: what a review covers."""

    @property
    def name(self) -> str:
        """The runbook's own name, `identity-es256`."""
        return self.runbook.runbook

    @property
    def review_is_void(self) -> bool:
        """Whether something has been changed since it was reviewed."""
        return self.runbook.reviewed is not None and self.runbook.reviewed.digest != self.content

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
    found = examine(text, name)
    if found.problems or found.loaded is None:
        raise Invalid(name, tuple(str(problem) for problem in found.problems))
    return found.loaded


@dataclass(frozen=True)
class Examined:
    """What can be made of a text that may have mistakes: enough for the linter to go on reading behind the first."""

    loaded: LoadedRunbook | None
    problems: tuple[Problem, ...]
    broken: frozenset[str]
    """Ids of steps, and `inputs.x` or `facts.x`, that stand in `loaded` without their content, or not at all."""


def examine(text: str, name: str) -> Examined:
    """Read as much as can be read. Raises `Invalid` when it is not even YAML."""
    document = read(text, name)
    if not isinstance(document.data, dict):
        return Examined(None, (Problem(name, 1, "a runbook is a mapping", "start with runbook: <name>"),), frozenset())
    problems, data, broken = _steps_of(document)
    runbook: Runbook | None = None
    try:
        runbook = Runbook.model_validate(data)
    except ValidationError as error:
        problems += model_problems(document, (), Runbook, error, SHAPES)
        runbook = _without_mistakes(data, error, broken)
    problems += _spans(document, document.data, ())
    problems += _expressions(document, document.data, ())
    problems += _twice(document)
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    loaded = None
    if runbook is not None:
        loaded = LoadedRunbook(runbook, name, sha256, document.lines, content_of(document.data))
    return Examined(loaded, tuple(sorted(set(problems))), frozenset(broken))


def content_of(data: Mapping[str, Any]) -> str:
    """The digest that a review is bound to: all that the file says but the review itself, however it is laid out."""
    return digest({key: value for key, value in data.items() if key != "reviewed"})


def _without_mistakes(data: dict[str, Any], error: ValidationError, broken: set[str]) -> Runbook | None:
    """The runbook without what does not fit; None when nothing is left of it."""
    rest = {**data}
    for detail in error.errors(include_url=False, include_input=False):
        top, *inner = detail["loc"] or ("",)
        if top in ("inputs", "facts") and inner and isinstance(rest.get(str(top)), dict):
            rest[str(top)] = {key: value for key, value in rest[str(top)].items() if key != inner[0]}
            broken.add(f"{top}.{inner[0]}")
        elif str(top) in _STAND_INS:
            rest[str(top)] = _STAND_INS[str(top)]
        else:
            rest.pop(str(top), None)
    broken.add("")
    try:
        return Runbook.model_validate(rest)
    except ValidationError:
        return None


def schema() -> dict[str, Any]:
    """JSON Schema of a runbook file, for editors."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "keyturn runbook",
        **Runbook.model_json_schema(by_alias=True),
    }


def _steps_of(document: Document) -> tuple[list[Problem], dict[str, Any], set[str]]:
    """The data with each step already of its model, so that a mistake in one step speaks of that step alone."""
    problems: list[Problem] = []
    broken: set[str] = set()
    data = dict(document.data)

    def steps(at: Location, items: list[Any]) -> list[Any]:
        return [_step(document, (*at, index), item, problems, broken) for index, item in enumerate(items)]

    for section in ("steps", "retire"):
        if isinstance(data.get(section), list):
            data[section] = steps((section,), data[section])
    emergency = data.get("emergency")
    if isinstance(emergency, dict) and isinstance(emergency.get("steps"), list):
        try:
            data["emergency"] = Emergency.model_validate(_emergency(document, emergency, problems, broken))
        except ValidationError as error:
            problems += model_problems(document, ("emergency",), Emergency, error, SHAPES)
            data["emergency"] = None
            broken.add("")
    return problems, data, broken


def _step(document: Document, at: Location, item: Any, problems: list[Problem], broken: set[str]) -> StepBase:
    """The step, or one that waits for nothing in its place."""
    if not isinstance(item, dict):
        problems.append(document.problem(at, "a step is a mapping", "write {id: ..., do: ...}"))
        return _stand_in(item, at, broken)
    kinds = [kind for kind in Kind if kind.value in item]
    if len(kinds) != 1:
        had = " and ".join(kinds) if kinds else "none of them"
        wanted = "a step says one of do, check, wait, quiet or ask"
        spelled = next((hint for key in item if (hint := close(str(key), list(Kind))).startswith("did")), "")
        problems.append(document.problem(at, f"{wanted}; this one says {had}", spelled))
        return _stand_in(item, at, broken)
    model = KINDS[kinds[0]]
    try:
        return model.model_validate(item)
    except ValidationError as error:
        problems.extend(model_problems(document, at, model, error, SHAPES))
        return _stand_in(item, at, broken)


def _emergency(document: Document, given: dict[str, Any], problems: list[Problem], broken: set[str]) -> dict[str, Any]:
    """The emergency with each step of its model, and its orders without what is no id."""
    at: Location = ("emergency", "steps")
    steps: list[Any] = []
    for index, item in enumerate(given["steps"]):
        if not isinstance(item, str):
            steps.append(_step(document, (*at, index), item, problems, broken))
        elif _ID.fullmatch(item):
            steps.append(item)
        else:
            problems.append(document.problem((*at, index), "this is no id of a step", SHAPES[_NAME]))
            steps.append(_stand_in(item, (*at, index), broken))
    read = {**given, "steps": steps}
    if isinstance(given.get("otherwise"), list):
        read["otherwise"] = [item for item in given["otherwise"] if isinstance(item, str) and _ID.fullmatch(item)]
        for index, item in enumerate(given["otherwise"]):
            if item not in read["otherwise"]:
                hint = SHAPES[_NAME] if isinstance(item, str) else "put the step into steps:, and its id here"
                problems.append(document.problem(("emergency", "otherwise", index), "this is no id of a step", hint))
                broken.add("")
    return read


def _stand_in(item: Any, at: Location, broken: set[str]) -> StepBase:
    name = item.get("id") if isinstance(item, dict) else None
    if not isinstance(name, str) or not _ID.fullmatch(name):
        name = "broken-" + "-".join(str(part) for part in at)
    broken.add(name)
    return WaitStep(id=name, wait="0s")


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
