"""What settings say about incidents: the channel, whom to invite, and the errands that are run beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from urllib.parse import quote


@dataclass(frozen=True, slots=True)
class Errand:
    """An adapter's operation that is run once for an incident, such as opening a ticket."""

    do: str
    """`github.open_issue`."""
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Incidents:
    """How incidents are run here."""

    prefix: str = "inc"
    """What the names of their channels begin with."""
    invite: tuple[str, ...] = ()
    """People, groups and `owner`, in the order of the settings."""
    nudge: timedelta = timedelta(minutes=15)
    """After how long a silence the channel is asked for an update."""
    runbooks: str = ""
    """Where people read the runbooks, with `{runbook}` in place of its page's name; empty where nowhere."""
    ticket: Errand | None = None
    page: Errand | None = None

    def address_of(self, runbook: str) -> str:
        """Where people read the page of this name; empty where nowhere."""
        return self.runbooks.replace("{runbook}", quote(runbook, safe=""))
