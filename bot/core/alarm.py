"""Whether those who use a credential are still let in, looked at all the time, and when somebody hears of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

LASTS = timedelta(minutes=5)
"""How long its check fails before somebody hears, if settings do not say."""
UNSEEN = timedelta(hours=12)
"""How long a check cannot be made before somebody hears."""
FORGOTTEN = timedelta(days=1)
"""What was told and not looked at for longer is over: it would be told anew."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """A check that holds while the callers of a credential are let in."""

    credential: str
    environment: str
    check: str
    """The word of a probe: `prometheus.auth_failures`."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    lasts: timedelta = LASTS


@dataclass(frozen=True, slots=True)
class Failing:
    """That a check fails: since when, as seen at every look until `looked`, and whether somebody heard."""

    since: datetime
    looked: datetime
    told: bool = False


def followed(
    before: Failing | None, holds: bool, lasts: timedelta, now: datetime, gap: timedelta
) -> tuple[Failing | None, bool]:
    """What is known after a look, and whether to tell: that it fails, or, after that was told, that this is over.

    What was not looked at for longer than both `lasts` and `gap` (the bot was down, the system could not be asked, the
    clock jumped) begins anew: a failure is believed where it was seen all the time. What was told stays told until it
    is over, so that its end is told as well.
    """
    away = max(now - before.looked, before.looked - now) if before is not None else timedelta(0)
    if before is not None and before.told and away <= FORGOTTEN:
        return (None, True) if holds else (replace(before, looked=now), False)
    if holds:
        return None, False
    seen = before is not None and not before.told and before.looked <= now and away <= max(lasts, gap)
    after = replace(before, looked=now) if before is not None and seen else Failing(now, now)
    return (replace(after, told=True), True) if now >= after.since + lasts else (after, False)
