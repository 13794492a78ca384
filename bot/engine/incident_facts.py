"""What is known of an incident: the facts for its review, what recovers it, and the whole of it as it is shown."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from bot.contracts.command import IncidentView
from bot.core.events import Event
from bot.core.incident import Incident
from bot.core.review import Facts, Row, review, summary, timeline, told_callers
from bot.core.rotation import Rotation, State
from bot.engine.planner import resolved
from bot.engine.scope import scope_of
from bot.store.reading import Reader
from bot.store.records import RotationSummary

MOST_ROWS = 1000
MOST_EARLIER = 20
_TROUBLE = {
    State.ABANDONED: "was given up",
    State.ROLLED_BACK: "was rolled back",
    State.HELD: "is held",
    State.CANCELLED: "was withdrawn or rejected",
}


def view_of(reader: Reader, incident: Incident, rotation: Rotation) -> IncidentView:
    """Everything that is shown of an incident."""
    rows = [
        Row(row.at, row.event, row.actor, row.detail)
        for row in reversed(reader.history(rotation=rotation.id, limit=MOST_ROWS))
    ]
    return IncidentView(
        incident=incident,
        rotation=rotation,
        questions=review(incident, facts_of(reader, rotation)),
        timeline=timeline(rows, incident.notes),
        summary=summary_of(reader, incident, rotation),
        links=tuple(str(row.outputs["url"]) for row in reader.errands(rotation.number) if row.outputs.get("url")),
    )


def facts_of(reader: Reader, rotation: Rotation) -> Facts:
    """What the inventory knew when the incident was opened, and how earlier rotations went."""
    opened = reader.history(rotation=rotation.id, event=Event.INCIDENT_OPENED, limit=1)
    known: dict[str, Any] = dict(opened[0].detail.get("known", {})) if opened else {}
    plan = rotation.plan
    earlier = reader.rotations(
        credential=plan.credential,
        environment=plan.environment,
        before=rotation.number,
        limit=MOST_EARLIER,
        incidents=False,
    )
    trouble = [
        f"R-{row.number} {_TROUBLE[row.state]} ({row.outcome or 'no reason is known'})".replace(".)", ")")
        for row in reversed(earlier)
        if row.state in _TROUBLE
    ]
    return Facts(
        owner=known.get("owner", ""),
        source=known.get("source", ""),
        cadence=known.get("cadence", ""),
        next_due=_moment(known.get("next_due")),
        last_rotated_at=_moment(known.get("last_rotated_at")),
        remind_at=_moment(known.get("remind_at")),
        earlier=len(earlier),
        trouble=tuple(trouble),
        expires_at=_moment(known.get("expires_at")),
        owner_finding=known.get("owner_finding", ""),
        told=tuple(known.get("told", ())),
        undelivered=tuple(known.get("undelivered", ())),
        watched="told" in known,
    )


def recovery_of(reader: Reader, rotation: Rotation) -> RotationSummary | None:
    """What replaces an expired credential: a rotation promoted since the incident began, else the one under way."""
    plan = rotation.plan
    rows = reader.rotations(
        credential=plan.credential, environment=plan.environment, incidents=False, limit=MOST_EARLIER
    )
    since = rotation.created_at
    done = [row for row in rows if row.promoted_at and row.promoted_at >= since and row.state is State.PROMOTED]
    under_way = [row for row in rows if row.promoted_at is None and row.ended_at is None]
    return next(iter([*done, *under_way]), None)


def summary_of(reader: Reader, incident: Incident, rotation: Rotation) -> str:
    """What affected callers have to know. Locks nothing beside what is locked already."""
    if not rotation.plan.expiry:
        return summary(incident, rotation, *_names(rotation))
    found = recovery_of(reader, rotation)
    recovery = reader.rotation(found.number, lock=False) if found is not None else None
    old, new = _names(recovery) if recovery is not None else ("", "")
    expired_at = facts_of(reader, rotation).expires_at
    return told_callers(incident, rotation.plan, old=old, new=new, expired_at=expired_at, recovery=recovery)


def _names(rotation: Rotation) -> tuple[str, str]:
    """The public names of the old and the new one, as far as the runbook tells them by now."""
    outputs = scope_of(rotation)["steps"]
    return resolved(rotation.plan, "old", outputs), resolved(rotation.plan, "new", outputs)


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
