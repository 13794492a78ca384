"""What can be seen in the workspace, and what its admins do: look things up, change people, groups and channels."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

from playground.workspace.acts import Acts
from playground.workspace.kinds import user_of
from playground.workspace.payloads import group_object
from playground.workspace.places import NotVisible, Place
from playground.workspace.records import Delivery, Message, View
from playground.workspace.seed import BOT_USER, TEAM_ID, User
from playground.workspace.state import Conversation, State, UserGroup


class Office:
    """The reading room and the admin's desk. What is read here is a snapshot, which later changes do not touch."""

    def __init__(self, state: State, acts: Acts) -> None:
        self.state = state
        self.acts = acts
        self._snapshots: dict[str, Message] = {}

    # --- looking ---

    def place(self, user: str, where: str) -> Conversation:
        """A conversation by id or name; `@somebody` is the person's direct message with them."""
        with self.state.lock:
            if where.startswith("@"):
                return self.state.direct(self.state.user(user).id, self.state.user(where).id)
            return self.state.channel(where)

    def find(self, user: str, where: Message | View | str) -> Place:
        """The message or view itself, not a snapshot: by ts, view id, `modal` or `home`. Raises NotVisible."""
        with self.state.lock:
            person = self.state.user(user)
            if isinstance(where, Message):
                return self.state.messages[where.channel][where.ts]
            name = where.id if isinstance(where, View) else where
            if name == "modal":
                stack = self.state.stack(person.id)
                if not stack:
                    raise NotVisible(f"{person.name} has no modal open")
                return stack[-1]
            home = self.state.homes.get(person.id)
            if home is not None and name in {"home", home.id}:
                return home
            if name in self.state.views:
                return self.state.views[name]
            if name == "home" or isinstance(where, View):
                raise NotVisible(f"{person.name} does not have that view")
            return self.state.find_message(name)

    def messages(self, channel: str) -> list[Message]:
        """What everybody sees in a channel, oldest first; of threads only what was broadcast."""
        return [one for one in self._all(channel) if not one.thread_ts or one.thread_ts == one.ts or one.broadcast]

    def pins(self, channel: str) -> list[Message]:
        """What is pinned in a channel, the newest pin first."""
        with self.state.lock:
            return [self._snapshot(one) for one in self.state.pins(self.state.channel(channel).id)]

    def thread(self, channel: str, ts: str) -> list[Message]:
        """The replies under a message, oldest first."""
        return [one for one in self._all(channel) if one.thread_ts == ts and one.ts != ts]

    def direct_messages(self, user: str) -> list[Message]:
        """What the app and a person have written to each other, oldest first."""
        return self.messages(self.place(user, f"@{self.state.users[BOT_USER].name}").id)

    def ephemerals(self, user: str, channel: str | None = None) -> list[Message]:
        """What only this person was shown, oldest first."""
        with self.state.lock:
            wanted = self.state.user(user).id
            where = None if channel is None else self.place(user, channel).id
            return [
                self._snapshot(one)
                for kept in self.state.messages.values()
                for one in kept.values()
                if one.only_for == wanted and not one.deleted and where in {None, one.channel}
            ]

    def message(self, ts: str) -> Message:
        """A message as it is now. Raises KeyError when it is gone."""
        with self.state.lock:
            return self._snapshot(self.state.find_message(ts))

    def views(self, user: str) -> list[View]:
        """A person's open modals, the top one last."""
        with self.state.lock:
            return copy.deepcopy(self.state.stack(self.state.user(user).id))

    def view(self, user: str) -> View | None:
        """A person's top modal."""
        stack = self.views(user)
        return stack[-1] if stack else None

    def home(self, user: str) -> View | None:
        """A person's Home tab of the app."""
        with self.state.lock:
            return copy.deepcopy(self.state.homes.get(self.state.user(user).id))

    def notices(self, user: str) -> list[str]:
        """The errors that Slack itself has shown to a person."""
        with self.state.lock:
            wanted = self.state.user(user).id
            return [one.text for one in self.state.notices if one.user == wanted]

    def _all(self, channel: str) -> list[Message]:
        with self.state.lock:
            where = self.state.channel(channel).id
            kept = self.state.messages.get(where, {}).values()
            return [self._snapshot(one) for one in kept if not one.deleted and not one.only_for]

    def _snapshot(self, message: Message) -> Message:
        """A message as it is now; the same object until it changes."""
        known = self._snapshots.get(message.ts)
        if known is None or known.rev != message.rev:
            known = self._snapshots[message.ts] = copy.deepcopy(message)
        return known

    def describe(self) -> str:
        """The last things that happened, for a test that waited in vain."""
        with self.state.lock:
            lines = [f"call {one.method} -> {one.error or 'ok'}" for one in self.state.calls[-12:]]
            for delivery in self.state.deliveries[-8:]:
                fate = "acked" if delivery.acked else delivery.error or "under way"
                lines.append(f"delivery {delivery.type} {delivery.label} -> {fate}")
            lines += [f"notice to {one.user}: {one.text}" for one in self.state.notices[-5:]]
            lines += [f"complaint: {one}" for one in self.state.complaints[-5:]]
            for channel, kept in self.state.messages.items():
                name = self.state.conversations[channel].name or channel
                lines += [f"{name} {one.ts}: {one.text[:160]!r}" for one in list(kept.values())[-5:] if not one.deleted]
        return "\n".join(lines)

    # --- the admin's desk ---

    def set_group(self, handle: str, members: list[str]) -> list[Delivery]:
        """Change who is in a user group; the app hears of it."""
        with self.state.changing():
            group = self.state.group(handle)
            before, after = list(group.users), [self.state.user(one).id for one in members]
            earlier, group.users, group.updated = group.updated, after, int(self.state.now())
            added = [one for one in after if one not in before]
            removed = [one for one in before if one not in after]
        members_changed = {
            "type": "subteam_members_changed",
            "subteam_id": group.id,
            "team_id": TEAM_ID,
            "date_previous_update": earlier,
            "date_update": group.updated,
            "added_users": added,
            "added_users_count": str(len(added)),
            "removed_users": removed,
            "removed_users_count": str(len(removed)),
        }
        sent = [self._tell_group(group), self.acts.event(members_changed)]
        return [one for one in sent if one is not None]

    def disable_group(self, handle: str, *, disabled: bool = True) -> list[Delivery]:
        """Disable a user group, or enable it again; the app hears of it."""
        with self.state.changing():
            group = self.state.group(handle)
            group.disabled, group.updated = disabled, int(self.state.now())
        sent = self._tell_group(group)
        return [] if sent is None else [sent]

    def _tell_group(self, group: UserGroup) -> Delivery | None:
        subteam = group_object(group, users=True, count=False) | {"user_count": str(len(group.users))}
        return self.acts.event({"type": "subteam_updated", "subteam": subteam})

    def grant_scopes(self, *scopes: str) -> None:
        """Install the app again with more scopes."""
        with self.state.changing():
            self.state.app = replace(self.state.app, scopes=self.state.app.scopes | set(scopes))

    def revoke_scopes(self, *scopes: str) -> None:
        """Take scopes from the installed app: its calls answer missing_scope, its events stay away."""
        with self.state.changing():
            self.state.app = replace(self.state.app, scopes=self.state.app.scopes - set(scopes))

    def add_user(self, user: User) -> User:
        """Let somebody join the workspace."""
        with self.state.changing():
            self.state.users[user.id] = user
        return user

    def admit(self, kind: str, *, name: str = "", channels: Sequence[str] = (), groups: Sequence[str] = ()) -> User:
        """Somebody new of a kind (see KINDS) in the workspace, in channels, and in user groups. Raises KeyError."""
        person = self.add_user(user_of(kind, name))
        for channel in channels:
            if person.team_id != TEAM_ID:
                self.state.channel(channel).is_shared = True
            self.join(person.id, channel)
        for group in groups:
            self.set_group(group, [*self.state.group(group).users, person.id])
        return person

    def add_people(self, count: int, *, channels: Sequence[str] = (), groups: Sequence[str] = ()) -> list[str]:
        """So many new members, in channels and in user groups; their names. Nobody is told one by one."""
        people = [User(f"person{number:04d}") for number in range(1, count + 1)]
        with self.state.changing() as version:
            self.state.users |= {one.id: one for one in people}
            for channel in channels:
                conversation = self.state.channel(channel)
                conversation.members += [one.id for one in people]
                conversation.rev = version
        for group in groups:
            self.set_group(group, [*self.state.group(group).users, *(one.id for one in people)])
        return [one.name for one in people]

    def deactivate(self, user: str) -> None:
        """Deactivate somebody: signed out at once, out of every user group."""
        with self.state.changing():
            person = self.state.user(user)
            person.deleted = True
            self.state.drop_views(person.id)
        self.acts.event({"type": "user_change", "user": {"id": person.id, "deleted": True}})

    def reactivate(self, user: str) -> None:
        """Let somebody back in."""
        with self.state.changing():
            self.state.user(user).deleted = False

    def join(self, user: str, channel: str) -> None:
        """Bring somebody, or the app itself, into a channel."""
        with self.state.changing() as version:
            conversation, person = self.state.channel(channel), self.state.user(user)
            if person.id not in conversation.members:
                conversation.members.append(person.id)
            conversation.rev = version
        if BOT_USER in conversation.members:
            self.acts.event({"type": "member_joined_channel", "user": person.id, "channel": conversation.id})

    def leave(self, user: str, channel: str) -> None:
        """Take somebody, or the app itself, out of a channel."""
        with self.state.changing() as version:
            conversation, person = self.state.channel(channel), self.state.user(user)
            told = BOT_USER in conversation.members
            conversation.members.remove(person.id)
            conversation.rev = version
        if told:
            self.acts.event({"type": "member_left_channel", "user": person.id, "channel": conversation.id})

    def archive(self, channel: str, *, archived: bool = True) -> None:
        """Archive a channel, or open it again."""
        with self.state.changing() as version:
            conversation = self.state.channel(channel)
            conversation.is_archived, conversation.rev = archived, version
        if archived and BOT_USER in conversation.members:
            self.acts.event({"type": "channel_archive", "channel": conversation.id, "user": ""})

    def rename(self, channel: str, name: str) -> None:
        """Rename a channel; its id stays."""
        with self.state.changing() as version:
            conversation = self.state.channel(channel)
            conversation.previous_names.append(conversation.name)
            conversation.name, conversation.rev = name, version
        self.acts.event({"type": "channel_rename", "channel": {"id": conversation.id, "name": name}})

    def delete_message(self, message: Message | str) -> None:
        """Delete any message, as an admin can."""
        with self.state.lock:
            ts = message.ts if isinstance(message, Message) else message
            found = self.state.find_message(ts)
            found.deleted = True
            self.state.put(found)
