"""A replica that sends reminders until it is killed: `python -m tests.soak.replica URL RATE FOLDER`.

In FOLDER it finds the `anchor` of the fast clock, for which it waits, and by how many seconds the clock was `moved`. It
says there that it has begun, that it works, and in `looks` from when to when it has looked at everything that was due.
"""

from __future__ import annotations

import os
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bot.core.errors import KeyturnError
from bot.engine.reminders import BUSY_NAP
from bot.store.clock import Clock
from bot.store.database import Database
from tests.engine.keeping_stage import Keep
from tests.engine.test_year import RULES


def main(url: str, rate: str, place: str) -> None:
    """Look, nap, look again."""
    folder = Path(place)
    (folder / f"there-{os.getpid()}").touch()
    anchor, moved, at_work = folder / "anchor", folder / "moved", folder / f"at-work-{os.getpid()}"
    while not anchor.exists():
        time.sleep(0.01)
    clock = Clock(float(rate), datetime.fromtimestamp(float(anchor.read_text()), UTC))
    keep = Keep(Database.open(url, clock, connections=4), RULES, at=None)
    looks = os.open(folder / "looks", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    while True:
        clock.advance(timedelta(seconds=float(moved.read_text() or 0)) - clock.offset)
        begins = time.monotonic()
        try:
            nap = keep.reminders.turn()
            at_work.touch()
            if nap not in (0.0, BUSY_NAP):  # neither was more due than it takes at once, nor was somebody else at it
                os.write(looks, f"{begins} {time.monotonic()}\n".encode())
        except KeyturnError:
            nap = 0.1
        time.sleep(min(nap, 0.05))


if __name__ == "__main__":
    main(*sys.argv[1:])
