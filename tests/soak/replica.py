"""A replica that sends reminders until it is killed: `python -m tests.soak.replica URL FOLDER`.

In FOLDER it finds by how many seconds the clock was `moved`, and says there that it works.
"""

from __future__ import annotations

import os
import sys
import time
from datetime import timedelta
from pathlib import Path

from bot.core.errors import KeyturnError
from bot.store.clock import Clock
from bot.store.database import Database
from tests.engine.keeping_stage import Keep
from tests.engine.test_year import RULES

NAP = 0.03
"""Seconds, however far away the next reminder is: the clock is moved meanwhile."""


def main(url: str, place: str) -> None:
    """Look, nap, look again."""
    moved, at_work = Path(place) / "moved", Path(place) / f"at-work-{os.getpid()}"
    clock = Clock()
    keep = Keep(Database.open(url, clock, connections=4), RULES, at=None)
    while True:
        clock.advance(timedelta(seconds=float(moved.read_text())) - clock.offset)
        try:
            nap = keep.reminders.turn()
            at_work.touch()
        except KeyturnError:
            nap = NAP
        time.sleep(min(nap, NAP))


if __name__ == "__main__":
    main(*sys.argv[1:])
