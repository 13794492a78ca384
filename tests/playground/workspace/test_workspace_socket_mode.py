"""Whole conversations between people and a Bolt app over Socket Mode."""

from __future__ import annotations

import pytest

from playground.workspace import NotAccepted, NotVisible, Workspace


def test_a_command_is_acknowledged_and_answered_to_its_sender_alone(ws: Workspace, bot: object) -> None:
    delivery = ws.type("alice", "ops", "/rotate help me")
    assert delivery.acked
    assert [one.text for one in ws.ephemerals("alice")] == ["you said help me"]
    assert ws.ephemerals("bob") == []
    assert ws.messages("ops") == []


def test_a_request_is_approved_and_its_card_rewritten(ws: Workspace, bot: object) -> None:
    ws.type("alice", "ops", "/rotate start aegis/jwt")
    (message,) = ws.wait_for(lambda: ws.messages("ops"))
    assert message.metadata == {"event_type": "rotation_state", "event_payload": {"id": "R-1"}}
    with pytest.raises(NotVisible, match="not shown to alice"):
        ws.click("alice", message, "rotate:approve")
    assert ws.click("bob", message, "rotate:approve").acked
    done = ws.wait_for(lambda: [one for one in ws.messages("ops") if one.edited])
    assert done[0].ts == message.ts
    assert "approved by <@U0BOB>" in done[0].words
    assert done[0].buttons == []
    assert done[0].metadata == message.metadata
    assert ws.complaints == []


def test_a_modal_is_filled_in_corrected_and_submitted(ws: Workspace, bot: object) -> None:
    ws.type("alice", "ops", "/rotate")
    assert [view.title for view in ws.views("alice")] == ["Rotate a credential"]
    with pytest.raises(NotAccepted) as refused:
        ws.submit("alice", {"pick": "aegis/jwt"})
    assert refused.value.errors == {"reason": "Please complete this required field."}
    with pytest.raises(NotAccepted, match="at least 5"):
        ws.fill("alice", {"text": "hm"})
    with pytest.raises(NotAccepted, match="not among the options"):
        ws.fill("alice", {"pick": "nobody/knows"})
    ws.submit("alice", {"text": "because I say so", "who": "bob"})
    view = ws.view("alice")
    assert view is not None
    assert view.errors == {"reason": "Say please."}
    assert view.entered["approver"]["who"]["selected_user"] == "U0BOB"
    ws.submit("alice", {"reason": {"text": "because, please"}})
    assert ws.views("alice") == []
    assert ws.wait_for(lambda: ws.messages("ops"))[0].text == "aegis/jwt is requested."
    assert ws.complaints == []


def test_the_home_tab_a_mention_a_shortcut_and_a_direct_message(ws: Workspace, bot: object) -> None:
    ws.open_home("carol")
    home = ws.wait_for(lambda: ws.home("carol"))
    assert "Good morning <@U0CAROL>" in home.words
    said = ws.say("dave", "ops", "@keyturn what now?")
    assert said.text == "<@U0KEYTURN> what now?"
    (reply,) = ws.wait_for(lambda: ws.thread("ops", said.ts))
    assert reply.text == "Try `/rotate help`."
    ws.shortcut("bob", "rotate_this", said)
    assert ws.wait_for(lambda: ws.view("bob")).callback_id == "request"
    ws.close_view("bob")
    ws.say("erin", "@keyturn", "hello")
    ws.wait_for(lambda: [one for one in ws.deliveries if one.type == "message" and one.acked])


def test_a_response_url_answers_later(ws: Workspace, bot: object) -> None:
    ws.type("alice", "ops", "/rotate later")
    ws.wait_for(lambda: [one for one in ws.ephemerals("alice") if one.text == "answered later"])
