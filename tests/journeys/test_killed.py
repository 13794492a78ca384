"""kill -9 in the middle of a rotation, and another start: it goes on, on the same card."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from bot.core.rotation import Overlap, Rotation, Stage
from bot.keys import make_keys
from tests.journeys.conftest import TownOpener
from tests.journeys.town import BRISK, Process, Town, held

pytestmark = [pytest.mark.journey, pytest.mark.timeout(150)]
ROTATE = "/api/v1/admin/keys/rotate"


def finish(town: Town, number: int) -> Rotation:
    """Wait for the end; a held step is a failure."""
    done = town.wait(number, lambda r: r.is_over or held(r), 90)
    assert done.overlap is Overlap.RETIRED, town.tell(number)
    return done


def running_in(town: Town, number: int, processes: list[Process]) -> Process | None:
    """The process that runs a step now."""
    for run in town.rotation(number).steps:
        if run.stage is Stage.RUNNING:
            return next((one for one in processes if f"-{one.popen.pid}-" in run.worker), None)
    return None


def test_a_bot_that_is_killed_twice_goes_on_where_it_was(open_town: TownOpener) -> None:
    town = open_town(begin=False)
    process = town.run().wait_ready()
    town.workspace.wait_connected()
    number = town.start()
    card = town.shows(number, "asks to rotate")
    hung = town.estate.identity.faults.add("hang", ROTATE, "POST", times=1, seconds=2.0)
    town.approve(number)
    town.until(lambda: hung.fired and running_in(town, number, [process]), lambda: town.tell(number), 20)
    process.kill()

    process = town.run().wait_ready()
    town.wait(number, lambda r: town.stage(number, "healthy") is Stage.WAITING, 60)
    process.kill()
    town.run().wait_ready()
    finish(town, number)
    done = town.shows(number, "the old one is retired", "Due again", timeout=40)
    assert done.ts == card.ts
    assert "step.lost" in town.events(number)
    states = sorted(key["state"] for key in town.estate.identity.keys.all())
    assert states == ["current", "disabled"]
    verified = town.keyturn("audit", "verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr


def test_what_was_said_before_the_kill_is_done_after_it(open_town: TownOpener) -> None:
    """An acknowledged click is durable, whatever happens to the process."""
    town = open_town(begin=False, estate={**BRISK, "clients": 2})
    process = town.run().wait_ready()
    town.workspace.wait_connected()
    number = town.start()
    card = town.shows(number, "asks to rotate")
    killer = threading.Thread(target=process.kill)
    town.workspace.click("bob", card, "rotate:approve")
    killer.start()
    killer.join()
    town.run().wait_ready()
    finish(town, number)
    assert town.events(number).count("vote.counted") == 1


@pytest.mark.realparts
def test_on_postgresql_another_replica_takes_over(open_town: TownOpener, postgres_url: str) -> None:
    """Two processes on one database: the one that is in the middle of a step is killed, and stays dead."""
    town = open_town(begin=False, database_url=postgres_url)
    make_keys(Path(town.environ["KEYTURN_KEYS"]))
    replicas = [town.run("serve"), town.run("worker")]
    for replica in replicas:
        replica.wait_ready()
    town.workspace.wait_connected()
    number = town.start()
    card = town.shows(number, "asks to rotate")
    hung = town.estate.identity.faults.add("hang", ROTATE, "POST", times=1, seconds=9.0)
    town.approve(number)
    victim = town.until(
        lambda: running_in(town, number, replicas) if hung.fired else None, lambda: town.tell(number), 20
    )
    victim.kill()
    lost = town.until(
        lambda: next((row for row in town.audit(number) if row.event == "step.lost"), None),
        lambda: town.tell(number),
        60,
    )
    assert f"-{victim.popen.pid}-" in lost.detail["worker"]
    if victim is replicas[0]:
        town.run("serve").wait_ready()
    finish(town, number)
    others = {row.detail["worker"] for row in town.audit(number) if row.event == "step.intent"}
    assert any(f"-{victim.popen.pid}-" not in worker for worker in others)
    done = town.shows(number, "the old one is retired", timeout=40)
    assert done.ts == card.ts
    assert sorted(key["state"] for key in town.estate.identity.keys.all()) == ["current", "disabled"]
    verified = town.keyturn("audit", "verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr
