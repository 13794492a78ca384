"""Revocations of a fleet's key: how long the old one is accepted, and what keyturn adds to the calls themselves."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx

import adapters
from benchmarks import by_hand
from benchmarks.databases import NAMES, NO_POSTGRES, fresh
from benchmarks.figures import Bar, Report, paired, single, timed
from playground.estate import Estate
from tests.world import World, running

HERE = Path(__file__).parent
DELAY = 0.02
"""Seconds that the API takes for each answer."""
NO_TOOLS = "aws and kubectl are not both installed: nothing was compared with them"


class Fleet:
    """The fleet's process, seen from here."""

    def __init__(self, consumers: int, restart: float) -> None:
        given = json.dumps({"consumers": consumers, "delay": DELAY, "restart": restart})
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.fleet", given],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=HERE.parent,
        )
        self.names = [f"c{n}" for n in range(consumers)]
        self.url = f"http://127.0.0.1:{self._line()['port']}"

    def __enter__(self) -> Fleet:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(20)

    def _line(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line: dict[str, Any] = json.loads(self._process.stdout.readline())
        return line

    def wait_deleted(self) -> None:
        """Wait, without asking, until the old key is deleted."""
        self._line()

    def timeline(self) -> dict[str, Any]:
        """What it has seen."""
        found: dict[str, Any] = httpx.get(f"{self.url}/timeline", trust_env=False).json()
        return found

    def calls(self) -> tuple[int, float]:
        """How many calls it has answered, and when the first one came."""
        found = self.timeline()
        return int(found["calls"]), float(found["first_at"])

    def reset(self) -> None:
        """Begin anew."""
        httpx.post(f"{self.url}/reset", trust_env=False).raise_for_status()


@contextmanager
def towns(fleet: Fleet, runbook: str, at_once: int = 32) -> Iterator[dict[str, World]]:
    """Kind of database -> an engine whose one credential is the fleet's key, and that calls so many at once."""
    here = str(HERE / "adapters")
    adapters.__path__.append(here)
    try:
        with ExitStack() as stack:
            urls = stack.enter_context(fresh())
            estate = stack.enter_context(Estate.start(rate=1.0, clients=0, gateways=1))
            found = {}
            for kind, url in urls.items():
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
                text = (HERE / "runbooks" / f"{runbook}.yaml").read_text()
                (folder / f"{runbook}.yaml").write_text(text.replace("at_once: 32", f"at_once: {at_once}"))
                found[kind] = stack.enter_context(running(url, estate, folder, **_settings(fleet, runbook, folder)))
            yield found
    finally:
        adapters.__path__.remove(here)


def _settings(fleet: Fleet, runbook: str, folder: Path) -> dict[str, Any]:
    credential = {
        "name": "fleet",
        "environment": "production",
        "class": "key",
        "owner": "alice",
        "runbook": runbook,
        "inputs": {"consumers": fleet.names},
    }
    return {
        "credentials": [credential],
        "cadences": {"key": "30d"},
        "adapters": {"consumers": {"url": fleet.url}},
        "runbooks": [str(folder)],
    }


class Revocation:
    """One revocation of the fleet's key: asked for, and approved by a second person once the fleet is as at first."""

    def __init__(self, fleet: Fleet, world: World, order: str) -> None:
        self._world = world
        answer = world.say("alice", f'revoke fleet --reason "measured" --order {order}', confirmed=True)
        if answer.rotation is None:
            raise RuntimeError(answer.text)
        self.number = answer.rotation
        self.commits: list[float] = []
        """When anything was committed, from the approval on."""
        fleet.reset()
        world.database.after_commit.append(self._committed)
        world.hear("bob", f"approve R-{self.number}")
        self.began = time.perf_counter()
        """The approval is committed."""

    def _committed(self) -> None:
        self.commits.append(time.perf_counter())

    def finish(self) -> None:
        """Wait for its end."""
        rotation = self._world.wait(self.number, lambda one: one.is_over or any(run.problem for run in one.steps), 60)
        self._world.database.after_commit.remove(self._committed)
        if not rotation.is_over:
            raise RuntimeError("; ".join(f"{run.problem} {run.evidence}" for run in rotation.steps if run.problem))


def revocations(*, quick: bool) -> Report:
    """Bars: refused everywhere within 10 s replace-first, within 3 s contain-first."""
    count, restart, rounds = (3, 0.1, 1) if quick else (50, 1.0, 3)
    report = Report(f"{count} consumers that restart for {restart:g} s each, from the approval to the old key refused")
    with Fleet(count, restart) as fleet, towns(fleet, "fleet-restarts") as worlds:
        for kind, world in worlds.items():
            for order, limit in (("replace-first", 10.0), ("contain-first", 3.0)):
                spans = [_refused(fleet, world, order) for _ in range(rounds)]
                everywhere, issuer = ([span[n] for span in spans] for n in range(2))
                report.figures.append(
                    single(f"{NAMES[kind]}, {order}, by all", "s", everywhere, Bar(limit, of="product"))
                )
                report.figures.append(single(f"{NAMES[kind]}, {order}, disabled", "s", issuer))
    report.notes.append("32 consumers at a time, as a runbook's at_once says; two rounds of restarts are 2 s")
    return _noted(report, worlds)


def _refused(fleet: Fleet, world: World, order: str) -> tuple[float, float]:
    revocation = Revocation(fleet, world, order)
    revocation.finish()
    seen = fleet.timeline()
    return max(seen["refused_at"], seen["disabled_at"]) - revocation.began, seen["disabled_at"] - revocation.began


def containments(*, quick: bool) -> Report:
    """Bar: two round trips and 30 ms."""
    rounds = 2 if quick else 20
    report = Report(
        "Contain first: from the committed second approval to the old key disabled (floor: two round trips)"
    )
    with Fleet(3, 0.0) as fleet, towns(fleet, "fleet-restarts") as worlds, httpx.Client(trust_env=False) as http:
        for kind, world in worlds.items():
            floors, products = [], []
            for number in range(rounds + 1):
                floor = timed(lambda: [http.get(f"{fleet.url}/keys") for _ in range(2)])
                product = _refused(fleet, world, "contain-first")[1]
                if number:  # the first one opens connections and imports
                    floors.append(floor * 1000)
                    products.append(product * 1000)
            bar = Bar(2 * DELAY * 1000 + 30, of="product")
            report.figures.append(paired(f"{NAMES[kind]}, p50", "ms", floors, products, bar))
    report.notes.append("the plan's facts are read again before the first step: one round trip; disabling is the other")
    return _noted(report, worlds)


def machine_parts(*, quick: bool) -> Report:
    """Bars: 1.4 times the bare fan-out; 30 times faster than the shell's loop, 10 times than xargs."""
    count, rounds = (3, 1) if quick else (50, 9)
    report = Report(f"{3 * count + 3} calls for {count} consumers, the API answers in {DELAY * 1000:.0f} ms")
    shells: dict[str, tuple[Callable[[str, list[str]], None], Bar | None]] = {
        "a loop of curl": (by_hand.loop(by_hand.CURL), None),
        "xargs -P8 of curl": (by_hand.xargs(by_hand.CURL), None),
    }
    if by_hand.has_tools():
        shells["a loop of aws and kubectl"] = (by_hand.loop(by_hand.TOOLS), Bar(1 / 30))
        shells["xargs -P8 of aws and kubectl"] = (by_hand.xargs(by_hand.TOOLS), Bar(1 / 10))
    else:
        report.notes.append(NO_TOOLS)
    with Fleet(count, 0.0) as fleet:
        spent = {way: _by_hand(fleet, run) for way, (run, _) in shells.items()}
        for at_once in (16, 32):
            with towns(fleet, "fleet-calls", at_once) as worlds:
                for kind, world in worlds.items():
                    name = f"{NAMES[kind]}, {at_once} at once, to"
                    _machine_part(fleet, world)  # imports and connections
                    laps = [_pair(fleet, world, at_once) for _ in range(rounds)]
                    bare, products = [lap[0] for lap in laps], [lap[1] for lap in laps]
                    report.figures.append(paired(f"{name} the bare fan-out", "s", bare, products, Bar(1.4)))
                    for way, (_, bar) in shells.items() if at_once == 32 else ():
                        report.figures.append(paired(f"{name} {way}", "s", [spent[way]] * rounds, products, bar))
    report.notes.append("the bare fan-out calls as many at once; the shells' time is taken once")
    return _noted(report, worlds)


def _pair(fleet: Fleet, world: World, at_once: int) -> tuple[float, float]:
    """The bare fan-out and keyturn, one after the other."""
    return _by_hand(fleet, lambda url, names: by_hand.threads(url, names, at_once)), _machine_part(fleet, world)


def _by_hand(fleet: Fleet, run: Callable[[str, list[str]], None]) -> float:
    fleet.reset()
    spent = timed(lambda: run(fleet.url, fleet.names))
    fleet.wait_deleted()
    expected, (seen, _) = 3 * len(fleet.names) + 3, fleet.calls()
    if seen != expected:
        raise RuntimeError(f"{seen} calls instead of {expected}")
    return spent


def _machine_part(fleet: Fleet, world: World) -> float:
    """From the first call sent to the last audit row committed."""
    revocation = Revocation(fleet, world, "replace-first")
    fleet.wait_deleted()
    revocation.finish()
    read = 1  # the plan's fact, before the first step
    seen, first = fleet.calls()
    if seen != 3 * len(fleet.names) + 3 + read:
        raise RuntimeError(f"{seen} calls")
    return max(revocation.commits) - first


def _noted(report: Report, worlds: dict[str, World]) -> Report:
    if "postgresql" not in worlds:
        report.notes.append(NO_POSTGRES)
    return report
