"""A town to tell stories in: the workspace, the estate and the bot between them, in this process or as its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from bot.app import Bot
from bot.core.rotation import Rotation, Stage
from bot.settings import read_environment, read_settings
from bot.store.clock import Clock
from bot.store.database import Database
from bot.store.records import AuditRow
from playground.estate import Estate
from playground.installation import settings_of, text_of
from playground.launch import free_port
from playground.workspace.records import Message, View
from playground.workspace.workspace import Workspace
from tests.world import describe

ROOT = Path(__file__).parents[2]
BOXES = ("access", "incidents", "rollback-plan", "notified", "dashboard", "contacts")
BRISK: Mapping[str, Any] = {
    "rate": 2400.0,
    "token_life": 3600,
    "jwks_max_age": 300,
    "clients": 4,
    "calls_per_second": 40.0,
}
"""Arguments of an estate in which a whole rotation takes some four seconds; a stalled machine may fail a login."""
Found = TypeVar("Found")


@dataclass
class Process:
    """`keyturn …` as a process of its own, its output in a file."""

    words: tuple[str, ...]
    environ: dict[str, str]
    log: Path
    popen: subprocess.Popen[bytes] = field(init=False)

    def __post_init__(self) -> None:
        with self.log.open("ab") as log:
            self.popen = subprocess.Popen(
                [sys.executable, "-m", "bot", *self.words],
                env=clean_environment() | self.environ,
                cwd=ROOT,
                stdout=log,
                stderr=log,
            )

    @property
    def url(self) -> str:
        """Where its health is."""
        return f"http://{self.environ['KEYTURN_HTTP']}"

    def wait_ready(self, timeout: float = 40.0) -> Process:
        """Wait until it is ready."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            assert self.popen.poll() is None, self.log.read_text()
            try:
                with urllib.request.urlopen(f"{self.url}/readyz", timeout=2) as answer:
                    if answer.status == 200:
                        return self
            except (urllib.error.URLError, OSError):
                pass
            time.sleep(0.05)
        raise AssertionError(f"not ready:\n{self.log.read_text()}")

    def kill(self) -> None:
        """kill -9."""
        self.popen.send_signal(signal.SIGKILL)
        self.popen.wait(10)

    def stop(self) -> None:
        """End it, in good order where it still runs."""
        if self.popen.poll() is None:
            self.popen.terminate()
            try:
                self.popen.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()


def clean_environment() -> dict[str, str]:
    """This process's variables without anything of keyturn's or Slack's."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("KEYTURN_", "SLACK_"))}


class Town:
    """Everything at once. People act through the workspace; what became of it is looked up where it stands."""

    def __init__(
        self,
        folder: Path,
        workspace: Workspace,
        estate: Estate,
        database_url: str,
        *,
        watched: str = "30m",
        change: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        self.folder, self.workspace, self.estate = folder, workspace, estate
        declared = settings_of(estate, watched=watched)
        if change is not None:
            change(declared)
        config = folder / "keyturn.yml"
        config.write_text(text_of(declared))
        self.environ = {
            **workspace.environment(),
            "KEYTURN_DATABASE_URL": database_url,
            "KEYTURN_CONFIG": str(config),
            "KEYTURN_KEYS": str(folder / "keys"),
            "KEYTURN_HTTP": "127.0.0.1:0",
        }
        self.bot: Bot | None = None
        self.processes: list[Process] = []
        self._database: Database | None = None

    # --- the bot ------------------------------------------------------------------------------------------------------

    def begin(self) -> Bot:
        """Start the bot in this process."""
        config = Path(self.environ["KEYTURN_CONFIG"])
        environment = read_environment(self.environ)
        settings = read_settings(config.read_text(), environment, file=str(config), folder=self.folder)
        self.bot = Bot(settings)
        self.bot.start()
        self.workspace.wait_connected()
        return self.bot

    def run(self, *words: str, **environ: str) -> Process:
        """Start `keyturn …` as a process with a port of its own for its health."""
        here = self.environ | {"KEYTURN_HTTP": f"127.0.0.1:{free_port()}"} | environ
        self.processes.append(Process(words or ("serve",), here, self.folder / f"bot-{len(self.processes)}.log"))
        return self.processes[-1]

    def keyturn(self, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run `keyturn …` to its end."""
        return subprocess.run(
            [sys.executable, "-m", "bot", *words],
            env=clean_environment() | self.environ | environ,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=90,
        )

    def close(self) -> None:
        """Stop the bot, wherever it runs."""
        self.estate.heal()
        self.workspace.faults.clear()
        if self.bot is not None:
            self.bot.stop()
        for process in self.processes:
            process.stop()
        if self._database is not None:
            self._database.close()

    @property
    def database(self) -> Database:
        """The bot's database, for looking."""
        if self.bot is not None:
            return self.bot.database
        if self._database is None:
            self._database = Database.open(self.environ["KEYTURN_DATABASE_URL"], Clock(), connections=4)
        return self._database

    # --- people -------------------------------------------------------------------------------------------------------

    def type(self, user: str, words: str, channel: str = "ops") -> None:
        """Type `/rotate …`."""
        delivery = self.workspace.type(user, channel, f"/rotate {words}")
        assert delivery.acked, f"{words}: {delivery.error}"

    def ask(self, user: str, words: str, expect: str) -> Message:
        """Type it, and wait until the person alone is told this."""
        before = len(self.workspace.ephemerals(user))
        self.type(user, words)
        return self.told(user, expect, before)

    def told(self, user: str, text: str, since: int = 0) -> Message:
        """Wait until a person was shown something alone."""

        def look() -> Message | None:
            return next((one for one in self.workspace.ephemerals(user)[since:] if text in one.words), None)

        def seen() -> str:
            said = [one.words for one in self.workspace.ephemerals(user)[since:]]
            return f"{text!r} told to {user}, who heard {said}, notices {self.workspace.notices(user)}"

        return self.until(look, seen, 15)

    def modal(self, user: str, text: str) -> View:
        """Wait for a person's modal that says this."""

        def look() -> View | None:
            view = self.workspace.view(user)
            return view if view is not None and text in view.words else None

        return self.until(look, lambda: f"a modal with {text!r} for {user}: {self.workspace.view(user)}", 15)

    def start(
        self, user: str = "alice", credential: str = "identity-signing", *, tick: bool = True, reason: str = "weekly"
    ) -> int:
        """Type the start, look at the plan, tick what is open, submit; the rotation's number."""
        with self.database.read() as reader:
            known = {row.number for row in reader.rotations(limit=100)}
        self.type(user, f'start {credential} --reason "{reason}"')
        view = self.modal(user, f"Rotate {credential}")
        self.workspace.submit(user, {"boxes": open_boxes(view)} if tick else {})

        def look() -> int | None:
            with self.database.read() as reader:
                return next((row.number for row in reader.rotations(limit=100) if row.number not in known), None)

        return self.until(look, "a new rotation", 15)

    def click(self, user: str, number: int, action: str, **more: Any) -> None:
        """Press a button on the card as soon as it stands there."""
        card = self.until(
            lambda: (found := self.card(number)) and (found if f"rotate:{action}" in found.buttons else None),
            lambda: f"a button {action} on {(found := self.card(number)) and found.buttons}\n{self.tell(number)}",
            15,
        )
        delivery = self.workspace.click(user, card, f"rotate:{action}", **more)
        assert delivery.acked, delivery.error

    def approve(self, number: int, user: str = "bob") -> None:
        """Approve on the card."""
        self.click(user, number, "approve")
        self.until(lambda: self.rotation(number).votes, lambda: self.tell(number), 15)

    def give_reason(self, user: str, number: int, action: str, reason: str) -> None:
        """Press a button that asks for a reason, and give one."""
        self.click(user, number, action)
        self.modal(user, f"This is about `R-{number}`")
        self.workspace.submit(user, {"reason": reason})

    # --- what is there ------------------------------------------------------------------------------------------------

    def rotation(self, number: int) -> Rotation:
        """As it stands in the database."""
        with self.database.read() as reader:
            rotation = reader.rotation(number)
        assert rotation is not None, f"there is no R-{number}"
        return rotation

    def stage(self, number: int, step: str) -> Stage:
        """Where one step stands."""
        rotation = self.rotation(number)
        return next(run.stage for p, run in zip(rotation.plan.steps, rotation.steps, strict=True) if p.id == step)

    def wait(self, number: int, ready: Callable[[Rotation], Any], timeout: float = 30.0) -> Rotation:
        """Wait until the rotation is as it should be."""
        return self.until(
            lambda: found if ready(found := self.rotation(number)) else None, lambda: self.tell(number), timeout
        )

    def cards(self, number: int, channel: str = "ops") -> list[Message]:
        """Every message that says it is the card of this rotation; there should be one."""
        wanted = {"rotation": f"R-{number}", "form": "card"}
        messages = self.workspace.messages(channel)
        return [one for one in messages if (one.metadata or {}).get("event_payload") == wanted]

    def card(self, number: int) -> Message | None:
        """The card, if it is there."""
        found = self.cards(number)
        assert len(found) <= 1, f"R-{number} has {len(found)} cards"
        if not found:
            return None
        with self.database.read() as reader:  # before the bot knows its name, no click on it counts
            return found[0] if reader.drawing_at(found[0].channel, found[0].ts) is not None else None

    def shows(self, number: int, *texts: str, timeout: float = 20.0) -> Message:
        """Wait until the card says all of this."""

        def look() -> Message | None:
            card = self.card(number)
            return card if card is not None and all(text in card.words for text in texts) else None

        def seen() -> str:
            card = self.card(number)
            return f"{texts} on the card:\n{card.words if card else 'there is none'}\n{self.tell(number)}"

        return self.until(look, seen, timeout)

    def log(self, number: int) -> str:
        """What stands in the thread below the card."""
        card = self.card(number)
        assert card is not None
        return "\n".join(one.words for one in self.workspace.thread("ops", card.ts))

    def audit(self, number: int | None = None) -> list[AuditRow]:
        """The audit, of one rotation if a number is given, oldest first."""
        with self.database.read() as reader:
            rows = list(reader.audit_rows())
        return [row for row in rows if number is None or row.rotation == f"R-{number}"]

    def events(self, number: int | None = None) -> list[str]:
        """Names of the audit's events, oldest first."""
        return [str(row.event) for row in self.audit(number)]

    def failures(self) -> int:
        """Failed logins so far."""
        assert self.estate.clients is not None
        return int(self.estate.clients.stats()["failures_total"])

    def tell(self, number: int) -> str:
        """For failing tests: where it stands and what Slack saw last."""
        return f"{describe(self.rotation(number))}\n{self.workspace.describe()}"

    @staticmethod
    def until(
        look: Callable[[], Found | None], what: str | Callable[[], str], timeout: float = 30.0, every: float = 0.02
    ) -> Found:
        """Poll with a deadline: changes come from other threads and processes."""
        deadline = time.monotonic() + timeout
        while True:
            found = look()
            if found:
                return found
            if time.monotonic() > deadline:
                raise AssertionError(f"timed out waiting: {what() if callable(what) else what}")
            time.sleep(every)


def open_boxes(view: View) -> list[str]:
    """Values of the boxes that the start form leaves to people."""
    return [
        option["value"] for one in view.elements if one["type"] == "checkboxes" for option in one.get("options", ())
    ]


def held(rotation: Rotation) -> bool:
    """Whether a step waits for people."""
    return any(run.stage is Stage.HELD for run in rotation.steps)
