"""A gateway's cache of public keys: refreshed when its time is up, never because a kid is unknown."""

import re
import threading
from typing import Any

import httpx
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from playground.estate.clock import VirtualClock
from playground.estate.faults import Faults

MAX_AGE = re.compile(r"max-age=(\d{1,9})")
KEY_LIMIT = 32


class JwksCache:
    """Keys by kid, as old as `max-age` allows. When a fetch fails the old keys stay and it tries again soon.

    `faults` may hold it back: `lagging` (never refreshes by itself), `slow_cache` (keeps keys that many times longer)
    and `ignores_removal` (a key once seen is good for ever).
    """

    def __init__(
        self, clock: VirtualClock, url: str, faults: Faults, http: httpx.Client, default_ttl: float = 900
    ) -> None:
        self._clock, self._url, self._faults, self._http = clock, url, faults, http
        self._ttl = default_ttl
        self._keys: dict[str, ECKey] = {}
        self._ever: dict[str, ECKey] = {}
        self._fetched_at: float | None = None
        self._tried_at = float("-inf")
        self._lock = threading.Lock()
        self.fetches = 0
        self.failures = 0

    @property
    def ttl(self) -> float:
        """How long keys are kept, in virtual seconds."""
        return self._ttl * float(self._faults.value("slow_cache"))

    @property
    def age(self) -> float | None:
        """Virtual seconds since the last good fetch; None before the first."""
        return None if self._fetched_at is None else max(0.0, self._clock.now() - self._fetched_at)

    @property
    def kids(self) -> list[str]:
        """The kids it says it knows."""
        return sorted(self._keys)

    def find(self, kid: str) -> ECKey | None:
        """The key to verify with, if it is known."""
        self.refresh_if_due()
        return self._keys.get(kid) or (self._ever.get(kid) if self._faults.value("ignores_removal") else None)

    def refresh_if_due(self) -> None:
        """Fetch when the keys are too old, at most every tenth of their life."""
        if self._fetched_at is not None and self._faults.value("lagging"):
            return
        if self._due():
            with self._lock:
                if self._due():
                    self._fetch()

    def refresh(self) -> bool:
        """Fetch now; whether it worked."""
        with self._lock:
            return self._fetch()

    def _due(self) -> bool:
        now = self._clock.now()
        old = self._fetched_at is None or now - self._fetched_at >= self.ttl
        return old and now - self._tried_at >= min(self.ttl / 10, 60.0)

    def _fetch(self) -> bool:
        self._tried_at = self._clock.now()
        self.fetches += 1
        try:
            answer = self._http.get(self._url)
            answer.raise_for_status()
            keys = _parse(answer.json())
        except (httpx.HTTPError, JoseError, ValueError):
            self.failures += 1
            return False
        found = MAX_AGE.search(answer.headers.get("Cache-Control", ""))
        if found:
            self._ttl = float(found.group(1))
        self._keys = keys
        self._ever = {**self._ever, **keys}
        # The age counts from before the request: what was fetched cannot be younger than that.
        self._fetched_at = self._tried_at
        return True


def _parse(body: Any) -> dict[str, ECKey]:
    listed = body.get("keys") if isinstance(body, dict) else None
    if not isinstance(listed, list) or len(listed) > KEY_LIMIT:
        raise ValueError("this is no key set")
    keys = {}
    for entry in listed:
        if isinstance(entry, dict) and entry.get("kty") == "EC" and entry.get("crv") == "P-256" and "d" not in entry:
            keys[str(entry.get("kid", ""))] = ECKey.import_key(entry)
    return keys
