"""Kinds of people that a policy has to tell apart, each made with the fields by which Slack tells them apart."""

from __future__ import annotations

from typing import Any

from playground.workspace.seed import User

KINDS: dict[str, dict[str, Any]] = {
    "member": {},
    "guest": {"is_restricted": True},
    "single-channel guest": {"is_ultra_restricted": True},
    "deactivated": {"deleted": True},
    "bot": {"is_bot": True},
    "workflow bot": {"is_bot": True, "is_workflow_bot": True},
    "other workspace": {"team_id": "T0PARTNER"},
}
"""By name, what is special about each. Somebody of another workspace in no channel with the app is a stranger."""


def user_of(kind: str, name: str = "") -> User:
    """Somebody new of a kind. Raises KeyError."""
    return User(name or kind.replace(" ", "-"), **KINDS[kind])
