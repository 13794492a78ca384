"""The shapes in which Slack speaks of people, channels, messages, views, and of what happened to them."""

from __future__ import annotations

import copy
import hashlib
from typing import Any

from playground.workspace.elements import ELEMENTS
from playground.workspace.records import Execution, Message, View, elements_of
from playground.workspace.seed import APP_ID, BOT_ID, BOT_USER, TEAM_DOMAIN, TEAM_ID, User
from playground.workspace.state import Conversation, State, UserGroup

Json = dict[str, Any]
VERIFICATION_TOKEN = "deprecated-verification-token"  # noqa: S105 - Slack's own legacy field, worth nothing


def user_object(state: State, user: User, *, email: bool) -> Json:
    """A user as users.info answers it; the e-mail only with its own scope."""
    profile: Json = {
        "title": user.title,
        "real_name": user.real_name,
        "real_name_normalized": user.real_name,
        "display_name": user.name,
        "display_name_normalized": user.name,
        "team": user.team_id,
        "status_text": "",
        "status_emoji": "",
        "avatar_hash": hashlib.sha256(user.id.encode()).hexdigest()[:12],
    }
    if email and user.email:
        profile["email"] = user.email
    if user.is_bot:
        profile |= {"api_app_id": APP_ID if user.id == BOT_USER else "", "always_active": True, "bot_id": bot_id(user)}
    shown: Json = {
        "id": user.id,
        "team_id": user.team_id,
        "name": user.name,
        "deleted": user.deleted,
        "profile": profile,
        "is_bot": user.is_bot,
        "is_app_user": False,
        "updated": 0,
    }
    if user.is_workflow_bot:
        shown["is_workflow_bot"] = True
    if user.deleted:
        return shown
    shown |= {
        "real_name": user.real_name,
        "tz": user.tz,
        "tz_label": user.tz,
        "tz_offset": 0,
        "color": hashlib.sha256(user.id.encode()).hexdigest()[:6],
        "is_admin": user.is_admin,
        "is_owner": user.is_owner,
        "is_primary_owner": False,
        "is_restricted": user.is_restricted,
        "is_ultra_restricted": user.is_ultra_restricted,
        "is_email_confirmed": True,
        "who_can_share_contact_card": "EVERYONE",
    }
    if user.team_id != TEAM_ID:
        shown["is_stranger"] = state.is_stranger(user)
    return shown


def bot_id(user: User) -> str:
    """The id that a bot has beside its user id."""
    return BOT_ID if user.id == BOT_USER else f"B{user.id[1:]}"


def group_object(group: UserGroup, *, users: bool, count: bool) -> Json:
    """A user group as usergroups.list answers it."""
    shown: Json = {
        "id": group.id,
        "team_id": TEAM_ID,
        "is_usergroup": True,
        "is_subteam": True,
        "name": group.name,
        "description": "",
        "handle": group.handle,
        "is_external": False,
        "date_create": 0,
        "date_update": group.updated,
        "date_delete": (group.updated or 1) if group.disabled else 0,
        "auto_type": None,
        "auto_provision": False,
        "enterprise_subteam_id": "",
        "created_by": BOT_USER,
        "updated_by": BOT_USER,
        "deleted_by": None,
        "prefs": {"channels": [], "groups": []},
    }
    if users:
        shown["users"] = list(group.users)
    if count:
        shown["user_count"] = len(group.users)
    return shown


def channel_object(conversation: Conversation, *, num_members: bool = False) -> Json:
    """A conversation as conversations.info answers it."""
    if conversation.is_im:
        other = next((one for one in conversation.members if one != BOT_USER), BOT_USER)
        return {
            "id": conversation.id,
            "created": conversation.created,
            "is_im": True,
            "is_org_shared": False,
            "is_archived": conversation.is_archived,
            "user": other,
            "is_user_deleted": False,
            "context_team_id": TEAM_ID,
            "priority": 0,
        }
    shown: Json = {
        "id": conversation.id,
        "name": conversation.name,
        "name_normalized": conversation.name,
        "is_channel": not conversation.is_mpim,
        "is_group": False,
        "is_im": False,
        "is_mpim": conversation.is_mpim,
        "is_private": conversation.is_private,
        "created": conversation.created,
        "is_archived": conversation.is_archived,
        "is_general": conversation.is_general,
        "unlinked": 0,
        "is_shared": conversation.is_shared,
        "is_ext_shared": conversation.is_shared,
        "is_org_shared": False,
        "is_pending_ext_shared": False,
        "pending_shared": [],
        "context_team_id": TEAM_ID,
        "creator": conversation.creator,
        "is_member": BOT_USER in conversation.members,
        "topic": {"value": conversation.topic, "creator": "", "last_set": 0},
        "purpose": {"value": conversation.purpose, "creator": "", "last_set": 0},
        "previous_names": list(conversation.previous_names),
    }
    if num_members:
        shown["num_members"] = len(conversation.members)
    return shown


def _bot_fields(state: State, message: Message) -> Json:
    """What tells a message of this app, or of another bot, from a person's."""
    if message.from_app:
        profile = {
            "id": BOT_ID,
            "app_id": APP_ID,
            "user_id": BOT_USER,
            "name": state.app.name,
            "deleted": False,
            "team_id": TEAM_ID,
        }
        return {"bot_id": BOT_ID, "app_id": APP_ID, "bot_profile": profile}
    author = state.users.get(message.user)
    if author is not None and author.is_bot:
        return {"subtype": "bot_message", "bot_id": bot_id(author), "app_id": f"A{author.id[1:]}"}
    return {}


def message_object(state: State, message: Message, *, metadata: bool = True) -> Json:
    """A message as chat.postMessage and conversations.history answer it."""
    shown: Json = {"type": "message", "ts": message.ts, "text": message.text, "user": message.user, "team": TEAM_ID}
    if message.subtype:
        shown["subtype"] = message.subtype
    shown |= _bot_fields(state, message)
    if message.blocks:
        shown["blocks"] = copy.deepcopy(message.blocks)
    if message.attachments:
        shown["attachments"] = copy.deepcopy(message.attachments)
    if message.edited:
        shown["edited"] = {"user": message.user, "ts": message.edited}
    if message.thread_ts:
        shown["thread_ts"] = message.thread_ts
        parent = state.message(message.channel, message.thread_ts)
        if parent is not None and parent.ts != message.ts:
            shown["parent_user_id"] = parent.user
    replies = state.replies(message.channel, message.ts)
    if replies:
        shown |= {
            "thread_ts": message.ts,
            "reply_count": len(replies),
            "latest_reply": replies[-1].ts,
            "reply_users": sorted({one.user for one in replies}),
        }
    if message.reactions:
        shown["reactions"] = [
            {"name": name, "users": list(users), "count": len(users)} for name, users in message.reactions.items()
        ]
    if message.pinned:
        shown["pinned_to"] = [message.channel]
    if metadata and message.metadata:
        shown["metadata"] = copy.deepcopy(message.metadata)
    return shown


def view_object(view: View) -> Json:
    """A view as views.open answers it, with what the person has entered so far."""
    body = view.body
    return {
        "id": view.id,
        "team_id": TEAM_ID,
        "type": body["type"],
        "blocks": copy.deepcopy(body["blocks"]),
        "private_metadata": body.get("private_metadata") or "",
        "callback_id": body.get("callback_id") or "",
        "state": {"values": copy.deepcopy(view.entered)},
        "hash": view.hash,
        "title": body.get("title"),
        "clear_on_close": bool(body.get("clear_on_close")),
        "notify_on_close": bool(body.get("notify_on_close")),
        "close": body.get("close"),
        "submit": body.get("submit"),
        "previous_view_id": view.previous_id,
        "root_view_id": view.root_id,
        "app_id": APP_ID,
        "external_id": body.get("external_id") or "",
        "app_installed_team_id": TEAM_ID,
        "bot_id": BOT_ID,
    }


def initial_state(blocks: list[Json]) -> dict[str, dict[str, Json]]:
    """The state values of blocks that nobody has touched yet."""
    values: dict[str, dict[str, Json]] = {}
    for element in elements_of(blocks):
        key = ELEMENTS[element["type"]].state
        if not key:
            continue
        values.setdefault(element["block_id"], {})[element["action_id"]] = {
            "type": element["type"],
            key: _initial(element),
        }
    return values


def _initial(element: Json) -> Any:
    for name in ("initial_value", "initial_option", "initial_options", "initial_user", "initial_users"):
        if name in element:
            return copy.deepcopy(element[name])
    for name in ("initial_date", "initial_time", "initial_date_time", "initial_channel", "initial_channels"):
        if name in element:
            return element[name]
    for name in ("initial_conversation", "initial_conversations"):
        if name in element:
            return element[name]
    kind = element["type"]
    return [] if kind.startswith("multi_") or kind == "checkboxes" else None


# --- what happened ---


def common(state: State, user: User) -> Json:
    """What every interactive payload carries."""
    return {
        "team": {"id": TEAM_ID, "domain": TEAM_DOMAIN},
        "enterprise": None,
        "is_enterprise_install": False,
        "user": {"id": user.id, "username": user.name, "name": user.name, "team_id": user.team_id},
        "api_app_id": APP_ID,
        "token": VERIFICATION_TOKEN,
    }


def channel_name(conversation: Conversation) -> str:
    """The channel's name as payloads give it: Slack hides those of private conversations."""
    if conversation.is_im:
        return "directmessage"
    if conversation.is_mpim:
        return conversation.name
    return "privategroup" if conversation.is_private else conversation.name


def command(user: User, conversation: Conversation, word: str, text: str, trigger: str, response_url: str) -> Json:
    """A slash command, in the field names of the form that Slack posts."""
    return {
        "token": VERIFICATION_TOKEN,
        "team_id": TEAM_ID,
        "team_domain": TEAM_DOMAIN,
        "channel_id": conversation.id,
        "channel_name": channel_name(conversation),
        "user_id": user.id,
        "user_name": user.name,
        "command": word,
        "text": text,
        "api_app_id": APP_ID,
        "is_enterprise_install": "false",
        "response_url": response_url,
        "trigger_id": trigger,
    }


def event(state: State, body: Json) -> Json:
    """An Events API callback around one event."""
    event_id = state.fresh("Ev")
    channel = body.get("channel")
    conversation = state.conversations.get(channel) if isinstance(channel, str) else None
    return {
        "token": VERIFICATION_TOKEN,
        "team_id": TEAM_ID,
        "context_team_id": TEAM_ID,
        "context_enterprise_id": None,
        "api_app_id": APP_ID,
        "event": body,
        "type": "event_callback",
        "event_id": event_id,
        "event_time": int(state.now()),
        "authorizations": [
            {
                "enterprise_id": None,
                "team_id": TEAM_ID,
                "user_id": BOT_USER,
                "is_bot": True,
                "is_enterprise_install": False,
            }
        ],
        "is_ext_shared_channel": bool(conversation and conversation.is_shared),
        "event_context": f"4-{event_id}",
    }


def step_run(state: State, execution: Execution, declared: Json, inputs: Json) -> Json:
    """The event of a step that is run. Who runs the workflow stands in the inputs alone."""
    now = int(state.now())
    return {
        "type": "function_executed",
        "function": {
            "id": f"Fn{hashlib.sha256(execution.step.encode()).hexdigest()[:9].upper()}",
            "callback_id": execution.step,
            "title": declared["title"],
            "description": declared["description"],
            "type": "app",
            "input_parameters": _parameters(declared.get("input_parameters")),
            "output_parameters": _parameters(declared.get("output_parameters")),
            "app_id": APP_ID,
            "date_created": now,
            "date_updated": now,
            "date_deleted": 0,
        },
        "inputs": inputs,
        "function_execution_id": execution.id,
        "workflow_execution_id": state.fresh("Wx"),
        "bot_access_token": execution.token,
    }


def _parameters(declared: Any) -> list[Json]:
    return [
        {"name": name, **{key: one[key] for key in ("type", "title", "description", "is_required") if key in one}}
        for name, one in (declared or {}).items()
    ]
