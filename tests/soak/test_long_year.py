"""A year of ten thousand credentials on PostgreSQL: replicas are killed, the clock jumps, people act.

The clock goes on by a step as soon as everything that is due was looked at: a slow machine takes longer, and proves the
same.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from signal import SIGKILL

import pytest

from bot.store.clock import Clock
from tests.conftest import Opener
from tests.engine.keeping_stage import DAY, HOUR, Keep
from tests.engine.test_year import RULES
from tests.engine.year import CADENCES, Line, Year, act
from tests.engine.year_judge import judge

CREDENTIALS = int(os.environ.get("KEYTURN_SOAK_CREDENTIALS", "10000"))
KILLS = int(os.environ.get("KEYTURN_SOAK_KILLS", "200"))
JUMPS, DELIVERIES, REPLICAS = 50, 366, 3
ACTS_EACH = 3
"""Rotations, snoozes, changes of owners and open rotations for every credential."""
STEP = HOUR
STEPS = 366 * DAY // STEP
NEVER = datetime(9000, 1, 1, tzinfo=UTC)


@pytest.mark.realparts
@pytest.mark.timeout(3 * 60 * 60)
def test_a_long_year(postgres_url: str, open_database: Opener, tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(10**6)
    chance = random.Random(seed)
    keep = Keep(open_database(postgres_url, Clock()), RULES, at=None)
    clock, year, moved = keep.database.clock, Year(Line(keep.now)), tmp_path / "moved"
    year.declare(keep.database, {f"key-{i:05}": chance.choice(CADENCES) for i in range(CREDENTIALS)}, chance)
    keep.turn(CREDENTIALS)
    happens: dict[int, list[str]] = defaultdict(list)
    for what, count in (("jump", JUMPS), ("act", ACTS_EACH * CREDENTIALS), ("kill", KILLS), ("deliver", DELIVERIES)):
        for _ in range(count):
            happens[chance.randrange(STEPS)].append(what)
    looks: list[tuple[datetime, datetime]] = []
    with ExitStack() as stack:
        _put(moved, "0")
        words = [sys.executable, "-m", "tests.soak.replica", postgres_url, str(tmp_path)]
        replicas = [stack.enter_context(_Replica(words).running()) for _ in range(REPLICAS)]
        for step in range(STEPS):
            clock.advance(STEP)  # this time is lived, which it is not when the clock jumps
            if "jump" in happens[step]:
                year.jump(keep.database, chance.choice((-1, 1)) * chance.random() * 3 * DAY)
            _put(moved, str(clock.offset.total_seconds()))
            shown = keep.now
            for what in happens[step]:
                if what == "kill":
                    time.sleep(chance.random() / 10)
                    chance.choice(_at_work(replicas, tmp_path)).kill()
                elif what == "deliver":
                    keep.deliver()
                elif what == "act":
                    act(year, keep.database, chance)
            _wait_for(partial(_nothing_due, keep, shown))
            looks.append((year.line.lived(shown), year.line.lived(keep.now)))
    assert sum(one.killed for one in replicas) == KILLS

    def looked(at: datetime) -> datetime:
        """By when: who hears is looked up before, so what changes meanwhile is looked at once more."""
        number = bisect_left(looks, (at, at)) + 1
        return looks[number][1] if number < len(looks) else NEVER

    problems = judge(keep.database, year, RULES, looked)
    assert problems == [], f"seed {seed}: {len(problems)} problems, such as {problems[:50]}"
    assert len(keep.told()) > CREDENTIALS


def _nothing_due(keep: Keep, at: datetime) -> bool:
    """What a replica is at counts as due until it is committed."""
    with keep.database.read() as reader:
        due = reader.next_remind_at()
    return due is None or due > at


def _at_work(replicas: list[_Replica], folder: Path) -> list[_Replica]:
    """Those that look; at least one."""
    _wait_for(lambda: any(one.works(folder) for one in replicas))
    return [one for one in replicas if one.works(folder)]


def _wait_for(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 300
    while not what():
        assert time.monotonic() < deadline, "the replicas do not work"
        time.sleep(0.01)


def _put(file: Path, text: str) -> None:
    """All of it or nothing, since others read it meanwhile."""
    part = file.with_suffix(".part")
    part.write_text(text)
    part.replace(file)


class _Replica:
    """A process that is killed and begun anew."""

    def __init__(self, words: list[str]) -> None:
        self._words = words
        self._process = subprocess.Popen(words)
        self.killed = 0

    def works(self, folder: Path) -> bool:
        """Whether it has looked at least once."""
        return (folder / f"at-work-{self._process.pid}").exists()

    def kill(self) -> None:
        """SIGKILL, in the middle of whatever it does."""
        self._process.kill()
        assert self._process.wait() == -SIGKILL
        self.killed += 1
        self._process = subprocess.Popen(self._words)

    @contextmanager
    def running(self) -> Iterator[_Replica]:
        try:
            yield self
        finally:
            self._process.kill()
            self._process.wait()
