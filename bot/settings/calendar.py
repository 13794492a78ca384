"""From declared windows and freezes to the calendar; dates and hours from text."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from bot.core.windows import Calendar, Freeze, Window, instant
from bot.settings.declared import Declared, FreezeEntry, WindowEntry
from bot.settings.fields import Day

_DATE = len("2026-12-20")


def calendar_of(declared: Declared) -> Calendar:
    """The calendar; freezes that end before they begin are left out here and reported by the checks."""
    freezes = [freeze_of(entry) for entry in declared.freezes]
    return Calendar(
        windows=tuple(_window(entry) for entry in declared.windows),
        freezes=tuple(freeze for freeze in freezes if freeze.start < freeze.end),
    )


def freeze_of(entry: FreezeEntry) -> Freeze:
    """A freeze in UTC; its last day counts whole."""
    zone = ZoneInfo(entry.timezone)
    whole = len(entry.to) == _DATE
    return Freeze(
        name=entry.name,
        start=moment_of(entry.from_, zone),
        end=_end_of(date.fromisoformat(entry.to), zone) if whole else moment_of(entry.to, zone, last=True),
        reason=entry.reason,
        environments=frozenset(entry.environments),
        classes=frozenset(entry.classes),
    )


def moment_of(text: str, zone: ZoneInfo | None = None, *, last: bool = False) -> datetime:
    """`2026-12-20`, `2026-12-20 17:00` or with an offset, in UTC; a date is its beginning, or its very end with `last`.

    Without an offset it is meant by the clocks of `zone` (UTC).
    """
    place = zone or ZoneInfo("UTC")
    if len(text) == _DATE:
        day = date.fromisoformat(text)
        if not last:
            return instant(datetime.combine(day, time.min), place)
        return _end_of(day, place) - timedelta(microseconds=1)
    found = datetime.fromisoformat(text)
    return found.astimezone(UTC) if found.tzinfo else instant(found, place, last=last)


def _end_of(day: date, zone: ZoneInfo) -> datetime:
    return instant(datetime.combine(day + timedelta(days=1), time.min), zone)


def _window(entry: WindowEntry) -> Window:
    return Window(
        name=entry.name,
        opens=time.fromisoformat(entry.from_),
        closes=time.fromisoformat(entry.to.replace("24:00", "00:00")),
        zone=ZoneInfo(entry.timezone),
        days=frozenset(list(Day).index(day) for day in entry.days),
        environments=frozenset(entry.environments),
        classes=frozenset(entry.classes),
    )
