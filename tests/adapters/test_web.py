"""The shared way of calling: no redirect, no repeat, no header that would be quoted, no endless answer."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from adapters._web import Answer, Shape, Web, _delay, open_http
from bot.core.errors import Permanent, Transient
from bot.core.secret import Secret
from tests.conformance.cases_local import NOBODY
from tests.conformance.kit import Stage, run_of

RUN = Stage(client=None, params={}, secrets=NOBODY)


@contextmanager
def peer(answer: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """A server that reads one request per connection and sends these bytes; gives its address and what it was sent."""
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    heard.append(connection.recv(65536))
                    connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}", heard
        server.shutdown(socket.SHUT_RDWR)
    thread.join(timeout=5)


def call(answer: bytes, seconds: float = 5.0, **options: object) -> tuple[Answer, list[bytes]]:
    web = Web("the system", "check the token")
    with peer(answer) as (address, heard):
        return web.call(run_of(RUN, seconds=seconds), "POST", f"{address}/x", **options), heard  # type: ignore[arg-type]  # options are the keywords of call


def test_a_good_answer() -> None:
    answer, heard = call(
        b'HTTP/1.1 201 Created\r\nContent-Length: 9\r\n\r\n{"a": 77}', token=Secret("abc"), body={"b": 1}
    )
    assert (answer.status, answer.body) == (201, {"a": 77})
    assert b"authorization: bearer abc" in heard[0].lower()
    assert "{" not in repr(answer)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirects_are_not_followed(status: int) -> None:
    with peer(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}") as (other, heard):
        with pytest.raises(Permanent, match="redirects are not followed"):
            call(
                f"HTTP/1.1 {status} Go\r\nLocation: {other}/\r\nContent-Length: 0\r\n\r\n".encode(), token=Secret("abc")
            )
        assert heard == []


def test_a_lost_answer_is_not_asked_for_again() -> None:
    web = Web("the system", "")
    with peer(b"") as (address, heard):
        with pytest.raises(Transient, match="was lost"):
            web.call(run_of(RUN), "POST", address)
        assert len(heard) == 1


def test_an_endless_answer_is_cut() -> None:
    with pytest.raises(Transient, match="more than"):
        call(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (2 * 1024 * 1024))


@pytest.mark.parametrize("body", [b"[]", b"no", b"[" * 100_000, b'{"a": 1', b"\xff\xfe"])
def test_an_answer_that_is_no_object_is_not_believed(body: bytes) -> None:
    with pytest.raises(Transient, match="cannot be understood"):
        call(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))


class Expected(Shape):
    number: int


def test_an_answer_of_another_shape_is_not_believed() -> None:
    assert Answer(200, {"number": 1, "more": 2}, "", "it").read(Expected).number == 1
    with pytest.raises(Transient, match="cannot be understood") as caught:
        Answer(200, {"number": "hunter2"}, "", "it").read(Expected)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("value", ["", "a b", "a\r\nX: y", "pässword", "\x00"])
def test_a_token_that_cannot_be_sent_is_not_quoted(value: str) -> None:
    with pytest.raises(Permanent) as caught:
        call(b"", token=Secret(value))
    assert caught.value.hint == "check the token"
    assert not value or value not in str(caught.value)


def test_what_a_server_says_is_not_repeated() -> None:
    said = b'{"error": "<!channel> token=hunter2", "message": "hunter2"}'
    with pytest.raises(Permanent) as caught:
        call(b"HTTP/1.1 422 No\r\nContent-Length: %d\r\n\r\n%s" % (len(said), said))
    assert "hunter2" not in str(caught.value)
    said = b'{"error": "invalid_marker"}'
    with pytest.raises(Permanent, match="invalid_marker"):
        call(b"HTTP/1.1 422 No\r\nContent-Length: %d\r\n\r\n%s" % (len(said), said))


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7), ("0.5", 0.5), (None, 5), ("soon", 5), ("-3", 0), ("1e99", 3600), ("nan", 5), ("inf", 5)],
)
def test_delays_are_tamed(header: str | None, seconds: float) -> None:
    assert _delay(header) == timedelta(seconds=seconds)


def test_no_time_no_call() -> None:
    with peer(b"") as (address, heard):
        with pytest.raises(Transient, match="used up"):
            Web("the system", "").get(run_of(RUN, seconds=-1), address)
        assert heard == []


def test_no_cookie_is_kept() -> None:
    """A session made with a new credential would let an old one in, and the dead check would be fooled."""
    seen: list[str | None] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.headers.get("Cookie"))
            self.send_response(204)
            self.send_header("Set-Cookie", "session=1; Path=/")
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:
            """Quiet."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with open_http() as http:
            for _ in range(2):
                http.get(f"http://127.0.0.1:{server.server_port}/")
    finally:
        server.shutdown()
        server.server_close()
    assert seen == [None, None]
