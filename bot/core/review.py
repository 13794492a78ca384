"""The review after an emergency or an expiry: its questions with what the data say, the timeline, what callers hear.

The questions are those of an expiry that was missed: whether anybody could have known, and who was told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bot.core.events import Event
from bot.core.incident import Incident, Note
from bot.core.plan import Plan
from bot.core.rotation import FINISHED, Overlap, Rotation, Stage, State
from bot.core.story import tell

NOT_KNOWN = "not known"
INTEGRITY = "integrity"
"""What people found out about the data; not one of the five, told to affected callers."""

ASKS: Mapping[str, str] = {
    "alert": "Was a reminder set for its date?",
    "query": "Was the reminder fed by the inventory, or by an equal query?",
    "owner": "Did the reminder reach the right owner?",
    "missing": "Did the credential lack an owner or a date?",
    "coordination": "Was its rotation held up by coordination with others?",
}
QUESTIONS = (*ASKS, INTEGRITY)
"""Every question that can be answered."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the inventory knew of the credential when the incident was opened, and what earlier rotations show."""

    owner: str = ""
    source: str = ""
    """Who declared it: `settings`, an import. Empty when it is not in the inventory."""
    cadence: str = ""
    """`90d`; empty when it has none."""
    next_due: datetime | None = None
    last_rotated_at: datetime | None = None
    remind_at: datetime | None = None
    """For when its next reminder was set."""
    earlier: int = 0
    """Rotations of it before this one."""
    trouble: tuple[str, ...] = ()
    """One sentence for each earlier rotation that was held or given up."""
    expires_at: datetime | None = None
    """When the system itself refuses it, as far as the inventory knew."""
    owner_finding: str = ""
    """Why its owner could not be reached."""
    told: tuple[str, ...] = ()
    """One phrase for each reminder that was sent since it was rotated last: `7d on 2026-11-01 to @dave`."""
    undelivered: tuple[str, ...] = ()
    """One phrase for each place that a reminder did not arrive at: `to @dave on 2026-11-01 (user_disabled)`."""
    watched: bool = False
    """Whether what was told is known, rather than only when the next reminder was set for."""


@dataclass(frozen=True, slots=True)
class Question:
    """A question of the review. `found` is what the data say, empty when they say nothing."""

    id: str
    asks: str
    found: str = ""
    answer: str = ""
    by: str = ""

    @property
    def is_open(self) -> bool:
        """Whether neither data nor a person has answered it."""
        return not self.found and not self.answer

    @property
    def told(self) -> str:
        """What stands beside it: a person's answer, else the data, else that it is not known."""
        return f"{self.answer} ({self.by})" if self.answer else self.found or NOT_KNOWN


def review(incident: Incident, facts: Facts) -> tuple[Question, ...]:
    """The five questions, filled in as far as anything is known."""
    found = {
        "alert": _alert(facts),
        "query": _query(facts),
        "owner": _owner(facts),
        "missing": _missing(facts),
        "coordination": _coordination(facts),
    }
    questions = []
    for name, asks in ASKS.items():
        given = incident.answer(name)
        questions.append(
            Question(name, asks, found[name], given.text if given else "", given.by if given else ""),
        )
    return tuple(questions)


def unanswered(questions: Sequence[Question]) -> tuple[str, ...]:
    """Ids of the questions for which there is neither data nor an answer."""
    return tuple(question.id for question in questions if question.is_open)


def _alert(facts: Facts) -> str:
    if facts.next_due is None:
        return "No: the inventory had no date for it, so nothing could remind anybody."
    if facts.told:
        return f"Yes: {len(facts.told)} reminder(s) were sent, and none was acted on."
    if facts.undelivered:
        return f"Yes, but {len(facts.undelivered)} reminder(s) could not be delivered, and nobody got one."
    if facts.watched and facts.remind_at is None:
        return "No: no reminder was set, and none was sent."
    if facts.remind_at is not None and (facts.last_rotated_at is None or facts.remind_at > facts.last_rotated_at):
        return f"Yes: the inventory's next reminder was set for {_day(facts.remind_at)}."
    return ""


def _owner(facts: Facts) -> str:
    if facts.next_due is None:
        return "No: without a date there was nothing to remind of."
    missed = f" Not delivered: {'; '.join(facts.undelivered)}." if facts.undelivered else ""
    if facts.owner_finding:
        return f"No: {facts.owner_finding}{missed}"
    if facts.told:
        return f"It was sent: {'; '.join(facts.told)}. Its owner was {facts.owner or 'nobody'}.{missed}"
    if missed:
        return f"No:{missed}"
    return "No: nobody was reminded." if facts.watched else ""


def _query(facts: Facts) -> str:
    if not facts.source:
        return "No: the inventory does not have it."
    if facts.next_due is None:
        return "No: the inventory had no date for it."
    if facts.expires_at is not None:
        return f"Yes: the inventory knew that it expires on {_day(facts.expires_at)} (from {facts.source})."
    if facts.last_rotated_at is None or not facts.cadence:
        return ""
    return (
        f"Yes: rotated on {_day(facts.last_rotated_at)} and due every {facts.cadence}, so due on "
        f"{_day(facts.next_due)} (inventory, from {facts.source})."
    )


def _missing(facts: Facts) -> str:
    owner = f"its owner is {facts.owner}" if facts.owner else "it had no owner"
    date = f"it was due on {_day(facts.next_due)}" if facts.next_due else "it had no date"
    return f"{'No' if facts.owner and facts.next_due else 'Yes'}: {owner}, and {date}."


def _coordination(facts: Facts) -> str:
    if facts.trouble:
        return f"Earlier: {'; '.join(facts.trouble)}."
    if facts.earlier:
        return f"Nothing shows it: none of {facts.earlier} earlier rotation(s) was held or given up."
    return ""


# --- at the end -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Moment:
    """One line of the timeline."""

    at: datetime
    text: str


_TOLD = frozenset(
    {
        Event.REQUESTED,
        Event.VOTE_COUNTED,
        Event.APPROVED,
        Event.PLAN_CHANGED,
        Event.ESCALATED,
        Event.REMINDED,
        Event.GLASS_BROKEN,
        Event.CONTAINED,
        Event.GLASS_LAPSED,
        Event.PROMOTED,
        Event.HELD,
        Event.OVERLAP_BLOCKED,
        Event.OVERLAP_RETIRED,
        Event.CANCELLED,
        Event.ABANDONED,
        Event.ROLLING_BACK,
        Event.ROLLED_BACK,
        Event.STEP_SKIPPED,
        Event.STEP_CONFIRMED,
        Event.STEP_LOST,
        Event.AMENDMENT_ASKED,
        Event.AMENDMENT_APPROVED,
        Event.AMENDMENT_LAPSED,
        Event.ERRAND_OUTCOME,
        Event.INCIDENT_OPENED,
        Event.INCIDENT_ROLE,
        Event.INCIDENT_PLACE,
        Event.INCIDENT_CLOSED,
        Event.INCIDENT_PASSED,
        Event.CALLERS_TOLD,
        Event.CALLERS_MISSED,
        Event.TAKEN_OVER,
    }
)
_ENDINGS = frozenset({"done", "undone", "failed", "ambiguous", "asking", "backing-out"})
"""Results of a step that people want to read of; not each look and each try."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the audit, as far as the timeline needs it."""

    at: datetime
    event: Event | str
    actor: str
    detail: Mapping[str, Any]


def timeline(rows: Sequence[Row], notes: Sequence[Note]) -> tuple[Moment, ...]:
    """The audit's rows that matter and what people noted, in order; `rows` are the oldest first."""
    told = [Moment(row.at, tell(row.event, row.actor, row.detail)) for row in rows if _matters(row)]
    told += [Moment(note.at, f"{note.by}: {note.text}") for note in notes]
    return tuple(sorted(told, key=lambda one: one.at))


def _matters(row: Row) -> bool:
    if row.event in (Event.STEP_OUTCOME, Event.UNDO_OUTCOME):
        return row.detail.get("result") in _ENDINGS
    return row.event in _TOLD


def summary(incident: Incident, rotation: Rotation, old: str = "", new: str = "") -> str:
    """What affected callers have to know: which one, since when it was replaced, and whether data are at risk.

    `old` and `new` are the public ids, as the runbook names them.
    """
    plan = rotation.plan
    what = f"{plan.credential} ({plan.environment})"
    key = f" {old}" if old else ""
    lines = [f"The credential{key} of {what} was revoked: {plan.reason}", _replaced(rotation, new), _refused(rotation)]
    found = incident.answer(INTEGRITY)
    if found is not None:
        lines.append(f"Integrity of data: {found.text}")
    else:
        lines.append(
            "Integrity of data: nobody has said yet whether it is at risk. Who had the old one could use it until it "
            "was refused; look at what was done with it before."
        )
    return "\n".join(line for line in lines if line)


def told_callers(
    incident: Incident,
    plan: Plan,
    *,
    old: str = "",
    new: str = "",
    expired_at: datetime | None = None,
    recovery: Rotation | None = None,
) -> str:
    """What affected callers have to know of an expiry: which one, since when it is replaced, and if data are at risk.

    `recovery` is the rotation that replaces it, as far as there is one.
    """
    key = f" {old}" if old else ""
    when = f" on {_minute(expired_at)}" if expired_at else ""
    lines = [f"The credential{key} of {plan.credential} ({plan.environment}) expired{when}."]
    if recovery is None:
        lines.append("It is not replaced yet.")
    elif recovery.promoted_at is not None:
        named = f" ({new})" if new else ""
        lines.append(f"Its replacement{named} is in use since {_minute(recovery.promoted_at)} ({recovery.id}).")
    else:
        lines.append(f"It is being replaced by {recovery.id}, which is {recovery.state.value.replace('_', ' ')}.")
    found = incident.answer(INTEGRITY)
    lines.append(f"Integrity of data: {found.text if found else 'nobody has said yet whether it is at risk.'}")
    return "\n".join(lines)


def _replaced(rotation: Rotation, new: str) -> str:
    if rotation.state is State.ROLLED_BACK:
        return "That was taken back: the old one is in use again."
    if rotation.promoted_at is None:
        return "It is not replaced yet."
    return f"The new one{f' ({new})' if new else ''} is in use since {_minute(rotation.promoted_at)}."


def _refused(rotation: Rotation) -> str:
    """Since when the suspected one cannot be used."""
    if rotation.state is State.ROLLED_BACK:
        return ""
    plan = rotation.plan
    contained = rotation.steps[: plan.contained] if plan.contained else ()
    if contained and all(run.stage in FINISHED for run in contained):
        ends = [run.ended_at for run in contained if run.ended_at and run.stage is Stage.DONE]
        return f"The old one is refused since {_minute(max(ends))}." if ends else ""
    if rotation.ended_at is not None and rotation.is_over and rotation.overlap in (Overlap.NONE, Overlap.RETIRED):
        return f"The old one is refused since {_minute(rotation.ended_at)} at the latest."
    return "The old one may still work."


def _day(at: datetime) -> str:
    return f"{at:%Y-%m-%d}"


def _minute(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"
