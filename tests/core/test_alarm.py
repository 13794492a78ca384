"""When somebody hears that callers are refused, and that they are let in again."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.alarm import LASTS, Failing, followed

NOW = datetime(2027, 1, 4, 12, tzinfo=UTC)
GAP = timedelta(minutes=5)
LOOKS = st.lists(
    st.tuples(st.booleans(), st.integers(-20, 90)), max_size=60
)  # whether it holds, and minutes until the next look


@given(LOOKS, st.integers(1, 30))
def test_one_word_when_it_lasts_and_one_when_it_is_over(looks: list[tuple[bool, int]], minutes: int) -> None:
    lasts = timedelta(minutes=minutes)
    known: Failing | None = None
    now, said = NOW, []
    failing_from: datetime | None = None
    last: datetime | None = None
    for holds, gap in looks:
        unseen = last is None or not last <= now <= last + max(lasts, GAP)
        failing_from = None if holds else now if failing_from is None or unseen else failing_from
        known, news = followed(known, holds, lasts, now, GAP)
        if news:
            said.append(holds)
            assert holds or (failing_from is not None and now - failing_from >= lasts), "at every look for so long"
        assert (known is None) == holds
        assert known is None or known.looked == now
        last, now = now, now + timedelta(minutes=gap)
    assert all(first != second for first, second in itertools.pairwise(said)), "beginning and end in turn"
    assert not said or not said[0], "nobody hears of an end whose beginning was not told"
    if said and not said[-1]:
        assert known is not None, "an end is owed, and told at the next look that holds"
        assert followed(known, True, lasts, now, GAP) == (None, True)


def test_what_nobody_looked_at_meanwhile_is_not_believed() -> None:
    known, news = followed(Failing(NOW - timedelta(days=1), NOW - timedelta(hours=1)), False, LASTS, NOW, GAP)
    assert (known, news) == (Failing(NOW, NOW), False)


def test_what_was_told_is_not_told_again_after_a_restart() -> None:
    told = Failing(NOW - timedelta(hours=2), NOW - timedelta(hours=1), told=True)
    assert followed(told, False, LASTS, NOW, GAP) == (Failing(told.since, NOW, told=True), False)


@pytest.mark.parametrize("days", [-120, 120])
def test_what_was_told_long_ago_is_forgotten(days: int) -> None:
    at = NOW + timedelta(days=days)
    told = Failing(at, at, told=True)
    assert followed(told, False, LASTS, NOW, GAP) == (Failing(NOW, NOW), False)
    assert followed(told, True, LASTS, NOW, GAP) == (None, False)


def test_a_clock_that_was_set_back_begins_anew() -> None:
    known, news = followed(Failing(NOW, NOW + timedelta(hours=1)), False, LASTS, NOW, GAP)
    assert (known, news) == (Failing(NOW, NOW), False)
