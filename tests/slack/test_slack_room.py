"""The room as a whole: starting without Slack, scopes that were declined, and what is never written anywhere."""

from __future__ import annotations

import logging

import pytest

from bot.core.errors import Permanent
from bot.core.secret import Secret
from bot.slack.room import Room
from tests.slack.conftest import House, Opener


def test_a_bot_that_starts_while_slack_is_away_is_there_when_slack_is(open_house: Opener) -> None:
    house = open_house(start=False)
    house.workspace.faults.down()
    house.begin()
    assert not house.room.connected()
    house.workspace.faults.up()
    house.wait(house.room.connected, timeout=20)
    house.wait(lambda: house.workspace.type("alice", "ops", "/rotate help").acked, timeout=20)
    house.start()


def test_a_token_that_slack_refuses_ends_the_start_with_a_sentence(open_house: Opener) -> None:
    house = open_house(start=False)
    house.room._identity._api._client.token = "xoxb-wrong"
    with pytest.raises(Permanent, match="SLACK_BOT_TOKEN"):
        house.room.start()


def test_declined_scopes_are_named_on_home_and_stop_nothing(open_house: Opener) -> None:
    declined = ("chat:write.public", "channels:join", "channels:history", "groups:history")
    house = open_house(declined=declined)
    house.start()
    house.workspace.open_home("alice")
    home = house.wait(lambda: house.workspace.home("alice"))
    for scope in declined:
        assert scope in home.words
    house.workspace.type("bob", "ops", "/rotate approve R-1")
    house.shows("needs a person")


def test_home_follows_what_happens(house: House) -> None:
    house.workspace.open_home("bob")
    house.wait(lambda: (view := house.workspace.home("bob")) and "No rotation is open" in view.words)
    house.start()
    house.wait(lambda: (view := house.workspace.home("bob")) and "R-1" in view.words, "Home shows R-1", timeout=20)
    assert len(house.workspace.calls_to("views.publish")) <= 4


def test_a_guest_sees_nothing_on_home(house: House) -> None:
    house.start()
    house.workspace.open_home("gus")
    home = house.wait(lambda: house.workspace.home("gus"))
    assert "full members" in home.words
    assert "door-key" not in home.words


def test_no_token_and_no_typed_secret_is_written_to_any_log(
    open_house: Opener, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("slack_bolt", "slack_sdk", "keyturn", "bot"):
        caplog.set_level(logging.DEBUG, logger=name)
    house = open_house(transport="http")
    secret = "ghp_0123456789abcdefghijklmnopqrstuvwxyz"
    house.workspace.type("alice", "ops", f"/rotate start door-key --reason {secret}")
    house.told("alice", "looks like")
    card = house.start()
    house.workspace.click("bob", card, "rotate:approve")
    house.shows("needs a person")
    house.workspace.faults.web("chat.update", error="fatal_error")
    house.workspace.type("carol", "ops", "/rotate advance R-1")
    house.shows("needs a person: Is the new one in use?")
    written = caplog.text
    tokens = house.workspace.tokens
    for marked in (secret, tokens.bot, tokens.app, tokens.signing_secret):
        assert marked not in written
    assert secret.encode() not in b"".join(path.read_bytes() for path in house.folder.glob("keyturn.db*"))


def test_the_room_keeps_tokens_out_of_reprs(house: House) -> None:
    assert isinstance(house.settings.environment.bot_token, Secret)
    assert house.workspace.bot_token not in repr(vars(house.room))
    assert isinstance(house.room, Room)


def test_a_group_that_changed_is_forgotten_at_once(house: House) -> None:
    people = house.bot.people
    assert people is not None
    assert people.groups(["sec-oncall"]) == {"sec-oncall": frozenset({"bob", "carol"})}
    assert people.remembered(["sec-oncall"])["sec-oncall"] is not None
    house.workspace.set_group("sec-oncall", ["carol"])
    house.wait(lambda: people.remembered(["sec-oncall"])["sec-oncall"] is None, "the group to be forgotten")
    assert people.groups(["sec-oncall"]) == {"sec-oncall": frozenset({"carol"})}, "asked anew, within the seconds"


def test_home_shows_emergencies_first_to_those_who_may_approve_them(open_house: Opener) -> None:
    house = open_house(revoke="approvers: 1, from: [sec-oncall], expires: 30m")
    house.start()
    house.revoke()
    house.workspace.open_home("bob")

    def seen() -> str:
        view = house.workspace.home("bob")
        return view.words if view is not None and "EMERGENCY" in view.words else ""

    words = house.wait(seen, "an emergency on Home")
    assert words.index("EMERGENCY") < words.index("R-1* ")
