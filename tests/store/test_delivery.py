"""Delivery: at commit, by threads, once a worker is there, and again when one dies."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event, Lock

import pytest
from sqlalchemy import text

from bot.contracts.delivery import Leg
from bot.core.errors import Permanent
from bot.store.database import Database
from bot.store.delivery_postgres import PostgresDelivery
from tests.store import samples

Opener = Callable[..., Database]
Spawn = Callable[..., "subprocess.Popen[bytes]"]


def eventually(found: Callable[[], bool], within: float = 20) -> None:
    """Wait until it holds; fails the test when it never does."""
    deadline = time.monotonic() + within
    while not found():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


class Runner:
    """Notes the legs that were delivered; may be told to hold them."""

    def __init__(self) -> None:
        self.legs: list[Leg] = []
        self.go = Event()
        self.go.set()
        self._lock = Lock()

    def __call__(self, leg: Leg) -> None:
        with self._lock:
            self.legs.append(leg)
        self.go.wait(20)


def ask(database: Database, key: str, subject: str = "") -> int:
    with database.begin() as transaction:
        row, _ = transaction.add_intent(key, "start", "ann", "C", "slash", subject, {})
    return row.number


def quick(database: Database) -> Database:
    """Short times, so that tests do not wait for thirty seconds."""
    if isinstance(database.delivery, PostgresDelivery):
        database.delivery.heartbeat, database.delivery.dead_after, database.delivery.poll = 0.2, 1.5, 0.3
    return database


@pytest.fixture
def spawn(database_url: str) -> Iterator[Spawn]:
    """Starts worker processes and kills what is left of them."""
    running = []

    def start(note: Path, workers: int = 2, hang: str = "") -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tests.store.worker", database_url, str(note), str(workers)]
        process = subprocess.Popen([*command, hang] if hang else command)
        running.append(process)
        eventually(lambda: note.exists() and "ready" in note.read_text())
        return process

    yield start
    for process in running:
        process.kill()
        process.wait()


def test_a_leg_is_delivered_after_its_commit(database: Database) -> None:
    runner = Runner()
    database.delivery.start(runner, 2)
    with database.begin() as transaction:
        row, _ = transaction.add_intent("k", "start", "ann", "C", "slash", "", {})
        transaction.enqueue(7, 1, 2)
        time.sleep(0.2)  # long enough for a delivery that would be too early
        assert runner.legs == []
    # An intent that nobody marks as begun may be found once more by whoever looks for those of other processes.
    eventually(lambda: set(runner.legs) == {Leg(row.number), Leg(7, 1, 2)})


def test_nothing_is_delivered_of_what_was_rolled_back(database: Database) -> None:
    runner = Runner()
    database.delivery.start(runner, 2)

    def fail() -> None:
        with database.begin() as transaction:
            transaction.add_intent("k", "start", "ann", "C", "slash", "", {})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    number = ask(database, "other")
    eventually(lambda: runner.legs != [])
    assert set(runner.legs) == {Leg(number)}


def test_what_was_committed_before_the_start_is_delivered(
    database: Database, database_url: str, open_database: Opener
) -> None:
    number = ask(database, "k")
    rotation = samples.approve(database, samples.request(database))
    other = open_database(database_url)
    runner = Runner()
    other.delivery.start(runner, 2)
    eventually(lambda: {Leg(number), Leg(rotation.number, 0, 1)} <= set(runner.legs))


def test_an_intent_of_another_process_is_noticed(database: Database, database_url: str, open_database: Opener) -> None:
    runner = Runner()
    woken = Event()
    database.after_commit.append(woken.set)
    database.delivery.start(runner, 2)
    other = open_database(database_url)  # as the command line beside the worker
    number = ask(other, "k")
    eventually(lambda: Leg(number) in runner.legs)
    if database.dialect == "sqlite":
        assert woken.wait(5)


def test_legs_run_side_by_side_up_to_the_number_of_workers(database: Database) -> None:
    runner = Runner()
    runner.go.clear()
    database.delivery.start(runner, 3)
    for i in range(5):
        ask(database, f"k{i}")
    eventually(lambda: len(runner.legs) == 3)
    time.sleep(0.2)  # long enough for a fourth one that should not come
    assert len(runner.legs) == 3
    runner.go.set()
    eventually(lambda: len(set(runner.legs)) == 5)


def test_stopping_waits_for_running_legs(database: Database) -> None:
    runner = Runner()
    runner.go.clear()
    database.delivery.start(runner, 1)
    ask(database, "k")
    eventually(lambda: len(runner.legs) == 1)
    began = time.monotonic()
    database.delivery.stop(0.3)
    assert time.monotonic() - began > 0.2
    runner.go.set()


def test_a_stopped_delivery_can_start_again(database: Database) -> None:
    for i in range(2):
        runner = Runner()
        database.delivery.start(runner, 1)
        number = ask(database, f"k{i}")
        eventually(lambda runner=runner, number=number: Leg(number) in runner.legs)  # type: ignore[misc]  # bound here
        database.delivery.stop(5)


def test_a_leg_that_raises_takes_nobody_with_it(database: Database) -> None:
    seen: list[int] = []

    def run(leg: Leg) -> None:
        seen.append(leg.number)
        if len(seen) == 1:
            raise ZeroDivisionError

    database.delivery.start(run, 1)
    first, second = ask(database, "a"), ask(database, "b")
    eventually(lambda: {first, second} <= set(seen))


def test_one_worker_process_per_sqlite_file(sqlite_database: Database, sqlite_url: str, open_database: Opener) -> None:
    sqlite_database.delivery.start(Runner(), 1)
    other = open_database(sqlite_url)
    with pytest.raises(Permanent, match="Another keyturn process") as caught:
        other.delivery.start(Runner(), 1)
    assert "PostgreSQL" in caught.value.hint
    sqlite_database.delivery.stop(5)
    other.delivery.start(Runner(), 1)


@pytest.mark.kill
def test_nothing_is_lost_when_the_worker_is_killed(database: Database, spawn: Spawn, tmp_path: Path) -> None:
    """Killed with two legs begun and eighteen waiting; the next process finishes all of them."""
    first = spawn(tmp_path / "first", 2, "hang")
    numbers = [ask(database, f"k{i}", f"subject-{i % 4}") for i in range(20)]
    eventually(lambda: (tmp_path / "first").read_text().count("begin") >= 2)
    first.kill()
    first.wait()
    spawn(tmp_path / "second", 4)

    def done() -> bool:
        with database.read() as reader:
            rows = [reader.intent(number) for number in numbers]
        return all(row is not None and row.state == "done" for row in rows)

    eventually(done, 40)
    ends = [line for line in (tmp_path / "second").read_text().splitlines() if line.startswith("end")]
    assert sorted(ends) == sorted(f"end {number}" for number in numbers)


@pytest.mark.kill
@pytest.mark.realparts
def test_a_replica_takes_over_what_a_dead_one_had_taken(
    postgres_url: str, open_database: Opener, tmp_path: Path
) -> None:
    database = quick(open_database(postgres_url))
    command = [sys.executable, "-m", "tests.store.worker", postgres_url, str(tmp_path / "a"), "2", "hang"]
    process = subprocess.Popen(command)
    try:
        number = ask(database, "k")
        eventually(lambda: (tmp_path / "a").exists() and f"begin {number}" in (tmp_path / "a").read_text())
        runner = Runner()
        database.delivery.start(runner, 2)
        time.sleep(0.5)  # while the other one lives, its leg is its own
        assert runner.legs == []
    finally:
        process.kill()
        process.wait()
    eventually(lambda: Leg(number) in runner.legs)


@pytest.mark.realparts
def test_two_replicas_share_the_work(postgres_url: str, open_database: Opener) -> None:
    runners = [Runner(), Runner()]
    databases = [quick(open_database(postgres_url)) for _ in runners]
    for database, runner in zip(databases, runners, strict=True):
        runner.go.clear()
        database.delivery.start(runner, 2)
    numbers = [ask(databases[0], f"k{i}") for i in range(40)]
    eventually(lambda: all(len(runner.legs) == 2 for runner in runners))
    for runner in runners:
        runner.go.set()
    eventually(lambda: len(runners[0].legs) + len(runners[1].legs) == 40)
    assert sorted(leg.number for runner in runners for leg in runner.legs) == numbers


@pytest.mark.realparts
def test_delivery_survives_a_restart_of_the_server(postgres_url: str, open_database: Opener) -> None:
    database = quick(open_database(postgres_url))
    runner = Runner()
    database.delivery.start(runner, 2)
    first = ask(database, "a")
    eventually(lambda: Leg(first) in runner.legs)
    others = "datname = current_database() AND pid <> pg_backend_pid()"
    with open_database(postgres_url).engine.connect() as connection:
        connection.execute(text(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}"))
    second = ask(database, "b")
    eventually(lambda: Leg(second) in runner.legs)


@pytest.mark.realparts
def test_old_jobs_are_forgotten_and_hold_ids_only(postgres_url: str, open_database: Opener) -> None:
    database = quick(open_database(postgres_url))
    ask(database, "k")
    with database.engine.begin() as connection:
        (arguments,) = connection.execute(text("SELECT args FROM procrastinate_jobs")).scalars()
        assert arguments == {"number": 1, "step": None, "attempt": 0}
        connection.execute(text("UPDATE procrastinate_jobs SET status = 'doing'"))
        connection.execute(text("UPDATE procrastinate_jobs SET status = 'succeeded'"))
        connection.execute(text("UPDATE procrastinate_events SET at = now() - interval '15 days'"))
    database.delivery.start(Runner(), 1)

    def gone() -> bool:
        with database.engine.connect() as connection:
            return connection.execute(text("SELECT count(*) FROM procrastinate_jobs")).scalar_one() == 0

    eventually(gone)
