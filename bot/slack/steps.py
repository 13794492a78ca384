"""Steps and checklist in words: what each is, where it stands, since or until when, and by which formula."""

from __future__ import annotations

from typing import Any

from bot.core.errors import KeyturnError
from bot.core.plan import Plan, PlannedStep
from bot.core.rotation import Box, Rotation, Stage, StepRun
from bot.core.runbook import QuietStep, WaitStep
from bot.core.template import evaluate, evaluate_span
from bot.engine.scope import scope_of
from bot.slack.names import Names
from bot.slack.text import code, cut, date, escape, span

BOXES = {
    "access": "Access to every system is there",
    "incidents": "No incident is going on",
    "rollback-plan": "The way back is known",
    "notified": "The teams concerned are notified",
    "dashboard": "The dashboard is open",
    "contacts": "Owner and approvers can be reached",
}
_WORDS = {
    Stage.PENDING: "to do",
    Stage.QUEUED: "starting",
    Stage.RUNNING: "running",
    Stage.WAITING: "waiting",
    Stage.ASKING: "needs a person",
    Stage.HELD: "failed",
    Stage.DONE: "done",
    Stage.SKIPPED: "skipped",
    Stage.UNDONE: "undone",
}
_UNDER_WAY = frozenset({Stage.QUEUED, Stage.RUNNING, Stage.WAITING, Stage.HELD})


def box_line(box: Box, names: Names) -> str:
    """`*ticked* access: Access to every system is there, by keyturn: evidence`."""
    told = f"*{'ticked' if box.ticked else 'open'}* {code(box.name, 40)} {BOXES.get(box.name, '')}"
    if box.ticked:
        told += f", by {names.mention(box.by)}"
    return told + (f": {escape(box.evidence, 200)}" if box.evidence else "")


def step_line(rotation: Rotation, i: int, names: Names, targets: tuple[int, int] | None = None) -> str:
    """One line for one step. `targets` are how many of how many are finished, where it fans out."""
    planned, run = rotation.plan.steps[i], rotation.steps[i]
    word = _WORDS[run.stage]
    if run.undoing:
        word = "undo failed" if run.stage is Stage.HELD else "undoing"
    told = f"{i + 1}. *{word}* {escape(planned.title, 150)}"
    if targets is not None and run.stage in _UNDER_WAY:
        told += f" · *{targets[0]} of {targets[1]} {'undone' if run.undoing else 'done'}*"
    for part in (_time(run), _formula(rotation, planned, run), _by(run, names), _evidence(run)):
        if part:
            told += f" · {part}"
    if planned.effect == "destroys" and run.stage is Stage.PENDING:
        told += " · _no way back from here_"
    return told


def _time(run: StepRun) -> str:
    if run.stage is Stage.WAITING and run.due_at is not None:
        return f"{'tried again' if run.failures else 'until'} {date(run.due_at)}"
    if run.ended_at is not None and run.stage in (Stage.DONE, Stage.SKIPPED, Stage.UNDONE):
        return date(run.ended_at)
    if run.began_at is not None and run.stage in (Stage.RUNNING, Stage.ASKING, Stage.HELD):
        return f"since {date(run.began_at)}"
    return ""


def _by(run: StepRun, names: Names) -> str:
    if not run.by:
        return ""
    return "by " + " and ".join(names.mention(person) for person in run.by.split(" and ", 1))


def _evidence(run: StepRun) -> str:
    told = run.problem if run.problem and run.stage in (Stage.WAITING, Stage.HELD) else run.evidence
    return escape(told, 220) if told else ""


def _formula(rotation: Rotation, planned: PlannedStep, run: StepRun) -> str:
    """How long the wait is and why, while it matters: `1h 15m = inputs.token_life + inputs.jwks_cache`."""
    if run.stage not in (Stage.PENDING, Stage.QUEUED, Stage.WAITING):
        return ""
    step = planned.step
    text = step.wait if isinstance(step, WaitStep) else step.for_ if isinstance(step, QuietStep) else ""
    if not text:
        return ""
    told = wait_told(text, rotation.plan, {**scope_of(rotation), "now": run.began_at})
    return f"quiet for {told}" if isinstance(step, QuietStep) else told


def wait_told(text: str, plan: Plan, scope: dict[str, Any]) -> str:
    """A wait with its formula and the source of each fact in it, as mrkdwn."""
    try:
        told = span(evaluate_span(text, scope))
    except KeyturnError:
        told = ""  # it depends on a step that has not run yet, or on when this one begins
    if "${{" not in text:
        return told
    formula = text.replace("${{", "").replace("}}", "").strip()
    sources = [str(fact.get("source", "")) for name, fact in plan.facts.items() if f"facts.{name}" in text]
    told = f"{told} = {escape(formula, 120)}" if told else escape(formula, 120)
    return told + (f" ({escape('; '.join(sources), 120)})" if sources else "")


def replaced(rotation: Rotation) -> tuple[str, str]:
    """The public names of the old and the new credential, as far as they are known now; empty where not."""
    scope = scope_of(rotation)
    found = []
    for which in ("old", "new"):
        text = rotation.plan.replaced.get(which, "")
        try:
            found.append(cut(str(evaluate(text, scope)), 200) if text else "")
        except KeyturnError:
            found.append("")  # the step that names it has not run yet
    return found[0], found[1]
