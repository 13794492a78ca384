"""Targets that end together: each waits for its own commit, one commit carries many, a bad one spoils nobody else's."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event as Signal
from typing import Any

import pytest

from bot.core.decide import decide
from bot.core.errors import Permanent, Transient
from bot.core.events import Event
from bot.core.rotation import Began, RolledBack, Rotation
from bot.engine.target_rows import TargetRows
from bot.store.database import Database
from bot.store.writing import Transaction
from tests.store import samples

NAMES = [f"gw-{n}" for n in range(12)]


class Slow:
    """A database whose transactions wait at the door until they are let in."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.open = Signal()
        self.entered = Signal()
        self.commits = 0
        self.broken = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)

    @contextmanager
    def begin(self) -> Iterator[Transaction]:
        self.entered.set()
        assert self.open.wait(20)
        if self.broken:
            raise Transient("the database is away")
        with self._database.begin() as tx:
            yield tx
        self.commits += 1


def running(database: Database) -> Rotation:
    """A rotation whose first step was begun."""
    rotation = samples.approve(database, samples.request(database))
    with database.begin() as tx:
        began = decide(rotation, Began(0, rotation.steps[0].attempt, "w"), tx.now)
        return tx.save(rotation, began)


def record(rows: TargetRows, rotation: Rotation, name: str, outputs: Any = None) -> bool:
    return rows.record(rotation, 0, name, good=True, outputs=outputs or {"name": name}, evidence="done")


def stored(database: Database, rotation: Rotation) -> tuple[list[str], list[str]]:
    """Targets in their table, and in the audit."""
    with database.read() as reader:
        audited = [row.detail["target"] for row in reader.audit_rows() if row.event == Event.STEP_TARGETS]
        return sorted(reader.targets(rotation.number, 0)), sorted(audited)


def all_at_once(slow: Slow, rows: TargetRows, rotation: Rotation, outputs: dict[str, Any] | None = None) -> list[Any]:
    """Every name from a thread of its own, the first commit held up until all others wait."""
    with ThreadPoolExecutor(len(NAMES)) as pool:
        first = pool.submit(record, rows, rotation, NAMES[0])
        assert slow.entered.wait(20)
        others = [pool.submit(record, rows, rotation, name, (outputs or {}).get(name)) for name in NAMES[1:]]
        while len(rows._waiting) < len(others):
            assert not any(one.done() for one in (first, *others)), "somebody returned before the commit"
        slow.open.set()
        return [one.exception(20) or one.result() for one in (first, *others)]


def test_one_commit_carries_all_that_ended_during_the_one_before(database: Database) -> None:
    rotation, slow = running(database), Slow(database)
    assert all_at_once(slow, TargetRows(slow), rotation) == [True] * len(NAMES)  # type: ignore[arg-type]
    assert slow.commits == 2
    assert stored(database, rotation) == (sorted(NAMES), sorted(NAMES))


def test_outputs_that_cannot_be_stored_spoil_only_their_own(database: Database) -> None:
    rotation, slow = running(database), Slow(database)
    told = all_at_once(slow, TargetRows(slow), rotation, {"gw-5": {"bad": object()}})  # type: ignore[arg-type]
    assert isinstance(told[5], Permanent)
    assert [one for one in told if one is True] == [True] * (len(NAMES) - 1)
    good = sorted(name for name in NAMES if name != "gw-5")
    assert stored(database, rotation) == (good, good)


def test_where_the_database_is_away_nobody_is_told_that_it_is_stored(database: Database) -> None:
    rotation, slow = running(database), Slow(database)
    slow.broken = True
    rows = TargetRows(slow)  # type: ignore[arg-type]
    assert all(isinstance(one, Transient) for one in all_at_once(slow, rows, rotation))
    slow.broken = False
    assert record(rows, rotation, "gw-0")
    assert stored(database, rotation) == (["gw-0"], ["gw-0"])


def test_whoever_is_rolled_back_meanwhile_is_told_not_to_go_on(database: Database) -> None:
    rotation, rows = running(database), TargetRows(database)
    assert record(rows, rotation, "gw-0")
    with database.begin() as tx:
        fresh = tx.rotation(rotation.number)
        assert fresh is not None
        tx.save(fresh, decide(fresh, RolledBack("alice", "wrong one"), tx.now))
    assert not record(rows, rotation, "gw-1")
    with pytest.raises(Permanent):
        record(rows, rotation, "gw-2", {"bad": object()})
    assert stored(database, rotation)[0] == ["gw-0", "gw-1"]
