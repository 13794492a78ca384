"""A year of an inventory: rotations, snoozes, owners that change, rotations left open, jumps of the clock, outages.

`Year` acts and remembers, on a line of time that never jumps: what the judge in `year_judge.py` goes by.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from bot.core.reminders import snooze_budget
from bot.core.rotation import Cancelled
from bot.core.schedule import Dates
from bot.store.database import Database
from bot.store.records import Declared
from bot.store.tables import CREDENTIAL
from bot.store.writing import Transaction
from tests.engine.keeping_stage import DAY, PRODUCTION
from tests.store import samples

OWNERS = ("alice", "bob", "carol", "dave", "platform")
CADENCES = (7 * DAY, 30 * DAY, 90 * DAY, 180 * DAY)


@dataclass
class Stretch:
    """A time in which the clock ran evenly and somebody looked; `begins` and `ends` are lived, not shown."""

    begins: datetime
    offset: timedelta
    """What the clock shows is what was lived and this."""
    first: int
    """Rows of the audit before it."""
    ends: datetime | None = None


class Line:
    """Time as it was lived: jumps of the clock take none of it."""

    def __init__(self, now: datetime) -> None:
        self.stretches = [Stretch(now, timedelta(0), 0)]

    @property
    def offset(self) -> timedelta:
        """By how much the clock was moved so far."""
        return self.stretches[-1].offset

    def lived(self, now: datetime) -> datetime:
        """The moment at which the clock shows this now."""
        return now - self.offset

    def jumped(self, before: datetime, by: timedelta, rows: int) -> None:
        """The clock was moved; the audit had so many rows."""
        here = self.stretches[-1].ends = self.lived(before)
        self.stretches.append(Stretch(here, self.offset + by, rows))

    def dark(self, before: datetime, after: datetime, rows: int) -> None:
        """Nobody looked meanwhile."""
        self.stretches[-1].ends = self.lived(before)
        self.stretches.append(Stretch(self.lived(after), self.offset, rows))


@dataclass
class Snooze:
    """Lived, but for `until`, which the clock has to show."""

    begins: datetime
    until: datetime
    ends: datetime | None = None
    """When another took its place."""


@dataclass
class Era:
    """One credential between two changes of its dates; its own begin and end are lived."""

    name: str
    dates: Dates
    begins: datetime
    ends: datetime | None = None
    snoozes: list[Snooze] = field(default_factory=list)


@dataclass
class Busy:
    """A rotation is open; lived."""

    begins: datetime
    number: int
    ends: datetime | None = None


@dataclass
class Year:
    """Acts as people and systems do, each act in a transaction of its own."""

    line: Line
    eras: dict[str, Era] = field(default_factory=dict)
    over: list[Era] = field(default_factory=list)
    busy: dict[str, list[Busy]] = field(default_factory=dict)

    def everything(self) -> Iterator[Era]:
        """Every era, those included that last."""
        yield from self.over
        yield from self.eras.values()

    def declare(self, database: Database, cadences: dict[str, timedelta], chance: random.Random) -> None:
        """Credentials as old as they may be."""
        names = list(cadences)
        for first in range(0, len(names), 500):
            part = names[first : first + 500]
            with database.begin() as tx:
                tx.apply_credentials(
                    [
                        Declared(
                            name, PRODUCTION, "api-key", chance.choice(OWNERS), "identity-api-key",
                            cadences[name], {}, {"channel": f"C0TEAM{chance.randrange(3)}"},
                        )
                        for name in part
                    ],
                    partial=True,
                )  # fmt: skip
                for name in part:
                    cadence = cadences[name]
                    self._begin(tx, name, cadence, tx.now - cadence * chance.random() * 0.8, ends_by_itself(chance))

    def _begin(self, tx: Transaction, name: str, cadence: timedelta, begins: datetime, life: float | None) -> None:
        """A new version; its system may end it by itself, before or after the cadence does."""
        expires = begins + cadence * life if life is not None else None
        if expires is not None and expires <= tx.now:
            expires = None
        tx.connection.execute(CREDENTIAL.update().where(CREDENTIAL.c.name == name).values(expires_at=expires))
        tx.update_credential(name, PRODUCTION, last_rotated_at=begins, snoozed_until=None, remind_at=tx.now)
        lived = self.line.lived(tx.now)
        before = self.eras.get(name)
        if before is not None:
            before.ends = lived
            self.over.append(before)
        self.eras[name] = Era(name, Dates(cadence, begins, None, expires), lived)

    def rotate(self, database: Database, name: str, life: float | None) -> None:
        """It was rotated, in time or late."""
        with database.begin() as tx:
            cadence = self.eras[name].dates.cadence
            assert cadence is not None
            self._begin(tx, name, cadence, tx.now, life)

    def snooze(self, database: Database, name: str) -> None:
        """As far as its budget reaches."""
        era = self.eras[name]
        with database.begin() as tx:
            until = snooze_budget(era.dates, tx.now)
            if until is not None:
                tx.update_credential(name, PRODUCTION, snoozed_until=until, remind_at=tx.now)
                lived = self.line.lived(tx.now)
                if era.snoozes:
                    era.snoozes[-1].ends = lived
                era.snoozes.append(Snooze(lived, until))

    def hand_over(self, database: Database, name: str, owner: str) -> None:
        """It has another owner."""
        with database.begin() as tx:
            tx.update_credential(name, PRODUCTION, owner_override=owner, remind_at=tx.now)

    def open_or_cancel(self, database: Database, name: str) -> None:
        """Somebody asks for a rotation, or takes that back: nobody else is called in between."""
        of = self.busy.setdefault(name, [])
        if not of or of[-1].ends is not None:
            rotation = samples.request(database, name, approve_within=timedelta(days=3650))
            of.append(Busy(self.line.lived(database.now()), rotation.number))
            return
        with database.begin() as tx:
            found = tx.rotation(of[-1].number)
            assert found is not None
            samples.apply(tx, found, Cancelled("ann", "not yet"))
            of[-1].ends = self.line.lived(tx.now)

    def jump(self, database: Database, by: timedelta) -> None:
        """The clock of this database's process is moved."""
        with database.begin() as tx:
            self.line.jumped(tx.now, by, tx.audit_head().seq)
            database.clock.advance(by)


def ends_by_itself(chance: random.Random) -> float | None:
    """Some are ended by their system, a little before or after their cadence; None: it knows no end."""
    return chance.uniform(0.9, 1.3) if chance.random() < 0.3 else None


def act(year: Year, database: Database, chance: random.Random) -> None:
    """Anything of it, to anything."""
    name = chance.choice(list(year.eras))
    what = chance.choices(("rotate", "snooze", "hand over", "open"), (6, 2, 1, 1))[0]
    if what == "rotate":
        year.rotate(database, name, ends_by_itself(chance))
    elif what == "snooze":
        year.snooze(database, name)
    elif what == "hand over":
        year.hand_over(database, name, chance.choice(OWNERS))
    else:
        year.open_or_cancel(database, name)
