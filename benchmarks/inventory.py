"""Which of many credentials want a reminder: the scan beside the bare driver, its memory, and a whole tick."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import text

from benchmarks.databases import NAMES, NO_POSTGRES, fresh
from benchmarks.figures import Bar, Figure, Report, paired, single, timed
from bot.core.events import Entry, Event
from bot.core.policy import Person, PersonKind, Policy
from bot.engine.reminders import BATCH, Reminders, Setting
from bot.store.columns import micros
from bot.store.database import Database
from bot.store.session import Session

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
_ALL = FLOOR.replace("name, environment", "*", 1)
ROWS = {"sqlite": _ALL, "postgresql": f"{_ALL} FOR UPDATE SKIP LOCKED"}


def inventory(*, quick: bool) -> Report:
    """Bars: what a turn reads at most twice the bare driver on the same index, and twice as long as among the few; 500
    objects within 6 ms; at most 10 MB more than before the first look, scanning and over a tick; a tick within 110 ms.
    """
    (few, many), rounds = ((500, 2_000), 5) if quick else ((10_000, 1_000_000), 200)
    report = Report(f"Due reminders, {DUE} of so many credentials (floor: the bare driver)")
    took: dict[str, list[dict[str, list[float]]]] = {}
    for size in (few, many):
        with fresh() as urls:
            for kind, url in urls.items():
                database = Database.open(url)
                fill(database, size)
                database.close()
                found = _in_a_process_of_its_own(url, rounds)
                took.setdefault(NAMES[kind], []).append(found)
                report.figures += _figures(f"{NAMES[kind]}, {size:,}", found)
            if len(urls) == 1:
                report.notes.append(NO_POSTGRES)
    for named, (small, large) in took.items():
        report.figures.append(
            paired(f"{named}: scan, {many:,} beside {few:,}", "ms", small["scan"], large["scan"], Bar(2))
        )
        more = [b - a for a, b in zip(small["memory of a tick"], large["memory of a tick"], strict=True)]
        said = f"{named}: a tick's memory, {many:,} more than {few:,}"
        report.figures.append(single(said, "MB", [max(0.0, one) for one in more], Bar(10, of="product")))
    return report


def _figures(said: str, found: dict[str, list[float]]) -> list[Figure]:
    return [
        paired(f"{said}: scan, who may have to hear", "ms", found["ids"], found["scan"], Bar(2)),
        paired(f"{said}: claim, {DUE} objects", "ms", found["rows"], found["claim"], Bar(2)),
        single(f"{said}: claim, {DUE} objects", "ms", found["claim"], Bar(6, of="product")),
        single(f"{said}: scans and claims, most memory more", "MB", found["memory"], Bar(10, of="product")),
        single(f"{said}: look at {DUE} and tell their owners", "ms", found["tick"], Bar(110, of="product")),
        single(f"{said}: that too, most memory more", "MB", found["memory of a tick"], Bar(10, of="product")),
    ]


def _in_a_process_of_its_own(url: str, rounds: int) -> dict[str, list[float]]:
    """So that no earlier measurement has warmed or filled its memory."""
    words = [sys.executable, "-m", "benchmarks.inventory", url, str(rounds)]
    found: dict[str, list[float]] = json.loads(subprocess.run(words, check=True, capture_output=True).stdout)
    return found


def measure(url: str, rounds: int) -> dict[str, list[float]]:
    """What a turn of the reminders does, as it does it: who may have to hear, the claim, and a whole tick."""
    database = Database.open(url)
    with database.begin() as tx:  # what any work on a database loads once
        now = tx.now
        tx.audit(Entry(Event.SETTINGS_APPLIED, "benchmark"))
    found: dict[str, list[float]] = {name: [] for name in ("ids", "scan", "rows", "claim", "memory")}
    found |= {"tick": [], "memory of a tick": []}
    before = _resident()
    for _ in range(rounds):  # one after the other, so that a noisy moment spoils a round and not the ratio
        with database.read() as reader:
            found["ids"].append(timed(lambda: _bare(reader, FLOOR, now)) * 1000)
            found["scan"].append(timed(lambda: reader.reminders_for(now, DUE)) * 1000)
        with database.begin() as tx:
            found["rows"].append(timed(lambda: _bare(tx, ROWS[database.dialect], now)) * 1000)
            found["claim"].append(timed(lambda: tx.claim_reminders(now, DUE)) * 1000)
    found["memory"].append(_peak() - before)
    found["tick"].append(_tick(database))
    found["memory of a tick"].append(_peak() - before)
    database.close()
    return found


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


def _bare(session: Session, query: str, now: datetime) -> None:
    driver: Any = session.connection.connection.driver_connection
    cursor = driver.cursor()
    cursor.execute(query.format(now=micros(now)))
    cursor.fetchall()


def _resident() -> float:
    """Resident memory in MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


def _peak() -> float:
    """The most resident memory so far, in MB; `getrusage` would count that of whoever started the process, too."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e6


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


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], int(sys.argv[2]))))
