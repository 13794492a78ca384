"""Where a message can go: the channel, after joining it if need be, else a direct message."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from bot.core.errors import KeyturnError, Transient
from bot.slack.api import SlackApi, SlackRefused
from bot.slack.cards import Message

log = logging.getLogger(__name__)
NOT_A_MEMBER = frozenset({"not_in_channel", "channel_not_found"})
CLOSED = frozenset(
    {
        "channel_not_found",
        "not_in_channel",
        "is_archived",
        "restricted_action",
        "restricted_action_read_only_channel",
        "cannot_reply_to_message",
        "messages_tab_disabled",
        "user_not_in_channel",
        "is_inactive",
        "no_permission",
        "missing_scope",
        "team_access_not_granted",
    }
)
"""Errors that say that this place does not take the message, now or later."""
BAD_BLOCKS = frozenset(
    {"invalid_blocks", "invalid_blocks_format", "msg_blocks_too_long", "msg_too_long", "invalid_metadata_format"}
)


def post(api: SlackApi, channel: str, message: Message, *, thread: str = "", broadcast: bool = False) -> str:
    """Post once and return the timestamp; joins a public channel where that is what is missing.

    Blocks that Slack does not take are left out, so that the sentence arrives. Raises as `SlackApi.call` does.
    """
    arguments: dict[str, Any] = {
        "channel": channel,
        "text": message.text,
        "blocks": message.blocks,
        "metadata": message.metadata or None,
        "thread_ts": thread or None,
        "reply_broadcast": True if broadcast and thread else None,
        "unfurl_links": False,
        "unfurl_media": False,
    }
    try:
        return _ts(api.call("chat.postMessage", **arguments))
    except SlackRefused as error:
        if error.error in BAD_BLOCKS and message.plain is not None:
            log.info("a picture was not taken (%s); it is drawn in characters", error.error)
            simpler = Message(message.text, message.plain, message.metadata)
            return post(api, channel, simpler, thread=thread, broadcast=broadcast)
        if error.error in BAD_BLOCKS:
            log.warning("blocks were not taken (%s); the sentence alone is posted", error.error)
            return _ts(api.call("chat.postMessage", **{**arguments, "blocks": None}))
        if error.error in NOT_A_MEMBER and channel.startswith("C") and _join(api, channel):
            return _ts(api.call("chat.postMessage", **arguments))
        raise


def whisper(api: SlackApi, channel: str, user: str, message: Message) -> None:
    """Show it to one person alone; pictures in characters where Slack does not take them. Raises as `call` does."""
    arguments = {"channel": channel, "user": user, "text": message.text}
    try:
        api.call("chat.postEphemeral", **arguments, blocks=message.blocks)
    except SlackRefused as error:
        if error.error not in BAD_BLOCKS or message.plain is None:
            raise
        log.info("a picture was not taken (%s); it is drawn in characters", error.error)
        api.call("chat.postEphemeral", **arguments, blocks=message.plain)


def update(api: SlackApi, channel: str, ts: str, message: Message) -> None:
    """Edit a message in place; without the blocks where Slack does not take them."""
    arguments: dict[str, Any] = {
        "channel": channel,
        "ts": ts,
        "text": message.text,
        "blocks": message.blocks,
        "metadata": message.metadata or None,
    }
    try:
        api.call("chat.update", **arguments)
    except SlackRefused as error:
        if error.error not in BAD_BLOCKS:
            raise
        log.warning("blocks were not taken (%s); the sentence alone is shown", error.error)
        api.call("chat.update", **{**arguments, "blocks": []})


def direct(api: SlackApi, user: str) -> str:
    """The direct message with a person. Raises as `SlackApi.call` does."""
    found = api.call("conversations.open", users=user)
    channel = found.get("channel")
    return str(channel.get("id") or "") if isinstance(channel, Mapping) else ""


def find(api: SlackApi, channel: str, metadata: Mapping[str, Any], bot_user: str, *, thread: str = "") -> str:
    """The timestamp of our own message with this metadata, empty when there is none or we may not look."""
    wanted = metadata.get("event_payload")
    cursor = ""
    for _ in range(3):
        arguments = {"channel": channel, "limit": 200, "include_all_metadata": True, "cursor": cursor or None}
        try:
            if thread:
                found = api.call("conversations.replies", ts=thread, **arguments)
            else:
                found = api.call("conversations.history", **arguments)
        except Transient:
            raise
        except KeyturnError as error:
            log.info("an earlier post could not be looked for: %s", error)
            return ""
        for message in found.get("messages") or ():
            known = message.get("metadata") or {}
            if message.get("user") == bot_user and known.get("event_payload") == wanted:
                return str(message.get("ts") or "")
        cursor = str((found.get("response_metadata") or {}).get("next_cursor") or "")
        if not cursor:
            break
    return ""


def _join(api: SlackApi, channel: str) -> bool:
    try:
        api.call("conversations.join", channel=channel)
    except Transient:
        raise
    except KeyturnError as error:
        log.info("a channel was not joined: %s", error)
        return False
    return True


def _ts(found: Mapping[str, Any]) -> str:
    return str(found.get("ts") or "")
