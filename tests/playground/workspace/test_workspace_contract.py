"""The table of methods against what the workspace serves: tokens, scopes, arguments, errors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from sample_app import card, manifest, web_client
from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError

from playground.workspace import Seed, Workspace
from playground.workspace.contract import METHODS, Method
from playground.workspace.methods import HANDLERS

ALL = [pytest.param(method, id=method.name) for method in METHODS.values()]
EXAMPLES = {
    "ts": "1600000000.000100",
    "blocks": "[]",
    "view": "{}",
    "bool": "true",
    "int": "5",
    "object": "{}",
    "array": "[]",
}


@pytest.fixture(scope="module")
def shared() -> Iterator[Workspace]:
    """One workspace for every question that changes nothing."""
    with Workspace.start(manifest=manifest(), rate_factor=0) as workspace:
        yield workspace


@pytest.fixture(scope="module")
def bare() -> Iterator[Workspace]:
    """A workspace whose app was granted nothing."""
    with Workspace.start(manifest=manifest(), scopes=(), rate_factor=0) as workspace:
        yield workspace


def call(ws: Workspace, method: str, token: str | None = None, **arguments: Any) -> dict[str, Any]:
    """One raw call, as a form."""
    headers = {"authorization": f"Bearer {token}"} if token else {}
    response = httpx.post(f"{ws.api_url}{method}", data=arguments, headers=headers, trust_env=False)
    answer: dict[str, Any] = response.json()
    return answer


def token_for(ws: Workspace, method: Method) -> str:
    return ws.app_token if method.as_app else ws.bot_token


def test_every_row_is_served_and_everything_served_has_a_row() -> None:
    assert set(HANDLERS) == set(METHODS)


@pytest.mark.parametrize("method", ALL)
def test_tokens(shared: Workspace, method: Method) -> None:
    assert call(shared, method.name)["error"] == "not_authed"
    assert call(shared, method.name, "xoxb-1-nobody")["error"] == "invalid_auth"
    wrong = shared.bot_token if method.as_app else shared.app_token
    assert call(shared, method.name, wrong)["error"] == "not_allowed_token_type"


@pytest.mark.parametrize("method", [one for one in ALL if one.values[0].scopes and not one.values[0].as_app])
def test_scopes(bare: Workspace, method: Method) -> None:
    answer = call(bare, method.name, bare.bot_token)
    assert answer["error"] == "missing_scope"
    assert answer["needed"] == ",".join(method.scopes)
    assert answer["provided"] == ""


@pytest.mark.parametrize("method", ALL)
def test_required_and_unknown_arguments(shared: Workspace, method: Method) -> None:
    required = [one for one in method.arguments if one.required]
    if required:
        answer = call(shared, method.name, token_for(shared, method))
        assert answer["error"] == "invalid_arguments"
        messages = answer["response_metadata"]["messages"]
        assert messages == [f"[ERROR] missing required field: {one.name}" for one in required]
    given = {one.name: EXAMPLES.get(one.kind, "x") for one in required}
    answer = call(shared, method.name, token_for(shared, method), **given, colour="red")
    assert answer["error"] == "invalid_arguments"
    assert "[ERROR] unknown argument: colour" in answer["response_metadata"]["messages"]


@pytest.mark.parametrize("method", ALL)
def test_malformed_arguments(shared: Workspace, method: Method) -> None:
    for argument in method.arguments:
        if argument.kind not in {"bool", "int", "ts", "blocks", "object", "array", "view"}:
            continue
        given = {one.name: EXAMPLES.get(one.kind, "x") for one in method.arguments if one.required}
        answer = call(shared, method.name, token_for(shared, method), **{**given, argument.name: "{oops"})
        expected = {"blocks": "invalid_blocks_format"}.get(argument.kind, "invalid_arguments")
        expected = "invalid_metadata_format" if argument.name == "metadata" else expected
        assert answer["error"] == expected, argument


def test_unknown_methods_bodies_and_headers(shared: Workspace) -> None:
    headers = {"authorization": f"Bearer {shared.bot_token}"}
    assert call(shared, "chat.shout", shared.bot_token)["error"] == "unknown_method"
    post = f"{shared.api_url}chat.postMessage"
    kinds = {
        "invalid_json": ("application/json", "{"),
        "json_not_object": ("application/json", "[]"),
        "invalid_post_type": ("text/plain", "channel=x"),
    }
    for error, (kind, body) in kinds.items():
        response = httpx.post(post, content=body, headers={**headers, "content-type": kind}, trust_env=False)
        assert response.json()["error"] == error
    response = httpx.post(f"{shared.api_url}auth.test", headers=headers, trust_env=False)
    assert "chat:write" in response.headers["x-oauth-scopes"].split(",")
    body = json.dumps({"channel": "C0OPS", "text": "hi"})
    plain = httpx.post(post, content=body, headers={**headers, "content-type": "application/json"}, trust_env=False)
    assert plain.json()["warning"] == "missing_charset"
    # Read methods do not look at JSON bodies, whatever a caller hopes.
    body = json.dumps({"user": "U0BOB"})
    info = httpx.post(
        f"{shared.api_url}users.info",
        content=body,
        headers={**headers, "content-type": "application/json; charset=utf-8"},
        trust_env=False,
    )
    assert info.json()["error"] == "invalid_arguments"


def refused(do: Any, **arguments: Any) -> str:
    """The error of a call that must fail."""
    with pytest.raises(SlackApiError) as failure:
        do(**arguments)
    return str(failure.value.response["error"])


def test_where_a_message_may_go(ws: Workspace, client: WebClient) -> None:
    post = client.chat_postMessage
    assert refused(post, channel="C0NOWHERE", text="x") == "channel_not_found"
    assert refused(post, channel="old-incident", text="x") == "is_archived"
    assert refused(post, channel="announcements", text="x") == "restricted_action"
    assert refused(post, channel="U0OTTO", text="x") == "account_inactive"
    assert refused(post, channel="C0OPS") == "no_text"
    assert refused(post, channel="C0OPS", text="x", thread_ts="1600000000.000100") == "cannot_reply_to_message"
    assert refused(post, channel="C0OPS", text="x", username="Boss") == "missing_scope"
    assert refused(post, channel="C0OPS", text="x", metadata={"event_type": ""}) == "invalid_metadata_format"
    ws.leave("keyturn", "security")
    assert refused(post, channel="C0SECURITY", text="x") == "channel_not_found"
    assert post(channel="#general", text="public, though not a member")["ok"]
    direct = post(channel="U0ALICE", text="hello")["channel"]
    assert direct.startswith("D")
    assert [one.text for one in ws.direct_messages("alice")] == ["hello"]
    assert post(channel="C0OPS", text="y" * 50_000)["response_metadata"]["warnings"] == ["message_truncated"]


def test_without_the_public_scope_membership_is_needed(start: Any) -> None:
    ws = start(scopes={"chat:write"})
    assert refused(web_client(ws).chat_postMessage, channel="C0GENERAL", text="x") == "not_in_channel"


def test_editing_and_deleting(ws: Workspace, client: WebClient) -> None:
    metadata = {"event_type": "rotation_state", "event_payload": {"id": "R-1"}}
    ts = client.chat_postMessage(channel="C0OPS", text="card", blocks=card(), metadata=metadata)["ts"]
    theirs = ws.say("alice", "ops", "mine").ts
    assert refused(client.chat_update, channel="C0OPS", ts=theirs, text="x") == "cant_update_message"
    assert refused(client.chat_delete, channel="C0OPS", ts=theirs) == "cant_delete_message"
    assert refused(client.chat_update, channel="C0OPS", ts="1600000000.000100", text="x") == "message_not_found"
    assert refused(client.chat_update, channel="ops", ts=ts, text="x") == "channel_not_found"
    assert refused(client.chat_update, channel="C0OPS", ts=ts, text="x" * 4001) == "msg_too_long"
    client.chat_update(channel="C0OPS", ts=ts, text="only text now")
    assert ws.message(ts).blocks == []
    history = client.conversations_history(channel="C0OPS", include_all_metadata=True)["messages"]
    assert next(one for one in history if one["ts"] == ts)["metadata"] == metadata
    ws.archive("ops")
    assert refused(client.chat_update, channel="C0OPS", ts=ts, text="x") == "is_inactive"
    ws.archive("ops", archived=False)
    client.chat_delete(channel="C0OPS", ts=ts)
    assert refused(client.chat_delete, channel="C0OPS", ts=ts) == "message_not_found"


def test_whispers_reach_members_only(ws: Workspace, client: WebClient) -> None:
    whisper = client.chat_postEphemeral
    assert refused(whisper, channel="C0OPS", user="U0UNA", text="x") == "user_not_in_channel"
    assert refused(whisper, channel="C0GENERAL", user="U0ALICE", text="x") == "not_in_channel"
    assert refused(whisper, channel="C0OLDINCIDENT", user="U0ALICE", text="x") == "is_archived"
    ts = whisper(channel="C0OPS", user="U0ALICE", text="psst")["message_ts"]
    assert refused(client.chat_update, channel="C0OPS", ts=ts, text="x") == "message_not_found"
    assert [one.text for one in ws.ephemerals("alice", "ops")] == ["psst"]
    assert ws.messages("ops") == []


def test_people_and_groups(ws: Workspace, client: WebClient) -> None:
    assert client.users_info(user="U0GUS")["user"]["is_restricted"]
    assert client.users_info(user="U0UNA")["user"]["is_ultra_restricted"]
    assert client.users_info(user="U0OTTO")["user"]["deleted"]
    sam = client.users_info(user="U0SAM")["user"]
    assert (sam["team_id"], sam["is_stranger"]) == ("T0PARTNER", False)
    ws.leave("keyturn", "partner-api")
    assert client.users_info(user="U0SAM")["user"]["is_stranger"]
    assert refused(client.conversations_open, users="U0SAM") == "invalid_user_combination"
    assert refused(client.conversations_open, users="U0OTTO") == "user_disabled"
    assert refused(client.users_lookupByEmail, email="otto@example.com") == "users_not_found"
    assert client.users_lookupByEmail(email="BOB@example.com")["user"]["id"] == "U0BOB"
    assert client.usergroups_users_list(usergroup="S0SECONCALL")["users"] == ["U0BOB", "U0CAROL"]
    ws.deactivate("bob")
    assert client.usergroups_users_list(usergroup="S0SECONCALL")["users"] == ["U0CAROL"]
    assert refused(client.usergroups_users_list, usergroup="S0NOBODY") == "no_such_subteam"
    names = [one["name"] for page in client.users_list(limit=3) for one in page["members"]]
    assert len(names) == len(set(names)) == 10
    assert "sam" not in names


def test_the_email_needs_its_own_scope(start: Any) -> None:
    ws = start(scopes={"users:read"})
    assert "email" not in web_client(ws).users_info(user="U0BOB")["user"]["profile"]


def test_channels(ws: Workspace, client: WebClient) -> None:
    assert refused(client.conversations_create, name="ops") == "name_taken"
    assert refused(client.conversations_create, name="old-incident") == "name_taken"
    assert refused(client.conversations_create, name="Loud") == "invalid_name_specials"
    assert refused(client.conversations_create, name="--") == "invalid_name_punctuation"
    assert refused(client.conversations_create, name="x" * 81) == "invalid_name_maxlength"
    made = client.conversations_create(name="inc-1", is_private=True)["channel"]["id"]
    assert refused(client.conversations_invite, channel=made, users="U0GUS") == "user_is_restricted"
    assert refused(client.conversations_invite, channel=made, users="U0OTTO") == "cant_invite"
    client.conversations_invite(channel=made, users=["U0ALICE", "U0BOB"])
    assert refused(client.conversations_invite, channel=made, users="U0BOB") == "already_in_channel"
    assert client.conversations_members(channel=made)["members"] == ["U0KEYTURN", "U0ALICE", "U0BOB"]
    assert refused(client.conversations_setTopic, channel=made, topic="x" * 251) == "too_long"
    client.conversations_archive(channel=made)
    assert refused(client.conversations_archive, channel=made) == "already_archived"
    assert refused(client.conversations_archive, channel="C0GENERAL") == "not_in_channel"
    assert client.conversations_join(channel="C0GENERAL")["channel"]["is_member"]
    assert refused(client.conversations_archive, channel="C0GENERAL") == "cant_archive_general"
    ts = client.chat_postMessage(channel="C0OPS", text="pin me")["ts"]
    client.pins_add(channel="C0OPS", timestamp=ts)
    assert refused(client.pins_add, channel="C0OPS", timestamp=ts) == "already_pinned"
    client.reactions_add(channel="C0OPS", timestamp=ts, name="eyes")
    assert refused(client.reactions_add, channel="C0OPS", timestamp=ts, name="eyes") == "already_reacted"
    bookmark = {"channel_id": "C0OPS", "title": "Runbook", "type": "link"}
    assert refused(client.bookmarks_add, **bookmark, link="javascript:alert(1)") == "invalid_link"
    assert client.bookmarks_add(**bookmark, link="https://example.com")["bookmark"]["title"] == "Runbook"
    assert client.chat_getPermalink(channel="C0OPS", message_ts=ts)["permalink"].startswith(ws.url)


def test_an_admin_may_forbid_channels(start: Any) -> None:
    seed = Seed.of(None)
    seed.may_create_channels = False
    ws = start(seed=seed)
    assert refused(web_client(ws).conversations_create, name="inc-2") == "restricted_action"


def test_rate_limits_answer_429_and_refill(start: Any) -> None:
    ws = start(rate_factor=1.0)
    client = web_client(ws)
    for number in range(4):
        client.chat_postMessage(channel="C0OPS", text=str(number))
    with pytest.raises(SlackApiError) as failure:
        client.chat_postMessage(channel="C0OPS", text="one too many")
    assert failure.value.response.status_code == 429
    assert failure.value.response.headers["retry-after"] == "1"
    client.chat_postMessage(channel="C0SECURITY", text="another channel has its own second")
    ws.later(1)
    client.chat_postMessage(channel="C0OPS", text="now")
    for _ in range(20):
        client.usergroups_list()
    assert refused(client.usergroups_list) == "ratelimited"


def test_optional_scopes_can_be_declined() -> None:
    with pytest.raises(ValueError, match="only optional"):
        Workspace.start(manifest=manifest(), declined=["chat:write"])
    with Workspace.start(manifest=manifest(), declined=["team:read"], scopes=None) as ws:
        assert "team:read" in ws.app.scopes  # it is a required scope too in this manifest
