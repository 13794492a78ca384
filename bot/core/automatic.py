"""Which credentials policy rotates by itself, and when: in their window, before they are due."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from bot.core.rules import Target, fits
from bot.core.schedule import Dates, life
from bot.core.windows import Calendar

LEAD = timedelta(days=1)
"""How long before it is due it begins; a tenth of its life where that is shorter."""
STARTED = "automatic"
"""The tier under which it is kept that it was started for a date."""
_DAY = timedelta(days=1)
_BACK = (2 * _DAY, 4 * _DAY, 8 * _DAY, 15 * _DAY, 31 * _DAY)


@dataclass(frozen=True, slots=True)
class Automatic:
    """A rule that starts rotations; of several that fit a credential the first holds."""

    on: bool = True
    ask_ahead: timedelta = timedelta(0)
    """How much earlier consent is asked for."""
    environments: frozenset[str] = frozenset()
    classes: frozenset[str] = frozenset()


def rule_of(rules: Sequence[Automatic], target: Target) -> Automatic | None:
    """The rule by which it is started; None where people start it."""
    found = next((rule for rule in rules if fits(rule, target)), None)
    return found if found is not None and found.on else None


def starts_at(rule: Automatic, target: Target, dates: Dates, calendar: Calendar) -> datetime | None:
    """When to start, or to ask: at the last opening of its window before it is due, less what consent takes."""
    due = dates.due
    if due is None:
        return None
    lead = min(LEAD, life(dates, due) / 10)
    for back in (lead, *(span for span in _BACK if lead < span < life(dates, due) / 2)):
        opens = calendar.next_opening(target, due - back, due=due)
        if opens is not None and opens <= due - lead / 2:
            return opens - rule.ask_ahead
    return due - lead - rule.ask_ahead
