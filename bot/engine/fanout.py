"""Fan-out: one operation over many targets inside one step, with a bound, a row per target, and a join."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any, TypeVar

from bot.core.errors import KeyturnError, Permanent, Transient
from bot.core.rotation import Rotation
from bot.core.template import evaluate

Measured = TypeVar("Measured")
One = Callable[[str, bool], tuple[Mapping[str, Any], str]]
MOST = 1000


class Targets:
    """Rows of the targets of a step; `bot.engine.legs` backs it with the store."""

    def done(self, rotation: Rotation, i: int, undoing: bool) -> Mapping[str, Mapping[str, Any]]:
        """Targets that are finished, with their outputs."""
        raise NotImplementedError

    def known(self, rotation: Rotation, i: int) -> Mapping[str, Mapping[str, Any]]:
        """What each target gave so far, also where others of them failed."""
        raise NotImplementedError

    def record(
        self, rotation: Rotation, i: int, target: str, *, good: bool, outputs: Mapping[str, Any], evidence: str
    ) -> bool:
        """Save what became of one target, audited. False: the step is no longer ours, or is to be rolled back."""
        raise NotImplementedError

    @staticmethod
    def of(each: str | list[str], scope: Mapping[str, Any]) -> list[str]:
        """The targets that the runbook names; raises `Permanent` when that is no list of names."""
        values = evaluate(each, scope)
        if not isinstance(values, list) or not all(isinstance(value, str) and value for value in values):
            raise Permanent("each: does not give a list of names", "check the credential's inputs")
        if len(values) > MOST or len(set(values)) != len(values):
            raise Permanent(f"each: gives a name twice, or more than {MOST}", "check the credential's inputs")
        return values


def slug(target: str) -> str:
    """A short stable name for a target, safe in tokens."""
    return hashlib.sha256(target.encode()).hexdigest()[:8]


def measure_each(names: list[str], at_once: int, one: Callable[[str], Measured]) -> dict[str, Measured]:
    """What `one` finds for every name, in their order, at most `at_once` at a time.

    Nothing is recorded: looking is repeated as a whole. Raises what the first of them in that order raised.
    """
    with ThreadPoolExecutor(max_workers=min(at_once, len(names)) or 1, thread_name_prefix="target") as pool:
        return dict(zip(names, pool.map(one, names), strict=True))


def fan_out(
    targets: Targets, rotation: Rotation, i: int, scope: Mapping[str, Any], one: One
) -> tuple[dict[str, Any], str]:
    """Run `one` for every target that is not finished yet, at most `at_once` at a time.

    Returns `{"targets": {name: outputs}}`. When some failed: raises `Transient` if all failures may pass by themselves,
    else `Permanent`; what succeeded stays recorded and is not repeated. When the step was taken over, or a
    rollback asked for, no further target is touched.
    """
    run, step = rotation.steps[i], rotation.plan.steps[i].step
    assert step.each is not None
    names = Targets.of(step.each, scope)
    again = run.undoing or run.attempt > 1  # the first attempt finds nothing
    finished = dict(targets.done(rotation, i, run.undoing)) if again else {}
    known = targets.known(rotation, i) if again else {}  # a target that fails keeps what it gave: its undo needs that
    problems: dict[str, KeyturnError] = {}
    stopped = Event()

    def attempt(target: str) -> None:
        if stopped.is_set():
            return
        try:
            outputs, evidence = one(target, run.attempt > 1)
        except KeyturnError as error:
            problems[target] = error
            told, outputs = str(error)[:500], known.get(target, {})
            goes_on = targets.record(rotation, i, target, good=False, outputs=outputs, evidence=told)
        else:
            finished[target] = outputs
            goes_on = targets.record(rotation, i, target, good=True, outputs=outputs, evidence=evidence)
        if not goes_on:
            stopped.set()

    todo = [name for name in names if name not in finished]
    if todo:
        with ThreadPoolExecutor(max_workers=min(step.at_once, len(todo)), thread_name_prefix="target") as pool:
            for future in [pool.submit(attempt, target) for target in todo]:
                future.result()
    if stopped.is_set() and set(names) - set(finished):
        raise Transient(f"stopped after {len(finished)} of {len(names)} targets: the step does not go on here")
    if not problems:
        return {"targets": {name: dict(finished[name]) for name in names}}, f"{len(names)} of {len(names)} targets done"
    told = "; ".join(f"{name}: {error}" for name, error in list(problems.items())[:5])
    told = f"{len(names) - len(problems)} of {len(names)} targets done; {told}"
    delays = [error.delay for error in problems.values() if isinstance(error, Transient)]
    if len(delays) == len(problems):
        raise Transient(told, max(delays))
    hints = [error.hint for error in problems.values() if isinstance(error, Permanent) and error.hint]
    raise Permanent(told, hints[0] if hints else "Retry repeats only the targets that failed.")
