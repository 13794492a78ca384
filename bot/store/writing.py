"""One transaction: a decision saved with its audit rows and its next leg, or not at all."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields, replace
from datetime import timedelta
from typing import Any

from sqlalchemy import Sequence, bindparam, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from bot.core.decide import Decision, Stale
from bot.core.errors import Permanent, Refused
from bot.core.events import Entry
from bot.core.incident import Incident
from bot.core.reminders import WARN_BEFORE, grace_warning
from bot.core.rotation import OPEN, Overlap, Rotation
from bot.store import audit
from bot.store.incidents import IncidentWriter
from bot.store.intents import IntentWriter
from bot.store.inventory import InventoryWriter
from bot.store.outbox import OutboxWriter
from bot.store.paging import PageWriter
from bot.store.reading import Reader
from bot.store.records import Head, TargetWrite
from bot.store.rows import STEP_FIELDS, plan_row, rotation_row, step_row
from bot.store.session import upsert
from bot.store.tables import CREDENTIAL, OVERLAP, PLAN, ROTATION, STEP, TARGET
from bot.store.workers import WorkerWriter

NUMBERS = Sequence("rotation_number")
_ROTATION_FIELDS = tuple(column.name for column in ROTATION.columns if column.name != "number")
_update_rotation = (
    update(ROTATION)
    .where(ROTATION.c.number == bindparam("of"), ROTATION.c.version == bindparam("seen"))
    .values({name: bindparam(name) for name in _ROTATION_FIELDS})
)
_update_step = (
    update(STEP)
    .where(STEP.c.rotation == bindparam("of"), STEP.c.position == bindparam("at"))
    .values({name: bindparam(name) for name in (*STEP_FIELDS, "since")})
)
_highest = select(func.coalesce(func.max(ROTATION.c.number), 0))
_credential = select(CREDENTIAL.c.last_rotated_at, CREDENTIAL.c.next_due, CREDENTIAL.c.detail).where(
    CREDENTIAL.c.name == bindparam("name"), CREDENTIAL.c.environment == bindparam("environment")
)


def _warn_before(detail: Mapping[str, Any]) -> timedelta:
    """How long before the end of a grace its owner hears of it."""
    seconds = detail.get("warn_before")
    return timedelta(seconds=seconds) if isinstance(seconds, int | float) else WARN_BEFORE


class Transaction(Reader, InventoryWriter, IntentWriter, OutboxWriter, IncidentWriter, PageWriter, WorkerWriter):
    """Everything that one commit stores."""

    _locks = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._entries: list[Entry] = []

    def next_number(self) -> int:
        """A number for a new rotation; on PostgreSQL a rolled-back transaction leaves a gap."""
        if self.is_sqlite:
            return int(self.connection.execute(_highest).scalar_one()) + 1
        return int(self.connection.execute(NUMBERS.next_value().select()).scalar_one())

    def audit(self, *entries: Entry) -> None:
        """Add rows to the audit; they are chained all at once, just before the commit."""
        self._entries.extend(entries)

    def seal(self) -> Head | None:
        """Chain what was added so far; `Database.begin` does it at the end."""
        if not self._entries:
            return None
        entries, self._entries = self._entries, []
        return audit.append(self.connection, entries, self.now)

    def save(self, before: Rotation | None, decision: Decision) -> Rotation:
        """Store what was decided on `before` (None for a new rotation), audit it, and deliver what it dispatches.

        Returns the rotation as stored, with its next version. Raises `Stale` when somebody saved in between, and
        `Refused` (`already-open`) when another rotation of the credential is open.
        """
        after = replace(decision.rotation, version=(before.version if before else 0) + 1)
        if before is None or after.plan.content_hash != before.plan.content_hash:
            statement = upsert(PLAN, self.connection).on_conflict_do_nothing(index_elements=[PLAN.c.digest])
            self.connection.execute(statement, plan_row(after.plan))
        if before is None:
            self._insert(after)
        else:
            self._update(before, after)
        self._save_steps(before, after)
        promoted = before is not None and before.promoted_at is None and after.promoted_at is not None
        moved = after.overlap is not (before.overlap if before else Overlap.NONE)
        if promoted or moved:
            self.list_again(after.plan.credential, after.plan.environment)
        if moved:
            self._save_overlap(before, after)
        if promoted and not after.plan.expiry:
            self._save_dates(after, {"last_rotated_at": after.promoted_at, "next_due": after.next_due})
        elif before is not None and before.state in OPEN and after.state not in OPEN:
            self.look_again(after.plan.credential, after.plan.environment)  # whoever was not called meanwhile
        if before is not None:
            self.want_drawings(after.number, after.version)
        self.audit(*decision.entries)
        if decision.dispatch is not None:
            self.enqueue(after.number, decision.dispatch, after.steps[decision.dispatch].attempt)
        return after

    def _insert(self, after: Rotation) -> None:
        statement = upsert(ROTATION, self.connection).on_conflict_do_nothing().returning(ROTATION.c.number)
        if self.connection.execute(statement, rotation_row(after)).first() is None:
            raise self._conflict(after)

    def _update(self, before: Rotation, after: Rotation) -> None:
        row = rotation_row(after)
        row["of"] = row.pop("number")
        row["seen"] = before.version
        try:
            if before.state not in OPEN and after.state in OPEN:
                with self.connection.begin_nested():  # opens again: the index may refuse it
                    changed = self.connection.execute(_update_rotation, row).rowcount
            else:
                changed = self.connection.execute(_update_rotation, row).rowcount
        except IntegrityError:
            raise self._conflict(after) from None
        if not changed:
            raise Stale(f"{after.id} was changed by somebody else in between")

    def _conflict(self, after: Rotation) -> Refused | Permanent:
        plan = after.plan
        other = self.open_rotation(plan.credential, plan.environment, plan.word)
        if other is None or other.number == after.number:
            return Permanent(f"There is a rotation {after.id} already.", "Take the number from next_number.")
        return Refused(
            f"{other.id} is already open for {plan.credential} in {plan.environment}; finish, cancel or roll back that "
            f"one first.",
            code="already-open",
        )

    def _save_steps(self, before: Rotation | None, after: Rotation) -> None:
        old = before.steps if before else ()
        changed = []
        for position, run in enumerate(after.steps[: len(old)]):
            if run != old[position]:
                row = step_row(after.number, position, run, self.now)
                row["of"], row["at"] = row.pop("rotation"), row.pop("position")
                changed.append(row)
        if changed:
            self.connection.execute(_update_step, changed)
        added = [
            step_row(after.number, position, run, self.now)
            for position, run in enumerate(after.steps[len(old) :], len(old))
        ]
        if added:
            self.connection.execute(insert(STEP), added)
        if len(old) > len(after.steps):
            self.connection.execute(
                delete(STEP).where(STEP.c.rotation == after.number, STEP.c.position >= len(after.steps))
            )

    def _save_overlap(self, before: Rotation | None, after: Rotation) -> None:
        closed = after.overlap in (Overlap.RETIRED, Overlap.ROLLED_BACK)
        values: dict[str, Any] = {
            "state": after.overlap.value,
            "deadline": after.overlap_deadline,
            "closed_at": self.now if closed else None,
        }
        if closed:
            values["remind_at"] = None
        if before is not None and before.overlap is not Overlap.NONE:
            self.connection.execute(update(OVERLAP).where(OVERLAP.c.rotation == after.number).values(values))
        else:
            self._open_overlap(after, values)
        if after.overlap is Overlap.ROLLED_BACK:
            was = self.connection.execute(
                select(OVERLAP.c.was_rotated_at, OVERLAP.c.was_due).where(OVERLAP.c.rotation == after.number)
            ).one()
            self._save_dates(after, {"last_rotated_at": was[0], "next_due": was[1]})

    def _open_overlap(self, after: Rotation, values: Mapping[str, Any]) -> None:
        plan = after.plan
        names = {"name": plan.credential, "environment": plan.environment}
        was = self.connection.execute(_credential, names).one_or_none() or (None, None, {})
        deadline = after.overlap_deadline
        row = {
            "rotation": after.number,
            "credential": plan.credential,
            "environment": plan.environment,
            "counts_old": plan.counts_old,
            "opened_at": self.now,
            "remind_at": grace_warning(self.now, deadline, _warn_before(was[2])) if deadline else None,
            "was_rotated_at": was[0],
            "was_due": was[1],
        }
        self.connection.execute(insert(OVERLAP), row | dict(values))

    def _save_dates(self, after: Rotation, dates: Mapping[str, Any]) -> None:
        """The credential's dates; `remind_at` is now, so that the reminders are worked out anew."""
        statement = update(CREDENTIAL).where(
            CREDENTIAL.c.name == after.plan.credential, CREDENTIAL.c.environment == after.plan.environment
        )
        self.connection.execute(statement.values(**dates, remind_at=self.now, snoozed_until=None))

    def save_incident(self, before: Incident | None, after: Incident, *entries: Entry) -> Incident:
        """Store the incident (`before` None for a new one), audit it, and have whatever shows it drawn again.

        Returns it with its next version. Raises `Stale` when somebody saved in between. Of a rotation whose row is
        changed too, that comes first.
        """
        after = replace(after, version=(before.version if before else 0) + 1)
        self.renew_incident(after.number)  # drawings before the incident, as every decision locks them
        self.put_incident(before, after)
        self.audit(*entries)
        return after

    def remind_overlap(self, number: int, at: Any) -> None:
        """When the overlap wants its next reminder; None for never."""
        self.connection.execute(update(OVERLAP).where(OVERLAP.c.rotation == number).values(remind_at=at))

    def put_targets(self, rows: Collection[TargetWrite]) -> None:
        """Note what became of targets; a row that a later attempt has written already stays as it is."""
        statement: Any = upsert(TARGET, self.connection)
        statement = statement.on_conflict_do_update(
            index_elements=[TARGET.c.rotation, TARGET.c.step, TARGET.c.target],
            set_={name: statement.excluded[name] for name in ("attempt", "stage", "outputs", "evidence", "at")},
            where=TARGET.c.attempt <= statement.excluded.attempt,
        )
        names = [one.name for one in fields(TargetWrite)]
        values = [{name: getattr(row, name) for name in names} | {"at": self.now} for row in rows]
        self.connection.execute(statement, values)
