"""The Slack room put together: Bolt app, socket or WSGI, messenger, Home, and how they start and stop."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from slack_bolt import App
from slack_bolt.authorization import AuthorizeResult
from slack_sdk import WebClient

from bot.contracts.command import Rotations
from bot.core.errors import KeyturnError, Permanent, Transient
from bot.engine.arrivals import recipients
from bot.engine.intake import Intake
from bot.slack.api import SlackApi, quiet_logger
from bot.slack.budget import Budget
from bot.slack.completion import StepEnder
from bot.slack.drawings import Drawer
from bot.slack.flood import COUNTED_SECONDS, Flood
from bot.slack.homes import Homes
from bot.slack.identity import Identity
from bot.slack.incident_room import IncidentRoom
from bot.slack.lane import Lane
from bot.slack.listeners import Listeners
from bot.slack.messenger import Messenger
from bot.slack.names import Roster
from bot.slack.notices import Teller
from bot.slack.people import SlackPeople
from bot.slack.socket_mode import SlackSocket
from bot.slack.web import Front
from bot.store.database import Database

if TYPE_CHECKING:
    from bot.settings import Settings

log = logging.getLogger(__name__)
QUICK_SECONDS = 3.0
LEARN_AGAIN_SECONDS = 5.0


class Room:
    """Everything of Slack for one process. `flood` may be replaced where a benchmark asks more than people do."""

    def __init__(
        self,
        settings: Settings,
        intake: Intake,
        database: Database,
        people: SlackPeople,
        rotations: Rotations,
        *,
        flood: Flood | None = None,
    ) -> None:
        environment, declared = settings.environment, settings.declared
        environment.require_slack()
        token = environment.bot_token
        assert token is not None  # require_slack saw to it
        self._intake = intake
        self._database = database
        self._identity: Identity = people.identity
        self._flood = flood or Flood()
        self._lane = Lane()
        names = Roster(settings.policy.people)
        self.budget = budget = Budget(declared.slack.edits_per_minute)
        """What may be sent to Slack now."""
        self._homes = Homes(people.api, rotations, people, settings.policy, self._wake, budget)
        incidents = IncidentRoom(
            database,
            people.api,
            people.identity,
            budget,
            names,
            people,
            settings.incidents,
            settings.policy.groups,
        )
        ender = StepEnder(database, people.api, budget)
        self._messenger = Messenger(
            database,
            Drawer(database, people.api, people.identity, budget, names, incidents, ender),
            Teller(
                database,
                people.api,
                people.identity,
                budget,
                names,
                lambda: _with_form(rotations),
                ender,
                lambda: recipients(database, settings.policy, people, settings.channels, settings.reminders.route),
            ),
            chores=(self._homes.chore, self._report_floods, self._learn),
            drawn=self._homes.changed,
            probe=people.identity.learn,
        )
        self._app = _bolt(environment.slack_api_url, people.identity)
        Listeners(
            intake,
            rotations,
            people,
            database,
            rotations.words,
            people.identity,
            self._lane,
            SlackApi(token.reveal_text(), environment.slack_api_url, QUICK_SECONDS),
            self._flood,
            self._homes.opened,
            people.forget,
        ).attach(self._app)
        self._socket: SlackSocket | None = None
        self._front: Front | None = None
        if environment.transport.value == "http":
            assert environment.signing_secret is not None  # require_slack saw to it
            self._front = Front(self._app, environment.signing_secret, self._flood)
        else:
            assert environment.app_token is not None  # require_slack saw to it
            url = environment.slack_api_url
            self._socket = SlackSocket(self._app, environment.app_token, url, self._messenger.reconnected)
        self._lock = threading.Lock()

    @property
    def bolt(self) -> App:
        """The Bolt app, for benchmarks."""
        return self._app

    def start(self) -> None:
        """Begin. Raises `Permanent` for a token that Slack refuses; where Slack is away the room goes on trying."""
        try:
            self._identity.learn()
        except Transient as error:
            log.warning("Slack is not there yet: %s", error)
        self._database.after_commit += [self._homes.changed, self._messenger.wake]
        self._messenger.start()
        if self._socket is not None:
            self._socket.start()

    def stop(self) -> None:
        """Hear nothing new, finish what is in hand, keep the rest as rows."""
        if self._socket is not None:
            self._socket.stop()
        for hook in (self._homes.changed, self._messenger.wake):
            if hook in self._database.after_commit:
                self._database.after_commit.remove(hook)
        self._messenger.stop()
        self._lane.close()
        self._report_floods(now=True)

    def wsgi(self) -> Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]] | None:
        """The application for `/slack/events`; None in Socket Mode."""
        return self._front

    def connected(self) -> bool:
        """Whether Slack can reach the bot, as far as one can know."""
        if self._socket is not None:
            return self._socket.connected
        return self._identity.workspace is not None

    def seconds_since_frame(self) -> float | None:
        """Since Slack's socket last said anything; None over HTTP."""
        return self._socket.seconds_since_frame() if self._socket is not None else None

    def _wake(self) -> None:
        self._messenger.wake()

    def _learn(self) -> float:
        """Chore: learn who we are when Slack was away at the start."""
        if self._identity.workspace is not None:
            return COUNTED_SECONDS
        try:
            self._identity.learn()
        except Transient:
            return LEARN_AGAIN_SECONDS
        except Permanent as error:
            log.error("%s %s", error, error.hint)
            return COUNTED_SECONDS
        return COUNTED_SECONDS

    def _report_floods(self, *, now: bool = False) -> float:
        """Chore: one audit row per source and minute for what was not listened to."""
        for source, count in self._flood.drain(now=now).items():
            try:
                if source.startswith("http:"):
                    self._intake.forged(source, count, "signature or time wrong")
                else:
                    self._intake.flooded(source, count)
            except KeyturnError as error:
                log.warning("%d refused requests of %s are not in the audit: %s", count, source, error)
        return COUNTED_SECONDS / 4


def _with_form(rotations: Rotations) -> frozenset[str]:
    return frozenset(word for word, command in rotations.words().items() if getattr(command, "form", False))


def _bolt(url: str, identity: Identity) -> App:
    """A Bolt app that holds no token, asks Slack nothing, and answers only when the listener is done."""
    quiet = quiet_logger().getChild("bolt")
    quiet.setLevel(logging.ERROR)  # below it, Bolt writes bodies of requests that it does not know

    def authorize(enterprise_id: str | None, team_id: str | None) -> AuthorizeResult:
        home = identity.workspace
        return AuthorizeResult(
            enterprise_id=enterprise_id, team_id=team_id, bot_user_id=home.bot_user if home is not None else None
        )

    return App(
        name="keyturn",
        logger=quiet,
        process_before_response=True,
        client=WebClient(base_url=url, logger=quiet),
        authorize=authorize,
        signing_secret="checked in bot.slack.web",  # noqa: S106 - a remark: `Front` checks signatures, Bolt does not
        request_verification_enabled=False,
        attaching_function_token_enabled=False,
        ignoring_self_assistant_message_events_enabled=False,
    )
