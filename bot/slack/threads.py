"""Where something about a rotation is said: on which card, in which thread, in the channel of its incident."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bot.core.errors import KeyturnError
from bot.core.incident import Incident
from bot.core.rotation import Rotation, Stage
from bot.engine.fanout import Targets
from bot.engine.scope import scope_of
from bot.store.reading import Reader
from bot.store.records import DrawingRow

GIVEN_UP = 2**31 - 1
"""What the store notes as drawn of a message that was given up."""
COPY = "@"
"""The place of a copy for a person whose direct message is not open yet: `@bob`."""


def main_card(drawings: Sequence[DrawingRow]) -> DrawingRow | None:
    """The card whose thread is the rotation's, among it and its copies; that is where its log is."""
    cards = [one for one in drawings if one.form == "card" and one.drawn < GIVEN_UP and not one.place.startswith(COPY)]
    logs = {one.place for one in drawings if one.form == "log" and one.drawn < GIVEN_UP}
    ranked = sorted(cards, key=lambda one: (one.place not in logs, one.place.startswith("D"), one.id))
    return ranked[0] if ranked else None


def parent_of(row: DrawingRow, drawings: Sequence[DrawingRow], incident: Incident | None) -> str | None:
    """The message in whose thread the row's is posted; empty for none, None while that is not posted yet."""
    if row.form == "card" or (incident is not None and incident.place == row.place):
        return ""
    card = next((one for one in drawings if one.form == "card" and one.place == row.place), None)
    return card.ts if card is not None and card.ts else None


def counts(reader: Reader, rotation: Rotation) -> Mapping[int, tuple[int, int]]:
    """Of the current step, if it fans out: how many targets are finished, of how many."""
    i = rotation.current
    if i is None or rotation.plan.steps[i].step.each is None or not rotation.steps[i].touched:
        return {}
    try:
        names = Targets.of(rotation.plan.steps[i].step.each or "", scope_of(rotation))
    except KeyturnError:
        return {}  # a step before it did not give what it needs
    stage = "undone" if rotation.steps[i].undoing else "done"
    rows: Mapping[str, Any] = reader.targets(rotation.number, i)
    return {i: (sum(name in rows and rows[name].stage == stage for name in names), len(names))}


def is_counting(rotation: Rotation, found: Mapping[int, tuple[int, int]]) -> bool:
    """Whether targets finish right now, without a new version of the rotation."""
    i = rotation.current
    return i is not None and i in found and rotation.steps[i].stage is Stage.RUNNING
