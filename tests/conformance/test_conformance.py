"""One kit for every adapter: what operations, probes, sensors, facts and discoveries must do, whatever the system."""

from __future__ import annotations

import ast
import importlib
import inspect
import logging
import traceback
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import adapters
from bot.catalog import Catalog, names
from bot.contracts.adapter import (
    Absent,
    Discovery,
    Effect,
    Fact,
    Found,
    Known,
    Operation,
    Present,
    Probe,
    Reading,
    Sensor,
    Sighting,
    Unclear,
)
from bot.core.discovered import usable
from bot.core.errors import Permanent, Transient
from tests.conformance.kit import ANSWERS, Case, Stage, cases, look, outcome, ready, recover, run_of

HOME = Path(adapters.__file__).parent
NO_CREDENTIALS = {"github": "issues and comments do not expire", "pagerduty": "nor do alerts"}
"""Why what an adapter creates needs no discovery."""
SHORT = 0.15
"""Seconds that a hanging call is given."""


def part_of(parts: Catalog, case: Case) -> Any:
    found = parts.part(case.word)
    assert found is not None, f"{case.word} has a case but is not there"
    return found


def spoiled(stage: Stage, answer: str, skip: int = 0) -> float:
    """Spoil a call; returns how many seconds the call should be given."""
    assert stage.spoil is not None
    stage.spoil(skip=skip, **ANSWERS[answer])
    return SHORT if answer == "hanging" else 10.0


# --- what is there ----------------------------------------------------------------------------------------------------


def test_every_word_has_a_case(parts: Catalog) -> None:
    told = [case.word for case in cases()]
    assert sorted(told) == sorted(set(told)), "a word has two cases"
    assert set(parts.words()) == set(told)


def test_an_adapter_lists_what_it_creates(parts: Catalog) -> None:
    """Else what it creates expires unnoticed once nobody declares it."""
    found: dict[str, set[str]] = {"creates": set(), "lists": set()}
    for word in parts.words():
        part, adapter = parts.part(word), word.partition(".")[0]
        if isinstance(part, type) and issubclass(part, Discovery):
            found["lists"].add(adapter)
        if isinstance(part, type) and issubclass(part, Operation) and part.effect is Effect.CREATES:
            found["creates"].add(adapter)
    assert {"identity", "kubernetes"} <= found["creates"]
    assert found["creates"] - found["lists"] == NO_CREDENTIALS.keys()


def test_it_declares_itself(case: Case, parts: Catalog) -> None:
    part = part_of(parts, case)
    assert inspect.getdoc(part), "a docstring is its help"
    assert part.Params.model_config["extra"] == "forbid"
    if issubclass(part, Operation):
        assert isinstance(part.effect, Effect)
        assert part.effect is Effect.READS or part.permissions, "what it changes needs a permission"


@pytest.mark.parametrize("name", names("adapters"))
def test_an_adapter_knows_the_sockets_only(name: str) -> None:
    module = importlib.import_module(f"adapters.{name}")
    assert module.__doc__
    assert module.Config.model_config["extra"] == "forbid"
    folder = HOME / name
    for file in sorted(folder.glob("*.py")) if folder.is_dir() else [HOME / f"{name}.py"]:
        for node in ast.walk(ast.parse(file.read_text())):
            imported = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            imported += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for what in imported:
                root, _, rest = what.partition(".")
                if root == "bot":
                    assert rest.split(".")[0] in ("contracts", "core"), f"{file.name} imports {what}"
                if root == "adapters":
                    assert rest.startswith("_") or rest.split(".")[0] == name, f"{file.name} imports {what}"


# --- operations -------------------------------------------------------------------------------------------------------


def test_looking_changes_nothing(operation: Case, parts: Catalog) -> None:
    with operation.stage() as stage:
        subject, p = ready(part_of(parts, operation), stage)
        before = stage.snapshot()
        found = subject.observe(p, run_of(stage))
        assert operation.timeless or isinstance(found, Absent)
        assert stage.snapshot() == before
        subject.ensure(p, run_of(stage))
        after = stage.snapshot()
        found = subject.observe(p, run_of(stage))
        assert stage.snapshot() == after
        assert isinstance(found, Present) or operation.timeless


def test_the_same_token_twice_does_it_once(operation: Case, parts: Catalog) -> None:
    with operation.stage() as stage:
        subject, p = ready(part_of(parts, operation), stage)
        assert operation.timeless or stage.effects() == 0
        first = subject.ensure(p, run_of(stage))
        assert stage.effects() == 1
        assert set(first) == set(subject.outputs), "what is declared is what is returned"
        again = subject.ensure(p, run_of(stage))
        assert stage.effects() == 1
        assert {**again, "changed": None} == {**first, "changed": None}


def test_killed_before_it_was_recorded(operation: Case, parts: Catalog) -> None:
    with operation.stage() as stage:
        subject, p = ready(part_of(parts, operation), stage)
        first = subject.ensure(p, run_of(stage))
        found = subject.observe(p, run_of(stage))
        if not operation.timeless:
            assert found == Present(first)
        assert recover(subject, p, stage) == first
        assert stage.effects() == 1


def test_another_rotation_is_not_taken_for_this_one(creating: Case, parts: Catalog) -> None:
    with creating.stage() as stage:
        subject, p = ready(part_of(parts, creating), stage)
        subject.ensure(p, run_of(stage))
        assert isinstance(subject.observe(p, run_of(stage, "keyturn-R-8-step-99999999")), Absent)


@pytest.mark.parametrize("recorded", [True, False], ids=["recorded", "unrecorded"])
def test_undo_puts_it_back_and_twice_is_quiet(undoable: Case, parts: Catalog, recorded: bool) -> None:
    with undoable.stage() as stage:
        subject, p = ready(part_of(parts, undoable), stage)
        outputs = subject.ensure(p, run_of(stage))
        for _ in range(2):
            subject.undo(p, run_of(stage), outputs if recorded else {})
            assert undoable.stays or stage.effects() == 0
        if not undoable.stays:
            subject.ensure(p, run_of(stage))
            assert stage.effects() == 1, "it can be done again"


def test_undo_of_nothing_is_quiet(operation: Case, parts: Catalog) -> None:
    with operation.stage() as stage:
        subject, p = ready(part_of(parts, operation), stage)
        before = stage.snapshot()
        subject.undo(p, run_of(stage), {})
        assert stage.snapshot() == before


def test_destroying_what_is_gone_is_quiet(destroying: Case, parts: Catalog) -> None:
    with destroying.stage() as stage:
        subject, p = ready(part_of(parts, destroying), stage)
        subject.ensure(p, run_of(stage))
        assert subject.ensure(p, run_of(stage, "keyturn-R-8-step-99999999")) == subject.ensure(p, run_of(stage))
        with pytest.raises(Permanent) as caught:
            subject.undo(p, run_of(stage), {})
        assert caught.value.hint


def test_any_answer_to_any_call_does_it_once(spoiled_operation: tuple[Case, str], parts: Catalog) -> None:
    operation, answer = spoiled_operation
    part = part_of(parts, operation)
    for skip in range(_calls(operation, part, "ensure")):
        with operation.stage() as stage:
            subject, p = ready(part, stage)
            seconds = spoiled(stage, answer, skip)
            _, error = outcome(lambda: subject.ensure(p, run_of(stage, seconds=seconds)))  # noqa: B023 (called at once)
            assert error is None or answer == "conflict" or isinstance(error, Transient), error
            stage.heal()
            recover(subject, p, stage)
            assert stage.effects() == 1, f"call {skip}"


def test_any_answer_to_any_call_of_undo(spoiled_undo: tuple[Case, str], parts: Catalog) -> None:
    operation, answer = spoiled_undo
    part = part_of(parts, operation)
    for skip in range(_calls(operation, part, "undo")):
        with operation.stage() as stage:
            subject, p = ready(part, stage)
            outputs = subject.ensure(p, run_of(stage))
            seconds = spoiled(stage, answer, skip)
            _, error = outcome(lambda: subject.undo(p, run_of(stage, seconds=seconds), outputs))  # noqa: B023
            assert error is None or answer == "conflict" or isinstance(error, Transient), error
            stage.heal()
            subject.undo(p, run_of(stage), outputs)
            assert operation.stays or stage.effects() == 0, f"call {skip}"


def _calls(case: Case, part: Any, word: str) -> int:
    """How many calls over the network it takes when all goes well."""
    with case.stage() as stage:
        subject, p = ready(part, stage)
        before = stage.calls()
        outputs = subject.ensure(p, run_of(stage))
        if word == "undo":
            before = stage.calls()
            subject.undo(p, run_of(stage), outputs)
        return stage.calls() - before


# --- probes, sensors, facts, discoveries ------------------------------------------------------------------------------


def test_it_sees_and_changes_nothing(watcher: Case, parts: Catalog) -> None:
    part = part_of(parts, watcher)
    with watcher.stage() as stage:
        subject, p = ready(part, stage)
        before = stage.snapshot()
        seen = look(subject, p, run_of(stage))
        assert stage.snapshot() == before
    if issubclass(part, Discovery):
        _is_a_list(watcher, seen)
        return
    kind: type[Any] = Reading if issubclass(part, Probe) else Sighting if issubclass(part, Sensor) else Known
    assert isinstance(seen, kind) or issubclass(part, Discovery)
    if issubclass(part, Discovery):
        assert seen, "the stage holds something to find"
        assert all(isinstance(found, Found) and found.place and found.version and found.kind for found in seen)
        assert len({(found.place, found.version) for found in seen}) == len(seen), "each one is listed once"
        return
    if isinstance(seen, Reading):
        assert seen.passed is True or seen.value is not None, "the stage shows a world that is well"
        assert seen.value is None or 0 <= seen.value <= 1
        assert seen.evidence
    if isinstance(seen, Sighting):
        assert seen.since.tzinfo is not None
        assert seen.at is None or seen.at >= seen.since or seen.at.tzinfo is not None
    if isinstance(seen, Known):
        assert seen.source


def _is_a_list(watcher: Case, seen: list[Any]) -> None:
    """Versions that can be kept: each once, at a place of the adapter's own, with dates that have a zone."""
    assert seen, "the stage shows a world in which there is something"
    assert all(isinstance(one, Found) for one in seen)
    adapter = watcher.word.partition(".")[0]
    for one in seen:
        assert usable(one.place)
        assert usable(one.version)
        assert one.place.startswith(f"{adapter}:")
        assert one.kind
        assert all(at is None or at.tzinfo is not None for at in (one.created_at, one.expires_at))
    assert len({(one.place, one.version) for one in seen}) == len(seen)


def test_what_cannot_be_seen_is_never_good(spoiled_watcher: tuple[Case, str], parts: Catalog) -> None:
    watcher, answer = spoiled_watcher
    part = part_of(parts, watcher)
    with watcher.stage() as stage:
        subject, p = ready(part, stage)
        before = stage.calls()
        look(subject, p, run_of(stage))
        calls = stage.calls() - before
    for skip in range(calls):
        with watcher.stage() as stage:
            subject, p = ready(part, stage)
            seconds = spoiled(stage, answer, skip)
            seen, error = outcome(lambda: look(subject, p, run_of(stage, seconds=seconds)))  # noqa: B023
            assert error is None or answer == "conflict" or isinstance(error, Transient), error
            if error is None:
                assert isinstance(seen, Reading), "unknown is never quiet, and no fact is invented"
                assert answer in watcher.blind or seen.passed is False, f"call {skip}"


# --- all of them ------------------------------------------------------------------------------------------------------


def use(part: Any, stage: Stage, seconds: float = 10.0) -> Any:
    subject, p = ready(part, stage)
    if isinstance(subject, Operation):
        return subject.ensure(p, run_of(stage, seconds=seconds))
    assert isinstance(subject, Probe | Sensor | Fact | Discovery)
    return look(subject, p, run_of(stage, seconds=seconds))


def test_wrong_credentials_are_permanent_with_a_hint(credentialed: Case, parts: Catalog) -> None:
    part = part_of(parts, credentialed)
    with credentialed.stage() as stage:
        assert stage.deny is not None
        stage.deny()
        with pytest.raises(Permanent) as caught:
            use(part, stage)
        assert caught.value.hint
        assert not part.permissions or set(stage.client.access(part.permissions, run_of(stage))) == set(
            part.permissions
        )


def test_granted_permissions_are_not_missing(case: Case, parts: Catalog) -> None:
    with case.stage() as stage:
        assert not stage.client.access(part_of(parts, case).permissions, run_of(stage))


def test_rate_limits_say_when_to_come_back(networked: Case, parts: Catalog) -> None:
    with networked.stage() as stage:
        spoiled(stage, "rate-limited")
        seen, error = outcome(lambda: use(part_of(parts, networked), stage))
        if error is None:
            assert isinstance(seen, Reading), "only a probe of health pages may take 429 for an answer"
            assert seen.passed is False
        else:
            assert isinstance(error, Transient)
            assert error.delay == timedelta(seconds=7)


def test_no_secret_shows(ending: tuple[Case, str], parts: Catalog, caplog: pytest.LogCaptureFixture) -> None:
    case, answer = ending
    caplog.set_level(logging.DEBUG)
    with case.stage() as stage:
        if answer == "denied":
            assert stage.deny is not None
            stage.deny()
        elif answer in ANSWERS:
            spoiled(stage, answer)
        shown: list[str] = []
        seconds = SHORT if answer == "hanging" else 10.0
        seen, error = outcome(lambda: use(part_of(parts, case), stage, seconds))
        shown.append(repr(seen))
        if error is not None:
            shown += [*traceback.format_exception(error), repr(vars(error))]
            assert error.__cause__ is None, "the cause may quote what was sent"
        shown += [repr(vars(stage.client)), repr(stage.params), caplog.text, repr(run_of(stage))]
        text = "\n".join(shown)
        assert len(text) > 40
        assert not [value for value in stage.hidden() if value in text]


def test_unclear_is_the_exception(operation: Case, parts: Catalog) -> None:
    """In a world that nobody else changes, looking always settles it."""
    with operation.stage() as stage:
        subject, p = ready(part_of(parts, operation), stage)
        assert not isinstance(subject.observe(p, run_of(stage)), Unclear)
        subject.ensure(p, run_of(stage))
        assert not isinstance(subject.observe(p, run_of(stage)), Unclear)
