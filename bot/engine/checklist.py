"""The pre-rotation checklist: what can be checked is ticked with its evidence, the rest waits for a named person."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

from bot.contracts.command import Summary
from bot.core import duration
from bot.core.plan import Plan
from bot.core.rotation import Box
from bot.engine.planner import Access, Subject

BY = "keyturn"
RECENT = timedelta(days=7)
CALM = frozenset({"promoted", "cancelled", "abandoned"})


class Boxes:
    """Implements `Checklist`. `recent`: a credential's latest rotations; `members`: sizes of the approvers' groups."""

    def __init__(
        self,
        recent: Callable[[str, str], Sequence[Summary]],
        members: Callable[[Plan], Mapping[str, int | None]],
        now: Callable[[], datetime],
    ) -> None:
        self._recent = recent
        self._members = members
        self._now = now

    def boxes(self, subject: Subject, plan: Plan, access: Access) -> tuple[Box, ...]:
        """One box per line of `before:`, in the runbook's order."""
        checks = {
            "access": lambda: self._access(access),
            "incidents": lambda: self._incidents(subject),
            "rollback-plan": lambda: self._rollback(plan),
            "contacts": lambda: self._contacts(plan),
        }
        return tuple(checks[name]() if name in checks else Box(name) for name in plan.before)

    def _access(self, access: Access) -> Box:
        lacking = [f"{adapter}: {', '.join(what)}" for adapter, what in access.missing.items() if what]
        told = ["missing " + "; ".join(lacking)] if lacking else []
        told += [f"{adapter} could not be asked: {why}" for adapter, why in access.unknown.items()]
        if told:
            return Box("access", evidence="; ".join(told))
        asked = ", ".join(sorted(access.missing)) or "no system"
        return Box("access", True, BY, f"permissions of every step confirmed by {asked}")

    def _incidents(self, subject: Subject) -> Box:
        """Only our own record can be read here; trouble in it is for a person to weigh."""
        since = self._now() - RECENT
        ended = [run for run in self._recent(subject.name, subject.environment) if run.created_at >= since]
        trouble = [f"R-{run.number} {run.state}" for run in ended if run.state not in CALM or run.overlap == "blocked"]
        if trouble:
            return Box("incidents", evidence=f"look at {', '.join(trouble)} of the last 7 days")
        return Box("incidents", evidence="no rotation of it failed in the last 7 days; others are yours to judge")

    def _rollback(self, plan: Plan) -> Box:
        limit = duration.show(plan.rollback_within)
        end = plan.point_of_no_return()
        until = f"until {plan.steps[end].id}" if end is not None else "until the end"
        return Box("rollback-plan", True, BY, f"every change can be undone {until}, within {limit}")

    def _contacts(self, plan: Plan) -> Box:
        members = self._members(plan)
        reachable = [f"{group}: {count} people" for group, count in members.items() if count]
        if reachable and plan.owner:
            return Box("contacts", True, BY, f"owner {plan.owner}; " + ", ".join(reachable))
        return Box("contacts", evidence=f"owner {plan.owner or 'nobody'}; name who is on call")
