"""A year of ten thousand credentials on PostgreSQL: replicas are killed, the clock jumps, people act."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bot.store.clock import Clock
from tests.conftest import Opener
from tests.engine.keeping_stage import DAY, Keep
from tests.engine.test_year import RULES
from tests.engine.year import Year, judge

CREDENTIALS = int(os.environ.get("KEYTURN_SOAK_CREDENTIALS", "10000"))
SECONDS = float(os.environ.get("KEYTURN_SOAK_SECONDS", "900"))
"""In which the year goes by."""
KILLS = int(os.environ.get("KEYTURN_SOAK_KILLS", "200"))
JUMPS, REPLICAS = 50, 3
ACTS_EACH = 3
"""Rotations, snoozes and changes of owners for every credential."""


@pytest.mark.realparts
@pytest.mark.timeout(SECONDS + 900)
def test_a_long_year(postgres_url: str, open_database: Opener, tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(10**6)
    chance = random.Random(seed)
    rate = 366 * DAY.total_seconds() / SECONDS
    year = Year(chance)
    first = Keep(open_database(postgres_url, Clock()), RULES, at=None)
    year.declare(first.database, CREDENTIALS)
    first.turn(CREDENTIALS)  # the first look at everything is not a matter of days, as it would be on the fast clock
    anchor = time.time()
    moved = tmp_path / "moved"
    moved.write_text("0")
    clock = Clock(rate, datetime.fromtimestamp(anchor, UTC))
    keep = Keep(open_database(postgres_url, clock), RULES, at=None)
    begins = time.monotonic()
    words = [sys.executable, "-m", "tests.soak.replica", postgres_url, str(rate), str(anchor), str(moved)]
    events = sorted(
        (chance.random() * SECONDS, act)
        for act, count in (("kill", KILLS), ("jump", JUMPS), ("act", ACTS_EACH * CREDENTIALS), ("deliver", 100))
        for _ in range(count)
    )
    killed = 0
    with ExitStack() as stack:
        replicas = [stack.enter_context(_Replica(words).running()) for _ in range(REPLICAS)]
        for at, act in events:
            time.sleep(max(0.0, begins + at - time.monotonic()))
            if act == "kill":
                at_work = [one for one in replicas if one.works(tmp_path)]
                if at_work:
                    chance.choice(at_work).kill()
                    killed += 1
            elif act == "jump":
                clock.advance(chance.choice((-1, 1)) * chance.random() * 3 * DAY)
                moved.write_text(str(clock.offset.total_seconds()))
            elif act == "deliver":
                keep.deliver()
            else:
                year.act(keep.database)
        _settle(keep)
    assert killed >= KILLS / 2, f"only {killed} were killed at work"
    lag = timedelta(seconds=20 * rate)
    problems = judge(keep.database, year, RULES, lag)
    assert problems == [], f"seed {seed}: {len(problems)} problems, such as {problems[:50]}"
    assert len(keep.told()) > CREDENTIALS


def _settle(keep: Keep) -> None:
    """Until the replicas have nothing left that is due."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        with keep.database.read() as reader:
            due = reader.next_remind_at()
            if due is None or due > reader.now:
                return
        time.sleep(0.05)
    raise AssertionError("the replicas do not catch up")


class _Replica:
    """A process that is killed and begun anew."""

    def __init__(self, words: list[str]) -> None:
        self._words = words
        self._process = subprocess.Popen(words)

    def works(self, folder: Path) -> bool:
        """Whether it has looked at least once."""
        return (folder / f"at-work-{self._process.pid}").exists()

    def kill(self) -> None:
        """SIGKILL, in the middle of whatever it does."""
        self._process.kill()
        self._process.wait()
        self._process = subprocess.Popen(self._words)

    @contextmanager
    def running(self) -> Iterator[_Replica]:
        try:
            yield self
        finally:
            self._process.kill()
            self._process.wait()
