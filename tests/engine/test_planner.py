"""What a plan needs to be made: a system that cannot be asked is told, and an emergency needs what its steps use."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import pytest

from bot.contracts.adapter import Effect, Fact, Known, Model, Operation, Part, Probe, Run
from bot.contracts.command import Draft
from bot.core.errors import KeyturnError, Permanent, Refused, Transient
from bot.core.plan import Plan, fact_lines
from bot.core.runbook import Runbook
from bot.engine.checklist import Boxes
from bot.engine.planner import Planner, Subject, changes
from tests.engine.stage import ORDINARY
from tests.store import samples

SUBJECT = Subject("admin", "production", "password", "payments", "sample", {}, None, "C1")


class Change(Operation):
    """Changes the thing."""

    effect = Effect.CHANGES
    permissions = ("things: write",)

    class Params(Model):
        old: str = ""
        place: str = ""


class Look(Probe):
    """Counts refusals."""

    permissions = ("numbers: read",)


class Told(Fact):
    """What a test says."""

    class Params(Model):
        name: str
        place: str = ""

    def __init__(self, said: Mapping[str, Any]) -> None:
        self._said = said

    def read(self, p: Params, run: Run) -> Known:
        value = self._said[p.name]
        if isinstance(value, KeyturnError):
            raise value
        return Known(value, f"the {p.name} at {p.place}")


class Registry:
    """Two systems and their facts; `down` are those that cannot be asked, `lacks` those that do not allow it."""

    def __init__(self) -> None:
        self.said: dict[str, Any] = {"version": "v1", "place": "here", "life": 3600, "users": ["web"]}
        self.down: dict[str, KeyturnError] = {}
        self.lacks: set[str] = set()

    def part(self, word: str) -> type[Part] | None:
        return {"store.change": Change, "eye.look": Look, "store.told": Told}.get(word)

    def fact(self, word: str) -> Fact:
        return Told(self.said)

    def store_needs(self, reference: object) -> tuple[str, ...]:
        return ()

    def access(self, needed: Mapping[str, Collection[str]], run: Run) -> Mapping[str, tuple[str, ...]]:
        for adapter in needed:
            if adapter in self.down:
                raise self.down[adapter]
        return {adapter: tuple(sorted(what)) if adapter in self.lacks else () for adapter, what in needed.items()}


def told(name: str, **more: Any) -> dict[str, Any]:
    return {"read": "store.told", "with": {"name": name}, **more}


RUNBOOK: dict[str, Any] = {
    "runbook": "sample",
    "summary": "Changes one thing and watches.",
    "rollback_within": "5m",
    "facts": {
        "life": told("life", type="duration", bound="at_most", at_most="90d", title="Life"),
        "place": told("place"),
        "users": told("users", type="list", title="Used by"),
        "version": {"read": "store.told", "with": {"name": "version", "place": "${{ facts.place }}"}},
    },
    "before": ["access"],
    "steps": [{"id": "change", "do": "store.change", "with": {"old": "${{ facts.version }}"}}],
    "retire": [{"id": "expire", "wait": "${{ facts.life }}"}, {"id": "look", "check": "eye.look"}],
    "emergency": {"order": "replace-first", "steps": ["change", {"id": "watch", "check": "eye.look"}]},
}


class Runbooks:
    """The one above, with what a test changes in it."""

    def __init__(self, **more: Any) -> None:
        self._runbook = Runbook.model_validate({**RUNBOOK, **more})

    def get(self, name: str) -> tuple[Runbook, str]:
        return self._runbook, "sha256:00"

    def why_unreviewed(self, name: str) -> None:
        return None


class Asking:
    """Somebody who has plans made."""

    def __init__(self, **more: Any) -> None:
        self.registry = Registry()
        registry: Any = self.registry
        nothing: Any = None
        boxes = Boxes(lambda name, environment: [], lambda plan: {}, lambda: samples.NOW)
        self._planner = Planner(
            registry, Runbooks(**more), nothing, boxes, lambda subject, word: ORDINARY, lambda: samples.NOW
        )

    def draft(self, word: str) -> Draft:
        return self._planner.draft(SUBJECT, "ada", "seen in a log", word)

    def plan(self, word: str) -> Plan:
        return self._planner.plan(SUBJECT, "ada", "seen in a log", word)


# --- what a system allows ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["start", "revoke"])
@pytest.mark.parametrize("error", [Transient("eye.example did not answer"), Permanent("no eye", "list it")])
def test_a_system_that_cannot_be_asked_holds_nothing_up(word: str, error: KeyturnError) -> None:
    asking = Asking()
    asking.registry.down["eye"] = error
    draft = asking.draft(word)
    assert [str(error) in warning and warning.startswith("eye ") for warning in draft.warnings] == [True]
    box = next((box for box in draft.boxes if box.name == "access"), None)
    if word == "start":
        assert box is not None
        assert (box.ticked, f"eye could not be asked: {error}" in box.evidence) == (False, True)
    else:
        assert box is None, "a revocation has no checklist"


def test_what_another_system_lacks_is_still_told() -> None:
    asking = Asking()
    asking.registry.down["eye"] = Transient("eye.example did not answer")
    asking.registry.lacks.add("store")
    draft = asking.draft("start")
    assert [warning.split()[:2] for warning in draft.warnings] == [["store", "lacks"], ["eye", "could"]]
    assert "missing store: things: write" in draft.boxes[0].evidence


def test_a_box_is_ticked_by_those_that_were_asked() -> None:
    draft = Asking().draft("start")
    assert (draft.warnings, draft.boxes[0].ticked) == ((), True)
    assert draft.boxes[0].evidence == "permissions of every step confirmed by eye, store"


# --- what is looked up ------------------------------------------------------------------------------------------------

BROKEN = [("life", 100 * 86400), ("life", Permanent("not a number")), ("users", Transient("it did not answer"))]


@pytest.mark.parametrize(("name", "value"), BROKEN)
def test_a_revocation_needs_no_fact_that_its_steps_do_not_use(name: str, value: Any) -> None:
    asking = Asking()
    before = asking.plan("revoke")
    asking.registry.said[name] = value
    with pytest.raises(Refused, match=f"^{name} "):
        asking.plan("start")
    draft = asking.draft("revoke")
    assert [warning.startswith(f"{name} ") for warning in draft.warnings] == [True]
    assert name not in draft.plan.facts
    assert draft.plan.digest == before.digest, "planned again before the first step, the approval still holds"


def test_a_revocation_asks_nobody_again_for_a_fact_that_its_steps_do_not_use() -> None:
    asking = Asking()
    before, ordinary = asking.plan("revoke"), asking.plan("start")
    assert fact_lines(before) == ["Life: 1h", "Used by: web"], "people see it all the same"
    asking.registry.said["users"] = ["web", "worker"]
    assert asking.plan("revoke").digest == before.digest
    assert asking.plan("start").digest != ordinary.digest
    asking.registry.said["version"] = "v2"
    after = asking.plan("revoke")
    assert after.digest != before.digest
    assert changes(before, after) == ("fact version",)
    assert Plan.of_json(after.to_json()).digest == after.digest


@pytest.mark.parametrize("name", ["version", "place"])
def test_a_revocation_needs_what_its_steps_use_and_what_that_looks_up(name: str) -> None:
    asking = Asking()
    asking.registry.said[name] = Permanent("it is not there")
    with pytest.raises(Refused, match="cannot be read"):
        asking.plan("revoke")


@pytest.mark.parametrize(
    "more",
    [
        {"with": {"place": "${{ facts.life }}"}},
        {"replaced": {"old": "${{ facts.life }}"}},
        {"emergency": {"order": "replace-first", "steps": ["change", {"id": "w", "wait": "${{ facts.life }}"}]}},
    ],
    ids=["a shared argument", "what is replaced", "a wait"],
)
def test_a_revocation_needs_what_it_looks_up_elsewhere(more: Mapping[str, Any]) -> None:
    facts = {**RUNBOOK["facts"], "life": {**RUNBOOK["facts"]["life"], "with": {"name": "life", "place": ""}}}
    if "with" in more:
        facts |= {name: {**facts[name], "with": {"place": "", **facts[name]["with"]}} for name in ("place", "users")}
    asking = Asking(facts=facts, **more)
    asking.registry.said["life"] = Permanent("not a number")
    with pytest.raises(Refused, match="life cannot be read"):
        asking.plan("revoke")
