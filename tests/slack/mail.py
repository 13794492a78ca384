"""The inventory's reminders on their way: a messenger as it runs, in a strict workspace, on a clock that tests move."""

from __future__ import annotations

from datetime import timedelta

from bot.slack.api import SlackApi
from bot.slack.budget import Budget
from bot.slack.completion import StepEnder
from bot.slack.drawings import Drawer
from bot.slack.identity import Identity
from bot.slack.incident_room import IncidentRoom
from bot.slack.messenger import Messenger
from bot.slack.names import Roster
from bot.slack.notices import Teller
from playground.workspace.records import Message
from playground.workspace.workspace import Workspace
from tests.engine.keeping_stage import Keep

NOBODY_LISTENS = "http://127.0.0.1:9/api/"
"""The port of `discard`, where connections are refused."""


class Mail:
    """A life of the messenger beside the lanes of an inventory."""

    def __init__(self, keep: Keep, workspace: Workspace, url: str = "", timeout: float = 10.0) -> None:
        self.keep = keep
        self.workspace = workspace
        self.seconds = 0.0
        api = SlackApi(workspace.bot_token, url or workspace.api_url, timeout)
        identity = Identity(api)
        budget = Budget(monotonic=lambda: self.seconds)
        names = Roster(keep.policy.people)
        ender = StepEnder(keep.database, api, budget)
        incidents = keep.database, api, identity, budget, names, keep.people
        room = IncidentRoom(*incidents, rules=None, groups=())  # type: ignore[arg-type]  # no incident is opened here
        self.messenger = Messenger(
            keep.database,
            Drawer(keep.database, api, identity, budget, names, room, ender),
            Teller(keep.database, api, identity, budget, names, tuple, ender, keep.reminders.recipients),
            probe=identity.learn,
            monotonic=lambda: self.seconds,
        )

    def turn(self) -> None:
        """Look at what is due, and send it; a second passes between two messages to one place."""
        for _ in range(10):
            self.keep.turn()
            self.messenger.turn()
            self.pass_seconds(2)

    def pass_seconds(self, seconds: float) -> None:
        self.seconds += seconds
        self.keep.database.clock.advance(timedelta(seconds=seconds))

    def pass_hours(self, hours: float, each: float = 30.0) -> None:
        """So many minutes at a time, as a running bot does."""
        for _ in range(round(hours * 60 / each)):
            self.keep.turn()
            self.messenger.turn()
            self.pass_seconds(each * 60)

    def read(self, user: str) -> list[Message]:
        """What the bot has written to a person."""
        return [one for one in self.workspace.direct_messages(user) if one.metadata]
