"""Fixtures shared by all tests: a migrated database of each kind, one per test."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bot.store.clock import Clock
from bot.store.database import Database
from tests import postgres

Opener = Callable[..., Database]


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated, closed SQLite file to copy."""
    path = tmp_path_factory.mktemp("template") / "template.db"
    database = Database.open(f"sqlite:///{path}")
    database.migrate()
    with database.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    return path


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[postgres.Server]:
    """A PostgreSQL server of this test run, with a migrated template; its absence skips the test."""
    if not postgres.found():
        pytest.skip("PostgreSQL's binaries are not installed: tests on PostgreSQL do not run")
    root = tmp_path_factory.getbasetemp()
    shared = root.parent if worker_id != "master" else root
    with postgres.shared(shared) as server:
        yield server


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """The URL of a fresh, migrated SQLite file."""
    path = tmp_path / "keyturn.db"
    shutil.copyfile(sqlite_template, path)
    return f"sqlite:///{path}"


@pytest.fixture
def postgres_url(postgres_server: postgres.Server) -> Iterator[str]:
    """The URL of a fresh, migrated PostgreSQL database."""
    name = f"test_{uuid.uuid4().hex}"
    yield postgres_server.create(name)
    postgres_server.drop(name)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.realparts)])
def database_url(request: pytest.FixtureRequest) -> str:
    """The URL of a fresh, migrated database, of each kind in turn."""
    url: str = request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url")
    return url


@pytest.fixture
def open_database() -> Iterator[Opener]:
    """Opens databases and closes them at the end: `open_database(url, clock=None)`."""
    opened: list[Database] = []

    def open_one(url: str, clock: Clock | None = None) -> Database:
        opened.append(Database.open(url, clock, connections=10))
        return opened[-1]

    yield open_one
    for database in opened:
        database.delivery.stop(5)
        database.close()


@pytest.fixture
def database(database_url: str, open_database: Opener) -> Database:
    """A migrated database: the test runs once per kind."""
    return open_database(database_url)


@pytest.fixture
def sqlite_database(sqlite_url: str, open_database: Opener) -> Database:
    """A migrated SQLite database, for tests that do not depend on the kind."""
    return open_database(sqlite_url)


@pytest.fixture
def postgres_database(postgres_url: str, open_database: Opener) -> Database:
    """A migrated PostgreSQL database."""
    return open_database(postgres_url)
