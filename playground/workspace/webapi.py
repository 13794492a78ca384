"""The door of the Web API: tokens, scopes, rate limits and arguments, checked before any method runs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from playground.workspace.contract import METHODS, Argument, Method
from playground.workspace.limits import RateLimits
from playground.workspace.records import Call
from playground.workspace.seed import BOT_USER
from playground.workspace.state import Conversation, State

Json = dict[str, Any]
TIMESTAMP = re.compile(r"\d{1,12}(\.\d{1,6})?")


class Refusal(Exception):
    """Slack says no: the error's code, and what goes into the answer beside it."""

    def __init__(self, error: str, *messages: str, **extra: Any) -> None:
        super().__init__(error)
        self.error = error
        self.answer: Json = {"ok": False, "error": error, **extra}
        if messages:
            self.answer["response_metadata"] = {"messages": list(messages)}


@dataclass(frozen=True)
class Request:
    """A Web API request as it came in."""

    verb: str
    headers: Mapping[str, str]
    query: str
    body: bytes


@dataclass(frozen=True)
class Answer:
    """What goes back: HTTP status, JSON body, extra headers."""

    status: int
    body: Json
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Api:
    """The Web API of one workspace, for one installed app."""

    state: State
    limits: RateLimits
    bot_token: str
    app_token: str
    socket_url: Callable[[], str]
    page_url: Callable[[], str]
    handlers: Mapping[str, Callable[[Api, Json], Json]]

    # --- what methods ask of the door ---

    def has(self, scope: str) -> bool:
        """Whether the app was granted this scope."""
        return scope in self.state.app.scopes

    def require(self, *alternatives: str) -> None:
        """Refuse with missing_scope unless one of these scopes was granted."""
        if alternatives and not any(self.has(scope) for scope in alternatives):
            provided = ",".join(sorted(self.state.app.scopes))
            raise Refusal("missing_scope", needed=",".join(alternatives), provided=provided)

    def conversation(self, channel: str) -> Conversation:
        """A conversation that the app may know of: a public one, or one that it is in."""
        found = self.state.conversations.get(channel)
        if found is None or (found.is_private and BOT_USER not in found.members):
            raise Refusal("channel_not_found")
        return found

    # --- the door ---

    def answer(self, name: str, request: Request) -> Answer:
        """Serve one call and log it."""
        arguments: Json = {}
        with self.state.lock:
            try:
                arguments, warning = read_arguments(name, request)
                answer = self._serve(name, request, arguments)
                if warning:
                    answer.body.setdefault("warning", warning)
                    answer.body.setdefault("response_metadata", {}).setdefault("warnings", []).append(warning)
            except Refusal as refusal:
                answer = Answer(200, refusal.answer, {"x-oauth-scopes": self._scopes()})
        self.log(name, arguments, answer.body, answer.status)
        return answer

    def log(self, name: str, arguments: Json, body: Json, status: int) -> None:
        """Write a call down."""
        shown = {key: value for key, value in arguments.items() if key != "token"}
        with self.state.changing():
            self.state.calls.append(Call(name, shown, body, status, self.state.now()))

    def _scopes(self) -> str:
        return ",".join(sorted(self.state.app.scopes))

    def _serve(self, name: str, request: Request, arguments: Json) -> Answer:
        method = METHODS.get(name)
        if method is None:
            raise Refusal("unknown_method", req_method=name)
        self._check_token(method, request, arguments)
        self._check_scope(method)
        wait = self.limits.wait(method, str(arguments.get("channel", "")))
        if wait:
            return Answer(429, {"ok": False, "error": "ratelimited"}, {"retry-after": str(wait)})
        checked = check_arguments(method, arguments)
        headers = {"x-oauth-scopes": "connections:write" if method.as_app else self._scopes()}
        if method.scopes:
            headers["x-accepted-oauth-scopes"] = ",".join(method.scopes)
        try:
            return Answer(200, {"ok": True, **self.handlers[name](self, checked)}, headers)
        except Refusal as refusal:
            if not method.may_answer(refusal.error):
                raise AssertionError(f"{name} does not answer {refusal.error}") from refusal
            return Answer(200, refusal.answer, headers)

    def _check_token(self, method: Method, request: Request, arguments: Json) -> None:
        header = request.headers.get("authorization", "")
        token = header.removeprefix("Bearer ").strip() if header.startswith("Bearer ") else arguments.get("token", "")
        arguments.pop("token", None)
        if not token:
            raise Refusal("not_authed")
        if any(token == one.token for one in self.state.executions.values()):
            token = self.bot_token  # a workflow's token speaks for the same app
        if token not in {self.bot_token, self.app_token}:
            raise Refusal("invalid_auth")
        if token != (self.app_token if method.as_app else self.bot_token):
            raise Refusal("not_allowed_token_type")
        if method.as_app and request.verb != "POST":
            raise Refusal("insecure_request")

    def _check_scope(self, method: Method) -> None:
        if not method.as_app:
            self.require(*method.scopes)


def read_arguments(name: str, request: Request) -> tuple[Json, str]:
    """The arguments from query and body, and Slack's warning about the body's charset. Raises Refusal."""
    arguments: Json = dict(parse_qsl(request.query, keep_blank_values=True))
    content_type = request.headers.get("content-type", "")
    kind = content_type.partition(";")[0].strip().lower()
    if not request.body:
        return arguments, ""
    if kind == "application/x-www-form-urlencoded":
        return arguments | dict(parse_qsl(request.body.decode("utf-8", "replace"), keep_blank_values=True)), ""
    if kind != "application/json":
        raise Refusal("invalid_post_type")
    method = METHODS.get(name)
    if method is not None and not method.json:
        return arguments, ""
    try:
        parsed = json.loads(request.body)
    except ValueError as error:
        raise Refusal("invalid_json") from error
    if not isinstance(parsed, dict):
        raise Refusal("json_not_object")
    warning = "" if "charset" in content_type.lower() else "missing_charset"
    return arguments | {key: value for key, value in parsed.items() if value is not None}, warning


def check_arguments(method: Method, arguments: Json) -> Json:
    """The arguments in their own types.

    Unknown ones are refused too, where Slack would ignore them in silence: a misspelled argument is a mistake.
    """
    messages = [
        f"[ERROR] missing required field: {one.name}"
        for one in method.arguments
        if one.required and arguments.get(one.name) in (None, "", [])
    ]
    checked: Json = {}
    for name, value in arguments.items():
        argument = method.argument(name)
        if argument is None and name == "team_id":
            continue  # Bolt's clients send the workspace with every call, and Slack takes it everywhere
        if argument is None:
            messages.append(f"[ERROR] unknown argument: {name}")
            continue
        try:
            checked[name] = _convert(argument, value)
        except ValueError as error:
            if argument.kind == "blocks":
                raise Refusal("invalid_blocks_format") from error
            if argument.name == "metadata":
                raise Refusal("invalid_metadata_format") from error
            messages.append(f"[ERROR] {error} [json-pointer:/{name}]")
    if messages:
        raise Refusal("invalid_arguments", *messages)
    return checked


def _convert(argument: Argument, value: Any) -> Any:
    """One value in its argument's own type. Raises ValueError."""
    if argument.kind in {"blocks", "array"}:
        return _parsed(value, list)
    if argument.kind in {"object", "view"}:
        return _parsed(value, dict)
    if argument.kind == "bool":
        known = {"true": True, "1": True, "false": False, "0": False}
        if str(value).lower() not in known:
            raise ValueError("must be a boolean")
        return known[str(value).lower()]
    if argument.kind == "int":
        if isinstance(value, bool) or not re.fullmatch(r"\d{1,9}", str(value)):
            raise ValueError("must be a number")
        return int(value)
    if argument.kind == "ids":
        if isinstance(value, list):
            value = ",".join(str(one) for one in value)
        return [one.strip() for one in str(value).split(",") if one.strip()]
    if not isinstance(value, str):
        raise ValueError("must be a string")
    if argument.kind == "ts" and not TIMESTAMP.fullmatch(value):
        raise ValueError("must be a timestamp")
    return value


def _parsed(value: Any, wanted: type) -> Any:
    """A JSON string read, or the value itself, when it is of the wanted type. Raises ValueError."""
    parsed = json.loads(value) if isinstance(value, str) else value
    if not isinstance(parsed, wanted):
        raise ValueError("must be JSON of the documented type")
    return parsed
