"""What may be sent to Slack now: edits per minute, a post per second and channel, pauses it asks for."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import TypeVar

EDITS_PER_MINUTE = 50
POST_SECONDS = 1.0
CARD_SECONDS = 2.5
LOG_SECONDS = 15.0
COPIED = "copy"
"""The form of a card's copy; there may be thirty of them."""
_SELDOM = frozenset({"log", "timeline", COPIED})
RESERVE = 0.2
"""The part of the edits that only urgent drawings may use."""
PUBLISHED_PER_MINUTE = 80
"""Home tabs; Slack takes a hundred, and modals come first."""
MOST_REMEMBERED = 5_000
Key = TypeVar("Key")


class Budget:
    """Answers in seconds: zero means now, and it is spent; anything else is when to ask again. Never waits itself."""

    def __init__(self, edits: int = EDITS_PER_MINUTE, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._edits = max(1, edits)
        self._now = monotonic
        self._spent: deque[float] = deque()
        self._published: deque[float] = deque()
        self._posts: dict[str, float] = {}
        self._drawn: dict[int, float] = {}
        self._held: dict[str, float] = {}

    def hold(self, method: str, seconds: float) -> None:
        """Slack said not before."""
        self._held[method] = max(self._held.get(method, 0.0), self._now() + seconds)

    def edit(self, drawing: int, form: str, *, urgent: bool) -> float:
        """May this message be edited?"""
        now = self._now()
        gap = LOG_SECONDS if form in _SELDOM else CARD_SECONDS
        wait = max(self._held.get("chat.update", 0.0) - now, self._drawn.get(drawing, float("-inf")) + gap - now)
        while self._spent and self._spent[0] <= now - 60.0:
            self._spent.popleft()
        allowed = self._edits if urgent else max(1, self._edits - int(self._edits * RESERVE))
        if len(self._spent) >= allowed:
            wait = max(wait, self._spent[len(self._spent) - allowed] + 60.0 - now)
        if wait > 0:
            return wait
        self._spent.append(now)
        _note(self._drawn, drawing, now)
        return 0.0

    def post(self, channel: str) -> float:
        """May a message be posted to this channel?"""
        now = self._now()
        last = self._posts.get(channel, float("-inf"))
        wait = max(self._held.get("chat.postMessage", 0.0), last + POST_SECONDS) - now
        if wait > 0:
            return wait
        _note(self._posts, channel, now)
        return 0.0

    def publish(self) -> float:
        """May a Home tab be published?"""
        now = self._now()
        while self._published and self._published[0] <= now - 60.0:
            self._published.popleft()
        wait = self._held.get("views.publish", 0.0) - now
        if len(self._published) >= PUBLISHED_PER_MINUTE:
            wait = max(wait, self._published[0] + 60.0 - now)
        if wait > 0:
            return wait
        self._published.append(now)
        return 0.0

    def call(self, method: str) -> float:
        """May this other method be called?"""
        return max(0.0, self._held.get(method, 0.0) - self._now())


def _note(times: dict[Key, float], key: Key, now: float) -> None:
    times.pop(key, None)
    while len(times) >= MOST_REMEMBERED:
        times.pop(next(iter(times)))
    times[key] = now
