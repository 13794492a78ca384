"""What a message may say: text, blocks, attachments and metadata, checked in the same way wherever they come from."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass, field
from typing import Any

from playground.workspace.blocks import MOST_CHARACTERS, MOST_MARKDOWN, check_blocks, held, weight
from playground.workspace.webapi import Refusal

MOST_TEXT = 40_000
MOST_UPDATED_TEXT = 4_000
MOST_METADATA = 8_000
MOST_ATTACHMENTS = 100
Json = dict[str, Any]


@dataclass
class Content:
    """A message's content after the checks; `truncated` when its text was cut."""

    text: str = ""
    blocks: list[Json] = field(default_factory=list)
    attachments: list[Any] = field(default_factory=list)
    truncated: bool = False


def read_content(given: Json, *, longest: int | None = None) -> Content:
    """The content of a message from its arguments. `longest` refuses longer text where Slack does not cut it."""
    text, blocks = given.get("text") or "", given.get("blocks") or []
    attachments, markdown = given.get("attachments") or [], given.get("markdown_text") or ""
    if markdown and (text or blocks):
        raise Refusal("markdown_text_conflict")
    if markdown:
        if len(markdown) > MOST_MARKDOWN:
            raise Refusal("msg_too_long")
        blocks, text = [{"type": "markdown", "text": markdown}], markdown
    if not text and not blocks and not attachments:
        raise Refusal("no_text")
    if longest is not None and len(text) > longest:
        raise Refusal("msg_too_long")
    if len(attachments) > MOST_ATTACHMENTS:
        raise Refusal("too_many_attachments")
    refuse_bad_blocks(blocks)
    for index, attachment in enumerate(attachments):
        if not isinstance(attachment, dict):
            raise Refusal("invalid_attachments")
        refuse_bad_blocks(attachment.get("blocks") or [], f"/attachments/{index}/blocks")
    return Content(text[:MOST_TEXT], with_ids(blocks), attachments, len(text) > MOST_TEXT)


def refuse_bad_blocks(blocks: Any, at: str = "/blocks") -> None:
    """Refuse blocks that Slack would refuse, with its messages."""
    if problems := check_blocks(blocks, "message", at):
        messages = [str(problem) for problem in problems]
        raise Refusal("invalid_blocks", *messages, errors=[one.removeprefix("[ERROR] ") for one in messages])
    if weight(blocks) > MOST_CHARACTERS:
        raise Refusal("msg_blocks_too_long")


def with_ids(blocks: list[Json]) -> list[Json]:
    """The blocks as Slack keeps them: every block has a block_id, every interactive element an action_id."""
    kept: list[Json] = json.loads(json.dumps(blocks))
    for block in kept:
        if not block.get("block_id"):
            block["block_id"] = secrets.token_urlsafe(4)[:5]
        for element in held(block):
            if element["type"] not in {"image", "mrkdwn", "plain_text"} and not element.get("action_id"):
                element["action_id"] = secrets.token_urlsafe(4)[:5]
    return kept


def read_metadata(given: Json) -> Json | None:
    """Message metadata; None to keep what is there, {} to remove it."""
    if "metadata" not in given:
        return None
    metadata: Json = given["metadata"]
    if not metadata:
        return {}
    if set(metadata) - {"event_type", "event_payload", "entities"}:
        raise Refusal("invalid_metadata_schema")
    event_type, payload = metadata.get("event_type"), metadata.get("event_payload")
    if not isinstance(event_type, str) or not event_type or len(event_type) > 255 or not isinstance(payload, dict):
        raise Refusal("invalid_metadata_format")
    if len(json.dumps(metadata)) > MOST_METADATA:
        raise Refusal("metadata_too_large")
    return metadata
