"""What can go wrong between a client and the API server: a proxy on TCP, and one that answers in the server's place."""

from __future__ import annotations

import http.client
import json
import re
import select
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playground.cluster.authority import Authority

CHUNK = 65536
HOP = {
    "connection",
    "keep-alive",
    "transfer-encoding",
    "upgrade",
    "proxy-authorization",
    "te",
    "trailer",
    "content-length",
}
REASONS = {401: "Unauthorized", 403: "Forbidden", 409: "Conflict", 429: "TooManyRequests", 500: "InternalError"}


class TcpProxy:
    """Passes real bytes on, whatever they are: `delay` before each piece, all connections dropped, or none let in.

    The server's own certificate is seen through it, since that is made out to 127.0.0.1.
    """

    def __init__(self, server: str) -> None:
        parts = urlsplit(server)
        self._target = (str(parts.hostname), int(parts.port or 443))
        self.delay = 0.0
        """Seconds that every piece waits, in either direction."""
        self.refusing = False
        """Whether connections are cut as soon as they are made."""
        self.connections = 0
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._accept, name="tcp-proxy", daemon=True)
        self._thread.start()

    def drop(self) -> None:
        """Cut every connection, as a load balancer does that restarts."""
        with self._lock:
            for each in self._open:
                _cut(each)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """The API server out of reach: connections are cut, and new ones are."""
        self.refusing = True
        self.drop()
        try:
            yield
        finally:
            self.refusing = False

    def close(self) -> None:
        """Stop listening and cut what is open."""
        self._closing.set()
        with suppress(OSError):  # wakes the thread that waits for the next
            socket.create_connection(self._listener.getsockname(), timeout=1).close()
        self._thread.join()
        self._listener.close()
        self.drop()

    def __enter__(self) -> TcpProxy:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _accept(self) -> None:
        while not self._closing.is_set():
            near, _ = self._listener.accept()
            self.connections += 1
            if self.refusing or self._closing.is_set():
                _cut(near)
                near.close()
                continue
            threading.Thread(target=self._join, args=(near,), daemon=True).start()

    def _join(self, near: socket.socket) -> None:
        try:
            far = socket.create_connection(self._target, timeout=10)
        except OSError:
            near.close()
            return
        with near, far:
            with self._lock:
                self._open |= {near, far}
            other = {near: far, far: near}
            try:
                self._pump(near, far, other)
            except OSError:
                pass  # one side has gone, and with it the connection
            finally:
                with self._lock:
                    self._open -= {near, far}

    def _pump(self, near: socket.socket, far: socket.socket, other: Mapping[socket.socket, socket.socket]) -> None:
        while True:
            ready, _, _ = select.select([near, far], [], [], 60)
            for source in ready:
                piece = source.recv(CHUNK)
                if not piece:
                    return
                if self.delay:
                    time.sleep(self.delay)
                other[source].sendall(piece)


@dataclass
class Answer:
    """An answer in the server's place, for the next `times` requests that match (None: all)."""

    status: int
    method: str = "*"
    path: str = ""
    """A regular expression that is searched for in the path with its query."""
    times: int | None = 1
    retry_after: int | None = None
    after: bool = False
    """Whether the request is handed on first and its answer thrown away: the work is done and nobody knows."""
    cut: bool = False
    """Whether the connection is cut in place of an answer."""
    hang: bool = False
    """Whether no answer comes until the client goes away."""
    garbage: bool = False
    """Whether the answer is a page that some other server made up."""
    skip: int = 0
    """How many requests that match are handed on first."""
    given: int = 0
    requests: list[str] = field(default_factory=list)

    def matches(self, method: str, path: str) -> bool:
        """Whether it is meant for this request."""
        spent = self.times is not None and self.given >= self.times
        return not spent and self.method in ("*", method) and re.search(self.path, path) is not None


class FaultProxy:
    """Ends TLS with a certificate of its own authority (`ca`), and answers chosen requests as an API server might."""

    def __init__(self, server: str, server_ca: Path, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        authority = Authority(folder)
        self.ca = authority.file
        certificate, key = authority.issue("fault-proxy")
        own = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        own.load_cert_chain(certificate, key)
        parts = urlsplit(server)
        self.target = (str(parts.hostname), int(parts.port or 443))
        self.trust = ssl.create_default_context(cafile=str(server_ca))
        self.seen: list[tuple[str, str]] = []
        """Method and path of every request, in the order in which they came."""
        self._answers: list[Answer] = []
        self._lock = threading.Lock()
        self._http = _FaultServer(("127.0.0.1", 0), self, own)
        self.url = f"https://127.0.0.1:{self._http.server_address[1]}"
        threading.Thread(target=self._http.serve_forever, args=(0.05,), name="fault-proxy", daemon=True).start()

    def answer(self, status: int, method: str = "*", path: str = "", **more: Any) -> Answer:
        """Answer the next request that matches with this status: 429 with `retry_after`, 409, 401, 500 …"""
        made = Answer(status, method, path, **more)
        with self._lock:
            self._answers.append(made)
        return made

    def clear(self) -> None:
        """Hand everything on again."""
        with self._lock:
            self._answers.clear()

    def take(self, method: str, path: str) -> Answer | None:
        """The answer meant for this request, if any; counts it."""
        with self._lock:
            self.seen.append((method, path))
            for each in self._answers:
                if each.matches(method, path):
                    if each.skip:
                        each.skip -= 1
                        return None
                    each.given += 1
                    each.requests.append(f"{method} {path}")
                    return each
        return None

    def close(self) -> None:
        """Stop serving."""
        self._http.shutdown()
        self._http.server_close()

    def __enter__(self) -> FaultProxy:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _FaultServer(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], owner: FaultProxy, tls: ssl.SSLContext) -> None:
        self.owner = owner
        super().__init__(address, _Relay)
        self.socket = tls.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A peer that went away, or that does not trust us, is no news here."""


class _Relay(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # one packet for an answer, where three would wait for each other
    server: _FaultServer
    far: http.client.HTTPSConnection | None = None

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: requests carry tokens."""

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        answer = self.server.owner.take(self.command, self.path)
        if answer is None:
            self._hand_on(body)
            return
        if answer.after:
            reply = self._ask(body)
            reply.read()
        if answer.hang:
            select.select([self.connection], [], [], 30)  # whatever comes is its end
        if answer.cut or answer.hang:
            self.close_connection = True
            _cut(self.connection)
        else:
            self._refuse(answer)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _serve

    def _refuse(self, answer: Answer) -> None:
        reason = REASONS.get(answer.status, "Unknown")
        told = {
            "kind": "Status",
            "apiVersion": "v1",
            "status": "Failure",
            "message": f"{reason}, as a test asked for",
            "reason": reason,
            "code": answer.status,
        }
        if answer.retry_after is not None:
            told["details"] = {"retryAfterSeconds": answer.retry_after}
        text = b"<html>welcome</html>" if answer.garbage else json.dumps(told).encode()
        self.send_response(answer.status)
        self.send_header("Content-Type", "text/html" if answer.garbage else "application/json")
        self.send_header("Content-Length", str(len(text)))
        if answer.retry_after is not None:
            self.send_header("Retry-After", str(answer.retry_after))
        self.end_headers()
        self.wfile.write(text)
        self.wfile.flush()

    def _ask(self, body: bytes) -> http.client.HTTPResponse:
        """Over the connection that this client's calls have used before: a handshake takes longer than most calls."""
        host, port = self.server.owner.target
        far = self.far or http.client.HTTPSConnection(host, port, context=self.server.owner.trust, timeout=300)
        self.far = far
        headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP}
        far.request(self.command, self.path, body=body or None, headers=headers)
        return far.getresponse()

    def _hand_on(self, body: bytes) -> None:
        """Pass the answer on as it comes, in chunks: a watch never ends by itself."""
        reply = self._ask(body)
        whole = False
        try:
            self.send_response(reply.status)
            for name, value in reply.getheaders():
                if name.lower() not in HOP:
                    self.send_header(name, value)
            bare = self.command == "HEAD" or reply.status in (204, 304)
            if not bare:
                self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            while not bare and (piece := reply.read1(CHUNK)):
                self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
                self.wfile.flush()
            if not bare:
                self.wfile.write(b"0\r\n\r\n")
            reply.read()  # it is at its end, and the connection free
            whole = True
        finally:
            if not whole:
                self._leave()

    def finish(self) -> None:
        """The client has gone."""
        self._leave()
        super().finish()

    def _leave(self) -> None:
        if self.far is not None:
            self.far.close()
            self.far = None


def _cut(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
