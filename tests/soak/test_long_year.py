"""A year of ten thousand credentials on PostgreSQL: replicas are killed, the clock jumps, people act."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from signal import SIGKILL

import pytest

from bot.store.clock import Clock
from tests.conftest import Opener
from tests.engine.keeping_stage import DAY, Keep
from tests.engine.test_year import RULES
from tests.engine.year import CADENCES, Line, Year, act
from tests.engine.year_judge import judge

CREDENTIALS = int(os.environ.get("KEYTURN_SOAK_CREDENTIALS", "10000"))
SECONDS = float(os.environ.get("KEYTURN_SOAK_SECONDS", "900"))
"""In which the year goes by."""
KILLS = int(os.environ.get("KEYTURN_SOAK_KILLS", "200"))
JUMPS, REPLICAS = 50, 3
ACTS_EACH = 3
"""Rotations, snoozes, changes of owners and open rotations for every credential."""
FOLLOWED = 1.0
"""Seconds in which replicas follow a jump, and what somebody changed while it was looked at is looked at again."""
NEVER = datetime(9000, 1, 1, tzinfo=UTC)


@pytest.mark.realparts
@pytest.mark.timeout(SECONDS + 900)
def test_a_long_year(postgres_url: str, open_database: Opener, tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(10**6)
    chance = random.Random(seed)
    rate = 366 * DAY.total_seconds() / SECONDS
    first = Keep(open_database(postgres_url, Clock()), RULES, at=None)
    year = Year(Line(first.now))
    year.declare(first.database, {f"key-{i:05}": chance.choice(CADENCES) for i in range(CREDENTIALS)}, chance)
    first.turn(CREDENTIALS)  # the first look at everything is not a matter of days, as it would be on the fast clock
    moved = tmp_path / "moved"
    moved.write_text("0")
    words = [sys.executable, "-m", "tests.soak.replica", postgres_url, str(rate), str(tmp_path)]
    events = sorted(
        (chance.random() * SECONDS, what)
        for what, count in (("kill", KILLS), ("jump", JUMPS), ("act", ACTS_EACH * CREDENTIALS), ("deliver", 100))
        for _ in range(count)
    )
    with ExitStack() as stack:
        replicas = [stack.enter_context(_Replica(words).running()) for _ in range(REPLICAS)]
        _wait_for(lambda: all(one.says("there", tmp_path) for one in replicas))
        anchor, begins = time.time(), time.monotonic()
        _put(tmp_path / "anchor", str(anchor))
        clock = Clock(rate, datetime.fromtimestamp(anchor, UTC))
        keep = Keep(open_database(postgres_url, clock), RULES, at=None)
        for at, what in events:
            time.sleep(max(0.0, begins + at - time.monotonic()))
            if what == "kill":
                chance.choice(_at_work(replicas, tmp_path)).kill()
            elif what == "jump":
                year.jump(keep.database, chance.choice((-1, 1)) * chance.random() * 3 * DAY)
                _put(moved, str(clock.offset.total_seconds()))
            elif what == "deliver":
                keep.deliver()
            else:
                act(year, keep.database, chance)
        ended = time.monotonic()
        _wait_for(lambda: _looks(begins, tmp_path / "looks")[-1][0] > ended)
    assert sum(one.killed for one in replicas) == KILLS
    looks = _looks(begins, tmp_path / "looks")

    def looked(at: datetime) -> datetime:
        real = begins + (at.timestamp() - anchor) / rate + FOLLOWED
        number = bisect_left(looks, (real, 0.0))
        return at + timedelta(seconds=(looks[number][1] - real + FOLLOWED) * rate) if number < len(looks) else NEVER

    problems = judge(keep.database, year, RULES, looked)
    assert problems == [], f"seed {seed}: {len(problems)} problems, such as {problems[:50]}"
    waits = [later - at for (at, _), (later, _) in pairwise(looks)]
    late = sum(wait for wait in waits if wait * rate > DAY.total_seconds())
    assert late < SECONDS / 5, f"{late:.0f} s went by in waits of a day and more: the time scale proves nothing here"
    assert len(keep.told()) > CREDENTIALS


def _looks(begins: float, file: Path) -> list[tuple[float, float]]:
    """From when to when everything that was due was looked at, by this machine's clock that never jumps."""
    times = [(begins, begins)]
    for line in file.read_text().splitlines():
        began, ended = line.split()
        times.append((float(began), float(ended)))
    return sorted(times)


def _at_work(replicas: list[_Replica], folder: Path) -> list[_Replica]:
    """Those that look; at least one."""
    _wait_for(lambda: any(one.says("at-work", folder) for one in replicas))
    return [one for one in replicas if one.says("at-work", folder)]


def _wait_for(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not what():
        assert time.monotonic() < deadline, "the replicas do not work"
        time.sleep(0.02)


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

    def says(self, what: str, folder: Path) -> bool:
        """Whether it is there, or has looked at least once."""
        return (folder / f"{what}-{self._process.pid}").exists()

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
