"""A runbook as a page for people: what it does step by step, what it waits for, what to do when it fails."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bot.core.lint import Vocabulary
from bot.core.runbook import AskStep, CheckStep, DoStep, Emergency, Order, QuietStep, Runbook, StepBase, WaitStep

_EFFECTS = {"creates": "creates", "changes": "changes, reversible", "destroys": "**destroys**", "reads": "reads"}


def runbook_page(runbook: Runbook, source: str, vocabulary: Vocabulary) -> str:
    """The page of one runbook; `source` is its file, whose first comment opens the page."""
    lines = [f"# {runbook.runbook}", "", f"<!-- Made by `make docs` from runbooks/{runbook.runbook}.yaml. -->", ""]
    lines += [runbook.summary, ""]
    first = source.partition("\n")[0]
    if first.startswith("#"):
        lines += [first.lstrip("# "), ""]
    lines += ["## What it is given", "", "| Input | Kind | Default | Means |", "|---|---|---|---|"]
    for name, given in runbook.inputs.items():
        default = "required" if given.required else f"`{given.default}`"
        lines.append(f"| `{name}` | {given.type} | {default} | {given.help} |")
    if runbook.facts:
        lines += ["", "## What it looks up", "", "| Fact | Read by | If it changes |", "|---|---|---|"]
        for name, fact in runbook.facts.items():
            held = {"same": "the rotation holds", "any": "goes on", "at_most": f"holds above `{fact.at_most}`"}
            lines.append(f"| `{name}` | `{fact.read}` | {held[fact.bound]} |")
    boxes = ", ".join(runbook.before)
    lines += ["", f"Before it begins, the checklist: {boxes}. A rollback takes at most `{runbook.rollback_within}`."]
    lines += ["", "## Rotation", "", *_steps(runbook.steps, vocabulary)]
    if runbook.retire:
        kind = {"both-valid": "old and new both valid", "verify-only": "the old one only verifies"}[runbook.overlap]
        lines += ["", "## Retirement of the old one", "", f"Within `{runbook.retire_within}`; until then {kind}.", ""]
        lines += _steps(runbook.retire, vocabulary)
    if runbook.emergency:
        lines += ["", "## Emergency", "", *_emergency(runbook, runbook.emergency, vocabulary)]
    if runbook.trouble:
        lines += ["", "## When a step fails", "", "Buttons on the card of a failed step:", ""]
        for branch in runbook.trouble:
            word = branch.check or branch.do
            does = f" (`{word}`)" if word else ""
            lines.append(f"- **{branch.when}**{does}: {branch.advice}")
    return "\n".join([*lines, ""])


def _emergency(runbook: Runbook, emergency: Emergency, vocabulary: Vocabulary) -> Iterator[str]:
    """The steps in the runbook's own order, the other order by its ids, and what each costs."""
    yield from (f"`/rotate revoke` does this, {emergency.order} unless asked otherwise:", "")
    yield from _steps([step for _, step in runbook.emergency_sections(emergency.order)], vocabulary)
    for order in emergency.orders[1:]:
        yield from ("", f"{order.capitalize()}: {', '.join(f'`{name}`' for name in emergency.ids(order))}.")
    alone = emergency.containment(Order.CONTAIN_FIRST) if Order.CONTAIN_FIRST in emergency.orders else 0
    if alone:
        names = ", ".join(f"`{name}`" for name in emergency.ids(Order.CONTAIN_FIRST)[:alone])
        yield from ("", f"Where policy lets one person break the glass, that person does {names} and nothing else.")
    if emergency.costs:
        yield from ("", "| Order | Outage | Exposure |", "|---|---|---|")
        for order, cost in emergency.costs.items():
            yield f"| {order} | {cost.outage} | {cost.exposure} |"


def _steps(steps: Sequence[StepBase], words: Vocabulary) -> list[str]:
    lines = ["| Step | What | How | Must hold |", "|---|---|---|---|"]
    for step in steps:
        how, held = _told(step, words)
        lines.append(f"| `{step.id}` | {step.title or step.id} | {how} | {held} |")
    return lines


def _told(step: StepBase, words: Vocabulary) -> tuple[str, str]:
    """How a step works, and what must hold before it is done."""
    each = f", for each of `{step.each}`" if step.each else ""
    match step:
        case DoStep():
            info = words.describe(step.do)
            how = f"`{step.do}`, {_EFFECTS[info.effect] if info else 'unknown'}{each}"
            watch = step.watch
            held = f"`{watch.check}` for `{watch.for_}`{_expected(watch)}, otherwise undone" if watch else ""
        case CheckStep():
            how = f"`{step.check}`{each}"
            held = f"within `{step.within}`{_expected(step)}"
        case WaitStep():
            how = f"wait `{step.wait}`"
            held = f"`{step.until.check}`{_expected(step.until)}" if step.until else ""
        case QuietStep():
            how = ", ".join(f"`{word}`" for word in step.quiet)
            held = f"unused for `{step.for_}`, watched at least `{step.at_least}`"
        case AskStep():
            how, held = "a person", step.ask
        case _:
            how, held = "", ""
    return how, held


def _expected(part: object) -> str:
    return "".join(f", {told}" for told in _bounds(getattr(part, "expect", None)))


def _bounds(expect: object) -> Iterator[str]:
    above, below, over = (getattr(expect, name, None) for name in ("above", "hold_below", "over"))
    if above is not None:
        yield f"above {above:.4g}"
    if below is not None:
        yield f"stops below {below:.4g}"
    if over is not None:
        yield f"over `{over}`"
