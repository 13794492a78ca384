"""Whole rotations through the engine and the real estate on PostgreSQL; `tests/journeys` tells them on SQLite."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bot.core.rotation import Overlap, State
from playground.estate import Estate
from tests.world import World, describe, held, running

pytestmark = pytest.mark.realparts


@pytest.fixture
def estate() -> Iterator[Estate]:
    with Estate.start(rate=1440.0, clients=6, jwks_max_age=300) as running_estate:
        yield running_estate


@pytest.fixture
def world(estate: Estate, postgres_url: str, tmp_path: Path) -> Iterator[World]:
    with running(postgres_url, estate, tmp_path, watched="30m") as started:
        yield started


def approve(world: World, number: int, person: str = "bob") -> None:
    answer = world.say(person, f"approve R-{number}")
    assert answer.good, answer.text


@pytest.mark.timeout(180)
def test_a_signing_key_is_rotated_and_the_old_one_retired(world: World) -> None:
    old = world.estate.signing_kid()
    rotation = world.start()
    assert rotation.state is State.REQUESTED, describe(rotation)
    approve(world, rotation.number)
    promoted = world.wait(rotation.number, lambda r: r.state is State.PROMOTED or held(r))
    assert promoted.state is State.PROMOTED, describe(promoted)
    assert world.estate.signing_kid() != old
    done = world.wait(rotation.number, lambda r: r.is_over or held(r), timeout=150)
    assert done.overlap is Overlap.RETIRED, describe(done)
    assert world.estate.clients is not None
    assert world.estate.clients.stats()["failures_total"] == 0


@pytest.mark.timeout(180)
def test_an_api_key_crosses_from_issuer_to_store(world: World) -> None:
    rotation = world.start("dave", "billing-api-key")
    approve(world, rotation.number)
    done = world.wait(rotation.number, lambda r: r.is_over or held(r), timeout=150)
    assert done.overlap is Overlap.RETIRED, describe(done)
