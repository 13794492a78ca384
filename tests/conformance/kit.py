"""What the kit asks of an adapter's author: a stage for each word, on which the kit plays its scenes.

Add `cases_<adapter>.py` beside this file with `CASES`; every operation, probe, sensor, fact and discovery needs one.
"""

from __future__ import annotations

import importlib
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bot.contracts.adapter import Absent, Discovery, Fact, Operation, Outputs, Present, Probe, Run, Secrets, Sensor
from bot.core.errors import KeyturnError

ANSWERS: dict[str, dict[str, Any]] = {
    "dropped-before": {"kind": "drop"},
    "lost-after": {"kind": "lose"},
    "conflict": {"kind": "status", "status": 409},
    "rate-limited": {"kind": "throttle", "retry_after": 7},
    "server-error": {"kind": "status", "status": 500},
    "unavailable": {"kind": "status", "status": 503},
    "hanging": {"kind": "hang", "times": None},
    "garbage": {"kind": "garbage"},
}
"""The eight answers that any call may get; a stage's `spoil` takes these arguments, and `skip`."""


@dataclass(slots=True)
class Stage:
    """A small world with one thing to do in it.

    `effects` counts how often the word's effect is there now. `snapshot` is everything that looking must not change.
    `spoil(skip=n, **answer)` gives the n-th next call that answer, `deny()` makes our credentials wrong, `heal()` ends
    both; they stay None where the adapter speaks to no network or needs no credentials.
    """

    client: Any
    params: Mapping[str, Any]
    secrets: Secrets
    effects: Callable[[], int] = lambda: 0
    snapshot: Callable[[], Any] = lambda: None
    calls: Callable[[], int] = lambda: 0
    spoil: Callable[..., Any] | None = None
    deny: Callable[[], Any] | None = None
    heal: Callable[[], Any] = lambda: None
    hidden: Callable[[], list[str]] = list
    """Secret values that must never show; asked at the end."""


@dataclass(frozen=True, slots=True)
class Case:
    """A word, and how to set the stage for it."""

    word: str
    stage: Callable[[], AbstractContextManager[Stage]]
    stays: bool = False
    """Undoing it leaves the effect, by its nature: a restart, a record."""
    network: bool = True
    """It makes calls that can be spoiled."""
    credentials: bool = True
    """It needs some, which can be wrong."""
    blind: frozenset[str] = frozenset()
    """Answers that it cannot tell from a good one."""
    cluster: bool = False
    """It is played on a Kubernetes control plane, which `make test-cluster` builds."""
    timeless: bool = False
    """It is as good as done before it is done: it only records, or keeps no trace to look for."""

    def __str__(self) -> str:
        return self.word


def cases() -> list[Case]:
    """All cases beside this file."""
    found = sorted(path.stem for path in Path(__file__).parent.glob("cases_*.py"))
    return [case for name in found for case in importlib.import_module(f"tests.conformance.{name}").CASES]


def run_of(stage: Stage, token: str = "keyturn-R-7-step-0a1b2c3d", seconds: float = 10.0) -> Run:
    """A call by rotation R-7."""
    return Run(
        rotation="R-7",
        token=token,
        operator="person:ada",
        secrets=stage.secrets,
        now=datetime.now(UTC),
        log=logging.LoggerAdapter(logging.getLogger("conformance"), {}),
        deadline=time.monotonic() + seconds,
    )


def ready(kind: type[Any], stage: Stage) -> tuple[Any, Any]:
    """The word's object and its parameters, built as the engine does."""
    return kind(stage.client), kind.Params.model_validate(dict(stage.params))


def recover(operation: Operation, p: Any, stage: Stage) -> Outputs:
    """What the engine does after a crash or a failure: look, and do it again only where it is absent."""
    found = operation.observe(p, run_of(stage))
    if isinstance(found, Present):
        return found.outputs
    assert isinstance(found, Absent), found
    return operation.ensure(p, run_of(stage))


def outcome(call: Callable[[], Any]) -> tuple[Any, KeyturnError | None]:
    """What a call gives, or the error of ours that it raises; any other error is a defect and goes through."""
    try:
        return call(), None
    except KeyturnError as error:
        return None, error


def look(part: Probe | Sensor | Fact | Discovery, p: Any, run: Run) -> Any:
    """Use a probe, a sensor or a fact, or list everything that a discovery finds."""
    if isinstance(part, Discovery):
        return [found for page in part.pages(p, run) for found in page]
    if isinstance(part, Probe):
        return part.measure(p, run)
    return part.last_seen(p, run) if isinstance(part, Sensor) else part.read(p, run)
