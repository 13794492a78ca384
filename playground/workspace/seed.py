"""Who and what is in the workspace when it opens: people, user groups, channels, and the app with its manifest."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

APP_ID = "A0KEYTURN"
BOT_USER = "U0KEYTURN"
BOT_ID = "B0KEYTURN"
TEAM_ID = "T0KEYTURN"
TEAM_DOMAIN = "keyturn"

_SCOPES = """commands chat:write chat:write.public usergroups:read users:read users:read.email im:write
    app_mentions:read channels:join channels:read channels:manage groups:write groups:read pins:write pins:read
    bookmarks:write bookmarks:read reactions:write"""
DEFAULT_SCOPES = frozenset(_SCOPES.split())
_EVENTS = """app_home_opened app_mention subteam_members_changed subteam_updated tokens_revoked app_uninstalled"""
DEFAULT_EVENTS = frozenset(_EVENTS.split())


def id_for(prefix: str, name: str) -> str:
    """A Slack-shaped id that a reader can recognise: `U0ALICE` for alice."""
    return prefix + "0" + re.sub(r"[^A-Z0-9]", "", name.upper())


@dataclass
class User:
    """A person, or a bot. A guest has `is_restricted`; a single-channel guest `is_ultra_restricted` as well."""

    name: str
    real_name: str = ""
    email: str = ""
    id: str = ""
    team_id: str = TEAM_ID
    title: str = ""
    tz: str = "Europe/Berlin"
    is_admin: bool = False
    is_owner: bool = False
    is_restricted: bool = False
    is_ultra_restricted: bool = False
    is_bot: bool = False
    is_workflow_bot: bool = False
    deleted: bool = False

    def __post_init__(self) -> None:
        self.id = self.id or id_for("U", self.name)
        self.real_name = self.real_name or self.name.replace(".", " ").title()
        self.email = self.email or ("" if self.is_bot else f"{self.name}@example.com")
        self.is_restricted = self.is_restricted or self.is_ultra_restricted


@dataclass
class Group:
    """A user group; `members` are user names."""

    handle: str
    members: list[str] = field(default_factory=list)
    name: str = ""
    id: str = ""
    disabled: bool = False

    def __post_init__(self) -> None:
        self.id = self.id or id_for("S", self.handle)
        self.name = self.name or self.handle.replace("-", " ").title()


@dataclass
class Channel:
    """A channel; `members` are user names, with the bot's own name when it has been invited."""

    name: str
    members: list[str] = field(default_factory=list)
    id: str = ""
    is_private: bool = False
    is_shared: bool = False
    is_general: bool = False
    is_archived: bool = False
    read_only: bool = False
    topic: str = ""
    purpose: str = ""

    def __post_init__(self) -> None:
        self.id = self.id or id_for("C", self.name)


@dataclass
class Seed:
    """The workspace at its opening. `may_create_channels` off makes conversations.create answer restricted_action."""

    users: list[User] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
    channels: list[Channel] = field(default_factory=list)
    team_name: str = "Keyturn"
    may_create_channels: bool = True

    @classmethod
    def of(cls, value: Seed | Mapping[str, Any] | None) -> Seed:
        """A seed from a mapping (as in a YAML file), or the default one; unknown keys raise TypeError."""
        if value is None:
            return default_seed()
        if isinstance(value, Seed):
            return value
        known = {item.name for item in fields(cls)}
        if unknown := set(value) - known:
            raise TypeError(f"a seed has no {', '.join(sorted(unknown))}")
        rest = {key: item for key, item in value.items() if key not in {"users", "groups", "channels"}}
        return cls(
            users=[User(**item) for item in value.get("users", [])],
            groups=[Group(**item) for item in value.get("groups", [])],
            channels=[Channel(**item) for item in value.get("channels", [])],
            **rest,
        )

    @classmethod
    def read(cls, path: str | Path) -> Seed:
        """A seed from a YAML or JSON file."""
        return cls.of(yaml.safe_load(Path(path).read_text(encoding="utf-8")))


def default_seed() -> Seed:
    """A small company: an on-call team, a security group, guests, a leaver, and a neighbour in a shared channel."""
    return Seed(
        users=[
            User("alice", "Alice Amari", title="Platform engineer", is_admin=True),
            User("bob", "Bob Berg", title="Security on call"),
            User("carol", "Carol Chen", title="Head of security", is_owner=True, is_admin=True),
            User("dave", "Dave Diaz", title="Payments"),
            User("erin", "Erin Eze", title="Site reliability"),
            User("gus", "Gus Grey", title="Contractor", is_restricted=True),
            User("una", "Una Ueda", title="Auditor", is_ultra_restricted=True),
            User("otto", "Otto Olsen", title="Left in May", deleted=True),
            User("pagerbot", "Pager", is_bot=True),
            User("sam", "Sam Sato", title="Partner Inc.", email="sam@partner.example", team_id="T0PARTNER"),
        ],
        groups=[
            Group("sec-oncall", ["bob", "carol"], name="Security on call"),
            Group("platform", ["alice", "erin", "dave"], name="Platform team"),
        ],
        channels=[
            Channel("general", ["alice", "bob", "carol", "dave", "erin", "pagerbot"], is_general=True),
            Channel(
                "ops",
                ["alice", "bob", "carol", "dave", "erin", "gus", "keyturn"],
                topic="Rotations, approvals, results",
            ),
            Channel("security", ["bob", "carol", "keyturn"], is_private=True, topic="Security on call"),
            Channel("partner-api", ["alice", "bob", "sam", "keyturn"], is_shared=True, topic="With Partner Inc."),
            Channel("audit", ["carol", "una"], topic="For the auditors"),
            Channel("announcements", ["alice", "bob", "carol", "dave", "erin", "keyturn"], read_only=True),
            Channel("old-incident", ["alice", "bob", "keyturn"], is_archived=True),
        ],
    )


@dataclass(frozen=True)
class Command:
    """A slash command as the manifest declares it."""

    command: str
    description: str = ""
    usage_hint: str = ""
    should_escape: bool = True


@dataclass(frozen=True)
class Shortcut:
    """A shortcut as the manifest declares it; `kind` is `message` or `global`."""

    kind: str
    name: str
    callback_id: str


@dataclass(frozen=True)
class App:
    """What the workspace knows of the installed app, read from its manifest."""

    scopes: frozenset[str] = DEFAULT_SCOPES
    events: frozenset[str] = DEFAULT_EVENTS
    commands: tuple[Command, ...] = (Command("/rotate", "Rotate a credential", "start <credential> | status | help"),)
    shortcuts: tuple[Shortcut, ...] = ()
    name: str = "keyturn"
    display_name: str = "keyturn"
    description: str = "Rotates credentials by runbook"
    background_color: str = "#1f2937"
    home_tab: bool = True
    messages_tab: bool = True
    messages_tab_read_only: bool = False
    interactivity: bool = True
    socket_mode: bool = True
    steps: Mapping[str, Any] = field(default_factory=dict)
    """What the app offers to Workflow Builder; nothing unless it is org-ready and its functions run remotely."""

    @classmethod
    def read(cls, path: str | Path, *, declined: Iterable[str] = ()) -> App:
        """The app from its manifest.yml; `declined` are optional scopes that the installing admin refused."""
        manifest: dict[str, Any] = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        return cls.from_manifest(manifest, declined=declined)

    @classmethod
    def from_manifest(cls, manifest: Mapping[str, Any], *, declined: Iterable[str] = ()) -> App:
        """The app from a parsed manifest. Raises ValueError where a declined scope is not optional."""
        features = manifest.get("features") or {}
        settings = manifest.get("settings") or {}
        scopes = (manifest.get("oauth_config") or {}).get("scopes") or {}
        optional = set(scopes.get("bot_optional") or ())
        if unknown := set(declined) - optional:
            raise ValueError(f"only optional scopes can be declined, not {', '.join(sorted(unknown))}")
        commands = tuple(
            Command(
                item["command"],
                item.get("description", ""),
                item.get("usage_hint", ""),
                bool(item.get("should_escape", False)),
            )
            for item in features.get("slash_commands") or ()
        )
        home = features.get("app_home") or {}
        display = manifest.get("display_information") or {}
        return cls(
            scopes=frozenset(scopes.get("bot") or ()) | (optional - set(declined)),
            events=frozenset((settings.get("event_subscriptions") or {}).get("bot_events") or ()),
            commands=commands or cls.commands,
            shortcuts=tuple(
                Shortcut(item["type"], item["name"], item["callback_id"]) for item in features.get("shortcuts") or ()
            ),
            name=display.get("name", cls.name),
            display_name=(features.get("bot_user") or {}).get("display_name", cls.display_name),
            description=display.get("description", cls.description),
            background_color=display.get("background_color", cls.background_color),
            home_tab=bool(home.get("home_tab_enabled", False)),
            messages_tab=bool(home.get("messages_tab_enabled", False)),
            messages_tab_read_only=bool(home.get("messages_tab_read_only_enabled", False)),
            interactivity=bool((settings.get("interactivity") or {}).get("is_enabled", False)),
            socket_mode=bool(settings.get("socket_mode_enabled", False)),
            steps=dict(manifest.get("functions") or {}) if _is_org_ready(settings) else {},
        )


def _is_org_ready(settings: Mapping[str, Any]) -> bool:
    return bool(settings.get("org_deploy_enabled")) and settings.get("function_runtime") == "remote"
