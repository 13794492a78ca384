"""Signed HTTP delivery: what Slack posts to a request URL when the app does not use Socket Mode."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import time
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


class SignedHttp:
    """The app's request URL. Commands and interactivity travel as forms, events as JSON."""

    def __init__(self, state: State, url: str, secret: str) -> None:
        self.state = state
        self.url = url
        self._secret = secret
        self._client: httpx.AsyncClient | None = None

    async def carry(
        self, delivery: Delivery, envelope_id: str, retry: int, reason: str, *, drop: bool = False
    ) -> Carried:
        """Post a payload and read the acknowledgement from the answer."""
        if delivery.kind == "events_api":
            body, kind = json.dumps(delivery.payload).encode(), "application/json"
        else:
            form = delivery.payload if delivery.kind == "slash_commands" else {"payload": json.dumps(delivery.payload)}
            body, kind = urlencode(form).encode(), "application/x-www-form-urlencoded"
        headers = {"x-slack-retry-num": str(retry), "x-slack-retry-reason": _reason(reason)} if retry else {}
        try:
            response = await self._post(body, kind, headers)
        except httpx.TimeoutException:
            return Carried(False, reason="timeout", via=self.url)
        except httpx.HTTPError:
            return Carried(False, reason="connection_failed", via=self.url)
        if drop:
            return Carried(False, reason="connection_failed", via=self.url)
        if response.status_code != 200:
            stop = response.headers.get("x-slack-no-retry") == "1"
            return Carried(False, reason="no_retry" if stop else "http_error", via=self.url)
        payload = self._payload(delivery, response)
        return Carried(True, payload, via=self.url)

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
            response = await self._post(body, "application/json", {})
        except httpx.HTTPError:
            return False
        if response.status_code != 200:
            return False
        if response.headers.get("content-type", "").startswith("application/json"):
            answer: Any = response.json()
            return isinstance(answer, dict) and answer.get("challenge") == challenge
        return response.text.strip() == challenge

    async def _post(self, body: bytes, kind: str, headers: dict[str, str]) -> httpx.Response:
        if self._client is None:
            self._client = httpx.AsyncClient(timeout=ACK_SECONDS, trust_env=False)
        timestamp = str(int(time.time()))
        return await self._client.post(
            self.url,
            content=body,
            headers={
                "content-type": kind,
                "user-agent": "Slackbot 1.0 (+https://api.slack.com/robots)",
                "x-slack-request-timestamp": timestamp,
                "x-slack-signature": sign(self._secret, timestamp, body),
                **headers,
            },
        )

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.aclose()


def _reason(reason: str) -> str:
    return {"timeout": "http_timeout", "http_error": "http_error"}.get(reason, "connection_failed")
