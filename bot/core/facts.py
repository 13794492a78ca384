"""In which order the facts of a runbook are read: one that looks another up comes after it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from bot.core.runbook import FactSource
from bot.core.template import references


def looked_up(source: FactSource, shared: Mapping[str, Any], takes: Collection[str]) -> frozenset[str]:
    """The facts that a fact needs: in its own arguments, and in the shared ones that its word `takes`.

    Raises `TemplateError` for what is no expression.
    """
    given = {name: value for name, value in shared.items() if name in takes} | source.with_
    return frozenset(found.name for found in references(given) if found.scope == "facts")


def waves(needs: Mapping[str, Collection[str]]) -> tuple[list[list[str]], list[str]]:
    """Facts that can be read at the same time, group by group; then those that wait for each other in a circle.

    A name that is no fact is waited for by nobody: whoever looks it up says so.
    """
    left = {name: {other for other in others if other in needs} for name, others in needs.items()}
    found: list[list[str]] = []
    while ready := [name for name, others in left.items() if not others]:
        found.append(ready)
        left = {name: others.difference(ready) for name, others in left.items() if others}
    return found, list(left)
