"""Signed HTTP delivery: what Slack posts to a request URL when the app does not use Socket Mode."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import httpx

from playground.workspace.payloads import VERIFICATION_TOKEN
from playground.workspace.records import Delivery
from playground.workspace.sockets import ACK_SECONDS, Carried
from playground.workspace.state import State


def sign(secret: str, timestamp: str, body: bytes) -> str:
    """Slack's v0 signature of a body."""
    digest = hmac.new(secret.encode(), b"v0:" + timestamp.encode() + b":" + body, hashlib.sha256).hexdigest()
    return f"v0={digest}"


@dataclass(frozen=True)
class Wire:
    """A request as it goes over the wire."""

    body: bytes
    headers: dict[str, str]

    def with_headers(self, headers: Mapping[str, str]) -> Wire:
        """The same with other headers."""
        return Wire(self.body, {**self.headers, **headers})

    def without(self, header: str) -> Wire:
        """The same without one header."""
        return Wire(self.body, {name: value for name, value in self.headers.items() if name != header})


class SignedHttp:
    """The app's request URL. Commands and interactivity travel as forms, events as JSON."""

    def __init__(self, state: State, url: str, secret: str) -> None:
        self.state = state
        self.url = url
        self.sent: dict[str, Wire] = {}
        """What was posted, by the envelope's id."""
        self._secret = secret
        self._client: httpx.AsyncClient | None = None

    def write(self, delivery: Delivery, headers: Mapping[str, str] | None = None) -> Wire:
        """A delivery as a request, signed now."""
        if delivery.kind == "events_api":
            return self._signed(json.dumps(delivery.payload).encode(), "application/json", headers or {})
        form = delivery.payload if delivery.kind == "slash_commands" else {"payload": json.dumps(delivery.payload)}
        return self._signed(urlencode(form).encode(), "application/x-www-form-urlencoded", headers or {})

    async def carry(
        self, delivery: Delivery, envelope_id: str, retry: int, reason: str, *, drop: bool = False
    ) -> Carried:
        """Post a payload and read the acknowledgement from the answer."""
        headers = {"x-slack-retry-num": str(retry), "x-slack-retry-reason": _reason(reason)} if retry else {}
        wire = self.sent[envelope_id] = self.write(delivery, headers)
        try:
            response = await self._post(wire)
        except httpx.TimeoutException:
            return Carried(False, reason="timeout", via=self.url)
        except httpx.HTTPError:
            return Carried(False, reason="connection_failed", via=self.url)
        if drop:
            return Carried(False, reason="connection_failed", via=self.url)
        if response.status_code != 200:
            stop = response.headers.get("x-slack-no-retry") == "1"
            reason = "no_retry" if stop else "http_error"
            return Carried(False, reason=reason, via=self.url, status=response.status_code)
        return Carried(True, self._payload(delivery, response), via=self.url, status=200)

    async def knock(self, wire: Wire) -> Carried:
        """Post a request as it is, whoever made it up; the answer's text is the payload's `text`."""
        try:
            response = await self._post(wire)
        except httpx.TimeoutException:
            return Carried(False, reason="timeout", via=self.url)
        except httpx.HTTPError:
            return Carried(False, reason="connection_failed", via=self.url)
        ok = response.status_code == 200
        return Carried(ok, {"text": response.text}, "" if ok else "http_error", self.url, response.status_code)

    def _payload(self, delivery: Delivery, response: httpx.Response) -> dict[str, Any]:
        text = response.text.strip()
        if not text or delivery.kind == "events_api":
            return {}
        if not delivery.answerable:
            self.state.complain(f"{delivery.label} was acknowledged with a body that Slack does not read")
            return {}
        if response.headers.get("content-type", "").startswith("application/json"):
            try:
                parsed = json.loads(text)
            except ValueError:
                parsed = None
            if not isinstance(parsed, dict):
                self.state.complain(f"{delivery.label} was acknowledged with a body that is no JSON object")
                return {}
            return parsed
        return {"text": text}

    async def verify(self) -> bool:
        """Slack's handshake with a new request URL: does it give the challenge back?"""
        challenge = secrets.token_urlsafe(20)
        body = json.dumps({"token": VERIFICATION_TOKEN, "challenge": challenge, "type": "url_verification"}).encode()
        try:
            response = await self._post(self._signed(body, "application/json", {}))
        except httpx.HTTPError:
            return False
        if response.status_code != 200:
            return False
        if response.headers.get("content-type", "").startswith("application/json"):
            answer: Any = response.json()
            return isinstance(answer, dict) and answer.get("challenge") == challenge
        return response.text.strip() == challenge

    def _signed(self, body: bytes, kind: str, headers: Mapping[str, str]) -> Wire:
        timestamp = str(int(time.time()))
        return Wire(
            body,
            {
                "content-type": kind,
                "user-agent": "Slackbot 1.0 (+https://api.slack.com/robots)",
                "x-slack-request-timestamp": timestamp,
                "x-slack-signature": sign(self._secret, timestamp, body),
                **headers,
            },
        )

    async def _post(self, wire: Wire) -> httpx.Response:
        if self._client is None:
            self._client = httpx.AsyncClient(timeout=ACK_SECONDS, trust_env=False)
        headers = [(name.encode(), value.encode("utf-8")) for name, value in wire.headers.items()]
        return await self._client.post(self.url, content=wire.body, headers=headers)

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.aclose()


def _reason(reason: str) -> str:
    return {"timeout": "http_timeout", "http_error": "http_error"}.get(reason, "connection_failed")
