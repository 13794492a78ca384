"""Finds the boundaries of a run by itself: every commit, every call over the network, every change of a file."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import httpx
from sqlalchemy.engine import Connection

FILE_CHANGES = ("replace", "rename", "symlink", "link", "unlink", "mkdir", "rmdir")


def to_visit(names: list[str]) -> list[int]:
    """Numbers of the crossings to die at.

    A wait looks again and again, and each look crosses the same boundaries: of a step's looks the first two and the
    last are visited, everything else without exception.
    """
    attempts: dict[str, list[int]] = {}
    for name in names:
        step, attempt, _ = name.split("/", 2)
        attempts.setdefault(step, []).append(int(attempt))
    chosen = {step: {min(seen), min(seen) + 1, max(seen)} for step, seen in attempts.items()}
    return [
        number
        for number, name in enumerate(names, start=1)
        if int(name.split("/", 2)[1]) in chosen[name.split("/", 2)[0]]
    ]


class Boundaries:
    """Counts crossings and kills the process with SIGKILL at the one it is told to die at (0: none)."""

    def __init__(self, die_at: int) -> None:
        self.die_at = die_at
        self.names: list[str] = []
        self.armed = False
        self.place = "begin/1"
        """Step and attempt under way."""

    def cross(self, name: str) -> None:
        """One more boundary."""
        if not self.armed:
            return
        self.names.append(f"{self.place}/{name}")
        if len(self.names) == self.die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def install(self) -> None:
        """Put a boundary before and after everything that leaves the process."""
        self._wrap(Connection, "commit", lambda connection: "commit")
        self._wrap(
            httpx.HTTPTransport,
            "handle_request",
            lambda transport, request: f"{request.method} {request.url.path}",
        )
        for name in FILE_CHANGES:
            self._wrap(os, name, lambda *paths, _name=name, **more: _name)

    def _wrap(self, owner: Any, attribute: str, name: Callable[..., str]) -> None:
        original = getattr(owner, attribute)

        def wrapped(*arguments: Any, **more: Any) -> Any:
            called = name(*arguments, **more)
            self.cross(f"before {called}")
            answer = original(*arguments, **more)
            if isinstance(answer, httpx.Response):
                answer.read()  # the server has done its work; the answer is lost with us
            self.cross(f"after {called}")
            return answer

        setattr(owner, attribute, wrapped)
