"""Whether those who use a credential are still let in, looked at all the time, and when somebody hears of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

LASTS = timedelta(minutes=5)
"""How long its check fails before somebody hears, if settings do not say."""


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
class Refusals:
    """That they are refused: since when, as seen at every look until `looked`, and whether somebody heard."""

    since: datetime
    looked: datetime
    told: bool = False


def followed(
    before: Refusals | None, holds: bool, lasts: timedelta, now: datetime, gap: timedelta
) -> tuple[Refusals | None, bool]:
    """What is known after a look, and whether to tell: that they are refused, or, after that was told, that it is over.

    What was not looked at for longer than both `lasts` and `gap` (the bot was down, the system could not be asked, the
    clock jumped) begins anew: refusals are believed where they were seen all the time.
    """
    if holds:
        return None, before is not None and before.told
    seen = before is not None and before.looked <= now <= before.looked + max(lasts, gap)
    after = replace(before, looked=now) if before is not None and seen else Refusals(now, now)
    if after.told or now < after.since + lasts:
        return after, False
    return replace(after, told=True), True
