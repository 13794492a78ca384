"""The engine without Slack, and people who use words on it as the command line does."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bot.app import Bot
from bot.contracts.command import Answer, Call, Need
from bot.core.policy import PersonKind
from bot.core.rotation import Rotation
from bot.core.words import parse
from bot.settings import read_environment, read_settings
from tests.core.reviewed import as_reviewed

RUNBOOK = """\
runbook: by-hand
summary: A rotation that people do with their own hands, for the tests of the words.
author: platform
rollback_within: 10m
before: [notified]
steps:
  - {id: first, ask: "Is the new one in place?"}
  - {id: second, ask: "Is the new one in use?"}
retire:
  - {id: third, ask: "Is the old one gone?"}
trouble:
  - {id: lost, when: Nobody knows where it is, advice: Look into the safe.}
"""
SETTINGS = """\
people:
  alice: {os: alice}
  bob: {os: bob}
  carol: {os: carol}
groups: {sec-oncall: {members: [bob, carol]}}
roles:
  operators:
    who: [alice, bob, carol]
    may: [see, start, tick, advance, retry, skip, cancel, rollback, repair, snooze, own, record]
policies:
  - {approvers: 1, from: [sec-oncall]}
credentials:
  - {name: door-key, environment: production, class: key, owner: alice, runbook: by-hand, cadence: 7d}
  - {name: shed-key, environment: staging, class: key, owner: bob, runbook: by-hand, cadence: 14d}
runbooks: [runbooks]
"""


@dataclass
class Desk:
    """The engine and a way to say words to it."""

    bot: Bot

    def say(self, user: str, text: str, *, confirmed: bool = False, ticked: tuple[str, ...] = ()) -> Answer:
        """Use a word as in Slack, where votes count; raises `Refused` as the command does."""
        board = self.bot.engine.board
        words = board.words()
        typed = parse(text, {word: getattr(command, "flags", {}) for word, command in words.items()})
        person = self.bot.settings.policy.resolve_person(f"os:{user}", kind=PersonKind.MEMBER)
        command = words[typed.word]
        assert isinstance(command.need, Need)
        with self.bot.database.read() as reader:
            bound = reader.binding(1) if typed.word in ("approve", "reject") else None
        call = Call(
            typed.word,
            command.need,
            person,
            typed.args,
            typed.flags,
            surface="slack",
            bound=bound or {},
            confirmed=confirmed,
            ticked=ticked,
        )
        said = command.run(call, board)
        assert isinstance(said, Answer)
        return said

    def open(self) -> Answer:
        """Alice opens R-1 with a complete checklist."""
        return self.say("alice", 'start door-key --reason "weekly"', confirmed=True, ticked=("notified",))

    def rotation(self) -> Rotation:
        """R-1 as it is stored."""
        with self.bot.database.read() as reader:
            found = reader.rotation(1)
        assert found is not None
        return found

    def wait(self, holds: Callable[[Rotation], bool]) -> Rotation:
        """Until the engine has brought R-1 there."""
        deadline = time.monotonic() + 10
        while not holds(found := self.rotation()):
            assert time.monotonic() < deadline, f"{found.state} {[run.stage for run in found.steps]}"
            time.sleep(0.01)
        return found

    def asking(self, step: int) -> Rotation:
        """Until a step asks."""
        return self.wait(lambda found: found.steps[step].stage.value == "asking")


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """A running engine without Slack."""
    (tmp_path / "runbooks").mkdir()
    (tmp_path / "runbooks" / "by-hand.yaml").write_text(as_reviewed(RUNBOOK))
    environ = {"KEYTURN_DATABASE_URL": f"sqlite:///{tmp_path / 'keyturn.db'}", "KEYTURN_KEYS": str(tmp_path / "keys")}
    settings = read_settings(SETTINGS, read_environment(environ), file="keyturn.yml", folder=tmp_path)
    bot = Bot(settings, slack=False)
    bot.engine.start()
    yield Desk(bot)
    bot.engine.stop()
