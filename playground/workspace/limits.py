"""How often each method may be called: token buckets by tier, and one message per second and channel."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from playground.workspace.contract import PER_MINUTE, Method

POST_BURST = 4
POSTS_PER_MINUTE = 300
"""Messages per minute of the whole workspace, beside the one per second and channel."""


@dataclass
class _Bucket:
    level: float
    filled_at: float


@dataclass
class RateLimits:
    """The buckets. `factor` widens every limit (2.0 is twice as many calls); 0 switches them off."""

    now: Callable[[], float]
    factor: float = 1.0
    _buckets: dict[str, _Bucket] = field(default_factory=dict)

    def wait(self, method: Method, channel: str = "") -> int:
        """Count a call: 0 when it may pass, else the whole seconds of Retry-After."""
        if not self.factor:
            return 0
        if method.tier != "post":
            per_minute = PER_MINUTE[method.tier]
            return self._take(method.name, per_minute, per_minute / 60)
        return self._take(f"{method.name} {channel}", POST_BURST, 1.0) or self._take(
            method.name, POSTS_PER_MINUTE, POSTS_PER_MINUTE / 60
        )

    def _take(self, key: str, size: float, per_second: float) -> int:
        now, size, per_second = self.now(), size * self.factor, per_second * self.factor
        bucket = self._buckets.setdefault(key, _Bucket(size, now))
        bucket.level = min(size, bucket.level + (now - bucket.filled_at) * per_second)
        bucket.filled_at = now
        if bucket.level >= 1:
            bucket.level -= 1
            return 0
        return max(1, math.ceil((1 - bucket.level) / per_second))
