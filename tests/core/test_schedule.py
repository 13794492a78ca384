"""Due dates come from the end of the last rotation and from cadences that are data."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.schedule import Due, cadence_for, next_due, parse_cadence, standing

WEEK = timedelta(days=7)
DONE = datetime(2026, 11, 1, 12, tzinfo=UTC)
CADENCES = {
    "signing-key": {"production": WEEK, "staging": timedelta(days=14), "default": timedelta(days=30)},
    "default": {"default": timedelta(days=90)},
}


def test_next_due_counts_from_the_end_of_the_last() -> None:
    assert next_due(WEEK, DONE) == datetime(2026, 11, 8, 12, tzinfo=UTC)
    assert next_due(None, DONE) is None
    assert next_due(WEEK, None) is None


@pytest.mark.parametrize("moment", [datetime(2026, 1, 1), datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=1)))])  # noqa: DTZ001
def test_times_are_in_utc(moment: datetime) -> None:
    with pytest.raises(ValueError, match="UTC"):
        next_due(WEEK, moment)
    with pytest.raises(ValueError, match="UTC"):
        standing(WEEK, DONE, moment)


@pytest.mark.parametrize(
    ("after", "due"),
    [
        (timedelta(0), Due.FINE),
        (timedelta(days=6), Due.FINE),
        (WEEK * 0.9, Due.SOON),
        (WEEK - timedelta(seconds=1), Due.SOON),
        (WEEK, Due.OVERDUE),
        (timedelta(days=400), Due.OVERDUE),
    ],
)
def test_standing(after: timedelta, due: Due) -> None:
    found = standing(WEEK, DONE, DONE + after)
    assert (found.due, found.at) == (due, DONE + WEEK)


def test_standing_without_cadence_or_history() -> None:
    assert standing(None, DONE, DONE).due is Due.FINE
    assert standing(WEEK, None, DONE).due is Due.UNKNOWN


@pytest.mark.parametrize(
    ("kind", "environment", "days"),
    [("signing-key", "production", 7), ("signing-key", "development", 30), ("api-key", "production", 90)],
)
def test_cadence_for(kind: str, environment: str, days: int) -> None:
    assert cadence_for(kind, environment, CADENCES) == timedelta(days=days)
    assert cadence_for("api-key", "production", {"signing-key": {"production": WEEK}}) is None


@pytest.mark.parametrize("text", ["month", "1 month", "3 months", "monthly", "weekly", "quarterly", "yearly"])
def test_months_are_not_a_cadence_and_the_answer_says_days(text: str) -> None:
    with pytest.raises(ValueError, match=r"write \d+d"):
        parse_cadence(text)


@pytest.mark.parametrize("text", ["", "soon", "30", "5m", "0d", "4000d"])
def test_other_cadences_are_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_cadence(text)


@given(st.integers(1, 3650))
def test_cadences_in_days(days: int) -> None:
    assert parse_cadence(f" {days}D ") == timedelta(days=days)
    assert next_due(parse_cadence(f"{days}d"), DONE) == DONE + timedelta(days=days)
