"""A throw-away Prometheus that scrapes a page of counters which the test writes."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlencode

SCRAPE = """
global: {scrape_interval: 200ms, scrape_timeout: 200ms, evaluation_interval: 1h}
scrape_configs:
  - job_name: shop
    static_configs: [{targets: ["127.0.0.1:%d"]}]
"""


def found() -> str | None:
    """Prometheus' program, or None."""
    return shutil.which("prometheus")


class Page:
    """The metrics page of a service: counters by series."""

    def __init__(self) -> None:
        self.counters: dict[str, float] = {}
        self.up = True
        page = self

        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                text = "".join(f"{series} {value}\n" for series, value in dict(page.counters).items()).encode()
                self.send_response(200 if page.up else 503)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self.port = int(self.server.server_address[1])


class Running:
    """A Prometheus at work; `ask` is the test's own way to look at it."""

    def __init__(self, port: int, page: Page) -> None:
        self.address, self.page = f"http://127.0.0.1:{port}", page

    def ask(self, query: str) -> list[tuple[dict[str, str], float]]:
        """The samples of a query now."""
        with urllib.request.urlopen(f"{self.address}/api/v1/query?{urlencode({'query': query})}", timeout=5) as answer:
            found = json.load(answer)["data"]["result"]
        return [(one["metric"], float(one["value"][1])) for one in found]

    def until(self, query: str, seconds: float = 20) -> None:
        """Wait until the query gives something."""
        end = time.monotonic() + seconds
        while not self.ask(query):
            assert time.monotonic() < end, f"never came true: {query}"
            time.sleep(0.05)

    def seen(self) -> None:
        """Wait until it has scraped all counters as they are now."""
        for series, value in dict(self.page.counters).items():
            self.until(f"{series} == {value}")


@contextmanager
def running() -> Iterator[Running]:
    """A Prometheus and the page that it scrapes five times a second."""
    program = found()
    assert program is not None
    page = Page()
    thread = Thread(target=page.server.serve_forever, daemon=True)
    thread.start()
    with tempfile.TemporaryDirectory(prefix="prometheus-") as name:
        folder = Path(name)
        (folder / "prometheus.yml").write_text(SCRAPE % page.port)
        process, port = _start(program, folder)
        try:
            yield Running(port, page)
        finally:
            process.terminate()
            process.wait(timeout=20)
            page.server.shutdown()
            page.server.server_close()
            thread.join(timeout=5)


def _start(program: str, folder: Path) -> tuple[subprocess.Popen[bytes], int]:
    for _ in range(3):  # somebody may take the port between our look and its start
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = int(free.getsockname()[1])
        with (folder / "log").open("ab") as log:
            process = subprocess.Popen(
                [
                    program,
                    f"--config.file={folder / 'prometheus.yml'}",
                    f"--storage.tsdb.path={folder / 'data'}",
                    f"--web.listen-address=127.0.0.1:{port}",
                ],
                stdout=log,
                stderr=log,
                cwd=folder,
            )
        if _ready(process, port):
            return process, port
        process.kill()
        process.wait(timeout=10)
    raise AssertionError(f"Prometheus does not start: {(folder / 'log').read_text()[-2000:]}")


def _ready(process: subprocess.Popen[bytes], port: int) -> bool:
    end = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < end:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=2):
                return True
        except OSError:
            time.sleep(0.05)
    return False
