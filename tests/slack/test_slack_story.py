"""A whole rotation through Slack, over both transports, and what people see on the way."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest

from bot.store.records import Declared
from playground.workspace import Message
from tests.slack.conftest import House, Opener


@pytest.mark.parametrize("transport", ["socket", "http"])
def test_a_rotation_from_the_start_form_to_the_end(open_house: Opener, transport: str) -> None:
    house = open_house(transport=transport)
    slack = house.workspace
    typed = slack.type("alice", "ops", '/rotate start door-key --reason "weekly"')
    assert typed.acked
    form = house.modal("alice", "Rotate door-key")
    assert "by-hand" in form.words
    assert "sha256:" in form.words
    slack.submit("alice", {"boxes": ["notified"], "reason": "weekly, as every week"})
    card = house.shows("asks to rotate")
    house.wait(lambda: house._known(card), "the bot to know its card")
    assert "weekly, as every week" in card.words
    assert "door-key" in card.text
    assert "production" in card.text
    slack.click("alice", card, "rotate:approve")
    house.told("alice", "You asked for")
    slack.click("bob", card, "rotate:approve")
    house.told("bob", "is counted")
    card = house.shows("needs a person: Is the new one in place?")
    assert "<@U0BOB>" in card.words
    slack.click("carol", card, _confirm(card))
    card = house.shows("needs a person: Is the new one in use?")
    slack.click("carol", card, _confirm(card))
    card = house.shows("the old one is being retired")
    slack.click("carol", card, _confirm(card))
    card = house.shows("Done at")
    assert card.buttons == []
    assert "due again" in card.text
    slack.type("dave", "ops", "/rotate history door-key")
    story = house.told("dave", "weekly, as every week")
    assert "bob approved it" in story.words
    assert "carol confirmed first" in story.words
    log = house.wait(lambda: [one for one in slack.thread("ops", card.ts) if "The log of R-1" in one.words])
    assert len(log) == 1
    asked = 3  # people are told in the thread that a step needs them
    posts = [call for call in slack.calls_to("chat.postMessage") if call.ok]
    digests = [call for call in posts if re.match(r"\d+ credentials? of ", call.arguments["text"])]  # the month's
    assert len(posts) - len(digests) <= 4 + asked
    assert slack.complaints == []
    assert [call.error for call in slack.calls if call.error] == []


def test_the_same_story_by_words_alone(open_house: Opener) -> None:
    house = open_house()
    slack = house.workspace
    house.start()
    slack.type("bob", "ops", "/rotate approve R-1")
    house.told("bob", "is counted")
    house.shows("needs a person: Is the new one in place?")
    for question in ("Is the new one in place?", "Is the new one in use?", "Is the old one gone?"):
        house.wait(lambda asked=question: [one for one in slack.messages("ops") if f"asks: {asked}" in one.text])
        slack.type("carol", "ops", '/rotate advance R-1 --evidence "seen"')
    house.shows("Done at")


def test_a_reason_is_asked_for_in_a_modal(open_house: Opener) -> None:
    house = open_house()
    slack = house.workspace
    card = house.start()
    slack.click("alice", card, "rotate:cancel")
    house.modal("alice", "Withdraw")
    slack.submit("alice", {"reason": "the wrong door"})
    card = house.shows("nothing was changed")
    assert "the wrong door" in card.words
    assert slack.view("alice") is None


def test_bare_rotate_offers_the_credentials(open_house: Opener) -> None:
    house = open_house()
    slack = house.workspace
    slack.type("alice", "ops", "/rotate")
    house.modal("alice", "Rotate a credential")
    offered = house.wait(lambda: slack.suggest("alice", "modal", "value", "door"))
    assert [one["value"] for one in offered] == ["door-key@production"]
    slack.fill("alice", {"credential": "door-key@production", "reason": "picked"})
    slack.submit("alice")
    form = house.modal("alice", "Rotate door-key")
    assert "by-hand" in form.words
    slack.submit("alice", {"boxes": ["notified"]})
    assert "picked" in house.shows("asks to rotate").words


def test_what_is_typed_is_found_among_all_credentials_and_what_is_due_next_comes_first(house: House) -> None:
    slack = house.workspace
    with house.bot.database.begin() as tx:
        names = [*(f"aa-{n:04}" for n in range(1200)), "zz-late"]
        many = [Declared(name, "production", "key", "alice", "by-hand", None) for name in names]
        tx.apply_credentials(many, partial=True)
        for name, days in (("zz-late", 1), ("door-key", 9)):
            tx.update_credential(name, "production", next_due=tx.now + timedelta(days=days), remind_at=None)
        tx.update_credential("shed-key", "staging", next_due=None, remind_at=None)
    slack.type("alice", "ops", "/rotate")
    house.modal("alice", "Rotate a credential")

    def offered(typed: str) -> list[str]:
        return [one["value"] for one in slack.suggest("alice", "modal", "value", typed)]

    house.wait(lambda: offered(""))
    assert offered("")[:3] == ["zz-late@production", "door-key@production", "aa-0000@production"]
    assert len(offered("")) == 100
    assert offered("ZZ-l") == ["zz-late@production"]
    assert offered("aa-1199@prod") == ["aa-1199@production"]
    assert offered("-key@stag") == ["shed-key@staging"]


def test_a_plan_that_is_refused_stands_in_the_modal(open_house: Opener) -> None:
    house = open_house()
    slack = house.workspace
    slack.type("alice", "ops", "/rotate start dor-key --reason x")
    assert "door-key" in house.modal("alice", "No plan").words


def test_skipping_needs_a_second_person_on_the_card(open_house: Opener) -> None:
    house = open_house()
    slack = house.workspace
    card = house.start()
    slack.click("bob", card, "rotate:approve")
    card = house.shows("needs a person: Is the new one in place?")
    slack.click("alice", card, "rotate:skip")
    house.modal("alice", "Skip a step")
    slack.submit("alice", {"reason": "it is there already"})
    card = house.shows("asks to skip")
    slack.click("alice", card, "rotate:approve")
    house.told("alice", "somebody else")
    slack.click("carol", card, "rotate:approve")
    house.shows("needs a person: Is the new one in use?")


def test_home_shows_what_waits_for_me(open_house: Opener) -> None:
    house = open_house()
    slack = house.workspace
    house.start()
    slack.open_home("bob")
    home = house.wait(lambda: (view := slack.home("bob")) and "R-1" in view.words and view)
    assert "Waiting for your approval" in home.words
    assert "approve R-1" in home.words
    slack.open_home("alice")
    mine = house.wait(lambda: slack.home("alice"))
    assert "Nothing waits for your approval" in mine.words
    assert "door-key" in mine.words


def test_a_mention_in_a_thread_answers_questions_only(open_house: Opener) -> None:
    house = open_house()
    slack = house.workspace
    card = house.start()
    slack.say("dave", "ops", "@keyturn status R-1", thread_ts=card.ts)
    said = house.told("dave", "R-1 rotates door-key")
    assert said.thread_ts == card.ts
    slack.say("dave", "ops", "@keyturn approve R-1", thread_ts=card.ts)
    house.told("dave", "type: /rotate approve")


def _confirm(card: Message) -> str:
    """The Confirm button names the gate that it is for."""
    return next(action for action in card.buttons if action.startswith("rotate:advance"))
