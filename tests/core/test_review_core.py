"""Sequences that once went wrong: an undo that is skipped, consent that outlives its meaning, clicks that come late."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from bot.core.decide import decide
from bot.core.errors import Refused
from bot.core.plan import Plan, PlannedStep
from bot.core.rotation import (
    Advanced,
    Amendment,
    Asking,
    BackOut,
    Began,
    Box,
    Done,
    Due,
    Ended,
    Failed,
    NotYet,
    Opened,
    Overlap,
    PlanChanged,
    Retried,
    Rotation,
    Skipped,
    Stage,
    State,
    Voted,
)
from bot.core.runbook import AskStep, CheckStep, DoStep, Section, Skip, Watch
from tests.store.samples import NOW, plan

WATCH = Watch.model_validate({"check": "gateways.success_rate", "for": "10m"})


def line(section: Section, step: DoStep | AskStep | CheckStep, effect: str = "reads") -> PlannedStep:
    return PlannedStep(section, step, effect)


def watched(**promote: Any) -> Plan:
    steps = (
        line(Section.STEPS, DoStep(id="publish", do="identity.publish_key"), "creates"),
        line(Section.STEPS, DoStep(id="promote", do="identity.promote_key", watch=WATCH, **promote), "changes"),
        line(Section.RETIRE, DoStep(id="disable", do="identity.disable_key", watch=WATCH), "changes"),
    )
    return replace(plan(), steps=steps)


def begun(the_plan: Plan) -> Rotation:
    rotation = decide(None, Opened(7, the_plan, "nonce", "C1", ()), NOW).rotation
    return decide(rotation, Voted("bob", True, "why", the_plan.digest, "nonce"), NOW).rotation


def end(rotation: Rotation, outcome: Any) -> Rotation:
    i = rotation.current
    assert i is not None
    attempt = rotation.steps[i].attempt
    rotation = decide(rotation, Began(i, attempt, "w1"), NOW).rotation
    return decide(rotation, Ended(i, attempt, "w1", outcome), NOW).rotation


def look_again(rotation: Rotation) -> Rotation:
    i = rotation.current
    assert i is not None
    return decide(rotation, Due(i, rotation.steps[i].attempt), NOW + timedelta(hours=1)).rotation


def watching(the_plan: Plan) -> Rotation:
    """`promote` is done and watched; the next look is under way."""
    rotation = end(begun(the_plan), Done({"kid": "new"}))
    return end(rotation, NotYet(NOW, "watching", {"watch_since": NOW.isoformat()}, {"previous": "old"}))


def agree(rotation: Rotation, person: str = "bob") -> Rotation:
    amendment = rotation.amendment
    assert amendment is not None
    return decide(rotation, Voted(person, True, "why", amendment.digest, amendment.nonce), NOW).rotation


def stuck_back_out() -> Rotation:
    """The watched promotion failed, and so does undoing it."""
    rotation = end(look_again(watching(watched())), BackOut("logins fail"))
    rotation = end(rotation, Failed("the service is down"))
    assert (rotation.state, rotation.steps[1].undoing) == (State.HELD, True)
    return rotation


def test_skipping_a_failed_back_out_rolls_nothing_else_back() -> None:
    rotation = stuck_back_out()
    rotation = agree(decide(rotation, Skipped("carol", "undone by hand", "n2"), NOW).rotation)
    assert rotation.steps[0].stage is Stage.DONE, "the published key must stay"
    assert (rotation.state, rotation.steps[1].stage, rotation.current) == (State.HELD, Stage.HELD, 1)
    assert not rotation.steps[1].undoing
    assert rotation.steps[1].touched, "a rollback still has to undo it"
    rotation = end(decide(rotation, Retried("carol"), NOW).rotation, NotYet(NOW, "", {"watch_since": NOW.isoformat()}))
    assert rotation.steps[1].stage is Stage.WAITING, "it is done again before anything is promoted"


def test_skipping_a_failed_back_out_of_the_retirement_keeps_the_promotion() -> None:
    rotation = end(look_again(watching(watched())), Done({}, "watched"))
    assert rotation.state is State.PROMOTED
    rotation = end(rotation, NotYet(NOW, "watching", {"watch_since": NOW.isoformat()}))
    rotation = end(end(look_again(rotation), BackOut("logins fail")), Failed("the service is down"))
    rotation = agree(decide(rotation, Skipped("carol", "enabled by hand", "n2"), NOW).rotation)
    assert (rotation.state, rotation.overlap) == (State.PROMOTED, Overlap.BLOCKED)
    assert [run.stage for run in rotation.steps] == [Stage.DONE, Stage.DONE, Stage.HELD]


def test_consent_to_skip_a_watch_is_no_consent_to_skip_the_change() -> None:
    rotation = watching(watched(skip=Skip.SECOND_PERSON))
    rotation = decide(rotation, Skipped("carol", "the rate is noisy", "n2"), NOW).rotation
    asked = rotation.amendment
    assert isinstance(asked, Amendment)
    rotation = end(end(look_again(rotation), BackOut("logins fail")), Done({}, "undone"))
    assert rotation.steps[1].stage is Stage.HELD
    with pytest.raises(Refused):
        decide(rotation, Voted("bob", True, "why", asked.digest, asked.nonce), NOW)
    assert rotation.amendment is None


def test_consent_to_skip_an_undo_ends_when_the_undo_succeeds() -> None:
    rotation = decide(stuck_back_out(), Skipped("carol", "by hand", "n2"), NOW).rotation
    rotation = end(decide(rotation, Retried("carol"), NOW).rotation, Done({}, "undone"))
    assert rotation.amendment is None


def test_a_late_confirmation_does_not_confirm_the_next_gate() -> None:
    gates = (
        line(Section.STEPS, AskStep(id="partner", ask="Does the partner see it?")),
        line(Section.STEPS, AskStep(id="bank", ask="Did the bank sign?")),
    )
    rotation = end(begun(replace(plan(), steps=gates)), Asking("partner?"))
    rotation = end(decide(rotation, Advanced("carol", step="partner"), NOW).rotation, Asking("bank?"))
    with pytest.raises(Refused) as refused:
        decide(rotation, Advanced("dave", step="partner"), NOW)
    assert refused.value.code == "late"
    assert decide(rotation, Advanced("dave", step="bank"), NOW).rotation.steps[1].by == "dave"
    with pytest.raises(Refused):
        decide(rotation, Skipped("dave", "why not", "n3", step="partner"), NOW)


def test_a_changed_plan_brings_its_own_checklist_and_says_what_changed() -> None:
    old = replace(plan(), before=("access", "dashboard"))
    boxes = (Box("access", True, "keyturn", "confirmed"), Box("dashboard", True, "ann"))
    rotation = decide(None, Opened(7, old, "nonce", "C1", boxes), NOW).rotation
    new = replace(plan(), before=("access", "notified"), reason="other")
    rotation = decide(rotation, PlanChanged(new, "n2", ("before",)), NOW).rotation
    assert [(box.name, box.ticked) for box in rotation.boxes] == [("access", True), ("notified", False)]
    assert "before" in rotation.outcome
    rotation = decide(rotation, Voted("bob", True, "why", new.digest, "n2"), NOW).rotation
    assert rotation.state is State.REQUESTED, "the new box is still open"
