"""Somebody who means harm: clicks that no client would send, replays, forged requests, and a stolen bot token."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlencode
from uuid import uuid4

import httpx

from playground.workspace.acts import Acts
from playground.workspace.places import NotVisible
from playground.workspace.records import Delivery, Message, View
from playground.workspace.seed import TEAM_ID
from playground.workspace.signed import Wire, sign
from playground.workspace.sockets import Carried

if TYPE_CHECKING:
    from playground.workspace.workspace import Workspace

Json = dict[str, Any]
STALE_SECONDS = 6 * 60
"""Older than Slack tells receivers to believe: five minutes."""


def _resigned(wire: Wire, secret: str, timestamp: str) -> Wire:
    signature = sign(secret, timestamp, wire.body)
    return wire.with_headers({"x-slack-request-timestamp": timestamp, "x-slack-signature": signature})


def _edited(wire: Wire, secret: str) -> Wire:
    return Wire(wire.body.replace(b"R-", b"R-9") + b" ", wire.headers)


FORGERIES: dict[str, Callable[[Wire, str], Wire]] = {
    "no-signature": lambda wire, secret: wire.without("x-slack-signature"),
    "no-timestamp": lambda wire, secret: wire.without("x-slack-request-timestamp"),
    "empty-signature": lambda wire, secret: wire.with_headers({"x-slack-signature": ""}),
    "non-ascii-signature": lambda wire, secret: wire.with_headers({"x-slack-signature": "v0=\u00e9\u00e9"}),
    "other-version": lambda wire, secret: wire.with_headers(
        {"x-slack-signature": "v1" + wire.headers["x-slack-signature"][2:]}
    ),
    "wrong-secret": lambda wire, secret: _resigned(wire, "0" * len(secret), wire.headers["x-slack-request-timestamp"]),
    "edited-body": _edited,
    "other-timestamp": lambda wire, secret: wire.with_headers(
        {"x-slack-request-timestamp": str(int(wire.headers["x-slack-request-timestamp"]) - 1)}
    ),
    "garbled-timestamp": lambda wire, secret: _resigned(wire, secret, "soon"),
    "no-number": lambda wire, secret: _resigned(wire, secret, "nan"),
    "stale": lambda wire, secret: _resigned(wire, secret, str(int(time.time()) - STALE_SECONDS)),
    "future": lambda wire, secret: _resigned(wire, secret, str(int(time.time()) + STALE_SECONDS)),
}
"""By name, ways in which a request can pretend to be Slack's: what becomes of a genuine one, given the real secret."""


class Intruder:
    """Does what the workspace allows nobody. What it drafts is made up as Slack would, and is nowhere until sent."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._state = workspace.state
        self._pen = Acts(self._state, lambda delivery: delivery, lambda: f"{workspace.url}response/{TEAM_ID}")

    # --- with a session in Slack, by a client of one's own ---

    def draft_click(
        self,
        user: str,
        where: Message | View | str,
        action_id: str,
        value: Any = None,
        *,
        block_id: str = "",
        edited: Mapping[str, Any] | None = None,
    ) -> Delivery:
        """A click that Slack would not take: by anybody, deactivated or not there, on anything that has the element.

        A message given as a snapshot is clicked as it stood then. `edited` replaces fields of the action: `value`,
        `action_id`, `block_id`, `type`.
        """
        place = self._workspace.find(user, where)
        seen = where if isinstance(where, Message) else None
        with self._state.changing():
            person = self._state.user(user)
            delivery = self._pen.click(
                person, place, action_id, value, block_id=block_id, force=True, seen=seen, unchecked=True
            )
        delivery.payload["actions"][0] |= edited or {}
        return delivery

    def draft_command(self, user: str, channel: str, text: str) -> Delivery:
        """A slash command by anybody, anywhere."""
        with self._state.changing():
            person, conversation = self._state.user(user), self._workspace.place(user, channel)
            return self._pen.command(person, conversation, text, unchecked=True)

    def draft_submit(self, user: str, *, edited: Mapping[str, Any] | None = None) -> Delivery:
        """The person's top modal as it is filled in; `edited` replaces fields of the view, `private_metadata` say."""
        view = self._workspace.find(user, "modal")
        if not isinstance(view, View):
            raise NotVisible("there is no modal")
        with self._state.changing():
            delivery = self._pen.submit(self._state.user(user), view)
        delivery.payload["view"] |= edited or {}
        return delivery

    def send(self, delivery: Delivery, *, wait: bool = True) -> Delivery:
        """Have Slack bring a draft to the app as if it were genuine."""
        sent = self._workspace.send(delivery)
        return sent.wait(60) if wait else sent

    def click(self, user: str, where: Message | View | str, action_id: str, value: Any = None, **more: Any) -> Delivery:
        """Draft a click and send it."""
        return self.send(self.draft_click(user, where, action_id, value, **more))

    # --- on the wire ---

    def replay(
        self, delivery: Delivery | int = -1, *, age: float = 0.0, envelope: Literal["new", "same"] = "new"
    ) -> Carried:
        """Bring a delivery, or the one with that index, to the app once more; Slack itself hears nothing of it.

        By HTTP the very bytes and headers of the first time; with `age`, in seconds, the same body as signed that
        long ago, which is what a receiver sees of a request that was kept so long. Over a socket the same payload in
        a new envelope, or in the same one; nothing there is dated but the payload.
        """
        known = self._workspace.deliveries[delivery] if isinstance(delivery, int) else delivery
        carrier = self._workspace.http
        if carrier is None:
            name = known.attempts[-1].envelope_id if envelope == "same" else str(uuid4())
            return self._workspace.run_on_loop(self._workspace.sockets.carry(known, name, 0, ""))
        wire = carrier.sent[known.attempts[-1].envelope_id]
        if age:
            wire = _resigned(wire, self._workspace.signing_secret, str(int(time.time() - age)))
        return self._workspace.run_on_loop(carrier.knock(wire))

    def forge(self, delivery: Delivery | int = -1, how: str = "wrong-secret") -> Carried:
        """Post a draft or a delivery to the request URL with a forgery, one of FORGERIES. HTTP only."""
        carrier = self._workspace.http
        if carrier is None:
            raise RuntimeError("nothing is signed in Socket Mode")
        known = self._workspace.deliveries[delivery] if isinstance(delivery, int) else delivery
        wire = carrier.write(known)
        return self._workspace.run_on_loop(carrier.knock(FORGERIES[how](wire, self._workspace.signing_secret)))

    # --- with the bot's token, from elsewhere ---

    def call(self, method: str, **arguments: Any) -> Json:
        """Any Web API method with the stolen token, through the same door and limits; the answer, `ok` or not."""
        form = {
            name: json.dumps(value) if isinstance(value, (dict, list, bool)) else str(value)
            for name, value in arguments.items()
            if value is not None
        }
        response = httpx.post(
            f"{self._workspace.api_url}{method}",
            content=urlencode(form),
            headers={
                "authorization": f"Bearer {self._workspace.bot_token}",
                "content-type": "application/x-www-form-urlencoded",
            },
            trust_env=False,
            timeout=10,
        )
        answer: Json = response.json()
        return answer

    def post(self, channel: str, text: str, blocks: list[Json] | None = None, **more: Any) -> Message:
        """Post with the stolen token: in Slack's eyes it is the app's own message. Raises PermissionError."""
        place = self._workspace.state.channel(channel).id
        answer = self.call("chat.postMessage", channel=place, text=text, blocks=blocks, **more)
        if not answer["ok"]:
            raise PermissionError(f"chat.postMessage: {answer['error']}")
        return self._workspace.message(answer["ts"])

    def copy_card(self, message: Message | str, channel: str, *, by: str = "") -> Message:
        """The same text, blocks and metadata once more in a channel: by the stolen token, or by somebody (`by`).

        Clicks on what somebody else posted go to the app only through `click` of this class.
        """
        card = self._workspace.message(message.ts if isinstance(message, Message) else message)
        if not by:
            return self.post(channel, card.text, card.blocks, metadata=card.metadata)
        with self._state.changing():
            ours = Message(
                self._state.channel(channel).id,
                self._state.stamp(),
                self._state.user(by).id,
                card.text,
                blocks=copy.deepcopy(card.blocks),
            )
            self._state.put(ours)
        return self._workspace.message(ours.ts)

    def edit(self, message: Message, text: str, blocks: list[Json] | None = None) -> Message:
        """Make one of the app's messages say something else with the stolen token. Raises PermissionError."""
        kept = message.blocks if blocks is None else blocks
        answer = self.call("chat.update", channel=message.channel, ts=message.ts, text=text, blocks=kept)
        if not answer["ok"]:
            raise PermissionError(f"chat.update: {answer['error']}")
        return self._workspace.message(message.ts)
