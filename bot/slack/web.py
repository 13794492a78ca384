"""Slack's requests over HTTP: signature and time checked before anything else, then Bolt's own WSGI adapter."""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from collections.abc import Callable, Iterable
from io import BytesIO
from typing import Any

from slack_bolt import App
from slack_bolt.adapter.wsgi import SlackRequestHandler

from bot.core.secret import Secret
from bot.slack.flood import Flood
from bot.slack.manifest import EVENTS_PATH

LARGEST_BODY = 1_048_576
OLDEST_SECONDS = 300
AHEAD_SECONDS = 60
"""How far Slack's clock may be ahead of ours; older requests are replays, younger ones were never sent by Slack."""
_TIME = re.compile(r"[0-9]{1,12}")
_SIGNATURE = re.compile(r"v0=[0-9a-f]{64}")
_LENGTH = re.compile(r"[0-9]{1,9}")
Environ = dict[str, Any]
StartResponse = Callable[..., Any]


class Front:
    """A WSGI application for one path. Refusals say nothing beyond their status, and are counted by source."""

    def __init__(self, app: App, secret: Secret, flood: Flood, now: Callable[[], float] = time.time) -> None:
        self._handler = SlackRequestHandler(app, path=EVENTS_PATH)
        self._secret = secret
        self._flood = flood
        self._now = now

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """One request."""
        if environ.get("PATH_INFO") != EVENTS_PATH:
            return _refuse(start_response, "404 Not Found")
        if environ.get("REQUEST_METHOD") != "POST":
            return _refuse(start_response, "405 Method Not Allowed")
        length = str(environ.get("CONTENT_LENGTH") or "0")
        if not _LENGTH.fullmatch(length):
            return _refuse(start_response, "400 Bad Request")
        if int(length) > LARGEST_BODY:
            return _refuse(start_response, "413 Content Too Large")
        body = environ["wsgi.input"].read(int(length))
        if not self._is_slacks(environ, body):
            self._flood.refuse(f"http:{str(environ.get('REMOTE_ADDR') or 'unknown')[:60]}")
            return _refuse(start_response, "401 Unauthorized")
        try:
            body.decode("utf-8")
            environ = {**environ, "wsgi.input": BytesIO(body), "CONTENT_LENGTH": str(len(body))}
            answer: Iterable[bytes] = self._handler(environ, start_response)
        except (ValueError, KeyError, TypeError, AttributeError):
            return _refuse(start_response, "400 Bad Request")  # signed, but no payload of Slack's
        return answer

    def _is_slacks(self, environ: Environ, body: bytes) -> bool:
        moment = str(environ.get("HTTP_X_SLACK_REQUEST_TIMESTAMP") or "")
        signature = str(environ.get("HTTP_X_SLACK_SIGNATURE") or "")
        if not _TIME.fullmatch(moment) or not _SIGNATURE.fullmatch(signature):
            return False
        age = self._now() - int(moment)
        if not -AHEAD_SECONDS <= age <= OLDEST_SECONDS:
            return False
        signed = b"v0:" + moment.encode() + b":" + body
        expected = hmac.new(self._secret.reveal(), signed, hashlib.sha256).hexdigest()
        return hmac.compare_digest(f"v0={expected}", signature)


def _refuse(start_response: StartResponse, status: str) -> list[bytes]:
    start_response(status, [("Content-Type", "text/plain"), ("Content-Length", "0")])
    return []
