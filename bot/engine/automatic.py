"""Starts rotations that policy marks automatic; where they need consent, they wait for it as any request does."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from bot.core.automatic import STARTED, Automatic, rule_of
from bot.core.errors import KeyturnError, Permanent, Refused
from bot.core.events import Entry, Event
from bot.engine.arrivals import Concerns, tell
from bot.engine.lane import SHORTEST_NAP, nap_until
from bot.engine.recipients import Recipients
from bot.store.database import Database
from bot.store.records import CredentialRow, ReminderRow
from bot.store.writing import Transaction

log = logging.getLogger(__name__)
AGAIN = timedelta(hours=1)
"""After how long a start that was refused is tried again."""
BATCH = 20
BOT = "keyturn"
Start = Callable[[CredentialRow, str, timedelta, Callable[[Transaction], None]], Any]
"""Plans and opens a rotation that is asked for so much ahead, and calls back in the transaction that opens it."""


class Starter:
    """`turn` is what a lane runs: planning asks other systems, and may take its time."""

    def __init__(
        self,
        database: Database,
        start: Start,
        rules: tuple[Automatic, ...],
        recipients: Callable[[], Recipients],
    ) -> None:
        self._database = database
        self._start = start
        self._rules = rules
        self._recipients = recipients

    def turn(self) -> float:
        """Start what is due; returns in how many real seconds there may be something."""
        with self._database.read() as reader:
            now, due = reader.now, reader.next_start_at()
            if due is None or due > now:
                return nap_until(self._database, due, now)
            rows = reader.starts_due(now, BATCH)
        for row in rows:
            self._one(row)
        return SHORTEST_NAP

    def _one(self, row: CredentialRow) -> None:
        rule = rule_of(self._rules, row)
        if rule is None or row.next_due is None:
            self._put_off(row, None, "")
            return
        due = row.next_due

        def keep(tx: Transaction) -> None:
            """In the transaction that opens it: never twice for one date, and nothing starts if another was first."""
            if (due, STARTED) in tx.told([(row.name, row.environment)]).get((row.name, row.environment), set()):
                raise Refused(f"{row.name} was started already", code="late")
            tx.add_reminders([ReminderRow(row.name, row.environment, due, STARTED, due, tx.now, [], "")])
            tx.update_credential(row.name, row.environment, starts_at=None, remind_at=tx.now)
            if _moved(tx, row):
                raise Refused(f"{row.name} is not due any more on {due:%Y-%m-%d}", code="late")
            detail = {"environment": row.environment, "due": due.isoformat()}
            tx.audit(Entry(Event.AUTOMATIC, BOT, credential=row.name, detail=detail))

        try:
            self._start(row, f"due on {due:%Y-%m-%d}, as policy says", rule.ask_ahead, keep)
        except Refused as error:
            if error.code in ("late", "already-open"):
                self._put_off(row, AGAIN, "")
            else:
                self._put_off(row, AGAIN, str(error))
        except Permanent as error:
            self._put_off(row, AGAIN, f"{error}; {error.hint}".rstrip("; "))
        except KeyturnError as error:
            log.warning("an automatic rotation of %s is tried again: %s", row.name, error)
            self._put_off(row, AGAIN, str(error))

    def _put_off(self, row: CredentialRow, by: timedelta | None, problem: str) -> None:
        """Try it later; who owns it hears once for each date that it did not work.

        Nothing of what was tried counts where the date has moved meanwhile: a look says when to start by the new one.
        """
        channel = str(row.detail.get("channel", ""))
        to = self._recipients().owner(row.owner, channel).to if problem else ()
        with self._database.begin() as tx:
            tx.update_credential(row.name, row.environment, starts_at=tx.now + by if by is not None else None)
            if _moved(tx, row):
                tx.update_credential(row.name, row.environment, starts_at=None, remind_at=tx.now)
                return
            if not problem:
                return
            due = f"{row.next_due:%Y%m%d%H%M%S}" if row.next_due else ""
            text = f"The automatic rotation of {row.name} ({row.environment}) could not start: {problem}"
            key = f"automatic-{row.name}-{row.environment}-{due}"
            payload = {"alert": {"credential": row.name, "environment": row.environment, "what": "not-started"}}
            concerns = Concerns(row.owner, row.name, row.environment, channel)
            news = tell(tx, key, to, text[:1000], concerns, payload)
            if news or not to:
                detail = {"environment": row.environment, "reason": problem[:300], "told": [one.name for one in to]}
                tx.audit(Entry(Event.AUTOMATIC_FAILED, BOT, credential=row.name, detail=detail))


def _moved(tx: Transaction, row: CredentialRow) -> bool:
    """Whether it is due at another time by now, or not at all: it was replaced, or is gone, while others were planned.

    Asked once the transaction has changed the row, so that nobody else can until it ends.
    """
    found = tx.credential(row.name, row.environment)
    return not found or found[0].status == "gone" or found[0].dates.due != row.next_due
