"""What a channel keeps in sight: pins and bookmarks."""

from __future__ import annotations

import re
from typing import Any

from playground.workspace.methods.chat import link_to
from playground.workspace.methods.registry import Json, serves, shared_message
from playground.workspace.payloads import message_object
from playground.workspace.records import Message
from playground.workspace.seed import APP_ID, BOT_USER, TEAM_ID
from playground.workspace.state import Conversation
from playground.workspace.webapi import Api, Refusal

MOST_PINS = 100
MOST_BOOKMARKS = 100


# --- pins ---


def _to_pin(api: Api, given: Json) -> tuple[Conversation, Message]:
    if not given.get("timestamp"):
        raise Refusal("no_item_specified")
    conversation, message = shared_message(api, given["channel"], given["timestamp"])
    if conversation.is_archived:
        raise Refusal("permission_denied")
    return conversation, message


@serves("pins.add")
def pin(api: Api, given: Json) -> Json:
    """Pin a message."""
    conversation, message = _to_pin(api, given)
    if BOT_USER not in conversation.members:
        raise Refusal("not_in_channel")
    if message.pinned:
        raise Refusal("already_pinned")
    if len(api.state.pins(conversation.id)) >= MOST_PINS:
        raise Refusal("too_many_pins")
    message.pinned = int(api.state.now())
    api.state.put(message)
    return {}


@serves("pins.remove")
def unpin(api: Api, given: Json) -> Json:
    """Take a pin away."""
    conversation, message = _to_pin(api, given)
    if BOT_USER not in conversation.members:
        raise Refusal("permission_denied")
    if not message.pinned:
        raise Refusal("not_pinned")
    message.pinned = 0
    api.state.put(message)
    return {}


@serves("pins.list")
def pins(api: Api, given: Json) -> Json:
    """What is pinned in a channel, the newest pin first."""
    conversation = api.conversation(given["channel"])
    return {
        "items": [
            {
                "type": "message",
                "channel": conversation.id,
                "created": one.pinned,
                "created_by": BOT_USER,
                "message": message_object(api.state, one) | {"permalink": link_to(api, one)},
            }
            for one in api.state.pins(conversation.id)
        ]
    }


# --- bookmarks ---


def _shelf(api: Api, given: Json, *, writing: bool = True) -> Conversation:
    """The channel whose bookmarks are meant."""
    conversation = api.conversation(given["channel_id"])
    if BOT_USER not in conversation.members:
        raise Refusal("access_denied")
    if writing and conversation.is_archived:
        raise Refusal("permission_denied")
    return conversation


def _bookmark(conversation: Conversation, given: Json) -> dict[str, Any]:
    for one in conversation.bookmarks:
        if one["id"] == given["bookmark_id"]:
            return one
    raise Refusal("not_found")


def _check(given: Json) -> None:
    if "link" in given and not re.match(r"https?://", given["link"]):
        raise Refusal("invalid_link")
    if given.get("emoji") and not re.fullmatch(r":[\w+-]+:", given["emoji"]):
        raise Refusal("invalid_emoji")


def _keep(api: Api, conversation: Conversation, bookmarks: list[dict[str, Any]]) -> None:
    with api.state.changing() as version:
        conversation.bookmarks, conversation.rev = bookmarks, version


@serves("bookmarks.add")
def bookmark(api: Api, given: Json) -> Json:
    """Bookmark a link in a channel."""
    conversation = _shelf(api, given)
    if given["type"] != "link":
        raise Refusal("invalid_bookmark_type")
    _check({"link": "", **given})
    if len(conversation.bookmarks) >= MOST_BOOKMARKS:
        raise Refusal("too_many_bookmarks")
    made = {
        "id": api.state.fresh("Bk"),
        "channel_id": conversation.id,
        "title": given["title"],
        "link": given["link"],
        "emoji": given.get("emoji", ""),
        "icon_url": "",
        "type": "link",
        "entity_id": None,
        "date_created": int(api.state.now()),
        "date_updated": 0,
        "rank": f"{len(conversation.bookmarks):03d}",
        "last_updated_by_user_id": BOT_USER,
        "last_updated_by_team_id": TEAM_ID,
        "shortcut_id": None,
        "app_id": APP_ID,
    }
    _keep(api, conversation, [*conversation.bookmarks, made])
    return {"bookmark": made}


@serves("bookmarks.edit")
def edit_bookmark(api: Api, given: Json) -> Json:
    """Change a bookmark's title, link or emoji."""
    conversation = _shelf(api, given)
    before = _bookmark(conversation, given)
    _check(given)
    changed = {name: given[name] for name in ("title", "link", "emoji") if name in given}
    after = before | changed | {"date_updated": int(api.state.now()), "last_updated_by_user_id": BOT_USER}
    _keep(api, conversation, [after if one is before else one for one in conversation.bookmarks])
    return {"bookmark": after}


@serves("bookmarks.list")
def bookmarks(api: Api, given: Json) -> Json:
    """A channel's bookmarks, in order."""
    return {"bookmarks": list(_shelf(api, given, writing=False).bookmarks)}


@serves("bookmarks.remove")
def remove_bookmark(api: Api, given: Json) -> Json:
    """Take a bookmark away."""
    conversation = _shelf(api, given)
    gone = _bookmark(conversation, given)
    _keep(api, conversation, [one for one in conversation.bookmarks if one is not gone])
    return {}
