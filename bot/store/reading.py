"""What can be asked of the database: rotations, their steps and targets, intents, and what is due."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, bindparam, func, or_, select, text

from bot.core.plan import EXPIRED
from bot.core.rotation import OPEN, Overlap, Rotation, State
from bot.store import audit
from bot.store.columns import micros
from bot.store.counting import Counting
from bot.store.incidents import IncidentReader
from bot.store.intents import is_first
from bot.store.inventory import InventoryReader
from bot.store.outbox import OutboxReader
from bot.store.paging import PageReader
from bot.store.records import AuditRow, Head, IntentRow, RotationSummary, TargetRow
from bot.store.rows import read_plan, read_rotation
from bot.store.tables import (
    AUDIT,
    DRAWING,
    INCIDENT,
    INTENT,
    NOTICE,
    OVERLAP,
    PLAN,
    ROTATION,
    SETTING,
    STEP,
    TARGET,
    WORKER,
)

_OPEN_STATES = tuple(sorted(state.value for state in OPEN))
_joined = ROTATION.outerjoin(OVERLAP, OVERLAP.c.rotation == ROTATION.c.number)
_rotation = select(
    ROTATION, OVERLAP.c.state.label("overlap_state"), OVERLAP.c.deadline.label("overlap_deadline")
).select_from(_joined)
_by_number = _rotation.where(ROTATION.c.number == bindparam("number"))
_lock = select(ROTATION.c.version).where(ROTATION.c.number == bindparam("number")).with_for_update()
_steps = select(STEP).where(STEP.c.rotation == bindparam("number")).order_by(STEP.c.position)
_plan = select(PLAN.c.body).where(PLAN.c.digest == bindparam("digest"))
_is_open = text("rotation.state IN (" + ", ".join(f"'{state}'" for state in _OPEN_STATES) + ")")
_open = select(ROTATION.c.number).where(
    ROTATION.c.credential == bindparam("credential"),
    ROTATION.c.environment == bindparam("environment"),
    ROTATION.c.word == bindparam("word"),
    _is_open,
)
_overlaps = (
    select(func.count())
    .select_from(OVERLAP)
    .where(
        OVERLAP.c.credential == bindparam("credential"),
        OVERLAP.c.environment == bindparam("environment"),
        text("overlap.state IN ('blocked', 'retiring')"),
        OVERLAP.c.counts_old,
    )
)
_summary = select(
    ROTATION.c.number,
    ROTATION.c.version,
    ROTATION.c.state,
    OVERLAP.c.state.label("overlap"),
    OVERLAP.c.deadline,
    ROTATION.c.credential,
    ROTATION.c.environment,
    ROTATION.c.kind,
    ROTATION.c.owner,
    ROTATION.c.runbook,
    ROTATION.c.requester,
    ROTATION.c.channel,
    ROTATION.c.created_at,
    ROTATION.c.started_at,
    ROTATION.c.promoted_at,
    ROTATION.c.ended_at,
    ROTATION.c.outcome,
).select_from(_joined)
_due = (
    select(STEP.c.rotation, STEP.c.position, STEP.c.attempt)
    .where(text("step.stage = 'waiting'"), STEP.c.due_at <= bindparam("now"))
    .order_by(STEP.c.due_at)
    .limit(bindparam("limit"))
)
_lapsed = (
    select(ROTATION.c.number)
    .where(ROTATION.c.lapses_at <= bindparam("now"))
    .order_by(ROTATION.c.lapses_at)
    .limit(bindparam("limit"))
)
_calls_due = (
    select(ROTATION.c.number)
    .where(ROTATION.c.calls_at <= bindparam("now"))
    .order_by(ROTATION.c.calls_at)
    .limit(bindparam("limit"))
)
_overlaps_due = (
    select(OVERLAP.c.rotation)
    .where(OVERLAP.c.remind_at <= bindparam("now"))
    .order_by(OVERLAP.c.remind_at)
    .limit(bindparam("limit"))
)


def _first(column: ColumnElement[Any], *where: ColumnElement[bool]) -> Any:
    return select(column).where(*where).order_by(column).limit(1).scalar_subquery()


_next_due = select(
    _first(STEP.c.due_at, text("step.stage = 'waiting'")).label("step"),  # type: ignore[arg-type]  # text() filters
    _first(ROTATION.c.lapses_at, ROTATION.c.lapses_at.is_not(None)).label("lapse"),
    _first(ROTATION.c.calls_at, ROTATION.c.calls_at.is_not(None)).label("call"),
    _first(OVERLAP.c.remind_at, OVERLAP.c.remind_at.is_not(None)).label("overlap"),
    _first(INCIDENT.c.quiet_since, INCIDENT.c.quiet_since.is_not(None)).label("quiet"),
)
_next_message = select(
    _first(DRAWING.c.due_at, DRAWING.c.wanted > DRAWING.c.drawn).label("drawing"),
    _first(NOTICE.c.due_at, NOTICE.c.sent_at.is_(None)).label("notice"),
)
_intent = select(INTENT).where(INTENT.c.number == bindparam("number"))
_targets = (
    select(TARGET.c.target, TARGET.c.attempt, TARGET.c.stage, TARGET.c.outputs, TARGET.c.evidence, TARGET.c.at)
    .where(TARGET.c.rotation == bindparam("number"), TARGET.c.step == bindparam("step"))
    .order_by(TARGET.c.target)
)
_under_way = select(STEP.c.rotation, STEP.c.position, STEP.c.attempt).order_by(STEP.c.rotation, STEP.c.position)
_setting = select(SETTING.c.value).where(SETTING.c.key == bindparam("key"))
_history = select(AUDIT).order_by(AUDIT.c.seq.desc()).limit(bindparam("limit"))

Dispatched = tuple[int, int, int]
"""(rotation, step, attempt), as a leg names it."""


class Reader(InventoryReader, OutboxReader, IncidentReader, PageReader, Counting):
    """One consistent look at the database."""

    _locks = False

    # --- rotations ---------------------------------------------------------------------------------------------------

    def rotation(self, number: int, *, lock: bool = True) -> Rotation | None:
        """The rotation with its plan, steps and overlap; in a transaction its row stays locked until the end."""
        if self._locks and lock:  # on its own, since the rows joined to a row that was waited for would be the old ones
            self.connection.execute(_lock, {"number": number})
        row = self.connection.execute(_by_number, {"number": number}).mappings().one_or_none()
        if row is None:
            return None
        steps = self.connection.execute(_steps, {"number": number}).mappings().all()
        digest = row["plan"]
        body = self.connection.execute(_plan, {"digest": digest}).scalar_one()
        return read_rotation(row, steps, read_plan(digest, body))

    def binding(self, number: int) -> dict[str, str] | None:
        """What a vote on the rotation consents to now: digest and nonce of its plan, or of the amendment asked for."""
        query = select(ROTATION.c.plan, ROTATION.c.nonce, ROTATION.c.amendment).where(ROTATION.c.number == number)
        row = self.connection.execute(query).one_or_none()
        if row is None:
            return None
        if row.amendment:
            return {"digest": row.amendment["digest"], "nonce": row.amendment["nonce"]}
        body = self.connection.execute(_plan, {"digest": row.plan}).scalar_one()
        return {"digest": read_plan(row.plan, body).digest, "nonce": row.nonce}

    def open_rotation(self, credential: str, environment: str, word: str = "start") -> Rotation | None:
        """The one rotation that is open for the credential; `word` is `revoke` for the one revocation."""
        named = {"credential": credential, "environment": environment, "word": word}
        number = self.connection.execute(_open, named).scalar_one_or_none()
        return None if number is None else self.rotation(number)

    def open_overlaps(self, credential: str, environment: str) -> int:
        """How many old versions are still valid and count against `max_valid`."""
        named = {"credential": credential, "environment": environment}
        return int(self.connection.execute(_overlaps, named).scalar_one())

    def rotations(
        self,
        *,
        credential: str | None = None,
        credentials: Collection[str] | None = None,
        environment: str | None = None,
        states: Collection[State] | None = None,
        requester: str | None = None,
        owner: str | None = None,
        under_way: bool = False,
        limit: int = 20,
        before: int | None = None,
        incidents: bool = True,
    ) -> list[RotationSummary]:
        """Newest first. `under_way` takes open ones and those that still retire; page on with `before=last.number`.

        Without `incidents`, those are left out that are no rotation but the stages after an expiry.
        """
        query: Select[Any] = _summary.order_by(ROTATION.c.number.desc()).limit(limit)
        if not incidents:
            query = query.where(ROTATION.c.word != EXPIRED)
        for column, value in (
            (ROTATION.c.credential, credential),
            (ROTATION.c.environment, environment),
            (ROTATION.c.requester, requester),
            (ROTATION.c.owner, owner),
        ):
            if value is not None:
                query = query.where(column == value)
        if credentials is not None:
            query = query.where(ROTATION.c.credential.in_(credentials))
        if states is not None:
            query = query.where(ROTATION.c.state.in_([state.value for state in states]))
            if OPEN.issuperset(states):
                query = query.where(_is_open)  # which an index knows
        if under_way:
            query = query.where(or_(_is_open, OVERLAP.c.state.in_(("blocked", "retiring"))))
        if before is not None:
            query = query.where(ROTATION.c.number < before)
        rows = self.connection.execute(query)
        return [
            RotationSummary(row[0], row[1], State(row[2]), Overlap(row[3] or "none"), row[4], *row[5:]) for row in rows
        ]

    def newest_rotation(self, credential: str, environment: str | None = None) -> RotationSummary | None:
        """The rotation that a credential's name stands for; an incident where it has never been rotated."""
        for incidents in (False, True):
            found = self.rotations(credential=credential, environment=environment, incidents=incidents, limit=1)
            if found:
                return found[0]
        return None

    def targets(self, number: int, step: int) -> dict[str, TargetRow]:
        """What is known of each target of a step that fans out."""
        rows = self.connection.execute(_targets, {"number": number, "step": step})
        return {row[0]: TargetRow(*row) for row in rows}

    # --- what is due -------------------------------------------------------------------------------------------------

    def due_steps(self, now: datetime, limit: int = 100) -> list[Dispatched]:
        """Waiting steps whose time has come, the oldest first."""
        return [(r[0], r[1], r[2]) for r in self.connection.execute(_due, {"now": now, "limit": limit})]

    def expired(self, now: datetime, limit: int = 100) -> list[int]:
        """Rotations whose request or amendment has lapsed."""
        return list(self.connection.execute(_lapsed, {"now": now, "limit": limit}).scalars())

    def calls_due(self, now: datetime, limit: int = 100) -> list[int]:
        """Requests for which somebody has to be reminded or called."""
        return list(self.connection.execute(_calls_due, {"now": now, "limit": limit}).scalars())

    def overlaps_due(self, now: datetime, limit: int = 100) -> list[int]:
        """Rotations whose overlap wants a reminder; first at its deadline, then as `remind_overlap` says."""
        return list(self.connection.execute(_overlaps_due, {"now": now, "limit": limit}).scalars())

    def next_due_at(self, nudge: timedelta | None = None) -> datetime | None:
        """When the timer has something to do next: a step, a lapse, a call, an overlap's deadline.

        And an incident in which nothing was said for as long as `nudge`.
        """
        *times, quiet = self.connection.execute(_next_due).one()
        times.append(quiet + nudge if quiet is not None and nudge is not None else None)
        return min((at for at in times if at is not None), default=None)

    def next_message_at(self) -> datetime | None:
        """When a drawing or a notice is due next."""
        return min((at for at in self.connection.execute(_next_message).one() if at is not None), default=None)

    def running_steps(self, worker: str) -> list[Dispatched]:
        """Steps that this worker began."""
        query = _under_way.where(text("step.stage IN ('queued', 'running')"), STEP.c.worker == worker)
        return [(r[0], r[1], r[2]) for r in self.connection.execute(query)]

    def goes_on(self, number: int, step: int, attempt: int, worker: str) -> bool:
        """Whether this attempt still runs under the worker, and neither a rollback nor an emergency ends it."""
        query = (
            select(STEP.c.undoing, ROTATION.c.state)
            .join_from(STEP, ROTATION, ROTATION.c.number == STEP.c.rotation)
            .where(STEP.c.rotation == number, STEP.c.position == step, STEP.c.stage == "running")
            .where(STEP.c.attempt == attempt, STEP.c.worker == worker)
        )
        row = self.connection.execute(query).one_or_none()
        if row is None or row[1] == State.ABANDONED.value:
            return False
        return bool(row[0]) or row[1] != State.ROLLING_BACK.value

    def queued_steps(self) -> list[Dispatched]:
        """Steps that have a leg under way which nobody has begun."""
        query = _under_way.where(text("step.stage IN ('queued', 'running')"), STEP.c.stage == "queued")
        return [(r[0], r[1], r[2]) for r in self.connection.execute(query)]

    def lost_steps(self, queued_before: datetime) -> list[Dispatched]:
        """Steps that run under a worker that is dead or unknown, and steps queued for too long."""
        alive = select(WORKER.c.id).where(WORKER.c.dead_at.is_(None))
        query = _under_way.where(
            text("step.stage IN ('queued', 'running')"),
            or_(
                and_(STEP.c.stage == "running", STEP.c.worker.not_in(alive)),
                and_(STEP.c.stage == "queued", STEP.c.since < queued_before),
            ),
        )
        return [(r[0], r[1], r[2]) for r in self.connection.execute(query)]

    # --- intents and settings ----------------------------------------------------------------------------------------

    def intent(self, number: int) -> IntentRow | None:
        """A stored intent."""
        row = self.connection.execute(_intent, {"number": number}).one_or_none()
        return None if row is None else IntentRow(*row)

    def intent_by_key(self, key: str) -> IntentRow | None:
        """A stored intent by its delivery key; how an unknown commit is looked up."""
        row = self.connection.execute(select(INTENT).where(INTENT.c.key == key)).one_or_none()
        return None if row is None else IntentRow(*row)

    def new_intents(self) -> list[int]:
        """Intents that nobody has begun and that wait for no earlier one of their subject."""
        query = select(INTENT.c.number).where(text("intent.state IN ('new', 'running')"), INTENT.c.state == "new")
        query = query.where(is_first)
        return list(self.connection.execute(query.order_by(INTENT.c.number)).scalars())

    def setting(self, key: str) -> str | None:
        """What the bot remembers under this key."""
        value: str | None = self.connection.execute(_setting, {"key": key}).scalar_one_or_none()
        return value

    # --- audit -------------------------------------------------------------------------------------------------------

    def audit_head(self) -> Head:
        """The end of the chain, for cards and approvals."""
        return audit.head(self.connection)

    def history(
        self,
        *,
        credential: str | None = None,
        rotation: str | None = None,
        event: str | None = None,
        limit: int = 50,
        before: int | None = None,
    ) -> list[AuditRow]:
        """Audit rows, newest first; `rotation` as people write it (`R-7`). Page on with `before=last.seq`."""
        query = _history
        if credential is not None:
            query = query.where(AUDIT.c.credential == credential, text("audit.credential <> ''"))
        if rotation is not None:
            query = query.where(AUDIT.c.rotation == rotation, text("audit.rotation <> ''"))
        if event is not None:
            query = query.where(AUDIT.c.event == event)
        if before is not None:
            query = query.where(AUDIT.c.seq < before)
        return [audit.read_row(row) for row in self.connection.execute(query, {"limit": limit})]

    def history_of(self, credential: str, environment: str, limit: int = 50) -> list[AuditRow]:
        """Audit rows of a credential in this environment alone, newest first; those that name none are of each."""
        numbers = select(ROTATION.c.number).where(ROTATION.c.credential == credential)
        numbers = numbers.where(ROTATION.c.environment == environment)
        mine = {f"R-{number}" for number in self.connection.execute(numbers).scalars()}
        found: list[AuditRow] = []
        before: int | None = None
        while len(found) < limit:
            rows = self.history(credential=credential, limit=limit, before=before)
            found += [
                row
                for row in rows
                if (row.rotation in mine if row.rotation else row.detail.get("environment", environment) == environment)
            ]
            if len(rows) < limit:
                break
            before = rows[-1].seq
        return found[:limit]

    def audit_rows(self, since: int = 0, start: datetime | None = None) -> Iterator[AuditRow]:
        """The audit in order, streamed, after row `since` and from `start` on."""
        query = select(AUDIT).where(AUDIT.c.seq > since).order_by(AUDIT.c.seq)
        if start is not None:
            query = query.where(AUDIT.c.at >= micros(start))
        for row in self.connection.execution_options(yield_per=1000).execute(query):
            yield audit.read_row(row)

    def workers(self) -> dict[str, datetime]:
        """Living workers and when each was last seen, on the database's own clock."""
        query = select(WORKER.c.id, WORKER.c.seen_at).where(WORKER.c.dead_at.is_(None))
        return {row[0]: row[1] for row in self.connection.execute(query)}
