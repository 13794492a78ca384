"""Rules on words, parameters and look-ups: does everything that a runbook names exist, where it is used?"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from bot.core.document import Location, close
from bot.core.facts import looked_up, waves
from bot.core.lint.model import Finding, Place, Subject, WordInfo
from bot.core.runbook import CheckStep, DoStep, Expect, QuietStep, StepBase, Trouble, WaitStep
from bot.core.template import Reference, TemplateError, moments, references

_SPANS = ("wait", "for_", "at_least", "every", "within", "timeout")
_EVERYWHERE = frozenset({"inputs", "credential"})
_IN_STEPS = _EVERYWHERE | {"facts", "rotation", "steps"}
_MEASURED = {
    "operation": "an operation (do:)",
    "probe": "a probe (check:)",
    "sensor": "a sensor (quiet:)",
    "fact": "a fact",
}


def check_words(subject: Subject) -> Iterator[Finding]:
    """Words that no adapter offers or that are of another kind, and parameters that are missing or not known."""
    for name, fact in subject.runbook.facts.items():
        yield from _word(subject, ("facts", name, "read"), "", "fact", fact.read, fact.with_, ("facts", name, "with"))
    for place in (*subject.steps(), *subject.own_emergency()):
        yield from _words_of(subject, place)
    for index, branch in enumerate(subject.runbook.trouble):
        at: Location = ("trouble", index)
        for key, kind, word in (("check", "probe", branch.check), ("do", "operation", branch.do)):
            if word:
                yield from _word(subject, (*at, key), branch.id, kind, word, branch.with_, (*at, "with"))
    yield from _unused_shared(subject)


def check_references(subject: Subject) -> Iterator[Finding]:
    """Look-ups of inputs, facts, steps and outputs that do not exist, or not yet."""
    runbook = subject.runbook
    shared = _EVERYWHERE | {"facts", "rotation"}
    for key in ("rollback_within", "retire_within"):
        yield from _look_ups(subject, (key,), "", getattr(runbook, key), frozenset({"inputs"}), {})
    yield from _look_ups(subject, ("lives",), "", runbook.lives, frozenset({"inputs"}), {})
    yield from _each_value(subject, ("with",), "", runbook.with_, shared, {})
    for name, fact in runbook.facts.items():
        yield from _each_value(subject, ("facts", name, "with"), "", fact.with_, _EVERYWHERE | {"facts"}, {})
        yield from _look_ups(subject, ("facts", name, "at_most"), "", fact.at_most, _EVERYWHERE, {})
    yield from _circles(subject)
    known: dict[str, Collection[str] | None] = {}
    for place in subject.steps():
        yield from _of_step(subject, place, known)
        known[place.step.id] = _outputs(subject, place.step)
    yield from _each_value(subject, ("replaced",), "", runbook.replaced, _IN_STEPS, known)
    yield from _of_emergency(subject)
    for index, branch in enumerate(runbook.trouble):
        yield from _of_trouble(subject, ("trouble", index), branch, known)


def _circles(subject: Subject) -> Iterator[Finding]:
    """Facts that look each other up: none of them could be read first."""
    needs = {}
    for name, fact in subject.runbook.facts.items():
        info = subject.vocabulary.describe(fact.read)
        with contextlib.suppress(TemplateError):  # the loader has reported it
            needs[name] = looked_up(fact, subject.runbook.with_, info.params if info is not None else ())
    for name in waves(needs)[1]:
        message = f"the fact {name!r} waits for {', '.join(sorted(needs[name]))}, and they for it"
        yield subject.find("fact-circle", ("facts", name), message, "read one of them without the other", error=True)


def _of_emergency(subject: Subject) -> Iterator[Finding]:
    """Look-ups in both orders. Of the second one, only what depends on the order is news."""
    emergency = subject.runbook.emergency
    for order in emergency.orders if emergency else ():
        known: dict[str, Collection[str] | None] = {}
        for place in subject.emergency(order):
            found = _of_step(subject, place, known)
            yield from (one for one in found if one.rule == "later-step" or place.at[1] == "steps")
            known[place.step.id] = _outputs(subject, place.step)


def check_use(subject: Subject) -> Iterator[Finding]:
    """Inputs and facts that nothing looks up. A fact with a title is there for people to see."""
    used = set(_all_references(subject))
    for scope, names in (("inputs", subject.runbook.inputs), ("facts", subject.runbook.facts)):
        for name in names:
            if Reference(scope, name) not in used and not (scope == "facts" and subject.runbook.facts[name].title):
                message = f"the {scope.removesuffix('s')} {name!r} is used nowhere"
                yield subject.find(f"unused-{scope.removesuffix('s')}", (scope, name), message, "remove it")


def _words_of(subject: Subject, place: Place) -> Iterator[Finding]:
    step, at = place.step, place.at
    own = (*at, "with")
    if isinstance(step, DoStep):
        yield from _word(subject, (*at, "do"), step.id, "operation", step.do, step.with_, own)
        if step.watch:
            where = (*at, "watch")
            yield from _word(
                subject, where, step.id, "probe", step.watch.check, step.watch.with_, where, step.watch.expect
            )
    elif isinstance(step, CheckStep):
        yield from _word(subject, (*at, "check"), step.id, "probe", step.check, step.with_, own, step.expect)
    elif isinstance(step, WaitStep) and step.until:
        where = (*at, "until")
        yield from _word(subject, where, step.id, "probe", step.until.check, step.until.with_, where, step.until.expect)
    elif isinstance(step, QuietStep):
        for word in step.quiet:
            yield from _word(subject, (*at, "quiet"), step.id, "sensor", word, step.with_, own)


def _word(
    subject: Subject,
    at: Location,
    step: str,
    kind: str,
    word: str,
    own: Mapping[str, Any],
    with_at: Location,
    expect: Expect | None = None,
) -> Iterator[Finding]:
    info = subject.vocabulary.describe(word)
    if info is None:
        near = subject.vocabulary.close(word)
        hint = f"did you mean {near[0]}?" if near else "docs/reference/adapters.md lists every word"
        yield subject.find("unknown-word", at, f"no adapter offers {word}", hint, step=step, error=True)
        return
    if info.kind != kind:
        message = f"{word} is {_MEASURED[info.kind]}, not {_MEASURED[kind]}"
        yield subject.find("wrong-kind", at, message, "use it where that belongs", step=step, error=True)
        return
    for name in own:
        if name not in info.params:
            place = (*with_at, name) if with_at[-1] == "with" else (*with_at, "with", name)
            hint = close(name, info.params) or "it takes none"
            message = f"{word} takes no {name!r}"
            yield subject.find("unknown-parameter", place, message, hint, step=step, error=True)
    yield from _missing(subject, at, step, word, info, own, expect)


def _missing(
    subject: Subject, at: Location, step: str, word: str, info: WordInfo, own: Mapping[str, Any], expect: Expect | None
) -> Iterator[Finding]:
    given = {*own, *subject.runbook.with_}
    if expect is not None and expect.over is not None:
        given.add("over")
    for name, required in info.params.items():
        if required and name not in given:
            message, hint = f"{word} needs {name!r}", f"add with: {{{name}: ...}}"
            yield subject.find("missing-parameter", at, message, hint, step=step, error=True)


def _unused_shared(subject: Subject) -> Iterator[Finding]:
    words = [fact.read for fact in subject.runbook.facts.values()]
    words += [word for branch in subject.runbook.trouble for word in (branch.check, branch.do) if word]
    for place in (*subject.steps(), *subject.own_emergency()):
        words += _named_words(place.step)
    infos = [subject.vocabulary.describe(word) for word in words]
    if None in infos:
        return  # an unknown word may be the one that takes it
    for name in subject.runbook.with_:
        if not any(info is not None and name in info.params for info in infos):
            message = f"no word of this runbook takes {name!r}"
            yield subject.find("unused-argument", ("with", name), message, "remove it")


def _named_words(step: StepBase) -> list[str]:
    if isinstance(step, DoStep):
        return [step.do, *([step.watch.check] if step.watch else [])]
    if isinstance(step, CheckStep):
        return [step.check]
    if isinstance(step, QuietStep):
        return list(step.quiet)
    return [step.until.check] if isinstance(step, WaitStep) and step.until else []


def _of_step(subject: Subject, place: Place, known: Mapping[str, Collection[str] | None]) -> Iterator[Finding]:
    step, at = place.step, place.at
    scopes = _IN_STEPS | ({"each"} if step.each is not None else set())
    yield from _each_value(subject, (*at, "with"), step.id, step.with_, scopes, known)
    for name in _SPANS:
        value = getattr(step, name, None)
        yield from _look_ups(subject, (*at, name.rstrip("_")), step.id, value, _IN_STEPS, known)
        yield from _durations(subject, (*at, name.rstrip("_")), step.id, value)
    yield from _look_ups(subject, (*at, "each"), step.id, step.each, _IN_STEPS, known)
    yield from _targets(subject, (*at, "each"), step)
    for key in ("until", "watch"):
        condition = getattr(step, key, None)
        if condition is not None:
            yield from _each_value(subject, (*at, key, "with"), step.id, condition.with_, scopes, known)
            for name in ("for_", "every"):
                value = getattr(condition, name, None)
                yield from _look_ups(subject, (*at, key, name.rstrip("_")), step.id, value, _IN_STEPS, known)


def _of_trouble(
    subject: Subject, at: Location, branch: Trouble, known: Mapping[str, Collection[str] | None]
) -> Iterator[Finding]:
    scopes = _IN_STEPS | ({"each"} if branch.each is not None else set())
    yield from _each_value(subject, (*at, "with"), branch.id, branch.with_, scopes, known)
    yield from _look_ups(subject, (*at, "each"), branch.id, branch.each, _IN_STEPS, known)


def _each_value(
    subject: Subject,
    at: Location,
    step: str,
    values: Mapping[Any, Any],
    scopes: Collection[str],
    known: Mapping[str, Collection[str] | None],
) -> Iterator[Finding]:
    for name, value in values.items():
        yield from _look_ups(subject, (*at, name), step, value, scopes, known)


def _look_ups(
    subject: Subject,
    at: Location,
    step: str,
    value: Any,
    scopes: Collection[str],
    known: Mapping[str, Collection[str] | None],
) -> Iterator[Finding]:
    if at[-1] != "wait" or "with" in at:
        for reference in _moments(value):
            message, hint = f"until({reference}) cannot be looked up here", "only wait: knows from when it counts"
            yield subject.find("out-of-scope", at, message, hint, step=step, error=True)
    for reference in _references(value):
        wrong = _wrong(subject, reference, scopes, known)
        if wrong:
            rule, message, hint = wrong
            yield subject.find(rule, at, message, hint, step=step, error=True)


def _wrong(
    subject: Subject, reference: Reference, scopes: Collection[str], known: Mapping[str, Collection[str] | None]
) -> tuple[str, str, str] | None:
    runbook = subject.runbook
    if reference.scope not in scopes:
        hint = "add each: to the step" if reference.scope == "each" else f"here are {', '.join(sorted(scopes))}"
        return "out-of-scope", f"{reference} cannot be looked up here", hint
    if f"{reference.scope}.{reference.name}" in subject.broken or reference.name in subject.broken:
        return None
    if reference.scope == "inputs" and reference.name not in runbook.inputs:
        return "unknown-input", f"there is no input {reference.name!r}", close(reference.name, runbook.inputs)
    if reference.scope == "facts" and reference.name not in runbook.facts:
        return "unknown-fact", f"there is no fact {reference.name!r}", close(reference.name, runbook.facts)
    if reference.scope != "steps":
        return None
    if reference.name not in known:
        if runbook.step(reference.name) is not None:
            return "later-step", f"{reference} is looked up before {reference.name!r} has run", "change the order"
        ids = [place.step.id for place in subject.steps()]
        return "unknown-step", f"there is no step {reference.name!r}", close(reference.name, ids)
    outputs = known[reference.name]
    if outputs is not None and reference.output not in outputs:
        hint = close(reference.output, outputs) or "it gives none"
        return "unknown-output", f"the step {reference.name!r} gives no {reference.output!r}", hint
    return None


def _durations(subject: Subject, at: Location, step: str, value: Any) -> Iterator[Finding]:
    """Look-ups in a duration have to be durations, and those in `until(...)` moments."""
    declared: dict[str, Mapping[str, Any]] = {"inputs": subject.runbook.inputs, "facts": subject.runbook.facts}
    awaited = _moments(value)
    for reference in _references(value):
        found = declared.get(reference.scope, {}).get(reference.name)
        if reference in awaited:
            if found is None or found.type != "moment":
                message = f"{reference} is no moment, and until(...) wants one"
                yield subject.find(
                    "not-a-duration", at, message, "declare the fact as type: moment", step=step, error=True
                )
        elif found is not None and found.type not in ("duration", "number"):
            message = f"{reference} is of type {found.type}, and a duration is wanted"
            yield subject.find("not-a-duration", at, message, "declare it as type: duration", step=step, error=True)


def _targets(subject: Subject, at: Location, step: StepBase) -> Iterator[Finding]:
    declared: dict[str, Mapping[str, Any]] = {"inputs": subject.runbook.inputs, "facts": subject.runbook.facts}
    for reference in _references(step.each):
        found = declared.get(reference.scope, {}).get(reference.name)
        if found is not None and found.type != "list":
            message = f"{reference} is of type {found.type}, and each: wants a list"
            yield subject.find("not-a-list", at, message, "declare it as type: list", step=step.id, error=True)
    if isinstance(step.each, str) and not _references(step.each):
        yield subject.find("not-a-list", at, "each: wants a list", "write [a, b] or an input", step=step.id, error=True)


def _outputs(subject: Subject, step: StepBase) -> Collection[str] | None:
    """Names that a step gives to later ones; None when its word is not known."""
    if step.id in subject.broken:
        return None
    if not isinstance(step, DoStep):
        return ()
    if step.each is not None:
        return ("targets",)
    info = subject.vocabulary.describe(step.do)
    return None if info is None else info.outputs


def _references(value: Any) -> list[Reference]:
    try:
        return references(value)
    except TemplateError:
        return []  # the loader has reported it


def _moments(value: Any) -> list[Reference]:
    try:
        return moments(value)
    except TemplateError:
        return []


def _all_references(subject: Subject) -> list[Reference]:
    return _references(subject.runbook.model_dump(mode="json", exclude={"inputs"}))
