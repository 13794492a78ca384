"""Messages: post, edit, delete, whisper, link."""

from __future__ import annotations

from playground.workspace.content import MOST_TEXT, MOST_UPDATED_TEXT, read_content, read_metadata
from playground.workspace.methods.registry import Json, serves
from playground.workspace.payloads import message_object
from playground.workspace.records import Message
from playground.workspace.seed import BOT_USER, TEAM_ID
from playground.workspace.state import Conversation
from playground.workspace.webapi import Api, Refusal


def _target(api: Api, channel: str) -> Conversation:
    """Where a post goes: a conversation's id or name, or a person's id."""
    state = api.state
    if channel in state.users:
        user = state.users[channel]
        if user.deleted:
            raise Refusal("account_inactive")
        if user.id == BOT_USER or state.is_stranger(user):
            raise Refusal("channel_not_found")
        return state.direct(user.id, BOT_USER)
    found = state.conversations.get(channel)
    if found is None:
        named = [one for one in state.conversations.values() if one.name and one.name == channel.removeprefix("#")]
        found = named[0] if named else None
    if found is None or (found.is_private and BOT_USER not in found.members):
        raise Refusal("channel_not_found")
    return found


def _may_post(api: Api, conversation: Conversation) -> None:
    if conversation.is_archived:
        raise Refusal("is_archived")
    if BOT_USER not in conversation.members and not api.has("chat:write.public"):
        raise Refusal("not_in_channel")
    if conversation.read_only:
        raise Refusal("restricted_action")
    if conversation.is_im:
        if not api.state.app.messages_tab:
            raise Refusal("messages_tab_disabled")
        if any(api.state.users[one].deleted for one in conversation.members):
            raise Refusal("account_inactive")


def _thread(api: Api, conversation: Conversation, given: Json) -> str | None:
    """The thread that a post goes into. A reply is no thread, nor is a message that is gone."""
    thread_ts: str | None = given.get("thread_ts")
    if thread_ts is None:
        return None
    parent = api.state.message(conversation.id, thread_ts)
    if parent is None or parent.only_for or (parent.thread_ts and parent.thread_ts != parent.ts):
        raise Refusal("cannot_reply_to_message")
    return thread_ts


def _check_face(api: Api, given: Json) -> None:
    if given.get("as_user"):
        raise Refusal("as_user_not_supported")
    if any(given.get(name) for name in ("username", "icon_emoji", "icon_url")):
        api.require("chat:write.customize")


@serves("chat.postMessage")
def post(api: Api, given: Json) -> Json:
    """Post a message."""
    conversation = _target(api, given["channel"])
    _may_post(api, conversation)
    _check_face(api, given)
    content = read_content(given)
    if not content.text and content.blocks:
        api.state.complain("chat.postMessage with blocks but without text: phones and screen readers stay silent")
    message = api.state.put(
        Message(
            channel=conversation.id,
            ts=api.state.stamp(),
            user=BOT_USER,
            text=content.text,
            blocks=content.blocks,
            attachments=content.attachments,
            thread_ts=_thread(api, conversation, given),
            metadata=read_metadata(given) or None,
            from_app=True,
            broadcast=bool(given.get("reply_broadcast") and given.get("thread_ts")),
            username=given.get("username", ""),
            icon_emoji=given.get("icon_emoji", ""),
            mrkdwn=given.get("mrkdwn", True),
        )
    )
    answer = {"channel": conversation.id, "ts": message.ts, "message": message_object(api.state, message)}
    if content.truncated:
        answer |= {"warning": "message_truncated", "response_metadata": {"warnings": ["message_truncated"]}}
    return answer


@serves("chat.update")
def update(api: Api, given: Json) -> Json:
    """Edit one of the app's own messages. Text without blocks removes the blocks."""
    conversation = api.conversation(given["channel"])
    message = api.state.message(conversation.id, given["ts"])
    if message is None or message.only_for:
        raise Refusal("message_not_found")
    if not message.from_app:
        raise Refusal("cant_update_message")
    if conversation.is_archived:
        raise Refusal("is_inactive")
    if set(given) <= {"channel", "ts", "metadata"} and given.get("metadata"):
        given = {**given, "text": message.text, "blocks": message.blocks}
    content = read_content(given, longest=MOST_UPDATED_TEXT)
    metadata = read_metadata(given)
    if not content.text and content.blocks:
        api.state.complain("chat.update with blocks but without text: phones and screen readers stay silent")
    message.text, message.blocks, message.attachments = content.text, content.blocks, content.attachments
    if metadata is not None:
        message.metadata = metadata or None
    message.broadcast = message.broadcast or bool(given.get("reply_broadcast") and message.thread_ts)
    message.edited = api.state.stamp()
    message.edits += 1
    api.state.put(message)
    shown = message_object(api.state, message)
    return {"channel": conversation.id, "ts": message.ts, "text": message.text, "message": shown}


@serves("chat.delete")
def delete(api: Api, given: Json) -> Json:
    """Delete one of the app's own messages."""
    conversation = api.conversation(given["channel"])
    message = api.state.message(conversation.id, given["ts"])
    if message is None or message.only_for:
        raise Refusal("message_not_found")
    if not message.from_app:
        raise Refusal("cant_delete_message")
    message.deleted = True
    api.state.put(message)
    return {"channel": conversation.id, "ts": message.ts}


@serves("chat.postEphemeral")
def whisper(api: Api, given: Json) -> Json:
    """Post what only one person sees. The app and the person must both be in the channel."""
    conversation = api.conversation(given["channel"])
    if conversation.is_archived:
        raise Refusal("is_archived")
    if BOT_USER not in conversation.members:
        raise Refusal("not_in_channel")
    if given["user"] not in conversation.members or api.state.users[given["user"]].deleted:
        raise Refusal("user_not_in_channel")
    if conversation.is_im and not api.state.app.messages_tab:
        raise Refusal("messages_tab_disabled")
    if any(given.get(name) for name in ("username", "icon_emoji", "icon_url")):
        api.require("chat:write.customize")
    content = read_content(given, longest=MOST_TEXT)
    message = api.state.put(
        Message(
            channel=conversation.id,
            ts=api.state.stamp(),
            user=BOT_USER,
            text=content.text,
            blocks=content.blocks,
            attachments=content.attachments,
            thread_ts=_thread(api, conversation, given),
            only_for=given["user"],
            from_app=True,
        )
    )
    return {"message_ts": message.ts}


@serves("chat.getPermalink")
def permalink(api: Api, given: Json) -> Json:
    """A link to a message, into this workspace's own page."""
    conversation = api.conversation(given["channel"])
    message = api.state.message(conversation.id, given["message_ts"])
    if message is None or message.only_for:
        raise Refusal("message_not_found")
    return {"channel": conversation.id, "permalink": link_to(api, message), "team_id": TEAM_ID}


def link_to(api: Api, message: Message) -> str:
    """A message's address on this workspace's own page."""
    link = f"{api.page_url()}archives/{message.channel}/p{message.ts.replace('.', '')}"
    return f"{link}?thread_ts={message.thread_ts}&cid={message.channel}" if message.thread_ts else link
