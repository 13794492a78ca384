"""The playground's clock: real time, run faster from an anchor, the same in every program."""

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True)
class VirtualClock:
    """Turns real time into virtual time: `virtual = anchor + (real - anchor) * rate`, both in unix seconds."""

    rate: float = 1.0
    anchor: float = field(default_factory=time.time)

    def __post_init__(self) -> None:
        if not 0 < self.rate <= 1_000_000:
            raise ValueError(f"the rate must lie between 0 and a million, not {self.rate}")

    def now(self) -> float:
        """Virtual unix seconds."""
        return self.anchor + (time.time() - self.anchor) * self.rate

    def real(self, virtual_seconds: float) -> float:
        """How many real seconds a virtual duration takes."""
        return virtual_seconds / self.rate

    def iso(self) -> str:
        """Virtual now as text, for people."""
        return datetime.fromtimestamp(self.now(), UTC).isoformat(timespec="seconds")
