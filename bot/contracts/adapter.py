"""What an adapter is made of: operations, probes, sensors, facts, and a store for secrets."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar, Protocol

from pydantic import BaseModel, ConfigDict, JsonValue

from bot.core.errors import Transient
from bot.core.secret import Secret, SecretReference

Outputs = Mapping[str, JsonValue]
"""What an operation hands to later steps: names, versions, references; never values."""


class Effect(StrEnum):
    """What an operation does to the world; decides how the engine treats it after a crash and in a rollback."""

    READS = "reads"
    CREATES = "creates"
    CHANGES = "changes"
    DESTROYS = "destroys"


class Model(BaseModel):
    """Parameters and configuration: unknown keys are mistakes, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


@dataclass(frozen=True, slots=True)
class Absent:
    """The effect has not happened."""


@dataclass(frozen=True, slots=True)
class Present:
    """The effect has happened, with these outputs."""

    outputs: Outputs = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Unclear:
    """Looking did not settle it; a person decides."""

    why: str


Observed = Absent | Present | Unclear


class Secrets(Protocol):
    """Every secret store the bot knows, behind one door; `run.secrets` in an operation."""

    def read(self, reference: SecretReference) -> Secret:
        """The value at the reference (its current version when none is named). Raises `Permanent` if there is none."""
        ...

    def find(self, reference: SecretReference, marker: str) -> SecretReference | None:
        """The version that was written under this marker, or None."""
        ...

    def put(self, reference: SecretReference, value: Secret, *, marker: str, label: str = "") -> SecretReference:
        """Add a pending version, not yet the current one. The same marker returns the version written first.

        `label` is a public name kept beside the value, such as the id of an API key.
        """
        ...

    def discard(self, reference: SecretReference) -> None:
        """Erase a version that nobody reads; quiet when it is gone. Raises `Permanent` for the current one."""
        ...

    def label(self, reference: SecretReference) -> str:
        """The public name that was kept beside a version (the current one when none is named); empty without one."""
        ...


@dataclass(frozen=True, slots=True)
class Run:
    """What an operation or a probe knows about the rotation that calls it."""

    rotation: str
    """Rotation id, `R-7`; also what logs carry."""
    token: str
    """Idempotency token and marker of this step, the same at every attempt; write it on everything created."""
    operator: str
    """The person on whose behalf this runs, for the target's own audit."""
    secrets: Secrets
    now: datetime
    """The engine's time when the call began (UTC); targets that live on the same clock compare with this."""
    log: logging.LoggerAdapter[logging.Logger]
    deadline: float
    """Monotonic seconds after which the engine gives the call up."""
    relied_on: bool = False
    """In an undo: whether a later step has done something, so that what this one made may be in use somewhere."""

    def remaining(self) -> float:
        """Seconds left for a network call; raises `Transient` when there are none."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise Transient("the step's time is used up")
        return left


class Part:
    """What operations, probes, sensors, facts and discoveries have in common."""

    permissions: ClassVar[tuple[str, ...]] = ()
    """What it needs at its system, in the system's own words: `secrets: get, patch`."""

    class Params(Model):
        """Parameters of one call."""

    def __init__(self, client: Any) -> None:
        self.client = client

    @classmethod
    def needs(cls, known: Mapping[str, Any]) -> tuple[str, ...]:
        """The permissions for a call, narrowed to what it touches: `secrets: get, patch @ default/shop/admin`.

        `known` holds the arguments that are known before anything has run, unchecked; those that come from a step are
        missing. Systems that grant by object override this; it must not raise.
        """
        return cls.permissions


class Operation(Part):
    """Something an adapter can change.

    Write it so that it can be killed at any instruction: `observe` tells the truth afterwards, `ensure` with the same
    token creates once, `undo` is quiet when there is nothing to undo.
    """

    effect: ClassVar[Effect]
    outputs: ClassVar[tuple[str, ...]] = ()
    """Names that `ensure` returns; the runbook linter checks references against them."""

    def observe(self, p: Any, run: Run) -> Observed:
        """Look, without changing anything, whether the effect of this token is there."""
        raise NotImplementedError

    def ensure(self, p: Any, run: Run) -> Outputs:
        """Make it so. Raises `Transient`, `Permanent` or `Ambiguous`."""
        raise NotImplementedError

    def undo(self, p: Any, run: Run, outputs: Outputs) -> str | None:
        """Put it back. `outputs` is what `ensure` returned, empty if it never got so far.

        What somebody may hold by now is not taken away (`run.relied_on`, or better what the system itself knows). What
        has to restart to notice the change is restarted by `ensure` and by `undo`, as part of the same step. Until that
        has come up, `undo` raises `Underway` and is called again: the steps before it are undone only then. In a step
        with `each:` that counts as a try that failed: what fans out does not wait.

        Says in one sentence what it left in place on purpose, if anything; people read that on the card.
        """
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Reading:
    """What a probe measured.

    `passed` is the probe's own verdict; a probe that only measures leaves it None and gives `value`
    (ratios from 0 to 1), which the runbook's `expect` judges.
    """

    evidence: str
    passed: bool | None = None
    value: float | None = None


class Probe(Part):
    """Something an adapter can measure; changes nothing."""

    def measure(self, p: Any, run: Run) -> Reading:
        """Measure now. Raises `Transient` or `Permanent` when it cannot."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Sighting:
    """When a credential was last seen in use.

    `at` None means never since `since`, the moment from which the counters are complete. A sensor that cannot say
    raises `Transient` or `Permanent`: unknown is never quiet.
    """

    since: datetime
    evidence: str
    at: datetime | None = None
    by: tuple[str, ...] = ()
    """Who used it last, when known."""


class Sensor(Part):
    """Says when the OLD credential was last seen in use."""

    def last_seen(self, p: Any, run: Run) -> Sighting:
        """Look now. Raises `Transient` or `Permanent` when it cannot tell."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Known:
    """A fact read from a live system; `source` says where, for the card."""

    value: JsonValue
    source: str


class Fact(Part):
    """A value that a plan depends on: a token's life, a cache's age, the id of the credential in use.

    Durations are given in seconds. A list of texts is fine too: a step can fan out over it.
    """

    def read(self, p: Any, run: Run) -> Known:
        """Read now. Raises `Transient` or `Permanent` when it cannot."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Found:
    """One version of a credential that a system shows; never its value."""

    place: str
    """Where the credential lives, the same at every look and for every version of it: `identity:billing/api-key`.
    A runbook's `lives` gives the same text for the credentials that it rotates."""
    version: str
    """Name of this version there: a key's id, a serial number."""
    kind: str
    """The class that it would have in the inventory, such as `api-key`."""
    created_at: datetime | None = None
    expires_at: datetime | None = None
    """When the system itself will refuse it (UTC); None where it has no end, or does not say."""
    owner: str = ""
    """Who the system says it belongs to: a label, a team; unchecked."""


class Discovery(Part):
    """Lists what a system holds that can expire, so that nothing expires which nobody has declared."""

    def pages(self, p: Any, run: Run) -> Iterator[Sequence[Found]]:
        """Everything there is, a page at a time. Raises `Transient` or `Permanent` when it cannot be told to the end:
        what was not listed then does not count as gone.
        """
        raise NotImplementedError


class Store(Protocol):
    """What an adapter that keeps secrets offers besides its operations: the class is called `Store`.

    `path` and `version` are the parts of a `SecretReference`; an empty version means the current one. A store whose
    system grants by object also has a static `needs(path)`: the permissions for reading and writing there.
    """

    def __init__(self, client: Any) -> None: ...

    def read(self, path: str, version: str) -> Secret: ...

    def find(self, path: str, marker: str) -> str | None: ...

    def put(self, path: str, value: Secret, *, marker: str, label: str) -> str: ...

    def discard(self, path: str, version: str) -> None: ...

    def label(self, path: str, version: str) -> str: ...


class Client(Protocol):
    """The one seam of an adapter that talks to the network. Every adapter's `Client` is built by the catalog.

    `access` answers, without changing anything, which of the permissions are missing (empty: all are there);
    it raises `Transient` when that cannot be known. It is given what `Part.needs` gave, word for word.
    """

    def __init__(self, config: Any, secrets: Secrets) -> None: ...

    def access(self, permissions: Collection[str], run: Run) -> Collection[str]: ...


@dataclass(frozen=True, slots=True)
class Granted:
    """What `Grants` made: a text for whoever grants, and what it could not grant, each with what to do."""

    text: str
    problems: tuple[str, ...] = ()


class Grants(Protocol):
    """What an adapter offers whose system grants by documents of its own: a function called `grants`.

    It is given what `Part.needs` gave, the `form` that is wanted, and where it is for. Raises `Permanent` for a form
    that it does not know.
    """

    def __call__(self, permissions: Collection[str], form: str, where: Mapping[str, str]) -> Granted: ...
