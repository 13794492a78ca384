"""What is due in the weeks to come: the load, what collides, and rotations for which too few people could approve."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from bot.contracts.inventory import Forecast, Week
from bot.contracts.people import Directory
from bot.core.policy import Policy, Target
from bot.core.windows import Calendar
from bot.store.records import CredentialRow

NAMED = 100
MOST_SENTENCES = 50
CROWD = 5
"""So many due on the same day in one environment are worth a word."""


@dataclass
class _Load:
    names: list[str] = field(default_factory=list)
    count: int = 0
    automatic: int = 0


class Approvals:
    """Whether somebody could approve what is due; every group is read once."""

    def __init__(self, policy: Policy, directory: Directory) -> None:
        self._policy = policy
        self._directory = directory
        self._members: dict[str, frozenset[str] | None] = {}
        self._told: dict[tuple[str, str, str], str] = {}

    def gap(self, target: Target) -> str:
        """Why too few people could, or that it is not known; empty when enough could."""
        key = (target.kind, target.environment, target.owner)
        if key not in self._told:
            self._told[key] = self._gap(target)
        return self._told[key]

    def _gap(self, target: Target) -> str:
        needed = self._policy.needed_groups(target)
        if new := needed - self._members.keys():
            self._members |= dict.fromkeys(new) | dict(self._directory.groups(new))
        groups = {name: self._members[name] for name in needed}
        if why := self._policy.hopeless(target, groups):
            return why
        unknown = sorted(name for name, members in groups.items() if members is None)
        if unknown and self._policy.hopeless(target, groups | dict.fromkeys(unknown, frozenset())):
            return f"whether enough people could approve is not known, nor who is in {', '.join(unknown)}"
        return ""


def forecast(
    rows: Iterable[CredentialRow],
    now: datetime,
    days: int,
    calendar: Calendar,
    automatic: Callable[[Target], bool],
    gap: Callable[[Target], str],
) -> Forecast:
    """Goes through what is due, one at a time; keeps sums and the first names only. What is late is due this week."""
    first = _monday(now.date())
    weeks = {first + timedelta(days=7 * number): _Load() for number in range((days + now.weekday()) // 7 + 1)}
    crowds: Counter[tuple[date, str]] = Counter()
    frozen: dict[str, Counter[str]] = {}
    gaps: Counter[str] = Counter()
    for row in rows:
        if row.next_due is None:
            continue
        due = max(row.next_due, now)
        load = weeks.get(_monday(due.date()))
        if load is None:
            continue
        load.count += 1
        load.automatic += automatic(row)
        if len(load.names) < NAMED:
            load.names.append(f"{row.name}@{row.environment}")
        crowds[(due.date(), row.environment)] += 1
        freeze = calendar.freeze_at(row, due)
        if freeze is not None:
            frozen.setdefault(freeze.name, Counter())[f"until {freeze.end:%Y-%m-%d %H:%M} UTC"] += 1
        if why := gap(row):
            gaps[f"{row.kind} in {row.environment}: {why}"] += 1
    return Forecast(
        weeks=tuple(Week(begin, tuple(load.names), load.count, load.automatic) for begin, load in weeks.items()),
        collisions=(*_frozen(frozen), *_crowded(crowds)),
        gaps=tuple(f"{why} ({count} due)." for why, count in gaps.most_common(MOST_SENTENCES)),
        at=now,
    )


def _frozen(found: dict[str, Counter[str]]) -> Iterable[str]:
    for name, ends in sorted(found.items()):
        for until, count in ends.items():
            yield f"{count} due inside the freeze {name} ({until}); rotate them before it begins."


def _crowded(crowds: Counter[tuple[date, str]]) -> Iterable[str]:
    for (day, environment), count in sorted(crowds.items())[: MOST_SENTENCES * 4]:
        if count >= CROWD:
            yield f"{count} due on {day} in {environment}."


def _monday(day: date) -> date:
    return day - timedelta(days=day.weekday())
