"""A whole bot without Slack that rotates the key of a shop, with time that jumps over whatever is only waited for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from bot.core.rotation import Overlap, Rotation, Stage, State, StepRun
from bot.store.records import AuditRow
from playground.cluster.api import ApiError, Unreachable
from playground.estate import Estate
from tests.real.counters import Counters
from tests.real.shop import CREDENTIAL, Shop
from tests.world import World, describe, held, running

PATIENCE = 150.0
ROLLOUT = 3.0
"""Seconds that pods are given before the engine looks again, if they are not through earlier."""

Ready = Callable[[Rotation], bool]


class Rotating:
    """One installation and its one credential."""

    def __init__(self, world: World, settled: Callable[[], bool]) -> None:
        self.world = world
        self._settled = settled

    def start(self, credential: str = CREDENTIAL) -> int:
        """Ask for a rotation and approve it; its number."""
        number = self.world.start("alice", credential).number
        answer = self.world.say("bob", f"approve R-{number}")
        assert answer.good, answer.text
        return number

    def step(self, number: int, name: str) -> StepRun:
        """How a step stands."""
        return step(self.world.rotation(number), name)

    def go_on(self, number: int, ready: Ready, patience: float = PATIENCE, *, mercy: bool = False) -> Rotation:
        """Until it is as it should be; a held step is a failure, unless that is what is waited for or `mercy` says."""
        end = time.monotonic() + patience
        while time.monotonic() < end:
            rotation = self.world.rotation(number)
            if ready(rotation):
                return rotation
            assert mercy or not held(rotation), describe(rotation)
            at = rotation.current
            run = rotation.steps[at] if at is not None else None
            if run is not None and run.stage is Stage.WAITING and run.due_at is not None:
                self._jump(run)
            time.sleep(0.01)  # the engine's own threads are at work
        raise AssertionError(f"not within {patience:g} s: {describe(self.world.rotation(number))}")

    def reach(self, number: int, name: str, stage: Stage = Stage.WAITING) -> StepRun:
        """Until a step stands so."""
        return step(self.go_on(number, lambda rotation: step(rotation, name).stage is stage), name)

    def hold(self, number: int, name: str) -> StepRun:
        """Until people are asked at this step."""
        return self.reach(number, name, Stage.HELD)

    def fail(self, number: int, name: str, failures: int = 1) -> StepRun:
        """Until a step waits after so many failures in a row."""

        def failing(rotation: Rotation) -> bool:
            run = step(rotation, name)
            return run.failures >= failures and run.stage is Stage.WAITING

        return step(self.go_on(number, failing), name)

    def retry(self, number: int) -> None:
        """Have somebody press the button."""
        answer = self.world.say("erin", f"retry R-{number}")
        assert answer.good, answer.text

    def finish(self, number: int) -> Rotation:
        """To its end, the old key erased."""
        done = self.go_on(number, lambda rotation: rotation.is_over)
        assert done.overlap is Overlap.RETIRED, describe(done)
        return done

    def put_back(self, number: int) -> Rotation:
        """Roll it back to its end, and wait for the pods; all of that within the time that the runbook gives it."""
        answer = self.world.say("carol", f'rollback R-{number} --reason "calls fail"')
        assert answer.good, answer.text

        def over(rotation: Rotation) -> bool:
            assert not any(run.undoing for run in rotation.steps if run.stage is Stage.HELD), describe(rotation)
            return rotation.is_over

        done = self.go_on(number, over, mercy=True)  # the step that waited is held, and nothing of it is put back
        assert done.state is State.ROLLED_BACK, describe(done)
        self.world.until(self._settled, "the pods run with the old one again")
        (asked,) = [row for row in self.world.audit(number) if row.event == "rotation.rolling-back"]
        assert self.world.database.now() - asked.at < done.plan.rollback_within
        return done

    def problems(self, number: int) -> list[str]:
        """What people were told went wrong."""
        rows: list[AuditRow] = self.world.audit(number)
        return [str(row.detail["problem"]) for row in rows if row.detail.get("problem")]

    def _jump(self, run: StepRun) -> None:
        end = time.monotonic() + ROLLOUT
        while not self._quiet() and time.monotonic() < end:
            time.sleep(0.02)
        database = self.world.database
        assert run.due_at is not None
        ahead = run.due_at - database.now()
        if ahead > timedelta(0):
            database.clock.advance(ahead)
        self.world.engine.timers.wake()

    def _quiet(self) -> bool:
        try:
            return self._settled()
        except (ApiError, Unreachable):
            return True


def step(rotation: Rotation, name: str) -> StepRun:
    """How a step stands."""
    ids = [planned.id for planned in rotation.plan.steps]
    return rotation.steps[ids.index(name)]


@contextmanager
def rotating(
    shop: Shop, database_url: str, folder: Path, kubeconfig: Path, counters: Counters, **changes: Any
) -> Iterator[Rotating]:
    """A bot at work on the shop, which reaches the cluster by the kubeconfig."""
    with Estate.start(rate=1.0, gateways=0, clients=0) as estate:
        settings = shop.settings(kubeconfig, counters, estate, **changes)
        with running(database_url, estate, folder, **settings) as world:
            yield Rotating(world, shop.settled)
