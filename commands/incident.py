"""Lead an incident, of an emergency or an expiry: who commands, what happened, the review, the end.

`incident R-9` shows roles, timeline and review. Roles are handed over by whoever has them, and by whoever may revoke:
`incident R-9 --commander @bob`. The review's questions are filled in from data; `--answer owner --text "…"` answers
those of which nothing is known, `--fixed "…"` says what was changed where a reminder had failed, and `--close` ends it.
"""

from __future__ import annotations

from bot.contracts.command import Answer, Call, IncidentView, Need, Rotations, Table
from bot.core.errors import Refused
from bot.core.incident import ROLES, Incident
from bot.core.rotation import Rotation

usage = 'incident R-9 [--commander @person] [--scribe @person] [--note "…"] [--close]'
need = Need.SEE
flags = {
    "commander": "who leads it from now on; me, or a mention",
    "scribe": "who writes down what happens; me, or a mention",
    "note": "something for the timeline",
    "answer": "the question of the review that --text answers",
    "text": "the answer to --answer",
    "fixed": "what was changed so that the reminder which failed works from now on",
    "close": "end it; the review has to be complete (yes or no)",
}
MOST_LINES = 30


def run(call: Call, rotations: Rotations) -> Answer:
    """Show it, or do the one thing that was asked for."""
    asked = [name for name in call.flags if name != "text"]
    if len(call.args) != 1 or len(asked) > 1 or ("text" in call.flags and asked != ["answer"]):
        raise Refused(f"Name one emergency and one thing to do: {usage}.", code="usage")
    if not asked:
        return _show(rotations.incidents.view(call, call.args[0]))
    return _done(*_do(asked[0], call, rotations))


def _do(what: str, call: Call, rotations: Rotations) -> tuple[Incident, str]:
    incidents, which, given = rotations.incidents, call.args[0], call.flags[what]
    if what in ROLES:
        incident = incidents.hand_over(call, which, what, given)
        return incident, f"{getattr(incident, what)} is the {what} of {incident.id} now."
    if what == "note":
        incident = incidents.note(call, which, given)
        return incident, f"Noted in the timeline of {incident.id}."
    if what == "answer":
        incident = incidents.answer(call, which, given, call.flags.get("text", ""))
        return incident, f"That is the answer to {given} in the review of {incident.id}."
    if what == "fixed":
        incident = incidents.mend(call, which, given)
        return incident, f"Noted what was changed after {incident.id}."
    incident = incidents.close(call, which)
    return incident, f"The incident of {incident.id} is closed."


def _done(incident: Incident, text: str) -> Answer:
    data = {"rotation": incident.id, "commander": incident.commander, "scribe": incident.scribe}
    return Answer(text, rotation=incident.number, data={**data, "open": incident.is_open})


def _stage(rotation: Rotation) -> str:
    i = rotation.current
    return "passed" if i is None else f"at {i + 1} of {len(rotation.steps)}: {rotation.plan.steps[i].title}"


def _state(rotation: Rotation) -> str:
    return rotation.state.value.replace("_", " ")


def _show(view: IncidentView) -> Answer:
    incident, rotation = view.incident, view.rotation
    leads = f"{incident.commander or 'nobody'} commands it" + (
        f" and {incident.scribe} writes" if incident.scribe else ""
    )
    if incident.closed_at is not None:
        leads = f"{incident.closed_by} closed it at {incident.closed_at:%Y-%m-%d %H:%M} UTC"
    deed = f"Its stages are {_stage(rotation)}" if rotation.plan.expiry else f"The revocation is {_state(rotation)}"
    lines = [
        f"The incident of {incident.id} ({incident.credential}, {incident.environment}) was opened at "
        f"{incident.opened_at:%Y-%m-%d %H:%M} UTC; {leads}. {deed}.",
        *view.links,
    ]
    if incident.late and not incident.fixed:
        lines.append(f"To be fixed before it can be closed: {incident.late}")
    lines += ["", view.summary, "", "Review:"]
    lines += [f"{question.id}: {question.asks} {question.told}" for question in view.questions]
    rows = tuple((f"{one.at:%H:%M:%S}", one.text) for one in view.timeline[-MOST_LINES:])
    data = {
        "rotation": incident.id,
        "open": incident.is_open,
        "commander": incident.commander,
        "scribe": incident.scribe,
        "channel": incident.place,
        "review": {question.id: question.answer or question.found for question in view.questions},
        "unanswered": [question.id for question in view.questions if question.is_open],
        "summary": view.summary,
        "timeline": [{"at": one.at.isoformat(), "text": one.text} for one in view.timeline],
    }
    table = Table(("when", "what"), rows, newest_last=True)
    return Answer("\n".join(lines), table=table, rotation=incident.number, data=data)
