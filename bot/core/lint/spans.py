"""Rules on durations: zero waits, overlaps against cadence, policy and warnings. Bounds are worked out from data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta

from bot.core import duration
from bot.core.lint.model import Finding, Place, Subject
from bot.core.runbook import QuietStep, Section, WaitStep
from bot.core.schedule import Cadences
from bot.core.template import TemplateError, evaluate_span

ZERO = timedelta(0)
_BEGIN = datetime(2000, 1, 1, tzinfo=UTC)
_SAFER = ("development", "test", "staging", "production")
"""Environments from the one that should meet a failure first to the one that should meet it last."""


def check_waits(subject: Subject) -> Iterator[Finding]:
    """Waits that do nothing, and a retirement that cannot fit into the time it is given."""
    for place in subject.steps():
        step = place.step
        if isinstance(step, WaitStep) and step.until is None and _highest(subject, step.wait) == ZERO:
            message = "it waits for no time and for no condition"
            yield subject.find("zero-wait", (*place.at, "wait"), message, "write a time or until:", step=step.id)
        if isinstance(step, QuietStep) and _highest(subject, step.for_) == ZERO:
            message = "quiet for no time proves nothing"
            yield subject.find("zero-wait", (*place.at, "for"), message, "write a time", step=step.id, error=True)
    if _span(subject, subject.runbook.rollback_within, facts_high=True) == ZERO:
        message = "nobody can roll back in no time"
        yield subject.find("zero-wait", ("rollback_within",), message, "write the time a rollback may take", error=True)
    least, most = _overlap(subject, high=False), _span(subject, subject.runbook.retire_within, facts_high=True)
    if least is not None and most is not None and least > most:
        message = f"the retirement takes at least {duration.show(least)} and is given {duration.show(most)}"
        yield subject.find("retirement-too-short", ("retire_within",), message, "give it more time", error=True)


def check_overlap(subject: Subject) -> Iterator[Finding]:
    """The overlap against what the settings say of this credential: cadence, minimum overlap, warning time."""
    context, name = subject.context, subject.context.credential
    if not subject.runbook.retire:
        return
    least, most = _overlap(subject, high=False), _overlap(subject, high=True)
    if context.cadence is not None and most is not None and most >= context.cadence:
        yield subject.find(
            "overlap-longer-than-cadence",
            ("retire",),
            f"{name} is rotated every {duration.show(context.cadence)} and its old version stays for up to "
            f"{duration.show(most)}: the next rotation meets it, and a slip makes three",
            "shorten the overlap or rotate less often",
        )
    if context.minimum_overlap is not None and least is not None and least < context.minimum_overlap:
        yield subject.find(
            "overlap-below-policy",
            ("retire",),
            f"the old version of {name} may go after {duration.show(least)}, and policy wants "
            f"{duration.show(context.minimum_overlap)}",
            "lengthen the wait before it is disabled, or correct minimum_overlap",
            error=True,
        )
    if context.warn_before is not None and least is not None and context.warn_before >= least:
        yield subject.find(
            "warning-at-once",
            ("retire",),
            f"the warning {duration.show(context.warn_before)} before the end of the overlap of {name} fires at once: "
            f"the overlap itself may last {duration.show(least)}",
            "set warn_before to a part of the overlap, such as a quarter",
        )


def lint_cadence(
    cadences: Cadences, line: Callable[[str, str], int] = lambda kind, environment: 1
) -> list[tuple[int, str, str]]:
    """Environments that are rotated more often than one that should meet a new failure before them.

    `line` gives the line in which the cadence of a class and an environment stands. Returns (line, class, message).
    """
    found = []
    for kind, by_environment in cadences.items():
        ranked = [name for name in _SAFER if name in by_environment]
        for i, earlier in enumerate(ranked):
            for later in ranked[i + 1 :]:
                if by_environment[later] < by_environment[earlier]:
                    message = (
                        f"{later} rotates {kind} every {duration.show(by_environment[later])} and {earlier} every "
                        f"{duration.show(by_environment[earlier])}, so {later} meets a new failure first"
                    )
                    found.append((line(kind, later), kind, message))
    return found


def _overlap(subject: Subject, *, high: bool) -> timedelta | None:
    """How long old and new are both valid: the waits before the first step that takes the old one away."""
    total = ZERO
    for place in subject.steps():
        if place.section is not Section.RETIRE:
            continue
        if subject.effect(place.step) in ("changes", "destroys"):
            break
        span = _waited(subject, place, high=high)
        if span is None:
            return None
        total += span
    return total


def _waited(subject: Subject, place: Place, *, high: bool) -> timedelta | None:
    step = place.step
    if isinstance(step, WaitStep):
        return _span(subject, step.wait, facts_high=high)
    if isinstance(step, QuietStep):
        spans = [_span(subject, text, facts_high=high) for text in (step.for_, step.at_least)]
        known = [span for span in spans if span is not None]
        return max(known) if len(known) == len(spans) else None
    return ZERO


def _highest(subject: Subject, text: str) -> timedelta | None:
    return _span(subject, text, facts_high=True)


def _span(subject: Subject, text: str, *, facts_high: bool) -> timedelta | None:
    """The duration with facts at their highest or lowest; None when that cannot be known from the file."""
    inputs: dict[str, object] = {
        name: subject.context.inputs.get(name, given.default) for name, given in subject.runbook.inputs.items()
    }
    given: Mapping[str, object] = {"inputs": inputs}
    facts: dict[str, object] = {}
    for name, fact in subject.runbook.facts.items():
        if fact.type == "moment" and not facts_high:  # it may have passed
            facts[name] = _BEGIN.isoformat()
        if fact.type != "duration":
            continue
        if not facts_high:
            facts[name] = 0
        elif fact.at_most is not None:
            bound = _try(fact.at_most, given)
            if bound is not None:
                facts[name] = bound.total_seconds()
    return _try(text, {**given, "facts": facts, "now": _BEGIN})


def _try(text: str, scope: Mapping[str, object]) -> timedelta | None:
    try:
        return evaluate_span(text, scope)
    except TemplateError:
        return None
