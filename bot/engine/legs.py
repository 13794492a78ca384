"""Runs a leg: a due step and those that follow at once. Begin, act, finish; any of them may be the last."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from bot.contracts.delivery import Leg
from bot.core.decide import Decision, Stale, decide
from bot.core.errors import Ambiguous, KeyturnError, Transient
from bot.core.rotation import Began, Ended, Failed, Outcome, PlanChanged, Postponed, Rotation, Stage, State
from bot.engine.announce import announce
from bot.engine.executor import Executor
from bot.engine.expiry import kept
from bot.store.database import Database
from bot.store.writing import Transaction

log = logging.getLogger(__name__)

Replan = Callable[[Rotation], PlanChanged | None]
"""Plans again before the first step; None when the plan still holds."""


@dataclass(frozen=True, slots=True)
class Opening:
    """When an approved rotation may begin, and when that window ends."""

    at: datetime
    until: datetime
    why: str


class Legs:
    """Runs step legs for one worker. `worker` is fresh per process start and fences what a dead process began."""

    def __init__(
        self,
        database: Database,
        executor: Executor,
        replan: Replan,
        worker: str,
        opening: Callable[[Rotation], Opening | None] = lambda rotation: None,
    ) -> None:
        self._opening = opening
        self._database = database
        self._executor = executor
        self._replan = replan
        self._worker = worker

    def run(self, leg: Leg) -> None:
        """Run the step and those that follow at once. Never raises; what is lost is found by the timers."""
        assert leg.step is not None
        try:
            claim = self._begin(leg.number, leg.step, leg.attempt)
            while claim is not None:
                rotation, i = claim
                outcome = self._executor.execute(rotation, i)
                claim = self._settle(rotation, i, outcome)
        except Stale:
            return
        except KeyturnError as error:
            log.warning("a leg stopped: %s", error, extra={"rotation": f"R-{leg.number}"})

    def _begin(self, number: int, step: int, attempt: int) -> tuple[Rotation, int] | None:
        with self._database.read() as reader:
            seen = reader.rotation(number)
        changed, opens = None, None
        if seen is not None and seen.state is State.APPROVED and not any(run.touched for run in seen.steps):
            opens = None if seen.plan.has_incident else self._opening(seen)  # an incident does not wait for a window
            changed = self._replan(seen) if opens is None and not seen.plan.expiry else None
        with self._database.begin() as tx:
            rotation = tx.rotation(number)
            if rotation is None or tx.is_dead(self._worker):
                return None
            run = rotation.steps[step]
            if run.stage is not Stage.QUEUED or run.attempt != attempt:
                raise Stale("the step has moved on")
            if changed is not None:
                announce(tx, rotation, tx.save(rotation, decide(rotation, changed, tx.now)))
                return None
            if opens is not None:
                later = Postponed(step, attempt, opens.at, opens.until, opens.why)
                announce(tx, rotation, tx.save(rotation, decide(rotation, later, tx.now)))
                return None
            saved = tx.save(rotation, self._claimed(rotation, step, tx))
            announce(tx, rotation, saved)
        return self._mine(saved, step)

    def _settle(self, rotation: Rotation, i: int, outcome: Outcome) -> tuple[Rotation, int] | None:
        """Save the outcome; one that can never be saved becomes a failure that people see."""
        try:
            return self._finish(rotation, i, outcome)
        except (Stale, Transient, Ambiguous):
            raise  # the timers find the step again
        except Exception as error:  # noqa: BLE001 - such as outputs that are no JSON; their text may hold anything
            told = type(error).__name__
            log.error("an outcome could not be stored: %s", told, extra={"rotation": rotation.id})
            hint = "Look what the step has done; its adapter gave what cannot be stored, or the database is full."
            return self._finish(rotation, i, Failed(f"its outcome could not be stored ({told})", hint=hint))

    def _finish(self, rotation: Rotation, i: int, outcome: Outcome) -> tuple[Rotation, int] | None:
        attempt = rotation.steps[i].attempt
        with self._database.begin() as tx:
            fresh = tx.rotation(rotation.number)
            if fresh is None:
                return None
            decision = decide(fresh, Ended(i, attempt, self._worker, outcome), tx.now)
            following = decision.dispatch
            if following is not None and tx.is_dead(self._worker):
                following = None  # others go on with it
            if following is not None and decision.rotation.state is not State.ROLLED_BACK:
                decision = self._claim(decision, following, tx)
            saved = tx.save(fresh, decision)
            announce(tx, fresh, saved)
        return self._mine(saved, following) if following is not None else None

    def _claim(self, decision: Decision, following: int, tx: Transaction) -> Decision:
        """Begin the next step in the same transaction, so that it needs no delivery of its own."""
        began = self._claimed(decision.rotation, following, tx)
        return Decision(began.rotation, (*decision.entries, *began.entries))

    def _claimed(self, rotation: Rotation, step: int, tx: Transaction) -> Decision:
        """Begin the step, unless an incident keeps what it would destroy."""
        keeps = kept(tx, rotation, step)
        if keeps is not None:
            return decide(rotation, keeps, tx.now)
        return decide(rotation, Began(step, rotation.steps[step].attempt, self._worker), tx.now)

    def _mine(self, rotation: Rotation, i: int) -> tuple[Rotation, int] | None:
        run = rotation.steps[i]
        return (rotation, i) if run.stage is Stage.RUNNING and run.worker == self._worker else None
