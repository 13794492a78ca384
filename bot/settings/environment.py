"""The environment variables, read once from a mapping; tokens become `Secret` and are never shown."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from bot.core.errors import Invalid, Refused
from bot.core.secret import Secret

Value = TypeVar("Value")


class Transport(StrEnum):
    """How Slack reaches the bot."""

    SOCKET = "socket"
    HTTP = "http"


class LogFormat(StrEnum):
    """How log lines are written."""

    TEXT = "text"
    JSON = "json"


LEVELS = ("debug", "info", "warning", "error")

VARIABLES: Mapping[str, str] = {
    "SLACK_BOT_TOKEN": "the bot's token, xoxb-…",
    "SLACK_APP_TOKEN": "the app-level token for Socket Mode, xapp-…",
    "SLACK_SIGNING_SECRET": "what Slack signs its requests with, for HTTP",
    "SLACK_API_URL": "Slack's Web API (https://slack.com/api/)",
    "KEYTURN_DATABASE_URL": "sqlite:///file or postgresql://… (sqlite:///keyturn.db)",
    "KEYTURN_CONFIG": "the settings file (keyturn.yml)",
    "KEYTURN_KEYS": "folder of the bot's own keys (keys)",
    "KEYTURN_WITNESS": "file to which signed heads of the audit are appended (audit-heads.ndjson beside the keys)",
    "KEYTURN_HTTP": "where health and metrics are served (127.0.0.1:8080)",
    "KEYTURN_TRANSPORT": "socket or http (socket)",
    "KEYTURN_LOG_LEVEL": f"{', '.join(LEVELS)} (info)",
    "KEYTURN_LOG_FORMAT": "text or json (text)",
}
"""Every variable, with what it is for and its default."""

_TOKENS = {
    "SLACK_BOT_TOKEN": ("xoxb-", "OAuth & Permissions, Bot User OAuth Token"),
    "SLACK_APP_TOKEN": ("xapp-", "Basic Information, App-Level Tokens, with the scope connections:write"),
    "SLACK_SIGNING_SECRET": ("", "Basic Information, Signing Secret"),
}
_NEEDED = {
    Transport.SOCKET: ("SLACK_BOT_TOKEN", "SLACK_APP_TOKEN"),
    Transport.HTTP: ("SLACK_BOT_TOKEN", "SLACK_SIGNING_SECRET"),
}


@dataclass(frozen=True, slots=True)
class Bind:
    """An address to listen on."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Environment:
    """What the process was started with."""

    bot_token: Secret | None = None
    app_token: Secret | None = None
    signing_secret: Secret | None = None
    slack_api_url: str = "https://slack.com/api/"
    database_url: str = field(default="sqlite:///keyturn.db", repr=False)
    """May hold a password: never shown."""
    config: Path = Path("keyturn.yml")
    keys: Path = Path("keys")
    witness: Path = Path("keys/audit-heads.ndjson")
    http: Bind = Bind("127.0.0.1", 8080)
    transport: Transport = Transport.SOCKET
    log_level: str = "info"
    log_format: LogFormat = LogFormat.TEXT
    warnings: tuple[str, ...] = ()

    def require_slack(self) -> None:
        """Raises `Refused` naming the first token that is missing, and where to get it."""
        given = {
            "SLACK_BOT_TOKEN": self.bot_token,
            "SLACK_APP_TOKEN": self.app_token,
            "SLACK_SIGNING_SECRET": self.signing_secret,
        }
        for name in _NEEDED[self.transport]:
            if given[name] is None:
                raise Refused(
                    f"{name} is not set; put it into keyturn.env (made by `keyturn init`; your app's pages at "
                    f"api.slack.com show it under {_TOKENS[name][1]}), load that with `set -a; . ./keyturn.env`, "
                    f"and start again.",
                    code="missing-token",
                )


def read_environment(environ: Mapping[str, str]) -> Environment:
    """Read the variables. Raises `Invalid` naming every mistaken one, without its value."""
    problems: list[str] = []

    def take(name: str, convert: Callable[[str], Value], default: Value) -> Value:
        text = environ.get(name, "").strip()
        if not text:
            return default
        try:
            return convert(text)
        except ValueError as error:
            problems.append(f"{name}: {error}")
            return default

    plain = Environment()
    found = Environment(
        bot_token=take("SLACK_BOT_TOKEN", _token("SLACK_BOT_TOKEN"), None),
        app_token=take("SLACK_APP_TOKEN", _token("SLACK_APP_TOKEN"), None),
        signing_secret=take("SLACK_SIGNING_SECRET", _token("SLACK_SIGNING_SECRET"), None),
        slack_api_url=take("SLACK_API_URL", _api_url, plain.slack_api_url),
        database_url=take("KEYTURN_DATABASE_URL", _database_url, plain.database_url),
        config=take("KEYTURN_CONFIG", Path, plain.config),
        keys=(keys := take("KEYTURN_KEYS", Path, plain.keys)),
        witness=take("KEYTURN_WITNESS", Path, keys / plain.witness.name),
        http=take("KEYTURN_HTTP", _bind, plain.http),
        transport=take("KEYTURN_TRANSPORT", _one_of(Transport), plain.transport),
        log_level=take("KEYTURN_LOG_LEVEL", _level, plain.log_level),
        log_format=take("KEYTURN_LOG_FORMAT", _one_of(LogFormat), plain.log_format),
        warnings=tuple(_misspelled(environ)),
    )
    if problems:
        raise Invalid("environment", tuple(problems))
    return found


def _token(name: str) -> Callable[[str], Secret | None]:
    def convert(text: str) -> Secret:
        prefix, where = _TOKENS[name]
        if not text.isascii() or any(letter.isspace() for letter in text) or not text.startswith(prefix):
            begins = f" it begins with {prefix}" if prefix else " it is one word"
            raise ValueError(f"this is not the right token;{begins} and stands under {where}")
        return Secret(text)

    return convert


def _one_of(options: type[Value]) -> Callable[[str], Value]:
    def convert(text: str) -> Value:
        try:
            return options(text.casefold())  # type: ignore[call-arg]  # a StrEnum is called with its value
        except ValueError:
            raise ValueError(f"write {' or '.join(options)}") from None  # type: ignore[arg-type]  # and iterates

    return convert


def _level(text: str) -> str:
    if text.casefold() not in LEVELS:
        raise ValueError(f"write one of {', '.join(LEVELS)}")
    return text.casefold()


def _api_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
        raise ValueError("write an http or https address such as https://slack.com/api/")
    if parts.scheme == "http" and parts.hostname not in ("127.0.0.1", "::1", "localhost"):
        raise ValueError("plain http would send the tokens in the clear; it is allowed on this machine only")
    return text if text.endswith("/") else text + "/"


def _database_url(text: str) -> str:
    scheme = text.partition("://")[0]
    if "://" not in text or scheme.partition("+")[0] not in ("sqlite", "postgresql", "postgres"):
        raise ValueError("write sqlite:///keyturn.db or postgresql://user@host/database")
    return text


def _bind(text: str) -> Bind:
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError("write an address and a port such as 127.0.0.1:8080")
    return Bind(host.strip("[]"), int(port))


def _misspelled(environ: Mapping[str, str]) -> list[str]:
    """Variables that are nearly ours. Others with our prefix are left alone: a cluster sets such for its services."""
    found = []
    for name in sorted(environ):
        if name not in VARIABLES and name.startswith(("KEYTURN_", "SLACK_")):
            unset = [known for known in VARIABLES if known not in environ]
            near = difflib.get_close_matches(name, unset, n=1, cutoff=0.85)
            if near:
                found.append(f"{name} is not read; did you mean {near[0]}?")
    return found
