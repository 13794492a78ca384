"""A year of an inventory: rotations, snoozes, owners that change, restarts and jumps of the clock, and what must hold.

`Year` acts and remembers; `judge` says afterwards what was not told, or was told twice.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from bot.core.reminders import Rules, snooze_budget, tiers
from bot.core.schedule import Dates
from bot.store.database import Database
from bot.store.reading import Reader
from bot.store.records import CredentialRow, Declared
from bot.store.tables import CREDENTIAL
from bot.store.writing import Transaction
from tests.engine.keeping_stage import DAY, PRODUCTION

OWNERS = ("alice", "bob", "carol", "dave", "platform")
CADENCES = (7 * DAY, 30 * DAY, 90 * DAY, 180 * DAY)
SLACK = 18 * DAY
"""A snooze of two weeks and a long weekend: what was due so long before a date moved has to be told."""
AFTER = 6 * DAY
"""When everything that belongs to an end has to be told."""


@dataclass
class Era:
    """One credential between two changes of its dates."""

    name: str
    dates: Dates
    begins: datetime
    ends: datetime | None = None


@dataclass
class Year:
    """Acts as people and systems do, each act in a transaction of its own."""

    chance: random.Random
    eras: dict[str, Era] = field(default_factory=dict)
    over: list[Era] = field(default_factory=list)

    def declare(self, database: Database, count: int) -> None:
        """Credentials of every kind, as old as they may be."""
        now = database.now()
        names = [f"key-{number:05}" for number in range(count)]
        cadences = {name: self.chance.choice(CADENCES) for name in names}
        for first in range(0, count, 500):
            part = names[first : first + 500]
            with database.begin() as tx:
                tx.apply_credentials(
                    [
                        Declared(
                            name, PRODUCTION, "api-key", self.chance.choice(OWNERS), "identity-api-key",
                            cadences[name], {}, {"channel": f"C0TEAM{self.chance.randrange(3)}"},
                        )
                        for name in part
                    ],
                    partial=True,
                )  # fmt: skip
                for name in part:
                    begins = now - cadences[name] * self.chance.random() * 0.8
                    self._begin(tx, name, cadences[name], begins, now)

    def _begin(self, tx: Transaction, name: str, cadence: timedelta, begins: datetime, now: datetime) -> None:
        """A new version; its system may end it by itself, before or after the cadence does."""
        life = cadence * self.chance.uniform(0.9, 1.3) if self.chance.random() < 0.3 else None
        expires = begins + life if life is not None else None
        if expires is not None and expires <= now:
            expires = None
        tx.connection.execute(CREDENTIAL.update().where(CREDENTIAL.c.name == name).values(expires_at=expires))
        tx.update_credential(name, PRODUCTION, last_rotated_at=begins, snoozed_until=None, remind_at=tx.now)
        before = self.eras.get(name)
        if before is not None:
            before.ends = now
            self.over.append(before)
        self.eras[name] = Era(name, Dates(cadence, begins, None, expires), now)

    def rotate(self, database: Database, name: str) -> None:
        """It was rotated, in time or late."""
        with database.begin() as tx:
            cadence = self.eras[name].dates.cadence
            assert cadence is not None
            self._begin(tx, name, cadence, tx.now, tx.now)

    def snooze(self, database: Database, name: str) -> None:
        """As far as its budget reaches."""
        with database.begin() as tx:
            until = snooze_budget(self.eras[name].dates, tx.now)
            if until is not None:
                tx.update_credential(name, PRODUCTION, snoozed_until=until, remind_at=tx.now)

    def hand_over(self, database: Database, name: str) -> None:
        """It has another owner."""
        with database.begin() as tx:
            tx.update_credential(name, PRODUCTION, owner_override=self.chance.choice(OWNERS), remind_at=tx.now)

    def act(self, database: Database) -> None:
        """Anything of it, to anything."""
        name = self.chance.choice(list(self.eras))
        act = self.chance.choices((self.rotate, self.snooze, self.hand_over), (6, 2, 1))[0]
        act(database, name)


def judge(database: Database, year: Year, rules: Rules, lag: timedelta = timedelta(0)) -> list[str]:
    """Everything that went wrong. `lag` is how late a replica may look."""
    with database.read() as reader:
        now = reader.now
        told: dict[str, set[tuple[datetime, str]]] = {}
        twice: Counter[tuple[str, str, str]] = Counter()
        before: int | None = None
        while page := reader.history(event="credential.reminded", limit=1000, before=before):
            before = page[-1].seq
            for row in page:
                assert row.detail["told"], "a reminder that nobody heard was kept as told"
                for tier, expiry in zip(row.detail["tiers"], row.detail["expiries"], strict=True):
                    twice[(row.credential, tier, expiry)] += 1
        rows = {row.name: row for row in _rows(reader)}
        for name in rows:
            told[name] = reader.told([(name, PRODUCTION)]).get((name, PRODUCTION), set())
    problems = [f"{key} was told {count} times" for key, count in twice.items() if count > 1]
    for era in (*year.over, *year.eras.values()):
        row = rows[era.name]
        hours = rules.hours(row.owner)
        for tier in tiers(era.dates, rules.before(row), rules.stages(row), hours):
            ends = era.ends or now
            at = max(tier.at, era.begins)
            wanted = at <= ends - SLACK - lag or max(at, tier.expiry) + AFTER + lag <= ends
            if wanted and tier.key not in told[era.name]:
                problems.append(f"{era.name}: {tier.name} of {tier.expiry} was not told by {ends}")
    return problems


def _rows(reader: Reader) -> Iterator[CredentialRow]:
    for row in reader.connection.execute(CREDENTIAL.select()):
        yield CredentialRow(*row)
