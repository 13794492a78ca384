"""The HTTP and WebSocket face of the workspace: Web API, sockets, response URLs, the page and its control surface."""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path
from typing import Any, Protocol

import httpx
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request as HttpRequest
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket

from playground.workspace import respond
from playground.workspace.contract import METHODS
from playground.workspace.faults import Faults, WebFault
from playground.workspace.seed import TEAM_ID
from playground.workspace.sockets import SocketMode
from playground.workspace.state import State
from playground.workspace.transports import Transports
from playground.workspace.webapi import Api, Refusal, Request, read_arguments

PAGE = Path(__file__).parent / "page"
MOST_BODY = 2_000_000
Json = dict[str, Any]


class Control(Protocol):
    """What the page and other processes can ask for."""

    async def act(self, action: str, options: Json) -> Json:
        """Do one thing; the answer has `ok`."""

    async def live(self, websocket: WebSocket) -> None:
        """Tell a page of every change, until it goes away."""


class Server:
    """Everything that listens."""

    def __init__(
        self,
        *,
        state: State,
        api: Api,
        sockets: SocketMode,
        faults: Faults,
        transports: Transports,
        control: Control,
        strip_url: str | None = None,
    ) -> None:
        self.state = state
        self.api = api
        self.sockets = sockets
        self.faults = faults
        self.transports = transports
        self.control = control
        self.strip_url = strip_url
        self.closing = asyncio.Event()
        self.app = Starlette(
            routes=[
                Route("/api/{method}", self._api, methods=["GET", "POST"]),
                WebSocketRoute("/link/", self._link),
                Route("/response/{team}/{key}", self._respond, methods=["POST"]),
                Route("/control/{action}", self._control, methods=["POST"]),
                WebSocketRoute("/live", self._live),
                Route("/strip", self._strip),
                Route("/", self._index),
                Route("/archives/{channel}/{message}", self._index),
                Mount("/page", StaticFiles(directory=PAGE)),
            ]
        )

    # --- the app's side ---

    async def _api(self, request: HttpRequest) -> Response:
        name = request.path_params["method"]
        body = await request.body()
        if self.faults.outage is not None:
            self.api.log(name, {}, {"outage": self.faults.outage}, 0 if self.faults.outage == "cut" else 503)
            return self._cut(request) if self.faults.outage == "cut" else PlainTextResponse("down", 503)
        if len(body) > MOST_BODY:
            return PlainTextResponse("request too large", 413)
        call = Request(request.method, request.headers, request.url.query, body)
        fault = self.faults.next_web(name, _channel_of(name, call))
        if fault and not fault.done and (spoiled := await self._spoiled(fault, name, request)) is not None:
            return spoiled
        self.faults.pass_moment(name, after=False)
        answer = self.api.answer(name, call)
        self.faults.pass_moment(name, after=True)
        if fault and fault.cut == "after":
            return self._cut(request)
        if fault and fault.done and (spoiled := await self._spoiled(fault, name, request)) is not None:
            return spoiled
        return JSONResponse(answer.body, answer.status, answer.headers)

    async def _spoiled(self, fault: WebFault, name: str, request: HttpRequest) -> Response | None:
        """What a fault answers instead of the call, if it does not let the answer through."""
        if fault.hang:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.closing.wait(), fault.hang)
        if fault.cut == "before":
            self._note(fault, name, {"fault": "cut"}, 0)
            return self._cut(request)
        if fault.status == 429 or fault.error == "ratelimited":
            body = {"ok": False, "error": "ratelimited"}
            self._note(fault, name, body, 429)
            return JSONResponse(body, 429, {"retry-after": str(fault.retry_after or 1)})
        if fault.status:
            self._note(fault, name, {"fault": fault.status}, fault.status)
            return PlainTextResponse("upstream trouble", fault.status)
        if fault.error:
            refusal: Json = {"ok": False, "error": fault.error}
            if fault.error == "missing_scope":
                needed = METHODS[name].scopes if name in METHODS else ()
                refusal |= {"needed": ",".join(needed), "provided": ",".join(sorted(self.state.app.scopes))}
            self._note(fault, name, refusal, 200)
            return JSONResponse(refusal)
        return None

    def _note(self, fault: WebFault, name: str, body: Json, status: int) -> None:
        """Write down a call that a fault answered, unless it was written down when its work was done."""
        if not fault.done:
            self.api.log(name, {}, body, status)

    async def _link(self, websocket: WebSocket) -> None:
        if self.faults.outage is not None:
            await websocket.close(1013)
            return
        await self.sockets.serve(websocket)

    def _cut(self, request: HttpRequest) -> Response:
        client = request.client
        if client is not None:
            self.transports.abort((client.host, client.port))
        return Response(status_code=503)

    async def _respond(self, request: HttpRequest) -> Response:
        if self.faults.outage is not None:
            return self._cut(request) if self.faults.outage == "cut" else PlainTextResponse("down", 503)
        fault = self.faults.next_web("response_url")
        if fault and not fault.done and (spoiled := await self._spoiled(fault, "response_url", request)) is not None:
            return spoiled
        try:
            body = json.loads(await request.body())
        except ValueError:
            return PlainTextResponse("invalid_payload", 400)
        if request.path_params["team"] != TEAM_ID:
            return PlainTextResponse("no_team", 404)
        status, text = respond.use(self.state, request.path_params["key"], body)
        shown = {"ok": True} if status == 200 else json.loads(text)
        self.api.log("response_url", body if isinstance(body, dict) else {}, shown, status)
        if fault and fault.cut == "after":
            return self._cut(request)
        if fault and fault.done and (spoiled := await self._spoiled(fault, "response_url", request)) is not None:
            return spoiled
        return PlainTextResponse(text, status)

    # --- the person's side ---

    async def _control(self, request: HttpRequest) -> Response:
        _refuse_foreign(request.headers.get("host", ""), request.headers.get("origin"))
        if not request.headers.get("content-type", "").startswith("application/json"):
            raise HTTPException(415, "JSON, please")
        try:
            options = json.loads(await request.body() or b"{}")
        except ValueError as error:
            raise HTTPException(400, "not JSON") from error
        if not isinstance(options, dict):
            raise HTTPException(400, "an object, please")
        return JSONResponse(await self.control.act(request.path_params["action"], options))

    async def _live(self, websocket: WebSocket) -> None:
        try:
            _refuse_foreign(websocket.headers.get("host", ""), websocket.headers.get("origin"))
        except HTTPException:
            await websocket.close(1008)
            return
        await self.control.live(websocket)

    async def _strip(self, request: HttpRequest) -> Response:
        """The estate's figures, when the workspace was told where to find them."""
        if self.strip_url is None:
            return JSONResponse({"configured": False})
        try:
            async with httpx.AsyncClient(timeout=2.0, trust_env=False) as client:
                response = await client.get(self.strip_url)
                stats = response.json()
        except (httpx.HTTPError, ValueError):
            return JSONResponse({"configured": True, "reachable": False})
        if not isinstance(stats, dict):
            return JSONResponse({"configured": True, "reachable": False})
        return JSONResponse({**stats, "configured": True, "reachable": True})

    async def _index(self, request: HttpRequest) -> Response:
        return FileResponse(
            PAGE / "index.html",
            headers={
                "content-security-policy": "default-src 'self'; img-src * data:; style-src 'self' 'unsafe-inline'",
                "cache-control": "no-store",
            },
        )


def _channel_of(name: str, call: Request) -> str:
    """The channel that a call is about, as far as it can be read."""
    try:
        arguments, _ = read_arguments(name, call)
    except Refusal:
        return ""
    return str(arguments.get("channel") or arguments.get("channel_id") or "")


def _refuse_foreign(host: str, origin: str | None) -> None:
    """Let only pages of this very server act as a person: no other site, no rebound name."""
    name = host.rpartition(":")[0] or host
    if name not in {"127.0.0.1", "localhost", "[::1]"}:
        raise HTTPException(403, "only from this machine")
    if origin is not None and origin != f"http://{host}":
        raise HTTPException(403, "only from this page")
