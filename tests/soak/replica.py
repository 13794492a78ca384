"""A replica that sends reminders until it is killed: `python -m tests.soak.replica URL RATE ANCHOR FILE`.

FILE holds by how many seconds the clock was moved; every replica follows it, and leaves a file beside it once it works.
"""

from __future__ import annotations

import os
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bot.core.errors import KeyturnError
from bot.store.clock import Clock
from bot.store.database import Database
from tests.engine.keeping_stage import Keep
from tests.engine.test_year import RULES


def main(url: str, rate: str, anchor: str, moved: str) -> None:
    """Look, nap, look again."""
    clock = Clock(float(rate), datetime.fromtimestamp(float(anchor), UTC))
    keep = Keep(Database.open(url, clock, connections=4), RULES, at=None)
    at_work = Path(moved).with_name(f"at-work-{os.getpid()}")
    while True:
        clock.advance(timedelta(seconds=float(Path(moved).read_text() or 0)) - clock.offset)
        try:
            nap = keep.reminders.turn()
            at_work.touch()
        except KeyturnError:
            nap = 0.1
        time.sleep(min(nap, 0.05))


if __name__ == "__main__":
    main(*sys.argv[1:])
