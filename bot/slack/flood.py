"""Token buckets per person and per workspace, before anything touches the database; floods are counted, not stored."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock

PERSON_BURST, PERSON_PER_SECOND = 20.0, 1.0
TEAM_BURST, TEAM_PER_SECOND = 2000.0, 500.0
MOST_SOURCES = 10_000
COUNTED_SECONDS = 60.0


@dataclass(slots=True)
class _Bucket:
    level: float
    at: float


class Flood:
    """Lets so many deliveries of one source through. Memory is bounded: the source seen longest ago is forgotten."""

    def __init__(
        self,
        person: tuple[float, float] = (PERSON_BURST, PERSON_PER_SECOND),
        team: tuple[float, float] = (TEAM_BURST, TEAM_PER_SECOND),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._person = person
        self._team = team
        self._now = monotonic
        self._lock = Lock()
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()
        self._refused: dict[str, int] = {}
        self._since = monotonic()

    def admit(self, account: str) -> float:
        """Zero when it may pass, else the seconds after which the person may try again."""
        team = account.partition("/")[0]
        now = self._now()
        with self._lock:
            wait = self._take(account, self._person, now) or self._take(team, self._team, now)
            if wait:
                self._count(account)
        return wait

    def refuse(self, source: str, why: str = "") -> None:
        """Count a delivery that was not listened to for another reason; `why` is one word, such as `foreign`."""
        with self._lock:
            self._count(f"{why} {source}".strip())

    def drain(self, *, now: bool = False) -> dict[str, int]:
        """Source -> how many were refused, once a minute (or `now`); counted anew from there.

        A source is an account or an address, with the reason in front where it was not its pace: `foreign slack:T1/U1`.
        """
        with self._lock:
            if not self._refused or (not now and self._now() - self._since < COUNTED_SECONDS):
                return {}
            refused, self._refused, self._since = self._refused, {}, self._now()
            return refused

    def _count(self, source: str) -> None:
        if not self._refused:
            self._since = self._now()
        if source not in self._refused and len(self._refused) >= MOST_SOURCES:
            source = "many-sources"
        self._refused[source] = self._refused.get(source, 0) + 1

    def _take(self, source: str, size: tuple[float, float], now: float) -> float:
        burst, per_second = size
        bucket = self._buckets.get(source)
        if bucket is None:
            while len(self._buckets) >= MOST_SOURCES:
                self._buckets.popitem(last=False)
            bucket = self._buckets[source] = _Bucket(burst, now)
        self._buckets.move_to_end(source)
        bucket.level = min(burst, bucket.level + (now - bucket.at) * per_second)
        bucket.at = now
        if bucket.level >= 1:
            bucket.level -= 1
            return 0.0
        return max(1.0, math.ceil((1 - bucket.level) / per_second))
