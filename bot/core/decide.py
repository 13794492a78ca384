"""`decide(rotation, event, now)`: the only way in which a rotation changes. Pure; total over events."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from bot.core.calling import called
from bot.core.consent import confirmed, expired, opened, plan_changed, postponed, ticked, voted
from bot.core.decision import Decision, Stale
from bot.core.glass import glass_broken, taken_over
from bot.core.progress import began, due, ended, kept, lost
from bot.core.rotation import (
    Advanced,
    Began,
    Called,
    Cancelled,
    Confirmed,
    Due,
    Ended,
    Expired,
    GlassBroken,
    Happening,
    Kept,
    Lost,
    Opened,
    PlanChanged,
    Postponed,
    Retried,
    RolledBack,
    Rotation,
    Skipped,
    TakenOver,
    Ticked,
    Voted,
)
from bot.core.steering import advanced, cancelled, retried, rolled_back, skipped

__all__ = ["Decision", "Stale", "decide"]


def decide(rotation: Rotation | None, event: Happening, now: datetime) -> Decision:
    """Apply one event.

    Raises `Refused` (tell the person, audit it) or `Stale` (drop it). `now` is the engine's clock, UTC.
    """
    if isinstance(event, Opened):
        return opened(event, now)
    if rotation is None:
        raise Stale("there is no such rotation")
    return _RULES[type(event)](rotation, event, now)


_RULES: dict[type[Any], Callable[[Rotation, Any, datetime], Decision]] = {
    Voted: voted,
    Called: called,
    Confirmed: confirmed,
    Postponed: postponed,
    Kept: kept,
    GlassBroken: glass_broken,
    TakenOver: taken_over,
    Ticked: ticked,
    PlanChanged: plan_changed,
    Cancelled: cancelled,
    Expired: expired,
    Began: began,
    Ended: ended,
    Due: due,
    Lost: lost,
    Advanced: advanced,
    Retried: retried,
    Skipped: skipped,
    RolledBack: rolled_back,
}
