"""Home: fresh on every change, silent where nothing changed, inside Slack's limits with ten thousand credentials."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from bot.contracts.command import CredentialView, Finding
from bot.slack.budget import PUBLISHED_PER_MINUTE, Budget
from bot.slack.home import Board, home
from bot.store.records import Declared
from playground.workspace.blocks import check_view
from playground.workspace.records import Delivery
from tests.slack.conftest import House
from tests.store import samples

NOW = datetime(2026, 11, 26, tzinfo=UTC)
HOSTILE = "<!channel> <@U0BOB> *x* `y` & \u202e"


def credential(name: str, standing: str) -> CredentialView:
    return CredentialView(name, name, name, name, name, NOW, NOW, None, 0, standing=standing, snoozed_until=NOW)


def test_every_part_has_a_bound_and_names_are_escaped() -> None:
    board = Board(
        (),
        (),
        [credential(HOSTILE, "overdue")] * 500,
        [HOSTILE] * 50,
        counts={"expired": 3, "overdue": 9_000, "fine": 997, HOSTILE: 1},
        findings=[Finding(HOSTILE, HOSTILE, "no-owner", HOSTILE * 20)] * 200,
        more_running=True,
    )
    view = home(board)
    assert check_view(view, "home") == []
    assert len(view["blocks"]) <= 100
    shown = [block["text"]["text"] for block in view["blocks"] if block["type"] == "section"]
    assert not any("<!channel>" in text or "<@U0BOB>" in text for text in shown)
    assert sum(block["type"] == "actions" for block in view["blocks"]) == 3


def test_what_is_late_comes_first_with_its_next_actions(house: House) -> None:
    with house.bot.database.begin() as tx:
        at = tx.now - timedelta(days=1)
        tx.update_credential("door-key", "production", last_rotated_at=at - timedelta(days=7), next_due=at)
    house.workspace.open_home("alice")
    view = house.wait(lambda: (one := house.workspace.home("alice")) and "*overdue*" in one.words and one)
    assert view.buttons[:4] == [f"credential:{word}" for word in ("start", "snooze", "not-mine", "plan")]
    house.workspace.click("alice", "home", "credential:start")
    house.modal("alice", "Rotate door-key")


def ask_for(house: House, *names: str) -> None:
    """Requests for credentials that nobody rotates."""
    for name in names:
        samples.request(house.bot.database, name)


def under_approval(house: House, user: str = "bob") -> str:
    """What stands under the first heading, once it is there."""
    house.workspace.open_home(user)
    view = house.wait(lambda: house.workspace.home(user))
    return view.words.split("Open rotations")[0]


def test_a_request_is_found_behind_all_that_is_under_way(house: House) -> None:
    ask_for(house, "asked", *(f"busy-{n}" for n in range(61)))
    with house.bot.database.begin() as tx:
        tx.connection.exec_driver_sql("UPDATE rotation SET state = 'held' WHERE number > 1")
    said = under_approval(house)
    assert "R-1" in said
    assert "Nothing waits" not in said
    assert "Older requests" not in said


def test_where_more_wait_than_are_looked_through_it_is_said(house: House) -> None:
    ask_for(house, *(f"asked-{n}" for n in range(60)))
    assert "Older requests may wait too" in under_approval(house)


def test_what_chat_changed_stands_beside_the_file() -> None:
    one = replace(credential("key", "soon"), owner="bob", declared_owner="alice", snooze_note="bob: <!channel>")
    said = json.dumps(home(Board((), (), [one])), ensure_ascii=False)
    assert "bob (file: alice)" in said
    assert "(bob: &lt;!channel&gt;)" in said
    same = replace(one, owner="alice", snoozed_until=None)
    assert "file:" not in json.dumps(home(Board((), (), [same])))


def test_ones_own_findings_come_first(house: House) -> None:
    with house.bot.database.begin() as tx:
        many = [(f"aa-{n:02}", "bob") for n in range(30)] + [("zz-mine", "carol"), ("zz-ours", "sec-oncall")]
        rows = (Declared(name, "production", "key", owner, "by-hand", None) for name, owner in many)
        tx.apply_credentials(rows, partial=True)
    for user, wanted in (("carol", ["zz-mine"]), ("bob", [])):
        house.workspace.open_home(user)
        view = house.wait(lambda user=user: house.workspace.home(user), timeout=30)  # type: ignore[misc]
        listed = re.findall(r"(aa-\d\d|zz-\w+)` in production · It", view.words)
        assert len(listed) == 10
        assert [name for name in listed if name.startswith("zz-mi")] == wanted
        assert listed[: len(wanted)] == wanted


def test_what_is_refused_there_is_told_in_a_direct_message(house: House) -> None:
    """There is no channel to whisper in."""
    state = house.workspace.state
    alice = state.user("alice")
    button = {"type": "button", "action_id": "credential:plan", "block_id": "b", "value": "@production"}
    payload = {
        "type": "block_actions",
        "team": {"id": "T0KEYTURN", "domain": "keyturn"},
        "user": {"id": alice.id, "username": "alice", "name": "alice", "team_id": alice.team_id},
        "api_app_id": "A0KEYTURN",
        "trigger_id": state.trigger(alice.id).id,
        "container": {"type": "view", "view_id": "V0HOME"},
        "view": {"id": "V0HOME", "type": "home"},
        "actions": [{**button, "action_ts": state.stamp()}],
    }
    house.workspace.acts._send(Delivery("interactive", payload, alice.id, "credential:plan")).wait(10)

    def told() -> bool:
        said = [one for place, kept in state.messages.items() if place.startswith("D") for one in kept.values()]
        return any("not one of keyturn's" in one.words for one in said)

    house.wait(told, "a direct message")


def test_it_follows_changes_of_the_inventory_and_says_nothing_twice(house: House) -> None:
    house.workspace.open_home("bob")
    house.wait(lambda: house.workspace.home("bob"))
    published = len(house.workspace.calls_to("views.publish"))
    with house.bot.database.begin() as tx:
        tx.record_setting("a change that no Home shows", "1")
    house.workspace.open_home("carol")
    house.wait(lambda: house.workspace.home("carol"))
    with house.bot.database.begin() as tx:
        due = tx.now + timedelta(days=3)
        tx.update_credential("shed-key", "staging", last_rotated_at=due - timedelta(days=14), next_due=due)
    house.wait(lambda: "shed-key" in house.workspace.home("bob").words, "the new date", timeout=30)  # type: ignore[union-attr]

    def told() -> int:
        calls = house.workspace.calls_to("views.publish")[published:]
        return sum(one.arguments["user_id"] == "U0BOB" for one in calls)

    house.wait(told, "the publication")
    assert told() == 1


def test_ten_thousand_credentials_fit_into_home_and_list(house: House) -> None:
    with house.bot.database.begin() as tx:
        many = (
            Declared(f"key-{n:05}", "production", "key", "alice", "by-hand", timedelta(days=90)) for n in range(10_000)
        )
        tx.apply_credentials(many, partial=True)
    house.workspace.open_home("alice")
    view = house.wait(lambda: house.workspace.home("alice"), timeout=30)
    assert "10002" in view.words
    assert len(view.blocks) <= 100
    house.workspace.type("alice", "ops", "/rotate list")
    told = house.told("alice", "of 10002")
    assert "More on: list --page 2" in told.words


def test_no_more_tabs_are_published_than_slack_takes() -> None:
    now = [0.0]
    budget = Budget(monotonic=lambda: now[0])
    assert all(budget.publish() == 0 for _ in range(PUBLISHED_PER_MINUTE))
    assert budget.publish() == 60.0
    now[0] = 61.0
    assert budget.publish() == 0
    budget.hold("views.publish", 5)
    assert budget.publish() == 5.0
