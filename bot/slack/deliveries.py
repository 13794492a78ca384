"""What Slack delivers, read with care: who, where, from which workspace, and the key that makes repetitions one."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

Body = Mapping[str, Any]
STEP_RUN = "function_executed"
_ID = re.compile(r"[A-Z][A-Z0-9]{1,30}")
_TS = re.compile(r"[0-9]{1,16}\.[0-9]{1,9}")


class Malformed(Exception):
    """A delivery without what Slack always sends; it is acknowledged and dropped, because repeating cannot mend it."""


def clean(text: Any) -> str:
    """Text as a database and a hash can hold it: a lone surrogate becomes a replacement character."""
    if not isinstance(text, str):
        return ""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def within(body: Any, *path: str) -> Any:
    """The value at a path of mappings; None where there is none."""
    for name in path:
        body = body.get(name) if isinstance(body, Mapping) else None
    return body


def ident(value: Any) -> str:
    """A Slack id, or an empty text for anything else."""
    return value if isinstance(value, str) and _ID.fullmatch(value) else ""


def stamp(value: Any) -> str:
    """A message timestamp, or an empty text for anything else."""
    return value if isinstance(value, str) and _TS.fullmatch(value) else ""


def team_of(body: Body) -> str:
    """The workspace that the delivery is for."""
    return ident(body.get("team_id")) or ident(within(body, "team", "id"))


def enterprise_of(body: Body) -> str:
    """The organisation that the delivery is for, where there is one."""
    return ident(body.get("enterprise_id")) or ident(within(body, "enterprise", "id"))


def account_of(body: Body) -> str:
    """`slack:T1/U1`: who did it, with that person's own workspace. Raises `Malformed`."""
    event = body.get("event")
    if isinstance(event, Mapping) and event.get("type") == STEP_RUN:
        user, team = runner_of(body), team_of(body)
    elif isinstance(event, Mapping):
        user = ident(event.get("user"))
        team = ident(event.get("user_team")) or ident(event.get("team")) or team_of(body)
    else:
        user = ident(body.get("user_id")) or ident(within(body, "user", "id"))
        team = ident(within(body, "user", "team_id")) or team_of(body)
    if not user or not team:
        raise Malformed("a delivery without a user")
    return f"slack:{team}/{user}"


def runner_of(body: Body) -> str:
    """Who runs a workflow, as Slack says by a `user_context`, which nobody can fill in; empty where no person does."""
    return ident(within(body, "event", "inputs", "person", "id"))


def user_of(account: str) -> str:
    """The Slack user id of an account."""
    return account.rpartition("/")[2]


def command_key(body: Body) -> str:
    """A slash command is named by its trigger, which Slack gives out once."""
    trigger = body.get("trigger_id")
    if not isinstance(trigger, str) or not 0 < len(trigger) <= 200:
        raise Malformed("a command without a trigger")
    return f"slash:{trigger}"


def click_key(body: Body, action: Body) -> str:
    """A click is named by workspace, message or view, the action's own timestamp, the person and the button."""
    place = stamp(within(body, "container", "message_ts")) or str(within(body, "view", "id") or "")
    moment = stamp(action.get("action_ts"))
    if not moment:
        raise Malformed("a click without a timestamp")
    parts = (team_of(body), place, moment, account_of(body), str(action.get("action_id", ""))[:255])
    return "click:" + ":".join(parts)


def view_key(body: Body) -> str:
    """A submission is named by its view, the view's hash and what was entered: after a refusal it may come again."""
    view = body.get("view")
    name, version = within(view, "id"), within(view, "hash")
    if not isinstance(name, str) or not isinstance(version, str):
        raise Malformed("a submission without a view")
    entered = json.dumps(within(view, "state", "values"), sort_keys=True).encode()
    return f"view:{name[:60]}:{version[:60]}:{hashlib.sha256(entered).hexdigest()[:16]}"


def event_key(body: Body) -> str:
    """An event has an id of its own."""
    name = body.get("event_id")
    if not isinstance(name, str) or not 0 < len(name) <= 100:
        raise Malformed("an event without an id")
    return f"event:{name}"


def form_id(key: str) -> str:
    """The external id of the modal that belongs to a delivery."""
    return "form-" + hashlib.sha256(key.encode()).hexdigest()[:40]
