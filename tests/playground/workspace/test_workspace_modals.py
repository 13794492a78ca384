"""Triggers, view hashes, stacks of modals, the Home tab, response URLs."""

from __future__ import annotations

from typing import Any

import pytest
from sample_app import CREDENTIALS, FORM, Bot, card, manifest, web_client
from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError
from slack_sdk.webhook import WebhookClient

from playground.workspace import NotAccepted, NotVisible, Workspace

STATIC: dict[str, Any] = {
    "type": "modal",
    "title": {"type": "plain_text", "text": "Static"},
    "blocks": [{"type": "section", "text": {"type": "plain_text", "text": "x"}}],
}


def trigger(ws: Workspace, user: str = "alice") -> str:
    """A fresh trigger of a person who typed a command that nobody answers."""
    return str(ws.type(user, "ops", "/rotate help", wait=False).payload["trigger_id"])


def error(do: Any, **arguments: Any) -> str:
    with pytest.raises(SlackApiError) as failure:
        do(**arguments)
    return str(failure.value.response["error"])


def test_a_trigger_works_once_and_for_three_seconds(ws: Workspace, client: WebClient) -> None:
    first = trigger(ws)
    assert error(client.views_open, trigger_id=first, view={**STATIC, "title": None}) == "invalid_arguments"
    assert client.views_open(trigger_id=first, view=STATIC)["view"]["title"]["text"] == "Static"
    assert error(client.views_open, trigger_id=first, view=STATIC) == "exchanged_trigger_id"
    late = trigger(ws)
    ws.later(3.1)
    assert error(client.views_open, trigger_id=late, view=STATIC) == "expired_trigger_id"
    assert error(client.views_open, trigger_id="1.2.x", view=STATIC) == "invalid_trigger_id"


def test_hashes_guard_updates_and_what_was_entered_stays(ws: Workspace, bot: Bot) -> None:
    client = web_client(ws)
    ws.type("alice", "ops", "/rotate")
    ws.fill("alice", {"text": "half a reason"})
    view = ws.view("alice")
    assert view is not None
    assert error(client.views_update, view_id=view.id, hash="1.x", view=FORM) == "hash_conflict"
    answer = client.views_update(
        view_id=view.id, hash=view.hash, view={**FORM, "title": {"type": "plain_text", "text": "Two"}}
    )
    assert answer["view"]["hash"] != view.hash
    assert answer["view"]["root_view_id"] == view.id
    assert answer["view"]["state"]["values"]["reason"]["text"]["value"] == "half a reason"
    assert error(client.views_update, view_id=view.id, hash=view.hash, view=FORM) == "hash_conflict"
    ws.close_view("alice")
    assert error(client.views_update, view_id=view.id, view=FORM) == "not_found"
    ws.wait_for(lambda: bot.of_type("view_closed"))


def test_a_stack_holds_three_views(ws: Workspace, client: WebClient) -> None:
    assert error(client.views_push, trigger_id=trigger(ws), view=STATIC) == "not_found"
    button = {
        "type": "actions",
        "elements": [{"type": "button", "action_id": "more", "text": {"type": "plain_text", "text": "More"}}],
    }
    page = {**STATIC, "blocks": [button]}
    root = client.views_open(trigger_id=trigger(ws), view={**page, "external_id": "root"})["view"]["id"]
    for _ in range(2):
        pressed = ws.click("alice", "modal", "more", wait=False)
        view = client.views_push(trigger_id=pressed.payload["trigger_id"], view=page)["view"]
        assert view["root_view_id"] == root
    pressed = ws.click("alice", "modal", "more", wait=False)
    assert error(client.views_push, trigger_id=pressed.payload["trigger_id"], view=page) == "push_limit_reached"
    assert pressed.payload["container"] == {"type": "view", "view_id": ws.views("alice")[-1].id}
    assert (
        error(client.views_open, trigger_id=trigger(ws, "bob"), view={**page, "external_id": "root"})
        == "duplicate_external_id"
    )
    assert client.views_update(external_id="root", view=STATIC)["view"]["id"] == root
    with pytest.raises(NotVisible):
        ws.click("bob", ws.views("alice")[-1], "more")
    ws.close_view("alice", everything=True)
    assert ws.views("alice") == []


def test_bad_acknowledgements_of_a_submit_are_noted_and_shown_as_trouble(ws: Workspace, bot: Bot) -> None:
    bot.app._listeners.clear()  # type: ignore[attr-defined]  # the sample's own listeners make room for worse ones
    bot.app.command("/rotate")(bot._command)
    bot.app.options("pick")(bot._suggest)
    answers: list[dict[str, Any]] = [
        {"response_action": "errors", "errors": {"nowhere": "x"}},
        {"response_action": "update", "view": {"type": "modal"}},
        {"response_action": "dance"},
    ]
    bot.app.view("request")(lambda ack: ack(**answers.pop(0)))
    ws.type("alice", "ops", "/rotate")
    ws.fill("alice", {"pick": CREDENTIALS[0], "text": "a reason"})
    for count in (1, 2, 3):
        ws.submit("alice")
        assert len(ws.complaints) == count
        assert len(ws.notices("alice")) == count
        assert len(ws.views("alice")) == 1


def test_update_push_and_clear_move_through_the_stack(ws: Workspace, bot: Bot) -> None:
    bot.app._listeners.clear()  # type: ignore[attr-defined]  # as above
    bot.app.command("/rotate")(bot._command)
    bot.app.options("pick")(bot._suggest)
    answers: list[dict[str, Any]] = [
        {"response_action": "push", "view": {**FORM, "title": {"type": "plain_text", "text": "Pushed"}}},
        {"response_action": "update", "view": {**FORM, "title": {"type": "plain_text", "text": "Updated"}}},
        {"response_action": "clear"},
    ]
    bot.app.view("request")(lambda ack: ack(**answers.pop(0)))
    ws.type("alice", "ops", "/rotate")
    titles = []
    for _ in range(3):
        ws.submit("alice", {"pick": CREDENTIALS[0], "text": "a reason"})
        titles.append([view.title for view in ws.views("alice")])
    assert titles == [["Rotate a credential", "Pushed"], ["Rotate a credential", "Updated"], []]
    assert ws.complaints == []


def test_forms_are_checked_as_slacks_client_does(ws: Workspace, client: WebClient) -> None:
    number = {"type": "number_input", "action_id": "n", "is_decimal_allowed": False, "min_value": "1", "max_value": "9"}
    elements = {
        "number": number,
        "mail": {"type": "email_text_input", "action_id": "m"},
        "link": {"type": "url_text_input", "action_id": "u"},
        "day": {"type": "datepicker", "action_id": "d"},
        "many": {"type": "multi_users_select", "action_id": "p", "max_selected_items": 1},
    }
    blocks = [
        {
            "type": "input",
            "block_id": name,
            "optional": True,
            "label": {"type": "plain_text", "text": name},
            "element": one,
        }
        for name, one in elements.items()
    ]
    view = {**STATIC, "submit": {"type": "plain_text", "text": "Go"}, "blocks": blocks}
    client.views_open(trigger_id=trigger(ws), view=view)
    with pytest.raises(NotAccepted) as refused:
        ws.fill("alice", {"n": "12", "m": "nobody", "u": "ftp://x", "d": "soon", "p": ["bob", "carol"]})
    assert set(refused.value.errors) == set(elements)
    ws.fill("alice", {"n": 3, "m": "a@b.example", "u": "https://x.example", "d": "2026-11-21", "p": ["bob"]})
    delivery = ws.submit("alice", wait=False)
    values = delivery.payload["view"]["state"]["values"]
    assert values["number"]["n"] == {"type": "number_input", "value": "3"}
    assert values["many"]["p"] == {"type": "multi_users_select", "selected_users": ["U0BOB"]}


def test_the_home_tab(ws: Workspace, client: WebClient, start: Any) -> None:
    home = {"type": "home", "blocks": STATIC["blocks"]}
    first = client.views_publish(user_id="U0ALICE", view=home)["view"]
    second = client.views_publish(user_id="U0ALICE", view=home, hash=first["hash"])["view"]
    assert second["id"] == first["id"]
    assert error(client.views_publish, user_id="U0ALICE", view=home, hash=first["hash"]) == "hash_conflict"
    assert error(client.views_publish, user_id="U0OTTO", view=home) == "invalid_arguments"
    assert error(client.views_publish, user_id="U0ALICE", view=STATIC) == "invalid_arguments"
    off = start(manifest=manifest(app_home={"home_tab_enabled": False}))
    assert error(web_client(off).views_publish, user_id="U0ALICE", view=home) == "not_enabled"


def test_a_response_url_has_five_uses_and_thirty_minutes(ws: Workspace, client: WebClient) -> None:
    ts = client.chat_postMessage(channel="C0OPS", text="card", blocks=card())["ts"]
    url = ws.click("bob", ts, "rotate:approve", wait=False).payload["response_url"]
    hook = WebhookClient(url)
    assert hook.send(text="for you").body == "ok"
    assert hook.send(text="for all", response_type="in_channel").status_code == 200
    assert hook.send(text="instead", replace_original=True).status_code == 200
    assert (ws.message(ts).text, ws.message(ts).blocks) == ("instead", [])
    assert hook.send(blocks=[{"type": "poem"}]).status_code == 400
    assert hook.send(delete_original=True).status_code == 200
    used = hook.send(text="a sixth time")
    assert (used.status_code, "used_url" in used.body) == (404, True)
    assert [one.text for one in ws.ephemerals("bob")] == ["for you"]
    assert [one.text for one in ws.messages("ops")] == ["for all"]
    late = ws.type("bob", "ops", "/rotate later", wait=False).payload["response_url"]
    ws.later(30 * 60 + 1)
    assert "expired_url" in WebhookClient(late).send(text="x").body


def test_an_ephemeral_card_can_be_answered_but_not_read(ws: Workspace, client: WebClient) -> None:
    client.chat_postEphemeral(channel="C0OPS", user="U0BOB", text="only you", blocks=card())
    (mine,) = ws.ephemerals("bob")
    pressed = ws.click("bob", mine, "rotate:reject", wait=False)
    assert "message" not in pressed.payload
    assert pressed.payload["container"]["is_ephemeral"] is True
    with pytest.raises(NotVisible):
        ws.click("carol", mine, "rotate:reject")
    WebhookClient(pressed.payload["response_url"]).send(delete_original=True)
    assert ws.ephemerals("bob") == []


def test_a_field_may_be_called_value(ws: Workspace, bot: Bot) -> None:
    """By block or by action: the names that the app chose decide, not the shape of what is entered."""
    client = web_client(ws)
    ws.type("alice", "ops", "/rotate")
    ws.wait_for(lambda: ws.views("alice"))
    fields = [("reason", "value"), ("boxes", "value")]
    options = [{"text": {"type": "plain_text", "text": name}, "value": name} for name in ("one", "two")]
    elements = [
        {"type": "plain_text_input", "action_id": "value"},
        {"type": "checkboxes", "action_id": "value", "options": options},
    ]
    blocks = [
        {"type": "input", "block_id": block, "element": element, "label": {"type": "plain_text", "text": block}}
        for (block, _), element in zip(fields, elements, strict=True)
    ]
    view = {"type": "modal", "title": {"type": "plain_text", "text": "T"}, "blocks": blocks}
    view |= {"submit": {"type": "plain_text", "text": "Go"}, "callback_id": "any"}
    client.views_update(view_id=ws.view("alice").id, view=view)
    ws.fill("alice", {"reason": {"value": "weekly"}, "boxes": {"value": ["one"]}})
    entered = ws.view("alice").entered
    assert entered["reason"]["value"]["value"] == "weekly"
    assert [option["value"] for option in entered["boxes"]["value"]["selected_options"]] == ["one"]
