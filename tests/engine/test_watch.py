"""A change that is watched is undone when the watch fails, and also when nothing can be seen any more."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bot.core.rotation import State
from playground.estate import Estate
from tests.world import World, describe, held, running

RUNBOOK = """
runbook: promote-only
summary: Publish a key and promote it under watch, for the tests of the watch alone.
inputs:
  service: {type: url}
  gateways: {type: list}
facts:
  old_kid: {read: identity.signing_kid}
rollback_within: 5m
before: []
with: {service: "${{ inputs.service }}", gateways: "${{ inputs.gateways }}"}
steps:
  - id: publish
    do: identity.publish_key
  - id: learn
    wait: 20m
  - id: promote
    do: identity.promote_key
    tries: 3
    with: {kid: "${{ steps.publish.kid }}", old: "${{ facts.old_kid }}"}
    watch: {check: gateways.success_rate, expect: {above: 99%, over: 5m}, every: 2m, for: 2h}
"""


@pytest.fixture
def estate() -> Iterator[Estate]:
    with Estate.start(rate=1440.0, clients=6, calls_per_second=40.0) as started:
        yield started


@pytest.fixture
def world(estate: Estate, tmp_path: Path) -> Iterator[World]:
    (tmp_path / "runbooks").mkdir()
    (tmp_path / "runbooks" / "promote-only.yaml").write_text(RUNBOOK)
    inputs = {"service": estate.identity.address, "gateways": [gateway.name for gateway in estate.gateways]}
    credential = {
        "name": "promoted",
        "environment": "production",
        "class": "signing-key",
        "owner": "alice",
        "runbook": "promote-only",
        "inputs": inputs,
    }
    database = f"sqlite:///{tmp_path}/keyturn.db"
    with running(database, estate, tmp_path, runbooks=["runbooks"], credentials=[credential]) as started:
        yield started


def test_a_watch_that_goes_blind_undoes_the_change(world: World) -> None:
    estate = world.estate
    old = estate.signing_kid()
    rotation = world.start("alice", "promoted")
    assert world.say("bob", f"approve R-{rotation.number}").good
    world.wait(rotation.number, lambda r: "watch_since" in r.steps[2].progress or held(r))
    assert estate.signing_kid() != old
    assert estate.clients is not None
    estate.clients.faults.turn("paused", True)  # no traffic: nothing can be measured
    stopped = world.wait(rotation.number, held)
    assert stopped.state is State.HELD, describe(stopped)
    assert "could not be measured" in stopped.steps[2].problem
    assert estate.signing_kid() == old
    assert not stopped.steps[2].touched
