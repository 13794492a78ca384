"""Calling people who have not answered: reminders, and the next ones along the plan's escalation."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from bot.core.decision import BOT, Decision, Stale, note
from bot.core.events import Event
from bot.core.rotation import Called, Rotation


def called(rotation: Rotation, event: Called, now: datetime) -> Decision:
    """Remind, or widen who may approve by the next stage.

    Raises `Stale` when nobody has to be called yet, and when the next stage became due after it was asked who is in it.
    """
    due = rotation.calls_at
    if due is None or due > now:
        raise Stale("nobody has to be called yet")
    plan = rotation.plan
    rotation = replace(rotation, called_at=now)
    if stage_due(rotation, now):
        if event.stage != rotation.escalated + 1:
            raise Stale("it was asked who may approve at another stage")
        stage = plan.escalation[rotation.escalated]
        rotation = replace(rotation, escalated=rotation.escalated + 1, eligible=event.eligible)
        detail = {"to": list(stage["to"]), "page": bool(stage.get("page")), "stage": rotation.escalated}
        return Decision(rotation, (note(rotation, Event.ESCALATED, BOT, **detail),))
    entry = note(rotation, Event.REMINDED, BOT, missing=rotation.missing_approvals)
    return Decision(rotation, (entry,))


def stage_due(rotation: Rotation, now: datetime) -> bool:
    """Whether the next stage of the escalation is due, rather than a reminder of those who were asked."""
    stages = rotation.plan.escalation
    if rotation.escalated >= len(stages):
        return False
    return bool((now - rotation.asked_at).total_seconds() >= stages[rotation.escalated]["after"])
