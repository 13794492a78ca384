"""What one person's page shows: people, conversations, messages, modals and the Home tab, and what changed in them."""

from __future__ import annotations

from typing import Any

from playground.workspace.seed import User
from playground.workspace.state import State

Json = dict[str, Any]


class Live:
    """One page's knowledge of the workspace; `news()` is what it does not know yet."""

    def __init__(self, state: State, user: User) -> None:
        self._state = state
        self._user = user
        self._seen = -1

    def news(self) -> Json:
        """Everything that changed since the last time."""
        with self._state.lock:
            self._seen = self._state.version
            return {"version": self._seen, "user": self._user.id}
