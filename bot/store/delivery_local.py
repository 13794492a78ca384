"""Delivery on SQLite: this process's own threads, woken at commit; the rows themselves are the queue."""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, Any

from bot.contracts.delivery import Leg
from bot.core.errors import KeyturnError, Permanent
from bot.store.crew import Crew

if TYPE_CHECKING:
    from bot.store.database import Database

log = logging.getLogger(__name__)
LOOK = 0.075
"""Seconds between two looks for what other processes, such as the command line, wrote."""


class LocalDelivery:
    """One worker process per SQLite file. Processes that never call `start` may write intents beside it."""

    def __init__(self, database: Database, path: Path) -> None:
        self._database = database
        self._path = path
        self._crew: Crew | None = None
        self._lock_file: int | None = None
        self._waiting: set[Leg] = set()
        self._guard = Lock()
        self._stop = Event()
        self._watcher: Thread | None = None

    def enqueue(self, connection: Any, leg: Leg) -> None:
        """Run it here once the transaction (a `Transaction`) commits; other processes leave it to the worker."""
        connection.after_commit(lambda: self._take(leg))

    def start(self, run: Callable[[Leg], None], workers: int) -> None:
        """Become the worker process. Raises `Permanent` when another process is."""
        self._lock_file = _lock(self._path.with_name(self._path.name + ".lock"))
        self._stop.clear()

        def begin(leg: Leg) -> None:
            self._begins(leg)
            run(leg)

        self._crew = Crew(begin, workers)
        try:
            self._scan(steps=True)
        except BaseException:
            self.stop(0)
            raise
        self._watcher = Thread(target=self._watch, name="watcher", daemon=True)
        self._watcher.start()

    def stop(self, within: float) -> None:
        """Stop taking legs; those that have not begun are found again by the next start."""
        self._stop.set()
        if self._watcher is not None:
            self._watcher.join(within)
            self._watcher = None
        crew, self._crew = self._crew, None
        if crew is not None and not crew.stop(within):
            log.warning("some steps are still running; they are looked at after the next start")
        self._waiting.clear()
        if self._lock_file is not None:
            os.close(self._lock_file)
            self._lock_file = None

    def _take(self, leg: Leg) -> None:
        with self._guard:
            crew = self._crew
            if crew is None or leg in self._waiting:
                return
            self._waiting.add(leg)
        crew.put(leg, lambda: None)

    def _begins(self, leg: Leg) -> None:
        """From here on the leg may be enqueued again: what it waits for may change while it runs."""
        with self._guard:
            self._waiting.discard(leg)

    def _scan(self, *, steps: bool) -> None:
        with self._database.read() as reader:
            intents = reader.new_intents()
            queued = reader.queued_steps() if steps else []
        for number in intents:
            self._take(Leg(number))
        for number, step, attempt in queued:
            self._take(Leg(number, step, attempt))

    def _watch(self) -> None:
        """Notice commits of other connections by SQLite's own counter; ours cause a look too, which is cheap."""
        connection = sqlite3.connect(f"file:{self._path}?mode=ro", uri=True, check_same_thread=False, timeout=1)
        try:
            seen = None
            while not self._stop.wait(LOOK):
                try:
                    version = connection.execute("PRAGMA data_version").fetchone()
                    if version != seen:
                        self._scan(steps=seen is None)
                        seen = version
                        self._database.notice_others()
                except (sqlite3.Error, KeyturnError) as error:
                    log.warning("could not look for new intents: %s", type(error).__name__)
        finally:
            connection.close()


def _lock(path: Path) -> int:
    try:
        file = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Permanent(
            f"The lock file {path} cannot be written ({error.strerror}).",
            "Give keyturn's user write access to the database's folder.",
        ) from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(file)
        raise Permanent(
            "Another keyturn process already works on this SQLite database.",
            "Run one worker only, or move to PostgreSQL for several replicas.",
        ) from None
    return file
