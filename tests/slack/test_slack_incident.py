"""The incident's channel: made once, furnished step by step, and never a reason for the revocation to wait."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bot.contracts.command import Call, Need
from bot.core.incident import Incident
from bot.core.policy import Person, PersonKind
from bot.core.rotation import Rotation, State
from bot.slack.incident_place import channel_name
from playground.workspace.records import Message
from playground.workspace.seed import BOT_USER, default_seed
from playground.workspace.state import Conversation
from tests.slack.conftest import House, Opener
from tests.slack.rotations import NOW

PLAIN = "approvers: 1, from: [sec-oncall], expires: 30m"
PRIVATE = PLAIN + ", private: true"
INVITE = "incidents: {invite: [sec-oncall, dave, owner], nudge: 1h}\n"
OPENED = "inc-"


def rotation(house: House) -> Rotation:
    with house.bot.database.read() as reader:
        found = reader.rotation(1)
    assert found is not None
    return found


def incident(house: House) -> Incident | None:
    with house.bot.database.read() as reader:
        return reader.incident(1)


def channels(house: House) -> list[Conversation]:
    """The channels that the bot made."""
    return [one for one in house.workspace.state.conversations.values() if one.creator == BOT_USER and not one.is_im]


def approve(house: House) -> Message:
    """Ask to revoke, contain first, and have Bob approve it; the card."""
    card = house.revoke(order="contain-first")
    house.workspace.click("bob", card, "rotate:approve")
    return house.shows("needs a person: Is the suspected one locked out?")


def confirm(house: House, question: str) -> None:
    """Carol confirms the step that asks this, by word, as anybody can who sees no card."""
    house.wait(lambda: question in _asked(house), question)
    house.workspace.type("carol", "ops", "/rotate advance R-1")


def _asked(house: House) -> str:
    found = rotation(house)
    i = found.current
    return found.steps[i].evidence if i is not None else ""


def finish(house: House) -> None:
    """Confirm every step."""
    for question in ("locked out?", "a new one?", "refused everywhere?"):
        confirm(house, question)
    house.wait(lambda: rotation(house).state is State.PROMOTED, "the end of the revocation")


def said(house: House, place: str, text: str, timeout: float = 20.0) -> Message:
    """Wait for a message in a channel (by id) that says this."""

    def look() -> Message | None:
        kept = house.workspace.state.messages.get(place, {}).values()
        return next((one for one in kept if text in one.words and not one.deleted), None)

    return house.wait(look, f"{text!r} in {place}", timeout=timeout)


def room(house: House) -> Conversation:
    """The incident's channel, once the bot knows it."""
    place = settled(house, lambda one: bool(one.place), "a channel").place
    return house.workspace.state.conversations[place]


def settled(house: House, done: Callable[[Incident], bool], what: str) -> Incident:
    def look() -> Incident | None:
        found = incident(house)
        return found if found is not None and done(found) else None

    return house.wait(look, what, timeout=20)


# --- as it should be --------------------------------------------------------------------------------------------------


def test_one_channel_is_made_furnished_and_told_of_every_step(open_house: Opener) -> None:
    house = open_house(revoke=PLAIN, more=INVITE)
    approve(house)
    made = room(house)
    assert made.name.startswith(OPENED)
    assert "door-key" in made.name
    assert made.name.endswith("-r1")
    assert not made.is_private
    settled(house, lambda one: bool(one.room.get("bookmark")), "a furnished room")
    assert {"U0ALICE", "U0BOB", "U0CAROL", "U0DAVE"} <= set(made.members)
    assert made.topic.startswith("UNDER WAY · R-1: door-key (production) is revoked, contain-first")
    status = said(house, made.id, "Incident R-1: door-key in production")
    assert status.pinned
    assert {"rotate:incident:command", "rotate:incident:note"} <= set(status.buttons)
    assert [one["title"] for one in made.bookmarks] == ["Card and history of R-1"], "and no runbook"
    assert made.bookmarks[0]["link"].startswith("http")
    finish(house)
    said(house, made.id, "R-1 (door-key, production) is done")
    said(house, made.id, "Is it refused everywhere?: done")
    told = [one.text for one in house.workspace.state.messages[made.id].values() if "done" in one.text]
    steps = [text for text in told if text.startswith("Is ")]
    assert [text.split("?")[0] for text in steps] == [
        "Is the suspected one locked out",
        "Is there a new one",
        "Is it refused everywhere",
    ]
    house.wait(lambda: "OVER, REVIEW OPEN" in made.topic, "the topic of the end")
    said(house, made.id, "Timeline of incident R-1")
    review = said(house, made.id, "For everybody who used it")
    assert "Was a reminder set for its date?" in review.words
    again = said(house, made.id, "Incident R-1: door-key in production")
    assert again.ts == status.ts, "the status is edited in place"
    assert channels(house) == [made]
    assert len(house.workspace.calls_to("conversations.create")) == 1


def test_the_runbook_is_bookmarked_beside_the_card(open_house: Opener) -> None:
    address = "https://git.example.com/runbooks/{runbook}.md"
    house = open_house(revoke=PLAIN, more=f'incidents: {{nudge: 1h, runbooks: "{address}"}}\n')
    approve(house)
    made = room(house)
    settled(house, lambda one: bool(one.room.get("runbook") and one.room.get("bookmark")), "a furnished room")
    finish(house)
    house.wait(lambda: "OVER, REVIEW OPEN" in made.topic, "the topic of the end")
    links = {one["title"]: one["link"] for one in made.bookmarks}
    assert links.pop("Card and history of R-1").startswith("http")
    assert links == {"Runbook by-hand": "https://git.example.com/runbooks/by-hand.md"}
    assert len(made.bookmarks) == 2, "each once, however often the room was looked at"


def test_a_private_incident_has_a_private_channel(open_house: Opener) -> None:
    house = open_house(revoke=PRIVATE)
    approve(house)
    assert room(house).is_private


def test_people_lead_note_answer_and_close_by_buttons(open_house: Opener) -> None:
    house = open_house(revoke=PLAIN, more=INVITE)
    approve(house)
    made = room(house)
    status = said(house, made.id, "Incident R-1")
    house.wait(lambda: house._known(status), "the bot to know its message")
    house.workspace.click("bob", status, "rotate:incident:command")
    settled(house, lambda one: one.commander == "bob", "Bob in command")
    house.wait(lambda: "Bob Berg" in made.topic, "the topic names who leads")
    house.workspace.click("carol", status, "rotate:incident:note")
    house.modal("carol", "Note")
    house.workspace.submit("carol", {"text": "the partner was told"})
    settled(house, lambda one: [note.text for note in one.notes] == ["the partner was told"], "the note")
    house.workspace.click("carol", status, "rotate:incident:note")
    house.modal("carol", "Note")
    house.workspace.submit("carol", {"text": "ghp_" + "a" * 36})
    view = house.workspace.view("carol")
    assert view is not None
    assert "looks like" in str(view.errors["text"])
    house.workspace.close_view("carol")
    finish(house)
    review = said(house, made.id, "For everybody who used it")
    house.wait(lambda: house._known(review), "the bot to know the review")
    for question in ("alert", "query", "owner", "missing", "coordination", "integrity"):
        house.workspace.click("bob", review, "rotate:incident:answer")
        house.modal("bob", "Review")
        house.workspace.submit("bob", {"question": {"value": question}, "text": f"as to {question}: yes"})
        settled(house, lambda one, q=question: one.answer(q) is not None, question)  # type: ignore[misc]
    house.workspace.click("bob", review, "rotate:incident:close")
    settled(house, lambda one: not one.is_open, "the end")
    house.wait(lambda: made.topic.startswith("CLOSED"), "the topic of the end")
    assert not made.is_archived
    said(house, made.id, "as to owner: yes")


def test_a_click_on_a_copy_counts_and_on_a_look_alike_it_does_not(open_house: Opener) -> None:
    house = open_house(revoke=PLAIN)
    card = house.revoke(order="contain-first")
    copies = house.wait(
        lambda: [one for one in house.workspace.direct_messages("carol") if "EMERGENCY" in one.text], "Carol's copy"
    )
    house.wait(lambda: house._known(copies[0]), "the bot to know the copy")
    house.workspace.click("carol", copies[0], "rotate:approve")
    house.shows("needs a person")
    copy = house.wait(
        lambda: next((m for m in house.workspace.direct_messages("bob") if "needs a person" in m.text), None),
        "Bob's copy follows",
    )
    assert "rotate:approve" not in copy.buttons
    assert card.ts == house.shows("needs a person").ts


# --- refused ----------------------------------------------------------------------------------------------------------

# Where `whole` is true the test waits for the last message, which a channel takes one per second: once per method.
REFUSALS = [
    ("conversations.create", "restricted_action", True),
    ("conversations.create", "missing_scope", False),
    ("conversations.create", "name_taken", False),
    ("conversations.create", "invalid_name_specials", False),
    ("conversations.setTopic", "missing_scope", True),
    ("conversations.setTopic", "too_long", False),
    ("conversations.setTopic", "is_archived", True),
    ("conversations.invite", "missing_scope", True),
    ("conversations.invite", "cant_invite", False),
    ("conversations.invite", "user_not_found", False),
    ("conversations.invite", "not_in_channel", False),
    ("conversations.invite", "is_archived", True),
    ("pins.add", "missing_scope", True),
    ("pins.add", "too_many_pins", False),
    ("pins.add", "permission_denied", False),
    ("bookmarks.add", "missing_scope", True),
    ("bookmarks.add", "too_many_bookmarks", False),
    ("chat.getPermalink", "message_not_found", True),
]


@pytest.mark.parametrize(("method", "error", "whole"), REFUSALS, ids=["-".join(one[:2]) for one in REFUSALS])
def test_what_slack_refuses_stops_nothing_and_is_said(open_house: Opener, method: str, error: str, whole: bool) -> None:
    house = open_house(revoke=PLAIN, more=INVITE)
    house.workspace.faults.web(method, times=None, error=error)
    approve(house)
    finish(house)
    found = settled(house, lambda one: bool(one.place or one.place_note), "a place")
    place = found.place or "C0OPS"
    if method == "conversations.create":
        assert not found.place
        assert "There is no channel of its own" in said(house, "C0OPS", "There is no channel").words
        status = said(house, "C0OPS", "Incident R-1: door-key")
        card = house.card()
        assert card is not None
        assert status.thread_ts == card.ts
    if whole:
        said(house, place if error != "is_archived" else "C0OPS", "Timeline of incident R-1")
    assert len(channels(house)) <= 1


@pytest.mark.parametrize(
    "method", ["conversations.create", "conversations.invite", "conversations.setTopic", "pins.add"]
)
def test_a_rate_limit_is_waited_out_and_the_room_is_furnished_later(open_house: Opener, method: str) -> None:
    house = open_house(revoke=PLAIN, more=INVITE)
    house.workspace.faults.web(method, times=1, status=429, retry_after=1)
    approve(house)
    settled(house, lambda one: bool(one.room.get("bookmark")), "a furnished room")
    assert len(channels(house)) == 1
    assert not settled(house, lambda one: True, "").room.get("refused")


def test_guests_and_leavers_keep_nobody_else_out(open_house: Opener) -> None:
    seed = default_seed()
    next(user for user in seed.users if user.name == "dave").deleted = True
    house = open_house(revoke=PLAIN, more=INVITE, seed=seed)
    approve(house)
    made = room(house)
    settled(house, lambda one: "U0DAVE" in one.room.get("invited", {}), "the invitation")
    assert "U0DAVE" not in made.members
    assert {"U0ALICE", "U0BOB", "U0CAROL"} <= set(made.members)
    said(house, made.id, "Not invited, as Slack says no: U0DAVE")


# --- crashes and outages ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("private", [False, True])
def test_a_channel_whose_making_was_not_heard_of_is_found_again(open_house: Opener, private: bool) -> None:
    house = open_house(revoke=PRIVATE if private else PLAIN, more=INVITE)
    house.workspace.faults.web("conversations.create", cut="after")
    approve(house)
    made = room(house)
    assert channels(house) == [made], "the one that was made, and no second one"
    assert len(house.workspace.calls_to("conversations.create")) == 2


def test_a_bot_that_dies_before_it_noted_its_channel_finds_it_in_the_next_life(open_house: Opener) -> None:
    house = open_house(revoke=PLAIN, more=INVITE)
    house.workspace.faults.web("conversations.create", cut="after")
    card = house.revoke(order="contain-first")
    house.workspace.click("bob", card, "rotate:approve")
    house.wait(lambda: channels(house), "a channel of which nobody heard")
    house.restart()
    made = room(house)
    assert channels(house) == [made]


def test_without_the_scope_to_look_the_thread_is_used_and_no_second_channel_made(open_house: Opener) -> None:
    house = open_house(revoke=PLAIN, more=INVITE, declined=("channels:read", "groups:read"))
    house.workspace.faults.web("conversations.create", cut="after")
    approve(house)
    found = settled(house, lambda one: bool(one.place or one.place_note), "a place")
    assert "does not say whose it is" in found.place_note
    assert len(channels(house)) == 1


def test_a_name_that_somebody_else_has_gets_a_number(open_house: Opener) -> None:
    house = open_house(revoke=PLAIN, more=INVITE)
    house.workspace.faults.web("conversations.create", times=1, error="name_taken")
    approve(house)
    assert room(house).name.endswith("-r1-2")
    assert len(channels(house)) == 1


def test_an_archived_channel_sends_the_incident_to_the_cards_thread(open_house: Opener) -> None:
    house = open_house(revoke=PLAIN, more=INVITE)
    approve(house)
    made = room(house)
    settled(house, lambda one: bool(one.room.get("bookmark")), "a furnished room")
    house.workspace.archive(made.name)
    finish(house)
    said(house, "C0OPS", "Incident R-1: door-key")
    assert not settled(house, lambda one: True, "").place
    assert len(channels(house)) == 1


def test_slack_down_at_the_approval_is_caught_up_with_when_it_is_back(open_house: Opener) -> None:
    house = open_house(revoke=PLAIN, more=INVITE)
    card = house.revoke(order="contain-first")
    house.workspace.faults.at("conversations.create", house.workspace.faults.down)
    house.workspace.click("bob", card, "rotate:approve")
    house.wait(lambda: house.workspace.faults.outage, "the outage")
    person = Person("carol", "Carol", frozenset({"U0CAROL"}), PersonKind.MEMBER)
    for _ in range(3):
        house.wait(lambda: rotation(house).state is State.ASKING, "the next question")
        house.bot.engine.board.advance(Call("advance", Need.ADVANCE, person, surface="cli"), "R-1", "seen")
    house.wait(lambda: rotation(house).state is State.PROMOTED, "the end, without Slack")
    house.workspace.faults.up()
    made = house.wait(lambda: channels(house), "the channel", timeout=40)
    assert len(made) == 1
    said(house, made[0].id, "Timeline of incident R-1", timeout=60)


# --- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("credential", "prefix", "attempt", "name"),
    [
        ("identity-signing", "inc", 1, "inc-2026-11-20-identity-signing-r7"),
        ("identity-signing", "inc", 2, "inc-2026-11-20-identity-signing-r7-2"),
        ("Bücher/API_Key.v2", "sec inc!", 1, "sec-inc-2026-11-20-bucher-api-key-v2-r7"),
        ("鍵", "inc", 1, "inc-2026-11-20-credential-r7"),
        ("x" * 200, "inc", 3, "inc-2026-11-20-" + "x" * 60 + "-r7-3"),
    ],
)
def test_channels_are_named_within_slacks_rules(credential: str, prefix: str, attempt: int, name: str) -> None:
    made = channel_name(prefix, Incident(7, credential, "production", False, NOW, "alice"), attempt)
    assert made == name
    assert len(made) <= 80


# --- the budget of edits ----------------------------------------------------------------------------------------------


def test_an_emergency_is_drawn_although_ordinary_rotations_use_up_the_edits(open_house: Opener) -> None:
    house = open_house(revoke=PLAIN, more=INVITE, edits=10)
    house.start()
    waits = [house.room.budget.edit(10_000 + i, "card", urgent=False) for i in range(10)]
    assert waits[-1] > 30, "other rotations have used up the minute"
    card = house.revoke(order="contain-first")
    house.workspace.click("bob", card, "rotate:approve")
    found = house.wait(lambda: house.card(2) if "needs a person" in (house.card(2) or card).words else None, "the card")
    assert found.ts == card.ts
