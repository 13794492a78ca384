"""The workspace itself: people, conversations, messages, views, and one lock with a condition around all of it."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from playground.workspace.records import Call, Delivery, Execution, Message, Notice, ResponseUrl, Trigger, View
from playground.workspace.seed import BOT_USER, TEAM_ID, App, Seed, User

TRIGGER_SECONDS = 3.0
RESPONSE_URL_SECONDS = 30 * 60.0
RESPONSE_URL_USES = 5
MOST_VIEWS = 3


@dataclass
class Conversation:
    """A channel or a direct message; `members` are user ids."""

    id: str
    name: str = ""
    members: list[str] = field(default_factory=list)
    is_private: bool = False
    is_im: bool = False
    is_mpim: bool = False
    is_shared: bool = False
    is_general: bool = False
    is_archived: bool = False
    read_only: bool = False
    topic: str = ""
    purpose: str = ""
    creator: str = ""
    created: int = 0
    bookmarks: list[dict[str, Any]] = field(default_factory=list)
    previous_names: list[str] = field(default_factory=list)
    rev: int = 0

    @property
    def scope(self) -> str:
        """The word that scopes use for this kind: channels, groups, im or mpim."""
        if self.is_im:
            return "im"
        if self.is_mpim:
            return "mpim"
        return "groups" if self.is_private else "channels"


@dataclass
class UserGroup:
    """A user group; `users` are user ids."""

    id: str
    handle: str
    name: str
    users: list[str]
    disabled: bool = False
    updated: int = 0


class State:
    """Everything the workspace knows. Every change happens inside `changing()`, which wakes those who wait."""

    def __init__(self, seed: Seed, app: App) -> None:
        self.app = app
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.version = 0
        self.listeners: list[Callable[[], None]] = []
        self.offset = 0.0
        self._last_micros = 0
        self._counter = itertools.count(1)
        self.team_name = seed.team_name
        self.may_create_channels = seed.may_create_channels
        self.users: dict[str, User] = {}
        self.groups: dict[str, UserGroup] = {}
        self.conversations: dict[str, Conversation] = {}
        self.messages: dict[str, dict[str, Message]] = {}
        self.threads: dict[tuple[str, str], list[Message]] = {}
        self.views: dict[str, View] = {}
        self.stacks: dict[str, list[str]] = {}
        self.homes: dict[str, View] = {}
        self.triggers: dict[str, Trigger] = {}
        self.executions: dict[str, Execution] = {}
        self.response_urls: dict[str, ResponseUrl] = {}
        self.notices: list[Notice] = []
        self.calls: list[Call] = []
        self.deliveries: list[Delivery] = []
        self.complaints: list[str] = []
        self.views_rev: dict[str, int] = {}
        self._fill(seed)

    def _fill(self, seed: Seed) -> None:
        bot = User(self.app.display_name, self.app.name, id=BOT_USER, is_bot=True)
        self.users = {user.id: user for user in [bot, *seed.users]}
        for group in seed.groups:
            users = [self.user(name).id for name in group.members]
            self.groups[group.id] = UserGroup(group.id, group.handle, group.name, users, group.disabled)
        for channel in seed.channels:
            members = [BOT_USER if name == "keyturn" else self.user(name).id for name in channel.members]
            self.conversations[channel.id] = Conversation(
                channel.id,
                channel.name,
                members,
                is_private=channel.is_private,
                is_shared=channel.is_shared,
                is_general=channel.is_general,
                is_archived=channel.is_archived,
                read_only=channel.read_only,
                topic=channel.topic,
                purpose=channel.purpose,
                creator=members[0] if members else "",
                created=int(self.now()),
            )

    # --- time, names, change ---

    def now(self) -> float:
        """The workspace's clock, in seconds since 1970."""
        return time.time() + self.offset

    def stamp(self) -> str:
        """A message timestamp, never given twice."""
        micros = max(int(self.now() * 1_000_000), self._last_micros + 1)
        self._last_micros = micros
        return f"{micros // 1_000_000}.{micros % 1_000_000:06d}"

    def fresh(self, prefix: str) -> str:
        """A new id of Slack's shape."""
        return f"{prefix}0{next(self._counter):08X}"

    @contextmanager
    def changing(self) -> Iterator[int]:
        """Hold the lock, count a new version, and wake whoever waits for a change."""
        with self.lock:
            self.version += 1
            yield self.version
            self.changed.notify_all()
            listeners = list(self.listeners)
        for listener in listeners:
            listener()

    # --- finding ---

    def user(self, who: str) -> User:
        """A person by id or name. Raises KeyError."""
        if who in self.users:
            return self.users[who]
        for user in self.users.values():
            if user.name == who.removeprefix("@"):
                return user
        raise KeyError(f"nobody here is called {who}")

    def channel(self, where: str) -> Conversation:
        """A conversation by id or name. Raises KeyError."""
        if where in self.conversations:
            return self.conversations[where]
        for conversation in self.conversations.values():
            if conversation.name and conversation.name == where.removeprefix("#"):
                return conversation
        raise KeyError(f"there is no channel {where}")

    def group(self, which: str) -> UserGroup:
        """A user group by id or handle. Raises KeyError."""
        for group in self.groups.values():
            if which.removeprefix("@") in {group.id, group.handle}:
                return group
        raise KeyError(f"there is no user group {which}")

    def message(self, channel: str, ts: str) -> Message | None:
        """A message that is there and not deleted."""
        found = self.messages.get(channel, {}).get(ts)
        return None if found is None or found.deleted else found

    def replies(self, channel: str, ts: str) -> list[Message]:
        """What everybody sees in the thread under a message, oldest first."""
        return [one for one in self.threads.get((channel, ts), ()) if not one.deleted and not one.only_for]

    def pins(self, channel: str) -> list[Message]:
        """What is pinned in a conversation, the newest pin first."""
        kept = [one for one in self.messages.get(channel, {}).values() if one.pinned and not one.deleted]
        return sorted(kept, key=lambda one: (one.pinned, one.rev), reverse=True)

    def find_message(self, ts: str) -> Message:
        """A message by its timestamp alone, which is unique in this workspace. Raises KeyError."""
        for channel in self.messages:
            if (found := self.message(channel, ts)) is not None:
                return found
        raise KeyError(f"there is no message {ts}")

    def stack(self, user: str) -> list[View]:
        """A person's open modals, the top one last."""
        return [self.views[view] for view in self.stacks.get(user, [])]

    def direct(self, *members: str) -> Conversation:
        """The direct message between these people, made when it is new."""
        wanted = sorted(members)
        for conversation in self.conversations.values():
            if (conversation.is_im or conversation.is_mpim) and sorted(conversation.members) == wanted:
                return conversation
        one_to_one = len(members) <= 2
        conversation = Conversation(
            self.fresh("D" if one_to_one else "G"),
            "" if one_to_one else "mpdm-" + "--".join(self.users[one].name for one in members) + "-1",
            list(members),
            is_private=True,
            is_im=one_to_one,
            is_mpim=not one_to_one,
            created=int(self.now()),
        )
        with self.changing() as version:
            conversation.rev = version
            self.conversations[conversation.id] = conversation
        return conversation

    def is_stranger(self, user: User) -> bool:
        """Slack's `is_stranger`: of another workspace, and in no shared channel that the app is in."""
        if user.team_id == TEAM_ID:
            return False
        return not any({user.id, BOT_USER} <= set(conversation.members) for conversation in self.conversations.values())

    # --- changing ---

    def put(self, message: Message) -> Message:
        """Keep a message, new or changed."""
        with self.changing() as version:
            message.rev = version
            known = message.ts in self.messages.get(message.channel, {})
            if message.thread_ts and message.thread_ts != message.ts and not known:
                self.threads.setdefault((message.channel, message.thread_ts), []).append(message)
            self.messages.setdefault(message.channel, {})[message.ts] = message
        return message

    def notice(self, user: str, text: str, channel: str | None = None) -> None:
        """Show an error to a person, as Slack itself would."""
        with self.changing() as version:
            self.notices.append(Notice(user, text, channel, version))

    def complain(self, text: str) -> None:
        """Write down something that the app did against Slack's protocol and that Slack would not tell it."""
        with self.changing():
            self.complaints.append(text)

    def trigger(self, user: str, *, view: str | None = None, channel: str | None = None) -> Trigger:
        """A new trigger."""
        number = next(self._counter)
        made = Trigger(
            f"{number:010d}.{int(self.now() * 1000)}.{number * 2654435761 % 2**32:08x}{number:024x}",
            user,
            self.now() + TRIGGER_SECONDS,
            view,
            channel,
        )
        self.triggers[made.id] = made
        return made

    def views_changed(self, user: str) -> None:
        """Note that a person's modals or Home tab look different now."""
        with self.changing() as version:
            self.views_rev[user] = version

    def drop_views(self, user: str) -> list[View]:
        """Close a person's whole stack; the closed views, the top one first."""
        closed = [self.views.pop(view) for view in reversed(self.stacks.pop(user, []))]
        self.views_changed(user)
        return closed

    def pop_view(self, user: str) -> View:
        """Close a person's top view."""
        view = self.views.pop(self.stacks[user].pop())
        if not self.stacks[user]:
            del self.stacks[user]
        self.views_changed(user)
        return view
