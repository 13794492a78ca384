"""What this process works on right now: whatever the database says it runs beyond that was lost on the way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from bot.contracts.delivery import Leg


class UnderWay:
    """Rotations and intents that a thread of this process holds. Read the database first, then ask here."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._held: Counter[tuple[bool, int]] = Counter()

    @contextmanager
    def working(self, leg: Leg) -> Iterator[None]:
        """Hold the leg's rotation or intent; enter before it is begun in the database."""
        key = (leg.step is None, leg.number)
        with self._lock:
            self._held[key] += 1
        try:
            yield
        finally:
            with self._lock:
                self._held[key] -= 1
                if not self._held[key]:
                    del self._held[key]

    def has_rotation(self, number: int) -> bool:
        """Whether a leg of this rotation runs here."""
        with self._lock:
            return (False, number) in self._held

    def has_intent(self, number: int) -> bool:
        """Whether this intent is worked off here."""
        with self._lock:
            return (True, number) in self._held
