"""Expressions in runbooks: `${{ }}` looks values up in a closed set of scopes and adds durations; no code runs."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from bot.core import duration
from bot.core.errors import Permanent

Scope = Mapping[str, Any]
"""`{"inputs": {}, "facts": {}, "steps": {id: outputs}, "credential": {}, "rotation": {}, "each": value}`;
for an errand `{"incident": {}}`. `"now"` is the moment from which `until(...)` counts, where something does."""

SHAPES: Mapping[str, tuple[int, str]] = {
    "inputs": (2, "inputs.<name>"),
    "facts": (2, "facts.<name>"),
    "steps": (3, "steps.<id>.<output>"),
    "credential": (2, "credential.name"),
    "rotation": (2, "rotation.id"),
    "incident": (2, "incident.id"),
    "each": (1, "each"),
}
"""Every scope, with the number of parts of a look-up in it and an example."""

OF_INCIDENT = (
    "id",
    "credential",
    "environment",
    "reason",
    "order",
    "summary",
    "severity",
    "opened_by",
    "opened_at",
)
"""What the errands of an incident can look up; no step of a runbook can."""
_FIELDS = {
    "credential": ("name", "environment", "owner", "class", "max_valid"),
    "rotation": ("id", "emergency"),
    "incident": OF_INCIDENT,
}

LONGEST_TEXT = 16_384
LONGEST_EXPRESSION = 400
DEEPEST = 16
MOST_VALUES = 5_000

_OPEN, _CLOSE = "${{", "}}"
_TOKEN = re.compile(
    r"""\s*(?:
      (?P<span>[0-9]+(?:\.[0-9]+)?(?:ms|w|d|h|m|s)(?:[0-9]+(?:\.[0-9]+)?(?:ms|w|d|h|m|s))*)(?![A-Za-z0-9_.])
    | (?P<path>[A-Za-z][A-Za-z0-9_-]*(?:\.[A-Za-z][A-Za-z0-9_-]*)*)
    | (?P<sign>[-+(),])
    )""",
    re.VERBOSE,
)


class TemplateError(Permanent, ValueError):
    """An expression that cannot be read or looked up. The message names places, never the values found there."""


@dataclass(frozen=True, slots=True, order=True)
class Reference:
    """One look-up: `steps.publish.kid` is scope `steps`, name `publish`, output `kid`."""

    scope: str
    name: str = ""
    output: str = ""

    def __str__(self) -> str:
        return ".".join(part for part in (self.scope, self.name, self.output) if part)


@dataclass(frozen=True, slots=True)
class _Sum:
    """Terms with their signs; one unsigned term is the term itself."""

    terms: tuple[tuple[int, _Term], ...]


@dataclass(frozen=True, slots=True)
class _Pick:
    """`max(...)` or `min(...)` of durations, `seconds(...)` of one, which is a number, or `until(...)` of a moment."""

    name: str
    choices: tuple[_Sum, ...]


_Term = Reference | timedelta | _Sum | _Pick


def evaluate(value: Any, scope: Scope) -> Any:
    """Replace every expression in a JSON value. A string that is one expression keeps the type of what it finds.

    Sums are durations and come back as text that `duration.parse` reads (`1h 15m`). Raises `TemplateError`.
    """
    return _walk(value, lambda text: _render(text, scope))


def evaluate_span(text: str | int | float, scope: Scope) -> timedelta:
    """A duration: a literal (`15m`), seconds, or an expression that gives one of these. Raises `TemplateError`."""
    found = _render(text, scope) if isinstance(text, str) else text
    span = _span(found, f"{_short(str(text))}")
    if span < timedelta(0):
        raise TemplateError(f"{_short(str(text))} is less than zero", "write max(0s, ...) around it")
    return span


def references(value: Any) -> list[Reference]:
    """Every look-up in a JSON value, in order, each once. Raises `TemplateError` for what is no expression."""
    return _collected(value, _look_ups)


def moments(value: Any) -> list[Reference]:
    """Those look-ups that stand in `until(...)` and so have to be moments."""
    return _collected(value, _awaited)


def moment(value: Any, where: str) -> datetime:
    """A moment in ISO 8601 with its offset from UTC; raises `TemplateError`, which names the place."""
    try:
        found = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise TemplateError(f"{where} is no moment", "give it in ISO 8601 with its offset: 2026-03-01T12:00:00+00:00")
    return found.astimezone(UTC)


def is_expression(value: Any) -> bool:
    """Whether a value holds an expression anywhere; raises `TemplateError` for broken ones."""
    found = False

    def look(text: str) -> str:
        nonlocal found
        found = found or any(not isinstance(piece, str) for piece in _pieces(text))
        return text

    _walk(value, look)
    return found


def _collected(value: Any, of: Callable[[_Term], Iterator[Reference]]) -> list[Reference]:
    found: dict[Reference, None] = {}

    def collect(text: str) -> str:
        for piece in _pieces(text):
            if not isinstance(piece, str):
                found.update(dict.fromkeys(of(piece)))
        return text

    _walk(value, collect)
    return list(found)


def _walk(value: Any, change: Callable[[str], Any]) -> Any:
    budget = MOST_VALUES

    def step(item: Any, depth: int) -> Any:
        nonlocal budget
        budget -= 1
        if budget < 0:
            raise TemplateError(f"more than {MOST_VALUES} values", "split the runbook")
        if depth > DEEPEST:
            raise TemplateError(f"nested more than {DEEPEST} deep", "flatten it")
        if isinstance(item, str):
            return change(item)
        if isinstance(item, Mapping):
            return {key: step(inner, depth + 1) for key, inner in item.items()}
        if isinstance(item, list | tuple):
            return [step(inner, depth + 1) for inner in item]
        return item

    return step(value, 0)


def _render(text: str, scope: Scope) -> Any:
    pieces = _pieces(text)
    if len(pieces) == 1:
        only = pieces[0]
        return only if isinstance(only, str) else _plain(_compute(only, scope))
    return "".join(piece if isinstance(piece, str) else _as_text(piece, scope) for piece in pieces)


def _as_text(piece: _Sum, scope: Scope) -> str:
    value = _plain(_compute(piece, scope))
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise TemplateError(
            f"{_named(piece)} is {_kind(value)} and cannot stand inside a text", "use it alone, without text around it"
        )
    return str(value)


def _plain(value: Any) -> Any:
    if not isinstance(value, timedelta):
        return value
    if value < timedelta(0):
        raise TemplateError("a sum of durations is less than zero", "write max(0s, ...) around it")
    return duration.show(value)


def _pieces(text: str) -> list[str | _Sum]:
    """Literal parts and parsed expressions, in order; an empty text is one empty part."""
    if _OPEN not in text:
        return [text]
    if len(text) > LONGEST_TEXT:
        raise TemplateError(f"a text with expressions is longer than {LONGEST_TEXT} characters", "shorten it")
    pieces: list[str | _Sum] = []
    at = 0
    while (start := text.find(_OPEN, at)) >= 0:
        end = text.find(_CLOSE, start)
        if end < 0:
            raise TemplateError(f"{_short(text[start:])} is never closed", "close it with }}")
        if start > at:
            pieces.append(text[at:start])
        pieces.append(_Parser(text[start + len(_OPEN) : end]).parse())
        at = end + len(_CLOSE)
    if at < len(text):
        pieces.append(text[at:])
    return pieces


class _Parser:
    """Recursive descent over at most `LONGEST_EXPRESSION` characters."""

    def __init__(self, text: str) -> None:
        self.text = text
        if len(text) > LONGEST_EXPRESSION:
            raise TemplateError(f"an expression is longer than {LONGEST_EXPRESSION} characters", "shorten it")
        self.tokens = list(self._tokens())
        self.at = 0
        self.depth = 0

    def _tokens(self) -> Iterator[tuple[str, str]]:
        at, end = 0, len(self.text.rstrip())
        while at < end:
            match = _TOKEN.match(self.text, at, end)
            if match is None or match.lastgroup is None:
                raise self._wrong(f"cannot be read from {_short(self.text[at:].strip())!r} on")
            yield match.lastgroup, match[match.lastgroup]
            at = match.end()

    def parse(self) -> _Sum:
        result = self._sum()
        if self.at < len(self.tokens):
            raise self._wrong(f"has {_short(self._peek())!r} where it should end")
        return result

    def _peek(self) -> str:
        return self.tokens[self.at][1] if self.at < len(self.tokens) else ""

    def _take(self, sign: str) -> bool:
        if self.at < len(self.tokens) and self.tokens[self.at] == ("sign", sign):
            self.at += 1
            return True
        return False

    def _sum(self) -> _Sum:
        self.depth += 1
        if self.depth > DEEPEST:
            raise self._wrong("has too many brackets")
        terms: list[tuple[int, _Term]] = [(1, self._term())]
        while True:
            if self._take("+"):
                terms.append((1, self._term()))
            elif self._take("-"):
                terms.append((-1, self._term()))
            else:
                self.depth -= 1
                return _Sum(tuple(terms))

    def _term(self) -> _Term:
        if self.at >= len(self.tokens):
            raise self._wrong("ends too early" if self.tokens else "is empty")
        if self._take("("):
            inner = self._sum()
            self._close()
            return inner
        kind, text = self.tokens[self.at]
        self.at += 1
        if kind == "span":
            return _span(text, _short(text))
        if kind == "path" and self._take("("):
            return self._pick(text)
        if kind == "path":
            return self._reference(text)
        raise self._wrong(f"has {text!r} where a value should be")

    def _pick(self, name: str) -> _Pick:
        if name not in ("max", "min", "seconds", "until"):
            told = "max(...), min(...) and seconds(...) of durations and until(...) of a moment"
            raise self._wrong(f"calls {_short(name)!r}; only {told} exist")
        choices = [self._sum()]
        while self._take(","):
            choices.append(self._sum())
        self._close()
        if name == "seconds" and len(choices) > 1:
            raise self._wrong("gives seconds(...) more than one duration")
        if name == "until" and _awaited_in(choices) is None:
            raise self._wrong("gives until(...) something else than one moment; write until(facts.<name>)")
        return _Pick(name, tuple(choices))

    def _close(self) -> None:
        if not self._take(")"):
            raise self._wrong("has a bracket that is never closed")

    def _reference(self, path: str) -> Reference:
        parts = path.split(".")
        shape = SHAPES.get(parts[0])
        if shape is None:
            raise self._wrong(f"looks into {_short(parts[0])!r}; there are {', '.join(SHAPES)}")
        count, example = shape
        fields = _FIELDS.get(parts[0])
        if len(parts) != count or (fields and parts[1] not in fields):
            advice = f"one of {', '.join(f'{parts[0]}.{name}' for name in fields)}" if fields else example
            raise self._wrong(f"has {_short(path)!r}; write {advice} (a minus needs spaces around it)")
        return Reference(*parts)

    def _wrong(self, what: str) -> TemplateError:
        return TemplateError(
            f"the expression {_short(self.text.strip())!r} {what}",
            "expressions look values up (${{ inputs.name }}) and add durations (${{ inputs.x + 1h }}), nothing else",
        )


def _look_ups(term: _Term) -> Iterator[Reference]:
    if isinstance(term, Reference):
        yield term
    elif isinstance(term, _Sum):
        for _, inner in term.terms:
            yield from _look_ups(inner)
    elif isinstance(term, _Pick):
        for choice in term.choices:
            yield from _look_ups(choice)


def _awaited(term: _Term) -> Iterator[Reference]:
    if isinstance(term, _Sum):
        for _, inner in term.terms:
            yield from _awaited(inner)
    elif isinstance(term, _Pick):
        for choice in term.choices:
            yield from _look_ups(choice) if term.name == "until" else _awaited(choice)


def _awaited_in(choices: Sequence[_Sum]) -> Reference | None:
    """The one look-up in the brackets of `until(...)`; None where something else stands there."""
    terms = [term for choice in choices for term in choice.terms]
    only = terms[0][1] if len(terms) == 1 else None
    return only if isinstance(only, Reference) else None


def _until(choices: Sequence[_Sum], scope: Scope) -> timedelta:
    reference, now = _awaited_in(choices), scope.get("now")
    assert reference is not None  # the parser has seen to it
    ends = moment(_look_up(reference, scope), str(reference))
    if not isinstance(now, datetime):
        raise TemplateError(f"until({reference}) is not known here", "write it in wait:, which counts from its begin")
    return timedelta(seconds=max(0, math.ceil((ends - now).total_seconds())))


def _compute(term: _Term, scope: Scope) -> Any:
    if isinstance(term, Reference):
        return _look_up(term, scope)
    if isinstance(term, timedelta):
        return term
    if isinstance(term, _Pick) and term.name == "until":
        return _until(term.choices, scope)
    if isinstance(term, _Pick):
        spans = [_span(_compute(choice, scope), _named(choice)) for choice in term.choices]
        if term.name == "seconds":
            total = spans[0].total_seconds()
            return int(total) if total.is_integer() else total
        return max(spans) if term.name == "max" else min(spans)
    if len(term.terms) == 1:
        return _compute(term.terms[0][1], scope)
    return sum((sign * _span(_compute(inner, scope), _named(inner)) for sign, inner in term.terms), timedelta(0))


def _look_up(reference: Reference, scope: Scope) -> Any:
    value: Any = scope
    for part in (reference.scope, reference.name, reference.output):
        if not part:
            continue
        if not isinstance(value, Mapping) or part not in value:
            raise TemplateError(f"{reference} is not known here", f"nothing has given {part!r} a value yet")
        value = value[part]
    if _holds_expression(value):
        raise TemplateError(f"{reference} holds an expression itself", "values are looked up once; write it out")
    return value


def _holds_expression(value: Any) -> bool:
    if isinstance(value, str):
        return _OPEN in value
    if isinstance(value, Mapping):
        return any(_holds_expression(inner) for inner in value.values())
    return isinstance(value, list | tuple) and any(_holds_expression(inner) for inner in value)


def _span(value: Any, where: str) -> timedelta:
    if isinstance(value, timedelta):
        return value
    try:
        if isinstance(value, str):
            return duration.parse(value)
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return duration.limited(timedelta(seconds=value))
    except (ValueError, OverflowError) as error:
        raise TemplateError(f"{where} is no duration", "write for example 15m, 24h or 90d") from error
    raise TemplateError(f"{where} is {_kind(value)}, no duration", "write for example 15m, 24h or 90d")


def _named(term: _Term) -> str:
    found = list(_look_ups(term))
    return str(found[0]) if found else "a part of the sum"


def _kind(value: Any) -> str:
    names = {
        bool: "a yes or no",
        str: "a text",
        list: "a list",
        tuple: "a list",
        dict: "a mapping",
        type(None): "empty",
    }
    return names.get(type(value), "a number" if isinstance(value, int | float) else "something else")


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."
