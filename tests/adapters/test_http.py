"""Health pages: what may be asked, and every way in which an address could lead somewhere else."""

from __future__ import annotations

import http.server
import logging
import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, ClassVar

import pytest
from pydantic import ValidationError

from adapters import http as adapter
from bot.contracts.adapter import Reading, Run
from bot.core.errors import KeyturnError, Permanent, Transient
from tests.conformance.cases_local import NOBODY


class Page(http.server.BaseHTTPRequestHandler):
    """Answers by path, and keeps what it was asked."""

    asked: ClassVar[list[tuple[str, str, str]]]
    port: ClassVar[int]

    def do_GET(self) -> None:
        type(self).asked.append((self.command, self.path, self.headers["Host"]))
        if self.path == "/elsewhere":
            self.send_response(302)
            self.send_header("Location", "http://169.254.169.254/latest")
            self.end_headers()
            return
        status = int(self.path.strip("/") or 200) if self.path.strip("/").isdigit() else 200
        body = b"x" * (200_000 if self.path == "/large" else 2)
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def page() -> Iterator[type[Page]]:
    class Fresh(Page):
        asked: ClassVar[list[tuple[str, str, str]]] = []

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Fresh)
    Fresh.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield Fresh
    server.shutdown()
    server.server_close()
    thread.join()


def ask(url: str, config: dict[str, Any], **params: Any) -> Reading:
    client = adapter.Client(adapter.Config.model_validate(config), NOBODY)
    log = logging.LoggerAdapter(logging.getLogger("test"), {})
    run = Run("R-1", "t", "ada", NOBODY, datetime.now(UTC), log, time.monotonic() + 5)
    return adapter.Healthy(client).measure(adapter.Healthy.Params(url=url, **params), run)


def resolving(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """Names resolve to these addresses, one list per question; addresses to themselves. Returns the names asked."""
    real, asked = socket.getaddrinfo, []

    def resolve(host: str, *args: Any, **kwargs: Any) -> Any:
        if not host.endswith(".test"):
            return real(host, *args, **kwargs)
        found = answers[min(len(asked), len(answers) - 1)]
        asked.append(host)
        return [entry for address in found for entry in real(address, *args, **kwargs)]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return asked


def test_a_page_is_asked_by_name_at_the_address_it_had(page: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = resolving(monkeypatch, ["127.0.0.1"], ["127.0.0.2"])
    config = {"allowed": ["status.test"], "private": ["127.0.0.0/8"]}
    url = f"http://status.test:{page.port}"
    assert ask(f"{url}/healthz", config).passed
    assert asked == ["status.test"], "resolved once"
    assert page.asked == [("GET", "/healthz", f"status.test:{page.port}")]
    with pytest.raises(Transient, match="cannot be reached"):
        ask(f"{url}/healthz", config)


def test_the_status_decides(page: Any) -> None:
    host = f"127.0.0.1:{page.port}"
    config = {"allowed": [host], "private": ["127.0.0.1/32"]}
    assert ask(f"http://{host}/503", config).passed is False
    assert ask(f"http://{host}/503", config, status=503).passed
    assert ask(f"http://{host}/204", config, status=204, method="HEAD").passed
    redirected = ask(f"http://{host}/elsewhere", config)
    assert (redirected.passed, "302" in redirected.evidence) == (False, True)
    with pytest.raises(Permanent, match="more than 65536 bytes"):
        ask(f"http://{host}/large", config)


def test_nobody_answers(page: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host = f"127.0.0.1:{silent.getsockname()[1]}"
        client = adapter.Client(adapter.Config.model_validate({"allowed": [host], "private": ["127.0.0.0/8"]}), NOBODY)
        log = logging.LoggerAdapter(logging.getLogger("test"), {})
        run = Run("R-1", "t", "ada", NOBODY, datetime.now(UTC), log, time.monotonic() + 0.2)
        with pytest.raises(Transient, match="in time"):
            client.status(run, f"http://{host}/", "GET")
    with pytest.raises(Transient, match="cannot be reached"):
        ask(f"http://{host}/", {"allowed": [host], "private": ["127.0.0.0/8"]})


SPELLINGS = [
    "127.0.0.1",
    "127.1",
    "127.0.1",
    "2130706433",
    "0x7f000001",
    "0x7f.0.0.1",
    "0177.0.0.1",
    "017700000001",
    "127.0.0.1.",
    "127.000.000.001",
    "0.0.0.0",
    "0",
    "localhost",
    "LOCALHOST",
    "localhost.",
    "[::1]",
    "[::]",
    "[0:0:0:0:0:0:0:1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[2002:7f00:1::]",
    "[fe80::1]",
    "[fe80::1%25lo]",
    "[fc00::1]",
    "[fec0::1]",
    "[ff02::1]",
    "10.0.0.1",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "[::ffff:a9fe:a9fe]",
    "100.64.0.1",
    "198.18.0.1",
    "224.0.0.1",
    "255.255.255.255",
    "240.0.0.1",
    "metadata.google.internal",
    "allowed.test@127.0.0.1",
    "127.0.0.1#allowed.test",
    "127.0.0.1?allowed.test",
    "127.0.0.1\\allowed.test",
    "allowed.test.evil.example",
    "xallowed.test",
    "allowed.test%2eevil.example",
    "allowed.test%00.evil.example",
    "①②⑦.⓪.⓪.①",
    "127。0。0。1",
    "",
]


@pytest.mark.parametrize("host", SPELLINGS)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_spellings_of_other_places_make_no_connection(
    host: str, scheme: str, page: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    connected: list[Any] = []
    monkeypatch.setattr(socket, "create_connection", lambda address, *a, **k: connected.append(address))
    with pytest.raises((Permanent, ValidationError)):
        ask(f"{scheme}://{host}/", {"allowed": ["allowed.test"]})
    with pytest.raises((Permanent, ValidationError)):
        ask(f"{scheme}://{host}:{page.port}/", {"allowed": ["allowed.test"]})
    assert connected == []
    assert page.asked == []


PRIVATE = [
    "127.0.0.1",
    "10.0.0.1",
    "172.31.255.255",
    "192.168.0.1",
    "169.254.169.254",
    "100.64.0.1",
    "0.0.0.0",
    "224.0.0.1",
    "240.0.0.1",
    "::1",
    "::",
    "fe80::1",
    "fc00::1",
    "fec0::1",
    "ff02::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b:1::7f00:1",
    "2002:7f00:1::",
    "2001::1",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_allowed_names_that_lead_inside_make_no_connection(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch, [address], ["93.184.215.14", address])
    connected: list[Any] = []
    monkeypatch.setattr(socket, "create_connection", lambda peer, *a, **k: connected.append(peer))
    for _ in range(2):
        with pytest.raises(Permanent, match="not public"):
            ask("http://allowed.test/", {"allowed": ["allowed.test"]})
    assert connected == []


def test_a_public_address_is_connected_to_as_it_was_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = resolving(monkeypatch, ["93.184.215.14"], ["127.0.0.1"])
    connected: list[Any] = []

    def refuse(peer: Any, *_: Any, **__: Any) -> Any:
        connected.append(peer)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "create_connection", refuse)
    with pytest.raises(KeyturnError):
        ask("http://allowed.test:8080/x", {"allowed": ["allowed.test"]})
    assert (asked, connected) == (["allowed.test"], [("93.184.215.14", 8080)])


def test_a_port_may_be_part_of_what_is_allowed(page: Any) -> None:
    with pytest.raises(Permanent, match="may not be asked"):
        ask(f"http://127.0.0.1:{page.port}/", {"allowed": ["127.0.0.1:1"], "private": ["127.0.0.0/8"]})
    assert ask(f"http://127.0.0.1:{page.port}/", {"allowed": ["127.0.0.1"], "private": ["127.0.0.0/8"]}).passed


def test_names_that_do_not_resolve_are_awaited() -> None:
    with pytest.raises(Transient, match="cannot be resolved"):
        ask("http://nowhere.invalid/", {"allowed": ["nowhere.invalid"]})


@pytest.mark.parametrize("host", ["*", "http://x", "x/y", "X.example", "a b", ""])
def test_patterns_are_no_hosts(host: str) -> None:
    with pytest.raises(ValidationError):
        adapter.Config.model_validate({"allowed": [host]})
