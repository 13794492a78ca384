"""A strict Slack workspace on your own machine: Web API, Socket Mode, signed HTTP, and a page to play in."""

from playground.workspace.crowd import Rush, together
from playground.workspace.intruder import FORGERIES
from playground.workspace.kinds import KINDS
from playground.workspace.records import Call, Delivery, Message, View
from playground.workspace.seed import App, Channel, Group, Seed, User
from playground.workspace.workspace import NotAccepted, NotVisible, Tokens, Workspace

__all__ = [
    "FORGERIES",
    "KINDS",
    "App",
    "Call",
    "Channel",
    "Delivery",
    "Group",
    "Message",
    "NotAccepted",
    "NotVisible",
    "Rush",
    "Seed",
    "Tokens",
    "User",
    "View",
    "Workspace",
    "together",
]
