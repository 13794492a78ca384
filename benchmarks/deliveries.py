"""What Slack would deliver: slash commands and clicks, each with its own ids, as envelopes and as signed requests."""

from __future__ import annotations

import hashlib
import hmac
import itertools
import json
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from bot.slack.manifest import EVENTS_PATH

TEAM, CHANNEL, ALICE, BOB = "T0KEYTURN", "C0OPS", "U0ALICE", "U0BOB"
CARD_TS = "1795214400.000100"
SECRET = "benchmark-signing-secret"
_numbers = itertools.count(1)

Payload = dict[str, Any]


def slash(text: str) -> Callable[[], Payload]:
    """Makes the same command again and again, with a trigger of its own each time."""

    def make() -> Payload:
        return {
            "token": "verification",
            "team_id": TEAM,
            "team_domain": "keyturn",
            "channel_id": CHANNEL,
            "channel_name": "ops",
            "user_id": ALICE,
            "user_name": "alice",
            "command": "/rotate",
            "text": text,
            "api_app_id": "A0KEYTURN",
            "is_enterprise_install": "false",
            "response_url": "https://hooks.slack.com/commands/T0KEYTURN/1/abc",
            "trigger_id": f"1795214400.{next(_numbers)}.0a1b2c3d4e5f60718293a4b5c6d7e8f9",
        }

    return make


def click(value: str) -> Callable[[], Payload]:
    """Makes clicks of one person on Approve, below a card of ordinary size."""
    words = "*publish* Publish a new key beside the old. " * 4
    section = {"type": "section", "text": {"type": "mrkdwn", "text": words}}
    message = {"type": "message", "ts": CARD_TS, "text": "R-1 rotates identity-signing", "blocks": [section] * 12}

    def make() -> Payload:
        number = next(_numbers)
        action = {
            "type": "button",
            "block_id": "consent",
            "action_id": "rotate:approve",
            "text": {"type": "plain_text", "text": "Approve"},
            "value": value,
            "action_ts": f"1795214400.{number:06d}",
        }
        return {
            "type": "block_actions",
            "team": {"id": TEAM, "domain": "keyturn"},
            "user": {"id": BOB, "username": "bob", "name": "bob", "team_id": TEAM},
            "api_app_id": "A0KEYTURN",
            "token": "verification",
            "container": {
                "type": "message",
                "message_ts": CARD_TS,
                "channel_id": CHANNEL,
                "is_ephemeral": False,
            },
            "trigger_id": f"1795214400.{number}.0a1b2c3d4e5f60718293a4b5c6d7e8f9",
            "channel": {"id": CHANNEL, "name": "ops"},
            "message": message,
            "response_url": "https://hooks.slack.com/actions/T0KEYTURN/1/abc",
            "actions": [action],
        }

    return make


def envelope(payload: Payload, envelope_id: str) -> str:
    """As it comes through a socket."""
    kind = "interactive" if "actions" in payload else "slash_commands"
    return json.dumps({"envelope_id": envelope_id, "payload": payload, "type": kind, "accepts_response_payload": True})


def request(payload: Payload) -> bytes:
    """As it comes over HTTP, signed now."""
    form = {"payload": json.dumps(payload)} if "actions" in payload else payload
    body = urlencode(form).encode()
    moment = str(int(time.time()))
    signed = hmac.new(SECRET.encode(), b"v0:" + moment.encode() + b":" + body, hashlib.sha256).hexdigest()
    head = (
        f"POST {EVENTS_PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: Slackbot 1.0\r\n"
        f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n"
        f"X-Slack-Request-Timestamp: {moment}\r\nX-Slack-Signature: v0={signed}\r\n\r\n"
    )
    return head.encode() + body
