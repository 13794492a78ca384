"""A strict Slack workspace on your own machine: Web API, Socket Mode, signed HTTP, and a page to play in."""

from playground.workspace.records import Call, Delivery, Message, View
from playground.workspace.seed import App, Channel, Group, Seed, User
from playground.workspace.workspace import NotAccepted, NotVisible, Tokens, Workspace

__all__ = [
    "App",
    "Call",
    "Channel",
    "Delivery",
    "Group",
    "Message",
    "NotAccepted",
    "NotVisible",
    "Seed",
    "Tokens",
    "User",
    "View",
    "Workspace",
]
