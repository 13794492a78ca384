"""Facts: read when a rotation is planned, and again before a wait on them is believed to be over."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from bot.contracts.adapter import Run
from bot.contracts.registry import Registry
from bot.core import duration
from bot.core.errors import KeyturnError, Permanent, Refused
from bot.core.facts import looked_up, waves
from bot.core.plan import Plan
from bot.core.rotation import Rotation
from bot.core.runbook import FactSource, Runbook, StepBase, uses_of
from bot.core.template import TemplateError, evaluate_span, moment, references
from bot.engine.scope import parameters, scope_of, scope_of_plan


def read_facts(
    registry: Registry, runbook: Runbook, plan: Plan, run: Run, needed: Collection[str] | None = None
) -> tuple[dict[str, dict[str, Any]], tuple[str, ...]]:
    """Every fact, those at the same time that do not look each other up: an emergency waits for few answers.

    Raises `Refused` for what cannot be read or is out of bounds. Where it is said which are `needed`, the others are
    for people to see: no approval binds to them, and one that fails is left out and told as a warning.
    """
    found: dict[str, dict[str, Any]] = {}
    warnings: list[str] = []
    groups, _ = _groups(registry, runbook)
    if not groups:
        return {}, ()
    most = max(len(group) for group in groups)
    with ThreadPoolExecutor(max_workers=min(8, most), thread_name_prefix="fact") as pool:
        for group in groups:
            known = replace(plan, facts=dict(found))
            read = {name: pool.submit(_fact, registry, name, runbook.facts[name], known, run) for name in group}
            for name, future in read.items():
                aside = needed is not None and name not in needed
                try:
                    found[name] = future.result() | ({"needed": False} if aside else {})
                except KeyturnError as error:
                    if not aside:
                        raise
                    why = str(error) if isinstance(error, Refused) else f"{name} cannot be read: {error}"
                    warnings.append(f"{why.rstrip('.')}; no step of this plan needs it")
    return {name: found[name] for name in runbook.facts if name in found}, tuple(warnings)


def facts_for(registry: Registry, runbook: Runbook, steps: Iterable[StepBase]) -> frozenset[str]:
    """The facts that these steps or the names in `replaced` look up, and those that are looked up for them."""
    given: list[Any] = [dict(runbook.replaced)]
    for step in steps:
        given.append(step.model_dump(mode="json", by_alias=True, exclude={"by_hand"}))
        for _, word, own in uses_of(step):
            part = registry.part(word)
            takes = part.Params.model_fields.keys() - own.keys() if part is not None else ()
            given.append({name: value for name, value in runbook.with_.items() if name in takes})
    wanted = {found.name for found in references(given) if found.scope == "facts"}
    groups, needs = _groups(registry, runbook)
    for name in (name for group in reversed(groups) for name in group):
        if name in wanted:
            wanted |= needs[name]
    return frozenset(wanted)


def _groups(registry: Registry, runbook: Runbook) -> tuple[list[list[str]], dict[str, frozenset[str]]]:
    """The facts in the order in which they can be read, and what each of them looks up."""
    needs = {}
    for name, source in runbook.facts.items():
        part = registry.part(source.read)
        needs[name] = looked_up(source, runbook.with_, part.Params.model_fields if part is not None else ())
    groups, circle = waves(needs)
    if circle:
        raise Refused(f"the facts {', '.join(circle)} look each other up, so none of them can be read.", code="circle")
    return groups, needs


def _fact(registry: Registry, name: str, source: FactSource, plan: Plan, run: Run) -> dict[str, Any]:
    scope = scope_of_plan(plan)
    fact = registry.fact(source.read)
    try:
        known = fact.read(parameters(fact.Params, plan.arguments, source.with_, scope), run)
    except KeyturnError as error:
        hint = f" {error.hint}" if isinstance(error, Permanent) and error.hint else ""
        raise Refused(f"{name} cannot be read from {source.read}: {error}.{hint}", code="fact-unreadable") from None
    at_most = evaluate_span(source.at_most, scope).total_seconds() if source.at_most else None
    if at_most is not None and float(str(known.value)) > at_most:
        allowed = duration.show(timedelta(seconds=at_most))
        raise Refused(
            f"{name} is {known.value} s ({known.source}), more than the {allowed} that the runbook allows; "
            f"lower it there or raise the bound in the runbook.",
            code="fact-out-of-bounds",
        )
    return {
        "value": _of_type(name, source, known.value),
        "source": known.source,
        "read": source.read,
        "with": source.with_,
        "type": source.type,
        "bound": source.bound,
        "at_most": at_most,
        "title": source.title,
    }


def _of_type(name: str, source: FactSource, value: Any) -> Any:
    """What a type demands: a list in one order, each name once, so that an unchanged world gives an unchanged plan."""
    if source.type == "moment":
        try:
            return moment(value, name).isoformat()
        except TemplateError:
            told = f"{name} is read from {source.read}, which gives no moment."
            raise Refused(told, code="fact-unreadable") from None
    if source.type != "list":
        return value
    if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
        raise Refused(f"{name} is read from {source.read}, which gives no list of names.", code="fact-unreadable")
    return sorted(set(value))


class Facts:
    """The facts of a rotation under way."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def believed(self, text: str, rotation: Rotation, run: Run, since: datetime) -> timedelta:
        """A duration counted from `since`, with its facts read again: only on today's facts is a wait over.

        Raises `Permanent` for a fact that is outside of what the plan allows, and what reading raises.
        """
        scope = scope_of(rotation)
        facts = dict(scope["facts"])
        for reference in references(text):
            if reference.scope == "facts":
                facts[reference.name] = self._reread(rotation, run, reference.name)
        return evaluate_span(text, {**scope, "facts": facts, "now": since})

    def _reread(self, rotation: Rotation, run: Run, name: str) -> Any:
        """What the fact looks up itself stays as planned: of an old version, and not of the one in use by now."""
        said: Mapping[str, Any] = rotation.plan.facts[name]
        fact = self._registry.fact(said["read"])
        known = fact.read(parameters(fact.Params, rotation.plan.arguments, said["with"], scope_of(rotation)), run)
        value = moment(known.value, name).isoformat() if said.get("type") == "moment" else known.value
        out = said["bound"] == "same" and value != said["value"]
        if said["bound"] == "at_most":
            out = float(str(value)) > float(said["at_most"])
        if out:
            raise Permanent(
                f"{name} is now {value} ({known.source}), outside of what the plan allows",
                "Look why it changed; then retry if it is back in bounds, or ask a second person to skip this step.",
            )
        return value
