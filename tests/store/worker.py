"""A worker process that a test kills: writes a line per leg, and hangs in the first one when told so.

Usage: python -m tests.store.worker <database url> <file> <workers> [hang]
"""

from __future__ import annotations

import os
import sys
import threading

from bot.contracts.delivery import Leg
from bot.store.database import Database
from bot.store.delivery_postgres import PostgresDelivery


def main(url: str, note: str, workers: str, hang: str = "") -> None:
    """Run until killed."""
    database = Database.open(url)
    if isinstance(database.delivery, PostgresDelivery):
        database.delivery.heartbeat, database.delivery.dead_after, database.delivery.poll = 0.2, 1.5, 0.3
    file = os.open(note, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def run(leg: Leg) -> None:
        os.write(file, f"begin {leg.number}\n".encode())
        if hang:
            threading.Event().wait()
        with database.begin() as transaction:
            if transaction.begin_intent(leg.number, note) is None:
                return
            transaction.finish_intent(leg.number, {"by": note}, note)
        os.write(file, f"end {leg.number}\n".encode())

    database.delivery.start(run, int(workers))
    os.write(file, b"ready\n")
    threading.Event().wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
