"""A rotation that would put a third key beside two overlapping ones is refused, and says until when."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import runbooks
from bot.core.errors import Refused
from bot.core.plan import Plan, PlannedStep
from bot.core.rotation import Done, NotYet, Outcome, Overlap, Rotation, State
from bot.core.runbook import DoStep, WaitStep
from bot.core.runbook_file import load
from bot.store.database import Database
from tests.engine.stage import Plans, Stage

DAY = timedelta(days=1)
BOOK = load(Path(runbooks.__path__[0]) / "versioned-secret.yaml").runbook
EFFECTS = {"kubernetes.add_key": "creates", "kubernetes.purge_key": "destroys"}


class Quarterly(Plans):
    """The steps of the shipped runbook, whose old version counts, for a credential that is due each quarter."""

    def plan(self, subject: Any, requester: str, reason: str, word: str = "start", order: str = "") -> Plan:
        made = super().plan(subject, requester, reason, word, order)
        steps = tuple(
            PlannedStep(
                section,
                step.model_copy(update={"by_hand": None}),
                EFFECTS.get(step.do, "changes") if isinstance(step, DoStep) else "reads",
            )
            for section, step in BOOK.sections()
        )
        return replace(made, steps=steps, counts_old=True, cadence=90 * DAY, retire_within=105 * DAY)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    database = Database.open(f"sqlite:///{tmp_path / 'keyturn.db'}")
    database.migrate()
    made = Stage(database, tmp_path)
    quarterly: Any = Quarterly(made.policy)
    made.plans = made.board._planner = quarterly
    yield made
    database.close()


def waiting(stage: Stage, slip: timedelta) -> Rotation:
    """A rotation that is promoted and waits for tokens of 90 days, and a `slip` more."""

    def outcome(rotation: Rotation, i: int) -> Outcome:
        begun = rotation.promoted_at
        if isinstance(rotation.plan.steps[i].step, WaitStep) and begun is not None:
            until = begun + 90 * DAY + slip
            return Done({}, "over") if stage.database.now() >= until else NotYet(until, "tokens of v1 are alive")
        return Done({"version": "v2"} if i == 0 else {}, "ok")

    stage.outcome = outcome
    rotation = stage.start()
    stage.vote("bob", rotation, sign=False)
    stage.work()
    return stage.load(rotation)


def test_a_slip_makes_the_next_quarter_s_rotation_a_third_key(stage: Stage) -> None:
    first = waiting(stage, slip=3 * DAY)
    assert (first.state, first.overlap) == (State.PROMOTED, Overlap.RETIRING)
    assert first.promoted_at is not None
    assert first.next_due == first.promoted_at + 90 * DAY  # the next reminder is set when the rotation finishes
    stage.clock.advance(91 * DAY)
    with pytest.raises(Refused) as refused:
        stage.start()
    assert refused.value.code == "too-many-valid"
    until = first.promoted_at + 93 * DAY
    last = first.promoted_at + 105 * DAY
    assert str(refused.value) == (
        "identity-signing still has 1 old version(s) being retired, and at most 2 versions may be valid; the "
        f"retirement of R-1 waits until {until:%Y-%m-%d %H:%M} UTC (Tokens that the old version signed expire), and "
        f"has until {last:%Y-%m-%d %H:%M} UTC. See: status identity-signing."
    )


def test_once_the_old_key_is_erased_the_next_rotation_may_begin(stage: Stage) -> None:
    first = waiting(stage, slip=timedelta(0))
    stage.clock.advance(91 * DAY)
    stage.timers().tick()
    stage.work()
    assert stage.load(first).overlap is Overlap.RETIRED
    assert stage.start().state is State.REQUESTED
