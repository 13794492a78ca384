"""The schema: made from nothing, equal to the tables, refused when older or newer, migrated by one at a time."""

from __future__ import annotations

import stat
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text

from bot.core.errors import Permanent
from bot.store import schema
from bot.store.columns import Name
from bot.store.database import Database
from bot.store.tables import METADATA
from tests import postgres

Opener = Callable[..., Database]


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.realparts)])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database without any table."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.db'}"
        return
    server: postgres.Server = request.getfixturevalue("postgres_server")
    name = f"empty_{uuid.uuid4().hex}"
    yield server.create(name, "template0")
    server.drop(name)


def test_an_empty_database_is_refused_until_it_is_migrated(empty: str, open_database: Opener) -> None:
    database = open_database(empty)
    with pytest.raises(Permanent) as caught:
        database.check_schema()
    assert "keyturn migrate" in caught.value.hint
    assert database.migrate() == schema.revisions()
    database.check_schema()
    assert database.migrate() == ()
    with database.read() as reader:
        (row,) = reader.history()
    assert (row.event, row.actor) == ("schema.migrated", "keyturn")
    assert (row.detail["from"], row.detail["to"]) == ("", schema.revisions()[-1])


def test_credentials_of_the_first_schema_are_kept_and_looked_at(empty: str, open_database: Opener) -> None:
    database = open_database(empty)
    _upgrade_to(database, "0001")
    columns = "name, environment, kind, owner, runbook, inputs, detail, source, next_due"
    values = "'checkout', 'production', 'api-key', 'alice', 'identity-api-key', '{}', '{}', 'settings', 5"
    with database.engine.begin() as connection:
        connection.execute(text(f"INSERT INTO credential ({columns}) VALUES ({values})"))
    assert database.migrate() == schema.revisions()[1:]
    with database.read() as reader:
        (row,) = reader.credential("checkout")
        assert (row.status, row.due_source, row.place, row.versions) == ("known", "cadence", "", 0)
        assert [found.name for found in reader.reminders_due(reader.now)] == ["checkout"]


def _upgrade_to(database: Database, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(schema.__file__).parent / "migrations"))
    with database.engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def test_eight_processes_migrate_once(empty: str, open_database: Opener) -> None:
    databases = [open_database(empty) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        applied = [revisions for revisions in pool.map(Database.migrate, databases) if revisions]
    assert applied == [schema.revisions()]
    with databases[0].read() as reader:
        assert len(reader.history()) == 1
    databases[0].check_schema()


def test_the_migrations_give_the_tables(database: Database) -> None:
    with database.engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "include_name": lambda name, kind, _: kind != "table" or not str(name).startswith("procrastinate_"),
                "compare_type": _differs,
            },
        )
        assert compare_metadata(context, METADATA) == []


def _differs(context: Any, column: Any, ours: Any, found: Any, wanted: Any) -> bool | None:
    """Alembic does not know that `Name` is text of the collation C on PostgreSQL."""
    if isinstance(wanted, Name) and context.dialect.name == "postgresql":
        return bool(found.collation != "C")
    return None


def test_partial_indexes_have_their_conditions(database: Database) -> None:
    """Alembic does not compare conditions, and a start depends on one."""
    if database.dialect == "sqlite":
        query = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
    else:
        query = "SELECT indexname, indexdef FROM pg_indexes WHERE tablename NOT LIKE 'procrastinate%'"
    with database.engine.connect() as connection:
        found = {row[0]: "WHERE" in row[1] for row in connection.execute(text(query))}
    for table in METADATA.sorted_tables:
        for index in table.indexes:
            assert found[str(index.name)] is (index.dialect_options["sqlite"]["where"] is not None), index.name


def test_file_names_are_the_revisions() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(schema.__file__).parent / "migrations"))
    scripts = ScriptDirectory.from_config(config)
    assert tuple(sorted(script.revision for script in scripts.walk_revisions())) == schema.revisions()
    assert scripts.get_heads() == [schema.revisions()[-1]]


def test_a_newer_schema_is_refused(database: Database) -> None:
    with database.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    for action in (database.check_schema, database.migrate):
        with pytest.raises(Permanent, match="This keyturn is older than its database") as caught:
            action()
        assert "newer version" in caught.value.hint


def test_an_older_schema_is_refused_with_the_way_out(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    known = schema.revisions()
    monkeypatch.setattr(schema, "revisions", lambda: (*known, "9998"))
    needs = f"has schema {known[-1]}, and this version of keyturn needs 9998"
    with pytest.raises(Permanent, match=needs) as caught:
        database.check_schema()
    assert "keyturn migrate" in caught.value.hint


@pytest.mark.realparts
def test_the_queue_is_upgraded_with_its_library(postgres_database: Database) -> None:
    """From the last migration but two: those that came since are applied, in order, and noted."""
    files = schema._queue_files()
    record = text("UPDATE setting SET value = :value WHERE key = 'schema.procrastinate'")
    with postgres_database.engine.begin() as connection:
        connection.execute(record, {"value": files[-2]})
        connection.execute(text("DROP FUNCTION IF EXISTS procrastinate_retry_job_v2"))
    with pytest.raises(Permanent, match="older than this version needs"):
        postgres_database.check_schema()
    postgres_database.migrate()
    postgres_database.check_schema()
    with postgres_database.engine.begin() as connection:
        connection.execute(record, {"value": "99.00.00_01_later.sql"})
    for action in (postgres_database.check_schema, postgres_database.migrate):
        with pytest.raises(Permanent, match="older than its database"):
            action()


def test_a_failed_migration_leaves_nothing(empty: str, monkeypatch: pytest.MonkeyPatch, open_database: Opener) -> None:
    database = open_database(empty)

    def upgrade_and_fail(connection: object) -> None:
        original(connection)  # type: ignore[arg-type]  # a Connection
        raise ZeroDivisionError

    original = schema._upgrade
    monkeypatch.setattr(schema, "_upgrade", upgrade_and_fail)
    with pytest.raises(ZeroDivisionError):
        database.migrate()
    monkeypatch.undo()
    with pytest.raises(Permanent, match="empty"):
        database.check_schema()
    assert database.migrate() == schema.revisions()


def test_a_new_file_is_private_and_durable(tmp_path: Path, open_database: Opener) -> None:
    database = open_database(f"sqlite:///{tmp_path / 'k.db'}")
    database.migrate()
    assert stat.S_IMODE((tmp_path / "k.db").stat().st_mode) == 0o600
    with database.read() as reader:
        settings = [
            reader.connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        ]
    assert settings == ["wal", 2, 1, 30000]  # 2 is FULL: an acknowledged intent survives a power loss
