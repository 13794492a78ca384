"""What one person's page shows: people, conversations, messages, modals and the Home tab, and what changed in them."""

from __future__ import annotations

import copy
import json
from typing import Any

from playground.workspace import markdown, markup
from playground.workspace.records import Message, View
from playground.workspace.seed import BOT_USER, TEAM_ID, User
from playground.workspace.state import Conversation, State

Json = dict[str, Any]
MOST_MESSAGES = 300
"""The newest messages of a conversation that a page is told of."""


class Live:
    """One page's knowledge of the workspace; `news()` is what it does not know yet."""

    def __init__(self, state: State, user: User) -> None:
        self._state = state
        self._user = user
        self._known: dict[str, str] = {}
        self._messages: dict[tuple[str, str], tuple[int, int]] = {}
        self._notices = 0
        self._first = True

    def news(self) -> Json:
        """Everything that changed since the last time; empty when nothing did."""
        with self._state.lock:
            conversations = [one for one in self._state.conversations.values() if self._sees(one)]
            parts: Json = {
                "me": self._person(self._user),
                "team": {"name": self._state.team_name, "app": self._app()},
                "users": [self._person(one) for one in self._state.users.values()],
                "groups": [{"id": one.id, "handle": one.handle} for one in self._state.groups.values()],
                "channels": [self._channel(one) for one in conversations],
                "stack": [self._view(one) for one in self._state.stack(self._user.id)],
                "home": self._home(),
            }
            news: Json = {}
            for name, part in parts.items():
                told = json.dumps(part)
                if self._known.get(name) != told:
                    self._known[name] = told
                    news[name] = part
            if messages := [one for where in conversations for one in self._new_messages(where)]:
                news["messages"] = messages
            notices = [one for one in self._state.notices[self._notices :] if one.user == self._user.id]
            self._notices = len(self._state.notices)
            if notices and not self._first:
                news["notices"] = [one.text for one in notices]
        if self._first:
            news["first"] = True
        self._first = False
        return news

    def _sees(self, conversation: Conversation) -> bool:
        if self._user.id in conversation.members:
            return True
        return not conversation.is_private and self._user.team_id == TEAM_ID and not self._user.is_restricted

    def _app(self) -> Json:
        app = self._state.app
        return {
            "name": app.name,
            "display_name": app.display_name,
            "description": app.description,
            "color": app.background_color,
            "user": BOT_USER,
            "home_tab": app.home_tab,
            "messages_tab": app.messages_tab,
            "read_only": app.messages_tab_read_only,
            "commands": [
                {"command": one.command, "description": one.description, "usage_hint": one.usage_hint}
                for one in app.commands
            ],
            "shortcuts": [
                {"kind": one.kind, "name": one.name, "callback_id": one.callback_id} for one in app.shortcuts
            ],
        }

    def _person(self, user: User) -> Json:
        return {
            "id": user.id,
            "name": user.name,
            "real_name": user.real_name,
            "title": user.title,
            "bot": user.is_bot,
            "deleted": user.deleted,
            "admin": user.is_admin,
            "guest": "single-channel guest" if user.is_ultra_restricted else "guest" if user.is_restricted else "",
            "outside": user.team_id != TEAM_ID,
        }

    def _channel(self, conversation: Conversation) -> Json:
        return {
            "id": conversation.id,
            "name": conversation.name,
            "members": conversation.members,
            "private": conversation.is_private,
            "direct": conversation.is_im or conversation.is_mpim,
            "shared": conversation.is_shared,
            "archived": conversation.is_archived,
            "read_only": conversation.read_only,
            "topic": conversation.topic,
            "pins": [one.ts for one in self._state.pins(conversation.id)],
            "bookmarks": [{"title": one["title"], "link": one["link"]} for one in conversation.bookmarks],
        }

    def _home(self) -> Json | None:
        home = self._state.homes.get(self._user.id)
        return self._view(home) if home else None

    def _view(self, view: View) -> Json:
        return {
            "id": view.id,
            "hash": view.hash,
            "title": view.title,
            "submit": (view.body.get("submit") or {}).get("text"),
            "close": (view.body.get("close") or {}).get("text") or "Cancel",
            "blocks": self._drawn(view.blocks),
            "entered": view.entered,
            "errors": view.errors,
            "waiting": view.waiting,
        }

    def _new_messages(self, conversation: Conversation) -> list[Json]:
        kept = list(self._state.messages.get(conversation.id, {}).values())[-MOST_MESSAGES:]
        news = []
        for one in kept:
            if one.only_for and one.only_for != self._user.id:
                continue
            under = self._state.replies(one.channel, one.ts)
            mark = (one.rev, len(under))
            if self._messages.get((conversation.id, one.ts)) != mark:
                self._messages[(conversation.id, one.ts)] = mark
                news.append(self._message(one, under))
        return news

    def _message(self, message: Message, replies: list[Message]) -> Json:
        if message.deleted:
            return {"channel": message.channel, "ts": message.ts, "deleted": True}
        return {
            "channel": message.channel,
            "ts": message.ts,
            "user": message.user,
            "plain": message.text[:160],
            "nodes": markup.parse(message.text) if message.mrkdwn else markup.plain(message.text),
            "blocks": self._drawn(message.blocks),
            "thread_ts": message.thread_ts,
            "mine_only": message.only_for is not None,
            "from_app": message.from_app,
            "edited": message.edited is not None,
            "broadcast": message.broadcast,
            "pinned": bool(message.pinned),
            "reactions": {name: len(users) for name, users in message.reactions.items()},
            "replies": len(replies),
            "repliers": sorted({one.user for one in replies}),
            "latest_reply": replies[-1].ts if replies else None,
        }

    def _drawn(self, blocks: list[Json]) -> list[Json]:
        """Blocks with their texts parsed, and without the buttons that this person is not shown."""
        drawn: list[Json] = self._parsed(copy.deepcopy(blocks))
        return drawn

    def _parsed(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._parsed(one) for one in value if self._shown(one)]
        if not isinstance(value, dict):
            return value
        made = {name: self._parsed(one) for name, one in value.items() if name != "visible_to_user_ids"}
        kind = value.get("type")
        if kind == "mrkdwn":
            made["nodes"] = markup.parse(value["text"], verbatim=bool(value.get("verbatim")))
        elif kind == "plain_text":
            made["nodes"] = markup.plain(value["text"])
        elif kind == "markdown":
            made["nodes"] = markdown.parse(value["text"])
        return made

    def _shown(self, value: Any) -> bool:
        return not isinstance(value, dict) or self._user.id in value.get("visible_to_user_ids", [self._user.id])
