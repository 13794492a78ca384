"""Revoking by modal: one order's plan at a time, with what each costs; signatures that are handed over in a modal."""

from __future__ import annotations

import pytest

from bot.core.ballot import Ballot
from bot.core.rotation import Rotation, State
from bot.slack.buttons import Bound
from playground.workspace.records import Message
from tests.slack.conftest import House, Opener
from tests.ssh import Key, need_ssh_keygen

SIGNED = "approvers: 1, from: [sec-oncall], expires: 30m, signature: required, break_glass: 10m"
PLAIN = "approvers: 1, from: [sec-oncall], expires: 30m"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Key]:
    need_ssh_keygen()
    folder = tmp_path_factory.mktemp("signers")
    return {name: Key.make(folder, name) for name in ("alice", "bob", "carol")}


@pytest.fixture
def signed(open_house: Opener, keys: dict[str, Key]) -> House:
    """A house in which revoking takes signatures."""
    return open_house(revoke=SIGNED, signers={name: key.public for name, key in keys.items()})


def rotation(house: House, number: int = 1) -> Rotation:
    with house.bot.database.read() as reader:
        found = reader.rotation(number)
    assert found is not None
    return found


def ballot(card: Message, vote: str = "approve") -> Ballot:
    """What the card's buttons are bound to, as an approver's own machine signs it."""
    value = next(one["value"] for one in card.elements if one["action_id"] == "rotate:approve")
    bound = Bound.read(value)
    return Ballot(bound.rotation, "door-key", "production", bound.digest, bound.nonce, vote)


# --- the form ---------------------------------------------------------------------------------------------------------


def test_the_form_shows_one_order_at_a_time_with_what_each_costs(open_house: Opener) -> None:
    house = open_house(revoke=PLAIN)
    house.workspace.type("alice", "ops", '/rotate revoke door-key --reason "seen in a log"')
    form = house.modal("alice", "Revoke door-key")
    for said in ("EMERGENCY", "None worth naming", "Doors stay shut", "Over at once", "1 other person", "sha256:"):
        assert said in form.words
    assert "Steps, replace-first" in form.words
    house.workspace.fill("alice", {"reason": "seen in a public log"})
    house.workspace.click("alice", form, "rotate-order", "contain-first")
    house.wait(lambda: "Steps, contain-first" in house.modal("alice", "Revoke").words, "the other plan")
    assert "the suspected one is contained" in house.modal("alice", "Revoke").words
    with house.bot.database.read() as reader:
        assert reader.rotation(1) is None, "nothing was asked for by looking"
    house.workspace.submit("alice")
    card = house.shows("EMERGENCY: Alice Amari asks to revoke door-key")
    made = rotation(house)
    assert (made.plan.word, made.plan.order) == ("revoke", "contain-first")
    assert made.plan.reason == "seen in a public log", "what was typed survives the choice of an order"
    for said in ("contain-first", "<@U0BOB> (member of sec-oncall)", "<@U0CAROL>", "not contained yet", "lapses"):
        assert said in card.words, said
    assert "<@U0ALICE> (member" not in card.words


def test_an_order_whose_plan_was_not_shown_is_not_asked_for(open_house: Opener) -> None:
    house = open_house(revoke=PLAIN)
    house.workspace.type("alice", "ops", '/rotate revoke door-key --reason "seen in a log"')
    house.modal("alice", "Revoke door-key")
    house.workspace.fill("alice", {"rotate-order": "contain-first"})
    house.workspace.submit("alice")
    view = house.workspace.view("alice")
    assert view is not None
    assert "still the one for replace-first" in str(view.errors)
    with house.bot.database.read() as reader:
        assert reader.rotation(1) is None


def test_a_plan_that_changed_under_the_form_is_not_asked_for(open_house: Opener) -> None:
    house = open_house(revoke=PLAIN)
    house.workspace.type("alice", "ops", '/rotate revoke door-key --reason "seen in a log"')
    form = house.modal("alice", "Revoke door-key")
    hidden = form.body["private_metadata"]
    digest = next(part for part in hidden.split() if part.startswith("sha256:"))
    forged = hidden.replace(digest, "sha256:" + "0" * 64)
    house.workspace.intruder.send(house.workspace.intruder.draft_submit("alice", edited={"private_metadata": forged}))
    house.told("alice", "changed while you looked at it")
    with house.bot.database.read() as reader:
        assert reader.rotation(1) is None


def test_a_secret_in_the_reason_is_refused_in_the_form(open_house: Opener) -> None:
    house = open_house(revoke=PLAIN)
    house.workspace.type("alice", "ops", '/rotate revoke door-key --reason "seen in a log"')
    house.modal("alice", "Revoke door-key")
    house.workspace.submit("alice", {"reason": "it is xoxb-1234567890-abcdefghijklmnop"})
    view = house.workspace.view("alice")
    assert view is not None
    assert "looks like" in str(view.errors["reason"])


# --- votes ------------------------------------------------------------------------------------------------------------


def test_a_revocation_without_signatures_is_approved_by_a_click(open_house: Opener) -> None:
    house = open_house(revoke=PLAIN)
    card = house.revoke(order="contain-first")
    house.workspace.click("alice", card, "rotate:approve")
    house.told("alice", "You asked for")
    house.workspace.click("bob", card, "rotate:approve")
    card = house.shows("needs a person: Is the suspected one locked out?")
    assert "rotate:contain" not in card.buttons
    house.workspace.click("carol", card, next(one for one in card.buttons if one.startswith("rotate:advance")))
    assert "*contained*" in house.shows("needs a person: Is there a new one?").words


def test_an_approval_is_signed_on_ones_own_machine_and_pasted(signed: House, keys: dict[str, Key]) -> None:
    card = signed.revoke(order="contain-first")
    assert {"rotate:approve", "rotate:reject", "rotate:contain"} <= set(card.buttons)
    assert "signed with the approver's own SSH key" in card.words
    signed.workspace.click("bob", card, "rotate:approve")
    form = signed.modal("bob", "Sign your approval")
    wanted = ballot(card)
    assert wanted.command() in form.words
    signed.workspace.submit("bob", {"signature": keys["bob"].sign(wanted)})
    card = signed.shows("needs a person")
    assert keys["bob"].fingerprint in card.words, "who looks sees with which key it was signed"
    assert rotation(signed).votes[0].key == keys["bob"].fingerprint


def test_what_is_no_signature_is_an_error_beside_the_field_and_a_wrong_one_does_not_count(
    signed: House, keys: dict[str, Key]
) -> None:
    card = signed.revoke(order="contain-first")
    signed.workspace.click("bob", card, "rotate:approve")
    signed.modal("bob", "Sign your approval")
    for given, said in (
        ("please", "no SSH signature"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----", "private key"),
        (keys["bob"].public, "public key"),
    ):
        signed.workspace.submit("bob", {"signature": given})
        view = signed.workspace.view("bob")
        assert view is not None
        assert said in str(view.errors["signature"]), given
    signed.workspace.submit("bob", {"signature": keys["carol"].sign(ballot(card))})
    signed.told("bob", "not one of “bob”")
    assert rotation(signed).votes == ()
    signed.workspace.click("carol", card, "rotate:approve")
    signed.modal("carol", "Sign your approval")
    signed.workspace.submit("carol", {"signature": keys["carol"].sign(ballot(card, "reject"))})
    signed.told("carol", "signature")
    assert rotation(signed).state is State.REQUESTED


def test_a_rejection_needs_a_reason_and_no_signature_and_reads_rejected(signed: House) -> None:
    card = signed.revoke(order="contain-first")
    signed.workspace.click("bob", card, "rotate:reject")
    signed.modal("bob", "Reject")
    signed.workspace.submit("bob", {"reason": "it is the test key"})
    card = signed.shows("was rejected at")
    assert "*State* rejected" in card.words
    assert "it is the test key" in card.words


def test_one_person_contains_alone_loudly_and_another_one_approves_the_rest(
    signed: House, keys: dict[str, Key]
) -> None:
    card = signed.revoke(order="contain-first")
    signed.workspace.click("bob", card, "rotate:contain")
    signed.modal("bob", "Contain alone")
    given = {"signature": keys["bob"].sign(ballot(card, "break-glass")), "reason": "nobody answers"}
    signed.workspace.submit("bob", given)
    card = signed.shows("Glass broken")
    for said in (
        "EMERGENCY: Bob Berg contains door-key",
        "nobody answers",
        "It is put back at",
        "Somebody else has to",
    ):
        assert said in card.words + card.text, said
    assert "rotate:contain" not in card.buttons
    assert "rotate:approve" in card.buttons
    signed.workspace.click("carol", card, "rotate:approve")
    signed.modal("carol", "Sign your approval")
    signed.workspace.submit("carol", {"signature": keys["carol"].sign(ballot(card))})
    signed.wait(lambda: rotation(signed).state is not State.REQUESTED, "the second person's approval")


def test_a_plan_that_cannot_be_contained_alone_offers_no_button_for_it(signed: House) -> None:
    assert "rotate:contain" not in signed.revoke().buttons, "replace-first does not begin with the containment"
