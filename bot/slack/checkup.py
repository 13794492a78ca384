"""What `keyturn doctor` asks of Slack: tokens, scopes, clock, groups and channels. Changes nothing there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from typing import Any
from urllib.error import URLError

from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError, SlackClientError

from bot.core.errors import KeyturnError
from bot.core.secret import Secret
from bot.slack.api import SlackApi, SlackRefused, quiet_logger
from bot.slack.methods import Scope, missing


@dataclass(frozen=True, slots=True)
class Token:
    """What Slack says of a token. `error` is Slack's word, or why there was no answer; empty when all is well."""

    error: str = ""
    team: str = ""
    team_name: str = ""
    bot_user: str = ""
    granted: frozenset[str] = frozenset()
    skew: timedelta | None = None
    """This machine's clock minus Slack's, to the second; None when Slack did not say."""

    @property
    def missing(self) -> list[Scope]:
        """Scopes that the installation lacks."""
        return missing(self.granted)


class Checkup:
    """Asks one workspace."""

    def __init__(self, token: Secret, url: str) -> None:
        self._token = token
        self._url = url
        self.api = SlackApi(token.reveal_text(), url)

    def bot_token(self) -> Token:
        """Who the bot's token is, what it may do, and how far apart the clocks are."""
        try:
            response = self._client(self._token).api_call("auth.test")
        except SlackApiError as error:
            return Token(error=_word(error))
        except (URLError, HTTPException, OSError, SlackClientError, ValueError) as error:
            return Token(error=f"no answer from {self._url}: {_why(error)}")
        headers = {str(name).lower(): _first(value) for name, value in response.headers.items()}
        scopes = frozenset(part.strip() for part in headers.get("x-oauth-scopes", "").split(",") if part.strip())
        return Token(
            team=str(response.get("team_id") or ""),
            team_name=str(response.get("team") or ""),
            bot_user=str(response.get("user_id") or ""),
            granted=scopes,
            skew=_skew(headers.get("date", "")),
        )

    def app_token(self, token: Secret) -> str:
        """Why Slack opens no socket for the app-level token; empty when it does. The socket is not used."""
        try:
            self._client(token).api_call("apps.connections.open")
        except SlackApiError as error:
            return _word(error)
        except (URLError, HTTPException, OSError, SlackClientError, ValueError) as error:
            return f"no answer from {self._url}: {_why(error)}"
        return ""

    def group(self, group: str) -> tuple[str, int]:
        """Slack's error for a user group, or how many members it has."""
        error, found = self._ask("usergroups.users.list", usergroup=group)
        return error, len(found.get("users") or ())

    def channel(self, channel: str) -> str:
        """Slack's error for a channel that the bot would read its own cards in; empty when it is a member."""
        return self._ask("conversations.history", channel=channel, limit=1)[0]

    def _ask(self, method: str, **arguments: Any) -> tuple[str, Mapping[str, Any]]:
        try:
            return "", self.api.call(method, **arguments)
        except SlackRefused as error:
            return error.error, {}
        except KeyturnError as error:
            return str(error), {}

    def _client(self, token: Secret) -> WebClient:
        return WebClient(
            token=token.reveal_text(), base_url=self._url, timeout=10, retry_handlers=[], logger=quiet_logger()
        )


def _word(error: SlackApiError) -> str:
    data = error.response.data
    return (
        str(data.get("error") or "no reason given")[:80] if isinstance(data, dict) else "an answer that is not Slack's"
    )


def _why(error: Exception) -> str:
    reason = getattr(error, "reason", None)
    return str(reason or type(error).__name__)[:120]


def _first(value: Any) -> str:
    return str(value[0] if isinstance(value, list | tuple) and value else value)


def _skew(date: str) -> timedelta | None:
    try:
        theirs = parsedate_to_datetime(date)
    except ValueError:
        return None
    return timedelta(seconds=round((datetime.now(UTC) - theirs).total_seconds()))
