"""What waits costs nothing: plans of the queries that run all the time, and ten thousand sleeping rotations."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event, insert, text

from bot.core.rotation import Stage, StepRun
from bot.store import reading, reminding, watching
from bot.store.database import Database
from bot.store.rows import plan_row, rotation_row, step_row
from bot.store.tables import CREDENTIAL, PLAN, ROTATION, STEP
from tests.store import samples
from tests.store.test_outbox import declared

SLEEPERS = 10_000


def explained(database: Database, statement: Any, by_choice: bool = False, **values: Any) -> str:
    """The database's plan for the statement as it is really sent; `by_choice`: among rows that it has counted."""
    prefix = "EXPLAIN QUERY PLAN " if database.dialect == "sqlite" else "EXPLAIN "
    with database.engine.connect() as connection:
        if database.dialect == "postgresql" and not by_choice:
            connection.execute(text("SET enable_seqscan = off"))  # empty tables are scanned otherwise

        def explain(_c: Any, _cursor: Any, words: str, given: Any, _x: Any, _many: bool) -> tuple[str, Any]:
            return prefix + words, given

        event.listen(connection, "before_cursor_execute", explain, retval=True)
        rows = connection.execute(statement, values).cursor.fetchall()
        return "\n".join(str(row[-1]) for row in rows)


@pytest.mark.parametrize(
    ("statement", "index"),
    [
        (reading._due, "step_due"),
        (reading._lapsed, "rotation_lapsing"),
        (reading._overlaps_due, "overlap_remind"),
    ],
)
def test_due_scans_use_their_partial_index(database: Database, statement: Any, index: str) -> None:
    assert index in explained(database, statement, now=samples.NOW, limit=10)


def test_the_timer_s_question_uses_indexes_only(database: Database) -> None:
    plan = explained(database, reading._next_due)
    for index in ("step_due", "rotation_lapsing", "overlap_remind"):
        assert index in plan
    plan = explained(database, reading._next_message)
    for index in ("drawing_due", "notice_due"):
        assert index in plan


def test_ten_thousand_waiting_rotations_cost_nothing(database: Database) -> None:
    with database.begin() as transaction:
        now = transaction.now
        later = now + timedelta(days=30)
        plan = samples.plan()
        transaction.connection.execute(insert(PLAN), plan_row(plan))
        base = rotation_row(samples.opened(1, plan, now).rotation)
        rotations, steps = [], []
        for number in range(1, SLEEPERS + 1):
            rotations.append(
                base | {"number": number, "credential": f"c{number}", "state": "waiting", "lapses_at": None}
            )
            steps.append(step_row(number, 0, StepRun(Stage.WAITING, 1, due_at=later), now))
        transaction.connection.execute(insert(ROTATION), rotations)
        transaction.connection.execute(insert(STEP), steps)
        for number in (17, 4711):
            transaction.connection.execute(text(f"UPDATE step SET due_at = 1 WHERE rotation = {number}"))
    with database.engine.begin() as connection:
        connection.execute(text("ANALYZE"))
    with database.read() as reader:
        assert reader.due_steps(now) == [(17, 0, 1), (4711, 0, 1)]
        assert reader.expired(now) == []
    for statement, index in ((reading._due, "step_due"), (reading._lapsed, "rotation_lapsing")):
        assert index in explained(database, statement, by_choice=True, now=now, limit=10)


def test_reminders_use_their_partial_index(database: Database) -> None:
    assert "credential_remind" in explained(database, reminding._due, now=samples.NOW, limit=10)


def test_leftovers_are_looked_for_where_there_are_several_versions(database: Database) -> None:
    """A look every half minute must not read the whole estate."""
    look = watching._leftovers("leftover", samples.NOW, samples.NOW + timedelta(days=30), 100)
    plan = explained(database, look)
    assert "credential_several" in plan
    assert "found_of_place" in plan


def test_reminders_among_many_credentials(database: Database) -> None:
    with database.begin() as transaction:
        transaction.apply_credentials(declared(f"credential-{i:05}") for i in range(3000))
        now = transaction.now
        transaction.connection.execute(CREDENTIAL.update().values(remind_at=now + timedelta(days=9)))
        transaction.update_credential("credential-01234", "production", remind_at=now)
        assert [row.name for row in transaction.reminders_due(now)] == ["credential-01234"]
        assert transaction.similar_names("credential_01234")[0] == "credential-01234"
