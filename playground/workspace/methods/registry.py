"""Where the methods sign in under their names."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from playground.workspace.contract import METHODS
from playground.workspace.records import Message
from playground.workspace.state import Conversation
from playground.workspace.webapi import Api, Refusal

Json = dict[str, Any]
Handler = Callable[[Api, Json], Json]
HANDLERS: dict[str, Handler] = {}
Item = TypeVar("Item")


def serves(name: str) -> Callable[[Handler], Handler]:
    """Sign a function in as a method of the table."""
    if name not in METHODS:
        raise LookupError(f"{name} is not in the table of methods")

    def sign_in(handler: Handler) -> Handler:
        HANDLERS[name] = handler
        return handler

    return sign_in


def page(items: Sequence[Item], given: Json, *, usual: int) -> tuple[list[Item], Json]:
    """One page of a list, and the response_metadata with the cursor of the next."""
    start = 0
    if given.get("cursor"):
        try:
            start = int(base64.b64decode(given["cursor"], validate=True).decode().removeprefix("next:"))
        except ValueError as error:
            raise Refusal("invalid_cursor") from error
    size = min(int(given.get("limit") or usual), 1000)
    following = start + size
    more = base64.b64encode(f"next:{following}".encode()).decode() if following < len(items) else ""
    return list(items[start:following]), {"next_cursor": more}


def shared_message(api: Api, channel: str, ts: str) -> tuple[Conversation, Message]:
    """A message that more than one person sees, and where it stands. Raises Refusal."""
    conversation = api.conversation(channel)
    message = api.state.message(conversation.id, ts)
    if message is None or message.only_for:
        raise Refusal("message_not_found")
    return conversation, message
