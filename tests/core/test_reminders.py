"""Tiers, working hours, snoozes: by example where the calendar is odd, and by laws where dates may be anything."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.core.reminders import (
    AGED,
    DUE,
    EXPIRED,
    LAST_CALL,
    Rules,
    Stage,
    Tier,
    again,
    grace_warning,
    look,
    snooze_budget,
    snooze_used,
    snoozed,
    tiers,
    working,
)
from bot.core.schedule import Dates, stands
from bot.core.windows import Window

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
START = datetime(2026, 1, 5, 12, tzinfo=UTC)  # a Monday
RULES = Rules()
BERLIN = ZoneInfo("Europe/Berlin")
ZONES = [ZoneInfo(name) for name in ("UTC", "Europe/Berlin", "America/New_York", "Pacific/Apia", "Asia/Kathmandu")]
BEFORE = (30 * DAY, 14 * DAY, 7 * DAY, 3 * DAY, DAY)


def hours(zone: ZoneInfo = ZONES[0]) -> Window:
    return Window("working hours", time(9), time(17), zone, frozenset(range(5)))


def planned(dates: Dates, stages: tuple[Stage, ...] = (), zone: ZoneInfo = ZONES[0]) -> tuple[Tier, ...]:
    return tiers(dates, BEFORE, stages, hours(zone))


def names(found: tuple[Tier, ...]) -> list[str]:
    return [tier.name for tier in found]


def test_every_tier_of_a_cadence_comes_once_and_in_order() -> None:
    found = planned(Dates(cadence=90 * DAY, last_rotated_at=START))
    assert names(found) == ["30d", "14d", AGED, "7d", "3d", "1d", DUE, EXPIRED]
    assert {tier.expiry for tier in found} == {START + 90 * DAY}


def test_what_its_system_ends_is_called_before_and_at_its_end() -> None:
    end = START + 400 * DAY
    *_, due, expired = planned(Dates(created_at=START, expires_at=end))
    assert (due.name, due.at, due.urgent) == (DUE, end - LAST_CALL, True)
    assert (expired.name, expired.at, expired.urgent) == (EXPIRED, end, True)


@pytest.mark.parametrize(
    ("life", "left"),
    [(14 * DAY, ["3d", "1d"]), (7 * DAY, ["3d", "1d"]), (2 * DAY, []), (HOUR, [])],
)
def test_what_lives_short_is_not_reminded_from_its_first_day(life: timedelta, left: list[str]) -> None:
    found = names(planned(Dates(cadence=life, last_rotated_at=START)))
    assert [name for name in found if name[0].isdigit() and name != AGED] == left
    assert found[-2:] == [DUE, EXPIRED]


def test_a_cadence_and_an_expiry_are_counted_down_one_after_the_other() -> None:
    dates = Dates(cadence=90 * DAY, last_rotated_at=START, expires_at=START + 95 * DAY)
    found = planned(dates)
    by_cadence, by_system = START + 90 * DAY, START + 95 * DAY
    assert [tier.name for tier in found if tier.expiry == by_cadence][-2:] == [DUE, EXPIRED]
    assert names(tuple(tier for tier in found if tier.expiry == by_system)) == ["3d", "1d", DUE, EXPIRED]


def test_a_cadence_beyond_the_expiry_does_not_count() -> None:
    dates = Dates(cadence=90 * DAY, last_rotated_at=START, expires_at=START + 10 * DAY)
    assert {tier.expiry for tier in planned(dates)} == {START + 10 * DAY}
    assert (dates.due, dates.source) == (START + 10 * DAY, "expiry")


def test_a_rotation_by_hand_counts_from_the_version_that_its_system_shows() -> None:
    dates = Dates(cadence=30 * DAY, last_rotated_at=START, created_at=START + 20 * DAY)
    assert (dates.due, dates.source) == (START + 50 * DAY, "cadence")


def test_what_falls_on_one_day_is_told_in_the_morning() -> None:
    """Twenty credentials that are due at different hours of one day are one message."""
    ends = [datetime(2026, 6, 1, hour, tzinfo=UTC) for hour in (9, 11, 16, 23)]
    weeks = {
        next(tier.at for tier in planned(Dates(created_at=START, expires_at=end)) if tier.name == "7d") for end in ends
    }
    assert weeks == {datetime(2026, 5, 25, 9, tzinfo=UTC)}


@pytest.mark.parametrize(
    ("at", "begins"),
    [
        (datetime(2026, 3, 27, 18, tzinfo=UTC), datetime(2026, 3, 30, 7, tzinfo=UTC)),  # over the change to summer time
        (datetime(2026, 10, 23, 18, tzinfo=UTC), datetime(2026, 10, 26, 8, tzinfo=UTC)),  # and back
        (datetime(2028, 2, 28, 18, tzinfo=UTC), datetime(2028, 2, 29, 8, tzinfo=UTC)),  # a leap day
        (datetime(2026, 1, 31, 12, tzinfo=UTC), datetime(2026, 2, 2, 8, tzinfo=UTC)),  # the end of a month
        (datetime(2026, 12, 31, 20, tzinfo=UTC), datetime(2027, 1, 1, 8, tzinfo=UTC)),  # and of a year
        (datetime(2026, 6, 1, 10, tzinfo=UTC), datetime(2026, 6, 1, 10, tzinfo=UTC)),  # within
    ],
)
def test_working_hours_are_those_of_the_clock_on_the_wall(at: datetime, begins: datetime) -> None:
    assert working(at, hours(BERLIN)) == begins


def test_hours_that_a_change_of_the_clock_swallows_do_not_lose_a_reminder() -> None:
    """Apia had no 30 December 2011 at all: it was a Friday."""
    night = Window("night", time(2), time(3), BERLIN, frozenset({6}))
    change = datetime(2026, 3, 29, 0, 30, tzinfo=UTC)
    assert working(change, night) > change
    apia = ZoneInfo("Pacific/Apia")
    assert working(datetime(2011, 12, 30, 9, 30, tzinfo=UTC), hours(apia)) > datetime(2011, 12, 30, 9, tzinfo=UTC)


def test_on_a_weekend_it_waits_where_there_is_time() -> None:
    saturday = datetime(2026, 5, 23, 12, tzinfo=UTC)
    found = planned(Dates(created_at=START, expires_at=saturday + 7 * DAY))
    told = {tier.key for tier in found if tier.name in ("30d", "14d")}
    seen = look(found, told, saturday + HOUR, hours())
    assert (seen.tell, seen.next_at) == ((), datetime(2026, 5, 25, 9, tzinfo=UTC))


def test_at_once_where_there_is_no_time() -> None:
    """Three days before is a Saturday, and when people are back it is one day before."""
    tuesday = datetime(2026, 5, 26, 12, tzinfo=UTC)
    saturday = tuesday - 3 * DAY
    found = planned(Dates(created_at=START, expires_at=tuesday))
    told = {tier.key for tier in found if tier.at < saturday}
    assert names(look(found, told, saturday, hours()).tell) == ["3d"]


def test_what_is_late_is_told_in_one_message() -> None:
    end = datetime(2026, 6, 1, 12, tzinfo=UTC)
    found = planned(Dates(created_at=START, expires_at=end))
    assert names(look(found, set(), end - 2 * DAY, hours()).tell) == ["30d", "14d", "7d", "3d"]


def test_while_it_is_rotated_nobody_else_is_called_and_the_owner_still_is() -> None:
    end = datetime(2026, 6, 1, 12, tzinfo=UTC)
    found = planned(Dates(created_at=START, expires_at=end), (Stage(7 * DAY, ("channel",)),))
    now = end - 4 * DAY
    assert "escalation-1" not in names(look(found, set(), now, hours(), acted=True).tell)
    assert "7d" in names(look(found, set(), now, hours(), acted=True).tell)
    assert "escalation-1" in names(look(found, set(), now, hours()).tell)


@pytest.mark.parametrize("lives", [60 * DAY, 2 * HOUR])
def test_the_pager_is_called_at_the_last_whatever_is_open(lives: timedelta) -> None:
    end = datetime(2026, 6, 1, 12, tzinfo=UTC)
    stages = (Stage(7 * DAY, ("channel",)), Stage(DAY, ("security",), page=True), Stage(timedelta(0), (), page=True))
    found = planned(Dates(created_at=end - lives, expires_at=end), stages)
    last = end - min(LAST_CALL, lives / 4)
    told = {tier.key for tier in found if tier.stage is None and tier.at < last}
    held = look(found, told, last - timedelta(minutes=1), hours(), acted=True)
    assert (names(held.tell), held.next_at) == ([], last)
    assert set(names(look(found, told, last, hours(), acted=True).tell)) == {DUE, "escalation-2"}
    assert set(names(look(found, told, end, hours(), acted=True).tell)) == {
        DUE,
        EXPIRED,
        "escalation-2",
        "escalation-3",
    }


def test_the_end_of_a_cadence_calls_no_pager_while_it_is_rotated() -> None:
    found = planned(Dates(cadence=90 * DAY, last_rotated_at=START), (Stage(DAY, ("security",), page=True),))
    for now in (START + 90 * DAY, START + 99 * DAY):
        assert "escalation-1" not in names(look(found, set(), now, hours(), acted=True).tell)
        assert "escalation-1" in names(look(found, set(), now, hours()).tell)


def test_what_has_ended_is_said_every_week() -> None:
    end = START + 90 * DAY  # a Sunday
    dates = Dates(cadence=90 * DAY, last_rotated_at=START)
    assert names(again(dates, 7 * DAY, hours(), end - HOUR, ())) == ["expired+7d"], "next, also where the rest was told"
    (first,) = again(dates, 7 * DAY, hours(), end + 2 * DAY, ())
    assert (first.name, first.at, first.urgent) == ("expired+7d", end + 7 * DAY, False)
    assert names(again(dates, 7 * DAY, hours(), end + 30 * DAY, ())) == ["expired+28d", "expired+35d"]
    told = {tier.key for tier in planned(dates)}
    weeks = (*planned(dates), *again(dates, 7 * DAY, hours(), end + 7 * DAY + HOUR, told))
    monday = look(weeks, told, end + 7 * DAY + HOUR, hours())
    assert (monday.tell, monday.next_at) == ((), datetime(2026, 4, 13, 9, tzinfo=UTC)), "it waits for people to work"


def test_of_two_ends_the_later_one_is_said_again() -> None:
    dates = Dates(cadence=90 * DAY, last_rotated_at=START, expires_at=START + 100 * DAY)
    by_cadence, by_system = START + 90 * DAY, START + 100 * DAY
    assert {tier.expiry for tier in again(dates, DAY, hours(), by_system - HOUR, ())} == {by_cadence}
    assert {tier.expiry for tier in again(dates, DAY, hours(), by_system + HOUR, ())} == {by_system}


def test_a_snooze_is_cut_where_the_date_moves_nearer() -> None:
    end = START + 10 * DAY
    dates = Dates(created_at=START - 90 * DAY, expires_at=end)
    assert snoozed(START + 20 * DAY, dates, START) == end - LAST_CALL
    assert snoozed(START + DAY, dates, START + 2 * DAY) is None
    assert snooze_budget(dates, end - HOUR) is None


def test_the_warning_before_a_grace_ends_is_scaled() -> None:
    assert grace_warning(START, START + 7 * DAY) == START + 6 * DAY
    assert grace_warning(START, START + DAY) == START + 12 * HOUR


def test_standing_goes_by_dates_alone() -> None:
    dates = Dates(cadence=90 * DAY, last_rotated_at=START, expires_at=START + 95 * DAY)

    def at(days: float) -> str:
        now = START + days * DAY
        return stands(now, dates.due, dates.soon_at(30 * DAY), dates.expires_at)

    assert [at(days) for days in (1, 59, 61, 90, 94, 95)] == ["fine", "fine", "soon", "overdue", "overdue", "expired"]
    assert stands(START, None, None, None) == "unknown"


# --- laws -------------------------------------------------------------------------------------------------------------

moments = st.integers(0, 40 * 365 * 24 * 60).map(
    lambda minutes: datetime(2020, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)
)
lives = st.timedeltas(timedelta(minutes=30), timedelta(days=900))
all_dates = st.builds(
    lambda begin, cadence, life: Dates(cadence, begin, None, begin + life if life else None),
    moments,
    st.none() | lives,
    st.none() | lives,
)
stages = st.lists(
    st.builds(Stage, st.timedeltas(timedelta(0), 40 * DAY), st.just(("channel",)), st.booleans()), max_size=3
)


@settings(max_examples=100, deadline=None)
@given(all_dates, st.sampled_from(ZONES), st.timedeltas(DAY, 40 * DAY), st.data())
def test_what_has_ended_is_said_again_and_again_and_nothing_twice(
    dates: Dates, zone: ZoneInfo, every: timedelta, data: st.DataObject
) -> None:
    """Whenever it is looked, with delays and the clock set back: there is a next time, and nothing is said at night."""
    window = hours(zone)
    ends = [end for end in (dates.by_cadence, dates.expires_at) if end is not None]
    if not ends:
        return
    now = max(ends) + data.draw(st.timedeltas(-3 * DAY, 3 * every))
    told, furthest = {tier.key for tier in planned(dates, (), zone)}, max(now, *ends)
    for _ in range(8):
        seen = look((*planned(dates, (), zone), *again(dates, every, window, now, told)), told, now, window)
        assert len(seen.tell) <= 1, "what nobody could be told meanwhile is said once"
        assert not told & {tier.key for tier in seen.tell}
        assert all(dates.due is not None and dates.due < tier.at <= now for tier in seen.tell)
        assert not seen.tell or window.contains(now)
        told |= {tier.key for tier in seen.tell}
        assert seen.next_at is not None
        furthest = max(furthest, now)
        assert now < seen.next_at <= furthest + every + 5 * DAY
        late = data.draw(st.timedeltas(timedelta(0), 3 * every)) if data.draw(st.integers(0, 4)) == 0 else timedelta(0)
        now = seen.next_at + late
        if data.draw(st.integers(0, 9)) == 0:
            now -= data.draw(st.timedeltas(timedelta(0), (now - max(ends)) / 2))


@settings(max_examples=150)
@given(all_dates, stages.map(tuple), st.sampled_from(ZONES), st.data())
def test_every_tier_is_told_once_and_before_it_is_too_late(
    dates: Dates, calls: tuple[Stage, ...], zone: ZoneInfo, data: st.DataObject
) -> None:
    """Looked at when it asks to be, with delays, the clock set back, and snoozes within their budget."""
    found, window = planned(dates, calls, zone), hours(zone)
    begins = dates.begins
    assert begins is not None
    told: set[tuple[datetime, str]] = set()
    now, until = begins, None
    for _ in range(200):
        seen = look(found, told, now, window, snoozed_until=snoozed(until, dates, now))
        keys = [tier.key for tier in seen.tell]
        assert not told & set(keys), "a tier was told twice"
        assert all(tier.at <= now for tier in seen.tell), "a tier was told before its time"
        told |= set(keys)
        if seen.next_at is None:
            break
        assert seen.next_at > now or seen.tell
        late = data.draw(st.timedeltas(timedelta(0), 2 * DAY)) if data.draw(st.booleans()) else timedelta(0)
        now = max(now, seen.next_at) + late
        if data.draw(st.integers(0, 9)) == 0:
            now -= data.draw(st.timedeltas(timedelta(0), 5 * DAY))
        budget = snooze_budget(dates, now)
        if budget is not None and data.draw(st.integers(0, 9)) == 0:
            until = budget
    assert told == {tier.key for tier in found}, "a tier was never told"


@settings(max_examples=150)
@given(all_dates, st.sampled_from(ZONES))
def test_looked_at_in_time_everything_is_told_before_the_expiry(dates: Dates, zone: ZoneInfo) -> None:
    found, window = planned(dates, (), zone), hours(zone)
    now = dates.begins
    assert now is not None
    told: dict[tuple[datetime, str], datetime] = {}
    for _ in range(100):
        seen = look(found, set(told), now, window)
        told |= {tier.key: now for tier in seen.tell}
        if seen.next_at is None:
            break
        now = max(now, seen.next_at)
    for tier in found:
        if tier.expiry == dates.expires_at and tier.name != EXPIRED:
            assert told[tier.key] < dates.expires_at
        if tier.urgent:
            assert told[tier.key] == max(tier.at, dates.begins)


@given(all_dates, moments)
def test_a_snooze_never_reaches_an_expiry_and_shrinks(dates: Dates, now: datetime) -> None:
    budget = snooze_budget(dates, now)
    if budget is None or dates.due is None:
        return
    assert now < budget < dates.due
    later = snooze_budget(dates, now + (dates.due - now) / 4)
    assert later is None or later - (now + (dates.due - now) / 4) <= budget - now


@given(all_dates, st.lists(st.tuples(st.integers(1, 10), st.integers(0, 12)), min_size=1, max_size=30))
def test_snoozing_again_and_again_reaches_no_further_than_once(dates: Dates, tries: list[tuple[int, int]]) -> None:
    """Whoever snoozes as often as they may leaves at least as much time as was snoozed in all."""
    now, due = dates.begins, dates.due
    assert now is not None
    asked: list[tuple[datetime, datetime]] = []
    for part, later in tries:  # so many tenths of what they may; and again after so many tenths of that
        budget = snooze_budget(dates, now, snooze_used(asked, now))
        if due is None or budget is None:
            return
        until = now + (budget - now) * part / 10
        asked.append((now, until))
        used = snooze_used(asked, until)
        assert used <= min(due - until, 14 * DAY) + timedelta(microseconds=len(asked))
        now += (until - now) * later / 10


@settings(max_examples=150)
@given(all_dates, stages.map(tuple), st.sampled_from(ZONES), st.data())
def test_a_snooze_holds_the_owners_tiers_and_no_others(
    dates: Dates, calls: tuple[Stage, ...], zone: ZoneInfo, data: st.DataObject
) -> None:
    found, window = planned(dates, calls, zone), hours(zone)
    begins, due = dates.begins, dates.due
    assert begins is not None
    assert due is not None or not found
    now = begins + ((due or begins) - begins) * data.draw(st.floats(0, 1))
    until = now + data.draw(st.timedeltas(timedelta(minutes=1), 10 * DAY))
    told = {tier.key for tier in found if data.draw(st.booleans())}
    seen = look(found, told, now, window, snoozed_until=until)
    assert all(tier.stage is not None for tier in seen.tell)
    called = tuple(tier for tier in found if tier.stage is not None)
    alone = look(called, told, now, window)
    if alone.tell:  # what is told of escalations alone is told beside a snooze as well
        assert seen.tell == alone.tell
    if any(tier.key not in told for tier in found):
        assert seen.next_at is not None or seen.tell


@given(moments, st.sampled_from(ZONES))
def test_working_hours_come_within_days(at: datetime, zone: ZoneInfo) -> None:
    begins = working(at, hours(zone))
    assert at <= begins < at + 5 * DAY
    assert hours(zone).contains(begins)
