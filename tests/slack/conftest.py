"""A real bot in a strict workspace: engine, store and room as they run, with a runbook that needs no system."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

from bot.app import Bot
from bot.settings import Settings, read_environment, read_settings
from bot.slack.manifest import FILES
from bot.slack.room import Room
from playground.workspace.courier import RETRY_DELAYS
from playground.workspace.records import Message, View
from playground.workspace.seed import Seed
from playground.workspace.workspace import Workspace
from tests.pace import hurry

ROOT = Path(__file__).parents[2]
Found = TypeVar("Found")

RUNBOOK = """\
runbook: by-hand
summary: A rotation that people do with their own hands, for the tests of the Slack room.
author: platform
rollback_within: 10m
before: [notified]
steps:
  - {id: first, ask: "Is the new one in place?"}
  - {id: second, ask: "Is the new one in use?", skip: second-person}
retire:
  - {id: third, ask: "Is the old one gone?"}
trouble:
  - {id: lost, when: Nobody knows where it is, advice: Look into the safe.}
"""

EMERGENCY = """\
emergency:
  order: replace-first
  steps:
    - {id: new-one, ask: "Is there a new one?"}
    - {id: lock-out, ask: "Is the suspected one locked out?"}
    - {id: refused, ask: "Is it refused everywhere?"}
  otherwise: [lock-out, new-one, refused]
  contained: lock-out
  costs:
    replace-first: {outage: None worth naming., exposure: Open until the second step.}
    contain-first: {outage: Doors stay shut for minutes., exposure: Over at once.}
"""

SETTINGS = """\
people:
  alice: {{slack: U0ALICE, name: Alice Amari}}
  bob: {{slack: U0BOB, name: Bob Berg}}
  carol: {{slack: U0CAROL}}
  dave: {{slack: U0DAVE}}
groups:
  sec-oncall: {{slack: S0SECONCALL}}
channels: {{default: {channel}}}
roles:
  operators:
    who: everyone
    may: [see, start, tick, advance, retry, skip, cancel, rollback, repair, snooze, own, record]
policies:
  - {{approvers: 1, from: [sec-oncall]}}
credentials:
  - {{name: door-key, environment: production, class: key, owner: alice, runbook: by-hand, cadence: 7d}}
  - {{name: shed-key, environment: staging, class: key, owner: bob, runbook: by-hand, cadence: 14d}}
runbooks: [runbooks]
slack: {{edits_per_minute: {edits}}}
"""


@dataclass
class House:
    """A workspace and the bot in it."""

    workspace: Workspace
    folder: Path
    settings: Settings
    bot: Bot

    def begin(self) -> None:
        """Start the bot."""
        self.bot.start()
        if self.room.wsgi() is None and self.workspace.faults.outage is None:
            self.workspace.wait_connected()

    def restart(self) -> None:
        """Stop the bot and start another life of it."""
        self.bot.stop()
        self.bot = Bot(self.settings)
        self.begin()

    @property
    def room(self) -> Room:
        """The bot's Slack room."""
        assert self.bot.room is not None
        return self.bot.room

    def wait(self, predicate: Callable[[], Found | None], what: str = "", timeout: float = 10.0) -> Found:
        """The first truthy answer, asked at every change in the workspace and now and then."""
        deadline = time.monotonic() + timeout
        while True:
            found = predicate()
            if found:
                return found
            if time.monotonic() > deadline:
                raise TimeoutError(f"{what or 'it'} did not happen\n{self.workspace.describe()}")
            with self.workspace.state.changed:
                self.workspace.state.changed.wait(0.05)

    def card(self, number: int = 1, channel: str = "ops") -> Message | None:
        """The card of a rotation, as everybody sees it."""
        wanted = {"rotation": f"R-{number}", "form": "card"}
        found = [one for one in self.workspace.messages(channel) if (one.metadata or {}).get("event_payload") == wanted]
        assert len(found) <= 1, "a card was posted twice"
        return found[0] if found else None

    def shows(self, text: str, number: int = 1) -> Message:
        """Wait until the card says something."""

        def look() -> Message | None:
            card = self.card(number)
            return card if card is not None and text in card.words else None

        return self.wait(look, f"{text!r} on the card of R-{number}")

    def told(self, user: str, text: str) -> Message:
        """Wait until a person was shown something alone."""

        def look() -> Message | None:
            return next((one for one in reversed(self.workspace.ephemerals(user)) if text in one.words), None)

        return self.wait(look, f"{text!r} told to {user}")

    def modal(self, user: str, title: str) -> View:
        """Wait for a person's modal."""

        def look() -> View | None:
            view = self.workspace.view(user)
            return view if view is not None and title in view.title else None

        return self.wait(look, f"a modal {title!r} for {user}")

    def start(self, user: str = "alice", reason: str = "weekly", tick: bool = True) -> Message:
        """Type the start, look at the plan, submit the form; the card."""
        before = len([one for one in self.workspace.messages("ops") if one.metadata])
        self.workspace.type(user, "ops", f'/rotate start door-key --reason "{reason}"')
        self.modal(user, "Rotate door-key")
        self.workspace.submit(user, {"boxes": ["notified"]} if tick else {})
        return self.wait(lambda: self._known(_newest(self.workspace.messages("ops"), before)), "a card")

    def revoke(self, user: str = "alice", order: str = "", reason: str = "seen in a public log") -> Message:
        """Type the revocation, choose the order, submit the form; the card."""
        before = len([one for one in self.workspace.messages("ops") if one.metadata])
        self.workspace.type(user, "ops", f'/rotate revoke door-key --reason "{reason}"')
        form = self.modal(user, "Revoke door-key")
        if order and f"Steps, {order}" not in form.words:
            self.workspace.click(user, form, "rotate-order", order)
            self.wait(lambda: f"Steps, {order}" in self.modal(user, "Revoke door-key").words, "the other plan")
        self.workspace.submit(user)
        return self.wait(lambda: self._known(_newest(self.workspace.messages("ops"), before)), "a card")

    def _known(self, card: Message | None) -> Message | None:
        """The card once the bot knows its name: before that, no click on it counts."""
        if card is None:
            return None
        with self.bot.database.read() as reader:
            return card if reader.drawing_at(card.channel, card.ts) is not None else None

    def audit(self) -> list[tuple[str, str]]:
        """(event, actor) of the whole audit, oldest first."""
        with self.bot.database.read() as reader:
            return [(one.event, one.actor) for one in reader.audit_rows()]


def _newest(messages: list[Message], before: int) -> Message | None:
    cards = [one for one in messages if one.metadata]
    return cards[-1] if len(cards) > before else None


Opener = Callable[..., House]


@pytest.fixture
def open_house(tmp_path: Path, sqlite_template: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Opener]:
    """Opens houses: `open_house(transport="http", scopes=…, rate_factor=…)`.

    Where the workspace sets no limits, the bot does not wait for any either unless it is `paced`.
    """
    opened: list[House] = []
    spaces: list[Workspace] = []

    def open_one(
        *,
        transport: str = "socket",
        channel: str = "C0OPS",
        edits: int = 50,
        declined: tuple[str, ...] = (),
        rate_factor: float = 0.0,
        paced: bool = False,
        start: bool = True,
        revoke: str = "",
        more: str = "",
        seed: Seed | None = None,
        signers: Mapping[str, str] | None = None,
        retry_delays: Sequence[float] = RETRY_DELAYS,
    ) -> House:
        """`revoke` is the policy of revocations as YAML, without which nobody may revoke; `more` are settings."""
        if not (rate_factor or paced):
            hurry(monkeypatch, edits=True)
        folder = tmp_path / f"house{len(opened)}"
        (folder / "runbooks").mkdir(parents=True)
        (folder / "runbooks" / "by-hand.yaml").write_text(RUNBOOK + (EMERGENCY if revoke else ""))
        shutil.copyfile(sqlite_template, folder / "keyturn.db")
        port = _free_port() if transport == "http" else 0
        workspace = Workspace.start(
            manifest=ROOT / FILES["http" if transport == "http" else "socket"],
            declined=declined,
            rate_factor=rate_factor,
            seed=seed,
            retry_delays=retry_delays,
            request_url=f"http://127.0.0.1:{port}/slack/events" if transport == "http" else None,
        )
        spaces.append(workspace)
        environ = {
            **workspace.environment(),
            "KEYTURN_DATABASE_URL": f"sqlite:///{folder / 'keyturn.db'}",
            "KEYTURN_KEYS": str(folder / "keys"),
            "KEYTURN_HTTP": f"127.0.0.1:{port}",
            "KEYTURN_TRANSPORT": transport,
        }
        text = SETTINGS.format(channel=channel, edits=edits) + more
        if revoke:
            text = text.replace("see, start,", "see, start, revoke,")
            text = text.replace("policies:\n", f"policies:\n  - {{words: [revoke], {revoke}}}\n")
        if signers is not None:
            (folder / "allowed_signers").write_text("".join(f"{name} {key}\n" for name, key in signers.items()))
            text += "signers: allowed_signers\n"
        settings = read_settings(text, read_environment(environ), file="keyturn.yml", folder=folder)
        house = House(workspace, folder, settings, Bot(settings))
        opened.append(house)
        if start:
            house.begin()
        return house

    yield open_one
    for house in opened:
        house.bot.stop()
    for workspace in spaces:
        workspace.close()


@pytest.fixture
def workspace() -> Iterator[Workspace]:
    """A workspace alone, without a bot in it."""
    with Workspace.start(manifest=ROOT / FILES["socket"], rate_factor=0.0) as started:
        yield started


@pytest.fixture
def house(open_house: Opener) -> House:
    """A bot over Socket Mode."""
    return open_house()


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
