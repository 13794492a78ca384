"""Runs lives on one ground, and judges what they left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.kill.databases import Bench
from tests.kill.ground import EstateGround, Ground, JumpClock, Kept, pass_time
from tests.kill.judge import Verdict
from tests.kill.life import Life
from tests.kill.stories import STORIES

ROOT = Path(__file__).parents[2]


class Unreached(AssertionError):
    """A life came to its end without crossing the boundary at which it was to die."""


@dataclass(frozen=True)
class Moment:
    """A point of a run at which the bot was idle, to which ground and database can be taken back."""

    crossed: int
    """How many boundaries had been crossed."""
    place: str
    scene: Kept
    kept: int
    """Number of the database."""


@dataclass
class Recording:
    """An undisturbed run."""

    name: str
    naive: bool
    before: Any
    moments: list[Moment]
    crossings: list[str] = field(default_factory=list)
    verdict: Verdict = field(default_factory=lambda: Verdict([]))


class Harness:
    """One ground, one zygote, one database, many experiments."""

    def __init__(self, folder: Path, bench: Bench, ground: Ground) -> None:
        self.folder = folder
        self.bench = bench
        self.ground = ground
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
        self._start = self.ground.keep(self._fresh())
        self._recording: Recording | None = None

    def close(self) -> None:
        """Stop everything."""
        assert self._zygote.stdin is not None
        self._zygote.stdin.close()
        self._zygote.wait(10)
        self._control.shutdown()
        self._control.server_close()
        self.ground.stop()
        self.bench.clear()

    def record(self, name: str, *, naive: bool = False) -> Recording:
        """An undisturbed run, for which experiments can be made until the next one is recorded."""
        self.bench.clear()
        self._begin()
        self._live(name, rehearsal=True)
        self._begin()
        self._recording = recording = Recording(name, naive, self.ground.look(), [])
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
        return self.ground.judge(self.bench.url, STORIES[recording.name], recording.before)

    def _begin(self) -> None:
        self._go_back(Moment(0, "", self._start, 0))

    def _go_back(self, moment: Moment) -> None:
        self.bench.lay(moment.kept)
        JumpClock.jumped = moment.scene.set() - time.time()

    def _keep(self, crossed: int, place: str) -> None:
        assert self._recording is not None
        moments = self._recording.moments
        moments.append(Moment(crossed, place, self.ground.keep(self._fresh()), self.bench.keep()))

    def _fresh(self) -> Path:
        return Path(tempfile.mkdtemp(prefix="scene-", dir=self.folder))

    def _live(self, name: str, **more: Any) -> list[str] | None:
        """Crossings of a life that came to its end; None when it was killed. Raises when it failed."""
        result = Path(tempfile.mktemp(dir=self.folder))
        life = Life(
            database_url=self.bench.url,
            settings=self.ground.settings(STORIES[name]),
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

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        harness = self

        class Handler(BaseHTTPRequestHandler):
            """`/offset` tells how far time was moved; `/jump?to=` moves it, lets the ground live, and tells.

            `/keep?crossed=&place=` keeps ground and database as they are.
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
            pass_time(self.ground, to)


@contextmanager
def harness(folder: Path, bench: Bench, ground: Callable[[Path], Ground] = EstateGround) -> Iterator[Harness]:
    """A harness that is closed at the end."""
    JumpClock.jumped = 0.0  # before there is a ground: whatever it counts begins now
    made = Harness(folder, bench, ground(folder))
    try:
        yield made
    finally:
        made.close()
