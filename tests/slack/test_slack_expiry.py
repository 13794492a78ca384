"""The incident of an expiry in Slack: card and status have the buttons of each stage, and the way to the recovery."""

from __future__ import annotations

import pytest

from bot.core.rotation import State
from playground.workspace.records import Message
from tests.slack.conftest import House, Opener
from tests.slack.test_slack_incident import INVITE, channels, incident, rotation, said, settled


def expire(house: House) -> Message:
    """Alice says that it expired; the card that asks what the first stage asks."""
    house.workspace.type("alice", "ops", '/rotate expired door-key --reason "the door refuses everybody"')
    return house.shows("Identify what expired")


def stage(house: House, name: str) -> Message:
    """The card once it asks this, and the bot knows it for its own."""

    def look() -> bool:
        found = rotation(house)
        i = found.current
        return i is not None and found.plan.steps[i].id == name and found.state is State.ASKING

    house.wait(look, name)
    house.wait(lambda: f"rotate:advance:{name}" in (house.card() or _nothing()).buttons, f"the button of {name}")
    return house.wait(lambda: house._known(house.card()), "the bot to know its card")


def _nothing() -> Message:
    raise AssertionError("there is no card")


def test_the_stages_are_passed_by_buttons_and_the_recovery_is_one_click_away(open_house: Opener) -> None:
    house = open_house(more=INVITE)
    card = expire(house)
    assert "INCIDENT" in card.words
    assert "Its class is key." in card.words
    assert {"rotate:advance:identify", "rotate:fix:lost", "rotate:start"} <= set(card.buttons)
    assert not {"rotate:rollback", "rotate:cancel", "rotate:skip"} & set(card.buttons)
    settled(house, lambda one: bool(one.place), "its channel")
    (made,) = channels(house)
    house.wait(lambda: "has expired in use" in made.topic, "the topic")
    status = said(house, made.id, "Incident R-1: door-key in production")
    assert {"rotate:advance:identify", "rotate:start", "rotate:incident:note"} <= set(status.buttons)
    said(house, made.id, "door-key in production has expired in use (R-1)")

    house.wait(lambda: house._known(status), "the bot to know its message")
    house.workspace.click("bob", status, "rotate:advance:identify")
    stage(house, "contain")
    house.workspace.click("alice", house.shows("Never move its expiry by hand"), "rotate:advance:contain")
    stage(house, "investigate")

    house.workspace.click("alice", house.shows("five questions"), "rotate:start")
    form = house.modal("alice", "Rotate door-key")
    assert "runbook" in form.words
    house.workspace.submit("alice", {"boxes": ["notified"], "reason": "it expired"})
    second = house.wait(lambda: house.card(2), "the card of the recovery")
    house.wait(lambda: house._known(second), "the bot to know it")
    assert rotation(house).plan.word == "expired"
    with house.bot.database.read() as reader:
        recovery = reader.rotation(2)
    assert recovery is not None
    assert (recovery.plan.word, recovery.state, recovery.missing_approvals) == ("start", State.REQUESTED, 1)


def test_a_click_on_a_stage_that_is_not_done_says_what_is_missing(open_house: Opener) -> None:
    house = open_house(more=INVITE)
    expire(house)
    for name in ("identify", "contain"):
        house.workspace.click("alice", stage(house, name), f"rotate:advance:{name}")
    house.workspace.click("alice", stage(house, "investigate"), "rotate:advance:investigate")
    house.told("alice", "Questions of R-1 are open")
    found = incident(house)
    assert found is not None
    assert found.is_open
    house.workspace.type("alice", "ops", "/rotate incident R-1 --close")
    house.told("alice", "still under way")


@pytest.mark.parametrize("word", ["cancel", "rollback"])
def test_it_cannot_be_taken_back(open_house: Opener, word: str) -> None:
    house = open_house(more=INVITE)
    expire(house)
    house.workspace.type("alice", "ops", f'/rotate {word} R-1 --reason "no"')
    house.told("alice", "R-1 is an incident")


def test_a_symptom_lists_what_may_be_behind_it(open_house: Opener) -> None:
    house = open_house(more=INVITE)
    house.workspace.type("alice", "ops", '/rotate expired "nobody knows where the key is"')
    house.told("alice", "These may be behind it")
    assert rotation_count(house) == 0


def rotation_count(house: House) -> int:
    with house.bot.database.read() as reader:
        return len(reader.rotations(limit=5))
