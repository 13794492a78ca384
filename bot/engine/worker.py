"""Runs what delivery brings: stored intents and step legs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from bot.contracts.command import Answer, Call, Chart, Rotations
from bot.contracts.delivery import Leg
from bot.contracts.people import Directory
from bot.core.decide import Stale
from bot.core.errors import Ambiguous, KeyturnError, Permanent, Refused, Transient
from bot.core.events import Entry, Event
from bot.engine.intake import WORKFLOW, need_of, step_key
from bot.engine.legs import Legs
from bot.engine.under_way import UnderWay
from bot.store.database import Database
from bot.store.records import IntentRow
from bot.store.writing import Transaction

log = logging.getLogger(__name__)


class Worker:
    """One per process. `run` is what delivery calls; it never raises."""

    def __init__(
        self,
        database: Database,
        legs: Legs,
        commands: Callable[[], Mapping[str, Any]],
        rotations: Rotations,
        directory: Directory,
        name: str,
    ) -> None:
        self._database = database
        self._legs = legs
        self._commands = commands
        self._rotations = rotations
        self._directory = directory
        self._name = name
        self.under_way = UnderWay()

    def run(self, leg: Leg) -> None:
        """Run one leg to its end. What cannot be saved is found again by the timers."""
        try:
            with self.under_way.working(leg):
                if leg.step is None:
                    self._run_intent(leg.number)
                else:
                    self._legs.run(leg)
        except Stale:
            return
        except KeyturnError as error:
            log.warning("work was put off: %s", error)

    def _run_intent(self, number: int) -> None:
        with self._database.begin(quiet=True) as tx:
            row = tx.begin_intent(number, self._name)
        if row is None:
            return
        answer, refusal = self._answer(row)
        try:
            self._finish(row, answer, refusal)
        except (Stale, Transient, Ambiguous):
            raise  # the timers find the intent again
        except Exception as error:  # noqa: BLE001 - an answer that is no data; its subject must not wait for ever
            log.error("the answer of %s could not be stored: %s", row.word, type(error).__name__)
            self._finish(row, self._defect(row), "defect")

    def _finish(self, row: IntentRow, answer: Answer, refusal: str | None) -> None:
        number = row.number
        with self._database.begin() as tx:
            if refusal is not None:
                detail = {"intent": number, "word": row.word, "code": refusal, "because": answer.text}
                tx.audit(Entry(Event.REFUSED, row.person, rotation=row.subject, detail=detail))
            payload = as_json(answer)
            tx.finish_intent(number, payload, self._name)
            if row.surface == WORKFLOW:
                _end_step(tx, row, answer)
            elif row.surface == "slack":
                told = {**payload, "form": row.payload.get("form", ""), "word": row.word}
                tx.add_notice(f"intent-{number}", row.person, row.channel, answer.text, told)

    def _answer(self, row: IntentRow) -> tuple[Answer, str | None]:
        """What the word says, and the code of the refusal if it was one."""
        command = self._commands().get(row.word)
        if command is None:
            return Answer(f"There is no word {row.word!r} any more; see them all with: help.", good=False), "gone"
        if row.effect is not None:
            return _done(row.effect), None
        person = self._directory.person(row.person)
        call = Call(
            word=row.word,
            need=need_of(command),
            person=person,
            args=tuple(row.payload["args"]),
            flags=row.payload["flags"],
            channel=row.channel,
            surface=row.surface,
            bound=row.payload["bound"],
            confirmed=row.payload["confirmed"],
            ticked=tuple(row.payload["ticked"]),
            intent=row.number,
            execution=row.payload.get("form", "") if row.surface == WORKFLOW else "",
        )
        try:
            return command.run(call, self._rotations), None
        except Refused as error:
            return Answer(str(error), good=False), error.code
        except Permanent as error:
            return Answer(f"{error}. {error.hint}".strip(), good=False), "permanent"
        except Ambiguous as error:
            done = self._done(row)
            return (done, None) if done else (Answer(f"{error}: {error.evidence}", good=False), "ambiguous")
        except KeyturnError as error:
            return Answer(f"It did not work this time: {error}. Try again in a moment.", good=False), "transient"
        except Exception as error:  # noqa: BLE001 - the person must get an answer, and its text may hold anything
            log.error("the word %s raised %s", row.word, type(error).__name__)
            return self._defect(row), "defect"

    def _done(self, row: IntentRow) -> Answer | None:
        """What to say when the intent has had its effect after all; None when it has not."""
        with self._database.read() as reader:
            known = reader.intent(row.number)
        if known is None or known.effect is None:
            return None
        return _done(known.effect)

    def _defect(self, row: IntentRow) -> Answer:
        done = self._done(row)
        see = f": see R-{done.rotation}" if done and done.rotation else ""
        after = f"What you asked for was done{see}." if done else "It changed no rotation."
        rotation = done.rotation if done else None
        return Answer(
            f"Something is wrong inside keyturn; its log has the place. {after}", rotation=rotation, good=False
        )


def _end_step(tx: Transaction, row: IntentRow, answer: Answer) -> None:
    """Tell the workflow; where a rotation was opened, that is told when the rotation has come to its end."""
    if answer.good and row.word == "start":
        return
    execution = str(row.payload.get("form") or "")
    told = {"data": answer.data} if answer.good else {"error": answer.text}
    payload = {"execution": execution, "word": row.word, **told}
    tx.add_notice(step_key(execution), "", "", answer.text, payload)


def _done(effect: int) -> Answer:
    """The answer of an intent that had its effect in another life: on a rotation, or (0) on the inventory."""
    return Answer(f"Done: see R-{effect}.", rotation=effect) if effect else Answer("Done.")


def as_json(answer: Answer) -> dict[str, Any]:
    """An answer as JSON, for the row from which Slack or the command line draws it."""
    draft = answer.draft
    return {
        "text": answer.text,
        "good": answer.good,
        "rotation": answer.rotation,
        "data": answer.data,
        "table": asdict(answer.table) if answer.table else None,
        "charts": [asdict(chart) for chart in answer.charts],
        "draft": None
        if draft is None
        else {
            "plan": draft.plan.to_json(),
            "boxes": [asdict(box) for box in draft.boxes],
            "expected_end": draft.expected_end.isoformat(),
            "retired_by": draft.retired_by.isoformat() if draft.retired_by else None,
            "warnings": list(draft.warnings),
            "waits": dict(draft.waits),
            "orders": {order: dict(costs) for order, costs in draft.orders.items()},
        },
    }


def of_json(data: Mapping[str, Any]) -> Answer:
    """Read back what `as_json` wrote."""
    from datetime import datetime

    from bot.contracts.command import Draft, Table
    from bot.core.plan import Plan
    from bot.core.rotation import Box

    table, draft = data.get("table"), data.get("draft")
    return Answer(
        text=data["text"],
        good=data["good"],
        rotation=data["rotation"],
        data=data["data"],
        table=Table(tuple(table["columns"]), tuple(tuple(row) for row in table["rows"]), table["newest_last"])
        if table
        else None,
        draft=Draft(
            plan=Plan.of_json(draft["plan"]),
            boxes=tuple(Box(**box) for box in draft["boxes"]),
            expected_end=datetime.fromisoformat(draft["expected_end"]),
            retired_by=datetime.fromisoformat(draft["retired_by"]) if draft["retired_by"] else None,
            warnings=tuple(draft["warnings"]),
            waits=draft["waits"],
            orders=draft["orders"],
        )
        if draft
        else None,
        charts=tuple(_chart(one) for one in data.get("charts") or ()),
    )


def _chart(data: Mapping[str, Any]) -> Chart:
    series = tuple((name, tuple(float(value) for value in values)) for name, values in data["series"])
    rest = {name: data[name] for name in ("title", "x_label", "y_label", "told")}
    return Chart(categories=tuple(data["categories"]), series=series, **rest)
