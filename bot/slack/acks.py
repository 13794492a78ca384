"""What an acknowledgement says, where the surface can show something at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from slack_bolt import Ack, BoltResponse

from bot.slack.cards import Message
from bot.slack.text import escape


def said(body: Mapping[str, Any], text: str) -> BoltResponse:
    """An acknowledgement that says something where the surface can show it."""
    if body.get("command"):
        shown = {"response_type": "ephemeral", "text": escape(text, 2000)}
        return BoltResponse(status=200, body=shown, headers={"content-type": "application/json"})
    return BoltResponse(status=200, body="")


def ack_with(ack: Ack, message: Message) -> None:
    """Acknowledge with a message that only the person sees."""
    ack(response_type="ephemeral", text=message.text, blocks=message.blocks)


def subject(text: str) -> str:
    """What the skeleton names: the second word of the command, however it is spelled."""
    words = text.split()
    return words[1][:80] if len(words) > 1 else "a credential"
