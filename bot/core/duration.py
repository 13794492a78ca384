"""Durations as people write them: `15m`, `1h30m`, `90d`."""

from __future__ import annotations

import re
from datetime import timedelta
from functools import lru_cache

_UNITS = {"w": 604800.0, "d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|w|d|h|m|s)")
_WHOLE = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?\s*(?:ms|w|d|h|m|s)\s*)+")
_LONGEST_TEXT = 60

LONGEST = timedelta(days=3660)


def parse(text: str) -> timedelta:
    """Read `1h30m`; raises `ValueError` with an example. Months are not a duration: write days."""
    cleaned = text.strip()
    if len(cleaned) > _LONGEST_TEXT or not _WHOLE.fullmatch(cleaned):
        raise ValueError(f"{text[:40]!r} is not a duration; write for example 15m, 24h or 90d")
    total = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(cleaned))
    if total > LONGEST.total_seconds():
        raise ValueError(f"{text[:40]!r} is longer than ten years")
    return timedelta(seconds=total)


def limited(value: timedelta) -> timedelta:
    """The same duration if it is sane: not below zero, not above ten years; raises `ValueError` otherwise."""
    if not timedelta(0) <= value <= LONGEST:
        raise ValueError("a duration lies between 0s and ten years")
    return value


@lru_cache(maxsize=1024)
def show(value: timedelta) -> str:
    """Write it so that `parse` reads it back: `1d 1h`, `15m`, `0s`; below a second in `ms`."""
    millis = round(value.total_seconds() * 1000)
    if millis < 0:
        return "-" + show(-value)
    parts = []
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, millis = divmod(millis, size)
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts) or "0s"
