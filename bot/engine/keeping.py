"""The lanes that keep the inventory: reminders, discoveries, automatic rotations, and the care of owners."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence, Set
from dataclasses import fields, is_dataclass
from typing import Any

from bot.contracts.people import Directory
from bot.core.alarm import Alarm
from bot.core.policy import Policy
from bot.engine.alarms import Alarms, Measure, Open
from bot.engine.automatic import Start, Starter
from bot.engine.discoveries import Discoveries
from bot.engine.lane import Lane
from bot.engine.owners import Owners
from bot.engine.paging import Pager
from bot.engine.reminders import Reminders, Setting
from bot.engine.watching import Watch
from bot.store.database import Database

RULES = "reminders.rules"


class Keeping:
    """Starts and stops them together."""

    def __init__(
        self,
        database: Database,
        policy: Policy,
        directory: Directory,
        setting: Setting,
        discoveries: Discoveries,
        start: Start,
        pager: Pager,
        alarms: Sequence[Alarm],
        measure: Measure,
        open_expiry: Open,
    ) -> None:
        self._database = database
        self._setting = setting
        self.discoveries = discoveries
        self.reminders = Reminders(database, policy, directory, setting)
        self.starter = Starter(database, start, setting.automatic, self.reminders.recipients)
        channel = setting.channels.get("default", "")
        self.owners = Owners(database, setting.rules, self.reminders.recipients, channel)
        self.watch = Watch(database, self.reminders.recipients, channel)
        told = self.reminders.recipients, setting.channel
        self.alarms = Alarms(database, alarms, measure, open_expiry, *told)
        self._lanes = (
            Lane("reminders", self.reminders.turn),
            Lane("discoveries", self.discoveries.turn),
            Lane("automatic rotations", self.starter.turn),
            Lane("pages", pager.turn),
            Lane("owners", self.owners.turn),
            Lane("watch", self.watch.turn),
            *([Lane("alarms", self.alarms.turn)] if alarms else []),
        )

    def declare(self) -> None:
        """Bring the tables in line with the settings: what is listed, and by which rules everything is looked at."""
        self.discoveries.declare()
        mark = mark_of(self._setting)
        with self._database.begin() as tx:
            if tx.setting(RULES) != mark:
                tx.look_at_all()
                tx.record_setting(RULES, mark)

    def start(self) -> None:
        """Begin."""
        self.declare()
        for lane in self._lanes:
            lane.start()

    def wake(self) -> None:
        """Something was committed; what moves dates is looked at soon, and the other lanes look every few seconds."""
        self._lanes[0].wake()

    def stop(self) -> None:
        """End after what is in hand."""
        for lane in self._lanes:
            lane.stop(within=3.0)


def mark_of(setting: Setting) -> str:
    """What changes with the rules by which everything is looked at, and is the same in every process."""
    return hashlib.sha256(_written((setting.rules, setting.automatic, setting.calendar)).encode()).hexdigest()


def _written(value: Any) -> str:
    """Like `repr`, but sets and mappings in one order: that of their names differs from process to process."""
    if is_dataclass(value):
        parts = [f"{one.name}={_written(getattr(value, one.name))}" for one in fields(value)]
        return f"{type(value).__name__}({', '.join(parts)})"
    if isinstance(value, Mapping):
        return "{" + ", ".join(sorted(f"{_written(key)}: {_written(one)}" for key, one in value.items())) + "}"
    if isinstance(value, Set):
        return "{" + ", ".join(sorted(map(_written, value))) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(map(_written, value)) + "]"
    return repr(value)
