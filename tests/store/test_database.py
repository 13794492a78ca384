"""What a person is told when the database cannot: one sentence, what to do, and no parameter of a statement."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import traceback
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from bot.core.errors import Ambiguous, KeyturnError, Permanent, Transient
from bot.core.events import Entry, Event
from bot.core.rotation import Cancelled
from bot.store.clock import Clock
from bot.store.database import Database
from bot.store.faults import explain
from tests import postgres
from tests.store import samples

Opener = Callable[..., Database]
CANARY = "canary-9b1f6c"


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("nonsense", "not a database URL"),
        ("mysql://root:canary-9b1f6c@h/d", "does not run on mysql"),
        ("sqlite://", "needs a file"),
        ("sqlite:///:memory:", "needs a file"),
    ],
)
def test_an_unusable_url_is_refused(url: str, says: str) -> None:
    with pytest.raises(Permanent, match=says) as caught:
        Database.open(url)
    assert caught.value.hint
    assert CANARY not in "".join(traceback.format_exception(caught.value))


def test_an_absent_folder_is_named(tmp_path: Path, open_database: Opener) -> None:
    database = open_database(f"sqlite:///{tmp_path / 'absent' / 'k.db'}")
    with pytest.raises(Permanent, match="cannot be created"):
        database.check_schema()


def test_a_file_that_is_no_database_is_named(tmp_path: Path, open_database: Opener) -> None:
    (tmp_path / "k.db").write_bytes(b"not a database at all" * 100)
    with pytest.raises(Permanent, match="damaged or is not a database"):
        open_database(f"sqlite:///{tmp_path / 'k.db'}").check_schema()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_file_that_cannot_be_written_is_named(sqlite_url: str) -> None:
    path = Path(sqlite_url.removeprefix("sqlite:///"))
    for folder in path.parents:
        if folder.stat().st_uid == os.geteuid() and str(folder).startswith("/tmp/"):
            folder.chmod(0o755)
    path.chmod(0o644)
    script = (
        "import os, sys; sys.path.insert(0, os.getcwd())\n"
        "from bot.store.database import Database\n"
        "from bot.core.errors import Permanent\n"
        "database = Database.open(sys.argv[1])\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "try: database.check_schema()\n"
        "except Permanent as error: print(error, error.hint)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, sqlite_url], capture_output=True, text=True, check=False)
    assert "cannot be written to" in done.stdout or "cannot be opened" in done.stdout, done.stdout + done.stderr


def test_a_full_disk_stops_new_work_and_goes_on_by_itself(sqlite_url: str, open_database: Opener) -> None:
    database = Database.open(sqlite_url, connections=1)
    try:
        with database.engine.connect() as connection:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
            connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
        with pytest.raises(Permanent, match="no space left") as caught, database.begin() as transaction:
            transaction.add_intent("k", "start", "ann", "C", "slash", "s", {"text": "x" * 100_000})
        assert "by itself" in caught.value.hint
        with database.read() as reader:
            assert reader.new_intents() == []
        with database.engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA max_page_count=1000000")
        with database.begin() as transaction:
            transaction.add_intent("k", "start", "ann", "C", "slash", "s", {"text": "x" * 100_000})
    finally:
        database.close()


def test_errors_hold_no_parameters(database: Database) -> None:
    statement = text("INSERT INTO setting (key, value, at) VALUES (:value, :value, NULL)")
    with pytest.raises(Permanent) as caught, database.begin() as transaction:
        transaction.connection.execute(statement, {"value": CANARY})
    assert CANARY not in "".join(traceback.format_exception(caught.value))
    with pytest.raises(Permanent) as caught, database.read() as reader:
        reader.connection.execute(text("SELECT :value FROM absent"), {"value": CANARY})
    assert CANARY not in "".join(traceback.format_exception(caught.value))


def test_a_busy_file_is_worth_another_try(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bot.store.database._PRAGMAS", ("PRAGMA busy_timeout=50",))
    database = Database.open(sqlite_url)
    other = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        with pytest.raises(Transient, match="SQLITE_BUSY"), database.begin():
            pass
        with database.read() as reader:
            assert reader.new_intents() == []
        other.execute("ROLLBACK")
        samples.request(database)
    finally:
        other.close()
        database.close()


def test_readers_see_one_state(database: Database) -> None:
    first = samples.request(database)
    with database.read() as reader:
        seen = reader.rotation(first.number)
        other = samples.approve(database, first)
        assert other.version > first.version
        assert reader.rotation(first.number) == seen
        assert len(reader.history(rotation=first.id)) == 1


@pytest.mark.realparts
def test_a_reader_cannot_write(postgres_database: Database) -> None:
    with pytest.raises(Permanent, match="read-only"), postgres_database.read() as reader:
        reader.connection.execute(text("DELETE FROM setting"))


def test_time_is_the_database_s_through_the_clock(database_url: str, open_database: Opener) -> None:
    anchor = datetime.now(UTC)
    database = open_database(database_url, Clock(1440, anchor))
    with database.read() as reader:
        now = reader.now
        assert reader.now == now
    assert now - anchor < timedelta(days=1)
    assert now == database.clock.at(reader.database_now)
    database.clock.advance(timedelta(days=365))
    assert database.now() - now > timedelta(days=364)


def test_hooks_follow_each_commit_and_cannot_break_it(database: Database) -> None:
    calls: list[int] = []

    def fail() -> None:
        raise ZeroDivisionError

    database.after_commit += [lambda: calls.append(1), fail, lambda: calls.append(2)]
    samples.request(database)
    assert calls == [1, 2]
    with pytest.raises(ZeroDivisionError), database.begin():
        fail()
    assert calls == [1, 2]


def test_a_quiet_commit_wakes_nobody_but_delivery(database: Database) -> None:
    calls: list[str] = []
    database.after_commit.append(lambda: calls.append("hook"))
    with database.begin(quiet=True) as transaction:
        transaction.after_commit(lambda: calls.append("leg"))
    assert calls == ["leg"]


@pytest.mark.realparts
def test_a_server_that_is_away_is_worth_another_try(open_database: Opener, tmp_path: Path) -> None:
    database = open_database(f"postgresql://keyturn@/x?host={tmp_path}&port=1")
    with pytest.raises(Transient, match="cannot be reached"), database.begin():
        pass
    with pytest.raises(KeyturnError), database.read():
        pass


@pytest.mark.realparts
def test_a_frozen_replica_cannot_hold_locks_for_long(postgres_database: Database) -> None:
    with postgres_database.read() as reader:
        shown = {
            name: reader.connection.exec_driver_sql(f"SHOW {name}").scalar_one()
            for name in ("idle_in_transaction_session_timeout", "lock_timeout", "statement_timeout")
        }
    assert shown == {
        "idle_in_transaction_session_timeout": "15s",
        "lock_timeout": "20s",
        "statement_timeout": "1min",
    }


@pytest.mark.realparts
def test_an_absent_database_is_named(postgres_server: postgres.Server, open_database: Opener) -> None:
    with pytest.raises(Permanent, match="does not exist"):
        open_database(postgres_server.url("absent")).check_schema()


def end_sessions(database: Database) -> None:
    """What a restart of the server does to every connection of this database."""
    others = "datname = current_database() AND pid <> pg_backend_pid()"
    with database.engine.connect() as connection:
        connection.execute(text(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}"))


@pytest.mark.realparts
def test_a_connection_that_died_in_the_pool_is_replaced(postgres_url: str, open_database: Opener) -> None:
    database, other = open_database(postgres_url), open_database(postgres_url)
    samples.request(database)
    end_sessions(other)
    with database.begin() as transaction:
        transaction.record_setting("a", "b")
    end_sessions(other)
    with database.read() as reader:
        assert reader.setting("a") == "b"


@pytest.mark.realparts
def test_a_connection_that_dies_in_a_transaction_stores_nothing(postgres_url: str, open_database: Opener) -> None:
    database, other = open_database(postgres_url), open_database(postgres_url)

    def write() -> None:
        with database.begin() as transaction:
            transaction.record_setting("a", "b")
            end_sessions(other)
            transaction.audit(Entry(Event.INTENT, "ann"))

    with pytest.raises(Transient):
        write()
    with database.read() as reader:
        assert reader.setting("a") is None


@pytest.mark.realparts
def test_a_connection_that_dies_in_the_commit_is_ambiguous(postgres_url: str, open_database: Opener) -> None:
    database, other = open_database(postgres_url), open_database(postgres_url)

    def write() -> None:
        with database.begin() as transaction:
            transaction.add_intent("k", "start", "ann", "C", "slash", "s", {})
            end_sessions(other)

    with pytest.raises(Ambiguous, match="while saving"):
        write()
    with database.read() as reader:
        assert reader.intent_by_key("k") is None  # this is how the caller finds out


@pytest.mark.realparts
def test_a_replica_that_froze_in_a_transaction_loses_it(postgres_database: Database) -> None:
    """Its locks are given to the others, and when it wakes up nothing of it is stored."""
    rotation = samples.request(postgres_database)

    def freeze() -> None:
        with postgres_database.begin() as transaction:
            transaction.connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = '100ms'"))
            loaded = transaction.rotation(rotation.number)
            assert loaded is not None
            others = samples.approve(postgres_database, rotation)  # waits for the lock, then gets it
            assert others.version == 2
            samples.apply(transaction, loaded, Cancelled("ann", "late"))

    with pytest.raises(Transient):
        freeze()
    with postgres_database.read() as reader:
        stored = reader.rotation(rotation.number)
    assert stored is not None
    assert stored.version == 2
    assert stored.ended_at is None


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (sqlite3.SQLITE_FULL, Permanent),
        (sqlite3.SQLITE_READONLY, Permanent),
        (sqlite3.SQLITE_CANTOPEN, Permanent),
        (sqlite3.SQLITE_LOCKED, Transient),
        (sqlite3.SQLITE_IOERR, Transient),
        (sqlite3.SQLITE_MISUSE, Permanent),
    ],
)
def test_sqlite_s_codes_are_told_apart(code: int, kind: type[KeyturnError]) -> None:
    error = sqlite3.OperationalError(CANARY)
    error.sqlite_errorcode = code | (3 << 8)
    explained = explain(error)
    assert type(explained) is kind
    assert CANARY not in str(explained)
