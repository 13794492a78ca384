"""Attacks on consent: none counts, each is in the audit with who and why, no answer helps, and others are served."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from bot.core.rotation import State
from bot.slack.blocks import actions, button, section
from playground.workspace import KINDS, together
from playground.workspace.seed import User
from tests.journeys.siege import OUTSIDERS, Siege, Standing
from tests.ssh import need_ssh_keygen

pytestmark = pytest.mark.journey


# --- who it is --------------------------------------------------------------------------------------------------------


def test_every_kind_of_outsider_is_tried() -> None:
    assert set(OUTSIDERS) == set(KINDS) - {"member"}


@pytest.mark.parametrize("surface", ["button", "command"])
@pytest.mark.parametrize("kind", OUTSIDERS)
def test_outsiders_cannot_vote(standing: Standing, kind: str, surface: str) -> None:
    town, user = standing.town, kind.replace(" ", "-")
    if surface == "button":
        with town.repelled(user, OUTSIDERS[kind], about=f"R-{standing.ordinary}"):
            card = standing.card(standing.ordinary)
            assert town.workspace.intruder.click(user, card, "rotate:approve").acked
        return
    for number in (standing.ordinary, standing.revocation):
        with town.repelled(user, OUTSIDERS[kind], about=f"R-{number}"):
            draft = town.workspace.intruder.draft_command(user, "ops", f"/rotate approve R-{number}")
            assert town.workspace.intruder.send(draft).acked


@pytest.mark.parametrize("kind", OUTSIDERS)
def test_outsiders_can_neither_start_nor_revoke_nor_look(standing: Standing, kind: str) -> None:
    """What they may not see does not exist for them, so that no answer tells which credentials there are."""
    town, user, name = standing.town, kind.replace(" ", "-"), "billing-api-key"
    for words in (f"start {name} --reason x --yes", f"revoke {name} --reason x --yes", f"plan {name}"):
        with town.repelled(user, "unknown-credential", about=name) as rows:
            assert town.workspace.intruder.send(
                town.workspace.intruder.draft_command(user, "ops", f"/rotate {words}")
            ).acked
        assert rows[0].detail["because"] == f"There is no credential '{name}'. See what there is with: list."


def test_the_app_s_own_account_cannot_vote(standing: Standing) -> None:
    with standing.town.repelled("keyturn", "kind-bot", about=f"R-{standing.ordinary}"):
        standing.town.workspace.intruder.click("keyturn", standing.card(standing.ordinary), "rotate:approve")


@pytest.mark.parametrize("user", ["alice", "alice2"])
def test_the_requester_cannot_vote_under_any_account(standing: Standing, user: str) -> None:
    town = standing.town
    for number in (standing.ordinary, standing.revocation):
        with town.repelled(user, "own-request", about=f"R-{number}"):
            town.type(user, f"approve R-{number}")
    with town.repelled(user, "own-request", about=f"R-{standing.ordinary}"):
        town.workspace.click(user, standing.card(standing.ordinary), "rotate:approve")


def test_somebody_deactivated_since_the_request_cannot_vote(standing: Standing) -> None:
    town = standing.town
    draft = town.workspace.intruder.draft_click("dave", standing.card(standing.ordinary), "rotate:approve")
    town.workspace.deactivate("dave")
    try:
        with town.repelled("dave", "kind-deactivated", about=f"R-{standing.ordinary}"):
            assert town.workspace.intruder.send(draft).acked
    finally:
        town.workspace.reactivate("dave")


def test_a_delivery_for_another_workspace_is_not_listened_to(siege: Siege) -> None:
    number = siege.request()
    card = siege.card(number)
    assert card is not None
    before, seq = siege.everything(), siege.newest()
    for _ in range(5):
        draft = siege.workspace.intruder.draft_click("bob", card, "rotate:approve")
        draft.payload["team"] = draft.payload["user"] | {"id": "T0OTHER", "domain": "other"}
        assert siege.workspace.intruder.send(draft).acked
    siege.unharmed()
    assert siege.everything() == before
    assert siege.since(seq, "vote.counted", "intent.refused") == []
    assert siege.floods() == [("slack:T0KEYTURN/U0BOB", {"refused": 5, "why": "of another workspace"})]


# --- the group --------------------------------------------------------------------------------------------------------


def test_who_joined_the_group_after_the_request_cannot_vote(standing: Standing) -> None:
    town = standing.town
    town.workspace.add_user(User("mia", "Mia Mora"))
    town.workspace.join("mia", "ops")
    members = [one for one in town.workspace.state.group("sec-oncall").users if one != "U0MIA"]
    town.workspace.set_group("sec-oncall", [*members, "mia"])
    with town.repelled("mia", "not-eligible-then", about=f"R-{standing.ordinary}"):
        town.workspace.click("mia", standing.card(standing.ordinary), "rotate:approve", force=True)
    town.workspace.set_group("sec-oncall", members)
    with town.repelled("mia", "not-an-approver", about=f"R-{standing.ordinary}"):
        town.workspace.click("mia", standing.card(standing.ordinary), "rotate:approve", force=True)


def test_who_left_the_group_after_the_request_cannot_vote(standing: Standing) -> None:
    town = standing.town
    members = list(town.workspace.state.group("sec-oncall").users)
    town.workspace.set_group("sec-oncall", [one for one in members if one != "U0BOB"])
    try:
        with town.repelled("bob", "not-an-approver", about=f"R-{standing.ordinary}"):
            town.workspace.click("bob", standing.card(standing.ordinary), "rotate:approve")
        with town.repelled("bob", "not-an-approver", about=f"R-{standing.revocation}"):
            town.type("bob", f"approve R-{standing.revocation}")
    finally:
        town.workspace.set_group("sec-oncall", members)


# --- what is clicked --------------------------------------------------------------------------------------------------


def edits(standing: Standing) -> dict[str, tuple[dict[str, str], str, str]]:
    """What an edited client sends for a click on the ordinary card, the refusal, and what the refusal is about."""
    town, here = standing.town, f"R-{standing.ordinary}"
    bound, other = town.bound(standing.ordinary), town.bound(standing.revocation)
    return {
        "other-rotation": ({"value": str(other)}, "foreign-card", other.rotation),
        "no-such-rotation": ({"value": str(replace(bound, rotation="R-999"))}, "foreign-card", "R-999"),
        "other-plan": ({"value": str(replace(bound, digest=other.digest))}, "stale-plan", here),
        "made-up-plan": ({"value": str(replace(bound, digest="sha256:" + "0" * 64))}, "stale-plan", here),
        "other-nonce": ({"value": str(replace(bound, nonce=other.nonce))}, "stale-plan", here),
        "no-plan": ({"value": here}, "bad-button", ""),
        "more-behind": ({"value": f"{bound}\nR-1"}, "bad-button", ""),
        "empty": ({"value": ""}, "bad-button", ""),
        "other-word": ({"action_id": "rotate:revoke"}, "unknown-credential", here),
        "no-such-word": ({"action_id": "rotate:own-everything"}, "gone", ""),
        "more-words": ({"action_id": "rotate:approve:all"}, "usage", here),
    }


EDITS = (
    "other-rotation",
    "no-such-rotation",
    "other-plan",
    "made-up-plan",
    "other-nonce",
    "no-plan",
    "more-behind",
    "empty",
    "other-word",
    "no-such-word",
    "more-words",
)


@pytest.mark.parametrize("how", EDITS)
def test_an_edited_button_counts_for_nothing(standing: Standing, how: str) -> None:
    edited, code, about = edits(standing)[how]
    card = standing.card(standing.ordinary)
    with standing.town.repelled("bob", code, about=about):
        assert standing.town.workspace.intruder.click("bob", card, "rotate:approve", edited=edited).acked


def test_an_edited_form_counts_for_nothing(standing: Standing) -> None:
    town, here = standing.town, f"R-{standing.ordinary}"
    bound = town.bound(standing.ordinary)
    town.workspace.click("bob", standing.card(standing.ordinary), "rotate:reject")
    town.modal("bob", f"This is about `{here}`")
    town.workspace.fill("bob", {"reason": "not now"})
    for hidden, code, about in (
        ("everything", "bad-form", ""),
        (f"reject {here} C0OPS", "bad-button", ""),
        (f"reject {replace(bound, nonce='0' * 16)} C0OPS", "stale-plan", here),
    ):
        draft = town.workspace.intruder.draft_submit("bob", edited={"private_metadata": hidden})
        draft.payload["view"]["hash"] += code  # each is a submission of its own
        with town.repelled("bob", code, about=about):
            town.workspace.intruder.send(draft)
    assert town.workspace.view("bob") is None, "the last one was stored, and refused by the worker"


def test_a_plan_edited_in_the_start_form_starts_nothing(standing: Standing) -> None:
    town, name = standing.town, "billing-api-key@production"
    town.type("erin", "start billing-api-key --reason weekly")
    view = town.modal("erin", "Rotate billing-api-key")
    hidden = str(view.body["private_metadata"]).split(" ")
    assert hidden[1].startswith("sha256:")
    hidden[1] = "sha256:" + "0" * 64
    draft = town.workspace.intruder.draft_submit("erin", edited={"private_metadata": " ".join(hidden)})
    with town.repelled("erin", "stale-plan", about=name):
        town.workspace.intruder.send(draft)


# --- where it is clicked ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("poster", ["the stolen token", "dave"])
@pytest.mark.parametrize("channel", ["security", "general", "ops"])
def test_a_copied_card_counts_for_nothing(standing: Standing, channel: str, poster: str) -> None:
    town = standing.town
    by = "" if poster == "the stolen token" else poster
    if channel == "general" and not by:
        town.workspace.join("keyturn", "general")
    copy = town.workspace.intruder.copy_card(standing.card(standing.ordinary), channel, by=by)
    try:
        with town.repelled("bob", "foreign-card", about=f"R-{standing.ordinary}"):
            town.workspace.intruder.click("bob", copy, "rotate:approve")
    finally:
        town.workspace.delete_message(copy)


def test_a_look_alike_by_the_stolen_token_counts_for_nothing(standing: Standing) -> None:
    """Harmless words above a button that is right in every letter."""
    town, value = standing.town, str(standing.town.bound(standing.ordinary))
    blocks = [section("Free coffee?"), actions(button("Yes", "rotate:approve", value, spoken="Yes"))]
    trap = town.workspace.intruder.post("ops", "Free coffee?", blocks)
    with town.repelled("bob", "foreign-card", about=f"R-{standing.ordinary}"):
        town.workspace.click("bob", trap, "rotate:approve")
    town.workspace.delete_message(trap)


def test_a_card_that_the_stolen_token_edited_carries_no_other_consent(standing: Standing) -> None:
    """The ordinary card with the button of the revocation on it."""
    town, card = standing.town, standing.card(standing.ordinary)
    value = str(town.bound(standing.revocation))
    blocks = [section("Free coffee?"), actions(button("Yes", "rotate:approve", value, spoken="Yes"))]
    trap = town.workspace.intruder.edit(card, "Free coffee?", blocks)
    with town.repelled("bob", "foreign-card", about=f"R-{standing.revocation}"):
        town.workspace.click("bob", trap, "rotate:approve")
    town.workspace.intruder.edit(card, card.text, card.blocks)


# --- what is said -----------------------------------------------------------------------------------------------------

SHOUTS = (
    "<!channel> <!here> <!everyone> <!subteam^S0PLATFORM> <@U0CAROL> <#C0SECURITY> <https://evil.example|Approved> "
    "*bold* _it_ ~no~ `code` ```block``` > quote &lt;!channel&gt; @channel @here \u202egnirts\u202c \u200bzero\x07"
)
LIVE = ("<!channel", "<!here", "<!everyone", "<!subteam", "<@U0CAROL", "<#C0SECURITY", "<https://evil", "<http://evil")


def test_a_reason_and_a_name_full_of_markup_speak_to_nobody(siege: Siege) -> None:
    siege.workspace.add_user(User("eve", "<!channel> <https://evil.example|Approve> <@U0CAROL>"))
    siege.workspace.join("eve", "ops")
    siege.workspace.set_group("platform", ["alice", "erin", "dave", "eve"])
    draft = siege.workspace.intruder.draft_command("eve", "ops", "/rotate start identity-signing --reason x --yes")
    draft.payload["text"] = f"start identity-signing --reason '{SHOUTS}' --yes"
    assert siege.workspace.intruder.send(draft).acked
    number = siege.until(lambda: len(siege.numbers()) and siege.numbers()[-1], "a request", 15)
    card = siege.until(lambda: siege.card(number), lambda: siege.tell(number), 15)
    assert "evil.example" in card.words, "it is shown, as text"
    siege.ask("bob", f"reject R-{number} --reason '{SHOUTS}'", "is counted")
    siege.shows(number, "Rejected by bob")
    for user in ("eve", "bob"):
        siege.type(user, f"status {SHOUTS}")
        siege.type(user, f"history R-{number}")
    siege.until(lambda: len(siege.workspace.ephemerals("eve")) >= 2, "answers")
    siege.unharmed()
    sent = [call.arguments for call in siege.workspace.calls if call.method.startswith(("chat.", "views."))]
    text = json.dumps([sent, [one.answer for one in siege.workspace.deliveries]], ensure_ascii=False, default=str)
    assert "evil.example" in text
    assert [token for token in LIVE if token in text] == []
    assert "\u202e" not in text
    for message in siege.workspace.messages("ops"):
        assert not {"channel", "here", "everyone", "U0CAROL", "S0PLATFORM"} & set(message.pings), message.words


# --- when -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("timers", ["awake", "asleep"])
def test_an_approval_after_the_expiry_counts_for_nothing(siege: Siege, timers: str) -> None:
    """Whether or not the bot has noticed yet that the requests lapsed."""
    need_ssh_keygen()
    ordinary, revocation = siege.start(), siege.revoke()
    armored = " ".join(siege.tokens["carol"].sign(siege.ballot(revocation)).split("\n"))
    card = siege.shows(ordinary, "asks to rotate")
    assert siege.bot is not None
    if timers == "asleep":
        siege.bot.engine.timers.stop()
    siege.database.clock.advance(timedelta(hours=25))
    if timers == "awake":
        for number in (ordinary, revocation):
            siege.wait(number, lambda r: r.state is not State.REQUESTED)
    siege.workspace.click("bob", card, "rotate:approve", force=True)
    siege.type("carol", f'approve R-{revocation} --signature "{armored}"')

    def refused() -> list[Any]:
        return [row for row in siege.audit() if row.event == "intent.refused"]

    siege.until(lambda: len(refused()) == 2, lambda: str(siege.audit()[-5:]), 15)
    assert {row.detail["code"] for row in refused()} == {"late" if timers == "awake" else "expired"}
    assert {row.rotation for row in refused()} == {f"R-{ordinary}", f"R-{revocation}"}
    for number in (ordinary, revocation):
        ended = siege.rotation(number)
        assert (ended.votes, ended.started_at) == ((), None)
    assert len(siege.estate.identity.keys.all()) == 1
    siege.unharmed()


def test_a_plan_that_changed_between_request_and_click_is_asked_for_again(siege: Siege) -> None:
    """Somebody promotes another key behind the bot's back: the first click finds it out, the second one is stale."""
    number = siege.start()
    stale = siege.shows(number, "asks to rotate")
    keys = siege.estate.identity.keys
    keys.promote(keys.rotate(None)[0]["kid"])
    before = keys.all()
    siege.workspace.click("bob", stale, "rotate:approve")
    siege.until(lambda: "rotation.plan-changed" in siege.events(number), lambda: siege.tell(number), 15)
    siege.wait(number, lambda r: r.state is State.REQUESTED and not r.votes)
    siege.shows(number, "The plan changed (fact old_kid)")
    with siege.repelled("carol", "stale-plan", about=f"R-{number}"):
        siege.workspace.click("carol", stale, "rotate:approve", force=True)
    assert "step.intent" not in siege.events(number)
    assert keys.all() == before
    siege.approve(number, "carol")
    siege.wait(number, lambda r: r.started_at is not None)


# --- how many ---------------------------------------------------------------------------------------------------------


def test_two_approvers_at_once_are_one_approval(siege: Siege) -> None:
    number = siege.start()
    card = siege.shows(number, "asks to rotate")
    acks = together(
        *[lambda user=user: siege.workspace.click(user, card, "rotate:approve") for user in ("bob", "carol")]
    )
    assert all(one.acked for one in acks)
    first = siege.wait(number, lambda r: r.started_at is not None).votes[0].person
    late = "carol" if first == "bob" else "bob"
    siege.told(first, "is counted")
    assert "your vote changed nothing" in siege.told(late, f"R-{number} was already approved by {first}").words
    events = siege.events(number)
    assert [events.count(name) for name in ("vote.counted", "rotation.approved", "rotation.started")] == [1, 1, 1]
    siege.unharmed()


def test_two_hundred_clicks_at_once_are_one_approval(siege: Siege) -> None:
    people = siege.workspace.add_people(200, channels=["ops"], groups=["platform"])
    number = siege.start()
    card = siege.shows(number, "asks to rotate")
    rush = siege.workspace.crowd.click(people, card, "rotate:approve")
    assert rush.acked == 200, rush.errors
    siege.unharmed()
    siege.wait(number, lambda r: r.started_at is not None)

    def refused() -> list[Any]:
        return [row for row in siege.audit(number) if row.event == "intent.refused"]

    siege.until(lambda: len(refused()) == 199, lambda: f"{len(refused())} late answers", 40)
    assert {row.detail["code"] for row in refused()} == {"late"}
    assert len({row.actor for row in refused()}) == 199
    events = siege.events(number)
    assert [events.count(name) for name in ("vote.counted", "rotation.approved", "rotation.started")] == [1, 1, 1]
    assert len(siege.rotation(number).votes) == 1
