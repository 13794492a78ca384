"""Where a person acts: a message or a view, what of it they can see, and how payloads name it."""

from __future__ import annotations

from typing import Any

from playground.workspace import payloads
from playground.workspace.records import Message, View
from playground.workspace.seed import TEAM_ID, User
from playground.workspace.state import Conversation, State

Json = dict[str, Any]
Place = Message | View


class NotVisible(LookupError):
    """The person cannot see that, so cannot do anything with it."""


def must_be_in(user: User, conversation: Conversation) -> None:
    """Refuse somebody who is deactivated or not in a conversation. Raises NotVisible."""
    if user.deleted:
        raise NotVisible(f"{user.name} is deactivated")
    if user.id not in conversation.members:
        raise NotVisible(f"{user.name} is not in {conversation.name or conversation.id}")


def must_see(state: State, user: User, place: Place) -> None:
    """Refuse somebody who cannot see a message or view. Raises NotVisible."""
    if user.deleted:
        raise NotVisible(f"{user.name} is deactivated")
    if isinstance(place, View):
        open_views = {*state.views, *(home.id for home in state.homes.values())}
        if place.user != user.id or place.id not in open_views:
            raise NotVisible(f"{user.name} does not have this view open")
        return
    conversation = state.conversations[place.channel]
    open_to_all = not conversation.is_private and user.team_id == TEAM_ID and not user.is_restricted
    if user.id not in conversation.members and not open_to_all:
        raise NotVisible(f"{user.name} cannot see {conversation.name or conversation.id}")
    if place.deleted or (place.only_for and place.only_for != user.id):
        raise NotVisible(f"{user.name} cannot see this message")


def must_be_ours(place: Place) -> None:
    """Refuse a message of somebody else, whose buttons Slack does not bring to the app. Raises NotVisible."""
    if isinstance(place, Message) and not place.from_app:
        raise NotVisible("what is done on that message is not brought to the app")


def element_of(user: User, place: Place, action_id: str, value: Any, block_id: str, *, force: bool) -> Json:
    """The element of that action id; of several, the one with that value. Raises NotVisible."""
    found = [one for one in place.elements if one["action_id"] == action_id and block_id in {"", one["block_id"]}]
    if len(found) > 1 and value is not None:
        found = [one for one in found if one.get("value") == value] or found
    if not found:
        offered = ", ".join(one["action_id"] for one in place.elements) or "nothing"
        raise NotVisible(f"there is no {action_id} here, only {offered}")
    shown_to = found[0].get("visible_to_user_ids")
    if shown_to and user.id not in shown_to and not force:
        raise NotVisible(f"{action_id} is not shown to {user.name}")
    return found[0]


def conversation_of(state: State, place: Place) -> Conversation | None:
    """Where a message stands, or where a person was when a view opened."""
    if isinstance(place, Message):
        return state.conversations[place.channel]
    return state.conversations.get(place.channel or "")


def container_of(state: State, place: Place) -> Json:
    """The fields of a payload that say where something was done."""
    if isinstance(place, View):
        return {"container": {"type": "view", "view_id": place.id}, "view": payloads.view_object(place)}
    conversation = state.conversations[place.channel]
    container: Json = {
        "type": "message",
        "message_ts": place.ts,
        "channel_id": place.channel,
        "is_ephemeral": place.only_for is not None,
    }
    if place.thread_ts:
        container["thread_ts"] = place.thread_ts
    body: Json = {
        "container": container,
        "channel": {"id": conversation.id, "name": payloads.channel_name(conversation)},
    }
    if place.only_for is None:
        body["message"] = payloads.message_object(state, place)
    return body
