"""Show the open rotations, or one of them.

`status` lists what is open; `status R-7` or `status identity-signing` tells where one stands.
"""

from __future__ import annotations

from dataclasses import replace

from bot.contracts.command import Answer, Call, CredentialView, Need, Rotations, Summary, Table
from bot.core.errors import Refused
from bot.core.rotation import OPEN, Overlap, Rotation, Stage
from bot.core.words import rotation_number

usage = "status [R-7 | <credential>]"
need = Need.SEE
at_once = True


def run(call: Call, rotations: Rotations) -> Answer:
    """List, or tell about one."""
    if len(call.args) > 1:
        raise Refused(f"Ask for one rotation at a time: {usage}.", code="usage")
    if not call.args:
        return _all(call, rotations)
    if rotation_number(call.args[0]) is not None:
        return _one(rotations.find(call, call.args[0]))
    return _of_credential(call, rotations)


def _of_credential(call: Call, rotations: Rotations) -> Answer:
    """Its newest rotation, and the dates that hold whether there is one or not."""
    view = rotations.credential(call, call.args[0])
    data = {
        "credential": view.name,
        "environment": view.environment,
        "owner": view.owner,
        "declared_owner": view.declared_owner,
        "snoozed_until": view.snoozed_until.isoformat() if view.snoozed_until else None,
        "snooze_note": view.snooze_note,
        "due": view.next_due.isoformat() if view.next_due else None,
        "open_rotation": f"R-{view.open_rotation}" if view.open_rotation else None,
    }
    try:
        told = _one(rotations.find(call, call.args[0]))
    except Refused as error:
        if error.code != "no-rotation":
            raise
        due = f"is due on {view.next_due:%Y-%m-%d}" if view.next_due else "is not scheduled"
        text = (
            f"{view.name} in {view.environment} belongs to {view.whose} and {due}; keyturn has never "
            f"rotated it.{_kept(view)} Begin with: start {view.name}."
        )
        return Answer(text, data=data)
    changed = f" It belongs to {view.whose}." if view.owner != view.declared_owner else ""
    return replace(told, text=f"{told.text}{changed}{_kept(view)}", data=data | told.data)


def _kept(view: CredentialView) -> str:
    """The snooze that somebody asked for."""
    return f" Its reminders are {view.snoozed}." if view.snoozed else ""


def _all(call: Call, rotations: Rotations) -> Answer:
    found = rotations.recent(call, only_open=True)
    data = [{"rotation": f"R-{one.number}", "credential": one.credential, "state": one.state} for one in found]
    if not found:
        return Answer("No rotation is open. Start one with: start <credential>.", data=data)
    rows = tuple(map(_row, found))
    text = f"{len(found)} rotation is open." if len(found) == 1 else f"{len(found)} rotations are open."
    return Answer(text, table=Table(("rotation", "credential", "state", "step", "asked by"), rows), data=data)


def _row(one: Summary) -> tuple[str, ...]:
    where = f"{one.credential} ({one.environment})"
    return f"R-{one.number}", where, _state(one.state, one.overlap), one.step, one.requester


def _state(state: str, overlap: str) -> str:
    if state == "promoted" and overlap in ("retiring", "blocked"):
        return f"in use, {overlap if overlap == 'retiring' else 'retiring is held'}"
    return state.replace("_", " ")


def _one(rotation: Rotation) -> Answer:
    plan = rotation.plan
    deed = "is the incident of" if plan.expiry else "rotates"
    head = f"{rotation.id} {deed} {plan.credential} in {plan.environment}, asked for by {plan.requester}."
    rows = []
    for planned, step in zip(plan.steps, rotation.steps, strict=True):
        when = step.ended_at or step.due_at
        told = step.problem if step.stage in (Stage.HELD, Stage.WAITING) and step.problem else step.evidence
        rows.append((planned.id, planned.title, step.stage.value, f"{when:%Y-%m-%d %H:%M} UTC" if when else "", told))
    data = {
        "rotation": rotation.id,
        "credential": plan.credential,
        "environment": plan.environment,
        "state": rotation.state.value,
        "overlap": rotation.overlap.value,
        "digest": plan.digest,
        "missing_approvals": rotation.missing_approvals,
        "steps": {planned.id: step.stage.value for planned, step in zip(plan.steps, rotation.steps, strict=True)},
    }
    table = Table(("step", "what", "state", "when", "evidence"), tuple(rows))
    return Answer(f"{head} {_standing(rotation)}", table=table, rotation=rotation.number, data=data)


def _standing(rotation: Rotation) -> str:
    """Where it stands, in one or two sentences."""
    current = rotation.current
    step = rotation.plan.steps[current].title if current is not None else ""
    if rotation.state.value == "requested":
        boxes = [box.name for box in rotation.boxes if not box.ticked]
        told = f"It waits for {rotation.missing_approvals} more approval(s)"
        told += f" and for these boxes: {', '.join(boxes)}" if boxes else ""
        return f"{told}, until {rotation.expires_at:%Y-%m-%d %H:%M} UTC."
    if rotation.amendment is not None:
        amendment = rotation.amendment
        wanted = "undo it" if amendment.undoes else f"skip {rotation.plan.steps[amendment.step].id}"
        return f"{amendment.requester} asked to {wanted}; a second person can approve that."
    if rotation.overlap is Overlap.BLOCKED:
        return f"The new credential is in use; retiring the old one is held at: {step}. {rotation.outcome}"
    if rotation.overlap is Overlap.RETIRING:
        return f"The new credential is in use; the old one is being retired, now at: {step}."
    if rotation.state in OPEN:
        told = f"It is {rotation.state.value.replace('_', ' ')}" + (f" at: {step}." if step else ".")
        return f"{told} {rotation.outcome}".strip()
    if rotation.plan.expiry and rotation.promoted_at is not None:
        return f"Its stages are passed; see its review with: incident {rotation.id}."
    if rotation.overlap in (Overlap.NONE, Overlap.RETIRED) and rotation.promoted_at is not None:
        return "It is done." + (f" It is due again on {rotation.next_due:%Y-%m-%d}." if rotation.next_due else "")
    return f"It is {rotation.state.value.replace('_', ' ')}. {rotation.outcome}".strip()
