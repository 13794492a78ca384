"""Every method of an incident channel, refused in every way that Slack has, by one switch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any
from urllib.error import URLError

import httpx
import pytest
from sample_app import Bot, web_client
from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError

from playground.workspace import Workspace
from playground.workspace.contract import METHODS

LOST = (URLError, OSError, HTTPException)


@dataclass(frozen=True)
class Use:
    """A method with arguments that would be taken, and what is different once it was."""

    method: str
    arguments: dict[str, Any]
    effect: Callable[[Workspace], Any]


def channel(ws: Workspace) -> Any:
    return ws.place("alice", "C0OPS")


USES = [
    Use("conversations.create", {"name": "inc-1"}, lambda ws: len(ws.state.conversations)),
    Use("conversations.invite", {"channel": "C0OPS", "users": "U0FAY"}, lambda ws: list(channel(ws).members)),
    Use("conversations.kick", {"channel": "C0OPS", "user": "U0DAVE"}, lambda ws: list(channel(ws).members)),
    Use("conversations.leave", {"channel": "C0OPS"}, lambda ws: list(channel(ws).members)),
    Use("conversations.setTopic", {"channel": "C0OPS", "topic": "new"}, lambda ws: channel(ws).topic),
    Use("conversations.setPurpose", {"channel": "C0OPS", "purpose": "new"}, lambda ws: channel(ws).purpose),
    Use("conversations.rename", {"channel": "C0OPS", "name": "inc-2"}, lambda ws: channel(ws).name),
    Use("conversations.archive", {"channel": "C0OPS"}, lambda ws: channel(ws).is_archived),
    Use("chat.postMessage", {"channel": "C0OPS", "text": "hi"}, lambda ws: len(ws.messages("C0OPS"))),
    Use("chat.update", {"channel": "C0OPS", "ts": "", "text": "hi"}, lambda ws: ws.messages("C0OPS")[0].text),
    Use("pins.add", {"channel": "C0OPS", "timestamp": ""}, lambda ws: len(ws.pins("C0OPS"))),
    Use("pins.remove", {"channel": "C0OPS", "timestamp": "old"}, lambda ws: len(ws.pins("C0OPS"))),
    Use(
        "bookmarks.add",
        {"channel_id": "C0OPS", "title": "Runbook", "type": "link", "link": "https://example.com"},
        lambda ws: len(channel(ws).bookmarks),
    ),
    Use(
        "bookmarks.edit",
        {"channel_id": "C0OPS", "bookmark_id": "", "title": "History"},
        lambda ws: channel(ws).bookmarks[0]["title"],
    ),
    Use("bookmarks.remove", {"channel_id": "C0OPS", "bookmark_id": ""}, lambda ws: len(channel(ws).bookmarks)),
    Use("bookmarks.list", {"channel_id": "C0OPS"}, lambda ws: None),
    Use("pins.list", {"channel": "C0OPS"}, lambda ws: None),
    Use("conversations.list", {}, lambda ws: None),
    Use("conversations.info", {"channel": "C0OPS"}, lambda ws: None),
    Use("conversations.members", {"channel": "C0OPS"}, lambda ws: None),
]


@pytest.fixture(params=USES, ids=lambda use: use.method)
def use(request: pytest.FixtureRequest, ws: Workspace, client: WebClient) -> Use:
    """A use of a method in a channel of the app's own, with a card, a pin and a bookmark."""
    from playground.workspace import User

    use: Use = request.param
    ws.add_user(User("fay"))
    channel(ws).creator = "U0KEYTURN"
    ts = client.chat_postMessage(channel="C0OPS", text="card")["ts"]
    pinned = client.chat_postMessage(channel="C0OPS", text="pinned")["ts"]
    client.pins_add(channel="C0OPS", timestamp=pinned)
    kept = client.bookmarks_add(channel_id="C0OPS", title="Old", type="link", link="https://example.com")["bookmark"]
    given = dict(use.arguments)
    for name, value in (
        ("ts", ts),
        ("timestamp", pinned if given.get("timestamp") else ts),
        ("bookmark_id", kept["id"]),
    ):
        if name in given:
            given[name] = value
    client.retry_handlers.clear()
    return Use(use.method, given, use.effect)


def throw(ws: Workspace, **options: Any) -> None:
    """Throw a switch as another process would."""
    answer = httpx.post(f"{ws.url}control/fault", json={"what": "web", **options}, trust_env=False).json()
    assert answer == {"ok": True}


def test_refused(ws: Workspace, client: WebClient, use: Use) -> None:
    before = use.effect(ws)
    for error in ("missing_scope", "name_taken", "is_archived", "restricted_action", "fatal_error"):
        throw(ws, method=use.method, error=error, channel=use.arguments.get("channel", ""))
        with pytest.raises(SlackApiError) as failure:
            client.api_call(use.method, params=use.arguments)
        assert failure.value.response["error"] == error
        assert use.effect(ws) == before
        if error == "missing_scope":
            assert failure.value.response["needed"] == ",".join(METHODS[use.method].scopes)
            assert "chat:write" in failure.value.response["provided"].split(",")
    assert client.api_call(use.method, params=use.arguments)["ok"], "a switch is used up"


def test_rate_limited_with_retry_after(ws: Workspace, client: WebClient, use: Use) -> None:
    before = use.effect(ws)
    throw(ws, method=use.method, status=429, retry_after=30)
    with pytest.raises(SlackApiError) as failure:
        client.api_call(use.method, params=use.arguments)
    assert (failure.value.response.status_code, failure.value.response["error"]) == (429, "ratelimited")
    assert failure.value.response.headers["retry-after"] == "30"
    assert use.effect(ws) == before


def test_the_answer_is_lost_after_the_effect(ws: Workspace, client: WebClient, use: Use) -> None:
    before = use.effect(ws)
    throw(ws, method=use.method, cut="after")
    with pytest.raises(LOST):
        client.api_call(use.method, params=use.arguments)
    assert before is None or use.effect(ws) != before
    assert [call.ok for call in ws.calls_to(use.method)][-1], "it is written down once, as done"


@pytest.mark.parametrize("how", [{"status": 502}, {"error": "fatal_error"}, {"status": 429}])
def test_slack_says_no_though_it_has_done_it(ws: Workspace, client: WebClient, how: dict[str, Any]) -> None:
    throw(ws, method="conversations.create", done=True, **how)
    with pytest.raises(SlackApiError):
        client.conversations_create(name="inc-1")
    (call,) = ws.calls_to("conversations.create")
    assert call.ok
    with pytest.raises(SlackApiError, match="name_taken"):
        client.conversations_create(name="inc-1")


def test_a_switch_can_be_for_one_channel_and_for_ever(ws: Workspace, client: WebClient) -> None:
    fault = ws.faults.web("chat.postMessage", times=None, error="restricted_action", channel="C0OPS")
    for _ in range(3):
        with pytest.raises(SlackApiError, match="restricted_action"):
            client.chat_postMessage(channel="C0OPS", text="x")
    assert client.chat_postMessage(channel="C0SECURITY", text="x")["ok"]
    assert fault.fired == 3
    ws.faults.clear()
    assert client.chat_postMessage(channel="C0OPS", text="x")["ok"]


def test_something_happens_at_the_very_moment_of_a_call(ws: Workspace, client: WebClient) -> None:
    def members() -> Any:
        return client.usergroups_users_list(usergroup="S0SECONCALL")["users"]

    ws.faults.at("usergroups.users.list", lambda: ws.set_group("sec-oncall", ["carol"]))
    assert members() == ["U0CAROL"], "just before the reading"
    ws.faults.at("usergroups.users.list", lambda: ws.set_group("sec-oncall", ["erin"]), after=True)
    assert members() == ["U0CAROL"], "just after it"
    assert members() == ["U0ERIN"]


@pytest.mark.parametrize("how", ["503", "cut"])
def test_no_socket_is_opened_while_slack_is_down(ws: Workspace, bot: Bot, how: Any) -> None:
    client = web_client(ws)
    client.retry_handlers.clear()
    room = client.conversations_create(name="inc-1", is_private=True)["channel"]["id"]
    ws.faults.down(how)
    ws.wait_for(lambda: not ws.sockets.sockets)
    for _ in range(3):
        with pytest.raises((SlackApiError, *LOST)):
            client.conversations_setTopic(channel=room, topic="lost")
    assert ws.type("alice", "ops", "/rotate help").error == "not_connected"
    assert not ws.sockets.sockets
    ws.faults.up()
    ws.wait_connected(timeout=15)
    assert client.conversations_info(channel=room)["channel"]["topic"]["value"] == ""
    client.conversations_setTopic(channel=room, topic="caught up")
    assert ws.type("alice", "ops", "/rotate help").acked
