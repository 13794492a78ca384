"""Slack's side of the wire, as small as it can be: a Web API that says yes, a websocket pump, an HTTP pump."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from benchmarks.deliveries import TEAM, Payload, envelope, request

PATIENCE = 20.0
API_SECONDS = 0.1
"""What Slack's Web API takes, roughly; a modal that opened at once would take the processor from the next ack."""
Make = Callable[[], Payload]


@dataclass
class Burst:
    """One round: so many in flight until the time is over."""

    make: Make
    ends: float
    pause: float
    sent: dict[str, float] = field(default_factory=dict)
    laps: list[float] = field(default_factory=list)
    over: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True)
class Laps:
    """Round trips in ms, and how many a second."""

    laps: list[float]
    per_second: float


class SlackSide:
    """Several apps may connect at once; each has its own name, which stands in its addresses."""

    def __init__(self) -> None:
        self._stack = AsyncExitStack()
        self._sockets: dict[str, ServerConnection] = {}
        self._bursts: dict[str, Burst] = {}
        self._ids = itertools.count()
        self._api_port = self._socket_port = 0

    async def __aenter__(self) -> SlackSide:
        server = await self._stack.enter_async_context(serve(self._talk, "127.0.0.1", 0, compression=None))
        self._socket_port = next(iter(server.sockets)).getsockname()[1]
        api = await self._stack.enter_async_context(await asyncio.start_server(self._answer, "127.0.0.1", 0))
        self._api_port = api.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stack.aclose()

    def api_url(self, name: str) -> str:
        """What the app of this name takes for Slack's Web API."""
        return f"http://127.0.0.1:{self._api_port}/{name}/api/"

    async def connected(self, name: str) -> None:
        """Wait until the app's socket is there."""
        until = time.monotonic() + PATIENCE
        while name not in self._sockets:
            if time.monotonic() > until:
                raise TimeoutError(f"{name} did not connect")
            await asyncio.sleep(0.01)

    async def pump_socket(self, name: str, make: Make, in_flight: int, seconds: float, pause: float = 0.0) -> Laps:
        """Keep so many envelopes unacknowledged; `pause` is what one waits between an answer and the next."""
        burst = self._bursts[name] = Burst(make, time.perf_counter() + seconds, pause)
        began = time.perf_counter()
        for _ in range(in_flight):
            await self._send(self._sockets[name], burst)
        await asyncio.wait_for(burst.over.wait(), seconds + PATIENCE)
        return Laps(burst.laps, len(burst.laps) / (time.perf_counter() - began))

    async def _send(self, socket: ServerConnection, burst: Burst) -> None:
        name = f"envelope-{next(self._ids)}"
        text = envelope(burst.make(), name)
        burst.sent[name] = time.perf_counter()
        await socket.send(text)

    async def _talk(self, socket: ServerConnection) -> None:
        assert socket.request is not None
        name = socket.request.path.strip("/").partition("?")[0]
        await socket.send(json.dumps({"type": "hello", "num_connections": 1, "debug_info": {"host": "applink"}}))
        self._sockets[name] = socket
        with suppress(ConnectionClosed):  # the app has ended
            async for text in socket:
                await self._heard(socket, self._bursts[name], json.loads(text)["envelope_id"])

    async def _heard(self, socket: ServerConnection, burst: Burst, name: str) -> None:
        now = time.perf_counter()
        burst.laps.append((now - burst.sent.pop(name)) * 1000)
        if now < burst.ends:
            if burst.pause:
                await asyncio.sleep(burst.pause)
            await self._send(socket, burst)
        elif not burst.sent:
            burst.over.set()

    async def pump_http(self, port: int, make: Make, in_flight: int, seconds: float, pause: float = 0.0) -> Laps:
        """Keep so many requests unanswered, each on a kept connection."""
        laps: list[float] = []
        began = time.perf_counter()

        async def one() -> None:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            while time.perf_counter() < began + seconds:
                data = request(make())
                sent = time.perf_counter()
                writer.write(data)
                head = await reader.readuntil(b"\r\n\r\n")
                if not head.startswith(b"HTTP/1.1 200"):
                    raise RuntimeError(f"answered {head.splitlines()[0]!r}")
                await reader.readexactly(_length(head))
                laps.append((time.perf_counter() - sent) * 1000)
                if pause:
                    await asyncio.sleep(pause)
            writer.close()

        await asyncio.wait_for(asyncio.gather(*(one() for _ in range(in_flight))), seconds + PATIENCE)
        return Laps(laps, len(laps) / (time.perf_counter() - began))

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(_length(head))
        name, _, method = head.split(b" ", 2)[1].decode().strip("/").partition("/api/")
        if method.startswith("views."):
            await asyncio.sleep(API_SECONDS)
        body = json.dumps(self._says(name, method)).encode()
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: "
            + str(len(body)).encode()
            + b"\r\n\r\n"
            + body
        )
        await writer.drain()
        writer.close()

    def _says(self, name: str, method: str) -> dict[str, Any]:
        match method:
            case "apps.connections.open":
                return {"ok": True, "url": f"ws://127.0.0.1:{self._socket_port}/{name}"}
            case "auth.test":
                return {"ok": True, "team_id": TEAM, "user_id": "U0KEYTURN", "bot_id": "B0KEYTURN"}
            case "users.info":
                return {"ok": True, "user": {"id": "U0ALICE", "team_id": TEAM, "name": "alice", **_MEMBER}}
        return {"ok": True, "ts": "1795214400.000200"}


_MEMBER = {"deleted": False, "is_bot": False, "is_restricted": False, "is_ultra_restricted": False}


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    return 0
