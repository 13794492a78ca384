"""The estate's HTTP server: routes, documented errors, and faults down to the socket, on a thread per connection."""

import json
import re
import socket
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from playground.estate.faults import Fault, Faults

BODY_LIMIT = 64 * 1024


class Problem(Exception):
    """An error answer: {"error": code, "message": text} under `status`."""

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.headers = status, code, message, dict(headers or {})


@dataclass(frozen=True, slots=True)
class Request:
    """One request as handlers see it; `parts` are the named pieces of the path."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    parts: Mapping[str, str] = field(default_factory=dict)

    def json(self) -> dict[str, Any]:
        """The body as a JSON object, {} when empty; 422 otherwise."""
        if not self.body:
            return {}
        try:
            value = json.loads(self.body)
        except (ValueError, RecursionError):
            raise Problem(422, "invalid_json", "the body is no JSON") from None
        if not isinstance(value, dict):
            raise Problem(422, "invalid_json", "the body must be a JSON object")
        return value

    def form(self) -> dict[str, str]:
        """The body as form fields."""
        try:
            return dict(parse_qsl(self.body.decode(), keep_blank_values=True, max_num_fields=20))
        except ValueError:
            raise Problem(422, "invalid_form", "the body is no form") from None

    def bearer(self) -> str | None:
        """The bearer token, if one was sent."""
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        return token.strip() if scheme.lower() == "bearer" and token.strip() else None


class Reply(NamedTuple):
    """An answer: JSON, or `Text` as it is."""

    status: int
    body: Any
    headers: Mapping[str, str] = {}


class Text(str):
    """A body that is plain text, not JSON."""


class Route(NamedTuple):
    """Method and path (`{name}` stands for one piece) of a handler."""

    method: str
    path: str
    handler: Callable[[Request], Reply]

    def match(self, path: str) -> dict[str, str] | None:
        """The named pieces when the path is this route's."""
        found = re.fullmatch(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", self.path), path)
        return {name: unquote(piece) for name, piece in found.groupdict().items()} if found else None


class Server:
    """Serves routes on loopback until stopped; `calls` counts requests that reached it as "METHOD /route/{x}"."""

    def __init__(self, routes: Sequence[Route], faults: Faults, port: int = 0) -> None:
        self.calls: Counter[str] = Counter()
        self._routes = routes
        self._faults = faults
        self._stopping = threading.Event()
        self._connections: set[socket.socket] = set()
        self._changed = threading.Condition()
        self._http = _Listener(("127.0.0.1", port), self)
        self.port: int = self._http.server_address[1]
        self._thread = threading.Thread(target=self._listen, name=f"estate:{self.port}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Close the listening socket and every connection, and wait for the handlers at work."""
        self._stopping.set()
        # One connection of our own wakes the thread that waits for the next.
        socket.create_connection(("127.0.0.1", self.port), timeout=5).close()
        self._thread.join()
        self._http.server_close()
        with self._changed:
            for connection in self._connections:
                _cut(connection)
            self._changed.wait_for(lambda: not self._connections, timeout=5)

    def _listen(self) -> None:
        while not self._stopping.is_set():
            self._http.handle_request()

    def opened(self, connection: socket.socket) -> None:
        """Note a new connection, so that stopping can close it."""
        with self._changed:
            self._connections.add(connection)
            if self._stopping.is_set():
                _cut(connection)

    def closed(self, connection: socket.socket) -> None:
        """Forget a connection that has ended."""
        with self._changed:
            self._connections.discard(connection)
            self._changed.notify_all()

    def answer(self, request: Request) -> Reply | bytes | None:
        """The reply, raw garbage, or None when the connection is to be cut without an answer."""
        spared = request.path == "/faults"
        fault = None if spared else self._faults.take(request.method, request.path)
        if fault is None:
            return self._dispatch(request)
        if fault.kind == "lose":
            self._dispatch(request)
            return None
        if fault.kind == "hang":
            self._hang(fault)
            return None
        if fault.kind == "garbage":
            return b"<html>upstream connect error"
        if fault.kind == "throttle":
            return _problem(Problem(429, "rate_limited", "slow down", {"Retry-After": f"{fault.retry_after:g}"}))
        if fault.kind == "status":
            return _problem(Problem(fault.status, "fault", "this answer was asked for by a test"))
        return None

    def _hang(self, fault: Fault) -> None:
        waited = 0.0
        while not self._stopping.is_set() and (fault.seconds is None or waited < fault.seconds):
            if fault.released.wait(0.05):
                return
            waited += 0.05

    def _dispatch(self, request: Request) -> Reply:
        allowed = []
        for route in self._routes:
            parts = route.match(request.path)
            if parts is None:
                continue
            if route.method != request.method:
                allowed.append(route.method)
                continue
            self.calls[f"{route.method} {route.path}"] += 1
            try:
                return route.handler(
                    Request(request.method, request.path, request.query, request.headers, request.body, parts)
                )
            except Problem as problem:
                return _problem(problem)
        if allowed:
            return _problem(Problem(405, "method_not_allowed", "not with this method", {"Allow": ", ".join(allowed)}))
        return _problem(Problem(404, "not_found", "no such path"))


class _Listener(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True

    def __init__(self, address: tuple[str, int], server: Server) -> None:
        self.owner = server
        super().__init__(address, _Connection)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A peer that went away is no news; anything else would be a bug and is shown by the default handler."""
        import sys

        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class _Connection(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "estate"
    sys_version = ""
    timeout = 30
    disable_nagle_algorithm = True
    server: _Listener

    def setup(self) -> None:
        super().setup()
        self.server.owner.opened(self.connection)

    def finish(self) -> None:
        self.server.owner.closed(self.connection)
        super().finish()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: requests carry tokens."""

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_PATCH(self) -> None:
        self._serve()

    def do_DELETE(self) -> None:
        self._serve()

    def _serve(self) -> None:
        try:
            body = self._read()
        except Problem as problem:
            self.close_connection = True
            self._send(_problem(problem))
            return
        url = urlsplit(self.path)
        query = dict(parse_qsl(url.query, max_num_fields=20)) if url.query else {}
        headers: Any = self.headers
        answer = self.server.owner.answer(Request(self.command, url.path, query, headers, body))
        if answer is None:
            self.close_connection = True
            _cut(self.connection)
        else:
            self._send(answer)

    def _read(self) -> bytes:
        if "Transfer-Encoding" in self.headers:
            raise Problem(411, "length_required", "send a Content-Length")
        length = self.headers.get("Content-Length", "0")
        if not length.isascii() or not length.isdigit():
            raise Problem(400, "bad_length", "Content-Length is no number")
        if int(length) > BODY_LIMIT:
            raise Problem(413, "too_large", f"a body may have {BODY_LIMIT} bytes")
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            raise Problem(400, "short_body", "the body ended early")
        return body

    def _send(self, answer: Reply | bytes) -> None:
        if isinstance(answer, bytes):
            status, payload, headers, kind = 200, answer, {}, "text/html"
        else:
            status, headers, kind = answer.status, dict(answer.headers), "application/json"
            payload = b"" if status == 204 else json.dumps(answer.body).encode()
            if isinstance(answer.body, Text):
                kind, payload = "text/plain; charset=utf-8", answer.body.encode()
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(payload)), **headers}.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        # One write for head and body, so that the peer is never left waiting for the second packet.
        self._headers_buffer: list[bytes]
        self._headers_buffer.extend((b"\r\n", payload))
        self.flush_headers()


def _problem(problem: Problem) -> Reply:
    return Reply(problem.status, {"error": problem.code, "message": problem.message}, problem.headers)


def _cut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # already gone, which is what was wanted
