"""The runbook's troubleshooting: a branch is a probe to run or a repair to make, on demand, for a failed step."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from bot.contracts.registry import Registry
from bot.core.errors import KeyturnError, Permanent, Refused
from bot.core.events import Entry, Event
from bot.core.rotation import FINISHED, Rotation, State
from bot.engine.executor import Executor
from bot.engine.fanout import Targets, slug
from bot.engine.judge import judge
from bot.engine.scope import parameters, scope_of
from bot.engine.symptoms import readings
from bot.store.database import Database


class Troubleshooter:
    """Runs branches. A repair is an operation like any other: intent in the audit first, marked, idempotent."""

    def __init__(self, database: Database, registry: Registry, executor: Executor) -> None:
        self._database = database
        self._registry = registry
        self._executor = executor

    def run(self, rotation: Rotation, branch: str, person: str, intent: int) -> str:
        """Run the branch; returns one sentence of what was found or done. Raises `Refused` for an unknown branch.

        The intent's number marks a repair: asked for again it is done again, run again after a crash it is not.
        """
        found = next((entry for entry in rotation.plan.trouble if entry["id"] == branch), None)
        if found is None:
            names = ", ".join(entry["id"] for entry in rotation.plan.trouble) or "none"
            raise Refused(f"{rotation.id} has no branch {branch[:40]!r}; there are: {names}.", code="unknown-branch")
        if found.get("do") and rotation.is_over:
            raise Refused(f"{rotation.id} is over; nothing is repaired from its card any more.", code="late")
        if found.get("do") and rotation.state is State.REQUESTED:
            early = f"{rotation.id} still waits for approval; nothing is repaired before that."
            raise Refused(early, code="early")
        if not found.get("check") and not found.get("do"):
            return str(found["advice"])
        scope = scope_of(rotation)
        each = found.get("each")
        targets = Targets.of(each, scope) if each else [""]
        told = []
        for target in targets:
            self._audit(Event.TROUBLE_INTENT, rotation, person, {"branch": branch, "target": target})
            try:
                said = self._one(rotation, found, target, scope, intent)
            except KeyturnError as error:
                detail = {"branch": branch, "target": target, "said": f"failed: {str(error)[:300]}"}
                self._audit(Event.TROUBLE_OUTCOME, rotation, person, detail)
                raise
            self._audit(Event.TROUBLE_OUTCOME, rotation, person, {"branch": branch, "target": target, "said": said})
            told.append(f"{target}: {said}" if target else said)
        advice = f" {found['advice']}" if found.get("advice") else ""
        return "; ".join(told) + "." + advice

    def _one(
        self, rotation: Rotation, found: Mapping[str, Any], target: str, scope: Mapping[str, Any], intent: int
    ) -> str:
        seen = {**scope, "each": target} if target else scope
        planned = rotation.plan.steps[self._step(rotation)]
        run = self._executor.run_for(rotation, planned, f"-{found['id']}-{slug(target)}-{intent}")
        if found.get("check"):
            probe = self._registry.probe(found["check"])
            verdict = judge(
                probe.measure(parameters(probe.Params, rotation.plan.arguments, found["with"], seen), run), None
            )
            return ("good: " if verdict.holds else "this is the trouble: ") + verdict.evidence
        operation = self._registry.operation(found["do"])
        try:
            outputs = operation.ensure(parameters(operation.Params, rotation.plan.arguments, found["with"], seen), run)
        except Permanent as error:
            return f"not possible: {error}. {error.hint}"
        shown = ", ".join(f"{name} {value}" for name, value in outputs.items())
        return f"done{': ' + shown if shown else ''}"

    def readings(self, rotation: Rotation, ends: float, most: int) -> str:
        """What some checks of a runbook say now, of a rotation that need not be stored; changes nothing."""
        first = rotation.plan.steps[0]
        run_for = partial(self._executor.run_for, rotation, first)
        return " ".join(readings(rotation, self._registry, run_for, ends, most))

    @staticmethod
    def _step(rotation: Rotation) -> int:
        held = next((i for i, run in enumerate(rotation.steps) if run.stage not in FINISHED), None)
        return held if held is not None else len(rotation.steps) - 1

    def _audit(self, event: Event, rotation: Rotation, person: str, detail: Mapping[str, Any]) -> None:
        with self._database.begin() as tx:
            tx.audit(Entry(event, person, rotation.id, rotation.plan.credential, detail))
