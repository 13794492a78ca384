"""From a committed approval to the first step's call: intent leg, vote, step leg, planning again."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.databases import NAMES, NO_POSTGRES, fresh
from benchmarks.figures import Bar, Report, quantile, single
from bot.contracts.adapter import Reading, Run
from bot.contracts.registry import Registry
from bot.core.errors import Permanent
from playground.estate import Estate
from tests.world import World, held, running

FIRST = "identity.key_store_healthy"


class Watched:
    """The first step's probe. It notes when it is called and fails, after which the rotation is rolled back."""

    def __init__(self, probe: Any, called: Callable[[], None]) -> None:
        self.Params = probe.Params
        self._called = called

    def measure(self, p: Any, run: Run) -> Reading:
        """Be called."""
        self._called()
        raise Permanent("only measured")


class Watching:
    """The real registry, but for one probe."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self.called = threading.Event()
        self.at = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._registry, name)

    def probe(self, word: str) -> Any:
        """As the registry says."""
        found = self._registry.probe(word)
        return Watched(found, self._note) if word == FIRST else found

    def _note(self) -> None:
        self.at = time.perf_counter()
        self.called.set()


def first_steps(*, quick: bool) -> Report:
    """Bar: under 50 ms."""
    report = Report("From a committed approval to the first step's call, with the playground's estate in the process")
    with fresh() as urls, Estate.start() as estate, tempfile.TemporaryDirectory() as folder:
        for kind, url in urls.items():
            with running(url, estate, Path(folder)) as world:
                laps = _laps(world, 2 if quick else 60)
            figures = [single(f"{NAMES[kind]}, p50", "ms", laps, Bar(50, of="product"))]
            figures.append(single(f"{NAMES[kind]}, p99", "ms", [quantile(laps, 0.99)], Bar(50, of="product")))
            report.figures += figures
    if "postgresql" not in urls:
        report.notes.append(NO_POSTGRES)
    return report


def _laps(world: World, count: int) -> list[float]:
    watching = Watching(world.engine.catalog)
    world.engine.executor._registry = watching
    laps = []
    for number in range(count + 1):
        rotation = world.start("alice")
        watching.called.clear()
        world.hear("bob", f"approve {rotation.id}")
        began = time.perf_counter()
        if not watching.called.wait(20):
            raise TimeoutError("the first step was never called")
        if number:  # the first one imports what it needs
            laps.append((watching.at - began) * 1000)
        world.wait(rotation.number, held)
        answer = world.say("alice", f'rollback {rotation.id} --reason "measured"')
        if not answer.good:
            raise RuntimeError(answer.text)
        world.wait(rotation.number, lambda one: one.is_over)
    return laps
