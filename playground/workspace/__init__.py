"""A strict Slack workspace on your own machine: Web API, Socket Mode, signed HTTP, and a page to play in."""

from playground.workspace.seed import App, Channel, Group, Seed, User
from playground.workspace.workspace import NotAccepted, NotVisible, Tokens, Workspace

__all__ = ["App", "Channel", "Group", "NotAccepted", "NotVisible", "Seed", "Tokens", "User", "Workspace"]
