"""What Slack makes of the text that a person types: mentions, channels and links become ids, the rest is escaped."""

from __future__ import annotations

import re

from playground.workspace.state import State

_BROADCASTS = {"here", "channel", "everyone"}
_TOKEN = re.compile(r"(?<![\w<])([@#])([\w][\w.-]*)|(https?://[^\s<>]+)")


def escape(text: str) -> str:
    """The three characters that Slack escapes."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def encode(state: State, text: str, *, labels: bool) -> str:
    """A typed text as apps receive it. `labels` adds names to ids (`<@U0BOB|bob>`), as slash commands have them."""

    def one(match: re.Match[str]) -> str:
        sign, name, link = match.groups()
        if link:
            return f"<{link}>"
        for end in range(len(name), 0, -1):
            if name[end - 1] not in ".-" and (found := _lookup(state, sign, name[:end], labels=labels)):
                return found + name[end:]
            if name[end - 1] not in ".-":
                break
        return match.group(0)

    return _TOKEN.sub(one, escape(text))


def _lookup(state: State, sign: str, name: str, *, labels: bool) -> str:
    if sign == "#":
        for conversation in state.conversations.values():
            if conversation.name == name:
                return f"<#{conversation.id}|{name}>"
        return ""
    if name in _BROADCASTS:
        return f"<!{name}>"
    for user in state.users.values():
        if user.name == name and not user.deleted:
            return f"<@{user.id}|{name}>" if labels else f"<@{user.id}>"
    for group in state.groups.values():
        if group.handle == name and not group.disabled:
            return f"<!subteam^{group.id}|@{name}>" if labels else f"<!subteam^{group.id}>"
    return ""
