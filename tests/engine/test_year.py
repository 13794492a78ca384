"""A small year, lived as fast as it goes: every tier once and in time, whatever people, restarts and the clock do."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from bot.core.reminders import Rules, Stage
from bot.store.database import Database
from bot.store.writing import Transaction
from tests import postgres
from tests.engine.keeping_stage import DAY, HOUR, MONDAY, Keep
from tests.engine.year import CADENCES, OWNERS, Line, Year
from tests.engine.year_judge import judge

RULES = Rules(
    escalation=(Stage(7 * DAY, ("channel",)), Stage(2 * DAY, ("security",), page=True), Stage(timedelta(0), ("bob",))),
    again=35 * DAY,
)
END = MONDAY + 366 * DAY
NAMES = tuple(f"key-{number}" for number in range(3))
FRESH = count()
bounded = settings(
    deadline=None,
    phases=(Phase.reuse, Phase.generate),  # a year takes a second: to shrink one would take longer than a test may
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    report_multiple_bugs=False,
)


class Killed(Exception):
    """The process died inside a transaction."""


# --- what may happen --------------------------------------------------------------------------------------------------


@dataclass
class Life:
    """An installation and what it lives through."""

    keep: Keep
    year: Year

    def wait(self, by: timedelta) -> None:
        """Time goes by, and what is due is looked at."""
        self.keep.run_until(self.keep.now + by)

    def restart(self) -> None:
        """Killed in the middle of its next reminders, after everything was written and before it was committed."""

        def die(tx: Transaction, looked: object) -> None:
            raise Killed

        with self.keep.database.read() as reader:
            due = reader.next_remind_at()
        if due is not None and due < END:
            self.keep.go_to(max(due, self.keep.now))
            with pytest.MonkeyPatch.context() as patched:
                patched.setattr(Transaction, "settle", die)
                with pytest.raises(Killed):
                    self.keep.reminders.turn()
        self.keep = Keep(self.keep.database, RULES, at=None)

    def outage(self, by: timedelta) -> None:
        """Nothing runs."""
        before = self.keep.now
        with self.keep.database.read() as reader:
            rows = reader.audit_head().seq
        self.keep.go_to(before + by)
        self.year.line.dark(before, self.keep.now, rows)


def spans(most: timedelta) -> st.SearchStrategy[timedelta]:
    return st.integers(1, int(most / HOUR)).map(lambda hours: hours * HOUR)


named = st.sampled_from(NAMES)
ends_by_itself = st.none() | st.floats(0.9, 1.3)
Act = Callable[[Life], None]


def _act(*given_: st.SearchStrategy[object], do: Callable[..., None]) -> st.SearchStrategy[Act]:
    def bind(values: tuple[object, ...]) -> Act:
        def call(life: Life) -> None:
            do(life, *values)

        call.__name__ = call.__qualname__ = f"{do.__name__}{values}"
        return call

    return st.tuples(*given_).map(bind)


def rotate(life: Life, name: str, by_itself: float | None) -> None:
    life.year.rotate(life.keep.database, name, by_itself)


def snooze(life: Life, name: str) -> None:
    life.year.snooze(life.keep.database, name)


def hand_over(life: Life, name: str, owner: str) -> None:
    life.year.hand_over(life.keep.database, name, owner)


def open_or_cancel(life: Life, name: str) -> None:
    life.year.open_or_cancel(life.keep.database, name)


def restart(life: Life) -> None:
    life.restart()


def jump(life: Life, by: timedelta) -> None:
    life.year.jump(life.keep.database, by)


def outage(life: Life, by: timedelta) -> None:
    life.outage(by)


def deliver(life: Life) -> None:
    life.keep.deliver()


acts = st.one_of(
    _act(named, ends_by_itself, do=rotate),
    _act(named, do=snooze),
    _act(named, st.sampled_from(OWNERS), do=hand_over),
    _act(named, do=open_or_cancel),
    _act(do=restart),
    _act(spans(3 * DAY).flatmap(lambda by: st.sampled_from((by, -by))), do=jump),
    _act(spans(1.5 * DAY), do=outage),
    _act(do=deliver),
)
years = st.lists(st.tuples(spans(25 * DAY), acts), min_size=15, max_size=40)
Estate = tuple[dict[str, timedelta], random.Random]
estates = st.tuples(
    st.fixed_dictionaries({name: st.sampled_from(CADENCES[1:]) for name in NAMES}),
    st.integers(0, 2**32).map(random.Random),
)


def lived(url: str, estate: Estate, happens: list[tuple[timedelta, Act]]) -> None:
    """Live a year, and be judged."""
    keep = Keep(Database.open(url), RULES)
    try:
        life = Life(keep, Year(Line(keep.now)))
        life.year.declare(keep.database, *estate)
        for gap, act in happens:
            if life.keep.now + gap > END:
                break
            life.wait(gap)
            act(life)
        life.wait(max(END - life.keep.now, HOUR))
        assert judge(keep.database, life.year, RULES) == []
    finally:
        keep.database.close()


@pytest.mark.timeout(600)
@settings(bounded, max_examples=10)
@given(estates, years)
def test_every_tier_of_a_year_is_told_once_and_in_time(
    sqlite_template: Path,
    tmp_path_factory: pytest.TempPathFactory,
    estate: Estate,
    happens: list[tuple[timedelta, Act]],
) -> None:
    path = tmp_path_factory.getbasetemp() / f"year-{next(FRESH)}.db"
    shutil.copyfile(sqlite_template, path)
    lived(f"sqlite:///{path}", estate, happens)


@pytest.mark.realparts
@pytest.mark.timeout(600)
@settings(bounded, max_examples=3)
@given(estates, years)
def test_and_on_postgresql(
    postgres_server: postgres.Server, estate: Estate, happens: list[tuple[timedelta, Act]]
) -> None:
    name = f"year_{next(FRESH)}"
    url = postgres_server.create(name)
    try:
        lived(url, estate, happens)
    finally:
        postgres_server.drop(name)


@pytest.mark.parametrize(
    ("harm", "seen"),
    [("forgotten", "was not told by"), ("late", "was told late"), ("over", "was told only after it")],
)
def test_the_judge_sees_what_is_wrong(sqlite_database: Database, harm: str, seen: str) -> None:
    """A control: the same year with one mistake that nobody wrote down."""
    keep = Keep(sqlite_database, RULES)
    year = Year(Line(keep.now))
    year.declare(keep.database, {"key": 90 * DAY}, random.Random(3))
    year.rotate(keep.database, "key", None)
    keep.run_until(MONDAY + 59 * DAY)
    if harm == "forgotten":
        with keep.database.begin() as tx:
            tx.connection.exec_driver_sql("UPDATE credential SET remind_at = NULL")
    else:
        keep.go_to(MONDAY + (70 if harm == "late" else 92) * DAY)
    keep.run_until(MONDAY + 120 * DAY)
    problems = judge(keep.database, year, RULES)
    assert any(seen in problem for problem in problems), problems
