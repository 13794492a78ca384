"""What every look at the database has: a connection, and one reading of the clock."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Table, text
from sqlalchemy.dialects.postgresql import insert as postgres_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from bot.contracts.delivery import Delivery, Leg
from bot.store.clock import Clock
from bot.store.columns import moment

_database_now = text("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint")


def database_now(connection: Connection) -> datetime:
    """Now by the database's clock; SQLite's is that of this host."""
    if connection.dialect.name == "sqlite":
        return datetime.now(UTC)
    return moment(connection.execute(_database_now).scalar_one())


class Session:
    """A connection inside a transaction, and its time."""

    def __init__(self, connection: Connection, clock: Clock, now: datetime | None = None) -> None:
        self.connection = connection
        self.clock = clock
        self._database_now = now

    @property
    def database_now(self) -> datetime:
        """The database's own time, read once; heartbeats are compared by it."""
        if self._database_now is None:
            self._database_now = database_now(self.connection)
        return self._database_now

    @property
    def now(self) -> datetime:
        """The engine's time, read once."""
        return self.clock.at(self.database_now)

    @property
    def is_sqlite(self) -> bool:
        """Which of the two databases this is."""
        return self.connection.dialect.name == "sqlite"


class Writing(Session):
    """A connection that may write, and what has to follow its commit."""

    def __init__(self, connection: Connection, clock: Clock, now: datetime, delivery: Delivery) -> None:
        super().__init__(connection, clock, now)
        self.delivery = delivery
        self.afterwards: list[Callable[[], None]] = []

    def after_commit(self, call: Callable[[], None]) -> None:
        """Call this once the transaction is committed, and only then."""
        self.afterwards.append(call)

    def enqueue(self, number: int, step: int | None = None, attempt: int = 0) -> None:
        """Hand a leg to delivery, within this transaction."""
        self.delivery.enqueue(self, Leg(number, step, attempt))


def upsert(table: Table, connection: Connection) -> Any:
    """An insert that knows `on_conflict_do_nothing` and `on_conflict_do_update`, in the database's own dialect."""
    return sqlite_insert(table) if connection.dialect.name == "sqlite" else postgres_insert(table)
