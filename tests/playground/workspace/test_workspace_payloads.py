"""What the app receives: fields of each payload, who may do what, what is told of changes."""

from __future__ import annotations

from typing import Any

import pytest
from sample_app import Bot, card, manifest, web_client
from slack_sdk import WebClient

from playground.workspace import NotVisible, User, Workspace


def test_a_slash_command(ws: Workspace, bot: Bot) -> None:
    ws.type("alice", "ops", "/rotate cancel @bob in #general")
    body = bot.seen[-1]
    assert body["text"] == "cancel <@U0BOB|bob> in <#C0GENERAL|general>"
    expected = {
        "team_id": "T0KEYTURN",
        "channel_id": "C0OPS",
        "channel_name": "ops",
        "user_id": "U0ALICE",
        "user_name": "alice",
        "command": "/rotate",
        "api_app_id": "A0KEYTURN",
        "is_enterprise_install": "false",
    }
    assert expected.items() <= body.items()
    ws.type("bob", "security", "/rotate help")
    assert bot.seen[-1]["channel_name"] == "privategroup"
    ws.type("bob", "@keyturn", "/rotate help")
    assert bot.seen[-1]["channel_name"] == "directmessage"


def test_without_should_escape_text_arrives_as_typed(start: Any) -> None:
    ws = start(manifest=manifest(slash_commands=[{"command": "/rotate", "should_escape": False}]))
    assert ws.type("alice", "ops", "/rotate @bob <b>", wait=False).payload["text"] == "@bob <b>"


def test_what_slack_itself_refuses(ws: Workspace, bot: Bot) -> None:
    before = len(bot.seen)
    parent = ws.say("alice", "ops", "hello")
    assert "not supported in threads" in ws.type("alice", "ops", "/rotate help", thread_ts=parent.ts).error
    assert "not a valid command" in ws.type("alice", "ops", "/deploy now").error
    assert "not a valid command" in ws.type("sam", "partner-api", "/rotate help").error
    assert len(ws.notices("alice")) == 2
    with pytest.raises(NotVisible):
        ws.type("dave", "security", "/rotate help")
    with pytest.raises(NotVisible):
        ws.type("otto", "old-incident", "/rotate help")
    assert ws.type("gus", "ops", "/rotate help").acked
    assert [body for body in bot.seen[before:] if body.get("command")] == [bot.seen[-1]]


def test_a_click_carries_the_message_and_whose_workspace_it_is(ws: Workspace, client: WebClient) -> None:
    metadata = {"event_type": "rotation_state", "event_payload": {"id": "R-1"}}
    ts = client.chat_postMessage(channel="C0PARTNERAPI", text="card", blocks=card(), metadata=metadata)["ts"]
    body = ws.click("sam", ts, "rotate:reject", wait=False).payload
    assert body["user"] == {"id": "U0SAM", "username": "sam", "name": "sam", "team_id": "T0PARTNER"}
    assert body["team"] == {"id": "T0KEYTURN", "domain": "keyturn"}
    assert body["container"] == {
        "type": "message",
        "message_ts": ts,
        "channel_id": "C0PARTNERAPI",
        "is_ephemeral": False,
    }
    assert body["message"]["metadata"] == metadata
    (action,) = body["actions"]
    assert (action["action_id"], action["value"], action["type"]) == ("rotate:reject", "R-1", "button")
    assert {"action_ts", "block_id", "text"} <= set(action)
    assert ws.click("sam", ts, "rotate:approve", force=True, wait=False).payload["user"]["id"] == "U0SAM"
    with pytest.raises(NotVisible):
        ws.click("una", ts, "rotate:reject")


def test_choices_in_a_message_are_its_state(ws: Workspace, client: WebClient) -> None:
    option = {"text": {"type": "plain_text", "text": "One hour"}, "value": "1h"}
    other = {"text": {"type": "plain_text", "text": "One day"}, "value": "1d"}
    elements = [
        {"type": "static_select", "action_id": "snooze", "options": [option, other]},
        {"type": "users_select", "action_id": "who"},
        {"type": "overflow", "action_id": "more", "options": [option, other]},
    ]
    blocks = [{"type": "actions", "block_id": "row", "elements": elements}]
    ts = client.chat_postMessage(channel="C0OPS", text="choose", blocks=blocks)["ts"]
    body = ws.click("alice", ts, "snooze", "One day", wait=False).payload
    assert body["actions"][0]["selected_option"] == other
    body = ws.click("alice", ts, "who", "bob", wait=False).payload
    assert body["state"]["values"]["row"]["snooze"]["selected_option"] == other
    assert body["state"]["values"]["row"]["who"]["selected_user"] == "U0BOB"
    assert ws.click("alice", ts, "more", "1h", wait=False).payload["actions"][0]["selected_option"] == option
    assert (
        ws.click("bob", ts, "who", "bob", wait=False).payload["state"]["values"]["row"]["snooze"]["selected_option"]
        is None
    )


def test_events_need_a_subscription_and_a_scope(start: Any) -> None:
    quiet = start(events=())
    quiet.say("alice", "ops", "@keyturn hello")
    quiet.set_group("sec-oncall", ["bob"])
    assert quiet.open_home("alice") is None
    blind = start(scopes={"chat:write"})
    blind.say("alice", "ops", "@keyturn hello")
    assert quiet.deliveries == blind.deliveries == []


def test_changes_of_groups_channels_and_people_are_told(ws: Workspace, bot: Bot) -> None:
    told = ws.set_group("sec-oncall", ["carol", "erin"])
    assert [one.type for one in told] == ["subteam_updated", "subteam_members_changed"]
    change = told[1].payload["event"]
    assert (change["added_users"], change["removed_users"]) == (["U0ERIN"], ["U0BOB"])
    ws.add_user(User("nina"))
    ws.join("nina", "ops")
    body = ws.wait_for(lambda: bot.of_type("member_joined_channel"))[-1]
    assert body["authorizations"][0]["user_id"] == "U0KEYTURN"
    assert body["event"]["channel"] == "C0OPS"
    assert {"event_id", "event_time", "api_app_id", "team_id", "token"} <= set(body)


def test_renaming_keeps_the_id_and_takes_the_old_name(ws: Workspace) -> None:
    client = web_client(ws)
    ws.rename("ops", "operations")
    assert client.conversations_info(channel="C0OPS")["channel"]["name"] == "operations"
    assert client.conversations_info(channel="C0OPS")["channel"]["previous_names"] == ["ops"]


def test_a_click_may_come_too_late(ws: Workspace, client: WebClient) -> None:
    ts = client.chat_postMessage(channel="C0OPS", text="card", blocks=card())["ts"]
    (before,) = ws.messages("ops")
    client.chat_update(channel="C0OPS", ts=ts, text="done", blocks=card("done", buttons=False))
    with pytest.raises(NotVisible):
        ws.click("bob", before, "rotate:approve")
    body = ws.click("bob", before, "rotate:approve", force=True, wait=False).payload
    assert body["actions"][0]["value"] == "R-1"
    assert body["message"]["text"] == "done"
    assert before.text == "card"


def test_who_a_message_calls(ws: Workspace, client: WebClient) -> None:
    hostile = "<!channel> <@U0BOB>"
    escaped = "&lt;!channel&gt;"
    blocks = [
        {"type": "section", "text": {"type": "mrkdwn", "text": f"{escaped} for <!subteam^S0SECONCALL>"}},
        {"type": "section", "text": {"type": "plain_text", "text": hostile}},
    ]
    client.chat_postMessage(channel="C0OPS", text="quiet", blocks=blocks)
    client.chat_postMessage(channel="C0OPS", text=hostile)
    assert [one.pings for one in ws.messages("ops")] == [["S0SECONCALL"], ["channel", "U0BOB"]]
