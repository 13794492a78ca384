"""What stands in an incident's channel: the status, edited in place, and at its end the timeline and the review."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from bot.core.incident import Incident
from bot.core.review import Moment, Question
from bot.core.rotation import Rotation, Stage, State
from bot.core.safety import what_is_left
from bot.slack.approvals import glass_lines
from bot.slack.blocks import Block, Page, actions, context, header, section, sections
from bot.slack.buttons import incident_button, rows
from bot.slack.cards import EVENT_TYPE, Message, Scene, asked, headline, suspected, watched
from bot.slack.names import Names
from bot.slack.steps import step_line
from bot.slack.text import MOST_TEXT, count, cut, date, escape, sentence

MOST_MOMENTS = 60


@dataclass(frozen=True, slots=True)
class Ending:
    """What is said when an emergency is over: texts for people, made of the data."""

    summary: str
    moments: Sequence[Moment]
    questions: Sequence[Question]


def status(rotation: Rotation, incident: Incident, scene: Scene, now: datetime) -> Message:
    """The pinned message: what goes on, who leads it, what is safe, and what to press."""
    what = f"{rotation.plan.credential} in {rotation.plan.environment}"
    spoken = f"Incident {incident.id}, {_standing(rotation, incident)}: {headline(rotation, scene.names, spoken=True)}"
    page = Page()
    page.add(header(f"Incident {incident.id}: {what}"), rank=0)
    page.add(section(f"*{_standing(rotation, incident)}* {headline(rotation, scene.names, spoken=False)}"), rank=0)
    alone = glass_lines(rotation, scene.names)
    if alone:
        page.add(section(*alone), rank=0)
    page.add(section(*_who(rotation, incident, scene.names)), rank=0)
    known = [] if rotation.plan.expiry else suspected(rotation)
    page.add(section(*known, f"*What is safe* {escape(_safe(rotation), 400)}"), rank=0)
    page.add(*_now(rotation, scene), rank=1)
    page.add(*asked(rotation), rank=1)
    page.add(*watched(rotation), rank=1)
    page.add(*(rows(rotation) if rotation.plan.expiry else []), rank=0)
    page.add(*_buttons(rotation, incident), rank=0)
    lines = [step_line(rotation, i, scene.names, scene.targets.get(i)) for i in range(len(rotation.steps))]
    page.add(header("Steps"), *sections(lines, 8), rank=2)
    notes = _notes(incident)
    if notes:
        page.add(context(*notes), rank=3)
    page.add(context(f"Last update {date(now)} · audit `{escape(scene.head, 60)}`"), rank=0)
    return Message(cut(sentence(spoken), MOST_TEXT), page.fit(), _metadata(rotation, "status"))


def timeline(rotation: Rotation, moments: Sequence[Moment]) -> Message:
    """What happened, in order; the newest lines where not all of them fit."""
    lines = [f"{date(one.at)} {escape(one.text, 260)}" for one in moments[-MOST_MOMENTS:]]
    while lines and sum(len(line) + 1 for line in lines) > 8_000:
        lines.pop(0)
    missing = len(moments) - len(lines)
    text = f"Timeline of incident {rotation.id}."
    page = Page()
    page.add(section(f"*{text}*"), rank=0)
    if missing:
        page.add(section(f"_{count(missing, 'earlier line')}: /rotate history {rotation.id}_"), rank=0)
    page.add(*sections(lines or ["Nothing has happened yet."], 5), rank=1)
    return Message(text, page.fit(), _metadata(rotation, "timeline"))


def review(rotation: Rotation, incident: Incident, ending: Ending, names: Names) -> Message:
    """The summary for those who used the credential, and the questions that have to be answered before the end."""
    missing = [question for question in ending.questions if question.is_open]
    if not incident.is_open:
        told = f"Incident {incident.id} was closed by {names.spoken(incident.closed_by)}"
    elif missing:
        told = f"The review of incident {incident.id}: {count(len(missing), 'question')} nobody has answered yet"
    else:
        told = f"The review of incident {incident.id}: every question is answered"
    page = Page()
    page.add(section(f"*{told}*"), rank=0)
    page.add(header("For everybody who used it"), *_paragraphs(ending.summary), rank=0)
    page.add(header("Review"), rank=0)
    page.add(*sections([_question(question, names) for question in ending.questions], 4), rank=0)
    if incident.late:
        said = escape(incident.fixed, 500) if incident.fixed else "*not said yet; it cannot be closed before*"
        page.add(section(f"*What had failed* {escape(incident.late, 400)} What was changed: {said}"), rank=0)
    if incident.solo:
        page.add(
            section(f"{names.mention(incident.solo)} contained it alone, so somebody else has to close it."), rank=0
        )
    if incident.is_open:
        made = [
            incident_button(rotation, "answer", "Answer a question"),
            *([incident_button(rotation, "fixed", "Say what was changed")] if incident.late else []),
            incident_button(rotation, "close", "Close the incident"),
        ]
        page.add(actions(*made), rank=0)
    return Message(cut(sentence(told), MOST_TEXT), page.fit(), _metadata(rotation, "review"))


def topic(rotation: Rotation, incident: Incident, names: Names) -> str:
    """At most 250 characters of plain text; it changes seldom, since Slack says so in the channel every time."""
    plan = rotation.plan
    lead = names.spoken(incident.commander) if incident.commander else "nobody yet"
    deed = "has expired in use" if plan.expiry else f"is revoked, {plan.order}"
    told = f"{incident.id}: {plan.credential} ({plan.environment}) {deed}"
    return cut(f"{_standing(rotation, incident)} · {told} · commander {lead}", 240)


def _standing(rotation: Rotation, incident: Incident) -> str:
    if not incident.is_open:
        return "CLOSED"
    if rotation.state is State.PROMOTED:
        return "STAGES PASSED, REVIEW OPEN" if rotation.plan.expiry else "OVER, REVIEW OPEN"
    if rotation.plan.expiry:
        return "UNDER WAY"
    return "OVER, NOT REVOKED, REVIEW OPEN" if rotation.is_over else "UNDER WAY"


def _who(rotation: Rotation, incident: Incident, names: Names) -> list[str]:
    plan = rotation.plan
    if plan.expiry:
        return [*_leads(incident, names), f"*Why* {escape(plan.reason, 500)}", *_closed(incident, names)]
    approved = ", ".join(names.mention(vote.person) for vote in rotation.votes) or "nobody yet"
    return [
        *_leads(incident, names),
        f"*Asked for by* {names.mention(plan.requester)}, *approved by* {approved}, *order* {escape(plan.order, 40)}",
        f"*Why* {escape(plan.reason, 500)}",
        *_closed(incident, names),
    ]


def _leads(incident: Incident, names: Names) -> list[str]:
    return [
        f"*Commander* {names.mention(incident.commander) if incident.commander else 'nobody yet'}, "
        f"*scribe* {names.mention(incident.scribe) if incident.scribe else 'nobody yet'}"
    ]


def _closed(incident: Incident, names: Names) -> list[str]:
    if incident.closed_at is None:
        return []
    return [f"*Closed* by {names.mention(incident.closed_by)} at {date(incident.closed_at)}"]


def _safe(rotation: Rotation) -> str:
    if rotation.plan.expiry:
        return "This incident changes nothing. What expired is kept: no step destroys a version of it while it is open."
    if rotation.state is State.PROMOTED:
        return "The suspected credential is out of use and the new one is in use."
    if rotation.state is State.ROLLED_BACK:
        return "Everything is put back; the suspected credential is in use again."
    return what_is_left(rotation)


def _now(rotation: Rotation, scene: Scene) -> list[Block]:
    i = rotation.current
    if i is None or rotation.is_over:
        return []
    run = rotation.steps[i]
    lines = [f"*Step {i + 1} of {len(rotation.steps)}* {step_line(rotation, i, scene.names, scene.targets.get(i))}"]
    if run.stage is Stage.HELD and run.hint:
        lines.append(f"*What helps* {escape(sentence(run.hint), 500)}")
    if run.stage in (Stage.HELD, Stage.ASKING) and not rotation.plan.expiry:
        lines.append("The buttons for it are on the card.")
    return [section(*lines)]


def _buttons(rotation: Rotation, incident: Incident) -> list[Block]:
    if not incident.is_open:
        return []
    made = [
        incident_button(rotation, "command", "Take command"),
        incident_button(rotation, "scribe", "Take notes as scribe"),
        incident_button(rotation, "note", "Note something"),
    ]
    if rotation.is_over or rotation.plan.expiry:
        made += [incident_button(rotation, "answer", "Answer a question"), incident_button(rotation, "close", "Close")]
    return [actions(*made)]


def _notes(incident: Incident) -> list[str]:
    """What Slack did not let us do; said where people look, and stopping nothing."""
    told = [escape(incident.place_note, 250)] if incident.place_note else []
    room = incident.room
    invited = room.get("invited")
    absent = {user: why for user, why in invited.items() if why} if isinstance(invited, Mapping) else {}
    if absent:
        named = ", ".join(
            f"{escape(str(user), 40)} ({escape(str(why), 60)})" for user, why in list(absent.items())[:10]
        )
        told.append(f"Not invited, as Slack says no: {named}")
    refused = room.get("refused")
    for method, why in list(refused.items())[:5] if isinstance(refused, Mapping) else ():
        told.append(f"Slack does not allow {escape(str(method), 60)} ({escape(str(why), 60)})")
    return told


def _paragraphs(text: str) -> list[Block]:
    return sections([escape(line, 700) for line in text.split("\n") if line.strip()] or ["-"], 3)


def _question(question: Question, names: Names) -> str:
    by = f" ({names.mention(question.by)})" if question.answer and question.by else ""
    told = escape(question.answer or question.found, 500) or "*nobody knows yet*"
    return f"*{escape(question.asks, 200)}* {told}{by}"


def _metadata(rotation: Rotation, form: str) -> dict[str, object]:
    return {"event_type": EVENT_TYPE, "event_payload": {"rotation": rotation.id, "form": form}}
