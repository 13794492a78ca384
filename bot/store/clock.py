"""The one clock: the database's time, times a rate, plus an offset."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from threading import Lock


class Clock:
    """Turns the database's now into the engine's now.

    now = anchor + (database now - anchor) * rate + offset, always in UTC. A rate other than 1 needs an anchor that all
    processes share; a simulated year moves the offset with `advance`.
    """

    def __init__(self, rate: float = 1.0, anchor: datetime | None = None, offset: timedelta = timedelta(0)) -> None:
        if rate <= 0:
            raise ValueError("the clock's rate must be above zero")
        if rate != 1.0 and anchor is None:
            raise ValueError("a clock that does not run at rate 1 needs an anchor")
        if anchor is not None and anchor.tzinfo is None:
            raise ValueError("the clock's anchor needs a time zone")
        self.rate = rate
        self.anchor = anchor.astimezone(UTC) if anchor is not None else None
        self._offset = offset
        self._lock = Lock()

    @property
    def offset(self) -> timedelta:
        """How far this clock was moved."""
        return self._offset

    def at(self, moment: datetime) -> datetime:
        """The engine's time at a moment of the database's clock."""
        if self.anchor is not None and self.rate != 1.0:
            moment = self.anchor + (moment - self.anchor) * self.rate
        return (moment + self._offset).astimezone(UTC)

    def real(self, delay: timedelta) -> float:
        """Seconds that really pass while the engine's clock moves by `delay`; never below zero."""
        return max(0.0, delay.total_seconds() / self.rate)

    def advance(self, by: timedelta) -> None:
        """Move the clock, in tests and simulations."""
        with self._lock:
            self._offset += by
