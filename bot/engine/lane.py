"""A thread beside the timers that does one kind of work when it is due, and may wait for other systems meanwhile."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import datetime

from bot.core.errors import KeyturnError
from bot.store.database import Database

log = logging.getLogger(__name__)
SHORTEST_NAP, LONGEST_NAP = 0.02, 5.0
AFTER_FAULT = 2.0


class Lane:
    """Start it once per process. `turn` does what is due and returns in how many real seconds to come again."""

    def __init__(self, name: str, turn: Callable[[], float]) -> None:
        self._turn = turn
        self._name = name
        self._woken = threading.Event()
        self.stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wake(self) -> None:
        """Something was committed that may be due earlier."""
        self._woken.set()

    def stop(self, within: float = 5.0) -> None:
        """End after what is in hand; what hangs is looked at by the next life."""
        self.stopping.set()
        self._woken.set()
        if self._thread.is_alive():
            self._thread.join(within)

    def _run(self) -> None:
        while not self.stopping.is_set():
            self._woken.clear()
            try:
                nap = self._turn()
            except KeyturnError as error:
                log.warning("%s wait: %s", self._name, error)
                nap = AFTER_FAULT
            except Exception as error:  # noqa: BLE001 - without this thread nothing of its kind would ever be done again
                log.error("the %s met %s", self._name, type(error).__name__)
                nap = LONGEST_NAP
            self._woken.wait(nap)
            self.stopping.wait(SHORTEST_NAP)  # commits come in crowds


def nap_until(database: Database, due: datetime | None, now: datetime) -> float:
    """Real seconds until something is due, at most the longest nap."""
    return LONGEST_NAP if due is None else min(LONGEST_NAP, max(SHORTEST_NAP, database.clock.real(due - now)))
