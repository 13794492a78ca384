"""A request URL on this machine, and a Bolt app behind it that checks signatures itself."""

from __future__ import annotations

from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from slack_bolt import App
from slack_bolt.request import BoltRequest
from slack_sdk import WebClient

from playground.workspace import Workspace


class Endpoint:
    """A request URL. `answers` is filled by the test before anything is sent."""

    def __init__(self) -> None:
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.answer: Callable[[dict[str, str], bytes], tuple[int, dict[str, str], str]] = lambda headers, body: (
            200,
            {},
            "",
        )
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                endpoint.requests.append((headers, body))
                status, more, text = endpoint.answer(headers, body)
                self.send_response(status)
                for name, value in more.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/slack/events"
        Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def bolt(ws: Workspace, endpoint: Endpoint) -> App:
    """A Bolt app behind the endpoint, which checks signatures itself."""
    app = App(
        client=WebClient(token=ws.bot_token, base_url=ws.api_url),
        signing_secret=ws.signing_secret,
        process_before_response=True,
    )

    def answer(headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str], str]:
        response = app.dispatch(BoltRequest(body=body.decode(), headers={k: [v] for k, v in headers.items()}))
        return response.status, {name: values[0] for name, values in response.headers.items()}, response.body

    endpoint.answer = answer
    return app
