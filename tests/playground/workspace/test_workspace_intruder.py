"""What an intruder can bring to the app: edited clicks, replays, copied cards, a stolen token, people of every kind."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest
from endpoint import Endpoint, bolt
from sample_app import Bot, card, web_client
from slack_sdk.errors import SlackApiError
from slack_sdk.signature import SignatureVerifier

from playground.workspace import FORGERIES, KINDS, Message, NotVisible, Workspace

METADATA = {"event_type": "rotation_state", "event_payload": {"rotation": "R-1", "form": "card"}}


@pytest.fixture
def posted(ws: Workspace) -> Message:
    """A card of the app in a channel."""
    answer = web_client(ws).chat_postMessage(channel="C0OPS", text="asks", blocks=card(), metadata=METADATA)
    return ws.message(answer["ts"])


def clicks(bot: Bot) -> list[dict[str, Any]]:
    return bot.of_type("block_actions")


def test_a_click_with_an_edited_value(ws: Workspace, bot: Bot, posted: Message) -> None:
    sent = ws.intruder.click("bob", posted, "rotate:reject", edited={"value": "R-2", "action_id": "rotate:approve"})
    assert sent.acked
    (body,) = clicks(bot)
    assert (body["actions"][0]["value"], body["actions"][0]["action_id"]) == ("R-2", "rotate:approve")
    assert body["message"]["blocks"][1]["elements"][1]["value"] == "R-1", "the card itself is as it was"
    assert body["trigger_id"]
    draft = ws.intruder.draft_click("bob", posted, "rotate:approve")
    draft.payload["user"]["id"] = "U0CAROL"
    assert not draft.attempts
    assert ws.intruder.send(draft).acked
    assert clicks(bot)[-1]["user"]["id"] == "U0CAROL"


def test_a_form_with_edited_hidden_data(ws: Workspace, bot: Bot) -> None:
    ws.type("alice", "ops", "/rotate")
    ws.fill("alice", {"pick": "aegis/jwt", "text": "because, please"})
    draft = ws.intruder.draft_submit("alice", edited={"private_metadata": "R-9"})
    assert ws.intruder.send(draft).acked
    (body,) = bot.of_type("view_submission")
    assert body["view"]["private_metadata"] == "R-9"


@pytest.mark.parametrize(("envelope", "fresh"), [("new", True), ("same", False)])
def test_a_replay_over_a_socket(ws: Workspace, bot: Bot, posted: Message, envelope: Any, fresh: bool) -> None:
    first = ws.click("bob", posted, "rotate:reject")
    before = len(ws.deliveries)
    assert ws.intruder.replay(first, envelope=envelope).ok
    one, two = clicks(bot)
    assert one == two
    assert len(ws.deliveries) == before, "Slack sent nothing"
    assert ws.type("alice", "ops", "/rotate help").acked
    assert ws.intruder.replay().ok
    assert len([body for body in bot.seen if body.get("command")]) == 2
    ws.wait_for(lambda: ws.ephemerals("alice"))
    assert [one.text for one in ws.ephemerals("alice")] == ["you said help"], "its answer goes nowhere"


def test_a_replay_by_http_has_the_same_bytes(start: Callable[..., Workspace], endpoint: Endpoint) -> None:
    ws = start(request_url=endpoint.url)
    delivery = ws.type("alice", "ops", "/rotate help")
    assert ws.intruder.replay(delivery).status == 200
    (first, body), (again, same) = endpoint.requests
    assert body == same
    assert {name: first[name] for name in first if name.startswith("x-slack")} == {
        name: again[name] for name in again if name.startswith("x-slack")
    }
    ws.intruder.replay(delivery, age=360)
    old, kept = endpoint.requests[-1]
    assert kept == body
    assert 355 < time.time() - int(old["x-slack-request-timestamp"]) < 370
    assert not SignatureVerifier(ws.signing_secret).is_valid_request(kept, old)

    class Then:
        def now(self) -> float:
            return time.time() - 360

    assert SignatureVerifier(ws.signing_secret, Then()).is_valid_request(kept, old), "it was genuine then"  # type: ignore[arg-type]  # any clock


@pytest.mark.parametrize("how", FORGERIES)
def test_no_forgery_is_a_valid_request(start: Callable[..., Workspace], endpoint: Endpoint, how: str) -> None:
    ws = start(request_url=endpoint.url)
    genuine = ws.type("alice", "ops", "/rotate approve R-1")
    ws.intruder.forge(genuine, how)
    headers, body = endpoint.requests[-1]
    signature, timestamp = headers.get("x-slack-signature"), headers.get("x-slack-request-timestamp")
    try:
        valid = SignatureVerifier(ws.signing_secret).is_valid(body, timestamp or "", signature or "")
    except (TypeError, ValueError):
        valid = False
    assert not valid
    assert len(ws.deliveries) == 1


def test_bolt_hears_of_no_forgery(start: Callable[..., Workspace], endpoint: Endpoint) -> None:
    ws = start(request_url=endpoint.url)
    heard: list[str] = []
    bolt(ws, endpoint).action("rotate:reject")(lambda ack, payload: (heard.append(payload["value"]), ack()))
    answer = web_client(ws).chat_postMessage(channel="C0OPS", text="asks", blocks=card())
    draft = ws.intruder.draft_click("bob", answer["ts"], "rotate:reject")
    for how in ("no-signature", "empty-signature", "wrong-secret", "edited-body", "stale", "future"):
        carried = ws.intruder.forge(draft, how)
        assert (carried.ok, carried.status) == (False, 401), how
    assert heard == []
    ws.intruder.send(draft)
    assert heard == ["R-1"]
    payload = json.loads(parse_qs(endpoint.requests[-1][1].decode())["payload"][0])
    assert payload["user"]["id"] == "U0BOB"


def test_nothing_can_be_forged_over_a_socket(ws: Workspace, bot: Bot, posted: Message) -> None:
    with pytest.raises(RuntimeError, match="nothing is signed"):
        ws.intruder.forge(ws.intruder.draft_click("bob", posted, "rotate:reject"))


def test_a_look_alike_by_the_stolen_token(ws: Workspace, bot: Bot, posted: Message) -> None:
    alike = ws.intruder.copy_card(posted, "security")
    assert (alike.from_app, alike.metadata, alike.buttons) == (True, posted.metadata, posted.buttons)
    assert ws.click("carol", alike, "rotate:reject").acked
    (body,) = clicks(bot)
    assert body["container"]["message_ts"] == alike.ts != posted.ts
    assert body["message"]["bot_id"] == "B0KEYTURN"
    edited = ws.intruder.edit(posted, "asks for something harmless")
    assert edited.text == "asks for something harmless"
    assert edited.buttons == posted.buttons
    fake = ws.intruder.post("ops", "Approve this", card(), metadata=METADATA)
    assert ws.message(fake.ts).from_app
    ws.leave("keyturn", "security")
    with pytest.raises(PermissionError, match="channel_not_found"):
        ws.intruder.post("security", "x")
    assert ws.intruder.call("pins.add", channel="C0OPS", timestamp=fake.ts) == {"ok": True}
    assert ws.intruder.call("admin.users.remove", user_id="U0BOB")["error"] == "unknown_method"


def test_a_copy_that_somebody_else_posts(ws: Workspace, bot: Bot, posted: Message) -> None:
    for somebody in ("dave", "pagerbot"):
        theirs = ws.intruder.copy_card(posted, "general", by=somebody)
        assert (theirs.from_app, theirs.buttons) == (False, posted.buttons)
        with pytest.raises(NotVisible, match="not brought to the app"):
            ws.click("bob", theirs, "rotate:reject")
        assert ws.intruder.click("bob", theirs, "rotate:reject").acked
    dave, pager = clicks(bot)
    assert "bot_id" not in dave["message"]
    assert (dave["message"]["user"], dave["channel"]["id"]) == ("U0DAVE", "C0GENERAL")
    assert (pager["message"]["bot_id"], pager["message"]["subtype"]) == ("B0PAGERBOT", "bot_message")
    with pytest.raises(SlackApiError, match="cant_update_message"):
        web_client(ws).chat_update(channel="C0GENERAL", ts=theirs.ts, text="x")


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("member", {"is_restricted": False, "is_bot": False, "deleted": False, "team_id": "T0KEYTURN"}),
        ("guest", {"is_restricted": True, "is_ultra_restricted": False}),
        ("single-channel guest", {"is_restricted": True, "is_ultra_restricted": True}),
        ("deactivated", {"deleted": True}),
        ("bot", {"is_bot": True}),
        ("workflow bot", {"is_bot": True, "is_workflow_bot": True}),
        ("other workspace", {"team_id": "T0PARTNER", "is_stranger": False}),
    ],
)
def test_every_kind_can_click_for_an_intruder(
    ws: Workspace, bot: Bot, posted: Message, kind: str, fields: dict[str, Any]
) -> None:
    person = ws.admit(kind, channels=["ops"], groups=["sec-oncall"])
    told = web_client(ws).users_info(user=person.id)["user"]
    assert {name: told.get(name) for name in fields} == fields
    assert person.id in web_client(ws).conversations_members(channel="C0OPS")["members"]
    assert ws.intruder.click(person.name, posted, "rotate:approve").acked
    assert ws.intruder.send(ws.intruder.draft_command(person.name, "ops", "/rotate approve R-1")).acked
    body = clicks(bot)[0]
    assert (body["user"]["id"], body["user"]["team_id"]) == (person.id, person.team_id)
    assert kind in KINDS


def test_somebody_of_another_workspace_in_no_channel_with_the_app_is_a_stranger(ws: Workspace) -> None:
    person = ws.admit("other workspace", name="eve")
    assert web_client(ws).users_info(user=person.id)["user"]["is_stranger"]
    with pytest.raises(NotVisible):
        ws.type("eve", "ops", "/rotate help")


def test_a_message_that_is_gone_is_clicked_as_it_stood(ws: Workspace, bot: Bot, posted: Message) -> None:
    web_client(ws).chat_update(channel="C0OPS", ts=posted.ts, text="done", blocks=card("done", buttons=False))
    assert ws.intruder.click("bob", posted, "rotate:approve").acked
    ws.leave("bob", "ops")
    assert ws.intruder.click("bob", posted, "rotate:approve").acked
    assert len(clicks(bot)) == 2


def test_attacks_by_another_process(ws: Workspace, bot: Bot, posted: Message) -> None:
    def act(action: str, **options: Any) -> Any:
        return httpx.post(f"{ws.url}control/{action}", json=options, trust_env=False).json()

    assert act("admit", kind="guest", channels=["ops"])["ok"]
    click = {"user": "guest", "where": posted.ts, "action_id": "rotate:approve", "edited": {"value": "R-3"}}
    assert act("pretend_click", **click)["result"]["acked"]
    assert clicks(bot)[0]["actions"][0]["value"] == "R-3"
    assert act("replay")["result"]["ok"]
    assert act("steal", method="chat.postMessage", channel="C0OPS", text="hi")["result"]["ok"]
    assert act("copy_card", message=posted.ts, channel="security")["ok"]
    assert act("admit", kind="king")["ok"] is False
    assert act("forge")["error"] == "nothing is signed in Socket Mode"
    rush = act("rush_type", user="alice", channel="ops", text="/rotate help", count=20)["result"]
    assert (rush["acked"], rush["errors"]) == (20, {})
