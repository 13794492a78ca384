"""Time as rows: releases what is due, lapses what expired, finds what a dead worker left, signs the audit's head."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import timedelta

from bot.core.decide import Stale, decide
from bot.core.errors import Ambiguous, KeyturnError, Transient
from bot.core.rotation import Called, Due, Expired, Happening, Lost, Rotation
from bot.engine.announce import announce, remind_overlap, warn_of_use
from bot.engine.incidents import nudge
from bot.engine.under_way import UnderWay
from bot.store.database import Database

log = logging.getLogger(__name__)

BATCH = 200
SLOWEST_TICK = 1.0
SHORTEST_NAP = 0.005
MOST_TOLD = 3
DEAD_AFTER = timedelta(seconds=30)
QUEUED_TOO_LONG = timedelta(minutes=3)
USE_AGAIN = timedelta(hours=1)
"""How often it is looked, near the end of a grace, whether the old credential is in use after all."""
OVERDUE_AGAIN = timedelta(days=7)
"""How often an overlap that is past its deadline is said."""


class Timers:
    """One thread. It sleeps until the next due time or until `wake` is called; a tick is a few indexed queries."""

    def __init__(
        self,
        database: Database,
        worker: str,
        heartbeat_seconds: float = 5.0,
        under_way: UnderWay | None = None,
        called: Callable[[Rotation], Called] = lambda rotation: Called(rotation.eligible, rotation.escalated + 1),
        nudge: timedelta | None = None,
        expiries: Callable[[], int] = lambda: 0,
    ) -> None:
        self._database = database
        self._worker = worker
        self._under_way = under_way
        """What this process really works on; None where no worker runs beside the timers."""
        self._called = called
        """Who may approve once nobody did in time; asks for live membership."""
        self._nudge_after = nudge
        """After how long a silence an incident is asked for an update; None for never."""
        self._expiries = expiries
        """Opens the incidents of what expired in use; asked with every heartbeat, as no row is due then."""
        self._heartbeat = heartbeat_seconds
        self._calling: set[int] = set()
        self._lock = threading.Lock()
        self._woken = threading.Event()
        self._stopping = threading.Event()
        self._stumbles = 0
        """How many rotations this turn passed over; they stay due, so the next turn is not at once."""
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
            quiet = [] if self._nudge_after is None else reader.quiet_incidents(now - self._nudge_after, BATCH)
            uncalled = [rotation for number in reader.calls_due(now, BATCH) if (rotation := reader.rotation(number))]
        moved = sum(self._apply(number, Due(step, attempt)) for number, step, attempt in due)
        moved += sum(self._apply(number, Expired()) for number in expired)
        for number in overdue:
            self._alone(number, self._remind)
        for number in quiet:
            self._alone(number, self._nudge)
        for rotation in uncalled:
            self._call(rotation)
        return moved

    def _nudge(self, number: int) -> None:
        """An incident looks quiet: ask for an update, unless something was said after all."""
        assert self._nudge_after is not None
        with self._database.begin() as tx:
            nudge(tx, number, self._nudge_after)

    def _call(self, rotation: Rotation) -> None:
        """Remind or escalate, beside this thread: who may approve is asked of Slack, which may take its time."""
        with self._lock:
            self._stumbles += 1  # it stays due until it is saved
            if rotation.number in self._calling:
                return
            self._calling.add(rotation.number)

        def work() -> None:
            try:
                self._apply(rotation.number, self._called(rotation))
            except KeyturnError as error:
                log.warning("somebody is called later: %s", error, extra={"rotation": rotation.id})
            finally:
                with self._lock:
                    self._calling.discard(rotation.number)

        threading.Thread(target=work, name="caller", daemon=True).start()

    def _remind(self, number: int) -> None:
        """An overlap comes to its end while the old credential is in use: say it once, and look until it is seen. It
        is past its deadline: say it again and again."""
        with self._database.begin() as tx:
            rotation = tx.rotation(number)
            deadline = rotation.overlap_deadline if rotation is not None else None
            if rotation is None or rotation.is_over:
                tx.remind_overlap(number, None)
            elif deadline is not None and tx.now < deadline:
                told = warn_of_use(tx, rotation)
                tx.remind_overlap(number, deadline if told else min(deadline, tx.now + USE_AGAIN))
            else:
                remind_overlap(tx, rotation)
                tx.remind_overlap(number, tx.now + OVERDUE_AGAIN)

    def _apply(self, number: int, event: Happening) -> int:
        def apply(number: int) -> None:
            with self._database.begin() as tx:
                rotation = tx.rotation(number)
                announce(tx, rotation, tx.save(rotation, decide(rotation, event, tx.now)))

        return self._alone(number, apply)

    def _alone(self, number: int, act: Callable[[int], None]) -> int:
        """Do it for one rotation, so that one which cannot be read or saved keeps no other waiting; 1 when it was."""
        try:
            act(number)
        except Stale:
            return 0
        except (Transient, Ambiguous):
            raise  # the database itself: everything waits
        except Exception as error:  # noqa: BLE001 - a row that this version cannot read, or a defect
            self._stumbles += 1
            if self._stumbles <= MOST_TOLD:
                what = str(error) if isinstance(error, KeyturnError) else type(error).__name__
                log.error("a due rotation was passed over: %s", what, extra={"rotation": f"R-{number}"})
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
            begun, asked = tx.running_steps(self._worker), tx.running_intents(self._worker)
        here = self._under_way  # asked after the database, so that what has just begun is known here
        lost += [found for found in begun if here is not None and not here.has_rotation(found[0])]
        for number, step, attempt in lost:
            self._apply(number, Lost(step, attempt))
        for number in asked:
            if here is not None and not here.has_intent(number):
                self._release(number)

    def _release(self, number: int) -> None:
        """An intent that we began, and whose answer could not be saved."""
        with self._database.begin() as tx:
            tx.release_intent(number, self._worker)

    def _run(self) -> None:
        beat_at = 0.0
        while not self._stopping.is_set():
            self._stumbles = 0
            try:
                if time.monotonic() >= beat_at:
                    self.reap()
                    beat_at = time.monotonic() + self._heartbeat
                    self._expiries()
                nap = self._turn()
            except KeyturnError as error:
                log.warning("a tick failed and will be repeated: %s", error)
                nap = SLOWEST_TICK
            except Exception as error:  # noqa: BLE001 - without this thread nothing that is due would ever go on
                log.error("a tick met %s", type(error).__name__)
                nap = SLOWEST_TICK
            self._woken.wait(SLOWEST_TICK if self._stumbles else nap)
            self._woken.clear()

    def _turn(self) -> float:
        """Release a batch of what is due, and say for how long to sleep. Mostly nothing is, and one look tells."""
        nap = self._until_due()
        if nap > 0:
            return nap
        if self.tick() >= BATCH:
            return 0.0  # the rest follows at once, but not before a heartbeat that is due
        return max(SHORTEST_NAP, self._until_due())

    def _until_due(self) -> float:
        """Real seconds until something is due, at most a tick; zero or less when it is due."""
        with self._database.read() as reader:
            next_due, now = reader.next_due_at(self._nudge_after), reader.now
        if next_due is None:
            return SLOWEST_TICK
        return min(SLOWEST_TICK, self._database.clock.real(next_due - now))
