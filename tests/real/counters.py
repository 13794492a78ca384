"""What a rotation asks besides the cluster, in one small server: Prometheus, verifiers, clients, a health page.

It answers in their formats with numbers that a test sets, at whatever time the engine believes it is.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Counters:
    """How requests went, when a token of each key was last seen, and whether the page is well."""

    def __init__(self) -> None:
        self.count: Callable[[], tuple[float, float]] = lambda: (1000.0, 1000.0)
        """Requests that were good, and all of them."""
        self.last_seen: dict[str, float] = {}
        """Unix seconds by version."""
        self.since = 0.0
        self.healthy = True
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True
        self.host = f"127.0.0.1:{self._http.server_address[1]}"
        self.url = f"http://{self.host}"
        threading.Thread(target=self._http.serve_forever, args=(0.05,), name="counters", daemon=True).start()

    def close(self) -> None:
        """Stop answering."""
        self._http.shutdown()
        self._http.server_close()

    def __enter__(self) -> Counters:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def query(self) -> dict[str, Any]:
        """The vector that Prometheus would give for a share of requests."""
        good, total = self.count()
        numbers = {"part": good, "total": total, "instances": 1}
        vector = [{"metric": {"keyturn": name}, "value": [0, str(value)]} for name, value in numbers.items()]
        return {"status": "success", "data": {"resultType": "vector", "result": vector}}

    def stats(self) -> dict[str, Any]:
        """What a verifier has counted."""
        good, total = self.count()
        seen = {kid: {"accepted": 1, "refused": 0, "last_seen": at} for kid, at in self.last_seen.items()}
        return {
            "boot_id": "b1",
            "counting_since": self.since,
            "cache_age_seconds": None,
            "cache_ttl_seconds": 0,
            "kids": [],
            "by_kid": seen,
            "window": {"accepted": round(good), "refused": round(total - good)},
        }

    def clients(self) -> dict[str, Any]:
        """What a population of clients has counted: none of them has used any key."""
        good, total = self.count()
        window = {"logins": round(good), "failures": round(total - good)}
        return {"counting_since": self.since, "by_kid": {}, "by_api_key": {}, "window": window, "clients": {}}


def _handler(counters: Counters) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = self.path.partition("?")[0]
            pages = {
                "/api/v1/query": counters.query,
                "/stats": counters.stats,
                "/clients/stats": counters.clients,
            }
            if path == "/healthz":
                self._send(200 if counters.healthy else 503, {})
            elif path in pages:
                self._send(200, pages[path]())
            else:
                self._send(404, {})

        do_POST = do_GET

        def _send(self, status: int, body: dict[str, Any]) -> None:
            text = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, format: str, *arguments: Any) -> None:
            """Say nothing."""

    return Handler
