"""How long Slack waits: acknowledgements with and without a stored intent, against Bolt by itself."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.deliveries import click, slash
from benchmarks.figures import Bar, Figure, Report, paired, quantile
from benchmarks.rotations import plan
from benchmarks.slack_side import Laps, Make, SlackSide

START = '/rotate start identity-signing --reason "weekly"'.removeprefix("/rotate ")
PAUSE = 0.05
"""Between two commands where the worker answers them meanwhile; faster ones would only pile up."""
TRANSPORTS = {"socket": "Socket Mode", "http": "HTTP"}


@dataclass
class Subject:
    """One process, and the way to it."""

    name: str
    slack: SlackSide
    process: asyncio.subprocess.Process
    port: int
    acks: int = 0

    async def burst(self, make: Make, in_flight: int, seconds: float, pause: float) -> Laps:
        """One round."""
        if self.name.endswith("http"):
            found = await self.slack.pump_http(self.port, make, in_flight, seconds, pause)
        else:
            found = await self.slack.pump_socket(self.name, make, in_flight, seconds, pause)
        self.acks += len(found.laps)
        return found

    async def rows(self) -> int:
        """How many deliveries it has stored."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"rows\n")
        return int((await read_line(self.process))["rows"])


async def read_line(process: asyncio.subprocess.Process) -> dict[str, int]:
    """The next line of a subject."""
    assert process.stdout is not None
    line = await asyncio.wait_for(process.stdout.readline(), 60)
    if not line:
        raise RuntimeError(f"a subject ended with {await process.wait()}")
    found: dict[str, int] = json.loads(line)
    return found


@asynccontextmanager
async def subjects(kinds: Sequence[str], transport: str) -> AsyncIterator[list[Subject]]:
    """All of them run; while one is measured the others are idle."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="keyturn-bench-")))
        slack = await stack.enter_async_context(SlackSide())
        found = []
        for kind in kinds:
            name = f"{kind}-{transport}"
            (folder / name).mkdir()
            given = {"folder": str(folder / name), "api": slack.api_url(name), "transport": transport}
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "benchmarks.subjects", kind, json.dumps(given),
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            )  # fmt: skip
            stack.push_async_callback(end, process)
            port = (await read_line(process))["port"]
            if transport == "socket":
                await slack.connected(name)
            found.append(Subject(name, slack, process, port))
        yield found


async def end(process: asyncio.subprocess.Process) -> None:
    """Close its input, which ends it; then see to it that it is gone."""
    assert process.stdin is not None
    process.stdin.close()
    try:
        await asyncio.wait_for(process.wait(), 5)
    except TimeoutError:
        process.kill()


async def alternate(
    those: Sequence[Subject], make: Make, in_flight: int, rounds: int, seconds: float, pause: float = 0.0
) -> list[list[Laps]]:
    """Rounds of each, taken in turn, in the other order every second time."""
    found: list[list[Laps]] = [[] for _ in those]
    for one in those:
        await one.burst(make, in_flight, seconds / 4, pause)  # warm up
    for number in range(rounds):
        order = range(len(those)) if number % 2 == 0 else range(len(those) - 1, -1, -1)
        for i in order:
            found[i].append(await those[i].burst(make, in_flight, seconds, pause))
    return found


def at(share: float, laps: Sequence[Laps]) -> list[float]:
    """The quantile of each round."""
    return [quantile(one.laps, share) for one in laps]


def acks(*, quick: bool) -> Report:
    """Bars: p50 at 1 in flight within 3× of Bolt with one row and a quarter of stock Bolt; p99 at 64 within 3×."""
    report = Report("Acknowledgements with intent and audit committed (floor: Bolt and one committed row), SQLite")
    for transport in ("socket",) if quick else TRANSPORTS:
        asyncio.run(_acks(report, transport, quick=quick))
    report.notes.append(
        "start also opens a modal after its ack, which cancel does not; a click reads the card's row first"
    )
    report.notes.append("stock: Bolt as it comes, answering before its listener is done; it polls every 10 ms")
    report.notes.append("at work: twenty commands a second to a whole bot, whose worker answers them meanwhile")
    return report


async def _acks(report: Report, transport: str, *, quick: bool) -> None:
    rounds, seconds = (1, 0.1) if quick else (7, 1.0)
    value = f"R-1 {plan('identity-signing').digest} nonce"
    kinds = ("floor", "keyturn") if quick else ("floor", "keyturn", "stock", "keyturn-at-work")
    async with subjects(kinds, transport) as (floor, ours, *others):
        stock, busy = others or (floor, ours)
        makes = {"start": slash(START), "cancel": slash('cancel R-1 --reason "wrong one"'), "click": click(value)}
        for what, make in makes.items():
            name = f"{what}, {TRANSPORTS[transport]}"
            stored = await ours.rows() - ours.acks
            first = await alternate((floor, ours, stock), make, 1, rounds, seconds)
            many = await alternate((floor, ours), make, 64, rounds, seconds)
            if await ours.rows() != ours.acks + stored:
                raise RuntimeError(f"{name}: {ours.acks} acknowledged, {await ours.rows()} stored")
            report.figures += _lines(name, first, many)
            if what == "start":
                worked = await alternate((floor, busy), make, 1, rounds, seconds, PAUSE)
                report.figures.append(paired(f"{name}, at work, p50", "ms", at(0.5, worked[0]), at(0.5, worked[1])))


def _lines(name: str, first: Sequence[Sequence[Laps]], many: Sequence[Sequence[Laps]]) -> list[Figure]:
    rates = [[one.per_second for one in laps] for laps in many]
    return [
        paired(f"{name}, 1 in flight, p50", "ms", at(0.5, first[0]), at(0.5, first[1]), Bar(3)),
        paired(f"{name}, 1 in flight, p99", "ms", at(0.99, first[0]), at(0.99, first[1])),
        paired(f"{name}, 1 in flight, p50 to stock", "ms", at(0.5, first[2]), at(0.5, first[1]), Bar(0.25)),
        paired(f"{name}, 64 in flight, p50", "ms", at(0.5, many[0]), at(0.5, many[1])),
        paired(f"{name}, 64 in flight, p99", "ms", at(0.99, many[0]), at(0.99, many[1]), Bar(3)),
        paired(f"{name}, 64 in flight", "1/s", rates[0], rates[1], Bar(0.5, at_least=True)),
    ]


def reads(*, quick: bool) -> Report:
    """Bar: half the rate of bare Bolt, which looks nothing up."""
    report = Report("Answers to `/rotate status`, nothing stored (floor: Bolt that acknowledges and does nothing)")
    for transport in ("http",) if quick else TRANSPORTS:
        asyncio.run(_reads(report, transport, quick=quick))
    return report


async def _reads(report: Report, transport: str, *, quick: bool) -> None:
    rounds, seconds = (1, 0.1) if quick else (7, 1.0)
    async with subjects(("bare", "keyturn"), transport) as (floor, ours):
        stored = await ours.rows()
        for words in ("status", "status R-1"):
            name = f"{words}, {TRANSPORTS[transport]}"
            first = await alternate((floor, ours), slash(words), 1, rounds, seconds)
            many = await alternate((floor, ours), slash(words), 64, rounds, seconds)
            rates = [[one.per_second for one in laps] for laps in many]
            report.figures += [
                paired(f"{name}, 1 in flight, p50", "ms", at(0.5, first[0]), at(0.5, first[1])),
                paired(f"{name}, 64 in flight, p99", "ms", at(0.99, many[0]), at(0.99, many[1])),
                paired(f"{name}, 64 in flight", "1/s", rates[0], rates[1], Bar(0.5, at_least=True)),
            ]
        if await ours.rows() != stored:
            raise RuntimeError("a question was stored")
