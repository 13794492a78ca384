"""Time as rows: releases what is due, lapses what expired, finds what a dead worker left, signs the audit's head."""

from __future__ import annotations

import logging
import threading
from datetime import timedelta

from bot.core.decide import Stale, decide
from bot.core.errors import KeyturnError
from bot.core.rotation import Due, Expired, Happening, Lost
from bot.engine.announce import announce, remind_overlap
from bot.store.database import Database

log = logging.getLogger(__name__)

BATCH = 200
SLOWEST_TICK = 1.0
SHORTEST_NAP = 0.005
DEAD_AFTER = timedelta(seconds=30)
QUEUED_TOO_LONG = timedelta(minutes=3)


class Timers:
    """One thread. It sleeps until the next due time or until `wake` is called; a tick is a few indexed queries."""

    def __init__(self, database: Database, worker: str, heartbeat_seconds: float = 5.0) -> None:
        self._database = database
        self._worker = worker
        self._heartbeat = heartbeat_seconds
        self._woken = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="timers", daemon=True)
        self.fenced = threading.Event()
        """Set when this worker was declared dead: the process has to exit."""

    def start(self) -> None:
        """Begin to tick."""
        self._thread.start()

    def stop(self) -> None:
        """Stop after the tick under way."""
        self._stopping.set()
        self._woken.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10)

    def wake(self) -> None:
        """Something was committed that may be due earlier than what we sleep for."""
        self._woken.set()

    def enlist(self) -> None:
        """Say that we live, before anything is begun: what runs under a worker that nobody knows counts as lost."""
        with self._database.begin() as tx:
            tx.heartbeat(self._worker)

    def recover(self) -> None:
        """At start: everything that another life of this process left running is queued again.

        On SQLite the file lock proves that nobody else works; on PostgreSQL heartbeats tell.
        """
        if self._database.dialect == "sqlite":
            with self._database.begin() as tx:
                tx.mark_others_dead(self._worker)
        self.reap()

    def tick(self) -> int:
        """Release what is due now; returns how many rotations moved."""
        with self._database.read() as reader:
            now = reader.now
            due = reader.due_steps(now, BATCH)
            expired = reader.expired(now, BATCH)
            overdue = reader.overlaps_due(now, BATCH)
        moved = sum(self._apply(number, Due(step, attempt)) for number, step, attempt in due)
        for number in overdue:
            self._remind(number)
        return moved + sum(self._apply(number, Expired()) for number in expired)

    def _remind(self, number: int) -> None:
        """An overlap is past its deadline: say so once; the card goes on saying it."""
        with self._database.begin() as tx:
            rotation = tx.rotation(number)
            tx.remind_overlap(number, None)
            if rotation is not None and not rotation.is_over:
                remind_overlap(tx, rotation)

    def _apply(self, number: int, event: Happening) -> int:
        try:
            with self._database.begin() as tx:
                rotation = tx.rotation(number)
                announce(tx, rotation, tx.save(rotation, decide(rotation, event, tx.now)))
        except Stale:
            return 0
        return 1

    def reap(self) -> None:
        """Say that we live; queue again what dead workers left running."""
        with self._database.begin() as tx:
            if not tx.heartbeat(self._worker):
                self.fenced.set()
                return
            tx.mark_dead(DEAD_AFTER)
            since = tx.now - QUEUED_TOO_LONG * self._database.clock.rate
            lost = tx.lost_steps(since)
            tx.lost_intents(since)
        for number, step, attempt in lost:
            self._apply(number, Lost(step, attempt))

    def _run(self) -> None:
        beat_in = 0.0
        while not self._stopping.is_set():
            try:
                if beat_in <= 0:
                    self.reap()
                    beat_in = self._heartbeat
                while self.tick() >= BATCH:
                    pass
                nap = self._nap()
            except KeyturnError as error:
                log.warning("a tick failed and will be repeated: %s", error)
                nap = SLOWEST_TICK
            self._woken.wait(nap)
            self._woken.clear()
            beat_in -= nap

    def _nap(self) -> float:
        """Real seconds until something is due, at most a tick."""
        with self._database.read() as reader:
            next_due, now = reader.next_due_at(), reader.now
        if next_due is None:
            return SLOWEST_TICK
        return min(SLOWEST_TICK, max(SHORTEST_NAP, self._database.clock.real(next_due - now)))
