"""A workspace, a client that talks to it as to Slack, and a sample app that lives in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from endpoint import Endpoint
from sample_app import Bot, manifest, web_client
from slack_sdk import WebClient

from playground.workspace import Workspace

Start = Callable[..., Workspace]


@pytest.fixture
def start() -> Iterator[Start]:
    """Opens workspaces and closes them at the end of the test."""
    opened: list[Workspace] = []

    def begin(**options: Any) -> Workspace:
        options.setdefault("manifest", manifest())
        options.setdefault("rate_factor", 0)
        options.setdefault("retry_delays", (0.0, 0.1, 0.2))
        workspace = Workspace.start(**options)
        opened.append(workspace)
        return workspace

    yield begin
    for workspace in opened:
        workspace.close()


@pytest.fixture
def ws(start: Start) -> Workspace:
    """A workspace with the default seed, without rate limits."""
    return start()


@pytest.fixture
def client(ws: Workspace) -> WebClient:
    """The app's Web API client."""
    return web_client(ws)


@pytest.fixture
def make_bot() -> Iterator[Callable[[Workspace], Bot]]:
    """Connects sample apps to workspaces and hangs up at the end of the test."""
    bots: list[Bot] = []

    def make(ws: Workspace) -> Bot:
        bot = Bot(ws)
        bot.connect()
        bots.append(bot)
        return bot

    yield make
    for bot in bots:
        bot.close()


@pytest.fixture
def bot(ws: Workspace, make_bot: Callable[[Workspace], Bot]) -> Bot:
    """The sample app, connected to `ws`."""
    return make_bot(ws)


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    """A request URL."""
    made = Endpoint()
    yield made
    made.close()
