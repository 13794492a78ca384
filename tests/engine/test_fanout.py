"""One operation over many targets inside one step: bounded, recorded per target, resumed where it stopped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from threading import Barrier

import pytest

from bot.core.errors import Transient
from bot.core.rotation import Overlap, State
from bot.engine.fanout import measure_each
from playground.estate import Estate
from playground.installation import settings_of
from tests.world import World, describe, held, running

RUNBOOK = """
runbook: restart-all
summary: Restart every gateway, each once, so that all of them read the key set anew.
inputs:
  gateways: {type: list}
rollback_within: 5m
before: []
steps:
  - id: restart
    do: gateways.restart
    each: "${{ inputs.gateways }}"
    at_once: 2
    tries: 3
    with: {gateway: "${{ each }}"}
  - id: fresh
    check: gateways.caches_fresh
    with: {gateways: "${{ inputs.gateways }}"}
"""


@pytest.fixture
def estate() -> Iterator[Estate]:
    with Estate.start(rate=1440.0, clients=3, gateways=5, restart_seconds=0.05) as started:
        yield started


@pytest.fixture
def world(estate: Estate, tmp_path: Path) -> Iterator[World]:
    (tmp_path / "runbooks").mkdir()
    (tmp_path / "runbooks" / "restart-all.yaml").write_text(RUNBOOK)
    credential = {
        **settings_of(estate)["credentials"][0],
        "name": "gateways",
        "runbook": "restart-all",
        "inputs": {"gateways": [gateway.name for gateway in estate.gateways]},
    }
    database = f"sqlite:///{tmp_path}/keyturn.db"
    with running(database, estate, tmp_path, runbooks=["runbooks"], credentials=[credential]) as started:
        yield started


def restarts(estate: Estate) -> list[int]:
    return [gateway.calls["POST /admin/restart"] for gateway in estate.gateways]


def go(world: World) -> int:
    rotation = world.start("alice", "gateways")
    assert world.say("bob", f"approve R-{rotation.number}").good
    return rotation.number


def test_every_target_once_and_a_row_for_each(world: World) -> None:
    number = go(world)
    done = world.wait(number, lambda r: r.is_over or held(r))
    assert (done.state, done.overlap) == (State.PROMOTED, Overlap.NONE), describe(done)
    assert restarts(world.estate) == [1, 1, 1, 1, 1]
    with world.database.read() as reader:
        assert {name: row.stage for name, row in reader.targets(number, 0).items()} == {
            gateway.name: "done" for gateway in world.estate.gateways
        }
        told = [row.detail["target"] for row in reader.history(rotation=f"R-{number}", event="step.targets", limit=50)]
    assert sorted(told) == sorted(gateway.name for gateway in world.estate.gateways)


def test_only_what_failed_is_tried_again(world: World) -> None:
    stubborn = world.estate.gateway("gateway-3")
    fault = stubborn.faults.add("status", path="/admin/restart", times=1, status=503)
    number = go(world)
    done = world.wait(number, lambda r: r.is_over or held(r))
    assert done.is_over, describe(done)
    assert fault.fired == 1
    assert restarts(world.estate) == [1, 1, 1, 1, 1], "a spoilt call does no work and does not count"
    with world.database.read() as reader:
        rows = reader.history(rotation=f"R-{number}", event="step.targets", limit=50)
    told = [(row.detail["target"], row.detail["result"]) for row in reversed(rows)]
    assert told.count(("gateway-3", "failed")) == 1
    assert sorted(target for target, result in told if result == "done") == sorted(
        g.name for g in world.estate.gateways
    )


def test_a_target_that_refuses_holds_the_step_and_retry_goes_on_there(world: World) -> None:
    world.estate.gateway("gateway-2").faults.turn("reject_admin", True)
    number = go(world)
    stopped = world.wait(number, held)
    assert "4 of 5 targets done" in stopped.steps[0].problem
    assert "gateway-2" in stopped.steps[0].problem
    world.estate.heal()
    assert world.say("alice", f"retry R-{number}").good
    done = world.wait(number, lambda r: r.is_over)
    assert done.state is State.PROMOTED, describe(done)
    assert [count for i, count in enumerate(restarts(world.estate)) if i != 1] == [1, 1, 1, 1]


def test_many_are_looked_at_side_by_side_and_told_in_their_order() -> None:
    together = Barrier(4)

    def one(name: str) -> str:
        together.wait(10)  # breaks unless four look at the same time
        return name.upper()

    names = [f"gw-{n}" for n in range(8)]
    assert list(measure_each(names, 4, one).items()) == [(name, name.upper()) for name in names]


def test_the_first_failure_in_their_order_is_the_one_that_is_told() -> None:
    def one(name: str) -> str:
        if name != "a":
            raise Transient(name)
        return name

    with pytest.raises(Transient, match="b"):
        measure_each(["a", "b", "c"], 3, one)
