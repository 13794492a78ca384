"""While an emergency waits for a condition, people see what is measured; the last readings are kept, no more."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bot.core.rotation import Rotation, Stage, State
from bot.engine.executor import MOST_READINGS
from bot.slack.charts import points
from playground.estate import Estate
from tests.world import World, running

RUNBOOK = """
runbook: watched
summary: Watch after an emergency, for the tests of the readings alone.
inputs: {gateways: {type: list}}
rollback_within: 10m
before: []
with: {gateways: "${{ inputs.gateways }}"}
steps:
  - {id: done, ask: "Is it done?"}
emergency:
  order: replace-first
  steps:
    - id: watch
      wait: 10m
      every: 5s
      until: {check: gateways.success_rate, expect: {above: 10%, over: 5m}}
"""


@pytest.fixture
def estate() -> Iterator[Estate]:
    with Estate.start(rate=60.0, clients=6, calls_per_second=40.0) as started:
        yield started


@pytest.fixture
def world(estate: Estate, tmp_path: Path) -> Iterator[World]:
    (tmp_path / "runbooks").mkdir()
    (tmp_path / "runbooks" / "watched.yaml").write_text(RUNBOOK)
    credential = {
        "name": "watched-key",
        "environment": "production",
        "class": "signing-key",
        "owner": "alice",
        "runbook": "watched",
        "inputs": {"gateways": [gateway.name for gateway in estate.gateways]},
    }
    roles = {"all": {"who": "everyone", "may": ["start", "revoke", "advance"]}}
    changes = {"runbooks": ["runbooks"], "credentials": [credential], "roles": roles}
    with running(f"sqlite:///{tmp_path}/keyturn.db", estate, tmp_path, **changes) as started:
        yield started


def test_an_emergency_is_measured_while_it_waits_and_its_readings_are_kept(world: World) -> None:
    answer = world.say("alice", 'revoke watched-key --reason "seen in a log"', confirmed=True)
    assert answer.rotation is not None, answer.text
    world.say("bob", f"approve R-{answer.rotation}")
    most = 0

    def watched(rotation: Rotation) -> bool:
        nonlocal most
        found = points(rotation.steps[0].progress)
        most = max(most, len(found))
        assert [moment for moment, _ in found] == sorted(moment for moment, _ in found)
        return rotation.steps[0].stage is Stage.DONE

    rotation = world.wait(answer.rotation, watched)
    assert rotation.state is State.PROMOTED
    assert 5 <= most <= MOST_READINGS
