"""Response URLs: answer where something was done, five times within thirty minutes."""

from __future__ import annotations

from typing import Any

from playground.workspace.content import read_content, read_metadata
from playground.workspace.records import Message, ResponseUrl
from playground.workspace.seed import BOT_USER
from playground.workspace.state import RESPONSE_URL_USES, State
from playground.workspace.webapi import Refusal

Json = dict[str, Any]
_FIELDS = frozenset(
    {
        "text",
        "blocks",
        "attachments",
        "response_type",
        "replace_original",
        "delete_original",
        "thread_ts",
        "metadata",
        "unfurl_links",
        "unfurl_media",
        "mrkdwn",
    }
)


def use(state: State, key: str, body: Any) -> tuple[int, str]:
    """Use a response URL: the HTTP status and the text that go back."""
    with state.changing():
        url = state.response_urls.get(key)
        if url is None:
            return 404, '{"ok":false,"error":"no_such_response_url"}'
        if state.now() > url.expires:
            return 404, '{"ok":false,"error":"expired_url"}'
        if url.uses >= RESPONSE_URL_USES:
            return 404, '{"ok":false,"error":"used_url"}'
        if not isinstance(body, dict) or set(body) - _FIELDS:
            return 400, '{"ok":false,"error":"invalid_arguments"}'
        url.uses += 1
        try:
            _apply(state, url, {name: value for name, value in body.items() if value is not None})
        except Refusal as refusal:
            return 400, f'{{"ok":false,"error":"{refusal.error}"}}'
    return 200, "ok"


def _apply(state: State, url: ResponseUrl, body: Json) -> None:
    original = state.message(url.channel, url.message_ts) if url.message_ts else None
    if body.get("delete_original"):
        if original is None:
            raise Refusal("message_not_found")
        original.deleted = True
        state.put(original)
        return
    content = read_content(body)
    if body.get("replace_original") and original is not None:
        if not original.from_app:
            raise Refusal("cant_update_message")
        original.text, original.blocks, original.attachments = content.text, content.blocks, content.attachments
        original.edited = state.stamp()
        original.edits += 1
        metadata = read_metadata(body)
        if metadata is not None:
            original.metadata = metadata or None
        state.put(original)
        return
    public = body.get("response_type") == "in_channel"
    if not public and state.users[url.user].deleted:
        return
    state.put(
        Message(
            channel=url.channel,
            ts=state.stamp(),
            user=BOT_USER,
            text=content.text,
            blocks=content.blocks,
            attachments=content.attachments,
            thread_ts=body.get("thread_ts") or url.thread_ts,
            metadata=read_metadata(body) or None,
            only_for=None if public else url.user,
            from_app=True,
        )
    )
