"""Ends a workflow's step, once: with what it gives, or with the sentence that says why not."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from bot.core.errors import Permanent, Transient
from bot.core.rotation import Rotation, State
from bot.slack.api import SlackApi, SlackRefused
from bot.slack.budget import Budget
from bot.slack.outcomes import Later, Outcome, Shown, after
from bot.slack.text import cut, visible
from bot.store.database import Database
from bot.store.records import DrawingRow, NoticeRow

MOST_TOLD = 1000
NEVER_AGAIN = 2**31 - 1
"""What is noted as drawn once a step has ended: nothing newer can be wanted."""
SETTLED = frozenset({"execution_not_in_running_state", "function_execution_not_found", "access_denied"})
"""The workflow has ended without us, or our earlier call was heard and its answer lost."""
_FAILED = {
    State.ROLLED_BACK: "was rolled back",
    State.CANCELLED: "ended without a change",
    State.ABANDONED: "was abandoned",
}


class StepEnder:
    """Draws `step` rows from the rotation's state, and sends the notices that end other steps."""

    def __init__(self, database: Database, api: SlackApi, budget: Budget) -> None:
        self._database = database
        self._api = api
        self._budget = budget

    def draw(self, row: DrawingRow) -> Outcome:
        """Nothing while the rotation is under way; its end ends the step named by the row's place."""
        with self._database.read() as reader:
            rotation = reader.rotation(row.rotation)
        if rotation is None:
            return Shown("", NEVER_AGAIN)
        outputs, error = told(rotation)
        if not outputs and not error:
            return Shown("", rotation.version)
        return self._end(row.place, outputs, error, row.failures, Shown("", NEVER_AGAIN))

    def tell(self, row: NoticeRow) -> Outcome:
        """End the step that a notice is about."""
        execution, error = str(row.payload.get("execution") or ""), str(row.payload.get("error") or "")
        outputs = {} if error else status(row.payload.get("data"))
        return self._end(execution, outputs, error, row.failures, Shown(""))

    def _end(self, execution: str, outputs: Mapping[str, str], error: str, failures: int, done: Shown) -> Outcome:
        method = "functions.completeError" if error else "functions.completeSuccess"
        wait = self._budget.call(method)
        if wait:
            return Later(wait)
        try:
            if error:
                text = cut(visible(error), MOST_TOLD)
                self._api.call("functions.completeError", function_execution_id=execution, error=text)
            else:
                self._api.call("functions.completeSuccess", function_execution_id=execution, outputs=dict(outputs))
        except SlackRefused as refused:
            return done if refused.error in SETTLED else after(refused, method, failures, self._budget)
        except (Transient, Permanent) as failed:
            return after(failed, method, failures, self._budget)
        return done


def told(rotation: Rotation) -> tuple[Mapping[str, str], str]:
    """The outputs of a rotation's step, or why it failed; neither while it is under way."""
    plan = rotation.plan
    name = f"{rotation.id} ({plan.credential}, {plan.environment})"
    if rotation.state is State.PROMOTED:
        done = rotation.is_over
        outcome = f"{name} is rotated; the old one is {'retired' if done else 'being retired'}."
        return {"rotation": rotation.id, "state": "done" if done else "in use", "outcome": outcome}, ""
    if rotation.state in _FAILED:
        return {}, f"{name} {_FAILED[rotation.state]}: {rotation.outcome or 'see its card'}"
    return {}, ""


def status(data: Any) -> Mapping[str, str]:
    """The outputs of `credential_status`, of what the word `status` says for machines."""
    known: Mapping[str, Any] = data if isinstance(data, Mapping) else {}
    due = known.get("due")
    return {
        "due": f"{datetime.fromisoformat(str(due)):%Y-%m-%d}" if due else "not scheduled",
        "owner": cut(visible(str(known.get("owner") or "nobody")), 200),
        "open_rotation": str(known.get("open_rotation") or "none"),
    }
