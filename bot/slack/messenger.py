"""One thread that brings Slack up to date with the database: claims rows that are due, one at a time, and never waits
inside a claim. A 429, an outage or a crash is a row with a later due time."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta

from bot.core.errors import KeyturnError, Permanent, Transient
from bot.engine.arrivals import arrived, forward, undelivered
from bot.slack.api import LostAnswer, Unreachable
from bot.slack.drawings import Drawer
from bot.slack.notices import Teller
from bot.slack.outcomes import Dropped, Elsewhere, Forwarded, Gone, Later, Outcome, Shown, put_off
from bot.slack.threads import COPY
from bot.store.database import Database
from bot.store.records import DrawingRow, NoticeRow
from bot.store.writing import Transaction

log = logging.getLogger(__name__)
CLAIMED_SECONDS = 45.0
"""Longer than every call that one row can need; after that another replica, or the next life, takes the row."""
LONGEST_PAUSE = 15.0
FIRST_OUTAGE, LONGEST_OUTAGE = 1.0, 30.0
MOST_PER_TURN = 100


class Messenger:
    """Start it once per process; `wake` may be called from anywhere, as after each commit."""

    def __init__(
        self,
        database: Database,
        drawer: Drawer,
        teller: Teller,
        chores: Sequence[Callable[[], float]] = (),
        drawn: Callable[[], None] = lambda: None,
        probe: Callable[[], object] = lambda: None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._drawer = drawer
        self._teller = teller
        self._chores = tuple(chores)
        """Small things to do now and then; each returns in how many seconds it wants its next turn."""
        self._drawn = drawn
        self._probe = probe
        """Asks Slack something that changes nothing; raises as `SlackApi.call` does."""
        self._monotonic = monotonic
        self._doubtful = False
        """Whether Slack was silent last: it is asked before a message is risked."""
        self._woken = threading.Event()
        self._stopping = threading.Event()
        self._outage = 0.0
        self._silent_until = 0.0
        self._thread = threading.Thread(target=self._run, name="messenger", daemon=True)
        self.failures = 0
        """Calls in a row that Slack did not answer; a metric."""

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wake(self) -> None:
        """Something was committed, or the socket is back."""
        self._woken.set()

    def reconnected(self) -> None:
        """Slack is there again: catch up now. Each card is drawn once, as it stands."""
        self._silent_until = self._outage = 0.0
        self._woken.set()

    def stop(self, within: float = 5.0) -> None:
        """Finish the row in hand and end."""
        self._stopping.set()
        self._woken.set()
        if self._thread.is_alive():
            self._thread.join(within)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._woken.clear()
            try:
                pause = self.turn()
            except KeyturnError as error:
                log.warning("messages wait: %s", error)
                pause = 2.0
            except Exception:  # a mistake in one drawing must not end the messenger; its row comes again later
                log.exception("the messenger met a defect")
                pause = 5.0
            self._woken.wait(pause)

    def turn(self) -> float:
        """Send what is due; returns in how many real seconds there may be something to do."""
        pause = LONGEST_PAUSE
        for _ in range(MOST_PER_TURN):
            if self._stopping.is_set():
                return 0.0
            silent = self._silent_until - self._monotonic()
            if silent > 0:
                return min(silent, LONGEST_PAUSE)
            if self._doubtful and self._is_due() and not self._is_there():
                continue
            if not self._send_one():
                break
        else:
            pause = 0.0
        for chore in self._chores:
            pause = min(pause, chore())
        with self._database.read() as reader:
            due, now = reader.next_message_at(), reader.now
        if due is not None:
            pause = min(pause, max(0.02, self._database.clock.real(due - now)))
        return pause

    def _is_due(self) -> bool:
        with self._database.read() as reader:
            due = reader.next_message_at()
            return due is not None and due <= reader.now

    def _is_there(self) -> bool:
        """Ask whether Slack answers again, before a message is sent of which nobody would know what became of it."""
        try:
            self._probe()
        except (LostAnswer, Unreachable):
            self._note(Later(0.0, silent=True))
            return False
        except (Transient, Permanent):
            pass  # an answer is an answer
        self._doubtful = False
        return True

    def _send_one(self) -> bool:
        """Claim one row, notices first, and settle it. False when nothing is due."""
        if not self._is_due():
            return False
        with self._database.begin() as tx:
            until = tx.now + self._stretched(CLAIMED_SECONDS)
            notices = tx.claim_notices(tx.now, until, 1)
            drawings = [] if notices else tx.claim_drawings(tx.now, until, 1)
        if notices:
            outcome = self._teller.tell(notices[0])
            self._note(outcome)
            with self._database.begin() as tx:
                self._settle_notice(tx, notices[0], outcome)
        elif drawings:
            outcome = self._drawer.draw(drawings[0])
            self._note(outcome)
            with self._database.begin() as tx:
                self._settle_drawing(tx, drawings[0], outcome)
        return bool(notices or drawings)

    def _note(self, outcome: Outcome) -> None:
        """An answer ends an outage; silence makes everything wait, longer each time."""
        if isinstance(outcome, Later) and outcome.silent:
            self.failures += 1
            self._outage = min(LONGEST_OUTAGE, self._outage * 2 or FIRST_OUTAGE)
            self._silent_until = self._monotonic() + self._outage
            self._doubtful = True
        elif not isinstance(outcome, Later | Forwarded):
            self.failures, self._outage = 0, 0.0

    def _settle_notice(self, tx: Transaction, row: NoticeRow, outcome: Outcome) -> None:
        match outcome:
            case Shown(ts=ts):
                if tx.sent(row.id, ts):
                    arrived(tx, row)
            case Later():
                seconds, failures, note = put_off(row, outcome)
                tx.postpone_notice(row.id, tx.now + self._stretched(seconds), failures, note)
            case Forwarded(to=to):
                if tx.sent(row.id):
                    forward(tx, row, to)
            case Gone(note=note) | Dropped(note=note) | Elsewhere(note=note):
                log.warning("a notice was given up: %s", note)
                if tx.give_up(row.id, note):
                    undelivered(tx, row, note)

    def _settle_drawing(self, tx: Transaction, row: DrawingRow, outcome: Outcome) -> None:
        match outcome:
            case Shown():
                tx.drawn(row.id, outcome.ts, outcome.version)
                tx.after_commit(self._drawn)
            case Later():
                seconds, failures, note = put_off(row, outcome)
                tx.postpone(row.id, tx.now + self._stretched(seconds), failures, note)
            case Gone(note=note):
                tx.redraw(row.id, note)
            case Elsewhere(place=place, note=note):
                copied = row.place.startswith(COPY)
                log.log(
                    logging.INFO if copied else logging.WARNING, "R-%d is in a direct message: %s", row.rotation, note
                )
                tx.drop_drawing(row.id, note)
                tx.add_drawing(row.rotation, row.form, place, row.wanted, urgent=row.urgent)
            case Dropped(note=note):
                log.warning("a message of R-%d was given up: %s", row.rotation, note)
                tx.drop_drawing(row.id, note)

    def _stretched(self, seconds: float) -> timedelta:
        """Real seconds on the engine's clock."""
        return timedelta(seconds=seconds * self._database.clock.rate)
