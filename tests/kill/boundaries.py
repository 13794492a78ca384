"""Finds the boundaries of a run by itself: every commit, every call over the network, every change of a file."""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, cast

import httpx
import urllib3
from sqlalchemy.engine import Connection

CHANGES = ("POST", "PUT", "PATCH", "DELETE")
FILE_CHANGES = ("replace", "rename", "symlink", "link", "unlink", "mkdir", "rmdir")


class Boundaries:
    """Names every crossing, and kills the process with SIGKILL at the one that it is told to die at ("": at none).

    A name holds step, attempt, what is crossed, and how often that was crossed before, such as
    `promote/1/after POST /api/v1/admin/keys/es256/promote#1`.
    """

    def __init__(self, die_at: str, crossed: Sequence[str] = ()) -> None:
        self.die_at = die_at
        self.names = list(crossed)
        """All so far, those of the life that this one continues included."""
        self.armed = False
        self.place = "begin/1"
        """Step and attempt under way."""
        self._seen = Counter(name.rpartition("#")[0] for name in crossed)
        self._turn = threading.Lock()

    def cross(self, what: str) -> None:
        """One more boundary; threads that work on several targets cross one after another."""
        if not self.armed:
            return
        with self._turn:
            name = f"{self.place}/{what}"
            self._seen[name] += 1
            self.names.append(f"{name}#{self._seen[name]}")
            if self.names[-1] == self.die_at:
                os.kill(os.getpid(), signal.SIGKILL)

    def install(self) -> None:
        """Put a boundary before and after everything that leaves the process."""
        self._wrap(Connection, "commit", lambda connection: "commit")
        self._wrap(
            httpx.HTTPTransport,
            "handle_request",
            lambda transport, request: f"{request.method} {_nameless(request.url.path)}",
        )
        self._wrap(urllib3.HTTPConnectionPool, "urlopen", lambda pool, method, url, *_, **__: _change(method, url))
        for name in FILE_CHANGES:
            self._wrap(os, name, lambda *paths, _name=name, **more: _name)

    def _wrap(self, owner: Any, attribute: str, name: Callable[..., str]) -> None:
        original = getattr(owner, attribute)

        def wrapped(*arguments: Any, **more: Any) -> Any:
            called = name(*arguments, **more)
            if not called:
                return original(*arguments, **more)
            self.cross(f"before {called}")
            answer = original(*arguments, **more)
            if isinstance(answer, httpx.Response):  # the server has done its work; the answer is lost with us
                stream = cast(httpx.SyncByteStream, answer.stream)
                answer.stream = httpx.ByteStream(b"".join(stream))
                stream.close()
            self.cross(f"after {called}")
            return answer

        setattr(owner, attribute, wrapped)


def _change(method: str, url: str) -> str:
    """A call of a vendor's client that changes something; what only looks is no boundary, and neither is a question."""
    path = url.partition("?")[0]
    return f"{method} {path}" if method in CHANGES and "accessreviews" not in path else ""


def _nameless(path: str) -> str:
    """A path without the ids of keys: those differ from run to run."""
    return "/".join(
        piece.partition("-")[0] if piece.startswith(("es256-", "ak-")) else piece for piece in path.split("/")
    )
