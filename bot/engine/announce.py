"""Says in the card's thread what people must not miss: a step that needs them, and the end."""

from __future__ import annotations

from bot.core.rotation import Overlap, Rotation, Stage, State
from bot.core.runbook import Section
from bot.core.safety import what_is_left
from bot.engine.incidents import open_incident
from bot.store.writing import Transaction


def announce(tx: Transaction, before: Rotation | None, after: Rotation) -> None:
    """Add a notice for a change that asks for somebody, in the transaction that made the change."""
    open_incident(tx, before, after)
    told = _told(before, after)
    if told is None:
        return
    what, text = told
    payload = {"rotation": after.number, "broadcast": True}
    tx.add_notice(f"{what}-{after.number}-{after.version}", "", after.channel, text, payload)


def remind_overlap(tx: Transaction, rotation: Rotation) -> None:
    """The old credential is still valid past the day by which it was to be retired."""
    i = rotation.current
    step = rotation.plan.steps[i].title if i is not None else "its last step"
    text = (
        f"{rotation.id} ({rotation.plan.credential}, {rotation.plan.environment}) is past its deadline: the old "
        f"credential is still valid. It waits at: {step}. {rotation.steps[i].evidence if i is not None else ''}"
    )
    payload = {"rotation": rotation.number, "broadcast": True}
    tx.add_notice(f"overdue-{rotation.number}", "", rotation.channel, text.strip(), payload)


def _told(before: Rotation | None, after: Rotation) -> tuple[str, str] | None:
    name = f"{after.id} ({after.plan.credential}, {after.plan.environment})"
    i = after.current
    run = after.steps[i] if i is not None else None
    was = before.steps[i].stage if before is not None and i is not None else None
    if i is not None and run is not None and run.stage is not was:
        title = after.plan.steps[i].title
        if run.stage is Stage.HELD:
            said = " ".join(_sentence(part) for part in (run.problem, run.hint, what_is_left(after)) if part)
            return "held", f"{name} is held at {title}: {said}"
        if run.stage is Stage.ASKING:
            return "asking", f"{name} asks: {run.evidence}"
    if before is not None and before.state is not after.state:
        if after.state is State.ROLLED_BACK:
            return "rolled-back", f"{name} is rolled back; the old credential is in use again. {after.outcome}"
        if after.state is State.REQUESTED:
            return "asked-again", f"{name} needs approval again: {after.outcome or 'its plan changed'}"
        if after.state is State.ABANDONED:
            return "abandoned", f"{name} was abandoned: {after.outcome}"
    if before is not None and before.overlap is not after.overlap and after.overlap is Overlap.RETIRED:
        skipped = [
            planned.title
            for planned, each in zip(after.plan.steps, after.steps, strict=True)
            if planned.section is Section.RETIRE and each.stage is Stage.SKIPPED
        ]
        if skipped:
            return "retired", f"{name} is done: the old credential is retired, without proof of: {'; '.join(skipped)}."
        return "retired", f"{name} is done: the old credential is retired and refused everywhere."
    return None


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."
