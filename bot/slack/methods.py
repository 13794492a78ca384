"""Every Web API method that the room calls and every scope it asks for, with the reason: one table for all."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scope:
    """A bot scope. An optional one may be declined by the admin; `without` says what is missing then."""

    name: str
    why: str
    without: str = ""

    @property
    def optional(self) -> bool:
        """Whether the app works without it."""
        return bool(self.without)


SCOPES = (
    Scope("commands", "People type /rotate."),
    Scope("chat:write", "Posts the card of each rotation, edits it in place, and answers people."),
    Scope("im:write", "Opens a direct message where an answer cannot be shown in the channel."),
    Scope(
        "users:read", "Looks up who clicked, at the moment it counts: guests, bots and deactivated people are refused."
    ),
    Scope("usergroups:read", "Reads who is in an approvers' group, at the moment a vote is counted."),
    Scope("app_mentions:read", "Hears @keyturn in a thread, where Slack allows no slash command."),
    Scope(
        "chat:write.public",
        "Posts cards to public channels without being invited.",
        without="Invite keyturn to each channel where cards are to appear.",
    ),
    Scope(
        "channels:join",
        "Joins a public channel where posting needs membership.",
        without="Invite keyturn to each channel where cards are to appear.",
    ),
    Scope(
        "channels:history",
        "Finds its own card when Slack's answer to a post was lost, so that it is not posted twice.",
        without="After a lost answer from Slack a card in a public channel may appear twice.",
    ),
    Scope(
        "groups:history",
        "The same in private channels that keyturn was invited to.",
        without="After a lost answer from Slack a card in a private channel may appear twice.",
    ),
    Scope(
        "im:history",
        "The same in its direct messages, such as those with reminders; it cannot see anybody else's.",
        without="After a lost answer from Slack a direct message may appear twice.",
    ),
    Scope(
        "channels:manage",
        "Makes one public channel for each incident, invites those concerned, and sets its topic.",
        without="An incident that may be public is followed in the thread of its card.",
    ),
    Scope(
        "groups:write",
        "The same for incidents whose channel is private.",
        without="A private incident is followed in the thread of its card.",
    ),
    Scope(
        "channels:read",
        "Finds the public channel that it made for an incident when Slack's answer was lost.",
        without="After a lost answer from Slack the incident is followed in the thread of its card.",
    ),
    Scope(
        "groups:read",
        "The same for private ones.",
        without="After a lost answer from Slack a private incident is followed in the thread of its card.",
    ),
    Scope(
        "pins:write",
        "Pins the status of an incident in its channel.",
        without="The status of an incident is the first message of its channel, and not pinned.",
    ),
    Scope(
        "bookmarks:write",
        "Bookmarks the card with its history, and the runbook, in the channel of an incident.",
        without="The channel of an incident has no bookmarks.",
    ),
)

EVENTS = ("app_home_opened", "app_mention", "function_executed", "subteam_members_changed")
"""What the app subscribes to; each has a listener."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """What a step of a workflow takes or gives. `choices` names the step that lists what can be chosen."""

    name: str
    title: str
    description: str
    type: str = "string"
    choices: str = ""
    required: bool = True


@dataclass(frozen=True, slots=True)
class Step:
    """A step that Workflow Builder offers; each has a listener."""

    name: str
    title: str
    description: str
    takes: tuple[Parameter, ...]
    gives: tuple[Parameter, ...]


_PERSON = Parameter(
    "person",
    "Who runs the workflow",
    "Filled in by Slack, and by nobody else: this person asks, and cannot approve.",
    "slack#/types/user_context",
)
_CREDENTIAL = Parameter("credential", "Credential", "Its name, or name@environment.", choices="credential_choices")
STEPS = (
    Step(
        "rotate_credential",
        "Rotate a credential",
        "Asks for a rotation as /rotate start does, and goes on when the new one is in use",
        (_PERSON, _CREDENTIAL, Parameter("reason", "Reason", "Stands on the card and in the audit; never a secret.")),
        (
            Parameter("rotation", "Rotation", "Its number, such as R-7."),
            Parameter("state", "State", "How it ended, in one word."),
            Parameter("outcome", "Outcome", "How it ended, in a sentence."),
        ),
    ),
    Step(
        "credential_status",
        "Look a credential up",
        "When it is due, who owns it, and whether a rotation of it is open",
        (_PERSON, _CREDENTIAL),
        (
            Parameter("due", "Due", "The day on which it is due, or: not scheduled."),
            Parameter("owner", "Owner", "The person or group that owns it."),
            Parameter("open_rotation", "Open rotation", "Its number, such as R-7, or: none."),
        ),
    ),
    Step(
        "credential_choices",
        "List credentials",
        "The credentials that the other steps offer to choose from",
        (Parameter("query", "Part of a name", "What whoever builds a workflow types into the list.", required=False),),
        (Parameter("options", "Credentials", "Those due next come first.", "slack#/types/options_select"),),
    ),
)
"""What the app offers to Workflow Builder."""


@dataclass(frozen=True, slots=True)
class Method:
    """How a method is called: as JSON or as a form, whether repeating it is harmless, and a scope it needs."""

    scopes: tuple[str, ...] = ()
    """Any of these; empty where none is needed."""
    json: bool = True


METHODS = {
    "auth.test": Method(),
    "bookmarks.add": Method(("bookmarks:write",)),
    "chat.getPermalink": Method(json=False),
    "chat.postMessage": Method(("chat:write",)),
    "chat.postEphemeral": Method(("chat:write",)),
    "chat.update": Method(("chat:write",)),
    "conversations.create": Method(("channels:manage", "groups:write")),
    "conversations.history": Method(("channels:history", "groups:history", "im:history"), json=False),
    "conversations.invite": Method(("channels:manage", "groups:write")),
    "conversations.join": Method(("channels:join",)),
    "conversations.list": Method(("channels:read", "groups:read"), json=False),
    "conversations.open": Method(("im:write",)),
    "conversations.replies": Method(("channels:history", "groups:history", "im:history"), json=False),
    "conversations.setTopic": Method(("channels:manage", "groups:write")),
    "functions.completeError": Method(),
    "functions.completeSuccess": Method(),
    "pins.add": Method(("pins:write",)),
    "usergroups.users.list": Method(("usergroups:read",), json=False),
    "users.info": Method(("users:read",), json=False),
    "views.open": Method(),
    "views.publish": Method(),
    "views.update": Method(),
}
"""Calls with the bot token; `apps.connections.open` needs the app-level token's own `connections:write`."""


def missing(granted: frozenset[str]) -> list[Scope]:
    """The scopes that the installation lacks."""
    return [scope for scope in SCOPES if scope.name not in granted]
