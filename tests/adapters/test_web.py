"""The seam that adapters share: what it must not remember between calls."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

from adapters._web import open_http


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
