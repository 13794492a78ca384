"""Windows and freezes: stories about clocks that change, and answers against a walk from minute to minute."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bot.core.windows import Calendar, Freeze, Window, instant

BERLIN = ZoneInfo("Europe/Berlin")
MINUTE = timedelta(minutes=1)


@dataclass(frozen=True)
class Credential:
    name: str = "signing"
    environment: str = "production"
    kind: str = "signing-key"
    owner: str = "platform"


KEY = Credential()


def at(text: str, zone: ZoneInfo | None = None) -> datetime:
    found = datetime.fromisoformat(text)
    return found.replace(tzinfo=zone or UTC).astimezone(UTC)


def window(opens: str, closes: str, *days: int, zone: ZoneInfo = BERLIN, name: str = "nights") -> Window:
    return Window(name, time.fromisoformat(opens), time.fromisoformat(closes), zone, frozenset(days or range(7)))


def freeze(start: str, end: str, name: str = "year end") -> Freeze:
    return Freeze(name, at(start), at(end), "quiet days")


OFFICE = Calendar((window("09:00", "16:00", 0, 1, 2, 3),))
FROZEN = Calendar(freezes=(freeze("2026-12-20", "2027-01-04"),))


# --- windows ----------------------------------------------------------------------------------------------------------


def test_without_windows_it_is_always_open() -> None:
    moment = at("2026-11-21 03:00")
    verdict = Calendar().may_begin(KEY, moment)
    assert (verdict.allowed, verdict.because) == (True, "no window is declared")
    assert Calendar().next_opening(KEY, moment) == moment
    assert Calendar().closes_at(KEY, moment) is None


@pytest.mark.parametrize(
    ("moment", "opens"),
    [
        ("2026-11-19 09:00", "2026-11-19 09:00"),  # a Thursday
        ("2026-11-19 15:59:59", "2026-11-19 15:59:59"),
        ("2026-11-19 08:59:59", "2026-11-19 09:00"),
        ("2026-11-19 16:00", "2026-11-23 09:00"),
        ("2026-11-20 12:00", "2026-11-23 09:00"),
    ],
)
def test_a_window_of_the_week(moment: str, opens: str) -> None:
    begin, expected = at(moment, BERLIN), at(opens, BERLIN)
    assert OFFICE.next_opening(KEY, begin) == expected
    verdict = OFFICE.may_begin(KEY, begin)
    assert verdict.allowed == (begin == expected)
    if verdict:
        assert verdict.because == "inside the window nights"
        assert OFFICE.closes_at(KEY, begin) == at("2026-11-19 16:00", BERLIN)
    else:
        assert verdict.code == "outside-windows"
        assert f"from {expected:%Y-%m-%d %H:%M} UTC" in verdict.because
        assert OFFICE.closes_at(KEY, begin) == begin


def test_a_window_over_midnight_belongs_to_the_day_on_which_it_opens() -> None:
    friday = Calendar((window("22:00", "04:00", 4),))
    for text, inside in {
        "2026-11-20 21:59": False,
        "2026-11-20 22:00": True,
        "2026-11-21 03:59": True,
        "2026-11-21 04:00": False,
        "2026-11-20 03:00": False,
        "2026-11-21 23:00": False,
    }.items():
        assert friday.may_begin(KEY, at(text, BERLIN)).allowed == inside, text


def test_whole_days_join() -> None:
    weekend = Calendar((window("00:00", "00:00", 5, 6),))
    assert weekend.closes_at(KEY, at("2026-11-21 12:00", BERLIN)) == at("2026-11-23 00:00", BERLIN)
    assert Calendar((window("00:00", "00:00"),)).closes_at(KEY, at("2026-11-21 12:00")) is None


def test_windows_that_overlap_close_with_the_last() -> None:
    two = Calendar((window("09:00", "12:00", name="early"), window("11:00", "16:00", name="late")))
    assert two.closes_at(KEY, at("2026-11-20 09:30", BERLIN)) == at("2026-11-20 16:00", BERLIN)
    assert two.may_begin(KEY, at("2026-11-20 11:30", BERLIN)).because == "inside the window early"


def test_windows_are_for_their_environments_and_classes() -> None:
    here = Window("w", time(9), time(16), environments=frozenset({"production"}), classes=frozenset({"signing-key"}))
    calendar, night = Calendar((here,)), at("2026-11-20 20:00")
    assert not calendar.may_begin(KEY, night)
    assert calendar.may_begin(Credential(environment="staging"), night)
    assert calendar.may_begin(Credential(kind="api-key"), night)


def test_a_revocation_waits_for_nothing() -> None:
    calendar = Calendar(OFFICE.windows, FROZEN.freezes)
    moment = at("2026-12-25 03:00")
    assert calendar.may_begin(KEY, moment, word="revoke")
    assert calendar.next_opening(KEY, moment, word="revoke") == moment
    assert not calendar.may_begin(KEY, moment, word="start")


def test_a_moment_without_a_zone_is_refused() -> None:
    naive = datetime(2026, 11, 20, 12)  # noqa: DTZ001 - the point of it
    for ask in (OFFICE.may_begin, OFFICE.next_opening, OFFICE.closes_at, FROZEN.freeze_at):
        with pytest.raises(ValueError, match="zone"):
            ask(KEY, naive)


# --- clocks that change -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("opens", "closes", "begin", "end"),
    [
        ("01:00", "04:00", "00:00", "02:00"),  # three hours on the wall, two that pass
        ("02:30", "05:00", "01:00", "03:00"),  # the wall never shows 02:30: from the change on
        ("01:00", "02:30", "00:00", "01:00"),
        ("02:10", "02:50", None, None),
    ],
)
def test_clocks_set_forward(opens: str, closes: str, begin: str | None, end: str | None) -> None:
    """On 29 March 2026 Berlin goes from 02:00 to 03:00, at 01:00 UTC."""
    found = window(opens, closes).opening(datetime(2026, 3, 29, tzinfo=UTC).date())
    assert found == ((at(f"2026-03-29 {begin}"), at(f"2026-03-29 {end}")) if begin else None)


@pytest.mark.parametrize(
    ("opens", "closes", "begin", "end"),
    [
        ("01:00", "04:00", "2026-10-24 23:00", "2026-10-25 03:00"),  # four hours that pass
        ("02:30", "04:00", "2026-10-25 00:30", "2026-10-25 03:00"),
        ("01:00", "02:30", "2026-10-24 23:00", "2026-10-25 00:30"),
        ("02:15", "02:45", "2026-10-25 00:15", "2026-10-25 00:45"),  # opens once, not twice
    ],
)
def test_clocks_set_back(opens: str, closes: str, begin: str, end: str) -> None:
    """On 25 October 2026 Berlin shows 02:00 to 03:00 twice, from 00:00 UTC on."""
    assert window(opens, closes).opening(datetime(2026, 10, 25, tzinfo=UTC).date()) == (at(begin), at(end))


def test_a_window_that_the_change_swallows_opens_a_week_later() -> None:
    calendar = Calendar((window("02:10", "02:50", 6),))
    assert calendar.next_opening(KEY, at("2026-03-23 12:00")) == at("2026-04-05 02:10", BERLIN)


def test_an_hour_that_comes_twice_has_a_first_and_a_last_moment() -> None:
    wall = datetime(2026, 10, 25, 2, 30)  # noqa: DTZ001 - what the wall shows
    assert instant(wall, BERLIN) == at("2026-10-25 00:30")
    assert instant(wall, BERLIN, last=True) == at("2026-10-25 01:30")


def test_a_day_that_a_place_left_out() -> None:
    """Samoa went from 29 to 31 December 2011 and had no 30th."""
    apia = ZoneInfo("Pacific/Apia")
    assert instant(datetime(2011, 12, 30, 12), apia) == at("2011-12-30 10:00")  # noqa: DTZ001
    assert window("09:00", "16:00", zone=apia).opening(datetime(2011, 12, 30, tzinfo=UTC).date()) is None


_zones = st.sampled_from(
    [ZoneInfo(name) for name in ("Europe/Berlin", "America/Havana", "Australia/Lord_Howe", "UTC", "Asia/Kathmandu")]
)
_hours = st.times(max_value=time(23, 59)).map(lambda hour: hour.replace(second=0, microsecond=0))
_starts = st.sampled_from(["2026-03-07", "2026-03-27", "2026-04-03", "2026-10-02", "2026-10-23", "2026-10-31"])


@settings(max_examples=60, deadline=None)
@given(_zones, _hours, _hours, st.frozensets(st.integers(0, 6), min_size=1), _starts)
@example(BERLIN, time(2, 30), time(2, 30), frozenset({6}), "2026-03-27")
@example(BERLIN, time(1, 30), time(2, 30), frozenset({6}), "2026-10-23")
def test_a_walk_from_minute_to_minute_sees_the_same_openings(
    zone: ZoneInfo, opens: time, closes: time, days: frozenset[int], start: str
) -> None:
    """A gatekeeper who looks at the wall once a minute: shut doors open when the hour of opening has come, and once."""
    one = Window("w", opens, closes, zone, days)
    moment = at(start) - timedelta(days=1)
    end = moment + timedelta(days=4)
    night = closes <= opens
    opened: set[str] = set()
    until: datetime | None = None
    while moment < end:
        wall = moment.astimezone(zone).replace(tzinfo=None)
        if until is not None and wall >= until:
            until = None
        today = datetime.combine(wall.date(), opens)
        shuts = datetime.combine(wall.date() + timedelta(days=night), closes)
        if until is None and wall.weekday() in days and wall >= today and str(wall.date()) not in opened:
            opened.add(str(wall.date()))
            until = shuts if wall < shuts else None
        if moment >= at(start):
            assert one.contains(moment) == (until is not None), (moment, wall)
        moment += MINUTE


# --- freezes ----------------------------------------------------------------------------------------------------------


def test_a_freeze_holds_from_its_first_moment_to_its_last() -> None:
    for text, held in {
        "2026-12-19 23:59:59": False,
        "2026-12-20 00:00": True,
        "2027-01-03 23:59:59": True,
        "2027-01-04 00:00": False,
    }.items():
        found = FROZEN.freeze_at(KEY, at(text))
        assert (found is not None) == held, text
        assert FROZEN.may_begin(KEY, at(text)).allowed == (not held)
    verdict = FROZEN.may_begin(KEY, at("2026-12-24 12:00"))
    assert verdict.code == "frozen"
    assert verdict.because == ("signing is frozen by year end (quiet days); it may begin from 2027-01-04 00:00 UTC.")
    assert FROZEN.closes_at(KEY, at("2026-12-10 00:00")) == at("2026-12-20 00:00")


@pytest.mark.parametrize(
    ("due", "allowed"),
    [("2026-12-01", True), ("2026-12-30", True), ("2027-01-03 23:59", True), ("2027-01-04", False), (None, False)],
)
def test_a_freeze_never_lets_a_credential_expire(due: str | None, allowed: bool) -> None:
    moment, end = at("2026-12-24 12:00"), at("2027-01-04")
    ends_at = at(due) if due else None
    verdict = FROZEN.may_begin(KEY, moment, due=ends_at)
    assert verdict.allowed == allowed
    assert ("it is due before year end ends" in verdict.because) == allowed
    assert FROZEN.next_opening(KEY, moment, due=ends_at) == (moment if allowed else end)
    assert FROZEN.closes_at(KEY, moment, due=ends_at) == (None if allowed else moment)


def test_what_is_due_in_a_freeze_still_waits_for_its_window() -> None:
    calendar = Calendar(OFFICE.windows, FROZEN.freezes)
    verdict = calendar.may_begin(KEY, at("2026-12-25 12:00"), due=at("2026-12-30"))  # a Friday
    assert verdict.code == "outside-windows"
    assert calendar.next_opening(KEY, at("2026-12-25 12:00"), due=at("2026-12-30")) == at("2026-12-28 09:00", BERLIN)
    assert calendar.next_opening(KEY, at("2026-12-25 12:00")) == at("2027-01-04 09:00", BERLIN)


def test_freezes_that_follow_each_other_are_gone_through() -> None:
    calendar = Calendar(freezes=(freeze("2026-12-20", "2027-01-04"), freeze("2027-01-03", "2027-01-10", "audit")))
    assert calendar.next_opening(KEY, at("2026-12-24")) == at("2027-01-10")
    found = calendar.freeze_at(KEY, at("2027-01-03 12:00"))
    assert found is not None
    assert found.name == "audit"


def test_freezes_are_for_their_environments_and_classes() -> None:
    here = Freeze("f", at("2026-12-20"), at("2027-01-04"), environments=frozenset({"production"}))
    calendar = Calendar(freezes=(here,))
    assert calendar.freeze_at(KEY, at("2026-12-24")) is here
    assert calendar.freeze_at(Credential(environment="staging"), at("2026-12-24")) is None


_moments = st.integers(0, 60 * 24 * 30).map(lambda minutes: at("2026-12-01") + minutes * MINUTE)
_freezes = st.builds(
    lambda start, hours: Freeze("f", start, start + timedelta(hours=hours)), _moments, st.integers(1, 200)
)
_windows = st.builds(Window, st.just("w"), _hours, _hours, _zones, st.frozensets(st.integers(0, 6), min_size=1))
_calendars = st.builds(
    lambda windows, freezes: Calendar(tuple(windows), tuple(freezes)),
    st.lists(_windows, max_size=2),
    st.lists(_freezes, max_size=3),
)


@settings(max_examples=200, deadline=None)
@given(_calendars, _moments, st.none() | _moments)
def test_the_next_opening_is_the_first_moment_at_which_it_may_begin(
    calendar: Calendar, moment: datetime, due: datetime | None
) -> None:
    found = calendar.next_opening(KEY, moment, due=due)
    assert found is not None
    assert found >= moment
    assert calendar.may_begin(KEY, found, due=due)
    assert (found == moment) == calendar.may_begin(KEY, moment, due=due).allowed
    step = max((found - moment) / 40, MINUTE)
    between = moment
    while between < found:
        assert not calendar.may_begin(KEY, between, due=due)
        between += step
    if found > moment:
        assert not calendar.may_begin(KEY, found - timedelta(microseconds=1), due=due)


@settings(max_examples=200, deadline=None)
@given(_calendars, _moments, st.none() | _moments)
def test_an_opening_lasts_until_it_closes(calendar: Calendar, moment: datetime, due: datetime | None) -> None:
    closes = calendar.closes_at(KEY, moment, due=due)
    if closes is None or closes == moment:
        assert calendar.may_begin(KEY, moment, due=due).allowed == (closes is None)
        return
    assert not calendar.may_begin(KEY, closes, due=due)
    for part in range(40):
        assert calendar.may_begin(KEY, moment + (closes - moment) * part / 40, due=due)


@settings(max_examples=100, deadline=None)
@given(_freezes, _moments, _moments)
def test_no_freeze_holds_what_would_be_due_in_it(frozen: Freeze, moment: datetime, due: datetime) -> None:
    if due < frozen.end:
        assert Calendar(freezes=(frozen,)).may_begin(KEY, moment, due=due)
