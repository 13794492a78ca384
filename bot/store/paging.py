"""Pages about credentials that nobody acts on: each sent once, by one replica, and ended once somebody has acted."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, func, or_, select, text, update

from bot.store.records import PageRow
from bot.store.session import Session, Writing, upsert
from bot.store.tables import PAGE

_open = text("page.done_at IS NULL")
_due = (
    select(PAGE)
    .where(
        _open,
        PAGE.c.due_at <= bindparam("now"),
        or_(PAGE.c.claimed_until.is_(None), PAGE.c.claimed_until <= bindparam("now")),
    )
    .order_by(PAGE.c.due_at)
    .limit(1)
)
ENDED = "ended"
_next = select(func.min(PAGE.c.due_at)).where(_open)


class PageReader(Session):
    """What is to be paged."""

    def next_page_at(self) -> datetime | None:
        """When the next page is due."""
        found: datetime | None = self.connection.execute(_next).scalar_one_or_none()
        return found

    def pages(self) -> list[PageRow]:
        """Those that were not sent yet."""
        return [PageRow(*row) for row in self.connection.execute(select(PAGE).where(_open).order_by(PAGE.c.due_at))]


class PageWriter(PageReader, Writing):
    """Sending them."""

    def add_page(self, key: str, credential: str, environment: str, payload: Mapping[str, Any]) -> bool:
        """Have somebody paged once. False when the key is known."""
        row = {
            "key": key,
            "credential": credential,
            "environment": environment,
            "payload": dict(payload),
            "due_at": self.now,
            "failures": 0,
            "note": "",
        }
        statement: Any = upsert(PAGE, self.connection)
        statement = statement.on_conflict_do_nothing(index_elements=[PAGE.c.key]).returning(PAGE.c.key)
        return self.connection.execute(statement, row).first() is not None

    def claim_page(self, now: datetime, until: datetime) -> PageRow | None:
        """Take the one that is due; until then nobody else takes it. Due again then, should we die."""
        query = _due if self.is_sqlite else _due.with_for_update(skip_locked=True)
        row = self.connection.execute(query, {"now": now}).one_or_none()
        if row is None:
            return None
        taken = update(PAGE).where(PAGE.c.key == row.key)
        self.connection.execute(taken.values(claimed_until=until, due_at=until))
        return PageRow(*row)

    def finish_page(self, row: PageRow, note: str = "", outputs: Mapping[str, Any] | None = None) -> None:
        """It is sent (no note), or needless by now."""
        done = update(PAGE).where(PAGE.c.key == row.key)
        payload = {**row.payload, "outputs": dict(outputs or {})}
        self.connection.execute(done.values(done_at=self.now, note=note, claimed_until=None, payload=payload))

    def sent_pages(self, keys: Collection[tuple[str, str]]) -> list[PageRow]:
        """Those of these credentials that somebody was woken by, and that were not ended."""
        if not keys:
            return []
        names = {name for name, _ in keys}
        query = select(PAGE).where(text("page.done_at IS NOT NULL AND page.note = ''"), PAGE.c.credential.in_(names))
        rows = (PageRow(*row) for row in self.connection.execute(query))
        return [row for row in rows if (row.credential, row.environment) in keys]

    def end_page(self, row: PageRow) -> None:
        """Somebody has acted: have the alert resolved, once for all pages of this expiry."""
        self.connection.execute(update(PAGE).where(PAGE.c.key == row.key).values(note=ENDED))
        key = f"end-{row.credential}-{row.environment}-{row.payload['expiry']}"
        self.add_page(key, row.credential, row.environment, {**row.payload, "end": True})

    def postpone_page(self, key: str, due_at: datetime, failures: int, note: str) -> None:
        """It did not work: try again then."""
        later = update(PAGE).where(PAGE.c.key == key)
        self.connection.execute(later.values(due_at=due_at, failures=failures, note=note, claimed_until=None))
