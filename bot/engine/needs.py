"""What a rotation needs to be allowed: the permissions of each word that it uses, narrowed to what the word touches."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from bot.contracts.adapter import Part
from bot.contracts.registry import Registry
from bot.core.errors import KeyturnError
from bot.core.runbook import Runbook, StepBase, uses_of
from bot.core.secret import SecretReference
from bot.engine.fanout import Targets
from bot.engine.scope import known_arguments

Use = tuple[str, Mapping[str, Any], str | list[str] | None]
"""A word, the arguments that are its own, and what it fans out over."""


def known_of(
    part: type[Part], shared: Mapping[str, Any], use: Use, scope: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """The arguments of one use that are known, for every target of a fan-out as far as the targets are known."""
    _, own, each = use
    scopes = [scope]
    if each is not None:
        with contextlib.suppress(KeyturnError):
            scopes = [{**scope, "each": target} for target in Targets.of(each, scope)]
    return (known_arguments(part.Params, shared, own, one) for one in scopes)


def needed(
    registry: Registry, uses: Iterable[Use], shared: Mapping[str, Any], scope: Mapping[str, Any]
) -> dict[str, set[str]]:
    """The permissions of all these uses, per adapter; words that nobody offers are left out."""
    found: dict[str, set[str]] = {}
    for use in uses:
        part = registry.part(use[0])
        if part is None:
            continue
        mine = found.setdefault(use[0].partition(".")[0], set())
        for known in known_of(part, shared, use, scope):
            mine.update(part.needs(known))
            for reference in references_in(known):
                if needs := registry.store_needs(reference):
                    found.setdefault(reference.store, set()).update(needs)
    return found


def references_in(known: Mapping[str, Any]) -> Iterator[SecretReference]:
    """Arguments that say where a secret lives: whoever gets one reads or writes there, through that store's adapter."""
    for value in known.values():
        if isinstance(value, str) and ":" in value:
            with contextlib.suppress(KeyturnError):
                yield SecretReference.parse(value)


def uses_of_steps(steps: Iterable[StepBase]) -> Iterator[Use]:
    """Every use of a word in these steps."""
    return ((word, own, step.each) for step in steps for _, word, own in uses_of(step))


def needed_by_runbook(registry: Registry, runbook: Runbook, inputs: Mapping[str, Any]) -> dict[str, set[str]]:
    """What every rotation, revocation and repair by this runbook may need, as far as the inputs tell."""
    given = {name: inputs.get(name, declared.default) for name, declared in runbook.inputs.items()}
    own = [step for step in (runbook.emergency.steps if runbook.emergency else []) if isinstance(step, StepBase)]
    uses = [*uses_of_steps([*runbook.steps, *runbook.retire, *own])]
    uses += [(fact.read, fact.with_, None) for fact in runbook.facts.values()]
    uses += [(word, branch.with_, branch.each) for branch in runbook.trouble if (word := branch.check or branch.do)]
    scope = {"inputs": given, "facts": {}, "steps": {}, "credential": {}, "rotation": {}}
    return needed(registry, uses, runbook.with_, scope)
