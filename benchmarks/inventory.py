"""Which of many credentials want a reminder: the scan beside the bare driver, its memory, and a whole tick."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import text

from benchmarks.databases import NAMES, NO_POSTGRES, fresh
from benchmarks.figures import Bar, Figure, Report, paired, single, timed
from bot.core.policy import Person, PersonKind, Policy
from bot.engine.reminders import BATCH, Reminders, Setting
from bot.store.columns import micros
from bot.store.database import Database
from bot.store.reading import Reader

DUE = 500
COLUMNS = (
    "name, environment, kind, owner, runbook, cadence, inputs, detail, source, last_rotated_at, next_due, remind_at"
)
SERIES = {
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})",
    "postgresql": "WITH n(i) AS (SELECT generate_series(1::bigint, {count}))",
}
ROW = {
    "sqlite": "printf('credential-%07d', i), 'production', 'api-key', 'owner-' || (i % 50)",
    "postgresql": "'credential-' || lpad(i::text, 7, '0'), 'production', 'api-key', 'owner-' || (i % 50)",
}
FLOOR = (
    "SELECT name, environment FROM credential WHERE remind_at <= {now} AND removed_at IS NULL "
    "ORDER BY remind_at LIMIT 500"
)


def inventory(*, quick: bool) -> Report:
    """Bars: ids at most twice the bare driver and twice as long as among the few; 500 objects within 6 ms; no more than
    10 MB; a tick within 110 ms.
    """
    (few, many), rounds = ((500, 2_000), 5) if quick else ((10_000, 1_000_000), 200)
    report = Report(f"Due reminders, {DUE} of so many credentials (floor: the bare driver)")
    took: dict[str, list[float]] = {}
    for size in (few, many):
        with fresh() as urls:
            for kind, url in urls.items():
                figures = _scan(NAMES[kind], url, size, rounds)
                took.setdefault(NAMES[kind], []).append(figures[0].product)
                report.figures += figures
            if len(urls) == 1:
                report.notes.append(NO_POSTGRES)
    for named, (small, large) in took.items():
        report.figures.append(paired(f"{named}: ids, {many:,} beside {few:,}", "ms", [small], [large], Bar(2)))
    return report


def _scan(named: str, url: str, size: int, rounds: int) -> list[Figure]:
    database = Database.open(url)
    fill(database, size)
    with ExitStack() as stack:
        reader = stack.enter_context(database.read())
        now = reader.now
        for _ in range(20):
            reader.reminders_due(now, DUE)
        before = _resident()
        floors, ids, objects = list[float](), list[float](), list[float]()
        for _ in range(rounds):  # one after the other, so that a noisy moment spoils a round and not the ratio
            floors.append(timed(lambda: _bare(reader, now)) * 1000)
            ids.append(timed(lambda: reader.due_keys(now, DUE)) * 1000)
            objects.append(timed(lambda: reader.reminders_due(now, DUE)) * 1000)
        grown = _resident() - before
    tick = _tick(database)
    database.close()
    said = f"{named}, {size:,}"
    return [
        paired(f"{said}: ids", "ms", floors, ids, Bar(2)),
        single(f"{said}: {DUE} objects", "ms", objects, Bar(6, of="product")),
        single(f"{said}: memory, more than before", "MB", [max(grown, 0.0)], Bar(10, of="product")),
        single(f"{said}: look at {DUE} and tell their owners", "ms", [tick], Bar(110, of="product")),
    ]


def fill(database: Database, size: int) -> None:
    """Credentials of fifty owners; all but a few want a look only next month."""
    with database.begin() as tx:
        now, later = micros(tx.now), micros(tx.now + timedelta(days=30))
        spread = f"{later} + i * 1000000"
        rotated = micros(tx.now - timedelta(days=60, hours=1))
        due = f"CASE WHEN i % {size // DUE} = 0 THEN {now} - i ELSE {spread} END"
        values = (
            f"{ROW[database.dialect]}, 'identity-api-key', {micros_of(timedelta(days=90))}, '{{}}', '{{}}', 'import'"
        )
        series = SERIES[database.dialect].format(count=size)
        query = f"INSERT INTO credential ({COLUMNS}) {series} SELECT {values}, {rotated}, {spread}, {due} FROM n"
        tx.connection.execute(text(query))
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE"))


def micros_of(span: timedelta) -> int:
    """A duration as it is stored."""
    return span // timedelta(microseconds=1)


def _bare(reader: Reader, now: Any) -> None:
    cursor = reader.connection.connection.driver_connection.cursor()  # type: ignore[union-attr]
    cursor.execute(FLOOR.format(now=micros(now)))
    cursor.fetchall()


def _resident() -> float:
    """Resident memory in MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


class _Everybody:
    """A directory in which everybody is there."""

    def person(self, account: str) -> Person:
        return Person(account, kind=PersonKind.MEMBER)

    def known(self, account: str) -> Person | None:
        return self.person(account)

    def groups(self, names: Any) -> Any:
        return dict.fromkeys(names)

    remembered = groups


def _tick(database: Database) -> float:
    """Milliseconds of one look at everything that is due: dates, messages, tiers and audit in one commit."""
    people = tuple(Person(f"owner-{i}", slack_ids=frozenset({f"U{i:04}"})) for i in range(50))
    reminders = Reminders(database, Policy(people), _Everybody(), Setting())
    assert BATCH >= DUE
    return timed(reminders.turn) * 1000
