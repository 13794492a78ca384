"""Incident channels: made, filled, worded, pinned, renamed, archived, and every way in which Slack says no."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sample_app import SCOPES, web_client
from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError

from playground.workspace import Workspace
from playground.workspace.live import Live


def refused(do: Callable[..., Any], **arguments: Any) -> str:
    """The error of a call that must fail."""
    with pytest.raises(SlackApiError) as failure:
        do(**arguments)
    return str(failure.value.response["error"])


@pytest.fixture
def room(client: WebClient) -> str:
    """A private channel that the app made."""
    return str(client.conversations_create(name="inc-2026-11-21-aegis-jwt", is_private=True)["channel"]["id"])


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("inc-" + "x" * 77, "invalid_name_maxlength"),
        ("Inc-1", "invalid_name_specials"),
        ("inc 1", "invalid_name_specials"),
        ("inc.1", "invalid_name_specials"),
        ("#inc-1", "invalid_name_specials"),
        ("störung", "invalid_name_specials"),
        ("inc-1\n", "invalid_name_specials"),
        ("-_-", "invalid_name_punctuation"),
        ("ops", "name_taken"),
        ("security", "name_taken"),
        ("old-incident", "name_taken"),
    ],
)
def test_names(client: WebClient, room: str, name: str, error: str) -> None:
    assert refused(client.conversations_create, name=name) == error
    assert refused(client.conversations_rename, channel=room, name=name) == error
    longest = "inc-" + "x" * 76
    assert client.conversations_rename(channel=room, name=longest)["channel"]["name"] == longest


def test_an_old_name_stays_taken_for_others(client: WebClient, room: str) -> None:
    first = client.conversations_info(channel=room)["channel"]["name"]
    assert client.conversations_rename(channel=room, name="inc-2")["channel"]["previous_names"] == [first]
    assert refused(client.conversations_create, name=first) == "name_taken"
    client.conversations_rename(channel=room, name=first)
    assert refused(client.conversations_rename, channel="C0OPS", name="mine") == "not_authorized"
    assert refused(client.conversations_rename, channel="C0GENERAL", name="mine") == "not_in_channel"


def test_invitations(ws: Workspace, client: WebClient, room: str) -> None:
    def why(users: str, **more: Any) -> list[tuple[str, str]]:
        with pytest.raises(SlackApiError) as failure:
            client.conversations_invite(channel=room, users=users, **more)
        errors = failure.value.response["errors"]
        assert failure.value.response["error"] == errors[0]["error"]
        return [(one["user"], one["error"]) for one in errors]

    assert why("U0KEYTURN") == [("U0KEYTURN", "cant_invite_self")]
    assert why("U0NOBODY,U0GUS,U0ALICE") == [("U0NOBODY", "user_not_found"), ("U0GUS", "user_is_restricted")]
    assert client.conversations_members(channel=room)["members"] == ["U0KEYTURN"], "one refusal refuses all"
    answer = client.conversations_invite(channel=room, users="U0ALICE,U0UNA,U0OTTO,U0SAM,U0BOB", force=True)
    assert {one["user"]: one["error"] for one in answer["errors"]} == {
        "U0UNA": "ura_max_channels",
        "U0OTTO": "cant_invite",
        "U0SAM": "no_external_invite_permission",
    }
    assert client.conversations_members(channel=room)["members"] == ["U0KEYTURN", "U0ALICE", "U0BOB"]
    assert why("U0ALICE", force=True) == [("U0ALICE", "already_in_channel")]
    many = ",".join(f"U0{number}" for number in range(101))
    assert refused(client.conversations_invite, channel=room, users=many) == "invalid_arguments"
    assert refused(client.conversations_invite, channel="C0GENERAL", users="U0GUS") == "not_in_channel"
    assert refused(client.conversations_invite, channel="C0OLDINCIDENT", users="U0CAROL") == "is_archived"


def test_topic_and_purpose(ws: Workspace, client: WebClient, room: str) -> None:
    assert client.conversations_setTopic(channel=room, topic="x" * 250)["channel"]["topic"]["value"] == "x" * 250
    assert client.conversations_setPurpose(channel=room, purpose="why")["purpose"] == "why"
    assert client.conversations_info(channel=room)["channel"]["purpose"]["value"] == "why"
    for set_words, word in ((client.conversations_setTopic, "topic"), (client.conversations_setPurpose, "purpose")):
        assert refused(set_words, channel=room, **{word: "x" * 251}) == "too_long"
        assert refused(set_words, channel="C0GENERAL", **{word: "x"}) == "not_in_channel"
        assert refused(set_words, channel="C0OLDINCIDENT", **{word: "x"}) == "is_archived"
        assert refused(set_words, channel="C0NOWHERE", **{word: "x"}) == "channel_not_found"


def test_people_are_shown_the_door_and_the_app_leaves(client: WebClient, room: str) -> None:
    kick, leave = client.conversations_kick, client.conversations_leave
    client.conversations_invite(channel=room, users="U0ALICE")
    assert refused(kick, channel=room, user="U0KEYTURN") == "cant_kick_self"
    assert refused(kick, channel=room, user="U0BOB") == "not_in_channel"
    assert refused(kick, channel=room, user="U0NOBODY") == "user_not_found"
    assert kick(channel=room, user="U0ALICE")["ok"]
    assert refused(leave, channel=room) == "last_member"
    client.conversations_invite(channel=room, users="U0ALICE")
    assert leave(channel=room)["ok"]
    assert refused(leave, channel=room) == "channel_not_found", "a private channel is not known to those outside"
    assert leave(channel="C0GENERAL")["not_in_channel"]
    client.conversations_join(channel="C0GENERAL")
    assert refused(kick, channel="C0GENERAL", user="U0ALICE") == "cant_kick_from_general"
    assert refused(leave, channel="C0GENERAL") == "cant_leave_general"
    assert refused(leave, channel="C0OLDINCIDENT") == "is_archived"


def test_no_bot_opens_an_archived_channel_again(ws: Workspace, client: WebClient, room: str) -> None:
    assert refused(client.conversations_unarchive, channel=room) == "not_archived"
    client.conversations_archive(channel=room)
    assert refused(client.conversations_unarchive, channel=room) == "not_in_channel"
    assert refused(client.chat_postMessage, channel=room, text="x") == "is_archived"
    ws.archive(room, archived=False)
    assert client.chat_postMessage(channel=room, text="x")["ok"]


def test_lists_have_pages_types_and_no_foreign_secrets(ws: Workspace, client: WebClient, room: str) -> None:
    ws.leave("keyturn", "security")
    pages = client.conversations_list(types="public_channel,private_channel", limit=2)
    names = [one["name"] for page in pages for one in page["channels"]]
    assert len(names) == len(set(names))
    assert "inc-2026-11-21-aegis-jwt" in names
    assert "old-incident" in names
    assert "security" not in names, "a private channel that the app is not in"
    kept = client.conversations_list(exclude_archived=True, limit=200)["channels"]
    assert "old-incident" not in [one["name"] for one in kept]
    assert refused(client.conversations_list, types="secret_channel") == "invalid_types"
    assert refused(client.conversations_list, cursor="?") == "invalid_cursor"
    assert refused(client.conversations_list, limit=1001) == "invalid_limit"
    assert refused(client.conversations_info, channel="C0SECURITY") == "channel_not_found"
    assert refused(client.conversations_members, channel="C0SECURITY") == "channel_not_found"


def test_pins(ws: Workspace, client: WebClient, room: str) -> None:
    first, second = [client.chat_postMessage(channel=room, text=word)["ts"] for word in ("status", "plan")]
    pin = {"channel": room, "timestamp": first}
    assert refused(client.pins_remove, **pin) == "not_pinned"
    client.pins_add(**pin)
    assert refused(client.pins_add, **pin) == "already_pinned"
    client.pins_add(channel=room, timestamp=second)
    items = client.pins_list(channel=room)["items"]
    assert [one["message"]["text"] for one in items] == ["plan", "status"]
    assert items[0]["message"]["pinned_to"] == [room]
    assert items[0]["message"]["permalink"].startswith(ws.url)
    client.chat_update(channel=room, ts=first, text="status, edited in place")
    client.pins_remove(channel=room, timestamp=second)
    assert [one["message"]["text"] for one in client.pins_list(channel=room)["items"]] == ["status, edited in place"]
    assert [one.text for one in ws.pins(room)] == ["status, edited in place"]
    assert refused(client.pins_add, channel=room) == "no_item_specified"
    assert refused(client.pins_add, channel=room, timestamp="1600000000.000100") == "message_not_found"
    said = ws.say("alice", "general", "hi").ts
    assert refused(client.pins_add, channel="C0GENERAL", timestamp=said) == "not_in_channel"
    client.conversations_archive(channel=room)
    assert refused(client.pins_add, channel=room, timestamp=second) == "permission_denied"


def test_bookmarks(ws: Workspace, client: WebClient, room: str) -> None:
    add = {"channel_id": room, "title": "Runbook", "type": "link", "link": "https://example.com/runbook"}
    made = client.bookmarks_add(**add, emoji=":book:")["bookmark"]
    assert refused(client.bookmarks_add, **{**add, "type": "canvas"}) == "invalid_bookmark_type"
    assert refused(client.bookmarks_add, **{**add, "link": "ftp://example.com"}) == "invalid_link"
    assert refused(client.bookmarks_add, **add, emoji="book") == "invalid_emoji"
    where = {"channel_id": room, "bookmark_id": made["id"]}
    edited = client.bookmarks_edit(**where, title="History", link="https://example.com/history")["bookmark"]
    assert (edited["title"], edited["emoji"], edited["date_updated"] > 0) == ("History", ":book:", True)
    assert refused(client.bookmarks_edit, **where, link="javascript:alert(1)") == "invalid_link"
    assert refused(client.bookmarks_edit, channel_id=room, bookmark_id="Bk0", title="x") == "not_found"
    assert client.bookmarks_list(channel_id=room)["bookmarks"] == [edited]
    client.bookmarks_remove(**where)
    assert refused(client.bookmarks_remove, **where) == "not_found"
    assert client.bookmarks_list(channel_id=room)["bookmarks"] == []
    assert refused(client.bookmarks_add, **{**add, "channel_id": "C0GENERAL"}) == "access_denied"
    assert refused(client.bookmarks_add, **{**add, "channel_id": "C0NOWHERE"}) == "channel_not_found"
    client.conversations_archive(channel=room)
    assert refused(client.bookmarks_add, **add) == "permission_denied"


@pytest.mark.parametrize(
    ("missing", "private"), [("groups:write", True), ("channels:manage", False)], ids=["private", "public"]
)
def test_each_kind_of_channel_has_its_own_scope(start: Callable[..., Workspace], missing: str, private: bool) -> None:
    ws = start(scopes=SCOPES)
    client = web_client(ws)
    ours = client.conversations_create(name="inc-1", is_private=private)["channel"]["id"]
    ws.revoke_scopes(missing)
    with pytest.raises(SlackApiError) as failure:
        client.conversations_create(name="inc-2", is_private=private)
    assert failure.value.response["error"] == "missing_scope"
    assert failure.value.response["needed"] == missing
    assert missing not in failure.value.response["provided"]
    client.conversations_create(name="inc-3", is_private=not private)
    calls: list[tuple[Callable[..., Any], dict[str, str]]] = [
        (client.conversations_invite, {"users": "U0BOB"}),
        (client.conversations_setTopic, {"topic": "x"}),
        (client.conversations_setPurpose, {"purpose": "x"}),
        (client.conversations_rename, {"name": "inc-9"}),
        (client.conversations_kick, {"user": "U0BOB"}),
        (client.conversations_leave, {}),
        (client.conversations_archive, {}),
        (client.conversations_unarchive, {}),
    ]
    for do, more in calls:
        assert refused(do, channel=ours, **more) == "missing_scope", do
    ws.grant_scopes(missing)
    assert client.conversations_archive(channel=ours)["ok"]
    assert missing in client.auth_test().headers["x-oauth-scopes"]


def test_a_group_that_changes_is_told_to_those_who_subscribed(ws: Workspace, make_bot: Callable[..., Any]) -> None:
    bot = make_bot(ws)
    for delivery in ws.set_group("sec-oncall", ["carol", "erin"]):
        assert delivery.wait().acked
    (updated,) = [body["event"]["subteam"] for body in bot.of_type("subteam_updated")]
    (changed,) = [body["event"] for body in bot.of_type("subteam_members_changed")]
    assert (updated["id"], updated["users"]) == ("S0SECONCALL", ["U0CAROL", "U0ERIN"])
    assert (changed["added_users"], changed["removed_users"]) == (["U0ERIN"], ["U0BOB"])
    assert changed["removed_users_count"] == "1"
    first = changed["date_update"]
    ws.later(5)
    assert all(one.wait().acked for one in ws.disable_group("sec-oncall"))
    assert refused(web_client(ws).usergroups_users_list, usergroup="S0SECONCALL") == "no_such_subteam"
    assert bot.of_type("subteam_updated")[-1]["event"]["subteam"]["date_delete"] >= first
    ws.revoke_scopes("usergroups:read")
    assert ws.set_group("platform", ["alice"]) == [], "without the scope nothing is told"


def test_a_private_channel_is_seen_by_its_members_alone(ws: Workspace, client: WebClient, room: str) -> None:
    client.conversations_invite(channel=room, users="U0ALICE")
    client.conversations_setTopic(channel=room, topic="R-9: revoke aegis/jwt")
    client.pins_add(channel=room, timestamp=client.chat_postMessage(channel=room, text="status")["ts"])
    client.bookmarks_add(channel_id=room, title="Runbook", type="link", link="https://example.com")

    def seen(user: str) -> dict[str, Any]:
        news = Live(ws.state, ws.state.user(user)).news()
        told = {one["id"]: one for one in news["channels"]}
        assert (room in told) == any(one["channel"] == room for one in news.get("messages", []))
        return told

    told = seen("alice")[room]
    assert (told["private"], told["topic"]) == (True, "R-9: revoke aegis/jwt")
    assert [one["title"] for one in told["bookmarks"]] == ["Runbook"]
    assert len(told["pins"]) == 1
    for outsider in ("bob", "carol", "gus", "sam"):
        assert room not in seen(outsider)
    client.conversations_kick(channel=room, user="U0ALICE")
    assert room not in seen("alice")
