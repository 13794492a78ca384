"""A worker's reports: a step begins, ends, waits, fails, is undone, or is lost with its worker."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from bot.core.decision import BOT, Decision, Stale, ask_again, go_on, hold, lapse, note, put, queue, settled, undo_next
from bot.core.events import Entry, Event
from bot.core.plan import DESTROYS
from bot.core.rotation import (
    UNDERWAY,
    Asking,
    BackOut,
    Began,
    Done,
    Due,
    Ended,
    Failed,
    Kept,
    Lost,
    NotYet,
    Rotation,
    Stage,
    State,
)

FIRST_BACKOFF = timedelta(seconds=2)
LONGEST_BACKOFF = timedelta(minutes=5)


def began(rotation: Rotation, event: Began, now: datetime) -> Decision:
    run = rotation.steps[event.step]
    if run.stage is not Stage.QUEUED or run.attempt != event.attempt:
        raise Stale("the step has moved on")
    if rotation.is_over or (rotation.state is State.REQUESTED and rotation.glass is None):
        raise Stale("nothing of it may run")
    if rotation.state is State.APPROVED and now >= rotation.expires_at and not rotation.plan.expiry:
        return approval_expired(rotation, now)
    started = rotation.state is State.APPROVED
    planned = rotation.plan.steps[event.step]
    again = run.touched
    rotation = replace(
        rotation,
        started_at=rotation.started_at or now,
        steps=put(
            rotation.steps,
            event.step,
            replace(
                run,
                stage=Stage.RUNNING,
                worker=event.worker,
                touched=run.touched or not run.undoing,
                began_at=run.began_at or now,
                due_at=None,
                progress={} if started else run.progress,
                problem="",
                hint="",
                ambiguous=False,
            ),
        ),
    )
    entries: tuple[Entry, ...] = ()
    if started:
        rotation = replace(rotation, state=State.RUNNING, outcome="")
        entries = (note(rotation, Event.STARTED, BOT, plan=rotation.plan.digest),)
    name = Event.UNDO_INTENT if run.undoing else Event.STEP_INTENT
    looks = UNDERWAY in run.progress if run.undoing else again and not (planned.changes and not run.progress)
    if not looks:  # a look at what was done is no effect
        entries += (
            note(rotation, name, BOT, step=planned.id, does=planned.title, attempt=run.attempt, worker=event.worker),
        )
    return Decision(settled(rotation), entries)


def approval_expired(rotation: Rotation, now: datetime) -> Decision:
    """The approval was not used in time, so people are asked again."""
    rotation = ask_again(
        rotation, "The approval expired before the first step could start; it needs approval again.", now
    )
    return Decision(rotation, (note(rotation, Event.PLAN_CHANGED, BOT, what=["approval expired"]),))


def ended(rotation: Rotation, event: Ended, now: datetime) -> Decision:
    run = rotation.steps[event.step]
    if run.stage is not Stage.RUNNING or run.attempt != event.attempt or run.worker != event.worker:
        raise Stale("the step has been taken over")
    outcome = event.outcome
    if rotation.state is State.ABANDONED:
        return _ended_after_take_over(rotation, event.step, outcome, now)
    if rotation.state is State.ROLLING_BACK and not run.undoing:
        return _ended_while_rolling_back(rotation, event.step, outcome, now)
    match outcome:
        case Done():
            return _step_done(rotation, event.step, outcome, now)
        case NotYet():
            return _step_waits(rotation, event.step, outcome)
        case Failed():
            return _step_failed(rotation, event.step, outcome, now)
        case Asking():
            return _step_asks(rotation, event.step, outcome)
        case BackOut():
            return _back_out(rotation, event.step, outcome, now)


def _step_done(rotation: Rotation, i: int, outcome: Done, now: datetime) -> Decision:
    planned, run = rotation.plan.steps[i], rotation.steps[i]
    if run.undoing:
        return _step_undone(rotation, i, outcome, now)
    done = replace(
        run,
        stage=Stage.DONE,
        outputs={**run.outputs, **outcome.outputs},
        evidence=outcome.evidence,
        ended_at=now,
        failures=0,
        progress={},
    )
    rotation = lapse(replace(rotation, steps=put(rotation.steps, i, done)), i)
    entry = note(
        rotation,
        Event.STEP_OUTCOME,
        BOT,
        step=planned.id,
        result="done",
        outputs=dict(done.outputs),
        evidence=outcome.evidence,
        attempt=run.attempt,
    )
    return go_on(rotation, (entry,), now)


def _step_waits(rotation: Rotation, i: int, outcome: NotYet) -> Decision:
    planned, run = rotation.plan.steps[i], rotation.steps[i]
    first = run.evidence == "" and run.progress == {}
    outputs = run.outputs if outcome.outputs is None else {**run.outputs, **outcome.outputs}
    waiting = replace(
        run,
        stage=Stage.WAITING,
        due_at=outcome.at,
        evidence=outcome.evidence,
        progress=outcome.progress,
        outputs=outputs,
        failures=0,
    )
    rotation = settled(replace(rotation, steps=put(rotation.steps, i, waiting)))
    entries: tuple[Entry, ...] = ()
    if first or outcome.outputs is not None:
        entries = (
            note(
                rotation,
                Event.STEP_OUTCOME,
                BOT,
                step=planned.id,
                result="waiting",
                evidence=outcome.evidence,
                until=outcome.at.isoformat(),
                outputs=dict(outputs),
            ),
        )
    return Decision(rotation, entries)


def _step_failed(rotation: Rotation, i: int, outcome: Failed, now: datetime) -> Decision:
    planned, run = rotation.plan.steps[i], rotation.steps[i]
    failures = run.failures + 1
    again = outcome.retry_in is not None and not outcome.ambiguous and failures < planned.step.tries
    outputs = run.outputs if outcome.outputs is None else {**run.outputs, **outcome.outputs}
    progress = {name: value for name, value in run.progress.items() if name != UNDERWAY}
    run = replace(
        run, failures=failures, problem=outcome.problem, hint=outcome.hint, outputs=outputs, progress=progress
    )
    detail = {
        "step": planned.id,
        "result": "retry" if again else "ambiguous" if outcome.ambiguous else "failed",
        "problem": outcome.problem,
        "hint": outcome.hint,
        "attempt": run.attempt,
    }
    name = Event.UNDO_OUTCOME if run.undoing else Event.STEP_OUTCOME
    entry = note(rotation, name, BOT, **detail)
    if again:
        assert outcome.retry_in is not None
        wait = max(outcome.retry_in, min(FIRST_BACKOFF * 2 ** (failures - 1), LONGEST_BACKOFF))
        run = replace(run, stage=Stage.WAITING, due_at=now + wait)
        return Decision(settled(replace(rotation, steps=put(rotation.steps, i, run))), (entry,))
    run = replace(run, stage=Stage.HELD, ambiguous=outcome.ambiguous)
    return hold(replace(rotation, steps=put(rotation.steps, i, run)), i, (entry,))


def _step_asks(rotation: Rotation, i: int, outcome: Asking) -> Decision:
    run = replace(rotation.steps[i], stage=Stage.ASKING, evidence=outcome.question)
    rotation = settled(replace(rotation, steps=put(rotation.steps, i, run)))
    entry = note(
        rotation, Event.STEP_OUTCOME, BOT, step=rotation.plan.steps[i].id, result="asking", question=outcome.question
    )
    return Decision(rotation, (entry,))


def _back_out(rotation: Rotation, i: int, outcome: BackOut, now: datetime) -> Decision:
    planned, run = rotation.plan.steps[i], rotation.steps[i]
    if planned.effect == DESTROYS:
        hint = "What was destroyed cannot be put back; see to the problem, then retry, which goes on watching."
        return _step_failed(rotation, i, Failed(outcome.problem, hint), now)
    entry = note(rotation, Event.STEP_OUTCOME, BOT, step=planned.id, result="backing-out", problem=outcome.problem)
    notes = {"backed_out": outcome.problem}
    run = replace(run, undoing=True, problem=outcome.problem, progress=notes, failures=0, began_at=None)
    return queue(lapse(replace(rotation, steps=put(rotation.steps, i, run)), i), i, (entry,))


def _step_undone(rotation: Rotation, i: int, outcome: Done, now: datetime) -> Decision:
    planned, run = rotation.plan.steps[i], rotation.steps[i]
    entry = note(rotation, Event.UNDO_OUTCOME, BOT, step=planned.id, result="undone", evidence=outcome.evidence)
    run = replace(run, undoing=False, failures=0, ended_at=now, evidence=outcome.evidence)
    rotation = lapse(rotation, i)
    if rotation.state is State.ROLLING_BACK:
        run = replace(run, stage=Stage.UNDONE, progress={})
        return undo_next(replace(rotation, steps=put(rotation.steps, i, run)), (entry,), now)
    problem = str(run.progress.get("backed_out", "the change was undone"))
    run = replace(run, stage=Stage.HELD, problem=problem, hint="It was undone; nothing is broken.", progress={})
    run = replace(run, touched=False, outputs={}, began_at=None, ended_at=None)
    return hold(replace(rotation, steps=put(rotation.steps, i, run)), i, (entry,))


def _ended_while_rolling_back(rotation: Rotation, i: int, outcome: Any, now: datetime) -> Decision:
    """The step that was in flight when the rollback was asked for: note what came of it, then undo it with the rest."""
    run = rotation.steps[i]
    outputs = getattr(outcome, "outputs", None) or {}
    stage = Stage.DONE if isinstance(outcome, Done) else Stage.HELD
    run = replace(run, stage=stage, outputs={**run.outputs, **outputs}, ended_at=now)
    rotation = replace(rotation, steps=put(rotation.steps, i, run))
    entry = note(
        rotation,
        Event.STEP_OUTCOME,
        BOT,
        step=rotation.plan.steps[i].id,
        result=type(outcome).__name__.lower(),
        outputs=dict(run.outputs),
        then="rolling back",
    )
    return undo_next(rotation, (entry,), now)


def _ended_after_take_over(rotation: Rotation, i: int, outcome: Any, now: datetime) -> Decision:
    """The step that was in flight when an emergency took over: what came of it is kept, and nothing follows."""
    run = rotation.steps[i]
    outputs = {**run.outputs, **(getattr(outcome, "outputs", None) or {})}
    done = replace(run, stage=Stage.DONE if isinstance(outcome, Done) else Stage.PENDING, outputs=outputs, ended_at=now)
    rotation = replace(rotation, steps=put(rotation.steps, i, done))
    result = type(outcome).__name__.lower()
    detail = {"step": rotation.plan.steps[i].id, "result": result, "outputs": outputs, "then": "taken over"}
    return Decision(rotation, (note(rotation, Event.STEP_OUTCOME, BOT, **detail),))


def due(rotation: Rotation, event: Due, now: datetime) -> Decision:
    run = rotation.steps[event.step]
    if run.stage is not Stage.WAITING or run.attempt != event.attempt or run.due_at is None or run.due_at > now:
        raise Stale("the step is not due")
    return queue(rotation, event.step, ())


def kept(rotation: Rotation, event: Kept, now: datetime) -> Decision:
    """It waits, untouched: nothing of it has begun, so everything can still be put back."""
    run, planned = rotation.steps[event.step], rotation.plan.steps[event.step]
    if run.stage is not Stage.QUEUED or run.attempt != event.attempt or run.undoing:
        raise Stale("the step has moved on")
    again = run.evidence == event.why
    waiting = replace(run, stage=Stage.WAITING, due_at=event.at, evidence=event.why)
    rotation = settled(replace(rotation, steps=put(rotation.steps, event.step, waiting)))
    entry = note(rotation, Event.MATERIAL_KEPT, BOT, step=planned.id, why=event.why)
    return Decision(rotation, () if again else (entry,))


def lost(rotation: Rotation, event: Lost, now: datetime) -> Decision:
    run, planned = rotation.steps[event.step], rotation.plan.steps[event.step]
    if run.stage not in (Stage.RUNNING, Stage.QUEUED) or run.attempt != event.attempt:
        raise Stale("the step has moved on")
    entries: tuple[Entry, ...] = ()
    if run.stage is Stage.RUNNING:
        entries = (note(rotation, Event.STEP_LOST, BOT, step=planned.id, attempt=run.attempt, worker=run.worker),)
    if rotation.state is State.ABANDONED:
        steps = put(rotation.steps, event.step, replace(run, stage=Stage.PENDING))
        return Decision(replace(rotation, steps=steps), entries)
    if rotation.state is State.ROLLING_BACK and not run.undoing:
        steps = put(rotation.steps, event.step, replace(run, stage=Stage.HELD))
        return undo_next(replace(rotation, steps=steps), entries, now)
    return queue(rotation, event.step, entries)
