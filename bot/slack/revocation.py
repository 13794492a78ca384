"""The form of a revocation: the emergency plan, what each order costs, a choice between them, and the reason."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from bot.contracts.command import Draft
from bot.core.errors import Refused
from bot.slack import forms
from bot.slack.blocks import Block, Page, context, divider, header, option, plain_text, section, sections
from bot.slack.text import code, count, cut, date, escape, sentence, span

REVOKE, ORDER_FIELD = "rotate-revoke", "order"
_ORDER = re.compile(r"[a-z][a-z-]{0,30}")
_ORDERS = {
    "replace-first": "Replace first: the new one is in use before the suspected one goes",
    "contain-first": "Contain first: the suspected one goes at once, whatever stops working",
}


@dataclass(frozen=True, slots=True)
class RevokeNote:
    """What the form remembers: the plan that is shown, its order, and the modal's own name."""

    shown: forms.StartNote
    order: str
    form: str

    def __str__(self) -> str:
        return f"{self.order} {self.form} {self.shown}"

    @classmethod
    def read(cls, text: str) -> RevokeNote:
        """Read it back; raises `Refused` for what no form of ours says."""
        order, _, rest = text.partition(" ")
        form, _, rest = rest.partition(" ")
        if not _ORDER.fullmatch(order) or not re.fullmatch(r"form-[0-9a-f]{40}", form):
            raise Refused("This form is not one of keyturn's; type /rotate revoke again.", code="bad-form")
        return cls(forms.StartNote.read(rest), order, form)


def revoke(draft: Draft, channel: str, form: str) -> forms.View:
    """The emergency plan in one order; choosing the other shows that one's plan. Submitting asks a second person."""
    plan = draft.plan
    page = Page("modal")
    page.add(section(*_opening(draft)), rank=0)
    page.add(*_orders(draft), rank=0)
    for warning in draft.warnings[:10]:
        page.add(section(f"*Note* {escape(sentence(warning), 600)}"), rank=1)
    page.add(header(f"Steps, {plan.order}"), *sections(_planned(draft), 12), rank=2)
    page.add(divider(), rank=1)
    page.add(forms.reason_input(plan.reason, "What is suspected, and why?"), rank=0)
    page.add(context(f"Plan `{plan.digest}`. The digest on the card also covers the reason that you type."), rank=0)
    shown = forms.StartNote(plan.credential, plan.environment, plan.digest, channel, plan.reason)
    view = forms.modal(
        cut(f"Revoke {plan.credential}", 24),
        page.fit(),
        submit="Ask for approval",
        callback=REVOKE,
        note=str(RevokeNote(shown, plan.order, form)),
    )
    view["external_id"] = form  # another order is shown in the same modal
    return view


def _opening(draft: Draft) -> list[str]:
    plan = draft.plan
    lines = [
        f"*EMERGENCY* You are about to ask to revoke {code(plan.credential, 150)} in {escape(plan.environment, 60)}, "
        f"because it may be in wrong hands. Nothing is done before somebody else approves.",
        f"*{count(plan.approvers, 'other person', 'other people')}* must approve within {span(plan.approve_within)}"
        + (f", out of: {escape(', '.join(plan.approve_from), 300)}" if plan.approve_from else "")
        + (", each with an SSH signature." if plan.signed else "."),
    ]
    for stage in plan.escalation[:10]:
        whom = escape(", ".join(str(name) for name in stage["to"]), 200)
        paged = " and paged" if stage.get("page") else ""
        after = span(timedelta(seconds=stage["after"]))
        verb = "is" if len(stage["to"]) == 1 else "are"
        lines.append(f"If nobody does, {whom} {verb} asked{paged} after {after}.")
    if plan.break_glass is not None and plan.contained:
        lines.append(
            f"Until then one person may contain it alone with a signature, for {span(plan.break_glass)}, loudly."
        )
    lines.append(
        "On approval: an incident is opened, what is being rotated now is taken over, and the steps below begin; "
        f"they are expected to be done by {date(draft.expected_end)}."
    )
    return lines


def _orders(draft: Draft) -> list[Block]:
    """What each order costs, and the choice where there is one."""
    made: list[Block] = []
    for name, costs in draft.orders.items():
        told = [f"*{escape(_named(name), 120)}*" + (" (shown below)" if name == draft.plan.order else "")]
        told += [f"{what.capitalize()}: {escape(costs.get(what) or 'not said in the runbook', 700)}" for what in _COSTS]
        made.append(section(*told))
    if len(draft.orders) < 2:
        return [*made, context("The runbook has this one order only.")]
    options = [option(name, _named(name)) for name in draft.orders]
    element: dict[str, Any] = {"type": "radio_buttons", "action_id": forms.CHOOSE_ORDER, "options": options[:10]}
    chosen = next((one for one in options if one["value"] == draft.plan.order), None)
    if chosen is not None:
        element["initial_option"] = chosen
    made.append(
        {
            "type": "input",
            "block_id": ORDER_FIELD,
            "dispatch_action": True,
            "label": plain_text("Order", 2000),
            "hint": plain_text("Choosing the other one shows its plan; nothing is asked for by that.", 2000),
            "element": element,
        }
    )
    return made


_COSTS = ("outage", "exposure")


def _named(order: str) -> str:
    return _ORDERS.get(order, order)


def _planned(draft: Draft) -> list[str]:
    plan = draft.plan
    lines = []
    for i, planned in enumerate(plan.steps):
        wait = draft.waits.get(planned.id, "")
        told = f"{i + 1}. {escape(planned.title, 150)} · {escape(planned.effect, 20)}"
        lines.append(told + (f" · {escape(wait, 250)}" if wait else ""))
        if plan.contained and i + 1 == plan.contained:
            lines.append("_From here on the suspected one is contained._")
    return lines
