"""A small Bolt app that lives in the workspace over Socket Mode: the conversations that the tests need, and no more."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Any

from slack_bolt import App
from slack_bolt.adapter.socket_mode import SocketModeHandler
from slack_sdk import WebClient

from playground.workspace import Workspace
from playground.workspace.seed import DEFAULT_EVENTS, DEFAULT_SCOPES

SCOPES = DEFAULT_SCOPES | {
    "team:read",
    "im:read",
    "im:history",
    "mpim:read",
    "mpim:write",
    "channels:history",
    "groups:history",
}
EVENTS = DEFAULT_EVENTS | {"message.im", "member_joined_channel"}
SHORTCUTS = [{"type": "message", "name": "Rotate this", "callback_id": "rotate_this", "description": "Rotate"}]


def manifest(**features: Any) -> dict[str, Any]:
    """A manifest for Socket Mode with everything that the tests need."""
    return {
        "display_information": {"name": "keyturn"},
        "features": {
            "app_home": {"home_tab_enabled": True, "messages_tab_enabled": True},
            "bot_user": {"display_name": "keyturn"},
            "slash_commands": [{"command": "/rotate", "description": "Rotate", "should_escape": True}],
            "shortcuts": SHORTCUTS,
            **features,
        },
        "oauth_config": {"scopes": {"bot": sorted(SCOPES), "bot_optional": ["team:read"]}},
        "settings": {
            "interactivity": {"is_enabled": True},
            "event_subscriptions": {"bot_events": sorted(EVENTS)},
            "socket_mode_enabled": True,
        },
    }


def web_client(ws: Workspace) -> WebClient:
    """A client that talks to a workspace as it would to Slack."""
    return WebClient(token=ws.bot_token, base_url=ws.api_url, timeout=5)


FORM = {
    "type": "modal",
    "callback_id": "request",
    "notify_on_close": True,
    "title": {"type": "plain_text", "text": "Rotate a credential"},
    "submit": {"type": "plain_text", "text": "Request"},
    "blocks": [
        {
            "type": "input",
            "block_id": "credential",
            "label": {"type": "plain_text", "text": "Credential"},
            "element": {"type": "external_select", "action_id": "pick", "min_query_length": 0},
        },
        {
            "type": "input",
            "block_id": "reason",
            "label": {"type": "plain_text", "text": "Reason"},
            "element": {"type": "plain_text_input", "action_id": "text", "min_length": 5},
        },
        {
            "type": "input",
            "block_id": "approver",
            "optional": True,
            "label": {"type": "plain_text", "text": "Approver"},
            "element": {"type": "users_select", "action_id": "who"},
        },
    ],
}
CREDENTIALS = ["aegis/jwt", "aegis/db-password", "billing/api-key"]


def card(state: str = "waiting for approval", *, buttons: bool = True) -> list[dict[str, Any]]:
    """An approval card."""
    blocks: list[dict[str, Any]] = [
        {"type": "section", "text": {"type": "mrkdwn", "text": f"*aegis/jwt* in production: {state}"}}
    ]
    if buttons:
        blocks.append(
            {
                "type": "actions",
                "elements": [
                    {
                        "type": "button",
                        "action_id": "rotate:approve",
                        "style": "primary",
                        "value": "R-1",
                        "text": {"type": "plain_text", "text": "Approve"},
                        "visible_to_user_ids": ["U0BOB", "U0CAROL"],
                    },
                    {
                        "type": "button",
                        "action_id": "rotate:reject",
                        "style": "danger",
                        "value": "R-1",
                        "text": {"type": "plain_text", "text": "Reject"},
                    },
                ],
            }
        )
    return blocks


class Bot:
    """The sample app: a command, a modal with suggestions, an approval card, a Home tab, a mention."""

    def __init__(self, ws: Workspace) -> None:
        self.seen: list[dict[str, Any]] = []
        self.hold = threading.Event()
        self.hold.set()
        self.app = App(client=web_client(ws), token=ws.bot_token, process_before_response=True)
        self.app.middleware(self._note)
        self.app.command("/rotate")(self._command)
        self.app.options("pick")(self._suggest)
        self.app.view("request")(self._submitted)
        self.app.view_closed("request")(lambda ack: ack())
        self.app.action("rotate:approve")(self._approve)
        self.app.action("rotate:reject")(self._reject)
        self.app.event("app_home_opened")(self._home)
        self.app.event("app_mention")(self._mentioned)
        self.app.event("message")(lambda: None)
        self.app.event("subteam_members_changed")(lambda: None)
        self.app.event("subteam_updated")(lambda: None)
        self.app.event("member_joined_channel")(lambda: None)
        self.app.shortcut("rotate_this")(self._shortcut)
        self.handler = SocketModeHandler(self.app, ws.app_token, ping_interval=0.2)
        self.ws = ws

    def connect(self) -> None:
        """Open the socket."""
        self.handler.connect()
        self.ws.wait_connected()

    def close(self) -> None:
        """Hang up."""
        self.hold.set()
        # Bolt's client waits out its receive timeout unless the other end hangs up first.
        self.handler.client.auto_reconnect_enabled = False
        self.handler.client.default_auto_reconnect_enabled = False
        self.ws.faults.drop_sockets()
        threading.Thread(target=self._hang_up, daemon=True).start()

    def _hang_up(self) -> None:
        with contextlib.suppress(AttributeError):  # the client's close races with its own receiver for the socket
            self.handler.close()

    def of_type(self, kind: str) -> list[dict[str, Any]]:
        """The bodies of one type that were received."""
        return [body for body in self.seen if kind in {body.get("type"), body.get("event", {}).get("type")}]

    def _note(self, body: dict[str, Any], next: Callable[[], None]) -> None:
        self.seen.append(body)
        next()

    def _command(self, ack: Any, command: dict[str, Any], client: WebClient, respond: Any) -> None:
        text = command["text"]
        if text == "":
            client.views_open(trigger_id=command["trigger_id"], view=FORM)
            ack()
        elif text.startswith("start"):
            ack()
            client.chat_postMessage(
                channel=command["channel_id"],
                text="alice asks to rotate aegis/jwt in production.",
                blocks=card(),
                metadata={"event_type": "rotation_state", "event_payload": {"id": "R-1"}},
            )
        elif text == "slow":
            self.hold.wait(10)
            ack("too late")
        elif text == "later":
            ack()
            respond("answered later")
        else:
            ack(f"you said {text}")

    def _suggest(self, ack: Any, payload: dict[str, Any]) -> None:
        found = [name for name in CREDENTIALS if payload["value"] in name]
        ack(options=[{"text": {"type": "plain_text", "text": name}, "value": name} for name in found])

    def _submitted(self, ack: Any, view: dict[str, Any], client: WebClient) -> None:
        reason = view["state"]["values"]["reason"]["text"]["value"]
        if "please" not in reason:
            ack(response_action="errors", errors={"reason": "Say please."})
            return
        ack()
        chosen = view["state"]["values"]["credential"]["pick"]["selected_option"]["value"]
        client.chat_postMessage(channel="#ops", text=f"{chosen} is requested.", blocks=card())

    def _approve(self, ack: Any, body: dict[str, Any], client: WebClient) -> None:
        ack()
        client.chat_update(
            channel=body["channel"]["id"],
            ts=body["message"]["ts"],
            text="Approved.",
            blocks=card(f"approved by <@{body['user']['id']}>", buttons=False),
        )

    def _reject(self, ack: Any, respond: Any) -> None:
        ack()
        respond("You are not an approver.", replace_original=False)

    def _home(self, event: dict[str, Any], client: WebClient) -> None:
        text = {"type": "mrkdwn", "text": f"Good morning <@{event['user']}>"}
        client.views_publish(
            user_id=event["user"], view={"type": "home", "blocks": [{"type": "section", "text": text}]}
        )

    def _mentioned(self, event: dict[str, Any], say: Any) -> None:
        say(text="Try `/rotate help`.", thread_ts=event["ts"])

    def _shortcut(self, ack: Any, shortcut: dict[str, Any], client: WebClient) -> None:
        ack()
        client.views_open(trigger_id=shortcut["trigger_id"], view=FORM)
