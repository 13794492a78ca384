"""When a credential is due: cadences as data, by class and environment, and how old is too old."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import cached_property

from bot.core import duration

SHORTEST = timedelta(hours=1)
WARN_AT = 0.9
"""Share of the cadence after which a credential is shown as due soon."""

_FOREVER = datetime(2200, 1, 1, tzinfo=UTC)
"""What would be due only then has no date."""
_UNKNOWN_LIFE = timedelta(days=3650)

_NAMED = {
    "daily": "1d",
    "weekly": "7d",
    "monthly": "30d",
    "month": "30d",
    "quarterly": "90d",
    "yearly": "365d",
    "annually": "365d",
}

Cadences = Mapping[str, Mapping[str, timedelta]]
"""Class -> environment -> cadence; the class or environment `default` stands for all others."""


class Due(StrEnum):
    """How a credential stands."""

    FINE = "fine"
    SOON = "soon"
    OVERDUE = "overdue"
    UNKNOWN = "unknown"
    """Never rotated by keyturn, so its age is not known."""


@dataclass(frozen=True, slots=True)
class Standing:
    """When it is due and how it stands now."""

    due: Due
    at: datetime | None


def parse_cadence(text: str) -> timedelta:
    """Read `7d`. Raises `ValueError` for months, which differ in length, and for less than an hour."""
    cleaned = str(text).strip().casefold()
    if cleaned in _NAMED or cleaned.endswith(("month", "months")):
        days = _NAMED.get(cleaned, "30d")
        raise ValueError(f"a cadence is counted in days; write {days} instead of {cleaned[:20]!r}")
    cadence = duration.parse(cleaned)
    if cadence < SHORTEST:
        raise ValueError("a cadence is at least 1h")
    return cadence


def cadence_for(kind: str, environment: str, cadences: Cadences) -> timedelta | None:
    """The cadence of a class in an environment, the nearest that is declared; None when none is."""
    for name in (kind, "default"):
        by_environment = cadences.get(name, {})
        found = by_environment.get(environment) or by_environment.get("default")
        if found is not None:
            return found
    return None


def next_due(cadence: timedelta | None, last_finished_at: datetime | None) -> datetime | None:
    """When the next rotation is due (UTC). None without a cadence, or when it was never rotated.

    Counted from the end of the last rotation, so that a slip never makes two rotations overlap.
    """
    if cadence is None or last_finished_at is None:
        return None
    _aware(last_finished_at)
    return last_finished_at + cadence


def standing(cadence: timedelta | None, last_finished_at: datetime | None, now: datetime) -> Standing:
    """How a credential stands at `now`: fine, soon (past 90 % of its cadence), overdue, or unknown."""
    _aware(now)
    if cadence is None:
        return Standing(Due.FINE, None)
    if last_finished_at is None:
        return Standing(Due.UNKNOWN, None)
    due = last_finished_at + cadence
    if now >= due:
        return Standing(Due.OVERDUE, due)
    return Standing(Due.SOON if now >= last_finished_at + cadence * WARN_AT else Due.FINE, due)


@dataclass(frozen=True)
class Dates:
    """Everything that says when a credential ends. What follows from it is worked out once."""

    cadence: timedelta | None = None
    last_rotated_at: datetime | None = None
    created_at: datetime | None = None
    """Since when its system shows the version in use."""
    expires_at: datetime | None = None
    """When its system will refuse it."""

    @cached_property
    def begins(self) -> datetime | None:
        """Since when the version in use counts; the later one, since a rotation may be done by hand too."""
        return max((at for at in (self.last_rotated_at, self.created_at) if at is not None), default=None)

    @cached_property
    def by_cadence(self) -> datetime | None:
        """When the cadence wants the next rotation."""
        begins = self.begins
        if self.cadence is None or begins is None:
            return None
        return begins + self.cadence if self.cadence < _FOREVER - begins else None

    @cached_property
    def due(self) -> datetime | None:
        """The effective date: its expiry or the end of its cadence, whichever is first."""
        return min((at for at in (self.expires_at, self.by_cadence) if at is not None), default=None)

    @property
    def source(self) -> str:
        """What `due` comes from: `expiry`, `cadence`, or nothing."""
        if self.due is None:
            return ""
        return "expiry" if self.due == self.expires_at else "cadence"

    def soon_at(self, warn: timedelta) -> datetime | None:
        """From when on it is shown as due soon: `warn` before it is due, or past 90 % of its age."""
        due, begins = self.due, self.begins
        if due is None:
            return None
        near = due - min(warn, life(self, due) / 2)
        aged = begins + self.cadence * WARN_AT if begins is not None and self.cadence is not None else near
        return min(near, aged)


def stands(now: datetime, due: datetime | None, soon_at: datetime | None, expires_at: datetime | None) -> str:
    """`expired`, `overdue`, `soon`, `fine`, or `unknown` where there is no date.

    An expiry that is no longer due is that of something which is gone, or was replaced.
    """
    if expires_at is not None and due is not None and due <= expires_at <= now:
        return "expired"
    if due is None:
        return "unknown"
    if now >= due:
        return "overdue"
    return "soon" if soon_at is not None and now >= soon_at else "fine"


def life(dates: Dates, until: datetime) -> timedelta:
    """How long the version in use lives in all; very long where nobody knows since when it counts."""
    begins = dates.begins
    return until - begins if begins is not None and begins < until else _UNKNOWN_LIFE


def _aware(moment: datetime) -> None:
    if moment.tzinfo is None or moment.utcoffset() != timedelta(0):
        raise ValueError("times are in UTC, with their zone")
