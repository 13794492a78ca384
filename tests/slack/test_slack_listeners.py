"""What comes in: stored once or refused, acknowledged only when stored, from the right people at a human pace."""

from __future__ import annotations

import threading

import pytest
from slack_sdk import WebClient

from bot.slack import socket_mode
from bot.slack.blocks import actions, button, section
from bot.slack.buttons import Bound, bound_to
from bot.slack.flood import Flood
from playground.workspace.records import Delivery, Message
from tests.slack.conftest import House, Opener


def intents(house: House) -> int:
    """How many things are stored as asked for."""
    with house.bot.database.engine.connect() as connection:
        return int(connection.exec_driver_sql("SELECT count(*) FROM intent").scalar_one())


def bound(house: House) -> Bound:
    with house.bot.database.read() as reader:
        rotation = reader.rotation(1)
    assert rotation is not None
    return bound_to(rotation)


@pytest.mark.parametrize("transport", ["socket", "http"])
@pytest.mark.parametrize("fault", ["duplicate", "drop_before_ack", "lose_ack"])
def test_a_repeated_delivery_has_one_effect(open_house: Opener, transport: str, fault: str) -> None:
    house = open_house(transport=transport)
    house.start()
    before = intents(house)
    getattr(house.workspace.faults, fault)("/rotate")
    house.workspace.type("bob", "ops", "/rotate approve R-1", wait=False)
    house.shows("needs a person")
    house.wait(lambda: all(one.done.done() for one in house.workspace.deliveries))
    assert intents(house) == before + 1
    assert house.audit().count(("vote.counted", "bob")) == 1


def test_two_people_clicking_at_once_have_one_effect_and_two_answers(house: House) -> None:
    card = house.start()
    barrier = threading.Barrier(2)

    def click(user: str) -> None:
        barrier.wait(5)
        house.workspace.click(user, card, "rotate:approve")

    threads = [threading.Thread(target=click, args=(user,)) for user in ("bob", "carol")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    house.shows("needs a person")
    house.wait(lambda: house.workspace.ephemerals("bob") and house.workspace.ephemerals("carol"))
    told = " ".join(one.words for user in ("bob", "carol") for one in house.workspace.ephemerals(user))
    assert "is counted" in told
    assert "already" in told
    assert [event for event, _ in house.audit()].count("vote.counted") == 1


def test_what_cannot_be_stored_is_not_acknowledged(open_house: Opener) -> None:
    house = open_house(transport="http")
    house.start()
    before = intents(house)
    with house.bot.database.engine.connect() as connection:
        connection.exec_driver_sql("CREATE TRIGGER full BEFORE INSERT ON intent BEGIN SELECT RAISE(ABORT, 'disk'); END")
    sent = house.workspace.type("bob", "ops", "/rotate approve R-1")
    assert not sent.acked
    house.told("bob", "could not store")
    assert intents(house) == before
    with house.bot.database.engine.connect() as connection:
        connection.exec_driver_sql("DROP TRIGGER full")
    assert house.workspace.type("bob", "ops", "/rotate approve R-1").acked
    house.shows("needs a person")


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("/rotate aprove R-1", "approve"),
        ("/rotate approve R-99", "R-99"),
        ("/rotate status R-99", "R-99"),
        ("/rotate approve R-1 R-2", "approve R-7"),
        ("/rotate history", "history"),
        ("/rotate reject R-1", "reject R-7 --reason"),
        ("/rotate start", "start &lt;credential&gt;"),
        ('/rotate start door-key --raeson "x"', "reason"),
        ("/rotate start door-key --reason ghp_0123456789abcdefghijklmnopqrstuvwxyz", "looks like"),
        ("/rotate help strat", "start"),
        ("/rotate list --page x", "page"),
    ],
)
def test_bad_input_gets_one_clear_sentence_and_changes_nothing(house: House, typed: str, said: str) -> None:
    card = house.start()
    house.workspace.type("bob", "ops", typed)
    shown = house.wait(
        lambda: (
            next((one.words for one in reversed(house.workspace.ephemerals("bob")) if said in one.words), None)
            or next((view.words for view in house.workspace.views("bob") if said in view.words), None)
        ),
        f"{said!r} in answer to {typed!r}",
    )
    assert "ghp_" not in shown
    assert house.workspace.message(card.ts).words == card.words
    assert "ghp_" not in repr([one.answer for one in house.workspace.deliveries])


def test_the_requester_cannot_approve_and_is_told_so(house: House) -> None:
    card = house.start()
    house.workspace.click("alice", card, "rotate:approve")
    house.told("alice", "somebody else")
    house.workspace.type("alice", "ops", "/rotate approve R-1")
    house.wait(lambda: len([one for one in house.workspace.ephemerals("alice") if "somebody else" in one.words]) == 2)
    assert ("vote.counted", "alice") not in house.audit()


@pytest.mark.parametrize("user", ["gus", "una", "sam"])
def test_guests_and_strangers_can_do_nothing(house: House, user: str) -> None:
    card = house.start()
    house.workspace.join(user, "ops")
    house.workspace.click(user, card, "rotate:approve")
    house.told(user, "Guests cannot" if user != "sam" else "another workspace")
    house.workspace.type(user, "ops", "/rotate start shed-key --reason x")
    events = [event for event, actor in house.audit() if actor == f"slack:U0{user.upper()}"]
    assert "vote.counted" not in events
    assert "rotation.requested" not in events


def test_somebody_deactivated_between_card_and_click_is_refused(house: House) -> None:
    card = house.start()
    payload = clicked(house, "bob", card, str(bound(house)))
    house.workspace.deactivate("bob")
    house.workspace.acts._send(Delivery("interactive", payload, "U0BOB", "rotate:approve")).wait(10)
    house.wait(lambda: ("intent.refused", "slack:T0KEYTURN/U0BOB") in house.audit() or _refused(house))
    assert ("vote.counted", "bob") not in house.audit()


def _refused(house: House) -> bool:
    return any(event in ("intent.refused", "vote.refused") for event, _ in house.audit())


def clicked(house: House, user: str, message: Message, value: str) -> dict[str, object]:
    """What Slack sends for a click, taken from a real one that the app did not see."""
    state = house.workspace.state
    person = state.user(user)
    return {
        "type": "block_actions",
        "team": {"id": "T0KEYTURN", "domain": "keyturn"},
        "enterprise": None,
        "is_enterprise_install": False,
        "user": {"id": person.id, "username": user, "name": user, "team_id": person.team_id},
        "api_app_id": "A0KEYTURN",
        "token": "t",
        "trigger_id": state.trigger(person.id).id,
        "container": {"type": "message", "message_ts": message.ts, "channel_id": message.channel},
        "channel": {"id": message.channel, "name": "ops"},
        "actions": [
            {
                "type": "button",
                "action_id": "rotate:approve",
                "block_id": "b",
                "action_ts": state.stamp(),
                "value": value,
                "text": {"type": "plain_text", "text": "Approve"},
            }
        ],
    }


def test_a_look_alike_button_is_refused(house: House) -> None:
    """Somebody with the bot's token posts a harmless text above a real button."""
    house.start()
    fake = [
        section("Click for free coffee"),
        actions(button("Coffee", "rotate:approve", str(bound(house)), spoken="Coffee")),
    ]
    sent = house.room._messenger._drawer._api.call("chat.postMessage", channel="C0OPS", text="Coffee", blocks=fake)
    house.workspace.click("bob", str(sent["ts"]), "rotate:approve")
    house.told("bob", "not the card")
    assert ("vote.counted", "bob") not in house.audit()


def test_nothing_counts_while_the_card_has_no_name(house: House) -> None:
    """Its post was answered by nothing: whatever looks like it now may be somebody else's."""
    house.workspace.faults.web("chat.postMessage", times=1, hang=3.0)
    house.workspace.type("alice", "ops", '/rotate start door-key --reason "weekly"')
    house.modal("alice", "Rotate door-key")
    house.workspace.submit("alice", {"boxes": ["notified"]})
    house.wait(lambda: ("rotation.requested", "alice") in house.audit())
    fake = [section("Coffee?"), actions(button("Coffee", "rotate:approve", str(bound(house)), spoken="Coffee"))]
    client = WebClient(token=house.workspace.bot_token, base_url=house.workspace.api_url)
    posted = client.chat_postMessage(channel="C0OPS", text="Coffee", blocks=fake)
    house.workspace.click("bob", str(posted["ts"]), "rotate:approve")
    house.told("bob", "card")
    assert ("vote.counted", "bob") not in house.audit()


@pytest.mark.parametrize(
    "value", ["", "R-1", "R-1 sha256:xyz nonce", "R-1 " + "a" * 1900, "R-1 sha256:" + "0" * 64 + " n"]
)
def test_a_changed_button_changes_nothing(house: House, value: str) -> None:
    card = house.start()
    payload = clicked(house, "bob", card, value)
    sent = house.workspace.acts._send(Delivery("interactive", payload, "U0BOB", "rotate:approve")).wait(10)
    assert sent.acked
    house.wait(lambda: house.workspace.ephemerals("bob"))
    assert ("vote.counted", "bob") not in house.audit()


def test_a_click_on_a_card_of_a_finished_rotation_gets_a_polite_answer(house: House) -> None:
    card = house.start()
    old = str(bound(house))
    house.workspace.type("alice", "ops", '/rotate cancel R-1 --reason "never mind"')
    house.shows("nothing was changed")
    payload = clicked(house, "bob", card, old)
    house.workspace.acts._send(Delivery("interactive", payload, "U0BOB", "rotate:approve")).wait(10)
    house.told("bob", "cancelled")


def test_another_workspace_is_not_listened_to(house: House) -> None:
    card = house.start()
    payload = clicked(house, "bob", card, str(bound(house)))
    payload["team"] = {"id": "T0OTHER", "domain": "other"}
    before = intents(house)
    assert house.workspace.acts._send(Delivery("interactive", payload, "U0BOB", "rotate:approve")).wait(10).acked
    assert intents(house) == before
    house.room.stop()
    assert "intent.flood" in [event for event, _ in house.audit()]


def test_a_second_start_while_one_is_open_says_so_in_the_modal(house: House) -> None:
    house.start()
    house.workspace.type("carol", "ops", '/rotate start door-key --reason "me too"')
    assert "R-1" in house.modal("carol", "No plan").words


def test_a_secret_typed_into_a_form_is_refused_there_and_kept_nowhere(house: House) -> None:
    house.workspace.type("alice", "ops", '/rotate start door-key --reason "weekly"')
    house.modal("alice", "Rotate door-key")
    secret = "ghp_0123456789abcdefghijklmnopqrstuvwxyz"
    house.workspace.submit("alice", {"reason": f"the new one is {secret}", "boxes": ["notified"]})
    view = house.wait(lambda: (found := house.workspace.view("alice")) and found.errors and found)
    assert "looks like" in view.errors["reason"]
    house.workspace.submit("alice", {"reason": "weekly"})
    house.shows("asks to rotate")
    stored = b"".join(path.read_bytes() for path in house.folder.glob("keyturn.db*"))
    assert secret.encode() not in stored


def test_a_flood_of_one_person_leaves_others_alone_and_is_one_audit_row(open_house: Opener) -> None:
    house = open_house(start=False)
    house.room._flood._person = (3.0, 0.5)
    house.begin()
    answers = [house.workspace.type("dave", "ops", "/rotate help").answer.get("text", "") for _ in range(12)]
    assert sum("too fast" in text for text in answers) >= 8
    assert "too fast" not in str(house.workspace.type("bob", "ops", "/rotate help").answer)
    before = len(house.audit())
    house.room.stop()
    rows = house.audit()[before:]
    assert [event for event, _ in rows] == ["intent.flood"]


def test_buckets_refill_are_bounded_and_counted_once_a_minute() -> None:
    clock = [0.0]
    flood = Flood(person=(2.0, 1.0), team=(100.0, 10.0), monotonic=lambda: clock[0])
    assert [flood.admit("slack:T1/U1") for _ in range(3)] == [0.0, 0.0, 1.0]
    clock[0] = 1.0
    assert flood.admit("slack:T1/U1") == 0.0
    assert flood.drain() == {}
    clock[0] = 61.0
    assert flood.drain() == {"slack:T1/U1": 1}
    assert flood.drain(now=True) == {}
    for i in range(20_000):
        flood.admit(f"slack:T{i}/U{i}")
    assert len(flood._buckets) <= 10_000


def test_a_whole_workspace_has_a_bucket_too() -> None:
    flood = Flood(person=(10.0, 1.0), team=(5.0, 1.0), monotonic=lambda: 0.0)
    waits = [flood.admit(f"slack:T1/U{i}") for i in range(7)]
    assert [wait > 0 for wait in waits] == [False] * 5 + [True] * 2


def test_sockets_that_are_recycled_lose_nothing(house: House) -> None:
    house.start()
    house.workspace.faults.recycle_sockets()
    house.workspace.type("bob", "ops", "/rotate approve R-1")
    house.shows("needs a person")
    opened = len(house.workspace.calls_to("apps.connections.open"))
    house.workspace.faults.drop_sockets()
    house.wait(lambda: len(house.workspace.calls_to("apps.connections.open")) > opened)
    house.wait(house.room.connected)
    house.workspace.wait_connected()
    assert house.workspace.type("carol", "ops", "/rotate advance R-1").acked
    house.shows("Is the new one in use?")
    assert house.room.connected()
    silent = house.room.seconds_since_frame()
    assert silent is not None
    assert silent < 30


def test_a_half_open_socket_is_replaced(open_house: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket_mode, "SILENT_SECONDS", 4.0)
    house = open_house()
    opened = len(house.workspace.calls_to("apps.connections.open"))
    house.workspace.faults.freeze_sockets()
    house.wait(lambda: len(house.workspace.calls_to("apps.connections.open")) > opened, timeout=20)
    house.wait(lambda: house.workspace.type("bob", "ops", "/rotate help").acked, timeout=20)
