"""The app itself, its sockets, the team, and the small things: pins, bookmarks, reactions, the validator."""

from __future__ import annotations

import json
import re
from typing import Any

from playground.workspace.blocks import check_blocks, check_view
from playground.workspace.methods.registry import Json, serves
from playground.workspace.records import Message
from playground.workspace.seed import APP_ID, BOT_ID, BOT_USER, TEAM_DOMAIN, TEAM_ID
from playground.workspace.shapes import Problem
from playground.workspace.state import Conversation
from playground.workspace.webapi import Api, Refusal

MOST_PINS = 100
MOST_BOOKMARKS = 100
MOST_REACTIONS = 23


@serves("auth.test")
def test(api: Api, given: Json) -> Json:
    """Who the token is."""
    return {
        "url": f"https://{TEAM_DOMAIN}.slack.com/",
        "team": api.state.team_name,
        "user": api.state.users[BOT_USER].name,
        "team_id": TEAM_ID,
        "user_id": BOT_USER,
        "bot_id": BOT_ID,
        "app_id": APP_ID,
        "is_enterprise_install": False,
    }


@serves("apps.connections.open")
def connect(api: Api, given: Json) -> Json:
    """A WebSocket address for Socket Mode, good for one connection."""
    if not api.state.app.socket_mode:
        raise Refusal("forbidden_team")
    return {"url": api.socket_url()}


@serves("team.info")
def team(api: Api, given: Json) -> Json:
    """The workspace."""
    if given.get("team") not in {None, TEAM_ID}:
        raise Refusal("team_not_found")
    return {
        "team": {
            "id": TEAM_ID,
            "name": api.state.team_name,
            "domain": TEAM_DOMAIN,
            "email_domain": "example.com",
            "icon": {"image_default": True},
            "url": f"https://{TEAM_DOMAIN}.slack.com/",
        }
    }


@serves("blocks.validate")
def validate(api: Api, given: Json) -> Json:
    """Check blocks, a message or a view without sending it."""
    chosen = [name for name in ("blocks", "message", "view") if given.get(name)]
    if len(chosen) != 1:
        raise Refusal("invalid_arguments", "must provide exactly one of `blocks`, `view`, or `message`")
    name = chosen[0]
    try:
        value: Any = json.loads(given[name])
    except ValueError as error:
        raise Refusal("invalid_arguments", f"`{name}` is not valid JSON") from error
    problems: list[Problem] = []
    if name == "blocks":
        problems = check_blocks(value, "message", "")
    elif name == "view":
        problems = check_view(value, at="")
    elif isinstance(value, dict):
        problems = check_blocks(value.get("blocks") or [], "message")
    else:
        problems = [Problem("must be an object", "")]
    if problems:
        errors = [{"code": "failed_constraint", "message": one.message, "pointer": one.pointer} for one in problems]
        raise Refusal(f"invalid_{name}", errors=errors)
    return {}


def _message(api: Api, channel: str, ts: str) -> tuple[Conversation, Message]:
    conversation = api.conversation(channel)
    message = api.state.message(conversation.id, ts)
    if message is None or message.only_for:
        raise Refusal("message_not_found")
    return conversation, message


@serves("pins.add")
def pin(api: Api, given: Json) -> Json:
    """Pin a message."""
    if not given.get("timestamp"):
        raise Refusal("no_item_specified")
    conversation, message = _message(api, given["channel"], given["timestamp"])
    if BOT_USER not in conversation.members:
        raise Refusal("not_in_channel")
    if message.pinned:
        raise Refusal("already_pinned")
    if sum(one.pinned for one in api.state.messages[conversation.id].values()) >= MOST_PINS:
        raise Refusal("too_many_pins")
    message.pinned = True
    api.state.put(message)
    return {}


@serves("bookmarks.add")
def bookmark(api: Api, given: Json) -> Json:
    """Bookmark a link in a channel."""
    conversation = api.conversation(given["channel_id"])
    if BOT_USER not in conversation.members:
        raise Refusal("access_denied")
    if given["type"] != "link":
        raise Refusal("invalid_bookmark_type")
    if not re.match(r"https?://", given.get("link", "")):
        raise Refusal("invalid_link")
    if given.get("emoji") and not re.fullmatch(r":[\w+-]+:", given["emoji"]):
        raise Refusal("invalid_emoji")
    if len(conversation.bookmarks) >= MOST_BOOKMARKS:
        raise Refusal("too_many_bookmarks")
    made = {
        "id": api.state.fresh("Bk"),
        "channel_id": conversation.id,
        "title": given["title"],
        "link": given["link"],
        "emoji": given.get("emoji", ""),
        "type": "link",
        "date_created": int(api.state.now()),
        "last_updated_by_user_id": BOT_USER,
        "app_id": APP_ID,
    }
    with api.state.changing() as version:
        conversation.bookmarks.append(made)
        conversation.rev = version
    return {"bookmark": made}


@serves("reactions.add")
def react(api: Api, given: Json) -> Json:
    """React to a message."""
    name = given["name"].strip(":")
    if not re.fullmatch(r"[a-z0-9_+'-]{1,100}(::skin-tone-[2-6])?", name):
        raise Refusal("invalid_name")
    conversation, message = _message(api, given["channel"], given["timestamp"])
    if conversation.is_archived:
        raise Refusal("is_archived")
    if BOT_USER in message.reactions.get(name, []):
        raise Refusal("already_reacted")
    if name not in message.reactions and len(message.reactions) >= MOST_REACTIONS:
        raise Refusal("too_many_emoji")
    message.reactions.setdefault(name, []).append(BOT_USER)
    api.state.put(message)
    return {}
