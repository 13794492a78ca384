"""An issuer of keys and the consumers that know them, behind one slow API: `python -m benchmarks.fleet <json>`.

Every answer takes `delay` seconds, a restart `restart` seconds more. A consumer accepts the keys that were enabled when
it last restarted, and what it was pointed at since. The process prints one line of JSON when it is ready, and one more
each time the key that it began with is deleted. Times are of the machine's monotonic clock.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

FIRST = "key-0"
Told = tuple[int, Any]


@dataclass(slots=True)
class Consumer:
    """A program that lets callers in by key."""

    key: str = FIRST
    accepts: set[str] = field(default_factory=lambda: {FIRST})
    refused_at: float | None = None
    """When it first refused the key that it began with."""


class Fleet:
    """The state, and what each call does to it."""

    def __init__(self, consumers: int, delay: float, restart: float) -> None:
        self.names = [f"c{n}" for n in range(consumers)]
        self.delay, self.restart_seconds = delay, restart
        self.reset()

    def reset(self) -> dict[str, Any]:
        """As it was at the start."""
        self.keys = {FIRST: True}
        self.made: dict[str, str] = {}
        self.consumers = {name: Consumer() for name in self.names}
        self.disabled_at: float | None = None
        self.calls = 0
        self.first_at = 0.0
        return {}

    def timeline(self) -> dict[str, Any]:
        """What happened when."""
        refused = [one.refused_at for one in self.consumers.values()]
        return {
            "calls": self.calls,
            "first_at": self.first_at,
            "disabled_at": self.disabled_at,
            "refused_at": None if None in refused else max(at for at in refused if at is not None),
            "keys": self.keys,
        }

    async def answer(self, method: str, path: str, body: bytes) -> Told:
        """One call, after its delay."""
        self.first_at = self.first_at or time.perf_counter()
        self.calls += 1
        await asyncio.sleep(self.delay)
        given = json.loads(body) if body[:1] == b"{" else {}
        parts = [part for part in path.split("/") if part]
        return self._iam(body) if not parts else await self._do(method, parts, given)

    async def _do(self, method: str, parts: list[str], given: dict[str, Any]) -> Told:
        match method, parts:
            case "GET", ["keys"]:
                return 200, {"keys": self.keys, "first": FIRST}
            case "POST", ["keys"]:
                return 201, {"id": self._make(str(given["marker"]))}
            case "POST", ["keys", name, "disable"]:
                return self._disable(name)
            case "DELETE", ["keys", name]:
                return self._delete(name)
            case (("PATCH" | "PUT"), ["consumers", name]):
                one = self.consumers[name]
                one.key = str(given["key"])
                one.accepts.add(one.key)
                return 200, {"key": one.key}
            case "POST", ["consumers", name, "restart"]:
                return await self._restart(self.consumers[name])
            case "GET", ["consumers", name]:
                one = self.consumers[name]
                return 200, {"key": one.key, "accepts": sorted(one.accepts)}
        return 404, {"error": "not_found"}

    def _make(self, marker: str) -> str:
        name = self.made.setdefault(marker, f"key-{len(self.made) + 1}")
        self.keys[name] = True
        return name

    def _disable(self, name: str) -> Told:
        if name == FIRST:
            self.disabled_at = time.perf_counter()
        self.keys[name] = False
        return 200, {"id": name}

    def _delete(self, name: str) -> Told:
        self.keys.pop(name, None)
        if name == FIRST:
            print(json.dumps({"deleted": FIRST}), flush=True)
        return 200, {"id": name}

    async def _restart(self, one: Consumer) -> Told:
        await asyncio.sleep(self.restart_seconds)
        one.accepts = {name for name, enabled in self.keys.items() if enabled}
        if FIRST not in one.accepts and one.refused_at is None:
            one.refused_at = time.perf_counter()
        return 200, {"up": True}

    def _iam(self, body: bytes) -> Told:
        """The three calls of AWS's IAM, as its command line sends them."""
        form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        action = form.get("Action", "")
        if action == "CreateAccessKey":
            name = self._make(form["UserName"])
        else:
            name = FIRST
            self._disable(FIRST) if action == "UpdateAccessKey" else self._delete(FIRST)
        key = f"<AccessKey><UserName>u</UserName><AccessKeyId>{name}</AccessKeyId><Status>Active</Status></AccessKey>"
        inner = f"<{action}Result>{key}</{action}Result>" if action == "CreateAccessKey" else ""
        space = "https://iam.amazonaws.com/doc/2010-05-08/"
        return 200, f'<{action}Response xmlns="{space}">{inner}</{action}Response>'


async def serve(fleet: Fleet) -> None:
    """Answer on loopback until standard input ends."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await _one(fleet, reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, backlog=256)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    server.close()


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    """A body of unknown length, as kubectl sends it."""
    body = b""
    while size := int(await reader.readuntil(b"\r\n"), 16):
        body += (await reader.readexactly(size + 2))[:-2]
    await reader.readuntil(b"\r\n")
    return body


async def _one(fleet: Fleet, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Read and answer one request; whether the connection stays open."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.split("\r\n")
    method, target, _ = first.split(" ", 2)
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
    chunked = headers.get("transfer-encoding", "") == "chunked"
    body = await (_chunks(reader) if chunked else reader.readexactly(int(headers.get("content-length", "0"))))
    path = urlsplit(target).path
    # Some builds of kubectl ask for the version first; that is neither delayed nor counted.
    control: dict[str, Callable[[], Any]] = {"/timeline": fleet.timeline, "/reset": fleet.reset, "/version": dict}
    answered: Awaitable[Told] | None = None if path in control else fleet.answer(method, path, body)
    status, told = (200, control[path]()) if answered is None else await answered
    payload = told.encode() if isinstance(told, str) else json.dumps(told).encode()
    kind = "text/xml" if isinstance(told, str) else "application/json"
    writer.write(
        f"HTTP/1.1 {status} OK\r\nContent-Type: {kind}\r\nContent-Length: {len(payload)}\r\n\r\n".encode() + payload
    )
    await writer.drain()
    return headers.get("connection", "").lower() != "close"


if __name__ == "__main__":
    asyncio.run(serve(Fleet(**json.loads(sys.argv[1]))))
