"""The branches of the troubleshooting: who only looks may look early, a repair waits for the approval."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from playground.estate import Estate
from tests.world import World, running


@pytest.fixture
def estate() -> Iterator[Estate]:
    with Estate.start(rate=1440.0, clients=0) as started:
        yield started


@pytest.fixture
def world(estate: Estate, tmp_path: Path) -> Iterator[World]:
    with running(f"sqlite:///{tmp_path}/keyturn.db", estate, tmp_path) as started:
        yield started


def test_nothing_is_repaired_on_a_request_that_nobody_approved(world: World) -> None:
    number = world.start().number
    refused = world.say("alice", f"fix R-{number} restart-gateways")
    assert not refused.good
    assert refused.text == f"R-{number} still waits for approval; nothing is repaired before that."
    assert [gateway.restarts for gateway in world.estate.gateways] == [0, 0, 0]
    assert world.say("alice", f"fix R-{number} cache-age").good
