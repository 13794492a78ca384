"""The same words on the command line of the bot's host, beside a running bot."""

from __future__ import annotations

import getpass
import json
from typing import Any

import pytest

from bot.core.rotation import Overlap
from tests.journeys.conftest import TownOpener
from tests.journeys.town import Town

pytestmark = [pytest.mark.journey, pytest.mark.timeout(120)]


def as_alice(settings: dict[str, Any]) -> None:
    """The user of this process is alice."""
    settings["people"]["alice"]["os"] = getpass.getuser()
    settings["roles"]["operators"]["who"].append("alice")


@pytest.fixture
def host(open_town: TownOpener) -> Town:
    """A town whose bot is a process, so that the command line works beside it."""
    town = open_town(begin=False, change=as_alice)
    town.run().wait_ready()
    town.workspace.wait_connected()
    return town


def test_a_rotation_is_begun_on_the_host_and_approved_in_slack(host: Town) -> None:
    seen = host.keyturn("run", 'start identity-signing --reason "weekly"')
    assert seen.returncode == 0, seen.stderr
    assert "Nothing is started yet" in seen.stdout
    assert "Plan sha256:" in seen.stdout
    begun = host.keyturn("run", 'start identity-signing --reason "weekly" --yes', "--json")
    assert begun.returncode == 0, begun.stdout + begun.stderr
    assert json.loads(begun.stdout)["rotation"] == 1
    ticked = host.keyturn("run", "tick R-1 notified")
    assert ticked.returncode == 0, ticked.stderr
    assert "Your name stands beside notified of R-1" in ticked.stdout
    for box in [box.name for box in host.rotation(1).boxes if not box.ticked]:
        host.type("erin", f"tick R-1 {box}")
    alone = host.keyturn("run", "approve R-1")
    assert alone.returncode == 1
    assert "counts only with your SSH signature" in alone.stderr
    assert "keyturn approve R-1 --credential identity-signing" in alone.stderr
    card = host.shows(1, "asks to rotate")
    assert "<@U0ALICE>" in card.words
    host.approve(1)
    host.wait(1, lambda r: r.overlap is Overlap.RETIRED, 60)

    status = host.keyturn("run", "status R-1", "--json")
    assert status.returncode == 0
    assert json.loads(status.stdout)["data"]["overlap"] == "retired"
    listed = host.keyturn("run", "list", "--json")
    assert listed.returncode == 0
    assert {one["name"] for one in json.loads(listed.stdout)["data"]["credentials"]} == {
        "identity-signing",
        "billing-api-key",
    }
    story = host.keyturn("run", "history identity-signing")
    assert "alice asked for this rotation" in story.stdout
    assert host.keyturn("audit", "verify").returncode == 0
    exported = [json.loads(line) for line in host.keyturn("audit", "export").stdout.splitlines()]
    assert [row["seq"] for row in exported] == list(range(1, len(exported) + 1))


def test_problems_are_one_and_wrong_use_is_two(host: Town) -> None:
    for words, code, told in (
        ("strat identity-signing", 2, "Did you mean start"),
        ("start identity-signing --raeson x", 2, "Did you mean --reason?"),
        ("start identity-singing --reason x --yes", 1, "Did you mean identity-signing?"),
        ("status R-99", 2, "There is no rotation R-99"),
    ):
        done = host.keyturn("run", words)
        assert (done.returncode, told in done.stderr) == (code, True), f"{words}: {done}"
        assert "Traceback" not in done.stderr
    machine = host.keyturn("run", "status R-99", "--json")
    assert json.loads(machine.stdout)["good"] is False
    assert host.events().count("rotation.requested") == 0


def test_without_a_worker_what_was_said_waits_for_one(open_town: TownOpener) -> None:
    town = open_town(begin=False, change=as_alice)
    assert town.keyturn("apply", "--yes").returncode == 0
    stored = town.keyturn("run", "start identity-signing --reason weekly --yes", "--wait", "0.5")
    assert stored.returncode == 1
    assert "It will be done as soon as one runs" in stored.stderr
    town.run().wait_ready()
    town.shows(1, "asks to rotate")
