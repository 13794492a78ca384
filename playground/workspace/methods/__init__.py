"""What each Web API method does once the door has let the call in; one file per family."""

from playground.workspace.methods import app, chat, conversations, people, shelf, views, workflow
from playground.workspace.methods.registry import HANDLERS

__all__ = ["HANDLERS", "app", "chat", "conversations", "people", "shelf", "views", "workflow"]
