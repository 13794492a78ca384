"""Runs lives against one estate, and judges what they left behind."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from bot.store.database import Database
from playground.estate import Estate
from playground.estate.clock import VirtualClock
from playground.installation import settings_of, text_of
from tests.kill.life import Life

ROOT = Path(__file__).parents[2]


class JumpClock(VirtualClock):
    """Real time plus jumps: waits are skipped, nothing runs faster."""

    jumped = 0.0

    def now(self) -> float:
        return time.time() + JumpClock.jumped


@dataclass
class Verdict:
    """What a run left."""

    finished: bool
    state: dict[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    crossings: list[str] = field(default_factory=list)


class Harness:
    """One estate, one zygote, many experiments."""

    def __init__(self, folder: Path) -> None:
        JumpClock.jumped = 0.0
        self.folder = folder
        self.estate = Estate.start(
            clock=JumpClock(1.0),
            gateways=2,
            clients=3,
            applications=("billing", "reports"),
            calls_per_second=0.001,
            directory=folder / "estate",
        )
        self.settings = text_of(settings_of(self.estate, watched="2h", clock={"rate": 1.0}))
        self._control = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        threading.Thread(target=self._control.serve_forever, daemon=True).start()
        self._zygote = subprocess.Popen(
            [sys.executable, "-m", "tests.kill.zygote"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._turn = threading.Lock()
        self._round()

    def close(self) -> None:
        """Stop everything."""
        assert self._zygote.stdin is not None
        self._zygote.stdin.close()
        self._zygote.wait(10)
        self._control.shutdown()
        self._control.server_close()
        self.estate.stop()

    def run(self, database_url: str, credential: str, *, die_at: int = 0, **more: Any) -> Verdict:
        """One experiment: live, dying at the boundary if one is given, then live again until it ends; judge."""
        self._tidy()
        before = self._keys()
        failures = self._failures()
        crossings: list[str] = []
        died = self._live(database_url, credential, die_at, **more)
        if died is None:
            self._live_on(database_url, credential, **more)
        else:
            crossings = died
        verdict = self._judge(database_url, credential, before, rolled_back=bool(more.get("roll_back_at")))
        verdict.crossings = crossings
        if self._failures() != failures:
            verdict.problems.append(f"{self._failures() - failures} logins failed")
        return verdict

    def _tidy(self) -> None:
        """A key that was rolled back stays published for its tokens; when those are gone, take it out."""
        left = [key["kid"] for key in self.estate.identity.keys.all() if key["state"] == "previous"]
        if left:
            self._jump(time.time() + JumpClock.jumped + 7200)
        for kid in left:
            self.estate.identity.keys.disable(kid)

    def _live_on(self, database_url: str, credential: str, **more: Any) -> None:
        if self._live(database_url, credential, 0, **more) is None:
            raise AssertionError("a life that nobody killed did not end by itself")

    def _live(self, database_url: str, credential: str, die_at: int, **more: Any) -> list[str] | None:
        """Crossings of a life that came to its end; None when it was killed. Raises when it failed."""
        result = Path(tempfile.mktemp(dir=self.folder))
        life = Life(
            database_url=database_url,
            settings=self.settings,
            folder=str(self.folder),
            control=f"http://127.0.0.1:{self._control.server_address[1]}",
            credential=credential,
            requester="alice" if credential == "identity-signing" else "dave",
            result=str(result),
            die_at=die_at,
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

    # --- judging ------------------------------------------------------------------------------------------------------

    def _judge(self, database_url: str, credential: str, before: dict[str, Any], *, rolled_back: bool) -> Verdict:
        database = Database.open(database_url)
        try:
            with database.read() as reader:
                (known,) = reader.rotations(limit=2)
                rotation = reader.rotation(known.number)
                rows = list(reader.audit_rows())
        finally:
            database.close()
        assert rotation is not None
        verdict = Verdict(rotation.is_over)
        verdict.state = {
            "state": rotation.state.value,
            "overlap": rotation.overlap.value,
            "steps": {
                planned.id: run.stage.value for planned, run in zip(rotation.plan.steps, rotation.steps, strict=True)
            },
        }
        problems = verdict.problems
        began: set[tuple[str, str]] = set()
        for row in rows:
            key = (row.event.partition(".")[0], str(row.detail.get("step")))
            if row.event in ("step.intent", "undo.intent"):
                began.add(key)
            if row.event in ("step.outcome", "undo.outcome") and key not in began:
                problems.append(f"{key} has an outcome without an earlier intent")
        after = self._keys()
        if credential == "identity-signing":
            problems += _judge_signing(before["signing"], after["signing"], rolled_back)
        else:
            problems += self._judge_api_key(before["api"], after["api"], rolled_back)
        return verdict

    def _judge_api_key(self, before: list[Any], after: list[Any], rolled_back: bool) -> list[str]:
        old, left = [key["id"] for key in before], [key["id"] for key in after]
        problems = []
        if len(left) != 1 or (left == old) is not rolled_back:
            problems.append(f"api keys of billing: {old} became {left}")
        folder = self.estate.secrets_directory / "billing"
        versions = sorted(path.name for path in (folder / "versions").iterdir())
        if (folder / "current" / "id").read_text().strip() != left[0]:
            problems.append("the current secret is not the living key's")
        if len(versions) != 1:
            problems.append(f"secret versions left: {versions}")
        return problems

    def _keys(self) -> dict[str, Any]:
        keys = self.estate.identity.keys.all()
        api = [key for key in self.estate.identity.api_keys.all() if key["client"] == "billing"]
        return {"signing": keys, "api": api}

    def _failures(self) -> int:
        assert self.estate.clients is not None
        return int(self.estate.clients.stats()["failures_total"])

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
            """`/offset` tells how far time was moved; `/jump?to=` moves it, lets every client work, and tells."""

            def do_GET(self) -> None:
                url = urlsplit(self.path)
                if url.path == "/jump":
                    harness._jump(float(parse_qs(url.query)["to"][0]))
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


def _judge_signing(before: list[Any], after: list[Any], rolled_back: bool) -> list[str]:
    def kids(keys: list[Any], *states: str) -> list[str]:
        return sorted(str(key["kid"]) for key in keys if key["state"] in states)

    problems = []
    living = ("next", "current", "previous")
    if len(kids(after, "current")) != 1:
        problems.append(f"current keys: {kids(after, 'current')}")
    # What was rolled back after it had signed stays published, so that its tokens go on working until they end.
    left = sorted(
        {*kids(before, *living), *kids(after, "previous")} - (set() if rolled_back else {*kids(before, "current")})
    )
    expected = left if rolled_back else sorted({*left, *kids(after, "current")})
    if kids(after, *living) != expected or kids(after, "next") != kids(before, "next"):
        problems.append(f"living keys went from {kids(before, *living)} to {kids(after, *living)}")
    if (kids(after, "current") == kids(before, "current")) is not rolled_back:
        problems.append(f"the key in use went from {kids(before, 'current')} to {kids(after, 'current')}")
    made = len(after) - len(before)
    if made > 1:
        problems.append(f"{made} keys were made")
    return problems


@contextmanager
def harness(folder: Path) -> Iterator[Harness]:
    """A harness that is closed at the end."""
    made = Harness(folder)
    try:
        yield made
    finally:
        made.close()
