"""The one seam to Slack's Web API: every call goes through here once, and errors say what to do next."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from datetime import timedelta
from http.client import HTTPException
from socket import gaierror
from typing import Any
from urllib.error import URLError

from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError, SlackClientError, SlackRequestError

from bot.core.errors import Permanent, Transient
from bot.slack.methods import METHODS

log = logging.getLogger(__name__)
BUSY = frozenset({"internal_error", "fatal_error", "service_unavailable", "request_timeout", "ratelimited"})
"""Errors that pass by themselves."""


class RateLimited(Transient):
    """Slack said when to come back; nothing happened."""


class LostAnswer(Transient):
    """The connection broke or Slack failed while it worked: nobody knows whether the call had its effect."""


class Unreachable(Transient):
    """There was no way to Slack: nothing happened."""


class SlackRefused(Permanent):
    """Slack said no; `error` is its word, such as `channel_not_found`."""

    def __init__(self, method: str, error: str, detail: str = "") -> None:
        super().__init__(f"Slack refused {method}: {error}", detail)
        self.method = method
        self.error = error


class SlackApi:
    """Calls methods of the table, each exactly once; retries belong to the rows that ask for the call."""

    def __init__(self, token: str, url: str, timeout: float = 10.0) -> None:
        self._client = WebClient(
            token=token, base_url=url, timeout=int(timeout) or 1, retry_handlers=[], logger=quiet_logger()
        )
        self.scopes: frozenset[str] | None = None
        """What the token may do, as of the last answer that said so."""

    def call(self, method: str, **arguments: Any) -> Mapping[str, Any]:
        """Call once; arguments that are None are left out.

        Raises `RateLimited`, `Unreachable`, `LostAnswer` or `SlackRefused`.
        """
        known = METHODS[method]
        given = {name: value for name, value in arguments.items() if value is not None}
        try:
            if known.json:
                response = self._client.api_call(method, json=given)
            else:
                response = self._client.api_call(method, params=given)
        except SlackApiError as error:
            raise _refusal(method, error) from None
        except URLError as error:
            if isinstance(error.reason, ConnectionRefusedError | gaierror):
                raise Unreachable(f"Slack cannot be reached for {method}: {type(error.reason).__name__}") from None
            raise LostAnswer(f"Slack did not answer {method}: {type(error).__name__}") from None
        except (HTTPException, OSError, SlackRequestError, SlackClientError, json.JSONDecodeError) as error:
            raise LostAnswer(f"Slack did not answer {method}: {type(error).__name__}") from None
        self._note_scopes(response.headers)
        return response.data if isinstance(response.data, dict) else {}

    def _note_scopes(self, headers: Mapping[str, Any]) -> None:
        for name, value in headers.items():
            if name.lower() == "x-oauth-scopes":
                text = value[0] if isinstance(value, list | tuple) and value else value
                self.scopes = frozenset(part.strip() for part in str(text).split(",") if part.strip())


def _refusal(method: str, error: SlackApiError) -> Exception:
    response = error.response
    status = getattr(response, "status_code", 0)
    data = response.data if isinstance(getattr(response, "data", None), dict) else {}
    word = str(data.get("error") or f"status {status}")
    if status == 429 or word == "ratelimited":
        return RateLimited(f"Slack limits {method}", timedelta(seconds=_retry_after(response.headers)))
    if status >= 500 or word in BUSY or not data:
        return LostAnswer(f"Slack failed at {method}: {word[:80]}")
    return SlackRefused(method, word, _detail(data))


def _detail(data: Mapping[str, Any]) -> str:
    if data.get("needed"):
        return f"keyturn needs the scope {data['needed']}"
    told = data.get("response_metadata")
    messages = told.get("messages") if isinstance(told, Mapping) else None
    return "; ".join(str(one)[:200] for one in messages[:3]) if isinstance(messages, list) else ""


def _retry_after(headers: Mapping[str, Any]) -> float:
    for name, value in (headers or {}).items():
        if name.lower() == "retry-after":
            text = str(value[0] if isinstance(value, list | tuple) and value else value)
            return min(float(text), 3600.0) if text.replace(".", "", 1).isdigit() else 30.0
    return 30.0


def quiet_logger() -> logging.Logger:
    """The logger given to Slack's libraries: it never goes below INFO, where they would write whole requests."""
    logger = logging.getLogger("keyturn.slack_sdk")
    if logger.level < logging.INFO:
        logger.setLevel(logging.INFO)
    return logger
