"""What an incident sees when it begins: the class, how an expiry of it shows, and what the runbook's checks say now."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from bot.contracts.adapter import Run
from bot.contracts.registry import Registry
from bot.core.errors import KeyturnError
from bot.core.expiry import shows
from bot.core.rotation import Rotation
from bot.engine.fanout import Targets
from bot.engine.judge import judge
from bot.engine.scope import parameters, scope_of

LONGEST_LOOK = 45.0
"""Seconds for all checks together: people wait for the question that they are the evidence of."""
MOST_TARGETS = 5
MOST_CHECKS = 20
MOST_TEXT = 1500


def evidence(rotation: Rotation, registry: Registry, run_for: Callable[[str], Run]) -> str:
    """Sentences for people. A check that cannot be made says so and keeps nobody waiting."""
    plan = rotation.plan
    told = [f"Its class is {plan.kind}."]
    if how := shows(plan.kind):
        told.append(f"An expiry of it shows so: {how}.")
    ends = time.monotonic() + LONGEST_LOOK
    return " ".join([*told, *readings(rotation, registry, run_for, ends)])[:MOST_TEXT]


def readings(
    rotation: Rotation, registry: Registry, run_for: Callable[[str], Run], ends: float, most: int = MOST_CHECKS
) -> Iterator[str]:
    """What the runbook's checks say now, a sentence each; none is begun after `ends` (of the monotonic clock)."""
    for branch in [branch for branch in rotation.plan.trouble if branch.get("check")][:most]:
        if time.monotonic() > ends:
            yield "Not every check could be made in time; the others are on the card."
            return
        yield f"{branch['when']}: {_look(rotation, branch, registry, run_for)}.".replace("..", ".")


def _look(rotation: Rotation, branch: Mapping[str, Any], registry: Registry, run_for: Callable[[str], Run]) -> str:
    scope = scope_of(rotation)
    try:
        targets = list(Targets.of(branch["each"], scope)) if branch.get("each") else [""]
        probe = registry.probe(branch["check"])
        said = []
        for target in targets[:MOST_TARGETS]:
            seen = {**scope, "each": target} if target else scope
            p = parameters(probe.Params, rotation.plan.arguments, branch["with"], seen)
            verdict = judge(probe.measure(p, run_for(f"-{branch['id']}-{target}")), None)
            found = ("no: " if verdict.holds else "yes, ") + verdict.evidence
            said.append(f"{target} {found}" if target else found)
        return "; ".join(said)
    except KeyturnError as error:
        return f"cannot be looked at ({str(error).splitlines()[0][:150]})"
    except Exception as error:  # noqa: BLE001 - an adapter's mistake; its text may hold anything
        return f"cannot be looked at ({type(error).__name__})"
