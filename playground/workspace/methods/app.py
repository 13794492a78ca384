"""The app itself, its sockets, the team, and the small things: reactions, the validator."""

from __future__ import annotations

import json
import re
from typing import Any

from playground.workspace.blocks import check_blocks, check_view
from playground.workspace.methods.registry import Json, serves, shared_message
from playground.workspace.seed import APP_ID, BOT_ID, BOT_USER, TEAM_DOMAIN, TEAM_ID
from playground.workspace.shapes import Problem
from playground.workspace.webapi import Api, Refusal

MOST_REACTIONS = 23


@serves("auth.test")
def test(api: Api, given: Json) -> Json:
    """Who the token is."""
    return {
        "url": f"https://{TEAM_DOMAIN}.slack.com/",
        "team": api.state.team_name,
        "user": api.state.users[BOT_USER].name,
        "team_id": TEAM_ID,
        "user_id": BOT_USER,
        "bot_id": BOT_ID,
        "app_id": APP_ID,
        "is_enterprise_install": False,
    }


@serves("apps.connections.open")
def connect(api: Api, given: Json) -> Json:
    """A WebSocket address for Socket Mode, good for one connection."""
    if not api.state.app.socket_mode:
        raise Refusal("forbidden_team")
    return {"url": api.socket_url()}


@serves("team.info")
def team(api: Api, given: Json) -> Json:
    """The workspace."""
    if given.get("team") not in {None, TEAM_ID}:
        raise Refusal("team_not_found")
    return {
        "team": {
            "id": TEAM_ID,
            "name": api.state.team_name,
            "domain": TEAM_DOMAIN,
            "email_domain": "example.com",
            "icon": {"image_default": True},
            "url": f"https://{TEAM_DOMAIN}.slack.com/",
        }
    }


@serves("blocks.validate")
def validate(api: Api, given: Json) -> Json:
    """Check blocks, a message or a view without sending it."""
    chosen = [name for name in ("blocks", "message", "view") if given.get(name)]
    if len(chosen) != 1:
        raise Refusal("invalid_arguments", "must provide exactly one of `blocks`, `view`, or `message`")
    name = chosen[0]
    try:
        value: Any = json.loads(given[name])
    except ValueError as error:
        raise Refusal("invalid_arguments", f"`{name}` is not valid JSON") from error
    problems: list[Problem] = []
    if name == "blocks":
        problems = check_blocks(value, "message", "")
    elif name == "view":
        problems = check_view(value, at="")
    elif isinstance(value, dict):
        problems = check_blocks(value.get("blocks") or [], "message")
    else:
        problems = [Problem("must be an object", "")]
    if problems:
        errors = [{"code": "failed_constraint", "message": one.message, "pointer": one.pointer} for one in problems]
        raise Refusal(f"invalid_{name}", errors=errors)
    return {}


@serves("reactions.add")
def react(api: Api, given: Json) -> Json:
    """React to a message."""
    name = given["name"].strip(":")
    if not re.fullmatch(r"[a-z0-9_+'-]{1,100}(::skin-tone-[2-6])?", name):
        raise Refusal("invalid_name")
    conversation, message = shared_message(api, given["channel"], given["timestamp"])
    if conversation.is_archived:
        raise Refusal("is_archived")
    if BOT_USER in message.reactions.get(name, []):
        raise Refusal("already_reacted")
    if name not in message.reactions and len(message.reactions) >= MOST_REACTIONS:
        raise Refusal("too_many_emoji")
    message.reactions.setdefault(name, []).append(BOT_USER)
    api.state.put(message)
    return {}
