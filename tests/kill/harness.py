"""Runs lives against one estate, and judges what they left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx

from playground.estate import Estate
from playground.estate.clock import VirtualClock
from playground.estate.server import Reply, Request
from playground.installation import settings_of, text_of
from tests.kill.databases import Bench
from tests.kill.judge import Before, Verdict, judge
from tests.kill.life import Life
from tests.kill.scene import Scene
from tests.kill.stories import STORIES

ROOT = Path(__file__).parents[2]
TOKEN_LIFE = 3600.0


class JumpClock(VirtualClock):
    """Real time plus jumps: waits are skipped, nothing runs faster."""

    jumped = 0.0

    def now(self) -> float:
        return time.time() + JumpClock.jumped


class _Shortcut(httpx.BaseTransport):
    """Carries the clients' calls straight to the programs of the estate, which answer as they do over a socket."""

    def __init__(self, estate: Estate) -> None:
        self._estate = estate

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        url, headers = request.url, request.headers
        service = next(service for service in self._estate.services if service.port == url.port)
        if service._server is None:
            raise httpx.ConnectError("it does not run", request=request)
        asked = Request(request.method, url.path, dict(url.params), headers, request.read())
        answer = service._server.answer(asked)
        if not isinstance(answer, Reply):
            raise httpx.RemoteProtocolError("no answer", request=request)
        return httpx.Response(answer.status, json=answer.body, headers=dict(answer.headers))


class Unreached(AssertionError):
    """A life came to its end without crossing the boundary at which it was to die."""


@dataclass(frozen=True)
class Moment:
    """A point of a run at which the bot was idle, to which estate and database can be taken back."""

    crossed: int
    """How many boundaries had been crossed."""
    place: str
    scene: Scene
    kept: int
    """Number of the database."""


@dataclass
class Recording:
    """An undisturbed run."""

    name: str
    naive: bool
    before: Before
    moments: list[Moment]
    crossings: list[str] = field(default_factory=list)
    verdict: Verdict = field(default_factory=lambda: Verdict([]))


class Harness:
    """One estate, one zygote, one database, many experiments."""

    def __init__(self, folder: Path, bench: Bench) -> None:
        JumpClock.jumped = 0.0
        self.folder = folder
        self.bench = bench
        self.estate = Estate.start(
            clock=JumpClock(1.0),
            gateways=2,
            clients=3,
            applications=("billing", "reports"),
            calls_per_second=1e-6,  # the clients call when time jumps, and not by themselves
            restart_seconds=0.01,
            directory=folder / "estate",
        )
        assert self.estate.clients is not None
        shortcut = httpx.Client(transport=_Shortcut(self.estate))
        self.estate.clients._http = shortcut
        for gateway in self.estate.gateways:
            gateway._http = gateway._boot.cache._http = shortcut
        self._control = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        threading.Thread(target=self._control.serve_forever, daemon=True).start()
        self._zygote = subprocess.Popen(
            [sys.executable, "-m", "tests.kill.zygote"],
            cwd=ROOT,
            env=os.environ | {"TMPDIR": str(folder)},  # who is killed leaves files behind
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._turn = threading.Lock()
        self._round()
        self._start = Scene(self.estate, folder / "scene-start")
        self._recording: Recording | None = None

    def close(self) -> None:
        """Stop everything."""
        assert self._zygote.stdin is not None
        self._zygote.stdin.close()
        self._zygote.wait(10)
        self._control.shutdown()
        self._control.server_close()
        self.estate.stop()
        self.bench.clear()

    def record(self, name: str, *, naive: bool = False) -> Recording:
        """An undisturbed run, for which experiments can be made until the next one is recorded."""
        self.bench.clear()
        self._begin()
        self._live(name, rehearsal=True)
        self._begin()
        self._recording = recording = Recording(name, naive, Before.of(self.estate), [])
        self._keep(0, "begin/1")
        crossings = self._live(name, naive=naive, records=True)
        assert crossings is not None
        recording.crossings = crossings
        recording.verdict = self._judge(recording)
        return recording

    def kill(self, recording: Recording, number: int) -> Verdict:
        """One experiment: live, die at that crossing of the recording, live again until it ends; judge."""
        moment = next(moment for moment in reversed(recording.moments) if moment.crossed <= number)
        self._go_back(moment)
        name, naive = recording.name, recording.naive
        target, crossed = recording.crossings[number], recording.crossings[: moment.crossed]
        if self._live(name, die_at=target, crossed=crossed, place=moment.place, naive=naive) is not None:
            raise Unreached(target)
        if self._live(name, naive=naive) is None:
            raise AssertionError("a life that nobody killed did not end by itself")
        return self._judge(recording)

    def _judge(self, recording: Recording) -> Verdict:
        story, before = STORIES[recording.name], recording.before
        if story.emergency:  # tokens of the suspected key were refused; once everybody has signed in anew, none is
            self._jump(self.estate.clock.now() + TOKEN_LIFE)
            before = replace(before, failures=Before.of(self.estate).failures)
            self._jump(self.estate.clock.now() + TOKEN_LIFE)
        return judge(self.bench.url, story, self.estate, before)

    def _begin(self) -> None:
        self._go_back(Moment(0, "", self._start, 0))

    def _go_back(self, moment: Moment) -> None:
        self.bench.lay(moment.kept)
        JumpClock.jumped = moment.scene.set() - time.time()

    def _keep(self, crossed: int, place: str) -> None:
        assert self._recording is not None
        moments = self._recording.moments
        folder = Path(tempfile.mkdtemp(prefix="scene-", dir=self.folder)) / "secrets"
        moments.append(Moment(crossed, place, Scene(self.estate, folder), self.bench.keep()))

    def _live(self, name: str, **more: Any) -> list[str] | None:
        """Crossings of a life that came to its end; None when it was killed. Raises when it failed."""
        result = Path(tempfile.mktemp(dir=self.folder))
        settings = settings_of(self.estate, watched="2h", **{"clock": {"rate": 1.0}, **STORIES[name].settings})
        life = Life(
            database_url=self.bench.url,
            settings=text_of(settings),
            folder=str(self.folder),
            control=f"http://127.0.0.1:{self._control.server_address[1]}",
            story=name,
            result=str(result),
            **more,
        )
        assert self._zygote.stdin is not None
        assert self._zygote.stdout is not None
        self._zygote.stdin.write(json.dumps(asdict(life)) + "\n")
        self._zygote.stdin.flush()
        status = json.loads(self._zygote.stdout.readline())
        if status["killed"]:
            return None
        text = result.read_text()
        result.unlink()
        if status["code"] != 0:
            raise AssertionError(text)
        return list(json.loads(text))

    # --- time ---------------------------------------------------------------------------------------------------------

    def _round(self) -> None:
        """Every client calls every gateway about once."""
        clients = self.estate.clients
        assert clients is not None
        import random

        chance = random.Random(7)
        for client in clients._population:
            clients._sign_in(client, chance)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        harness = self

        class Handler(BaseHTTPRequestHandler):
            """`/offset` tells how far time was moved; `/jump?to=` moves it, lets every client work, and tells.

            `/keep?crossed=&place=` keeps estate and database as they are.
            """

            def do_GET(self) -> None:
                url = urlsplit(self.path)
                asked = {name: values[0] for name, values in parse_qs(url.query).items()}
                if url.path == "/jump":
                    harness._jump(float(asked["to"]))
                if url.path == "/keep":
                    harness._keep(int(asked["crossed"]), asked["place"])
                body = str(JumpClock.jumped).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *arguments: Any) -> None:
                """Quiet."""

        return Handler

    def _jump(self, to: float) -> None:
        with self._turn:
            ahead = to + 0.001 - (time.time() + JumpClock.jumped)
            if ahead > 0:
                # Time passes in pieces in which clients work, as they would: nobody sleeps through a token's life.
                pieces = min(8, 1 + int(ahead // 900))
                for _ in range(pieces):
                    JumpClock.jumped += ahead / pieces
                    self._round()


@contextmanager
def harness(folder: Path, bench: Bench) -> Iterator[Harness]:
    """A harness that is closed at the end."""
    made = Harness(folder, bench)
    try:
        yield made
    finally:
        made.close()
