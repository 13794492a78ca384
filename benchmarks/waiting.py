"""What rotations cost while they wait: memory, threads, processor, queries of a tick."""

from __future__ import annotations

import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from sqlalchemy import event

from benchmarks.deliveries import CHANNEL
from benchmarks.figures import Bar, Figure, Report, paired, single, timed
from benchmarks.processes import ROOT, environment_of, served
from benchmarks.rotations import waiting as made_waiting
from bot.app import prepare
from bot.engine.timers import Timers
from bot.settings import load_settings
from bot.store.database import Database
from playground.workspace.workspace import Workspace

BATCH = 500


def waiting(*, quick: bool) -> Report:
    """Bars: no thread and under 50 MB for ten thousand; a tick of two queries; the scheduler under 5 % of a core."""
    count, rounds, seconds = (200, 1, 0.5) if quick else (10_000, 3, 10.0)
    report = Report(f"{count:,} waiting rotations with a card each (floor: none), SQLite")
    with ExitStack() as stack:
        workspace = stack.enter_context(Workspace.start(manifest=ROOT / "manifest.yml", rate_factor=0.0))
        environments = []
        for many in (0, count):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="keyturn-bench-")))
            environments.append(environment_of(workspace, folder))
            database = prepare(load_settings(environments[-1]))
            fill(database, many)
            database.close()
        looks = [_look(environments, seconds) for _ in range(rounds)]
        report.figures += _ticks(environments, 5 if quick else 200)
    weight, threads, share = ([look[i] for look in looks] for i in range(3))
    report.figures += [
        _grown("memory", "MB", weight, Bar(50, of="product")),
        _grown("threads", "", threads, Bar(0, of="product")),
        single("processor, idle bot with them", "%", [many for _, many in share], Bar(5, of="product")),
        single("processor, idle bot with none", "%", [none for none, _ in share]),
    ]
    return report


def fill(database: Database, count: int) -> None:
    """So many rotations that wait for thirty days, each with a card that is up to date."""
    for first in range(1, count + 1, BATCH):
        with database.begin() as tx:
            for number in range(first, min(first + BATCH, count + 1)):
                rotation = tx.save(None, made_waiting(number, f"credential-{number}", tx.now))
                card = tx.add_drawing(number, "card", CHANNEL, rotation.version)
                tx.drawn(card, f"1795214400.{number:06d}", rotation.version)


def _grown(name: str, unit: str, pairs: list[tuple[float, float]], bar: Bar) -> Figure:
    lines = sorted(many - none for none, many in pairs)
    middle = lines[len(lines) // 2]
    return Figure(f"{name}, more than with none", unit, middle, bar=bar)


def _look(environments: list[dict[str, str]], seconds: float) -> list[tuple[float, float]]:
    """(none, many) of memory in MB, threads, and percent of a core, with both bots idle side by side."""
    with ExitStack() as stack:
        bots = [stack.enter_context(served(environment)) for environment in environments]
        time.sleep(seconds / 5)
        before = [bot.spent() for bot in bots]
        time.sleep(seconds)
        share = [(bot.spent() - was) / seconds * 100 for bot, was in zip(bots, before, strict=True)]
        weight = [bot.status("VmRSS") / 1024 for bot in bots]
        threads = [float(bot.status("Threads")) for bot in bots]
    return [(weight[0], weight[1]), (threads[0], threads[1]), (share[0], share[1])]


def _ticks(environments: list[dict[str, str]], rounds: int) -> list[Figure]:
    """A turn of the timers, as they take one every second."""
    costs, queries = [], []
    for environment in environments:
        database = prepare(load_settings(environment))
        timers = Timers(database, "benchmark")
        statements: list[str] = []

        def note(connection: Any, cursor: Any, statement: str, *rest: Any, into: list[str] = statements) -> None:
            into.append(statement)

        event.listen(database.engine, "before_cursor_execute", note)

        timers._turn()
        statements.clear()
        costs.append([timed(timers._turn) * 1000 for _ in range(rounds)])
        queries.append(len(statements) / rounds)
        database.close()
    return [
        paired("a tick that finds nothing", "ms", costs[0], costs[1]),
        Figure("queries of such a tick", "", queries[1], queries[0], bar=Bar(2, of="product")),
    ]
