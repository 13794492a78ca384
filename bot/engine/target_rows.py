"""The targets of a fan-out in the store: each saved and audited at once, those that end together in one commit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import Event as Signal
from threading import Lock
from typing import Any

from bot.core.errors import Ambiguous, Transient
from bot.core.events import Entry, Event
from bot.core.rotation import Rotation
from bot.engine.fanout import Targets
from bot.store.database import Database
from bot.store.records import TargetWrite


@dataclass(slots=True, eq=False)
class _Ended:
    """What became of one target, until it is committed."""

    rotation: Rotation
    i: int
    target: str
    stage: str
    outputs: Mapping[str, Any]
    evidence: str
    awake: Signal = field(default_factory=Signal)
    """Set when it is settled, or when its thread is the one to write next."""
    settled: bool = False
    goes_on: bool = False
    error: Exception | None = None

    @property
    def attempt(self) -> tuple[int, int, int, str]:
        """Which attempt of which step it belongs to."""
        run = self.rotation.steps[self.i]
        return self.rotation.number, self.i, run.attempt, run.worker

    @property
    def row(self) -> TargetWrite:
        """Its row."""
        number, i, attempt, _ = self.attempt
        return TargetWrite(number, i, self.target, attempt, self.stage, self.outputs, self.evidence)

    @property
    def entry(self) -> Entry:
        """Its line of the audit."""
        told = {"step": self.rotation.plan.steps[self.i].id, "target": self.target, "result": self.stage}
        detail = {**told, "evidence": self.evidence, "outputs": dict(self.outputs)}
        return Entry(Event.STEP_TARGETS, "keyturn", self.rotation.id, self.rotation.plan.credential, detail)


class TargetRows(Targets):
    """Implements `Targets`. Whoever comes while another thread commits waits, and is written by the next commit.

    So a commit carries as many targets as ended during the one before, and nobody returns before theirs is stored.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._guard = Lock()
        self._waiting: list[_Ended] = []
        self._writing = False

    def done(self, rotation: Rotation, i: int, undoing: bool) -> Mapping[str, Mapping[str, Any]]:
        """Targets already finished in this direction."""
        stage = "undone" if undoing else "done"
        with self._database.read() as reader:
            rows = reader.targets(rotation.number, i)
        return {name: row.outputs for name, row in rows.items() if row.stage == stage}

    def known(self, rotation: Rotation, i: int) -> Mapping[str, Mapping[str, Any]]:
        """What each target gave, whether or not the whole step was done."""
        with self._database.read() as reader:
            return {name: row.outputs for name, row in reader.targets(rotation.number, i).items()}

    def record(
        self, rotation: Rotation, i: int, target: str, *, good: bool, outputs: Mapping[str, Any], evidence: str
    ) -> bool:
        """Save one target with its audit row; whether the step is to go on with the others."""
        stage = ("undone" if rotation.steps[i].undoing else "done") if good else "failed"
        mine = _Ended(rotation, i, target, stage, outputs, evidence)
        with self._guard:
            self._waiting.append(mine)
            first, self._writing = not self._writing, True
        if not first:
            mine.awake.wait()
        if not mine.settled:
            self._write_next()
        if mine.error is not None:
            raise mine.error
        return mine.goes_on

    def _write_next(self) -> None:
        """Commit everything that waits, this thread's own among it, and pass the pen on."""
        with self._guard:
            batch, self._waiting = self._waiting, []
        try:
            self._commit(batch)
        finally:
            with self._guard:
                following = self._waiting[0] if self._waiting else None
                self._writing = following is not None
            for one in batch:
                one.settled = True
                one.awake.set()
            if following is not None:
                following.awake.set()

    def _commit(self, batch: list[_Ended]) -> None:
        try:
            with self._database.begin() as tx:
                tx.put_targets([one.row for one in batch])
                tx.audit(*(one.entry for one in batch))
                goes_on = {attempt: tx.goes_on(*attempt) for attempt in {one.attempt for one in batch}}
        except (Transient, Ambiguous) as error:  # the database is away: no row is stored, or nobody knows
            for one in batch:
                one.error = error
        except Exception as error:  # noqa: BLE001 - such as outputs that are no JSON: that one must not spoil the others
            if len(batch) == 1:
                batch[0].error = error
                return
            for one in batch:
                self._commit([one])
        else:
            for one in batch:
                one.goes_on = goes_on[one.attempt]
