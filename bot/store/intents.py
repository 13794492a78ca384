"""Intents: stored once per delivery key, worked off in order per subject."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, exists, select, text, update
from sqlalchemy.dialects import postgresql

from bot.core.decide import Stale
from bot.store.columns import json_bytes, micros, plain
from bot.store.records import IntentRow
from bot.store.session import Writing
from bot.store.tables import INTENT, WORKER

_is_open = text("intent.state IN ('new', 'running')")
_insert = postgresql.insert(INTENT).on_conflict_do_nothing(index_elements=[INTENT.c.key]).returning(INTENT.c.number)
_INSERT_SQLITE = (
    "INSERT INTO intent (key, word, person, channel, surface, subject, payload, state, worker, received_at) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, 'new', '', ?) ON CONFLICT (key) DO NOTHING"
)
_by_key = select(INTENT).where(INTENT.c.key == bindparam("key"))
_subject = select(INTENT.c.subject, INTENT.c.state).where(INTENT.c.number == bindparam("of"))
_before = INTENT.alias("earlier")
is_first = (INTENT.c.subject == "") | ~exists().where(
    _before.c.subject == INTENT.c.subject,
    _before.c.number < INTENT.c.number,
    text("earlier.state IN ('new', 'running')"),
)
"""No earlier intent of its subject is open: it may begin."""
_earlier = (
    select(INTENT.c.number)
    .where(INTENT.c.subject == bindparam("subject"), INTENT.c.number < bindparam("of"), _is_open)
    .limit(1)
    .with_for_update()
)
_EARLIER_SQLITE = "SELECT 1 FROM intent WHERE subject = ? AND number < ? AND state IN ('new', 'running') LIMIT 1"
_begin = (
    update(INTENT)
    .where(INTENT.c.number == bindparam("of"), INTENT.c.state == "new")
    .values(state="running", worker=bindparam("by"), began_at=bindparam("now"))
    .returning(INTENT)
)
_finish = (
    update(INTENT)
    .where(INTENT.c.number == bindparam("of"), INTENT.c.state == "running")
    .values(state="done", answer=bindparam("says"), ended_at=bindparam("now"))
    .returning(INTENT.c.subject)
)
_next = (
    select(INTENT.c.number)
    .where(INTENT.c.subject == bindparam("subject"), _is_open, INTENT.c.state == "new")
    .order_by(INTENT.c.number)
    .limit(1)
)


class IntentWriter(Writing):
    """Storing and taking intents."""

    def add_intent(
        self,
        key: str,
        word: str,
        person: str,
        channel: str,
        surface: str,
        subject: str,
        payload: Mapping[str, Any],
    ) -> tuple[IntentRow, bool]:
        """Store what was asked, and have it delivered. The same key again gives the first one's row and False.

        `subject` is what the intent is about (`R-7`, `credential@environment`); those of one subject run in the order
        in which they were stored, those of the empty subject in any.
        """
        row: dict[str, Any] = {
            "key": key,
            "word": word,
            "person": person,
            "channel": channel,
            "surface": surface,
            "subject": subject,
            "payload": payload,
            "state": "new",
            "worker": "",
            "received_at": self.now,
        }
        number = self._insert_intent(row)
        if number is None:
            return IntentRow(*self.connection.execute(_by_key, {"key": key}).one()), False
        if not self._must_wait(subject, number):
            self.enqueue(number)
        fixed: dict[str, Any] = {"number": number, "began_at": None, "ended_at": None, "answer": None, "effect": None}
        return IntentRow(**row, **fixed), True

    def _insert_intent(self, row: Mapping[str, Any]) -> int | None:
        """The new number; None when the key is there. Straight on SQLite's driver: every click pays for it."""
        if not self.is_sqlite:
            found: int | None = self.connection.execute(_insert, row).scalar_one_or_none()
            return found
        raw: Any = self.connection.connection.driver_connection
        texts = [plain(row[name]) for name in ("key", "word", "person", "channel", "surface", "subject")]
        cursor = raw.execute(_INSERT_SQLITE, (*texts, json_bytes(row["payload"]).decode(), micros(row["received_at"])))
        return cursor.lastrowid if cursor.rowcount else None

    def _must_wait(self, subject: str, number: int) -> bool:
        """Whether `finish_intent` of an earlier one will surely see it. On PostgreSQL that one may commit meanwhile."""
        if not subject or not self.is_sqlite:
            return False
        raw: Any = self.connection.connection.driver_connection
        return raw.execute(_EARLIER_SQLITE, (plain(subject), number)).fetchone() is not None

    def begin_intent(self, number: int, worker: str) -> IntentRow | None:
        """Take a new intent. None when it was taken already, or waits for an earlier one of its subject."""
        known = self.connection.execute(_subject, {"of": number}).one_or_none()
        if known is None or known.state != "new":
            return None
        if known.subject:
            # The lock waits for a `finish_intent` under way, so that one of the two sees the other.
            earlier = self.connection.execute(_earlier, {"subject": known.subject, "of": number}).first()
            if earlier is not None:
                return None
        row = self.connection.execute(_begin, {"of": number, "by": worker, "now": self.now}).one_or_none()
        return None if row is None else IntentRow(*row)

    def mark_intent(self, number: int, rotation: int) -> bool:
        """The intent has changed this rotation (0: the inventory), in this transaction: run again, it only answers.

        False when it has had its effect before, under another worker: then take the transaction back.
        """
        unmarked = update(INTENT).where(INTENT.c.number == number, INTENT.c.effect.is_(None))
        return bool(self.connection.execute(unmarked.values(effect=rotation)).rowcount)

    def running_intents(self, worker: str) -> list[int]:
        """Intents that this worker has begun and not finished."""
        query = select(INTENT.c.number).where(_is_open, INTENT.c.state == "running", INTENT.c.worker == worker)
        return list(self.connection.execute(query).scalars())

    def release_intent(self, number: int, worker: str) -> None:
        """Make an intent new again that this worker began and then lost, and deliver it."""
        mine = update(INTENT).where(INTENT.c.number == number, INTENT.c.state == "running", INTENT.c.worker == worker)
        if self.connection.execute(mine.values(state="new", worker="", began_at=None)).rowcount:
            self.enqueue(number)

    def finish_intent(self, number: int, answer: Mapping[str, Any], worker: str | None = None) -> None:
        """Store the answer and let the subject's next intent go.

        Raises `Stale` when the intent is not running, or no longer under this worker.
        """
        statement = _finish if worker is None else _finish.where(INTENT.c.worker == bindparam("by"))
        values = {"of": number, "says": dict(answer), "now": self.now} | ({} if worker is None else {"by": worker})
        subject = self.connection.execute(statement, values).scalar_one_or_none()
        if subject is None:
            raise Stale("the intent has been taken over")
        if subject:
            following = self.connection.execute(_next, {"subject": subject}).scalar_one_or_none()
            if following is not None:
                self.enqueue(following)

    def lost_intents(self, new_before: datetime) -> list[int]:
        """Make intents of dead or unknown workers new again; deliver them and those that might have begun long ago."""
        alive = select(WORKER.c.id).where(WORKER.c.dead_at.is_(None))
        reset = (
            update(INTENT)
            .where(_is_open, INTENT.c.state == "running", INTENT.c.worker.not_in(alive))
            .values(state="new", worker="", began_at=None)
            .returning(INTENT.c.number)
        )
        lost = set(self.connection.execute(reset).scalars())
        waiting = select(INTENT.c.number).where(_is_open, INTENT.c.state == "new", INTENT.c.received_at < new_before)
        lost.update(self.connection.execute(waiting.where(is_first)).scalars())
        for number in sorted(lost):
            self.enqueue(number)
        return sorted(lost)
