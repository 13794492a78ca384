"""The card of a rotation and the log below it, drawn from state and from nothing else."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from bot.contracts.command import HistoryLine
from bot.core.plan import fact_lines, reviewed
from bot.core.rotation import Overlap, Rotation, Stage, State
from bot.core.safety import what_is_left
from bot.core.story import tell
from bot.slack.approvals import consent_lines, glass_lines
from bot.slack.blocks import Block, Page, context, header, section, sections
from bot.slack.buttons import rows
from bot.slack.charts import chart, points
from bot.slack.names import Names
from bot.slack.steps import box_line, replaced, step_line
from bot.slack.text import MOST_TEXT, code, count, cut, date, escape, sentence, short_hash, utc

EVENT_TYPE = "rotation_state"
MOST_LOG_LINES = 60


@dataclass(frozen=True, slots=True)
class Message:
    """What is sent to Slack: one sentence for phones and screen readers, and the blocks."""

    text: str
    blocks: list[Block]
    metadata: dict[str, Any] = field(default_factory=dict)
    plain: list[Block] | None = None
    """The same without blocks that not every workspace has yet; None where there are none of those."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What a drawing needs beside the rotation."""

    names: Names
    head: str
    """The head of the audit, short."""
    targets: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    """Of steps that fan out: index -> how many targets are finished, of how many."""


class _Voice:
    """Says the same sentence in two ways: with mentions and local times, or spoken for a phone."""

    def __init__(self, names: Names, *, spoken: bool) -> None:
        self._names = names
        self._spoken = spoken

    def person(self, person: str) -> str:
        return self._names.spoken(person) if self._spoken else self._names.mention(person)

    def thing(self, text: str) -> str:
        return escape(text, 150) if self._spoken else code(text, 150)

    def words(self, text: str) -> str:
        return escape(text, 300)

    def at(self, moment: datetime | None) -> str:
        if moment is None:
            return "an unknown time"
        return utc(moment) if self._spoken else date(moment)


def card(rotation: Rotation, scene: Scene) -> Message:
    """The one card of a rotation."""
    spoken = headline(rotation, scene.names, spoken=True)
    shown = headline(rotation, scene.names, spoken=False)
    page = Page()
    page.add(section(f"*{rotation.id}* {shown}"), rank=0)
    alone = glass_lines(rotation, scene.names)
    if alone:
        page.add(section(*alone), rank=0)
    page.add(*_problem(rotation), rank=0)
    page.add(*asked(rotation), rank=0)
    page.add(*rows(rotation), rank=0)
    page.add(*watched(rotation), rank=1)
    page.add(section(*_facts(rotation, scene)), rank=1)
    page.add(*_overlap(rotation), rank=1)
    if rotation.boxes:
        lines = [box_line(box, scene.names) for box in rotation.boxes]
        page.add(*sections(["*Checklist*", *lines], 2), rank=2 if rotation.state is State.REQUESTED else 4)
    page.add(*_steps(rotation, scene), rank=3)
    page.add(context(_footer(rotation, scene)), rank=0)
    metadata = {"event_type": EVENT_TYPE, "event_payload": {"rotation": rotation.id, "form": "card"}}
    return Message(cut(spoken, MOST_TEXT), page.fit(), metadata)


def log(rotation: Rotation, lines: Sequence[HistoryLine], scene: Scene) -> Message:
    """The story so far, in the thread of the card; the newest lines where not all of them fit."""
    shown = [line for line in lines if not str(line.event).startswith("intent.")]
    missing = max(0, len(shown) - MOST_LOG_LINES)
    told = [
        f"{date(line.at)} {escape(tell(line.event, _name(line.actor, scene.names), line.detail), 260)}"
        for line in shown[missing:]
    ]
    text = (
        f"The log of {rotation.id}, {escape(rotation.plan.credential, 100)} in {escape(rotation.plan.environment, 60)}."
    )
    while told and sum(len(line) + 1 for line in told) > 8_500:
        told.pop(0)
        missing += 1
    page = Page()
    page.add(section(f"*{text}*"), rank=0)
    if missing:
        page.add(section(f"_{count(missing, 'earlier line')}: /rotate history {rotation.id}_"), rank=0)
    page.add(*sections(told or ["Nothing has happened yet."], 5), rank=1)
    metadata = {"event_type": EVENT_TYPE, "event_payload": {"rotation": rotation.id, "form": "log"}}
    return Message(text, page.fit(), metadata)


def _name(actor: str, names: Names) -> str:
    """A name for `tell`, whose sentence is escaped as a whole: never a mention, so nobody is pinged by the log."""
    return actor if actor in ("", "keyturn") else actor.removeprefix("slack:")


def headline(rotation: Rotation, names: Names, *, spoken: bool) -> str:
    """One sentence: what it is, where it stands, and until when."""
    return sentence(_headline(rotation, _Voice(names, spoken=spoken)))


# --- the first sentence -----------------------------------------------------------------------------------------------


def _headline(rotation: Rotation, say: _Voice) -> str:
    plan = rotation.plan
    what = f"{say.thing(plan.credential)} in {say.words(plan.environment)}"
    if plan.expiry and rotation.amendment is None:
        return _expired(rotation, say, what)
    if rotation.state is State.REQUESTED:
        return _asking_for(rotation, say, what)
    if rotation.amendment is not None:
        undo = rotation.amendment.undoes
        wanted = "undo" if undo else f"skip {say.words(plan.steps[rotation.amendment.step].title)} in"
        return (
            f"{say.person(rotation.amendment.requester)} asks to {wanted} {_deed(rotation)} of "
            f"{what}; a second person has to agree by {say.at(rotation.amendment.expires_at)}: "
            f"{say.words(rotation.amendment.reason)}"
        )
    if rotation.state is State.PROMOTED:
        return _promoted(rotation, say, what)
    return _under_way(rotation, say, what)


def _expired(rotation: Rotation, say: _Voice, what: str) -> str:
    told = f"INCIDENT: {what} has expired in use, as {say.person(rotation.plan.requester)} says"
    if by := _taken_over_by(rotation):
        return f"{told}; it goes on as the emergency {by} since {say.at(rotation.ended_at)}"
    i = rotation.current
    if i is None:
        return f"{told}; every stage is passed, and it can be closed once its reminder is mended"
    return f"{told}; stage {i + 1} of {len(rotation.steps)}, {say.words(_where(rotation))}"


def _asking_for(rotation: Rotation, say: _Voice, what: str) -> str:
    plan, missing = rotation.plan, rotation.missing_approvals
    told = f"{say.person(plan.requester)} asks to rotate {what}"
    if plan.emergency:
        told = f"EMERGENCY: {say.person(plan.requester)} asks to revoke {what}, {say.words(plan.order)}"
    if rotation.glass is not None:
        return (
            f"EMERGENCY: {say.person(rotation.glass.by)} contains {what} alone; it is put back at "
            f"{say.at(rotation.glass.until)} unless somebody else approves the revocation"
        )
    waits = []
    if rotation.unconfirmed:
        waits.append("what was asked for still has to be signed")
    if missing:
        waits.append(f"{count(missing, 'more approval')} {'is' if missing == 1 else 'are'} needed")
    if any(not box.ticked for box in rotation.boxes):
        waits.append("the checklist is not complete")
    return f"{told}; {' and '.join(waits) or 'everything is there'}, by {say.at(rotation.expires_at)}"


def _promoted(rotation: Rotation, say: _Voice, what: str) -> str:
    due = f"; it is due again on {say.at(rotation.next_due)}" if rotation.next_due else ""
    if rotation.plan.emergency:
        return (
            f"{what} is revoked and replaced since {say.at(rotation.promoted_at)}, asked for by "
            f"{say.person(rotation.plan.requester)}; the suspected one is out of use{due}"
        )
    told = f"{what} is rotated since {say.at(rotation.promoted_at)}, asked for by {say.person(rotation.plan.requester)}"
    if rotation.overlap is Overlap.BLOCKED:
        return f"{told}, but retiring the old one is held: {say.words(rotation.outcome or _where(rotation))}"
    if rotation.overlap is Overlap.RETIRING:
        return f"{told}; the old one is being retired, at the latest by {say.at(rotation.overlap_deadline)}{due}"
    retired = " and the old one is retired" if rotation.overlap is Overlap.RETIRED else ""
    return f"{told}{retired}. Done at {say.at(rotation.ended_at or rotation.promoted_at)}{due}"


def _under_way(rotation: Rotation, say: _Voice, what: str) -> str:
    asked = f"asked for by {say.person(rotation.plan.requester)}"
    deed = _deed(rotation).capitalize()
    i = rotation.current
    step = (
        f"step {i + 1} of {len(rotation.steps)}, {say.words(_where(rotation))}"
        if i is not None
        else "between two steps"
    )
    run = rotation.steps[i] if i is not None else None
    match rotation.state:
        case State.APPROVED:
            if run is not None and run.stage is Stage.WAITING and run.due_at:
                why = f": {say.words(rotation.outcome)}" if rotation.outcome else ""
                return f"{deed} of {what}, {asked}, is approved and waits for its window, {say.at(run.due_at)}{why}"
            return f"{deed} of {what}, {asked}, is approved and begins"
        case State.WAITING:
            until = f" until {say.at(run.due_at)}" if run is not None and run.due_at else ""
            return f"{deed} of {what}, {asked}, waits{until} in {step}"
        case State.ASKING:
            return f"{deed} of {what}, {asked}, needs a person: {say.words(run.evidence if run else '')}"
        case State.HELD:
            return f"{deed} of {what}, {asked}, is held at {step}; nothing goes on until somebody decides"
        case State.ROLLING_BACK:
            held = run is not None and run.stage is Stage.HELD
            return f"{deed} of {what}, {asked}, is {'held while it is ' if held else 'being '}rolled back, {step}"
        case State.ROLLED_BACK:
            return f"{deed} of {what}, {asked}, was rolled back at {say.at(rotation.ended_at)}; the old one is used"
        case State.CANCELLED:
            ended = "was rejected" if _was_rejected(rotation) else "ended"
            return f"{deed} of {what}, {asked}, {ended} at {say.at(rotation.ended_at)} and nothing was changed"
        case State.ABANDONED:
            if by := _taken_over_by(rotation):
                return f"{deed} of {what}, {asked}, was taken over by {by} at {say.at(rotation.ended_at)}"
            return f"{deed} of {what}, {asked}, was abandoned at {say.at(rotation.ended_at)}; nothing was changed"
        case _:
            return f"{deed} of {what}, {asked}, is running: {step}"


def _deed(rotation: Rotation) -> str:
    if rotation.plan.expiry:
        return "the incident"
    return f"the revocation ({rotation.plan.order})" if rotation.plan.emergency else "the rotation"


def _was_rejected(rotation: Rotation) -> bool:
    return rotation.state is State.CANCELLED and rotation.outcome.startswith("Rejected by ")


def _taken_over_by(rotation: Rotation) -> str:
    """The emergency that goes on instead of it: `R-9`, or an empty text."""
    found = re.match(r"Taken over by the emergency (R-[1-9][0-9]*);", rotation.outcome)
    return found[1] if found is not None and rotation.state is State.ABANDONED else ""


def _where(rotation: Rotation) -> str:
    i = rotation.current
    return rotation.plan.steps[i].title if i is not None else ""


# --- the parts --------------------------------------------------------------------------------------------------------


def _problem(rotation: Rotation) -> list[Block]:
    i = rotation.current
    if i is None or rotation.is_over or (rotation.state is State.REQUESTED and rotation.glass is None):
        return []
    run, planned = rotation.steps[i], rotation.plan.steps[i]
    if not run.problem:
        return []
    title = escape(planned.title, 150)
    again = run.stage is Stage.WAITING and run.due_at is not None
    lines = [f"*{'Not yet' if again else 'Problem'}* at {title}: {escape(sentence(run.problem), 900)}"]
    if run.ambiguous:
        lines.append("Nobody can tell from here whether it happened, so a person has to look.")
    if run.hint and not again:
        lines.append(f"*What helps* {escape(sentence(run.hint), 600)}")
    if again and run.due_at is not None:
        lines.append(f"It is tried again at {date(run.due_at)}; failure {run.failures} of {planned.step.tries}.")
    if run.stage is Stage.HELD:
        lines.append(f"*What is safe* {escape(what_is_left(rotation), 400)}")
    return [section(*lines)]


def asked(rotation: Rotation) -> list[Block]:
    """The whole question of a stage of an incident, with the evidence that it was asked with."""
    i = rotation.current
    if i is None or not rotation.plan.expiry or rotation.steps[i].stage is not Stage.ASKING:
        return []
    return [section(f"*{escape(rotation.plan.steps[i].title, 150)}* {escape(rotation.steps[i].evidence, 2500)}")]


def watched(rotation: Rotation) -> list[Block]:
    """Where the watched ratio went lately."""
    i = rotation.current
    lines = chart(points(rotation.steps[i].progress)) if i is not None and not rotation.is_over else []
    return [section(f"*{escape(rotation.plan.steps[i].title, 150)}*", *lines)] if i is not None and lines else []


def _facts(rotation: Rotation, scene: Scene) -> list[str]:
    plan = rotation.plan
    lines = [f"*State* {_state(rotation)}"]
    if plan.reason:
        lines.append(f"*Why* {escape(plan.reason, 500)}")
    lines += consent_lines(rotation, scene.names)
    if plan.emergency:
        lines += suspected(rotation)
    lines += [escape(line, 600) for line in fact_lines(plan)]
    lines.append(f"The runbook was {escape(reviewed(plan), 200)}.")
    old, new = replaced(rotation)
    if new and rotation.promoted_at is not None and rotation.state is State.PROMOTED:
        lines.append(f"*Replaced* {code(old or 'the old one')} by {code(new)}")
    elif (old or new) and not plan.emergency:
        lines.append(f"*Old* {code(old or 'not known yet')}, *new* {code(new or 'not known yet')}")
    if rotation.outcome and rotation.is_over:
        lines.append(f"*Outcome* {escape(sentence(rotation.outcome), 500)}")
    elif rotation.outcome and rotation.state is State.REQUESTED:
        lines.append(f"*Asked again* {escape(sentence(rotation.outcome), 500)}")
    if rotation.next_due is not None:
        lines.append(f"*Due again* {date(rotation.next_due)}")
    return lines


def suspected(rotation: Rotation) -> list[str]:
    """Of an emergency: the suspected credential, whether it is contained, and whether the new one is in use."""
    old, new = replaced(rotation)
    over = rotation.state is State.PROMOTED
    lines = [f"*Suspected* {code(old or 'not known yet')}, {'refused' if over else _contained(rotation)}"]
    if new and not over:
        lines.append(f"*New one* {code(new)}, being put into use")
    return lines


def _contained(rotation: Rotation) -> str:
    """Whether the suspected one is out of use yet, as far as the plan says which of its steps do that."""
    leading = rotation.steps[: rotation.plan.contained]
    if rotation.state in (State.ROLLING_BACK, State.ROLLED_BACK):
        return "being put back" if rotation.state is State.ROLLING_BACK else "put back into use"
    if not leading:
        begun = any(run.touched for run in rotation.steps)
        return "being taken out of use by the steps below" if begun else "in use until the steps below take it out"
    if all(run.stage is Stage.DONE for run in leading):
        ended = max((run.ended_at for run in leading if run.ended_at), default=None)
        return f"*contained* since {date(ended)}" if ended else "*contained*"
    return "being contained" if any(run.touched for run in leading) else "not contained yet"


_STATES = {
    State.REQUESTED: "waiting for consent",
    State.APPROVED: "approved",
    State.RUNNING: "running",
    State.WAITING: "waiting",
    State.ASKING: "needs a person",
    State.HELD: "held",
    State.ROLLING_BACK: "rolling back",
    State.PROMOTED: "done",
    State.ROLLED_BACK: "rolled back",
    State.CANCELLED: "cancelled",
    State.ABANDONED: "abandoned",
}


def _state(rotation: Rotation) -> str:
    word = _STATES[rotation.state]
    if rotation.state is State.PROMOTED and not rotation.is_over:
        held = rotation.overlap is Overlap.BLOCKED
        word = "new one in use, retiring the old one is held" if held else "new one in use, old one being retired"
    elif _was_rejected(rotation):
        word = "rejected"
    elif by := _taken_over_by(rotation):
        word = f"taken over by {by}"
    elif rotation.state is State.REQUESTED and rotation.glass is not None:
        word = "contained by one person, waiting for a second one"
    done = sum(run.stage in (Stage.DONE, Stage.SKIPPED) for run in rotation.steps)
    return f"{word}, {done} of {count(len(rotation.steps), 'step')} done"


def _overlap(rotation: Rotation) -> list[Block]:
    """What promotion left: deadline, and when the old one was last seen."""
    if rotation.overlap not in (Overlap.RETIRING, Overlap.BLOCKED):
        return []
    held = " and is held" if rotation.overlap is Overlap.BLOCKED else ""
    lines = [
        f"*Old and new are both valid.* Retirement has until {date(rotation.overlap_deadline)}{held}."
        if rotation.overlap_deadline
        else f"*Old and new are both valid*{held}."
    ]
    for i, planned in enumerate(rotation.plan.steps):
        run = rotation.steps[i]
        if planned.kind.value == "quiet" and run.evidence and run.stage is not Stage.SKIPPED:
            lines.append(f"*Last seen* {escape(run.evidence, 700)}")
    return [section(*lines)]


def _steps(rotation: Rotation, scene: Scene) -> list[Block]:
    promotion = rotation.plan.promotion
    lines = [step_line(rotation, i, scene.names, scene.targets.get(i)) for i in range(len(rotation.steps))]
    made = [header("Steps"), *sections(lines[:promotion], 8)]
    if promotion < len(lines):
        made += [header("Retiring the old one"), *sections(lines[promotion:], 8)]
    return made


def _footer(rotation: Rotation, scene: Scene) -> str:
    plan = rotation.plan
    return (
        f"{rotation.id} · runbook {code(plan.runbook, 60)} · plan {code(short_hash(plan.digest))} · "
        f"audit {code(scene.head, 60)} · drawn from version {rotation.version}"
    )
