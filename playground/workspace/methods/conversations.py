"""Conversations: find, open, join, create, invite, read, archive."""

from __future__ import annotations

import re
from typing import Any

from playground.workspace.methods.registry import Json, page, serves
from playground.workspace.payloads import channel_object, message_object
from playground.workspace.records import Message
from playground.workspace.seed import BOT_USER, TEAM_ID
from playground.workspace.state import Conversation
from playground.workspace.webapi import Api, Refusal

MOST_NAME = 80
MOST_INVITED = 100
_TYPES = {"public_channel": "channels", "private_channel": "groups", "mpim": "mpim", "im": "im"}
MOST_TOPIC = 250


def _known(api: Api, channel: str, what: str) -> Conversation:
    """A conversation that the app may see, when it has the scope `what` of its kind (`read`, `history`)."""
    conversation = api.conversation(channel)
    api.require(f"{conversation.scope}:{what}")
    return conversation


def _managed(api: Api, channel: str, narrow: str = "") -> Conversation:
    """A channel that the app is in and may manage."""
    conversation = api.conversation(channel)
    if conversation.is_im or conversation.is_mpim:
        raise Refusal("method_not_supported_for_channel_type")
    wide = "groups:write" if conversation.is_private else "channels:manage"
    api.require(wide, *([f"{conversation.scope}:{narrow}"] if narrow else []))
    if BOT_USER not in conversation.members:
        raise Refusal("not_in_channel")
    return conversation


def _changed(api: Api, conversation: Conversation) -> Json:
    with api.state.changing() as version:
        conversation.rev = version
    return {"channel": channel_object(conversation)}


@serves("conversations.info")
def info(api: Api, given: Json) -> Json:
    """One conversation."""
    conversation = _known(api, given["channel"], "read")
    return {"channel": channel_object(conversation, num_members=given.get("include_num_members", False))}


@serves("conversations.list")
def listing(api: Api, given: Json) -> Json:
    """The conversations of some types; private ones only where the app is in."""
    types = [one.strip() for one in given.get("types", "public_channel").split(",")]
    if set(types) - set(_TYPES):
        raise Refusal("invalid_types")
    if given.get("limit", 100) > 1000:
        raise Refusal("invalid_limit")
    for one in types:
        api.require(f"{_TYPES[one]}:read")
    wanted = {_TYPES[one] for one in types}
    found = [
        conversation
        for conversation in api.state.conversations.values()
        if conversation.scope in wanted
        and (not conversation.is_private or BOT_USER in conversation.members)
        and not (conversation.is_archived and given.get("exclude_archived"))
    ]
    some, metadata = page(found, given, usual=100)
    return {"channels": [channel_object(one, num_members=True) for one in some], "response_metadata": metadata}


@serves("conversations.members")
def members(api: Api, given: Json) -> Json:
    """Who is in a conversation, strangers and guests included."""
    conversation = _known(api, given["channel"], "read")
    some, metadata = page(conversation.members, given, usual=100)
    return {"members": some, "response_metadata": metadata}


@serves("conversations.open")
def open_direct(api: Api, given: Json) -> Json:
    """Open the direct message with one person, or with a few."""
    state = api.state
    if given.get("channel"):
        conversation = api.conversation(given["channel"])
        if not (conversation.is_im or conversation.is_mpim):
            raise Refusal("method_not_supported_for_channel_type")
        return {"channel": {"id": conversation.id}, "no_op": True, "already_open": True}
    users: list[str] = given.get("users") or []
    if not users:
        raise Refusal("users_list_not_supplied")
    if len(users) > 8:
        raise Refusal("too_many_users")
    api.require("im:write" if len(users) == 1 else "mpim:write")
    for one in users:
        user = state.users.get(one)
        if user is None or user.id == BOT_USER:
            raise Refusal("user_not_found")
        if user.deleted:
            raise Refusal("user_disabled")
        if state.is_stranger(user):
            raise Refusal("invalid_user_combination")
    existing = len(state.conversations)
    conversation = state.direct(*users, BOT_USER)
    opened = len(state.conversations) == existing
    channel: Json = {"id": conversation.id}
    if given.get("return_im"):
        channel = channel_object(conversation)
    return {"channel": channel, **({"no_op": True, "already_open": True} if opened else {})}


@serves("conversations.join")
def join(api: Api, given: Json) -> Json:
    """Let the app into a public channel."""
    conversation = api.conversation(given["channel"])
    if conversation.is_private:
        raise Refusal("method_not_supported_for_channel_type")
    if conversation.is_archived:
        raise Refusal("is_archived")
    if BOT_USER in conversation.members:
        warned = {"warning": "already_in_channel", "response_metadata": {"warnings": ["already_in_channel"]}}
        return {"channel": channel_object(conversation), **warned}
    conversation.members.append(BOT_USER)
    return _changed(api, conversation)


def _check_name(api: Api, name: str, own: Conversation | None = None) -> None:
    """Slack's rules for channel names, and that no other channel has it or had it. Raises Refusal."""
    if not name:
        raise Refusal("invalid_name_required")
    if len(name) > MOST_NAME:
        raise Refusal("invalid_name_maxlength")
    if re.fullmatch(r"[-_]+", name):
        raise Refusal("invalid_name_punctuation")
    if not re.fullmatch(r"[a-z0-9_-]+", name):
        raise Refusal("invalid_name_specials")
    others = (one for one in api.state.conversations.values() if one is not own)
    if any(name in {one.name, *one.previous_names} for one in others):
        raise Refusal("name_taken")


@serves("conversations.create")
def create(api: Api, given: Json) -> Json:
    """Make a channel; names of archived channels are taken too."""
    private = given.get("is_private", False)
    api.require("groups:write" if private else "channels:manage")
    if not api.state.may_create_channels:
        raise Refusal("restricted_action")
    name = given["name"]
    _check_name(api, name)
    conversation = Conversation(
        api.state.fresh("C"),
        name,
        [BOT_USER],
        is_private=private,
        creator=BOT_USER,
        created=int(api.state.now()),
    )
    api.state.conversations[conversation.id] = conversation
    return _changed(api, conversation)


def _cannot_invite(api: Api, conversation: Conversation, one: str) -> str:
    user = api.state.users.get(one)
    if user is None:
        return "user_not_found"
    if one == BOT_USER:
        return "cant_invite_self"
    if one in conversation.members:
        return "already_in_channel"
    if user.deleted:
        return "cant_invite"
    if user.team_id != TEAM_ID:
        return "no_external_invite_permission"
    if user.is_ultra_restricted:
        return "ura_max_channels"
    return "user_is_restricted" if user.is_restricted else ""


@serves("conversations.invite")
def invite(api: Api, given: Json) -> Json:
    """Bring people into a channel. Only an admin can bring guests; one refusal refuses all, unless `force`."""
    conversation = _managed(api, given["channel"], "write.invites")
    if conversation.is_archived:
        raise Refusal("is_archived")
    users: list[str] = given["users"]
    if not users:
        raise Refusal("no_user")
    if len(users) > MOST_INVITED:
        raise Refusal("invalid_arguments", f"[ERROR] no more than {MOST_INVITED} users allowed [json-pointer:/users]")
    refused = {one: why for one in users if (why := _cannot_invite(api, conversation, one))}
    errors: list[dict[str, Any]] = [{"user": one, "ok": False, "error": why} for one, why in refused.items()]
    welcome = [one for one in users if one not in refused]
    if errors and (not given.get("force") or not welcome):
        raise Refusal(errors[0]["error"], errors=errors)
    conversation.members += welcome
    return _changed(api, conversation) | ({"errors": errors} if errors else {})


def _worded(api: Api, given: Json, text: str) -> Conversation:
    """A conversation whose topic or purpose is to become `text`."""
    conversation = api.conversation(given["channel"])
    if conversation.is_im or conversation.is_mpim:
        api.require(f"{conversation.scope}:write")
    else:
        conversation = _managed(api, given["channel"], "write.topic")
    if conversation.is_archived:
        raise Refusal("is_archived")
    if len(text) > MOST_TOPIC:
        raise Refusal("too_long")
    return conversation


@serves("conversations.setTopic")
def set_topic(api: Api, given: Json) -> Json:
    """Set a conversation's topic."""
    conversation = _worded(api, given, given["topic"])
    conversation.topic = given["topic"]
    return _changed(api, conversation)


@serves("conversations.setPurpose")
def set_purpose(api: Api, given: Json) -> Json:
    """Set a conversation's purpose."""
    conversation = _worded(api, given, given["purpose"])
    conversation.purpose = given["purpose"]
    _changed(api, conversation)
    return {"purpose": conversation.purpose}


@serves("conversations.rename")
def rename(api: Api, given: Json) -> Json:
    """Give a channel another name; only who made it may, and the old name stays taken."""
    conversation = _managed(api, given["channel"])
    if conversation.is_archived:
        raise Refusal("is_archived")
    if conversation.creator != BOT_USER:
        raise Refusal("not_authorized")
    _check_name(api, given["name"], conversation)
    conversation.previous_names.append(conversation.name)
    conversation.name = given["name"]
    return _changed(api, conversation)


@serves("conversations.kick")
def kick(api: Api, given: Json) -> Json:
    """Take somebody out of a channel."""
    conversation = _managed(api, given["channel"])
    user = given.get("user", "")
    if user not in api.state.users:
        raise Refusal("user_not_found")
    if user == BOT_USER:
        raise Refusal("cant_kick_self")
    if conversation.is_general:
        raise Refusal("cant_kick_from_general")
    if user not in conversation.members:
        raise Refusal("not_in_channel")
    conversation.members.remove(user)
    _changed(api, conversation)
    return {"errors": {}}


@serves("conversations.leave")
def leave(api: Api, given: Json) -> Json:
    """Take the app out of a channel."""
    conversation = api.conversation(given["channel"])
    if conversation.is_im or conversation.is_mpim:
        raise Refusal("method_not_supported_for_channel_type")
    api.require("groups:write" if conversation.is_private else "channels:manage")
    if BOT_USER not in conversation.members:
        return {"not_in_channel": True}
    if conversation.is_archived:
        raise Refusal("is_archived")
    if conversation.is_general:
        raise Refusal("cant_leave_general")
    if conversation.members == [BOT_USER]:
        raise Refusal("last_member")
    conversation.members.remove(BOT_USER)
    _changed(api, conversation)
    return {}


@serves("conversations.archive")
def archive(api: Api, given: Json) -> Json:
    """Close a channel for good."""
    conversation = _managed(api, given["channel"])
    if conversation.is_general:
        raise Refusal("cant_archive_general")
    if conversation.is_archived:
        raise Refusal("already_archived")
    conversation.is_archived = True
    _changed(api, conversation)
    return {}


@serves("conversations.unarchive")
def unarchive(api: Api, given: Json) -> Json:
    """Open an archived channel again, which Slack refuses to every bot token."""
    conversation = api.conversation(given["channel"])
    if conversation.is_im or conversation.is_mpim:
        raise Refusal("method_not_supported_for_channel_type")
    api.require("groups:write" if conversation.is_private else "channels:manage")
    if not conversation.is_archived:
        raise Refusal("not_archived")
    raise Refusal("not_in_channel")


def _timed(given: Json, messages: list[Message]) -> list[Message]:
    """The messages between `oldest` and `latest`."""
    oldest, latest = float(given.get("oldest") or 0), float(given.get("latest") or "inf")
    if given.get("inclusive"):
        return [one for one in messages if oldest <= float(one.ts) <= latest]
    return [one for one in messages if oldest < float(one.ts) < latest]


def _readable(api: Api, given: Json) -> tuple[Conversation, list[Message]]:
    conversation = _known(api, given["channel"], "history")
    if BOT_USER not in conversation.members:
        raise Refusal("not_in_channel")
    kept = api.state.messages.get(conversation.id, {}).values()
    return conversation, [one for one in kept if not one.deleted and not one.only_for]


@serves("conversations.history")
def history(api: Api, given: Json) -> Json:
    """What was said in a conversation, newest first; thread replies only where they were broadcast."""
    conversation, everything = _readable(api, given)
    top = [one for one in everything if not one.thread_ts or one.thread_ts == one.ts or one.broadcast]
    some, metadata = page(_timed(given, top)[::-1], given, usual=100)
    shown = [message_object(api.state, one, metadata=given.get("include_all_metadata", False)) for one in some]
    more = bool(metadata["next_cursor"])
    return {
        "messages": shown,
        "has_more": more,
        "pin_count": len(api.state.pins(conversation.id)),
        **({"response_metadata": metadata} if more else {}),
    }


@serves("conversations.replies")
def replies(api: Api, given: Json) -> Json:
    """A thread, its parent first."""
    _, everything = _readable(api, given)
    parent = next((one for one in everything if one.ts == given["ts"]), None)
    if parent is None:
        raise Refusal("thread_not_found")
    thread = [one for one in everything if one.thread_ts == parent.ts and one.ts != parent.ts]
    some, metadata = page([parent, *_timed(given, thread)], given, usual=1000)
    shown = [message_object(api.state, one, metadata=given.get("include_all_metadata", False)) for one in some]
    return {"messages": shown, "has_more": bool(metadata["next_cursor"]), "response_metadata": metadata}
