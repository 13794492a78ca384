"""Counters of a gateway and of the clients: totals, last sightings, and successes and failures over a window."""

import threading
from collections import deque
from typing import Any

from playground.estate.clock import VirtualClock
from playground.estate.server import Problem, Request

BUCKET = 15.0
KEPT = 24 * 3600.0
STRANGERS = 32


class Window:
    """Successes and failures of the last day of virtual time, in buckets of 15 virtual seconds."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self._buckets: deque[list[float]] = deque()
        self._lock = threading.Lock()

    def count(self, good: bool) -> None:
        """One more."""
        now = self._clock.now()
        start = now - now % BUCKET
        with self._lock:
            if not self._buckets or self._buckets[-1][0] < start:
                self._buckets.append([start, 0, 0])
            self._buckets[-1][1 if good else 2] += 1
            while self._buckets[0][0] < now - KEPT:
                self._buckets.popleft()

    def sums(self, seconds: float) -> tuple[int, int]:
        """Successes and failures of the last virtual `seconds`."""
        since = self._clock.now() - seconds - BUCKET
        with self._lock:
            recent = [bucket for bucket in self._buckets if bucket[0] > since]
        return int(sum(bucket[1] for bucket in recent)), int(sum(bucket[2] for bucket in recent))


def window_asked(request: Request) -> float:
    """The window that a caller of `/stats?over=seconds` asks for, an hour if it does not say."""
    try:
        over = float(request.query.get("over", "3600"))
    except ValueError:
        over = 0.0
    if not 0 < over <= KEPT:
        raise Problem(422, "invalid_window", f"over must be between 0 and {KEPT:g} seconds")
    return over


class KeyTally:
    """Accepted and refused uses per key. Names come from outside, so strangers are remembered up to a limit."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self._keys: dict[str, dict[str, Any]] = {}
        self._lock = threading.Lock()

    def count(self, key: str, accepted: bool) -> None:
        """One more use of a key."""
        key = key[:64]
        now = self._clock.now()
        with self._lock:
            if key not in self._keys and not accepted and len(self._keys) >= STRANGERS:
                key = "others"
            entry = self._keys.setdefault(key, {"accepted": 0, "refused": 0, "last_seen": None, "last_refused": None})
            entry["accepted" if accepted else "refused"] += 1
            entry["last_seen" if accepted else "last_refused"] = now

    def show(self) -> dict[str, dict[str, Any]]:
        """{key: {accepted, refused, last_seen, last_refused}}."""
        with self._lock:
            return {key: dict(entry) for key, entry in self._keys.items()}
