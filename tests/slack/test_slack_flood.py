"""Floods are counted by source and reason, a minute at a time, in bounded memory."""

from __future__ import annotations

from bot.slack.flood import COUNTED_SECONDS, MOST_SOURCES, Flood


def test_each_reason_is_a_row_of_its_own_and_each_minute_another() -> None:
    clock = [0.0]
    flood = Flood(person=(1.0, 0.001), monotonic=lambda: clock[0])
    for _ in range(3):
        flood.admit("slack:T1/U1")
        flood.refuse("slack:T1/U1", "again")
        flood.refuse("http:192.0.2.1")
    clock[0] = COUNTED_SECONDS - 1
    assert flood.drain() == {}
    clock[0] = COUNTED_SECONDS
    assert flood.drain() == {"slack:T1/U1": 2, "again slack:T1/U1": 3, "http:192.0.2.1": 3}
    clock[0] = 2 * COUNTED_SECONDS
    assert flood.drain() == {}, "a quiet minute is no row"
    flood.refuse("slack:T1/U1", "foreign")
    assert flood.drain() == {}
    clock[0] = 3 * COUNTED_SECONDS
    assert flood.drain() == {"foreign slack:T1/U1": 1}


def test_a_thousandfold_of_sources_is_counted_together() -> None:
    flood = Flood(monotonic=lambda: 0.0)
    for i in range(MOST_SOURCES + 500):
        flood.refuse(f"http:source-{i}")
    refused = flood.drain(now=True)
    assert len(refused) == MOST_SOURCES + 1
    assert refused["many-sources"] == 500
    assert sum(refused.values()) == MOST_SOURCES + 500


def test_one_person_s_flood_leaves_the_workspace_s_bucket_alone() -> None:
    flood = Flood(person=(2.0, 0.0001), team=(5.0, 0.0001), monotonic=lambda: 0.0)
    assert [flood.admit("slack:T1/U1") > 0 for _ in range(100)] == [False] * 2 + [True] * 98
    assert [flood.admit(f"slack:T1/U{i}") > 0 for i in range(2, 6)] == [False] * 3 + [True]
