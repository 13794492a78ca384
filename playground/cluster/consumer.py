"""What runs in a pod: a signer or a verifier that knows its Secret as it was when it started, and never looks again.

Run as `python -m playground.cluster.consumer`. The Secret comes in on standard input, never by argument or variable.
Standard library only, so that a hundred pods are a hundred small processes. It ends when whoever started it has ended.
"""

from __future__ import annotations

import base64
import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from playground.cluster import stateless

SIGNER, VERIFIER = "signer", "verifier"
LIMIT = 1 << 20


class Consumer:
    """The application: a signer signs with the key that `active` names, a verifier checks with every key it knows."""

    def __init__(self, told: dict[str, Any]) -> None:
        secret = {name: base64.b64decode(value) for name, value in told["secret"].items()}
        self.keys = stateless.keys_of(secret)
        self.active = secret.get(stateless.ACTIVE, b"").decode().strip()
        self.role = str(told["role"])
        self._life, self._rate, self._anchor = float(told["life"]), float(told["rate"]), float(told["anchor"])
        if self.role == SIGNER and self.active not in self.keys:
            raise ValueError(
                f"active names {self.active or 'nothing'}, and the keys are {', '.join(sorted(self.keys))}"
            )
        if not self.keys:
            raise ValueError("the Secret has no key")

    def now(self) -> float:
        """Virtual time, the same in every process."""
        return self._anchor + (time.time() - self._anchor) * self._rate

    def sign(self, asked: dict[str, Any]) -> dict[str, Any]:
        """A token for each subject."""
        now, key = self.now(), self.keys[self.active]
        tokens = [stateless.sign(self.active, key, str(name), now, self._life) for name in asked["subjects"]]
        return {"tokens": tokens, "expires": now + self._life}

    def verify(self, asked: dict[str, Any]) -> dict[str, Any]:
        """A verdict for each token."""
        now = self.now()
        return {"verdicts": [stateless.verify(str(token), self.keys, now) for token in asked["tokens"]]}

    def describe(self) -> dict[str, Any]:
        """What it knows, by name."""
        return {"role": self.role, "pid": os.getpid(), "keys": sorted(self.keys), "active": self.active}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, consumer: Consumer) -> None:
        self.consumer = consumer
        super().__init__(("127.0.0.1", 0), _Connection)


class _Connection(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: requests carry tokens."""

    def do_GET(self) -> None:
        self._send(200, self.server.consumer.describe())

    def do_POST(self) -> None:
        consumer = self.server.consumer
        words = {SIGNER: ("/sign", consumer.sign), VERIFIER: ("/verify", consumer.verify)}
        path, call = words[consumer.role]
        length = int(self.headers.get("Content-Length") or 0)
        if self.path != path or length > LIMIT:
            self.close_connection = True
            self._send(404, {"error": "no such path"})
            return
        try:
            self._send(200, call(json.loads(self.rfile.read(length))))
        except (ValueError, KeyError, TypeError):
            self._send(422, {"error": "not understood"})

    def _send(self, status: int, body: dict[str, Any]) -> None:
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self._headers_buffer: list[bytes]
        self._headers_buffer.extend((b"\r\n", text))  # one write for head and body
        self.flush_headers()


def main() -> int:
    """Read the Secret, serve, say the port, and end with standard input."""
    try:
        consumer = Consumer(json.loads(sys.stdin.readline()))
    except (ValueError, KeyError) as error:
        print(json.dumps({"failed": str(error)}), flush=True)
        return 1
    server = _Server(consumer)
    threading.Thread(target=server.serve_forever, args=(0.5,), daemon=True).start()
    print(json.dumps({"port": server.server_address[1]}), flush=True)
    sys.stdin.read()
    return 0


if __name__ == "__main__":
    sys.exit(main())
