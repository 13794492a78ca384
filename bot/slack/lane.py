"""The small lane beside the listeners: opens modals within Slack's three seconds, tells people, and stores nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import BoundedSemaphore

from bot.core.errors import KeyturnError

log = logging.getLogger(__name__)
WORKERS = 4
MOST_WAITING = 64


class Lane:
    """A thread pool with a bounded queue. What it carries may be lost: nothing here is needed to be right."""

    def __init__(self, workers: int = WORKERS, most: int = MOST_WAITING) -> None:
        self._pool = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="slack-lane")
        self._room = BoundedSemaphore(most)

    def submit(self, job: Callable[[], object]) -> bool:
        """Run it soon; False when the lane is full or closed, and then it never runs."""
        if not self._room.acquire(blocking=False):
            return False
        try:
            self._pool.submit(self._run, job)
        except RuntimeError:  # closed
            self._room.release()
            return False
        return True

    def _run(self, job: Callable[[], object]) -> None:
        try:
            job()
        except KeyturnError as error:
            log.info("a modal or an answer beside the log was not shown: %s", error)
        except Exception as error:  # noqa: BLE001 - a lane that dies of one job would open no modal any more
            log.error("the lane met %s", type(error).__name__)
        finally:
            self._room.release()

    def close(self) -> None:
        """Take nothing new and drop what waits."""
        self._pool.shutdown(wait=False, cancel_futures=True)
