"""Socket Mode: tickets, hello, envelopes, acknowledgements, recycling."""

from __future__ import annotations

import asyncio
import json
import secrets
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from playground.workspace.records import Delivery
from playground.workspace.seed import APP_ID
from playground.workspace.state import State
from playground.workspace.transports import Transports

MOST_SOCKETS = 10
TICKET_SECONDS = 30.0
ACK_SECONDS = 3.0
Json = dict[str, Any]


@dataclass(frozen=True)
class Carried:
    """What became of one attempt: acknowledged with a payload, or the reason why not."""

    ok: bool
    payload: Json = field(default_factory=dict)
    reason: str = ""
    via: str = ""
    status: int = 0
    """Of the app's HTTP answer; 0 over a socket, and where there was none."""


@dataclass(eq=False)
class AppSocket:
    """One connection of the app. `leaving` sockets get nothing new; `frozen` ones look alive and are not."""

    websocket: WebSocket
    name: str
    pending: dict[str, list[asyncio.Future[Json]]] = field(default_factory=dict)
    leaving: bool = False
    frozen: bool = False

    @property
    def peer(self) -> tuple[str, int]:
        """The address of the app's end."""
        client = self.websocket.client
        return (client.host, client.port) if client else ("", 0)


class SocketMode:
    """The sockets of the app. Each payload goes to one of them, in turn."""

    def __init__(self, state: State, transports: Transports) -> None:
        self.state = state
        self.transports = transports
        self.sockets: list[AppSocket] = []
        self.base_url = ""
        self.closed = False
        self._tickets: dict[str, float] = {}
        self._issued: set[str] = set()
        self._turn = 0
        self._background: set[asyncio.Task[None]] = set()

    def new_url(self) -> str:
        """A fresh address, good for one connection within half a minute."""
        ticket = str(uuid4())
        self._tickets[ticket] = self.state.now() + TICKET_SECONDS
        return f"{self.base_url}/link/?ticket={ticket}&app_id={APP_ID}"

    async def serve(self, websocket: WebSocket) -> None:
        """One connection, from handshake to end."""
        expires = self._tickets.pop(websocket.query_params.get("ticket", ""), 0.0)
        if self.closed or expires < self.state.now():
            await websocket.close(1008)
            return
        await websocket.accept()
        if len(self.sockets) >= MOST_SOCKETS:
            await websocket.send_json({"type": "disconnect", "reason": "too_many_websockets"})
            await websocket.close(1000)
            return
        socket = AppSocket(websocket, f"applink-{secrets.token_hex(3)}")
        await websocket.send_json(
            {
                "type": "hello",
                "num_connections": len(self.sockets) + 1,
                "debug_info": {"host": socket.name, "build_number": 1, "approximate_connection_time": 18060},
                "connection_info": {"app_id": APP_ID},
            }
        )
        with self.state.changing():
            self.sockets.append(socket)
        try:
            while True:
                self._receive(socket, await websocket.receive_text())
        except WebSocketDisconnect:
            pass
        finally:
            self._forget(socket)

    def _forget(self, socket: AppSocket) -> None:
        with self.state.changing():
            if socket in self.sockets:
                self.sockets.remove(socket)
        for waiting in [one for several in socket.pending.values() for one in several]:
            if not waiting.done():
                waiting.set_exception(ConnectionError("socket_closed"))

    def _receive(self, socket: AppSocket, text: str) -> None:
        try:
            frame = json.loads(text)
            envelope_id = frame["envelope_id"]
        except (ValueError, TypeError, KeyError):
            self.state.complain("a socket sent a frame that is no acknowledgement")
            return
        payload = frame.get("payload") or {}
        for waiting in socket.pending.pop(envelope_id, []):
            if not waiting.done():
                waiting.set_result(payload if isinstance(payload, dict) else {"text": str(payload)})
        if envelope_id not in self._issued:
            self.state.complain(f"a socket acknowledged an envelope that was never sent: {envelope_id}")

    async def carry(
        self, delivery: Delivery, envelope_id: str, retry: int, reason: str, *, drop: bool = False
    ) -> Carried:
        """Send an envelope to one socket and wait for its acknowledgement."""
        socket = self._pick()
        if socket is None:
            return Carried(False, reason="not_connected")
        envelope: Json = {
            "envelope_id": envelope_id,
            "payload": delivery.payload,
            "type": delivery.kind,
            "accepts_response_payload": delivery.answerable,
        }
        if delivery.kind == "events_api":
            envelope |= {"retry_attempt": retry, "retry_reason": reason}
        self._issued.add(envelope_id)
        waiting: asyncio.Future[Json] = asyncio.get_running_loop().create_future()
        socket.pending.setdefault(envelope_id, []).append(waiting)
        try:
            if not socket.frozen:
                await socket.websocket.send_text(json.dumps(envelope))
            if drop:
                self.transports.finish(socket.peer)
            payload = await asyncio.wait_for(waiting, ACK_SECONDS)
        except TimeoutError:
            return Carried(False, reason="timeout", via=socket.name)
        except (ConnectionError, RuntimeError, WebSocketDisconnect):
            return Carried(False, reason="socket_closed", via=socket.name)
        if payload and not delivery.answerable:
            self.state.complain(f"{delivery.label} was acknowledged with a payload that Slack does not read")
        return Carried(True, payload, via=socket.name)

    def _pick(self) -> AppSocket | None:
        ready = [one for one in self.sockets if not one.leaving] or self.sockets
        ready = [one for one in ready if one.websocket.application_state is WebSocketState.CONNECTED]
        if not ready:
            return None
        self._turn += 1
        return ready[self._turn % len(ready)]

    def spoil(self, what: str) -> None:
        """Do something to every socket: drop, freeze, warning, refresh_requested. To be called on the loop."""
        for socket in list(self.sockets):
            if what == "drop":
                self.transports.abort(socket.peer)
            elif what == "freeze":
                socket.frozen = True
                self.transports.freeze(socket.peer)
            else:
                task = asyncio.ensure_future(self._recycle(socket, what))
                self._background.add(task)
                task.add_done_callback(self._background.discard)

    async def _recycle(self, socket: AppSocket, reason: str) -> None:
        """Tell a socket that it will be closed, and close it once the app has another, or after a while."""
        try:
            await socket.websocket.send_json(
                {"type": "disconnect", "reason": reason, "debug_info": {"host": socket.name}}
            )
            socket.leaving = True
            for _ in range(100):
                if any(not one.leaving for one in self.sockets) and not socket.pending:
                    break
                await asyncio.sleep(0.02)
            await socket.websocket.close(1000)
        except (RuntimeError, WebSocketDisconnect):
            return  # the app hung up first, as it should
