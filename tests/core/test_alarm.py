"""When somebody hears that callers are refused, and that they are let in again."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from bot.core.alarm import LASTS, Refusals, followed

NOW = datetime(2027, 1, 4, 12, tzinfo=UTC)
GAP = timedelta(minutes=5)
LOOKS = st.lists(
    st.tuples(st.booleans(), st.integers(-20, 90)), max_size=60
)  # whether it holds, and minutes until the next look


@given(LOOKS, st.integers(1, 30))
def test_one_word_when_it_lasts_and_one_when_it_is_over(looks: list[tuple[bool, int]], minutes: int) -> None:
    lasts = timedelta(minutes=minutes)
    known: Refusals | None = None
    now, said = NOW, []
    refused_from: datetime | None = None
    last: datetime | None = None
    for holds, gap in looks:
        unseen = last is None or not last <= now <= last + max(lasts, GAP)
        refused_from = None if holds else now if refused_from is None or unseen else refused_from
        before = known
        known, news = followed(known, holds, lasts, now, GAP)
        if news:
            said.append(holds)
        if news and not holds:
            assert refused_from is not None
            assert now - refused_from >= lasts, "seen at every look for so long"
        assert (known is None) == holds
        if known is not None:
            assert known.since == refused_from
            assert known.told == (now - known.since >= lasts or (before is not None and before.told and not unseen))
        last, now = now, now + timedelta(minutes=gap)
    for first, second in itertools.pairwise(said):
        assert not (first and second), "it is over once"
    assert not said or not said[0], "nobody hears of an end whose beginning was not told"


def test_what_nobody_looked_at_meanwhile_is_not_believed() -> None:
    known, news = followed(Refusals(NOW - timedelta(days=1), NOW - timedelta(hours=1)), False, LASTS, NOW, GAP)
    assert (known, news) == (Refusals(NOW, NOW), False)


def test_a_clock_that_was_set_back_begins_anew() -> None:
    known, news = followed(Refusals(NOW, NOW + timedelta(days=1), told=True), False, LASTS, NOW, GAP)
    assert (known, news) == (Refusals(NOW, NOW), False)
