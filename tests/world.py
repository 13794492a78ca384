"""A whole installation without Slack: estate, settings, database, engine. People act through stored intents."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bot.app import Engine, build_engine, declared_rows
from bot.contracts.command import Answer
from bot.core.policy import Membership, Person, PersonKind, Policy
from bot.core.rotation import Rotation, Stage
from bot.engine.apply import apply
from bot.engine.intake import Heard
from bot.engine.worker import of_json
from bot.settings import read_environment, read_settings
from bot.store.clock import Clock
from bot.store.database import Database
from bot.store.records import AuditRow
from playground.estate import Estate
from playground.installation import TEAM, settings_of, text_of

GROUPS = {
    "sec-oncall": frozenset({"bob", "carol"}),
    "platform": frozenset({"alice", "erin", "dave"}),
}

SELDOM = 0.1
"""Seconds between two looks while nothing is committed."""


class Colleagues:
    """A directory in which every declared person is a member and the groups are those of the playground's seed."""

    def __init__(self, policy: Policy, groups: Membership) -> None:
        self._policy = policy
        self.members = dict(groups)

    def person(self, account: str) -> Person:
        declared = {person.id for person in self._policy.people}
        person = self._policy.resolve_person(account)
        return self._policy.resolve_person(account, kind=PersonKind.MEMBER) if person.id in declared else person

    def known(self, account: str) -> Person | None:
        return self.person(account)

    def groups(self, names: Collection[str]) -> Mapping[str, frozenset[str] | None]:
        return {name: self.members.get(name) for name in names}

    def remembered(self, names: Collection[str]) -> Mapping[str, frozenset[str] | None]:
        return self.groups(names)


class World:
    """One installation. `say` types a word as a person and returns the answer."""

    def __init__(self, engine: Engine, estate: Estate, people: Colleagues) -> None:
        self.engine = engine
        self.estate = estate
        self.people = people
        self.database = engine.database
        self._keys = itertools.count()
        self._changed = threading.Event()
        self.database.after_commit.append(self._changed.set)

    def hear(self, person: str, words: str = "", **more: Any) -> int:
        """Store what a person says; the number of the intent."""
        account = f"slack:{TEAM}/U0{person.upper()}"
        key = more.pop("key", f"{person}-{next(self._keys)}-{time.monotonic_ns()}")
        receipt = self.engine.intake.hear(Heard(key=key, account=account, text=words, channel="C0OPS", **more))
        assert receipt.answer is None, f"{words} was answered at once"
        return receipt.number

    def ask(self, person: str, words: str) -> Answer:
        """A word that is answered at once."""
        account = f"slack:{TEAM}/U0{person.upper()}"
        receipt = self.engine.intake.hear(Heard(key=f"ask-{next(self._keys)}", account=account, text=words))
        assert receipt.answer is not None
        return receipt.answer

    def say(self, person: str, words: str = "", **more: Any) -> Answer:
        """Say something and wait for the worker's answer."""
        number = self.hear(person, words, **more)
        return self.answer(number)

    def answer(self, number: int) -> Answer:
        """The answer to an intent."""

        def look() -> Any:
            with self.database.read() as reader:
                row = reader.intent(number)
            return row.answer if row is not None else None

        return of_json(self.until(look, f"an answer to intent {number}"))

    def start(self, person: str = "alice", credential: str = "identity-signing") -> Rotation:
        """Start with every box ticked."""
        boxes = ("access", "incidents", "rollback-plan", "notified", "dashboard", "contacts")
        answer = self.say(person, f'start {credential} --reason "weekly"', confirmed=True, ticked=boxes)
        assert answer.good, answer.text
        assert answer.rotation is not None
        return self.rotation(answer.rotation)

    def rotation(self, number: int) -> Rotation:
        """As it stands in the database."""
        with self.database.read() as reader:
            rotation = reader.rotation(number)
        assert rotation is not None
        return rotation

    def audit(self, number: int) -> list[AuditRow]:
        """What the audit says about a rotation, oldest first."""
        with self.database.read() as reader:
            return [row for row in reader.audit_rows() if row.rotation == f"R-{number}"]

    def wait(self, number: int, ready: Callable[[Rotation], bool], timeout: float = 60.0) -> Rotation:
        """Wait until the rotation is as it should be; a held step fails at once, with what it says."""

        def look() -> Rotation | None:
            rotation = self.rotation(number)
            return rotation if ready(rotation) else None

        found: Rotation = self.until(look, lambda: describe(self.rotation(number)), timeout)
        return found

    def until(self, look: Callable[[], Any], what: str | Callable[[], str], timeout: float = 30.0) -> Any:
        """Look after every commit of this process, and now and then for what comes from elsewhere; with a deadline."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            self._changed.clear()
            found = look()
            if found:
                return found
            self._changed.wait(SELDOM)
        raise AssertionError(f"timed out waiting: {what() if callable(what) else what}")


def describe(rotation: Rotation) -> str:
    """For failing tests: where it stands and why."""
    lines = [f"{rotation.id} {rotation.state} overlap {rotation.overlap} {rotation.outcome}"]
    for planned, run in zip(rotation.plan.steps, rotation.steps, strict=True):
        lines.append(
            f"  {planned.id}: {run.stage} attempt {run.attempt} failures {run.failures} "
            f"{'undoing ' if run.undoing else ''}{run.evidence} {run.problem} {run.hint}"
        )
    return "\n".join(lines)


def held(rotation: Rotation) -> bool:
    """Whether a step waits for people."""
    return any(run.stage is Stage.HELD for run in rotation.steps)


def make_engine(database_url: str, estate: Estate, folder: Path, **changes: Any) -> tuple[Engine, Colleagues]:
    """An engine on a migrated database, settings applied, not started."""
    settings = read_settings(
        text_of(settings_of(estate, **changes)),
        read_environment({"KEYTURN_DATABASE_URL": database_url, "KEYTURN_KEYS": str(folder / "keys")}),
        file="keyturn.yml",
        folder=folder,
    )
    clock = settings.declared.clock
    from datetime import UTC, datetime

    anchor = datetime.fromtimestamp(clock.anchor, UTC) if clock.anchor is not None else None
    database = Database.open(database_url, Clock(clock.rate, anchor))
    database.migrate()
    apply(database, declared_rows(settings), settings.config_hash)
    people = Colleagues(settings.policy, GROUPS)
    return build_engine(settings, database, people), people


@contextmanager
def running(database_url: str, estate: Estate, folder: Path, **changes: Any) -> Iterator[World]:
    """A started world."""
    engine, people = make_engine(database_url, estate, folder, **changes)
    engine.start(workers=8)
    try:
        yield World(engine, estate, people)
    finally:
        engine.stop()
