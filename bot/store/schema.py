"""The schema's version: checked at every start, brought up to date by `migrate` under a lock."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, inspect, text

from bot.core.errors import Permanent
from bot.core.events import Entry, Event
from bot.store import audit
from bot.store.faults import DATABASE_ERRORS, explain
from bot.store.session import database_now

if TYPE_CHECKING:
    from bot.store.database import Database

_LOCK = 0x6B657974_75726E  # "keyturn", for pg_advisory_lock
_REVISION = re.compile(r"(\d{4})_\w+\.py")
_QUEUE = "schema.procrastinate"


def revisions() -> tuple[str, ...]:
    """The revisions that this version of keyturn knows, the oldest first."""
    names = (item.name for item in files("bot.store.migrations.versions").iterdir())
    return tuple(sorted(match[1] for name in names if (match := _REVISION.fullmatch(name))))


def check(database: Database) -> None:
    """Raise `Permanent` unless the schema is exactly ours and the database can be written to."""
    try:
        connection, _ = database._connect(write=True)
        with connection:
            found = _current(connection)
            queue = _queue_version(connection) if found and database.path is None else None
            connection.rollback()
    except DATABASE_ERRORS as error:
        raise explain(error) from None
    known = revisions()
    if found is None:
        raise Permanent("The database is empty.", "Run `keyturn migrate`.")
    if found not in known:
        raise _newer(found, known[-1])
    if found != known[-1]:
        raise Permanent(
            f"The database has schema {found}, and this version of keyturn needs {known[-1]}.",
            "Make a backup, then run `keyturn migrate`.",
        )
    if database.path is None and queue != _queue_files()[-1]:
        if queue is not None and queue > _queue_files()[-1]:
            raise _newer(f"{queue} of procrastinate", _queue_files()[-1])
        raise Permanent("The job queue's tables are older than this version needs.", "Run `keyturn migrate`.")


def _newer(found: str, ours: str) -> Permanent:
    return Permanent(
        f"This keyturn is older than its database: the database has schema {found}, and this version knows {ours}.",
        "Start the newer version of keyturn, or restore the backup made before the upgrade.",
    )


def migrate(database: Database) -> tuple[str, ...]:
    """Apply what is missing; several processes may call it at the same time. Returns the new revisions."""
    try:
        with _alone(database) as connection:
            found = _current(connection)
            known = revisions()
            if found is not None and found not in known:
                raise _newer(found, known[-1])
            missing = tuple(revision for revision in known if found is None or revision > found)
            if missing:
                _upgrade(connection)
                now = database.clock.at(database_now(connection))
                detail = {"from": found or "", "to": known[-1], "keyturn": _own_version()}
                audit.append(connection, [Entry(Event.SCHEMA_MIGRATED, "keyturn", detail=detail)], now)
            connection.commit()
            if database.path is None:
                _upgrade_queue(connection)
    except DATABASE_ERRORS as error:
        raise explain(error) from None
    return missing


@contextmanager
def _alone(database: Database) -> Iterator[Connection]:
    """A connection while no other process migrates: SQLite's write lock, or PostgreSQL's advisory lock."""
    if database.path is not None:
        connection, _ = database._connect(write=True)
        with connection:
            yield connection
        return
    with database.engine.connect() as connection:
        connection.execute(text("SET lock_timeout = '10min'"))
        connection.execute(text("SET statement_timeout = 0"))
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _LOCK})
        connection.commit()
        try:
            yield connection
        finally:
            connection.rollback()
            connection.invalidate()  # closes it, and so releases the lock and forgets the settings


def _upgrade(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _current(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
    return found


def _own_version() -> str:
    try:
        return version("keyturn")
    except PackageNotFoundError:  # not installed as a package: run from a checkout
        return "checkout"


# --- the tables of procrastinate, on PostgreSQL only ------------------------------------------------------------------


def _queue_files() -> list[str]:
    """Names of procrastinate's own migrations, in order; the last one names the version of its schema."""
    folder = files("procrastinate.sql.migrations")
    return sorted(item.name for item in folder.iterdir() if item.name.endswith(".sql"))


def _queue_version(connection: Connection) -> str | None:
    query = text("SELECT value FROM setting WHERE key = :key")
    found: str | None = connection.execute(query, {"key": _QUEUE}).scalar_one_or_none()
    return found


def _upgrade_queue(connection: Connection) -> None:
    """Create procrastinate's tables, or apply its migrations that came with a newer version of it."""
    known = _queue_files()
    found = _queue_version(connection)
    if found is None:
        _run(connection, (files("procrastinate.sql") / "schema.sql").read_text(encoding="utf-8"), known[-1])
        return
    if found > known[-1]:
        raise _newer(f"{found} of procrastinate", known[-1])
    for name in known:
        if name > found:
            _run(connection, (files("procrastinate.sql.migrations") / name).read_text(encoding="utf-8"), name)


def _run(connection: Connection, script: str, name: str) -> None:
    """One file in one transaction, with its name, so that a crash in between leaves no half."""
    raw: Any = connection.connection.driver_connection
    raw.execute(script)
    statement = text(
        "INSERT INTO setting (key, value, at) VALUES (:key, :value, 0) ON CONFLICT (key) DO UPDATE SET value = :value"
    )
    connection.execute(statement, {"key": _QUEUE, "value": name})
    connection.commit()
