"""The messenger against everything that Slack may do: limits, outages, lost answers, deleted cards, closed channels."""

from __future__ import annotations

from itertools import pairwise

import pytest

from bot.contracts.command import Call, Need
from bot.core.policy import Person, PersonKind
from bot.slack.budget import Budget
from playground.workspace.blocks import check_blocks
from playground.workspace.records import Message
from tests.slack.conftest import House, Opener


def approve(house: House) -> Message:
    """Bob approves R-1 by words, and the first question is asked."""
    house.workspace.type("bob", "ops", "/rotate approve R-1")
    return house.shows("needs a person: Is the new one in place?")


def advance(house: House) -> None:
    """Advance beside Slack, as the command line does."""
    person = Person("carol", "Carol", frozenset({"U0CAROL"}), PersonKind.MEMBER)
    house.bot.engine.board.advance(Call("advance", Need.ADVANCE, person, surface="cli"), "R-1", "seen")


def stage(house: House, step: int) -> str:
    with house.bot.database.read() as reader:
        rotation = reader.rotation(1)
    assert rotation is not None
    return rotation.steps[step].stage.value


def test_rate_limits_are_rows_and_the_card_catches_up(house: House) -> None:
    house.start()
    house.workspace.faults.web("chat.update", times=2, status=429, retry_after=1)
    approve(house)
    calls = house.workspace.calls_to("chat.update")
    first = next(i for i, call in enumerate(calls) if call.status == 429)
    assert calls[first + 1].at - calls[first].at >= 0.95, "Slack said when to come back"


def test_a_lost_answer_to_a_post_does_not_post_twice(house: House) -> None:
    house.workspace.faults.web("chat.postMessage", cut="after")
    house.start()
    house.wait(lambda: house.workspace.calls_to("conversations.history"), "looking before posting again")
    approve(house)  # which says that there is one card only


def test_a_lost_answer_without_the_scope_to_look_still_shows_a_card(open_house: Opener) -> None:
    house = open_house(declined=("channels:history", "groups:history"))
    house.workspace.faults.web("chat.postMessage", cut="before")
    house.start()
    approve(house)


def test_an_outage_stops_no_rotation_and_ends_in_one_right_card(house: House) -> None:
    card = house.start()
    approve(house)
    house.workspace.faults.down()
    advance(house)
    house.wait(lambda: stage(house, 1) == "asking", "the rotation goes on without Slack")
    advance(house)
    house.wait(lambda: stage(house, 2) == "asking")
    house.workspace.faults.up()
    final = house.wait(lambda: "old one is being retired" in house.shows("R-1").words and house.card(), timeout=40)
    assert isinstance(final, Message)
    assert final.ts == card.ts
    assert len([one for one in house.workspace.messages("ops") if "asks: Is the old one gone?" in one.text]) <= 1


def test_a_deleted_card_is_drawn_again(house: House) -> None:
    card = house.start()
    house.workspace.delete_message(card)
    again = approve(house)
    assert again.ts != card.ts


def test_an_archived_channel_sends_the_card_to_the_requester(house: House) -> None:
    house.start()
    house.workspace.archive("ops")
    house.workspace.type("bob", "security", "/rotate approve R-1")
    found = house.wait(
        lambda: [one for one in house.workspace.direct_messages("alice") if "needs a person" in one.text],
        "a direct message",
    )
    assert "rotate:advance:first" in found[0].buttons
    house.wait(lambda: house._known(found[0]), "the bot to know its card")
    house.workspace.click("alice", found[0], "rotate:advance:first")
    house.wait(lambda: stage(house, 1) == "asking", "a button in the direct message works")
    with house.bot.database.read() as reader:
        notes = [one.note for one in reader.drawings(1)]
    assert any("C0OPS does not take messages" in note for note in notes)


def test_a_public_channel_is_joined_where_that_is_missing(open_house: Opener) -> None:
    house = open_house(channel="C0AUDIT", declined=("chat:write.public",))
    house.workspace.type("alice", "ops", '/rotate start door-key --reason "weekly"')
    house.modal("alice", "Rotate door-key")
    house.workspace.submit("alice", {"boxes": ["notified"]})
    house.wait(lambda: house.card(channel="audit"), "a card in the channel")
    assert [call.ok for call in house.workspace.calls_to("conversations.join")] == [True]


def test_a_channel_that_is_not_there_sends_the_card_to_the_requester(open_house: Opener) -> None:
    house = open_house(channel="C0NOWHERE")
    house.workspace.type("alice", "ops", '/rotate start door-key --reason "weekly"')
    house.modal("alice", "Rotate door-key")
    house.workspace.submit("alice", {"boxes": ["notified"]})
    house.wait(lambda: [one for one in house.workspace.direct_messages("alice") if "asks to rotate" in one.text])


def test_an_answer_reaches_a_person_who_is_not_in_the_channel(house: House) -> None:
    house.start()
    house.workspace.leave("bob", "ops")
    delivered = house.workspace.type("bob", "general", "/rotate approve R-1")
    assert delivered.acked
    house.wait(lambda: [one for one in house.workspace.direct_messages("bob") if "is counted" in one.text])


def test_blocks_that_slack_does_not_take_leave_the_sentence(house: House) -> None:
    house.workspace.faults.web("chat.postMessage", error="invalid_blocks")
    card = house.start()
    assert "asks to rotate" in card.text
    assert "rotate:approve" in house.shows("asks to rotate").buttons or card.blocks == []


def test_a_restart_in_the_middle_goes_on_with_the_same_card(house: House) -> None:
    card = house.start()
    house.restart()
    assert approve(house).ts == card.ts


def test_a_claim_that_died_is_looked_for_before_it_is_posted(house: House) -> None:
    """As after kill -9 between the post and its record: the message is there, the row does not know it."""
    card = house.start()
    house.bot.stop()
    with house.bot.database.begin() as tx:
        row = next(one for one in tx.drawings(1) if one.form == "card")
        tx.redraw(row.id)
        tx.claim_drawings(tx.now, tx.now, 5)
    house.restart()
    assert approve(house).ts == card.ts


def test_what_is_posted_is_inside_slacks_limits(house: House) -> None:
    house.start(reason="x" * 400)
    approve(house)
    for message in house.workspace.messages("ops"):
        assert check_blocks(message.blocks, "message") == []


def test_edits_of_one_card_are_seconds_apart(open_house: Opener) -> None:
    house = open_house(paced=True)
    card = house.start()
    approve(house)
    advance(house)
    house.shows("needs a person: Is the new one in use?")
    advance(house)
    house.shows("the old one is being retired")
    times = [call.at for call in house.workspace.calls_to("chat.update") if call.arguments.get("ts") == card.ts]
    assert len(times) >= 2
    assert all(later - earlier >= 2.4 for earlier, later in pairwise(times))


def test_the_budget_of_edits_keeps_a_reserve_for_urgent_ones() -> None:
    clock = [0.0]
    budget = Budget(10, monotonic=lambda: clock[0])
    assert [budget.edit(i, "card", urgent=False) == 0.0 for i in range(10)] == [True] * 8 + [False] * 2
    assert [budget.edit(i, "card", urgent=True) == 0.0 for i in range(20, 24)] == [True, True, False, False]
    assert 59 <= budget.edit(30, "card", urgent=False) <= 60
    clock[0] = 60.1
    assert budget.edit(31, "card", urgent=False) == 0.0


def test_one_card_is_edited_every_few_seconds_at_most_and_its_log_less_often() -> None:
    clock = [100.0]
    budget = Budget(50, monotonic=lambda: clock[0])
    assert budget.edit(1, "card", urgent=False) == 0.0
    assert budget.edit(1, "card", urgent=False) == pytest.approx(2.5)
    assert budget.edit(2, "log", urgent=False) == 0.0
    assert budget.edit(2, "log", urgent=False) == pytest.approx(15.0)
    clock[0] += 2.5
    assert budget.edit(1, "card", urgent=False) == 0.0
    budget.hold("chat.update", 30)
    assert budget.edit(3, "card", urgent=True) == pytest.approx(30.0)


def test_a_channel_takes_one_post_a_second() -> None:
    clock = [0.0]
    budget = Budget(monotonic=lambda: clock[0])
    assert budget.post("C1") == 0.0
    assert budget.post("C1") == pytest.approx(1.0)
    assert budget.post("C2") == 0.0
