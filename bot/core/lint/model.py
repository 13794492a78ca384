"""What the linter is given and what it finds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any, Protocol

from bot.core.document import Location
from bot.core.runbook import DoStep, Order, Runbook, Section, StepBase
from bot.core.runbook_file import LoadedRunbook


class Severity(StrEnum):
    """An error keeps a runbook from being used; a warning is worth a second look."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One thing the linter says, with its place."""

    file: str
    line: int
    step: str
    rule: str
    severity: Severity
    message: str
    hint: str = ""

    def __str__(self) -> str:
        where = f" {self.step}:" if self.step else ""
        hint = f" ({self.hint})" if self.hint else ""
        return f"{self.file}:{self.line}: {self.severity.value} {self.rule}:{where} {self.message}{hint}"


@dataclass(frozen=True, slots=True)
class WordInfo:
    """What an adapter's word is, as far as a runbook has to know."""

    kind: str
    """`operation`, `probe`, `sensor` or `fact`."""
    params: Mapping[str, bool] = field(default_factory=dict)
    """Parameter -> whether it is required."""
    outputs: tuple[str, ...] = ()
    effect: str = "reads"
    """Of operations: `reads`, `creates`, `changes` or `destroys`."""


class Vocabulary(Protocol):
    """The words that adapters offer; the catalog implements it."""

    def describe(self, word: str) -> WordInfo | None:
        """What the word is; None when no adapter offers it."""
        ...

    def close(self, word: str) -> Sequence[str]:
        """Words that may have been meant, nearest first."""
        ...


@dataclass(frozen=True, slots=True)
class Context:
    """What the settings say about one credential that uses the runbook."""

    credential: str = ""
    inputs: Mapping[str, Any] = field(default_factory=dict)
    cadence: timedelta | None = None
    minimum_overlap: timedelta | None = None
    warn_before: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """A step with where it stands in the file."""

    at: Location
    step: StepBase
    section: Section | None
    """None for the emergency's own steps."""


@dataclass(frozen=True)
class Subject:
    """A runbook under the linter."""

    loaded: LoadedRunbook
    vocabulary: Vocabulary
    context: Context
    broken: frozenset[str] = frozenset()
    """Steps, inputs and facts that could not be read; what depends on them is not judged."""

    @property
    def runbook(self) -> Runbook:
        """The runbook itself."""
        return self.loaded.runbook

    def steps(self) -> Iterator[Place]:
        """The rotation proper and the retirement, in order."""
        for section, steps in ((Section.STEPS, self.runbook.steps), (Section.RETIRE, self.runbook.retire)):
            for index, step in enumerate(steps):
                yield Place((section.value, index), step, section)

    def emergency(self, order: Order) -> Iterator[Place]:
        """The emergency's steps in an order, where that order names them; unknown names are left out."""
        emergency = self.runbook.emergency
        if emergency is None:
            return
        listed = "steps" if order is emergency.order else "otherwise"
        for index, name in enumerate(emergency.ids(order)):
            step = self.runbook.step(name)
            if step is not None:
                yield Place(("emergency", listed, index), step, None)

    def own_emergency(self) -> Iterator[Place]:
        """The steps that stand in the emergency section itself."""
        for index, item in enumerate(self.runbook.emergency.steps if self.runbook.emergency else ()):
            if isinstance(item, StepBase):
                yield Place(("emergency", "steps", index), item, None)

    def effect(self, step: StepBase) -> str:
        """`creates`, `changes`, `destroys`; `reads` for everything that changes nothing."""
        info = self.vocabulary.describe(step.do) if isinstance(step, DoStep) else None
        return info.effect if info is not None else "reads"

    def find(
        self, rule: str, at: Location, message: str, hint: str = "", *, step: str = "", error: bool = False
    ) -> Finding:
        """A finding at a place of the file."""
        severity = Severity.ERROR if error else Severity.WARNING
        return Finding(self.loaded.path, self.loaded.line(*at), step, rule, severity, message, hint)
