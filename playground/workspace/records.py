"""What the workspace remembers: messages, views, triggers, calls, deliveries."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Literal

from playground.workspace import markup
from playground.workspace.blocks import held

Kind = Literal["slash_commands", "interactive", "events_api"]


@dataclass
class Message:
    """A message as everybody sees it, or as one person does when `only_for` is set."""

    channel: str
    ts: str
    user: str
    text: str
    blocks: list[dict[str, Any]] = field(default_factory=list)
    attachments: list[Any] = field(default_factory=list)
    thread_ts: str | None = None
    metadata: dict[str, Any] | None = None
    only_for: str | None = None
    from_app: bool = False
    broadcast: bool = False
    subtype: str | None = None
    edited: str | None = None
    edits: int = 0
    deleted: bool = False
    pinned: int = 0
    """Since when it is pinned, in seconds since 1970; 0 when it is not."""
    reactions: dict[str, list[str]] = field(default_factory=dict)
    username: str = ""
    icon_emoji: str = ""
    mrkdwn: bool = True
    rev: int = 0

    @property
    def words(self) -> str:
        """Every text that a reader sees, top-level text included, one per line."""
        return "\n".join([self.text, *texts(self.blocks)])

    @property
    def pings(self) -> list[str]:
        """Who is called by this message: `channel`, `here`, `everyone`, and the ids of people and groups."""
        own = list(markup.pings(self.text)) if self.mrkdwn else []
        return own + [who for text in mrkdwn_of(self.blocks) for who in markup.pings(text)]

    @property
    def elements(self) -> list[dict[str, Any]]:
        """The interactive elements, in order, each with its `block_id`."""
        return elements_of(self.blocks)

    @property
    def buttons(self) -> list[str]:
        """The action ids of the buttons, in order."""
        return [one["action_id"] for one in self.elements if one["type"] == "button"]


@dataclass
class View:
    """A modal in somebody's stack, or somebody's Home tab."""

    id: str
    user: str
    body: dict[str, Any]
    hash: str
    root_id: str
    previous_id: str | None = None
    entered: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What the person has typed or chosen: block_id, action_id, state value."""
    errors: dict[str, str] = field(default_factory=dict)
    channel: str | None = None
    """Where the person was when the modal opened; for default_to_current_conversation."""
    response_urls: list[dict[str, str]] = field(default_factory=list)
    waiting: bool = False
    rev: int = 0

    @property
    def title(self) -> str:
        """The title, empty for a Home tab."""
        return str((self.body.get("title") or {}).get("text", ""))

    @property
    def callback_id(self) -> str:
        """The app's own name for the view."""
        return str(self.body.get("callback_id") or "")

    @property
    def blocks(self) -> list[dict[str, Any]]:
        """The blocks."""
        return list(self.body["blocks"])

    @property
    def words(self) -> str:
        """Every text that a reader sees, one per line."""
        return "\n".join([self.title, *texts(self.blocks)])

    @property
    def elements(self) -> list[dict[str, Any]]:
        """The interactive elements, in order, each with its `block_id`."""
        return elements_of(self.blocks)

    @property
    def buttons(self) -> list[str]:
        """The action ids of the buttons, in order."""
        return [one["action_id"] for one in self.elements if one["type"] == "button"]


@dataclass
class Trigger:
    """Leave to open a modal, for three seconds and once."""

    id: str
    user: str
    expires: float
    view: str | None = None
    channel: str | None = None
    used: bool = False


@dataclass
class ResponseUrl:
    """Leave to answer where something was done, five times within thirty minutes."""

    key: str
    user: str
    channel: str
    expires: float
    message_ts: str | None = None
    thread_ts: str | None = None
    uses: int = 0


@dataclass
class Execution:
    """One run of a workflow's step. `state` is running, completed or failed."""

    id: str
    step: str
    user: str
    token: str = field(repr=False)
    """The workflow token that the app gets for this run."""
    state: str = "running"
    outputs: dict[str, Any] = field(default_factory=dict)
    error: str = ""


@dataclass
class Notice:
    """An error that Slack itself shows to a person, such as an app that did not respond."""

    user: str
    text: str
    channel: str | None = None
    rev: int = 0


@dataclass(frozen=True)
class Call:
    """One Web API call as it came in and as it was answered; `status` is 0 where the connection was cut."""

    method: str
    arguments: dict[str, Any]
    answer: dict[str, Any]
    status: int = 200
    at: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether Slack said ok."""
        return bool(self.answer.get("ok"))

    @property
    def error(self) -> str:
        """The error, empty when there was none."""
        return str(self.answer.get("error", ""))


@dataclass
class Attempt:
    """One try to bring a payload to the app."""

    at: float
    envelope_id: str
    via: str
    acked_at: float | None = None
    error: str = ""


@dataclass
class Delivery:
    """A payload on its way to the app, with every attempt. `done` is set when it was acknowledged or given up."""

    kind: Kind
    payload: dict[str, Any]
    user: str
    label: str
    answerable: bool = False
    attempts: list[Attempt] = field(default_factory=list)
    acked: bool = False
    answer: dict[str, Any] = field(default_factory=dict)
    error: str = ""
    done: Future[Delivery] = field(default_factory=Future, repr=False)

    @property
    def type(self) -> str:
        """The payload's own type: `block_actions`, `view_submission`, `app_mention` …"""
        if self.kind == "events_api":
            return str(self.payload["event"]["type"])
        return str(self.payload.get("type") or self.payload.get("command"))

    def wait(self, timeout: float = 10.0) -> Delivery:
        """Block until it was acknowledged or given up. Raises TimeoutError."""
        return self.done.result(timeout)


def texts(value: Any) -> Iterator[str]:
    """Every text inside blocks, in reading order."""
    if isinstance(value, list):
        for one in value:
            yield from texts(one)
    elif isinstance(value, dict):
        for name, one in value.items():
            if name in {"text", "alt_text"} and isinstance(one, str):
                yield one
            elif isinstance(one, (dict, list)):
                yield from texts(one)


def mrkdwn_of(value: Any) -> Iterator[str]:
    """Every text inside blocks that is read as mrkdwn."""
    if isinstance(value, list):
        for one in value:
            yield from mrkdwn_of(one)
    elif isinstance(value, dict):
        if value.get("type") == "mrkdwn":
            yield value["text"]
        for one in value.values():
            yield from mrkdwn_of(one)


def elements_of(blocks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The interactive elements of blocks, in order, each with the `block_id` of its block."""
    return [
        {**element, "block_id": block.get("block_id", "")}
        for block in blocks
        for element in held(block)
        if "action_id" in element
    ]
