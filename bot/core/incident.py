"""The incident of an emergency or an expiry: who leads it, what was said, its review, when it may be closed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from bot.core.errors import Refused
from bot.core.events import Entry, Event

BOT = "keyturn"
ROLES = ("commander", "scribe")
MOST_NOTES = 500
LONGEST_TEXT = 2000


@dataclass(frozen=True, slots=True)
class Note:
    """What a person wrote down for the timeline."""

    at: datetime
    by: str
    text: str


@dataclass(frozen=True, slots=True)
class Answered:
    """A person's answer to a question of the review; the latest one counts."""

    question: str
    text: str
    by: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Incident:
    """One per emergency or expiry, under the number of its rotation. People are named by their ids."""

    number: int
    credential: str
    environment: str
    private: bool
    opened_at: datetime
    opened_by: str
    """Who asked for the revocation, or said what expired; `keyturn` where it found that itself."""
    version: int = 0
    commander: str = ""
    scribe: str = ""
    closed_at: datetime | None = None
    closed_by: str = ""
    solo: str = ""
    """Who contained it alone; somebody else has to close it."""
    place: str = ""
    """Id of its Slack channel, once there is one."""
    place_note: str = ""
    """Why there is no channel."""
    room: Mapping[str, Any] = field(default_factory=dict)
    """How far the channel is: topic, pinned message, bookmarks, who is invited, refusals by method. JSON."""
    said_at: datetime | None = None
    """When something was said in it last, as far as it was looked at."""
    nudged_at: datetime | None = None
    notes: tuple[Note, ...] = ()
    review: tuple[Answered, ...] = ()
    late: str = ""
    """What had failed before: a sentence when the credential was past its date. It has to be fixed before the end."""
    fixed: str = ""
    """What was changed so that it does not happen again."""

    @property
    def id(self) -> str:
        """What people type: `R-9`."""
        return f"R-{self.number}"

    @property
    def is_open(self) -> bool:
        """Whether it was not closed yet."""
        return self.closed_at is None

    @property
    def quiet_since(self) -> datetime | None:
        """Since when nothing was said and nobody was asked; None once it is closed."""
        if not self.is_open:
            return None
        return max(at for at in (self.opened_at, self.said_at, self.nudged_at) if at is not None)

    def answer(self, question: str) -> Answered | None:
        """The latest answer of a person to this question."""
        return next((one for one in reversed(self.review) if one.question == question), None)


Change = tuple[Incident, Entry]
"""The incident as it is now, and the row of the audit that says why."""


def opened(
    number: int,
    credential: str,
    environment: str,
    *,
    private: bool,
    by: str,
    now: datetime,
    solo: str = "",
    late: str = "",
    known: Mapping[str, Any] | None = None,
) -> Change:
    """Open it; whoever asked for it commands it until they hand it over, and nobody yet what the bot found.

    `known` is what the inventory says of the credential now, kept in the audit for the review.
    """
    lead = "" if by == BOT else by
    incident = Incident(
        number, credential, environment, private, now, by, commander=lead, solo=solo, said_at=now, late=late
    )
    return incident, _entry(incident, Event.INCIDENT_OPENED, by, solo=solo, late=late, known=known or {})


def broken_by(incident: Incident, solo: str) -> Incident:
    """The same after somebody contained alone in an incident that was open already."""
    return replace(incident, solo=solo)


def with_role(incident: Incident, role: str, person: str, by: str) -> Change:
    """Hand a role over."""
    _open(incident)
    if role not in ROLES:
        raise Refused(f"There is no role {role!r}; the roles are {' and '.join(ROLES)}.", code="unknown-role")
    if getattr(incident, role) == person:
        raise Refused(f"{person} is the {role} of {incident.id} already.", code="late")
    was = getattr(incident, role)
    after = replace(incident, commander=person) if role == "commander" else replace(incident, scribe=person)
    return after, _entry(after, Event.INCIDENT_ROLE, by, role=role, person=person, was=was)


def noted(incident: Incident, text: str, by: str, now: datetime) -> Change:
    """Write something down for the timeline."""
    _open(incident)
    text = _text(text, f'Write what to note: incident {incident.id} --note "what happened".')
    if len(incident.notes) >= MOST_NOTES:
        raise Refused(f"{incident.id} has {MOST_NOTES} notes; keep the rest elsewhere and close it.", code="full")
    after = replace(incident, notes=(*incident.notes, Note(now, by, text)), said_at=now)
    return after, _entry(after, Event.INCIDENT_NOTE, by, text=text)


def answered(incident: Incident, question: str, text: str, by: str, now: datetime, known: Collection[str]) -> Change:
    """Answer a question of the review; `known` are the questions that there are."""
    _open(incident)
    if question not in known:
        raise Refused(f"The review has no question {question!r}; it has {', '.join(known)}.", code="unknown-question")
    text = _text(text, f'Give the answer too: incident {incident.id} --answer {question} --text "…".')
    others = tuple(one for one in incident.review if one.question != question)
    after = replace(incident, review=(*others, Answered(question, text, by, now)), said_at=now)
    return after, _entry(after, Event.INCIDENT_REVIEW, by, question=question, text=text)


def mended(incident: Incident, text: str, by: str, now: datetime) -> Change:
    """Say what was changed so that the reminder which failed works from now on."""
    _open(incident)
    text = _text(text, f'Say what was changed: incident {incident.id} --fixed "what was changed".')
    after = replace(incident, fixed=text, said_at=now)
    return after, _entry(after, Event.INCIDENT_REVIEW, by, question="fixed", text=text)


def nudged(incident: Incident, now: datetime) -> Change:
    """Ask for an update, as nothing was said for a while."""
    after = replace(incident, nudged_at=now)
    return after, _entry(after, Event.INCIDENT_NUDGED, BOT, commander=incident.commander)


def gone_on(incident: Incident, other: str, now: datetime) -> Change:
    """Close it because a revocation of the same credential was approved: that has an incident of its own."""
    _open(incident)
    after = replace(incident, closed_at=now, closed_by=BOT)
    reason = f"it goes on as the emergency {other}"
    return after, _entry(after, Event.INCIDENT_CLOSED, BOT, reason=reason, taken_over=other)


def closed(
    incident: Incident,
    by: str,
    now: datetime,
    *,
    unanswered: Collection[str],
    is_over: bool,
    own: bool = False,
    unmended: Collection[str] = (),
) -> Change:
    """Close it. Refused while something is open, and to those who acted alone, or under another account (`own`).

    `unanswered` are the questions for which there is neither data nor an answer; `is_over` says whether the
    revocation, or every stage after an expiry, has ended; `unmended` is what keeps its next reminder from reaching
    anybody, as the inventory shows it now.
    """
    _open(incident)
    if own or (incident.solo and by in (incident.solo, incident.opened_by)):
        raise Refused(
            f"{incident.solo} contained {incident.credential} alone, so somebody who neither did that nor asked for it "
            f"has to close {incident.id}.",
            code="own-incident",
        )
    if not is_over:
        raise Refused(f"{incident.id} is still under way; follow it with: status {incident.id}.", code="under-way")
    if unmended:
        raise Refused(
            f"The reminder that should have prevented {incident.id} is not mended: {'; '.join(unmended)}. Correct that "
            f"in the settings or with the words of the inventory; then close it again.",
            code="not-mended",
        )
    if incident.late and not incident.fixed:
        raise Refused(
            f"{incident.late} First see to it that the reminder works, then say what was changed: "
            f'incident {incident.id} --fixed "what was changed".',
            code="not-fixed",
        )
    if unanswered:
        raise Refused(
            f"The review of {incident.id} has questions that nobody answered: {', '.join(unanswered)}. Answer with: "
            f'incident {incident.id} --answer {next(iter(unanswered))} --text "…".',
            code="not-reviewed",
        )
    after = replace(incident, closed_at=now, closed_by=by)
    return after, _entry(after, Event.INCIDENT_CLOSED, by, fixed=incident.fixed)


def _open(incident: Incident) -> None:
    if incident.closed_at is not None:
        when = f"{incident.closed_at:%Y-%m-%d %H:%M} UTC"
        raise Refused(f"The incident of {incident.id} was closed by {incident.closed_by} at {when}.", code="late")


def _text(text: str, otherwise: str) -> str:
    text = text.strip()
    if not text:
        raise Refused(otherwise, code="text-missing")
    if len(text) > LONGEST_TEXT:
        raise Refused(f"That is longer than {LONGEST_TEXT} characters; say it shorter.", code="too-long")
    return text


def _entry(incident: Incident, event: Event, actor: str, **detail: Any) -> Entry:
    return Entry(event, actor, incident.id, incident.credential, detail)
