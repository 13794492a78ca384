"""Sentences for the audit: one phrase per event, for the history of a rotation and the log below its card."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from bot.core.events import EVERYTHING, Event

Detail = Mapping[str, Any]
BOT = "keyturn"


def tell(event: Event | str, actor: str, detail: Detail) -> str:
    """One full sentence in plain text for a row of the audit; events of a newer version are named as they are."""
    try:
        phrase = PHRASES[Event(event)]
    except ValueError:
        return f"{_who(actor)} caused {event}."
    told = phrase(_who(actor), detail).strip()
    return told if told[-1] in ".!?" else told + "."


def _who(actor: str) -> str:
    return "keyturn" if actor in ("", BOT) else actor


def _word(detail: Detail, name: str, otherwise: str = "") -> str:
    value = detail.get(name)
    return otherwise if value is None or value == "" else str(value)


def _because(detail: Detail, name: str = "reason") -> str:
    """`: the reason`, or nothing."""
    return f": {_word(detail, name)}" if _word(detail, name) else ""


def _in_brackets(text: str) -> str:
    return f" ({text})" if text else ""


def _short(digest: str) -> str:
    return digest.removeprefix("sha256:")[:12]


def _plan(detail: Detail) -> str:
    return f"plan {_short(_word(detail, 'plan'))}" if _word(detail, "plan") else ""


def _step(detail: Detail) -> str:
    return _word(detail, "step", "a step")


def _list(value: Any) -> str:
    return ", ".join(str(one) for one in value) if isinstance(value, list | tuple) else str(value or "")


def _outputs(detail: Detail) -> str:
    """`publish gave kid=abc`: names and ids only, as the adapters returned them."""
    outputs = detail.get("outputs")
    if not isinstance(outputs, Mapping) or not outputs:
        return ""
    given = {name: value for name, value in outputs.items() if not isinstance(value, Mapping) and value is not True}
    shown = {name: _list(value) if isinstance(value, list) else value for name, value in given.items()}
    return ", ".join(f"{name} {value}" for name, value in shown.items())


def _requested(who: str, d: Detail) -> str:
    boxes = d.get("boxes")
    found = boxes.values() if isinstance(boxes, Mapping) else ()
    ticked = sum(isinstance(box, Mapping) and bool(box.get("ticked")) for box in found)
    checklist = f", {ticked} of {len(boxes)} boxes ticked" if isinstance(boxes, Mapping) and boxes else ""
    runbook = f" by the runbook {_word(d, 'runbook')}" if _word(d, "runbook") else ""
    return f"{who} asked for this rotation{runbook}{_in_brackets(_plan(d) + checklist)}{_because(d)}"


def _counted(who: str, d: Detail) -> str:
    why = _in_brackets(_word(d, "because"))
    if d.get("reject"):
        return f"{who} rejected it{why}{_because(d)}"
    return f"{who} approved it{why}, {_word(d, 'counted', '1')} of {_word(d, 'needed', '1')}"


def _ticked(who: str, d: Detail) -> str:
    evidence = _because(d, "evidence")
    return f"{who} ticked the box {_word(d, 'box', 'of the checklist')}{evidence}"


def _replaced(d: Detail) -> str:
    replaced = d.get("replaced")
    if not isinstance(replaced, Mapping):
        return ""
    old, new = _word(replaced, "old"), _word(replaced, "new")
    if old or new:
        return f"{new or 'the new one'} replaced {old or 'the old one'}"
    told = ((step, _outputs({"outputs": outputs})) for step, outputs in replaced.items())
    return "; ".join(f"{step} gave {given}" for step, given in told if given)


def _promoted(who: str, d: Detail) -> str:
    told = _replaced(d)
    done = "The suspected credential is revoked and replaced" if d.get("revoked") else "The new credential is in use"
    return done + (f": {told}" if told else "")


_RESULTS: Mapping[str, str] = {
    "done": "is done",
    "waiting": "waits",
    "retry": "did not work yet and is tried again",
    "failed": "failed",
    "ambiguous": "ended so that nobody can tell what happened",
    "asking": "needs a person",
    "backing-out": "was followed by trouble and is being undone",
    "undone": "is undone",
    "notyet": "was not finished",
}


def _outcome(who: str, d: Detail) -> str:
    result = _word(d, "result", "ended")
    told = f"{_step(d)} {_RESULTS.get(result, result)}"
    until = _word(d, "until")
    if result == "waiting" and until:
        told += f" until {until[:16].replace('T', ' ')} UTC"
    for name in ("evidence", "question", "problem"):
        told += _because(d, name) if _word(d, name) != result else ""
    told += _in_brackets(_outputs(d)) if result == "done" else ""
    return told + (f". {_word(d, 'hint')}" if _word(d, "hint") else "")


def _began(doing: str) -> Callable[[str, Detail], str]:
    def phrase(who: str, d: Detail) -> str:
        attempt = d.get("attempt")
        again = f", attempt {attempt}" if isinstance(attempt, int) and attempt > 1 else ""
        does = _word(d, "does")
        told = f" ({does})" if does and does != _step(d) else ""
        return f"{who} began to {doing} {_step(d)}{told}{again}"

    return phrase


def _released(who: str, d: Detail) -> str:
    return f"{who} asked to {'try' if d.get('retry') else 'look at'} {_step(d)} again{_because(d)}"


def _lapsed(who: str, d: Detail) -> str:
    if d.get("rejected"):
        return f"{who} refused to {_amendment(d)}{_because(d)}"
    return f"The request to {_amendment(d)} lapsed without a second person"


def _amendment(d: Detail) -> str:
    return "undo the revocation" if d.get("step") == EVERYTHING else f"skip {_step(d)}"


def _stuck(what: str) -> Callable[[str, Detail], str]:
    def phrase(who: str, d: Detail) -> str:
        hint = _word(d, "hint")
        return f"{what} at {_step(d)}{_because(d, 'problem')}" + (f". {hint}" if hint else "")

    return phrase


def _changed(who: str, d: Detail) -> str:
    what = _list(d.get("what"))
    if what == "approval expired":
        return "The approval expired before the first step began, so it needs approval again"
    return f"The plan changed{_in_brackets(what)}, so earlier approvals do not count any more"


def _cancelled(who: str, d: Detail) -> str:
    return f"It ended as rejected by {who}" if d.get("rejected") else f"{who} cancelled it{_because(d)}"


def _trouble(verb: str) -> Callable[[str, Detail], str]:
    def phrase(who: str, d: Detail) -> str:
        found = _in_brackets(_word(d, "target")) + _because(d, "said")
        return f"{who} {verb} the troubleshooting branch {_word(d, 'branch', _step(d))}{found}"

    return phrase


def _next_due(who: str, d: Detail) -> str:
    cadence = _word(d, "cadence")
    return f"It is due again on {_word(d, 'due')[:10]}{_in_brackets(f'every {cadence}' if cadence else '')}"


def _before(d: Detail) -> str:
    return f"before: {_word(d, 'before')}" if _word(d, "before") else ""


def _asked_instead(d: Detail) -> str:
    route = _list(d.get("route"))
    return f"; {route} hears of it instead" if route else ""


def _reminded(who: str, d: Detail) -> str:
    told = _list(d.get("told")) or "nobody"
    expiries = d.get("expiries")
    due = f" on {str(expiries[0])[:10]}" if isinstance(expiries, list) and expiries else ""
    return f"{told} heard ({_list(d.get('tiers'))}) that it is due{due}"


def _flood(who: str, d: Detail) -> str:
    if d.get("forged"):
        return f"{d['forged']} requests from {who} were not Slack's and were refused{_because(d, 'why')}"
    return f"{_word(d, 'refused', 'Many')} requests of {who} were not listened to{_because(d, 'why')}"


def _intent(who: str, d: Detail) -> str:
    args = _list(d.get("args"))
    return f"{who} used the word {_word(d, 'word', 'of a command')}{f' on {args}' if args else ''}"


def _targets(who: str, d: Detail) -> str:
    done, total = _word(d, "done"), _word(d, "total")
    counted = f"{done} of {total} targets are done" if done and total else "its targets were looked at"
    return f"{_step(d)}: {counted}"


def _moment(d: Detail, name: str) -> str:
    at = _word(d, name)[:16].replace("T", " ")
    return f"{at} UTC" if at else "a time that was not noted"


def _escalated(who: str, d: Detail) -> str:
    paged = " and paged" if d.get("page") else ""
    return f"Nobody had approved in time, so {_list(d.get('to')) or 'the next ones'} were asked{paged}"


def _errand(verb: str) -> Callable[[str, Detail], str]:
    def phrase(who: str, d: Detail) -> str:
        return f"{who} {verb} the errand {_word(d, 'errand', 'of the incident')}{_because(d, 'said')}"

    return phrase


PHRASES: Mapping[Event, Callable[[str, Detail], str]] = {
    Event.POSTPONED: lambda who, d: f"It is approved and begins at {_moment(d, 'at')}{_because(d, 'why')}",
    Event.REMINDED: lambda who, d: f"Those who may approve were reminded; {_word(d, 'missing', 'more')} still missing",
    Event.ESCALATED: _escalated,
    Event.GLASS_BROKEN: lambda who, d: (
        f"{who} contained it alone, which is put back at {_moment(d, 'until')} unless a second person "
        f"approves{_because(d)}"
    ),
    Event.CONTAINED: lambda who, d: "The suspected credential is contained; a second person has to approve the rest",
    Event.GLASS_LAPSED: lambda who, d: (
        f"No second person approved what {_word(d, 'by', 'one person')} contained alone, so it is put back"
    ),
    Event.TAKEN_OVER: lambda who, d: f"The emergency {_word(d, 'by', 'of the same credential')} took it over",
    Event.SIGNERS_CHANGED: lambda who, d: (
        f"The file {_word(d, 'file', 'of the signers')} has changed{_in_brackets(_short(_word(d, 'hash')))}"
    ),
    Event.ERRAND_INTENT: _errand("began"),
    Event.ERRAND_OUTCOME: _errand("ended"),
    Event.INCIDENT_OPENED: lambda who, d: f"{who} opened the incident{_in_brackets(_word(d, 'name'))}",
    Event.INCIDENT_ROLE: lambda who, d: f"{_word(d, 'person', 'Nobody')} is {_word(d, 'role', 'in charge')} now",
    Event.INCIDENT_NOTE: lambda who, d: f"{who} noted{_because(d, 'text') or ' something'}",
    Event.INCIDENT_NUDGED: lambda who, d: "Nothing was said for a while, so an update was asked for",
    Event.INCIDENT_PLACE: lambda who, d: (
        f"The incident is followed in {_word(d, 'place', 'a thread')}{_because(d, 'why')}"
    ),
    Event.INCIDENT_REVIEW: lambda who, d: f"{who} answered {_word(d, 'question', 'a question')} of the review",
    Event.INCIDENT_CLOSED: lambda who, d: f"{who} closed the incident{_because(d)}",
    Event.INCIDENT_PASSED: lambda who, d: "Every stage of the incident is passed",
    Event.CALLERS_TOLD: lambda who, d: f"Affected callers were told{_because(d, 'text')}",
    Event.CALLERS_MISSED: lambda who, d: (
        f"Affected callers in {_word(d, 'to', 'a channel')} were not told{_because(d, 'why')}"
    ),
    Event.MATERIAL_KEPT: lambda who, d: f"{_step(d)} waits{_because(d, 'why')}",
    Event.INTENT: _intent,
    Event.REFUSED: lambda who, d: f"{who} was refused{_because(d, 'because') or _because(d) or _because(d, 'code')}",
    Event.REQUESTED: _requested,
    Event.PLAN_CHANGED: _changed,
    Event.APPROVED: lambda who, d: f"Approvals and checklist are complete{_in_brackets(_list(d.get('by')))}",
    Event.STARTED: lambda who, d: f"The rotation began{_in_brackets(_plan(d))}",
    Event.PROMOTED: _promoted,
    Event.HELD: _stuck("The rotation is held"),
    Event.CANCELLED: _cancelled,
    Event.ABANDONED: lambda who, d: f"It was abandoned{_because(d)}; nothing was changed",
    Event.ROLLING_BACK: lambda who, d: f"{who} asked to roll everything back{_because(d)}",
    Event.ROLLED_BACK: lambda who, d: "Everything is put back as it was",
    Event.VOTE_COUNTED: _counted,
    Event.VOTE_REFUSED: lambda who, d: f"A vote of {who} did not count{_because(d, 'because') or _because(d)}",
    Event.BOX_TICKED: _ticked,
    Event.STEP_INTENT: _began("do"),
    Event.STEP_OUTCOME: _outcome,
    Event.STEP_SKIPPED: lambda who, d: f"{who} skipped {'undoing ' if d.get('undo') else ''}{_step(d)}{_because(d)}",
    Event.STEP_CONFIRMED: lambda who, d: f"{who} confirmed {_step(d)}{_because(d, 'evidence')}",
    Event.STEP_RELEASED: _released,
    Event.STEP_LOST: lambda who, d: f"The worker that ran {_step(d)} was lost, so another one looks what happened",
    Event.STEP_TARGETS: _targets,
    Event.UNDO_INTENT: _began("undo"),
    Event.UNDO_OUTCOME: lambda who, d: "Undoing " + _outcome(who, d),
    Event.AMENDMENT_ASKED: lambda who, d: f"{who} asked to {_amendment(d)}, which needs a second person{_because(d)}",
    Event.AMENDMENT_APPROVED: lambda who, d: (
        f"{who} agreed to {_amendment(d)}, as {_word(d, 'asked_by', 'somebody')} had asked"
    ),
    Event.AMENDMENT_LAPSED: _lapsed,
    Event.OVERLAP_OPENED: lambda who, d: (
        f"Old and new are both valid; the old one is to be retired by {_word(d, 'deadline')[:16].replace('T', ' ')} UTC"
    ),
    Event.OVERLAP_BLOCKED: _stuck("Retiring the old credential is held"),
    Event.OVERLAP_RETIRED: lambda who, d: "The old credential is retired",
    Event.NEXT_DUE: _next_due,
    Event.SETTINGS_APPLIED: lambda who, d: f"{who} applied the settings{_in_brackets(_short(_word(d, 'hash')))}",
    Event.SCHEMA_MIGRATED: lambda who, d: f"{who} moved the database's schema on{_in_brackets(_word(d, 'to'))}",
    Event.AUDIT_SIGNED: lambda who, d: f"{who} signed the head of the audit",
    Event.FLOOD: _flood,
    Event.SNOOZED: lambda who, d: f"{who} asked for no reminders until {_word(d, 'until')[:10]}{_because(d)}",
    Event.OWNED: lambda who, d: (
        f"{who} gave it to {_word(d, 'owner', 'whom the settings declare')}{_in_brackets(_before(d))}"
    ),
    Event.DISOWNED: lambda who, d: f"{who} said that it is not theirs{_because(d)}{_asked_instead(d)}",
    Event.RECORDED: lambda who, d: (
        f"{who} recorded that {_word(d, 'operator', 'somebody')} rotated it by hand: {_word(d, 'old', 'the old one')} "
        f"was replaced by {_word(d, 'new', 'a new one')}{_because(d)}{_in_brackets(_word(d, 'proof'))}"
    ),
    Event.TOLD: _reminded,
    Event.DELIVERED: lambda who, d: f"A reminder arrived at {_word(d, 'to', 'its place')}",
    Event.UNDELIVERED: lambda who, d: (
        f"A reminder did not arrive at {_word(d, 'to', 'its place')}{_because(d, 'why')}"
        f"{'; the next of the route hears of it' if d.get('again') else ''}"
    ),
    Event.AUTOMATIC: lambda who, d: f"{who} starts its rotation, as the policy says{_because(d)}",
    Event.AUTOMATIC_FAILED: lambda who, d: f"{who} could not start its rotation{_because(d)}",
    Event.DIGEST: lambda who, d: (
        f"{_list(d.get('told')) or 'Nobody'} got the digest of {_word(d, 'month', 'the month')}"
    ),
    Event.DISCOVERED: lambda who, d: (
        f"{_word(d, 'discovery', 'A discovery')} listed everything: {_word(d, 'found', '0')} versions, "
        f"{_word(d, 'gone', '0')} are gone"
    ),
    Event.CALLS_REFUSED: lambda who, d: f"Its callers were refused{_because(d, 'evidence')}",
    Event.ALARM_UNSEEN: lambda who, d: f"Its alarm cannot be looked at{_because(d, 'evidence')}",
    Event.CALLS_ACCEPTED: lambda who, d: f"Its callers were let in again{_because(d, 'evidence')}",
    Event.DISCOVERY_UNSEEN: lambda who, d: (
        f"{_list(d.get('told')) or 'Nobody'} heard that dates of {_word(d, 'discovery', 'a discovery')} may be stale"
    ),
    Event.DISCOVERY_FAILED: lambda who, d: f"{_word(d, 'discovery', 'A discovery')} failed{_because(d, 'error')}",
    Event.TROUBLE_INTENT: _trouble("began"),
    Event.TROUBLE_OUTCOME: _trouble("finished"),
}
