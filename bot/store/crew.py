"""A few threads that run legs. They are daemons: a hung call never keeps the process from ending."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from queue import SimpleQueue
from threading import Event, Thread

from bot.contracts.delivery import Leg

log = logging.getLogger(__name__)


class Crew:
    """Runs legs in the order in which they come, as many at once as there are threads."""

    def __init__(self, run: Callable[[Leg], None], threads: int, name: str = "leg") -> None:
        self._run = run
        self._queue: SimpleQueue[tuple[Leg, Callable[[], None]] | None] = SimpleQueue()
        self._stopping = Event()
        self._threads = [Thread(target=self._work, name=f"{name}-{i}", daemon=True) for i in range(threads)]
        for thread in self._threads:
            thread.start()

    def put(self, leg: Leg, ended: Callable[[], None]) -> None:
        """Run it as soon as a thread is free; `ended` is called afterwards, also when it was given up."""
        self._queue.put((leg, ended))

    def stop(self, within: float) -> bool:
        """Drop what has not begun, and wait so many seconds for the rest; whether all threads ended."""
        deadline = time.monotonic() + within
        self._stopping.set()
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _work(self) -> None:
        while (item := self._queue.get()) is not None:
            leg, ended = item
            try:
                if not self._stopping.is_set():
                    self._run(leg)
            except Exception as error:  # noqa: BLE001  # `run` never raises; if it does, the message may hold anything
                log.error("a leg ended with %s: number=%s step=%s", type(error).__name__, leg.number, leg.step)
            finally:
                ended()
