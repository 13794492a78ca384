"""Rules on order: create, let everyone learn, promote, watch, prove quiet, disable, prove dead, destroy."""

from __future__ import annotations

import re
from collections.abc import Iterator

from bot.core.lint.model import Finding, Place, Subject
from bot.core.runbook import AskStep, CheckStep, DoStep, QuietStep, Section, Skip, WaitStep
from bot.core.template import Reference, TemplateError, references

_OVERWRITES = re.compile(r"\.(?:overwrite|put|set|update|replace|write)(?:_|$)")
_ADDS_BESIDE = re.compile(r"(?:^|[._])(?:add|publish|keep|dual|both|accept|previous|trust|stage|pending)(?:_|$)")


def check_promotion(subject: Subject) -> Iterator[Finding]:
    """Nothing may use a new credential before everyone who verifies it can know it."""
    fresh: set[str] = set()
    beside = False
    created = False
    for place in subject.steps():
        step, effect = place.step, subject.effect(place.step)
        if place.section is not Section.STEPS:
            continue
        if isinstance(step, CheckStep | WaitStep | AskStep):
            fresh.clear()
        if not isinstance(step, DoStep):
            continue
        used = {found.name for found in _references_of(step) if found.scope == "steps"} & fresh
        if effect == "changes" and used:
            yield subject.find(
                "promoted-before-known",
                place.at,
                f"{step.do} uses what {', '.join(sorted(used))} made before anyone can know it",
                "wait for caches, and check that everyone accepts it, in between",
                step=step.id,
                error=True,
            )
        if effect == "changes" and not created and not _ADDS_BESIDE.search(step.do):
            yield subject.find(
                "changed-in-place",
                place.at,
                f"{step.do} changes the credential before a new one exists beside it",
                "create first, so that there is something to go back to",
                step=step.id,
            )
        if effect == "changes" and _OVERWRITES.search(step.do) and not beside:
            yield subject.find(
                "overwritten-before-dual",
                place.at,
                f"{step.do} overwrites the stored secret before anyone accepts old and new",
                "bring out the configuration that knows both first; a restart in between rejects the old one",
                step=step.id,
            )
        beside = beside or bool(_ADDS_BESIDE.search(step.do))
        if effect == "creates":
            created = True
            fresh.add(step.id)
        if effect == "destroys":
            message = f"{step.do} destroys before the new credential has proved itself"
            yield subject.find(
                "destroyed-before-promotion", place.at, message, "move it to retire", step=step.id, error=True
            )


def check_retirement(subject: Subject) -> Iterator[Finding]:
    """The old credential goes by proof: quiet, brownout, dead check."""
    retire = [place for place in subject.steps() if place.section is Section.RETIRE]
    if not retire:
        if any(subject.effect(place.step) == "creates" for place in subject.steps()):
            message = "the old credential is never retired"
            yield subject.find("no-retirement", ("steps",), message, "add retire: with quiet, a disable and a check")
        return
    ending = [place for place in retire if subject.effect(place.step) in ("changes", "destroys")]
    if not ending:
        return
    first = retire.index(ending[0])
    if not any(_shows_unused(place) for place in retire[:first]):
        yield subject.find(
            "no-quiet",
            ending[0].at,
            "the old credential is taken away without proof that nobody uses it",
            "add a quiet: step with sensors before it, or wait: for its own end, until: a check shows it",
            step=ending[0].step.id,
            error=True,
        )
    yield from _untied(subject, retire[:first], ending[0])
    yield from _brownout(subject, ending)
    after = retire[first + 1 :]
    if not any(isinstance(place.step, CheckStep) for place in after):
        yield subject.find(
            "no-dead-check",
            ending[-1].at,
            "nothing shows that the old credential is refused afterwards",
            "add a check: that presents the old one and sees it refused",
            step=ending[-1].step.id,
            error=True,
        )
    yield from _after_no_return(subject, retire)


def _shows_unused(place: Place) -> bool:
    """Sensors that saw nobody; or its own end, after a wait and proved by a check."""
    step = place.step
    return isinstance(step, QuietStep) or (isinstance(step, WaitStep) and step.until is not None)


def check_skips(subject: Subject) -> Iterator[Finding]:
    """Proof that anyone alone may skip is no proof."""
    for place in subject.steps():
        step = place.step
        proof = isinstance(step, QuietStep | CheckStep | WaitStep) and place.section is Section.RETIRE
        effect = isinstance(step, DoStep) and subject.effect(step) != "reads"
        if step.skip is Skip.FREE and (proof or effect):
            message = "a single person may skip this proof" if proof else "a single person may skip this change"
            yield subject.find(
                "free-skip", (*place.at, "skip"), message, "write skip: second-person", step=step.id, error=True
            )


def _untied(subject: Subject, before: list[Place], ending: Place) -> Iterator[Finding]:
    """The time before the end has to come from how long tokens and caches live."""
    spans = [place.step.wait for place in before if isinstance(place.step, WaitStep)]
    for place in before:
        if isinstance(place.step, QuietStep):
            spans += [place.step.for_, place.step.at_least]
    if not any("${{" in span for span in spans):
        said = ", ".join(span for span in spans if span != "0s") or "no time at all"
        yield subject.find(
            "retirement-untied",
            ending.at,
            f"the wait before it ({said}) is not compared with how long tokens of the old credential live",
            "write it as a sum of facts or inputs, such as ${{ facts.token_life + facts.cache_ttl }}",
            step=ending.step.id,
        )


def _brownout(subject: Subject, ending: list[Place]) -> Iterator[Finding]:
    browned = False
    for place in ending:
        step = place.step
        if subject.effect(step) == "changes" and isinstance(step, DoStep) and step.watch:
            browned = True
        elif subject.effect(step) == "changes" and not browned:
            message = "nobody watches what happens when the old credential stops working"
            yield subject.find("no-watch", place.at, message, "add watch: with a probe and for:", step=step.id)
        elif subject.effect(step) == "destroys" and not browned:
            message = "it is destroyed without a reversible disable before"
            yield subject.find(
                "no-brownout", place.at, message, "disable it first, with watch:, and destroy later", step=step.id
            )
            browned = True


def _after_no_return(subject: Subject, retire: list[Place]) -> Iterator[Finding]:
    gone = ""
    for place in retire:
        effect = subject.effect(place.step)
        if effect == "destroys":
            gone = gone or place.step.id
        elif gone and effect in ("changes", "creates"):
            message = f"it comes after {gone!r}, from where nothing can be rolled back"
            yield subject.find(
                "change-after-no-return", place.at, message, "change first, destroy last", step=place.step.id
            )


def _references_of(step: DoStep) -> list[Reference]:
    try:
        return references(step.with_)
    except TemplateError:
        return []
