"""What follows from a change: audit entries, the next step to dispatch, promotion, retirement, undoing."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from bot.core import duration
from bot.core.errors import KeyturnError, Refused
from bot.core.events import Entry, Event
from bot.core.rotation import FINISHED, MOVING, Overlap, Rotation, Stage, State, StepRun

BOT = "keyturn"
TAKEN_OVER = "Taken over by the emergency"
"""How the outcome begins of a rotation that a revocation ended."""
LAPSED = "Nobody else approved what one person contained alone, so it is put back."
"""The outcome of a containment by one person whose time ran out."""


class Stale(KeyturnError):
    """A worker's or timer's message about something that has moved on; it is dropped, nothing is wrong."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What follows from an event: the rotation as it is now, rows for the audit, and the step to dispatch."""

    rotation: Rotation
    entries: tuple[Entry, ...]
    dispatch: int | None = None


def go_on(rotation: Rotation, entries: tuple[Entry, ...], now: datetime) -> Decision:
    """Queue the next step, promote when the rotation proper is complete, retire when everything is."""
    following = rotation.current
    if waits_behind_glass(rotation) and (following is None or following >= rotation.plan.contained):
        return Decision(
            rotation, (*entries, note(rotation, Event.CONTAINED, BOT, until=rotation.expires_at.isoformat()))
        )
    if rotation.promoted_at is None and (following is None or following >= rotation.plan.promotion):
        rotation, promoted = _promote(rotation, has_overlap=following is not None, now=now)
        entries += promoted
    if following is not None:
        return queue(rotation, following, entries)
    rotation = replace(rotation, ended_at=now, outcome="")
    if rotation.overlap is not Overlap.NONE:
        rotation = replace(rotation, overlap=Overlap.RETIRED)
        entries += (note(rotation, Event.OVERLAP_RETIRED, BOT, retired=_names(rotation)),)
    return Decision(rotation, entries)


def _promote(rotation: Rotation, *, has_overlap: bool, now: datetime) -> tuple[Rotation, tuple[Entry, ...]]:
    cadence = rotation.plan.cadence
    if rotation.plan.expiry:  # nothing was rotated by it
        rotation = replace(rotation, state=State.PROMOTED, promoted_at=now, outcome="")
        return rotation, (note(rotation, Event.INCIDENT_PASSED, BOT),)
    rotation = replace(
        rotation,
        state=State.PROMOTED,
        promoted_at=now,
        overlap=Overlap.RETIRING if has_overlap else Overlap.NONE,
        overlap_deadline=now + rotation.plan.retire_within if has_overlap else None,
        next_due=now + cadence if cadence else None,
        outcome="",
    )
    entries = [note(rotation, Event.PROMOTED, BOT, replaced=_names(rotation), revoked=rotation.plan.emergency)]
    if rotation.next_due is not None and cadence is not None:
        due = rotation.next_due.isoformat()
        entries.append(note(rotation, Event.NEXT_DUE, BOT, due=due, cadence=duration.show(cadence)))
    if rotation.overlap_deadline is not None:
        entries.append(note(rotation, Event.OVERLAP_OPENED, BOT, deadline=rotation.overlap_deadline.isoformat()))
    return rotation, tuple(entries)


def _names(rotation: Rotation) -> dict[str, Any]:
    """Every output so far, so that the audit says which id replaced which."""
    return {
        planned.id: dict(run.outputs)
        for planned, run in zip(rotation.plan.steps, rotation.steps, strict=True)
        if run.outputs
    }


def waits_behind_glass(rotation: Rotation) -> bool:
    """Whether one person contained alone, and nobody has approved what follows."""
    return rotation.glass is not None and rotation.state is State.REQUESTED


def ask_again(rotation: Rotation, outcome: str, now: datetime) -> Rotation:
    """Consent is void before anything was done: the same plan waits for approval, and no older vote fits it."""
    nonce = hashlib.sha256(f"{rotation.nonce} {now.isoformat()}".encode()).hexdigest()[:16]
    return replace(
        rotation,
        nonce=nonce,
        state=State.REQUESTED,
        steps=tuple(StepRun(attempt=run.attempt) for run in rotation.steps),
        votes=(),
        amendment=None,
        called_at=now,
        expires_at=now + rotation.plan.approve_within,
        outcome=outcome,
    )


def queue(rotation: Rotation, i: int, entries: tuple[Entry, ...]) -> Decision:
    run = rotation.steps[i]
    run = replace(run, stage=Stage.QUEUED, attempt=run.attempt + 1, worker="", due_at=None)
    rotation = settled(replace(rotation, steps=put(rotation.steps, i, run)))
    return Decision(rotation, entries, dispatch=i)


def put_back(
    rotation: Rotation, outcome: str, entries: tuple[Entry, ...], now: datetime, by: str = BOT, reason: str = ""
) -> Decision:
    """Begin to undo everything that was touched, from the last step backwards."""
    entry = note(rotation, Event.ROLLING_BACK, by, reason=reason or outcome, was=rotation.state.value)
    entries += (entry,)
    rotation = replace(rotation, state=State.ROLLING_BACK, amendment=None, ended_at=None, outcome=outcome)
    if any(run.stage is Stage.RUNNING for run in rotation.steps):
        return Decision(rotation, entries)  # its outcome, or the loss of its worker, goes on from here
    parked = tuple(
        run if run.stage in FINISHED else replace(run, stage=Stage.HELD if run.touched else Stage.PENDING, due_at=None)
        for run in rotation.steps
    )
    return undo_next(replace(rotation, steps=parked), entries, now)


def undo_next(rotation: Rotation, entries: tuple[Entry, ...], now: datetime) -> Decision:
    for i in reversed(range(len(rotation.steps))):
        planned, run = rotation.plan.steps[i], rotation.steps[i]
        if planned.changes and run.touched and run.stage not in (Stage.UNDONE, Stage.SKIPPED):
            run = replace(run, undoing=True, failures=0, began_at=None)
            return queue(replace(rotation, steps=put(rotation.steps, i, run)), i, entries)
    steps = tuple(
        run if run.stage in FINISHED else replace(run, stage=Stage.PENDING, due_at=None) for run in rotation.steps
    )
    overlap = rotation.overlap if rotation.overlap is Overlap.NONE else Overlap.ROLLED_BACK
    rotation = replace(rotation, steps=steps, state=State.ROLLED_BACK, overlap=overlap, ended_at=now, next_due=None)
    return Decision(rotation, (*entries, note(rotation, Event.ROLLED_BACK, BOT, outcome=rotation.outcome)))


_BY_STAGE: Mapping[Stage, State] = {
    Stage.WAITING: State.WAITING,
    Stage.ASKING: State.ASKING,
    Stage.HELD: State.HELD,
}


def settled(rotation: Rotation) -> Rotation:
    """Derive the rotation's state from its current step."""
    i = rotation.current
    if i is None or rotation.state in (State.REQUESTED, State.APPROVED, State.ROLLING_BACK):
        return rotation
    stage = rotation.steps[i].stage
    if rotation.state is State.PROMOTED:
        return replace(rotation, overlap=Overlap.BLOCKED if stage is Stage.HELD else Overlap.RETIRING)
    return replace(rotation, state=_BY_STAGE.get(stage, State.RUNNING))


def lapse(rotation: Rotation, i: int) -> Rotation:
    """A request to skip a step ends when the step does, or when it begins to be undone or done again."""
    if rotation.amendment is not None and rotation.amendment.step == i:
        return replace(rotation, amendment=None)
    return rotation


def past(rotation: Rotation) -> str:
    """What became of it, to follow its id: `was cancelled on 2026-11-21`."""
    if rotation.votes and rotation.state in MOVING:
        last = rotation.votes[-1]
        return f"was already approved by {last.person} at {last.at:%Y-%m-%d %H:%M} UTC"
    ended = f" at {rotation.ended_at:%Y-%m-%d %H:%M} UTC" if rotation.ended_at else ""
    words = {
        State.REQUESTED: "is contained by one person and waits for a second"
        if rotation.glass
        else "waits for approval",
        State.PROMOTED: "is done" if rotation.is_over else "is promoted and retires the old credential",
        State.ROLLED_BACK: "was rolled back",
        State.CANCELLED: "was cancelled",
        State.ABANDONED: "was taken over by an emergency"
        if rotation.outcome.startswith(TAKEN_OVER)
        else "was abandoned because nobody approved it in time",
        State.ROLLING_BACK: "is being rolled back",
    }
    return words.get(rotation.state, "is already under way") + ended


def skip_now(rotation: Rotation, i: int, by: str, reason: str, entries: tuple[Entry, ...], now: datetime) -> Decision:
    run, planned = rotation.steps[i], rotation.plan.steps[i]
    if run.stage in FINISHED or run.stage in (Stage.QUEUED, Stage.RUNNING):
        raise Refused(f"{planned.id} has moved on meanwhile; nothing was skipped.", code="late")
    entry = note(rotation, Event.STEP_SKIPPED, by, step=planned.id, reason=reason, undo=run.undoing)
    rotation = lapse(rotation, i)
    skipped = replace(run, by=by, evidence=reason, ended_at=now, due_at=None, problem="", hint="")
    if run.undoing and rotation.state is not State.ROLLING_BACK:
        return _left_as_it_is(rotation, i, run, (*entries, entry))
    if run.undoing:
        skipped = replace(skipped, stage=Stage.UNDONE, undoing=False)
        rotation = replace(rotation, steps=put(rotation.steps, i, skipped))
        return undo_next(rotation, (*entries, entry), now)
    skipped = replace(skipped, stage=Stage.SKIPPED)
    rotation = replace(rotation, steps=put(rotation.steps, i, skipped), outcome="")
    return go_on(rotation, (*entries, entry), now)


def _left_as_it_is(rotation: Rotation, i: int, run: StepRun, entries: tuple[Entry, ...]) -> Decision:
    """A watched change could not be undone, and people gave that up: only this step is held, nothing else moves."""
    problem = str(run.progress.get("backed_out", "") or run.problem)
    held = replace(
        run,
        stage=Stage.HELD,
        undoing=False,
        due_at=None,
        began_at=None,
        failures=0,
        progress={},
        problem=f"{problem}; undoing it was given up",
        hint="Look what is there; then retry, which looks first and does what is missing, or roll back.",
    )
    rotation = replace(rotation, steps=put(rotation.steps, i, held))
    return hold(rotation, i, entries)


def hold(rotation: Rotation, i: int, entries: tuple[Entry, ...]) -> Decision:
    """People have to decide about a held step: say so in the outcome and in the audit."""
    run, planned = rotation.steps[i], rotation.plan.steps[i]
    rotation = settled(replace(rotation, outcome=f"{planned.title}: {run.problem}"))
    name = Event.OVERLAP_BLOCKED if rotation.overlap is Overlap.BLOCKED else Event.HELD
    entry = note(rotation, name, BOT, step=planned.id, problem=run.problem, hint=run.hint)
    return Decision(rotation, (*entries, entry))


def put(runs: tuple[StepRun, ...], i: int, run: StepRun) -> tuple[StepRun, ...]:
    return (*runs[:i], run, *runs[i + 1 :])


def note(rotation: Rotation, event: Event, actor: str, **detail: Any) -> Entry:
    return Entry(event, actor, rotation.id, rotation.plan.credential, detail)
