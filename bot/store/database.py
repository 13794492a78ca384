"""The database: how it is opened, and its transactions."""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock, get_ident
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from bot.contracts.delivery import Delivery
from bot.core.errors import Permanent
from bot.store import schema
from bot.store.clock import Clock
from bot.store.faults import DATABASE_ERRORS, explain
from bot.store.reading import Reader
from bot.store.records import Head
from bot.store.session import database_now
from bot.store.writing import Transaction

log = logging.getLogger(__name__)
BUSY = 30
"""Seconds that SQLite waits for another process to finish writing."""
_PRAGMAS = (
    "PRAGMA synchronous=FULL",
    f"PRAGMA busy_timeout={BUSY * 1000}",
    "PRAGMA foreign_keys=ON",
    "PRAGMA temp_store=MEMORY",
    "PRAGMA cache_size=-4096",  # KiB: a scan of 500 in a million meets more pages than the usual 2000 KiB hold
)
_SETTINGS = "SET lock_timeout = '20s'; SET idle_in_transaction_session_timeout = '15s'; SET statement_timeout = '60s'"
"""A replica that freezes inside a transaction must not keep the others waiting for its locks."""


class Database:
    """One database, SQLite or PostgreSQL, and the way to read it and to write to it."""

    def __init__(self, engine: Engine, clock: Clock, path: Path | None) -> None:
        self.engine = engine
        self.clock = clock
        self.path = path
        """The file of SQLite; None on PostgreSQL."""
        self.after_commit: list[Callable[[], None]] = []
        """Called after each commit that is not quiet, and when another process wrote to the SQLite file; be quick."""
        self.head: Head | None = None
        """The newest end of the audit that this process has written."""
        self.delivery: Delivery = self._make_delivery()
        self._turn = Lock()
        self._writer: int | None = None
        self._is_there = False

    @classmethod
    def open(
        cls, url: str, clock: Clock | None = None, *, hide_parameters: bool = True, connections: int = 30
    ) -> Database:
        """Open it without touching it yet. Raises `Permanent` for a URL that is neither SQLite nor PostgreSQL."""
        parsed = _parse(url)
        if parsed.get_backend_name() == "sqlite":
            path = Path(parsed.database or "").absolute()
            parsed = parsed.set(database=str(path))
            arguments: dict[str, Any] = {"timeout": BUSY, "isolation_level": None, "check_same_thread": False}
            engine = create_engine(
                parsed,
                hide_parameters=hide_parameters,
                connect_args=arguments,
                pool_size=connections,
                max_overflow=connections,
            )
            event.listen(engine, "connect", _prepare_sqlite)
            return cls(engine, clock or Clock(), path)
        try:
            engine = create_engine(
                parsed,
                hide_parameters=hide_parameters,
                pool_size=connections,
                max_overflow=connections,
                pool_use_lifo=True,
                connect_args={"connect_timeout": 10, "application_name": "keyturn", "keepalives_idle": 30},
            )
        except ModuleNotFoundError:
            raise Permanent(
                "keyturn is installed without its PostgreSQL part.", 'Install it with: pip install "keyturn[postgres]".'
            ) from None
        event.listen(engine, "connect", _prepare_postgres)
        return cls(engine, clock or Clock(), None)

    @property
    def dialect(self) -> str:
        """`sqlite` or `postgresql`."""
        return self.engine.dialect.name

    def close(self) -> None:
        """Give all connections back."""
        self.engine.dispose()

    @contextmanager
    def begin(self, *, quiet: bool = False) -> Iterator[Transaction]:
        """A transaction: commits at the end with its audit rows chained last, or rolls back on any exception.

        `quiet` is for what makes nothing due and changes no message, such as a stored intent: delivery gets its leg,
        but the hooks of `after_commit` are not called, so that no other thread wakes up between commit and answer.

        SQLite: BEGIN IMMEDIATE, one writer of this process at a time, so do nothing slow inside. PostgreSQL: READ
        COMMITTED; a rotation is locked when it is loaded. Raises `Transient` or `Permanent` when the database cannot,
        `Ambiguous` when the connection broke during the commit.
        """
        with self._one_writer():
            try:
                connection, now = self._connect(write=True)
            except DATABASE_ERRORS as error:
                raise explain(error) from None
            committing = False
            try:
                with connection:
                    transaction = Transaction(connection, self.clock, now, self.delivery)
                    yield transaction
                    head = transaction.seal()
                    committing = True
                    connection.commit()
            except DATABASE_ERRORS as error:
                raise explain(error, committing) from None
        if head is not None and (self.head is None or head.seq > self.head.seq):
            self.head = head
        self._follow(transaction.afterwards, () if quiet else self.after_commit)

    @contextmanager
    def read(self) -> Iterator[Reader]:
        """A look at one state of the database; holds no lock that writers wait for."""
        try:
            connection, now = self._connect(write=False)
        except DATABASE_ERRORS as error:
            raise explain(error) from None
        try:
            with connection:
                yield Reader(connection, self.clock, now)
        except DATABASE_ERRORS as error:
            raise explain(error) from None

    def now(self) -> datetime:
        """The engine's time."""
        if self.path is not None:
            return self.clock.at(datetime.now(UTC))
        try:
            connection, now = self._connect_postgres(isolation_level="AUTOCOMMIT")  # one round trip instead of three
        except DATABASE_ERRORS as error:
            raise explain(error) from None
        connection.close()
        return self.clock.at(now)

    def check_schema(self) -> None:
        """Raise `Permanent`, with what to do, when the schema is not the one of this version, or not writable."""
        schema.check(self)

    def migrate(self) -> tuple[str, ...]:
        """Bring the schema up to date, under a lock; returns the revisions that were applied."""
        return schema.migrate(self)

    @contextmanager
    def _one_writer(self) -> Iterator[None]:
        """Queue the writers of this process here: SQLite's own waiting sleeps, and is unfair."""
        if self.path is None:
            yield
            return
        me = get_ident()
        if self._writer == me:
            raise RuntimeError("this thread already has a transaction open")
        with self._turn:
            self._writer = me
            try:
                yield
            finally:
                self._writer = None

    def _connect(self, *, write: bool) -> tuple[Connection, datetime | None]:
        """A connection inside a transaction. A pooled connection that died meanwhile is replaced once."""
        if self.path is not None:
            if not self._is_there:
                _create_file(self.path)
                self._is_there = True
            connection = self.engine.connect()
            try:
                connection.begin()
                raw: Any = connection.connection.driver_connection
                raw.execute("BEGIN IMMEDIATE" if write else "BEGIN")
            except BaseException:
                connection.close()
                raise
            return connection, datetime.now(UTC)
        options = {} if write else {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        return self._connect_postgres(**options)

    def _connect_postgres(self, **options: Any) -> tuple[Connection, datetime]:
        for again in (True, False):
            connection = self.engine.connect().execution_options(**options)
            try:
                return connection, database_now(connection)
            except DBAPIError as error:
                connection.close()
                if not (again and error.connection_invalidated):
                    raise
            except BaseException:
                connection.close()
                raise
        raise AssertionError("unreachable")

    def notice_others(self) -> None:
        """Call the hooks of `after_commit`: another process wrote to the SQLite file."""
        self._follow((), self.after_commit)

    def _follow(self, calls: Iterable[Callable[[], None]], hooks: Iterable[Callable[[], None]]) -> None:
        for call in (*calls, *hooks):
            try:
                call()
            except Exception:  # the commit stands; what follows it is repeated by scans and timers
                log.exception("a call after the commit failed")

    def _make_delivery(self) -> Delivery:
        if self.path is not None:
            from bot.store.delivery_local import LocalDelivery

            return LocalDelivery(self, self.path)
        from bot.store.delivery_postgres import PostgresDelivery

        return PostgresDelivery(self)


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise Permanent("KEYTURN_DATABASE_URL is not a database URL.", "Write sqlite:///keyturn.db.") from None
    if parsed.drivername in ("postgresql", "postgres"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername == "postgresql+psycopg":
        return parsed
    if parsed.drivername == "sqlite":
        if not parsed.database or parsed.database == ":memory:":
            raise Permanent("SQLite needs a file here.", "Write KEYTURN_DATABASE_URL=sqlite:///keyturn.db.")
        return parsed
    raise Permanent(
        f"keyturn does not run on {parsed.get_backend_name()}.",
        "Set KEYTURN_DATABASE_URL to sqlite:///keyturn.db or to postgresql://…",
    )


def _create_file(path: Path) -> None:
    """A new database file is readable by keyturn's user only."""
    if not path.exists():
        try:
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        except OSError as error:
            raise Permanent(
                f"The database file {path} cannot be created ({error.strerror}).",
                "Check that the folder exists and that keyturn's user may write to it.",
            ) from None


def _prepare_sqlite(connection: sqlite3.Connection, record: Any) -> None:
    cursor = connection.cursor()
    for pragma in _PRAGMAS:
        cursor.execute(pragma)
    _use_wal(cursor)
    cursor.close()


def _use_wal(cursor: sqlite3.Cursor) -> None:
    """Switch the file to its write-ahead log, once; SQLite does not wait by itself while others do the same."""
    deadline = time.monotonic() + BUSY
    while cursor.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def _prepare_postgres(connection: Any, record: Any) -> None:
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(_SETTINGS)
    connection.autocommit = False
