"""Appending to the audit and verifying it: our own API, a chain by hand, and an ORM session per row."""

from __future__ import annotations

import hashlib
import json
import resource
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median
from typing import Any, cast

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import create_engine, event, text
from sqlmodel import Field, Session, SQLModel, select

from benchmarks.databases import NAMES, NO_POSTGRES, fresh
from benchmarks.figures import Bar, Figure, Report, paired, quantile, single, timed
from bot.core.events import Entry, Event
from bot.store.database import Database
from bot.store.seal import Sealer
from bot.store.verify import verify

DETAIL = {
    "intent": 4711,
    "word": "approve",
    "args": ["R-7"],
    "flags": {},
    "surface": "slack",
    "channel": "C0OPS",
    "plan": "sha256:" + "5f" * 32,
    "evidence": "2 of 3 gateways accepted a token signed by the new key",
}
Append = Callable[[], None]


@dataclass(frozen=True)
class Rates:
    """Rows a second, and how long one took in ms."""

    per_second: float
    p99: float


class NaiveRow(SQLModel, table=True):
    """The audit as one would write it first."""

    __tablename__ = "naive_audit"
    id: int | None = Field(default=None, primary_key=True)
    body: str
    prev: str
    hash: str


def appends(*, quick: bool) -> Report:
    """Bars: one caller at least 0.4 of the DB-API and 1.5 times the ORM; eight no slower than one, p99 ≤ 20 ms."""
    report = Report("Audit append: read the head, hash some 350 bytes, insert, commit")
    with fresh() as urls:
        for kind, url in urls.items():
            report.figures += _appends(NAMES[kind], url, quick=quick)
    if "postgresql" not in urls:
        report.notes.append(NO_POSTGRES)
    return report


def _appends(name: str, url: str, *, quick: bool) -> list[Figure]:
    rounds, seconds = (1, 0.1) if quick else (25, 0.25)
    with ExitStack() as stack:
        database = Database.open(url)
        stack.callback(database.close)

        def ours() -> Append:
            return lambda: _append(database)

        makers = (ours, _by_hand(url, stack), _naively(url, stack))
        one: list[list[Rates]] = [[] for _ in makers]
        eight: list[list[Rates]] = [[] for _ in makers]
        for number in range(rounds):
            order = range(len(makers)) if number % 2 == 0 else range(len(makers) - 1, -1, -1)
            for i in order:
                one[i].append(_measure([makers[i]()], seconds))
                eight[i].append(_measure([makers[i]() for _ in range(8)], seconds))
    rate = [[found.per_second for found in each] for each in one]
    rate8 = [[found.per_second for found in each] for each in eight]
    p99 = [[found.p99 for found in each] for each in eight]
    return [
        paired(f"{name}, one caller, to the DB-API", "rows/s", rate[1], rate[0], Bar(0.4, at_least=True)),
        paired(f"{name}, one caller, to SQLModel", "rows/s", rate[2], rate[0], Bar(1.5, at_least=True)),
        paired(f"{name}, eight callers, to one", "rows/s", rate[0], rate8[0], Bar(1, at_least=True)),
        paired(f"{name}, eight callers, to the DB-API", "rows/s", rate8[1], rate8[0]),
        paired(f"{name}, eight callers, to SQLModel", "rows/s", rate8[2], rate8[0]),
        paired(f"{name}, eight callers, p99, to SQLModel", "ms", p99[2], p99[0], Bar(20, of="product")),
    ]


def _append(database: Database) -> None:
    with database.begin() as tx:
        tx.audit(Entry(Event.INTENT, "slack:T0KEYTURN/U0ALICE", "R-7", detail=DETAIL))


def _measure(calls: Sequence[Append], seconds: float) -> Rates:
    laps: list[list[float]] = [[] for _ in calls]
    for call in calls:
        call()
    ends = time.perf_counter() + seconds

    def run(call: Append, mine: list[float]) -> None:
        while time.perf_counter() < ends:
            mine.append(timed(call) * 1000)

    threads = [threading.Thread(target=run, args=pair) for pair in zip(calls, laps, strict=True)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    every = [lap for mine in laps for lap in mine]
    return Rates(len(every) / (time.perf_counter() - began), quantile(every, 0.99))


def _chained(prev: str) -> tuple[str, str]:
    body = json.dumps({"actor": "slack:T0KEYTURN/U0ALICE", "detail": DETAIL, "prev": prev}, sort_keys=True)
    return body, hashlib.sha256((prev + body).encode()).hexdigest()


def _by_hand(url: str, stack: ExitStack) -> Callable[[], Append]:
    """Makes callers with a connection of their own, straight on the driver."""
    if url.startswith("sqlite"):
        return _by_hand_sqlite(url.removeprefix("sqlite:///"), stack)
    import psycopg

    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE hand (seq bigserial PRIMARY KEY, body text, prev text, hash text)")

    def make() -> Append:
        connection = stack.enter_context(psycopg.connect(url))

        def append() -> None:
            connection.execute("SELECT pg_advisory_xact_lock(7)")
            row = connection.execute("SELECT hash FROM hand ORDER BY seq DESC LIMIT 1").fetchone()
            prev = row[0] if row else ""
            connection.execute("INSERT INTO hand (body, prev, hash) VALUES (%s, %s, %s)", (*_row(prev),))
            connection.commit()

        return append

    return make


def _row(prev: str) -> tuple[str, str, str]:
    body, digest = _chained(prev)
    return body, prev, digest


def _by_hand_sqlite(path: str, stack: ExitStack) -> Callable[[], Append]:
    import sqlite3

    def connect() -> Any:
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
        stack.callback(connection.close)
        connection.execute("PRAGMA synchronous=FULL")
        return connection

    connect().execute("CREATE TABLE hand (seq INTEGER PRIMARY KEY, body TEXT, prev TEXT, hash TEXT)")
    turn = threading.Lock()

    def make() -> Append:
        connection = connect()

        def append() -> None:
            with turn:  # SQLite's own waiting sleeps
                connection.execute("BEGIN IMMEDIATE")
                row = connection.execute("SELECT hash FROM hand ORDER BY seq DESC LIMIT 1").fetchone()
                insert = "INSERT INTO hand (body, prev, hash) VALUES (?, ?, ?)"
                connection.execute(insert, _row(row[0] if row else ""))
                connection.execute("COMMIT")

        return append

    return make


def _naively(url: str, stack: ExitStack) -> Callable[[], Append]:
    """Makes callers that open an ORM session per row."""
    sqlite = url.startswith("sqlite")
    if sqlite:
        engine = create_engine(url, connect_args={"timeout": 30}, pool_size=8)

        def prepare(connection: Any, record: Any) -> None:
            connection.execute("PRAGMA synchronous=FULL")
            connection.isolation_level = None

        event.listen(engine, "connect", prepare)
        event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    else:
        engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"), pool_size=8)
    stack.callback(engine.dispose)
    cast("Any", NaiveRow).__table__.create(engine)

    def append() -> None:
        with Session(engine) as session:
            if not sqlite:
                session.connection().execute(text("SELECT pg_advisory_xact_lock(8)"))
            last = session.exec(select(NaiveRow).order_by(cast("Any", NaiveRow.id).desc()).limit(1)).first()
            prev = last.hash if last else ""
            body, digest = _chained(prev)
            session.add(NaiveRow(body=body, prev=prev, hash=digest))
            session.commit()

    return lambda: append


def verification(*, quick: bool) -> Report:
    """Bar: at least 0.7 of what reading and hashing the same rows costs; memory flat."""
    count = 2_000 if quick else 200_000
    report = Report(f"Verifying {count:,} rows of audit (floor: read the stored bytes, hash and chain them)")
    with fresh() as urls:
        for kind, url in urls.items():
            database = Database.open(url)
            try:
                report.figures += _verification(NAMES[kind], database, count, rounds=1 if quick else 5)
            finally:
                database.close()
    return report


def _verification(name: str, database: Database, count: int, rounds: int) -> list[Figure]:
    for _ in range(count // 1000):
        with database.begin() as tx:
            tx.audit(*(Entry(Event.INTENT, f"slack:T0KEYTURN/U{i % 40}", f"R-{i}", detail=DETAIL) for i in range(1000)))
    key = Ed25519PrivateKey.generate()
    Sealer(database, key).seal(force=True)

    def check() -> None:
        found = verify(database, [key.public_key()])
        if not found.is_sound or found.rows < count:
            raise RuntimeError(f"{found.rows} rows, {found.problems[:1]}")

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    check()
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    floors, ours = [], []
    for _ in range(rounds):
        floors.append(count / timed(lambda: _hash_all(database)))
        ours.append(count / timed(check))
    return [
        paired(f"{name}, verify", "rows/s", floors, ours, Bar(0.7, at_least=True)),
        single(f"{name}, a million rows take", "s", [1e6 / median(ours)], Bar(2.4, of="product")),
        single(f"{name}, memory grows by", "MB", [grown], Bar(30, of="product")),
    ]


def _hash_all(database: Database) -> None:
    with database.read() as reader:
        raw: Any = reader.connection.connection.driver_connection
        statement = "SELECT seq, body, hash, prev FROM audit ORDER BY seq"
        previous = "0" * 64
        cursor = raw.execute(statement) if database.path else raw.cursor(name="floor", binary=True)
        if not database.path:
            cursor.execute(statement)
        while rows := cursor.fetchmany(2000):
            for _, body, digest, prev in rows:
                if hashlib.sha256(body).hexdigest() != digest or prev != previous:
                    raise RuntimeError("a row is not what it was")
                previous = digest
        cursor.close()
