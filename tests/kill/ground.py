"""The ground that a bot is killed on: the small estate, whose clients call when time jumps and not by themselves."""

from __future__ import annotations

import random
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import httpx

from playground.estate import Estate
from playground.estate.clock import VirtualClock
from playground.estate.server import Reply, Request
from playground.installation import settings_of, text_of
from tests.kill.judge import Before, Verdict, judge
from tests.kill.scene import Scene
from tests.kill.stories import Story

TOKEN_LIFE = 3600.0


class JumpClock(VirtualClock):
    """Real time plus jumps: waits are skipped, nothing runs faster."""

    jumped = 0.0

    def now(self) -> float:
        return time.time() + JumpClock.jumped


class Kept(Protocol):
    """A ground as it stood at a moment."""

    def set(self) -> float:
        """Make it so again; the time that it was then."""
        ...


class Ground(Protocol):
    """What the bot works on. Everything but the bot, its database and the clock."""

    def settings(self, story: Story) -> str:
        """The text of `keyturn.yml`."""
        ...

    def keep(self, folder: Path) -> Kept:
        """Taken while no bot is at work."""
        ...

    def live(self) -> None:
        """Let everything that is not the bot do what it does as time passes."""
        ...

    def look(self) -> Any:
        """What a verdict compares with: taken before a run."""
        ...

    def judge(self, database_url: str, story: Story, before: Any) -> Verdict:
        """What a run has left."""
        ...

    def stop(self) -> None: ...


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


class EstateGround:
    """Implements `Ground` with two gateways and three clients."""

    def __init__(self, folder: Path) -> None:
        self.estate = Estate.start(
            clock=JumpClock(1.0),
            gateways=2,
            clients=3,
            applications=("billing", "reports"),
            calls_per_second=1e-6,
            restart_seconds=0.01,
            directory=folder / "estate",
        )
        assert self.estate.clients is not None
        shortcut = httpx.Client(transport=_Shortcut(self.estate))
        self.estate.clients._http = shortcut
        for gateway in self.estate.gateways:
            gateway._http = gateway._boot.cache._http = shortcut
        self.live()

    def settings(self, story: Story) -> str:
        return text_of(settings_of(self.estate, watched="2h", **{"clock": {"rate": 1.0}, **story.settings}))

    def keep(self, folder: Path) -> Scene:
        return Scene(self.estate, folder / "secrets")

    def live(self) -> None:
        """Every client calls every gateway about once."""
        clients = self.estate.clients
        assert clients is not None
        chance = random.Random(7)
        for client in clients._population:
            clients._sign_in(client, chance)

    def look(self) -> Before:
        return Before.of(self.estate)

    def judge(self, database_url: str, story: Story, before: Before) -> Verdict:
        if story.emergency:  # tokens of the suspected key were refused; once everybody has signed in anew, none is
            pass_time(self, self.estate.clock.now() + TOKEN_LIFE)
            before = replace(before, failures=self.look().failures)
            pass_time(self, self.estate.clock.now() + TOKEN_LIFE)
        return judge(database_url, story, self.estate, before)

    def stop(self) -> None:
        self.estate.stop()


def pass_time(ground: Ground, to: float) -> None:
    """Time passes in pieces in which the ground lives: nobody sleeps through a token's life."""
    ahead = to + 0.001 - (time.time() + JumpClock.jumped)
    if ahead > 0:
        pieces = min(8, 1 + int(ahead // 900))
        for _ in range(pieces):
            JumpClock.jumped += ahead / pieces
            ground.live()
