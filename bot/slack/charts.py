"""A watch drawn in characters: where a ratio went lately, and the same in words for those who cannot see it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from bot.slack.text import count

_BARS = "▁▂▃▄▅▆▇█"
MOST_BARS = 60
Point = tuple[float, float]
"""Seconds since the epoch, and a ratio from 0 to 1."""


def points(progress: Mapping[str, Any]) -> list[Point]:
    """The readings among the notes of a step, oldest first; anything of another shape is left out."""
    found = progress.get("readings")
    given = found if isinstance(found, Sequence) and not isinstance(found, str) else ()
    pairs = [one for one in given if isinstance(one, Sequence) and len(one) == 2 and all(map(_is_number, one))]
    return [(float(moment), min(1.0, max(0.0, float(value)))) for moment, value in pairs[-MOST_BARS:]]


def chart(readings: Sequence[Point]) -> list[str]:
    """Lines of mrkdwn: a row of bars, and what it shows in words. No lines where nothing was measured yet."""
    if not readings:
        return []
    values = [value for _, value in readings]
    lowest, highest = min(values), max(values)
    span = highest - lowest
    bars = "".join(_BARS[-1 if not span else round((value - lowest) / span * (len(_BARS) - 1))] for value in values)
    at = next(moment for moment, value in readings if value == lowest)
    told = f"{count(len(values), 'reading')} since {_clock(readings[0][0])} UTC: now *{_share(values[-1])}*"
    if span:
        told += f", lowest {_share(lowest)} at {_clock(at)}, highest {_share(highest)}, {_trend(values)}"
    else:
        told += ", unchanged"
    return [f"`{bars}`", f"{told}."]


def _trend(values: Sequence[float]) -> str:
    """The last quarter of it compared with the one before."""
    part = max(1, len(values) // 4)
    now, before = values[-part:], values[-2 * part : -part] or values[:part]
    change = sum(now) / len(now) - sum(before) / len(before)
    return "steady" if abs(change) < 0.0005 else "rising" if change > 0 else "falling"


def _share(value: float) -> str:
    return f"{value:.2%}"


def _clock(moment: float) -> str:
    return f"{datetime.fromtimestamp(moment, UTC):%H:%M:%S}"


def _is_number(value: Any) -> bool:
    usual = isinstance(value, int | float) and not isinstance(value, bool)
    return usual and math.isfinite(value) and abs(value) < 1e11
