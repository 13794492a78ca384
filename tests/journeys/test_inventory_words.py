"""The inventory by people in a workspace and on the command line, and a workflow that rotates a credential."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from bot.core.rotation import State
from tests.journeys.conftest import TownOpener

pytestmark = pytest.mark.journey


def test_every_word_of_the_inventory(open_town: TownOpener) -> None:
    town = open_town(estate={"clients": 1})
    workspace = town.workspace
    town.type("alice", "record billing-api-key")
    town.modal("alice", "Rotated by hand")
    workspace.submit("alice", {"old": "key-7", "new": "key-8", "reason": "before keyturn"})
    refused = town.told("alice", "its system says that").words
    used = re.search(r"ak-[0-9a-f]+", refused)
    assert used is not None
    town.ask("alice", f'record billing-api-key --old key-7 --new {used[0]} --reason "by hand"', "by hand is recorded")

    def dated() -> bool:
        with town.database.read() as reader:
            return reader.credential("billing-api-key")[0].next_due is not None

    town.until(dated, "the next date, a moment later")
    listed = town.ask("erin", "list --expiring 365d", "the next due first").words
    assert "billing-api-key" in listed
    assert "identity-signing" not in listed
    town.type("alice", "own billing-api-key")
    town.modal("alice", "Owner")
    workspace.submit("alice", {"person": "bob"})
    town.told("alice", "belongs to bob")
    assert "billing-api-key" in town.ask("bob", "list --owner me", "This is 1 credential").words
    town.type("bob", "snooze billing-api-key")
    town.modal("bob", "Snooze")
    workspace.submit("bob", {"days": "1", "reason": "release"})
    town.told("bob", "is not reminded until")
    shown = town.ask("bob", "forecast 370d", "due within 370 days")
    assert "data_visualization" in {block["type"] for block in shown.blocks}
    town.ask("bob", "list --unmanaged", "No credential that you may see is like that")
    workspace.open_home("bob")
    town.until(lambda: (home := workspace.home("bob")) and "Your credentials by due date" in home.words, "bob's Home")
    events = town.events()
    for event in ("credential.recorded", "credential.owned", "credential.snoozed"):
        assert event in events
    assert not workspace.complaints


def test_a_workflow_rotates_by_the_same_path(open_town: TownOpener) -> None:
    town = open_town(estate={"rate": 2400.0, "clients": 1, "token_life": 3600, "jwks_max_age": 300})
    town.workspace.faults.duplicate("function_executed")
    asked = {"credential": "identity-signing@production", "reason": "somebody left"}
    execution = town.workspace.run_step("alice", "rotate_credential", asked)
    town.shows(1, "somebody left")
    for box in [box.name for box in town.rotation(1).boxes if not box.ticked]:
        town.click("alice", 1, f"tick:{box}")
        town.until(lambda box=box: next(b for b in town.rotation(1).boxes if b.name == box).ticked, box)
    town.approve(1)
    town.wait(1, lambda r: r.state is State.PROMOTED, 60)
    town.until(lambda: execution.state == "completed", lambda: f"{execution}\n{town.tell(1)}")
    assert execution.outputs["rotation"] == "R-1"
    assert town.events().count("rotation.requested") == 1


def test_the_command_line_lists_and_draws(open_town: TownOpener, tmp_path: Path) -> None:
    town = open_town(estate={"clients": 1}, change=as_host_user)
    said = town.keyturn("run", "list --findings", "--json")
    assert said.returncode == 0, said.stderr
    assert {one["name"] for one in json.loads(said.stdout)["data"]["credentials"]} == {
        "billing-api-key",
        "identity-signing",
    }
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: no picture was drawn")
    picture = tmp_path / "forecast.png"
    said = town.keyturn("forecast", "--png", str(picture), "--json")
    assert said.returncode == 0, said.stderr
    assert json.loads(said.stdout)["data"]["days"] == 90
    assert picture.read_bytes().startswith(b"\x89PNG")
    said = town.keyturn("forecast", "--png", str(tmp_path / "no" / "such" / "folder.png"))
    assert said.returncode == 1
    assert "cannot be written" in said.stderr


def as_host_user(declared: dict[str, Any]) -> None:
    """Whoever runs the tests is carol on the host."""
    import os
    import pwd

    declared["people"]["carol"]["os"] = pwd.getpwuid(os.getuid()).pw_name
