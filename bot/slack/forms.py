"""Modals: choosing a credential, the plan with its checklist before a start, asking for a reason, and problems."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bot.contracts.command import Draft
from bot.core.errors import Refused
from bot.core.plan import Plan, fact_lines, reviewed
from bot.slack.blocks import (
    Block,
    Element,
    Page,
    checkboxes,
    context,
    divider,
    header,
    option,
    plain_text,
    section,
    sections,
    text_input,
)
from bot.slack.buttons import Bound
from bot.slack.names import Names
from bot.slack.steps import BOXES, box_line
from bot.slack.text import code, count, cut, date, escape, sentence, span

PICK, START, REASON = "rotate-pick", "rotate-start", "rotate-reason"
CHOOSE_ORDER = "rotate-order"
"""Action id of the one choice that is acted upon before the form is submitted."""
CREDENTIAL_FIELD, REASON_FIELD, BOXES_FIELD, CHOICE_FIELD = "credential", "reason", "boxes", "value"
MOST_REASON = 500
MOST_NOTE = 3000
View = dict[str, Any]

_CREDENTIAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,120}@[A-Za-z0-9][A-Za-z0-9._-]{0,60}")
_CHANNEL = re.compile(r"[CDG][A-Z0-9]{2,20}|-")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def modal(title: str, blocks: Sequence[Block], *, submit: str = "", callback: str = "", note: str = "") -> View:
    """A modal; without `submit` it has nothing to press but Close."""
    view: View = {
        "type": "modal",
        "title": plain_text(title, 24),
        "close": plain_text("Close", 24),
        "blocks": list(blocks),
    }
    if submit:
        view["submit"] = plain_text(submit, 24)
    if callback:
        view["callback_id"] = callback
    if note:
        view["private_metadata"] = note[:MOST_NOTE]
    return view


def pick(channel: str) -> View:
    """What a bare `/rotate` opens: choose a credential and say why."""
    element: Element = {
        "type": "external_select",
        "action_id": CHOICE_FIELD,
        "min_query_length": 0,
        "placeholder": plain_text("Type a part of its name", 150),
    }
    field: Block = {
        "type": "input",
        "block_id": CREDENTIAL_FIELD,
        "label": plain_text("Credential", 2000),
        "element": element,
        "hint": plain_text("The plan is shown first; nothing starts before you agree to it.", 2000),
    }
    return modal(
        "Rotate a credential",
        [field, reason_input(""), context("Other words: `/rotate help`, `/rotate status`, `/rotate list`.")],
        submit="Show the plan",
        callback=PICK,
        note=channel if _CHANNEL.fullmatch(channel) else "-",
    )


def is_channel(text: str) -> bool:
    """Whether it is a channel's id, or the dash that stands for none."""
    return _CHANNEL.fullmatch(text) is not None


def reason_input(initial: str, label: str = "Why is it rotated?", *, optional: bool = False) -> Block:
    """The field for the reason."""
    hint = "It stands on the card and in the audit. Never type a secret."
    return text_input(
        REASON_FIELD, label, most=MOST_REASON, hint=hint, initial=initial, optional=optional, multiline=True
    )


def skeleton(what: str, external_id: str = "") -> View:
    """What is shown while the plan is being made."""
    line = f"Reading facts and checking permissions for {code(what, 150)}. Nothing is started."
    view = modal("Planning", [section(line)])
    if external_id:
        view["external_id"] = external_id
    return view


def problem(text: str) -> View:
    """Why there is no plan, and the way out."""
    return modal("No plan", [section(escape(sentence(text), 2500)), context("Nothing was started.")])


# --- the plan before a start ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StartNote:
    """What the start form remembers: names, the plan's digest and its reason."""

    credential: str
    environment: str
    digest: str
    channel: str
    reason: str = ""
    """The reason that stood in the plan; the person may have typed another one below it."""

    def __str__(self) -> str:
        return f"{self.target} {self.digest} {self.channel or '-'} {self.reason}"

    @property
    def target(self) -> str:
        """As a word takes it: `name@environment`."""
        return f"{self.credential}@{self.environment}"

    @classmethod
    def read(cls, text: str) -> StartNote:
        """Read it back; raises `Refused` for what no form of ours says."""
        parts = text.split(" ", 3)
        if (
            len(parts) != 4
            or not _CREDENTIAL.fullmatch(parts[0])
            or not _DIGEST.fullmatch(parts[1])
            or not _CHANNEL.fullmatch(parts[2])
        ):
            raise Refused("This form is not one of keyturn's; type /rotate start again.", code="bad-form")
        name, _, environment = parts[0].rpartition("@")
        return cls(name, environment, parts[1], "" if parts[2] == "-" else parts[2], parts[3])


def start(draft: Draft, channel: str, names: Names) -> View:
    """The plan, the checklist and the reason; submitting it asks for the rotation."""
    plan = draft.plan
    page = Page("modal")
    page.add(section(*_opening(draft)), rank=0)
    page.add(*sections([escape(line, 700) for line in looked_up(plan)], 3), rank=1)
    for warning in draft.warnings[:10]:
        page.add(section(f"*Note* {escape(sentence(warning), 600)}"), rank=1)
    page.add(header("Steps"), *sections(_planned(draft), 12), rank=2)
    open_boxes = [box for box in draft.boxes if not box.ticked]
    ticked = [box_line(box, names) for box in draft.boxes if box.ticked]
    if ticked:
        page.add(header("Checked by keyturn"), *sections(ticked, 3), rank=2)
    if open_boxes:
        options = [(box.name, BOXES.get(box.name, box.name), box.evidence) for box in open_boxes]
        page.add(checkboxes(BOXES_FIELD, "Tick what you vouch for with your name", options), rank=0)
        page.add(context("What you leave open can be ticked on the card; nothing starts before all are."), rank=1)
    page.add(divider(), reason_input(plan.reason), rank=0)
    page.add(context(f"Plan `{plan.digest}`. The digest on the card also covers the reason that you type."), rank=0)
    note = StartNote(plan.credential, plan.environment, plan.digest, channel, plan.reason)
    title = cut(f"Rotate {plan.credential}", 24)
    return modal(title, page.fit(), submit="Ask for approval", callback=START, note=f"{note}")


def looked_up(plan: Plan) -> list[str]:
    """What was looked up for people to see, and who stands behind the runbook."""
    return [*fact_lines(plan), f"The runbook was {reviewed(plan)}."]


def _opening(draft: Draft) -> list[str]:
    plan = draft.plan
    lines = [
        f"You are about to ask for a rotation of {code(plan.credential, 150)} in {escape(plan.environment, 60)} by the "
        f"runbook {code(plan.runbook, 60)}, expected to be done by {date(draft.expected_end)}."
    ]
    if draft.retired_by is not None:
        lines.append(f"The old one is retired after that, by plan around {date(draft.retired_by)}.")
    approvers = escape(", ".join(plan.approve_from), 300)
    if plan.approvers:
        lines.append(
            f"*{count(plan.approvers, 'other person', 'other people')}* must approve it"
            + (f", out of: {approvers}." if approvers else ".")
        )
    no_return = plan.point_of_no_return()
    if no_return is not None:
        lines.append(
            f"It can be rolled back within {span(plan.rollback_within)}, until "
            f"*{escape(plan.steps[no_return].title, 150)}*, from which there is no way back."
        )
    else:
        lines.append(f"It can be rolled back within {span(plan.rollback_within)}, until the end.")
    return lines


def _planned(draft: Draft) -> list[str]:
    plan = draft.plan
    lines = []
    for i, planned in enumerate(plan.steps):
        if i == plan.promotion:
            lines.append("_From here on the old one is retired:_")
        told = f"{i + 1}. {escape(planned.title, 150)} · {escape(planned.effect, 20)}"
        wait = draft.waits.get(planned.id, "")
        lines.append(told + (f" · {escape(wait, 250)}" if wait else ""))
    return lines


# --- reasons ----------------------------------------------------------------------------------------------------------

_ASKED: Mapping[str, tuple[str, str, str]] = {
    "reject": ("Reject", "What is wrong with it?", "Reject"),
    "cancel": ("Withdraw", "Why is it withdrawn?", "Withdraw"),
    "skip": ("Skip a step", "Why is it safe to go on without this step?", "Ask to skip"),
    "rollback": ("Roll back", "Why is it put back?", "Roll back"),
}


@dataclass(frozen=True, slots=True)
class ReasonNote:
    """What the reason form remembers: the word, and what its button was bound to."""

    word: str
    bound: Bound
    channel: str

    def __str__(self) -> str:
        return f"{self.word} {self.bound} {self.channel or '-'}"

    @classmethod
    def read(cls, text: str) -> ReasonNote:
        """Read it back; raises `Refused` for what no form of ours says."""
        word, _, rest = text.partition(" ")
        value, _, channel = rest.rpartition(" ")
        if not re.fullmatch(r"[a-z][a-z-]{0,30}", word) or not _CHANNEL.fullmatch(channel):
            raise Refused("This form is not one of keyturn's; use the rotation's own card.", code="bad-form")
        return cls(word, Bound.read(value), "" if channel == "-" else channel)


def reason(word: str, bound: Bound, channel: str) -> View:
    """Asks for the reason that a word needs."""
    title, question, submit = _ASKED.get(word, (word.capitalize(), "Why?", "Go on"))
    note = ReasonNote(word, bound, channel if _CHANNEL.fullmatch(channel) else "-")
    blocks = [section(f"This is about {code(bound.rotation)}."), reason_input("", question)]
    return modal(title, blocks, submit=submit, callback=REASON, note=str(note))


# --- reading what was entered -----------------------------------------------------------------------------------------


def entered(view: Mapping[str, Any]) -> Mapping[str, str | tuple[str, ...]]:
    """The values of a submitted view by block id: text, the chosen value, or the ticked values.

    Anything of another shape is left out, as if it had not been entered.
    """
    state = view.get("state")
    values = state.get("values") if isinstance(state, Mapping) else None
    found: dict[str, str | tuple[str, ...]] = {}
    for block, elements in values.items() if isinstance(values, Mapping) else ():
        both = elements if isinstance(elements, Mapping) else {}
        element = both.get(CHOICE_FIELD, both.get(CHOOSE_ORDER))
        if not isinstance(element, Mapping):
            continue
        text, choice, ticked = element.get("value"), element.get("selected_option"), element.get("selected_options")
        user = element.get("selected_user")
        if isinstance(user, str):
            found[block] = user
        elif isinstance(text, str):
            found[block] = text
        elif isinstance(choice, Mapping) and isinstance(choice.get("value"), str):
            found[block] = choice["value"]
        elif isinstance(ticked, list):
            found[block] = tuple(
                one["value"] for one in ticked if isinstance(one, Mapping) and isinstance(one.get("value"), str)
            )
    return found


def options(credentials: Sequence[tuple[str, str, str]]) -> dict[str, Any]:
    """The answer to an external select: (name, environment, description) each, at most a hundred."""
    made = []
    for name, environment, description in credentials[:100]:
        value = f"{name}@{environment}"
        if len(value) <= 150:
            made.append(option(value, f"{name} ({environment})", description))
    return {"options": made}
