"""The inventory in Slack: forms of snooze, own and record, buttons of a reminder, and charts with their fallback."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from bot.contracts.command import Answer, Chart
from bot.slack.answers import answer
from bot.slack.blocks import section
from bot.slack.credential_forms import buttons
from bot.slack.pictures import drawn, native
from bot.store.records import CredentialRow
from bot.store.tables import CREDENTIAL
from playground.workspace.blocks import check_blocks
from playground.workspace.records import Message
from tests.slack.conftest import House

HOSTILE = "<!channel> & `x` \u202e*b* $x_{1}$"


def row(house: House, name: str = "door-key") -> CredentialRow:
    with house.bot.database.read() as reader:
        return reader.credential(name)[0]


def due_in(house: House, days: float) -> None:
    with house.bot.database.begin() as tx:
        at = tx.now + timedelta(days=days)
        tx.update_credential(
            "door-key", "production", last_rotated_at=at - timedelta(days=7), next_due=at, remind_at=None
        )


def reminder(house: House, name: str = "door-key") -> Message:
    """A message with the buttons of a reminder, posted by the app as reminders are."""
    assert house.bot.people is not None
    blocks = [section("`door-key` is due."), buttons(name, "production")]
    house.bot.people.api.call("chat.postMessage", channel="C0OPS", text="door-key is due.", blocks=blocks)
    return next(one for one in reversed(house.workspace.messages("ops")) if "door-key is due." in one.text)


def chart(categories: tuple[str, ...], *series: tuple[str, tuple[float, ...]]) -> Chart:
    return Chart(HOSTILE, categories, series or (("all", tuple(1.0 for _ in categories)),), "x", "y", HOSTILE)


def test_snooze_by_button_asks_for_days_and_a_reason(house: House) -> None:
    due_in(house, 6)
    house.workspace.click("alice", reminder(house), "credential:snooze")
    house.modal("alice", "Snooze")
    house.workspace.submit("alice", {"days": "0.5", "reason": "release"})
    view = house.modal("alice", "Snooze")
    assert "number of days" in view.errors["days"]
    house.workspace.submit("alice", {"days": "1", "reason": "release"})
    house.told("alice", "The owner of door-key")
    assert row(house).snoozed_until is not None
    house.workspace.click("alice", reminder(house), "credential:snooze")
    house.modal("alice", "Snooze")
    house.workspace.submit("alice", {"days": "60", "reason": "later"})
    house.told("alice", "at most")


def test_own_by_typing_the_word_alone(house: House) -> None:
    house.workspace.type("alice", "ops", "/rotate own door-key")
    house.modal("alice", "Owner")
    house.workspace.submit("alice", {})
    assert house.modal("alice", "Owner").errors
    house.workspace.submit("alice", {"person": "bob"})
    house.told("alice", "belongs to bob")
    assert row(house).owner == "bob"
    house.workspace.type("alice", "ops", "/rotate own door-key @carol")
    house.told("alice", "belongs to carol")
    house.workspace.type("alice", "ops", "/rotate list --owner @carol")
    assert "shed-key" not in house.told("alice", "This is 1 credential").words


def test_not_mine_start_and_plan(house: House) -> None:
    house.workspace.click("alice", reminder(house), "credential:not-mine")
    house.modal("alice", "Not mine")
    house.workspace.submit("alice", {"reason": "moved teams"})
    house.told("alice", "has no owner now")
    house.workspace.click("bob", reminder(house), "credential:plan")
    house.told("bob", "would be done")
    house.workspace.click("bob", reminder(house), "credential:start")
    house.modal("bob", "Rotate door-key")


def test_record_refuses_a_value_beside_its_field(house: House) -> None:
    house.workspace.type("alice", "ops", "/rotate record door-key")
    view = house.modal("alice", "Rotated by hand")
    filled = {"old": "key-7", "new": "aB3dE5gH7jK9mN1pQ3", "reason": "lost in a taxi"}
    house.workspace.submit("alice", filled)
    view = house.modal("alice", "Rotated by hand")
    assert "looks like a value" in view.errors["new"]
    assert "aB3dE5" not in repr(view.errors)
    house.workspace.submit("alice", {"new": "key-8"})
    house.told("alice", "by hand is recorded")
    with house.bot.database.read() as reader:
        told = [one.detail for one in reader.audit_rows() if "new" in one.detail]
    assert told[-1]["new"] == "key-8"
    assert "aB3dE5" not in repr(told)


FOUND = ("identity.keys:web/kid 7", "gateways:https://edge.example.com:8443/<!channel>&`x`", "found:a (at) b")
"""Places that nobody declares, as systems name them."""


def found(house: House, *names: str) -> None:
    """Discovered, and declared by nobody."""
    with house.bot.database.begin() as tx:
        (known,) = tx.connection.execute(CREDENTIAL.select().where(CREDENTIAL.c.name == "door-key")).mappings()
        at = {"next_due": tx.now + timedelta(days=6), "expires_at": tx.now + timedelta(days=6), "remind_at": None}
        as_found = {"source": "discovery", "status": "unmanaged", "runbook": "", "cadence": None} | at
        for name in names:
            tx.connection.execute(CREDENTIAL.insert(), {**known, **as_found, "name": name, "place": name})


@pytest.mark.parametrize("name", FOUND)
def test_the_buttons_of_a_credential_that_nobody_declares(house: House, name: str) -> None:
    found(house, name)
    message = reminder(house, name)
    house.workspace.click("alice", message, "credential:snooze")
    house.modal("alice", "Snooze")
    house.workspace.submit("alice", {"days": "1", "reason": "release"})
    house.told("alice", "is not reminded until")
    assert row(house, name).snoozed_until is not None
    house.workspace.click("alice", message, "credential:plan")
    house.told("alice", "has no runbook")
    house.workspace.click("bob", message, "credential:start")
    house.wait(lambda: "has no runbook" in (view.words if (view := house.workspace.view("bob")) else ""), "why not")
    house.workspace.click("alice", message, "credential:not-mine")
    house.modal("alice", "Not mine")
    house.workspace.submit("alice", {"reason": "moved teams"})
    house.told("alice", "has no owner now")
    assert "@channel" not in message.text


@pytest.mark.parametrize("value", ["", "door-key@production; drop", " door-key", "x" * 400, "door\u202ekey"])
def test_a_button_that_is_not_ours_does_nothing(house: House, value: str) -> None:
    copied: dict[str, Any] = buttons("door-key", "production")
    for one in copied["elements"]:
        one["value"] = value or "@"
    assert house.bot.people is not None
    house.bot.people.api.call("chat.postMessage", channel="C0OPS", text="a copy", blocks=[copied])
    message = next(one for one in house.workspace.messages("ops") if one.text == "a copy")
    house.workspace.click("alice", message, "credential:start")
    house.told("alice", "not one of keyturn")


def test_a_chart_is_shown_natively_and_in_characters_where_slack_does_not_take_it(house: House) -> None:
    due_in(house, 10)
    house.workspace.type("alice", "ops", "/rotate forecast 30d")
    shown = house.told("alice", "due within 30 days")
    assert "data_visualization" in {block["type"] for block in shown.blocks}
    house.workspace.faults.web("chat.postEphemeral", error="invalid_blocks")
    house.workspace.type("alice", "ops", "/rotate forecast 31d")
    shown = house.told("alice", "due within 31 days")
    assert "data_visualization" not in {block["type"] for block in shown.blocks}
    assert "█" in shown.words


@pytest.mark.parametrize("count", [1, 20, 60])
def test_charts_keep_slacks_limits_whatever_is_in_them(count: int) -> None:
    categories = tuple(f"{HOSTILE}{'x' * 40}" for _ in range(count))
    many = chart(categories, *((HOSTILE, tuple(float(n) for n in range(count))) for _ in range(15)))
    message = answer(Answer("Look.", charts=(many, many, many)))
    assert check_blocks(message.blocks, "message") == []
    assert message.plain is not None
    assert check_blocks(message.plain, "message") == []
    for block in (*native([many]), *drawn([many])):
        assert "<!channel>" not in repr(block) or block["type"] == "data_visualization"


def test_the_workspace_is_as_strict_as_slack_about_charts() -> None:
    good = native([chart(("a", "b"))])[1]
    assert check_blocks([good], "message") == []
    assert check_blocks([good], "home"), "charts are for messages alone"
    assert check_blocks([good] * 3, "message"), "two to a message"
    for spoiled in (
        {**good, "title": "x" * 51},
        {**good, "chart": {**good["chart"], "series": []}},
        {**good, "chart": {**good["chart"], "series": good["chart"]["series"] * 2}},
        {**good, "chart": {**good["chart"], "axis_config": {"categories": ["b", "a"]}}},
        {**good, "chart": {**good["chart"], "axis_config": {"categories": ["x" * 21, "b"]}}},
        {**good, "chart": {"type": "donut", "segments": []}},
        {**good, "chart": {"type": "pie", "segments": [{"label": "a", "value": 0}]}},
    ):
        assert check_blocks([spoiled], "message"), spoiled
