"""What carries work to a worker: a leg names it, never holds it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Leg:
    """One dispatch: a step of a rotation with its attempt, or (`step` None) a stored intent by its number."""

    number: int
    step: int | None = None
    attempt: int = 0


class Delivery(Protocol):
    """The port. `enqueue` belongs to the transaction that changed the state; what it promised survives a crash."""

    def enqueue(self, connection: Any, leg: Leg) -> None:
        """Hand the leg over when, and only when, the connection's transaction commits."""
        ...

    def start(self, run: Callable[[Leg], None], workers: int) -> None:
        """Begin to deliver; `run` never raises. Legs found from before a crash come first."""
        ...

    def stop(self, within: float) -> None:
        """Take nothing new, and let running legs finish for so many seconds."""
        ...
