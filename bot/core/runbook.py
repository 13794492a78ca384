"""The model of a runbook: what each line may say. Reading files with their line numbers is `bot.core.runbook_file`."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from bot.core.runbook_input import Input, Model


class Skip(StrEnum):
    """Who may skip a step: anyone who may advance, a second person, or nobody."""

    FREE = "free"
    SECOND_PERSON = "second-person"
    NEVER = "never"


class Kind(StrEnum):
    """What a step does; also the key that introduces it in YAML."""

    DO = "do"
    CHECK = "check"
    WAIT = "wait"
    QUIET = "quiet"
    ASK = "ask"


class Section(StrEnum):
    """The rotation proper, what follows promotion, and what a revocation does instead of both."""

    STEPS = "steps"
    RETIRE = "retire"
    EMERGENCY = "emergency"


Word = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*$", max_length=120)]
"""`adapter.operation`, `adapter.probe`, `adapter.sensor` or `adapter.fact`."""

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,40}$")]
Label = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,40}$")]
"""The name of an input or a fact: underscores, no dashes, so that expressions read well."""

SHAPES = {
    r"^[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*$": "write adapter.word, such as identity.publish_key",
    r"^[a-z][a-z0-9-]{0,40}$": "write a name of small letters, digits and dashes",
    r"^[a-z][a-z0-9_]{0,40}$": "write a name of small letters, digits and underscores",
}
"""Pattern -> what to write, for messages."""

Span = Annotated[str, Field(min_length=1, max_length=400)]
"""A duration (`15m`) or an expression that gives one (`${{ inputs.token_life + inputs.jwks_cache }}`)."""

Arguments = dict[str, Any]


class Expect(Model):
    """What a measured ratio must be. `above` is demanded at the end, below `hold_below` it stops at once."""

    above: float | None = None
    hold_below: float | None = None
    over: Span | None = None

    @field_validator("above", "hold_below", mode="before")
    @classmethod
    def _ratio(cls, value: Any) -> Any:
        if isinstance(value, str) and value.strip().endswith("%"):
            try:
                return float(value.strip()[:-1]) / 100
            except ValueError as error:
                raise ValueError("write a percentage such as 99.9%") from error
        return value

    @model_validator(mode="after")
    def _ordered(self) -> Expect:
        for bound in (self.above, self.hold_below):
            if bound is not None and not 0 <= bound <= 1:
                raise ValueError("a ratio lies between 0% and 100%")
        if self.above is not None and self.hold_below is not None and self.hold_below > self.above:
            raise ValueError("hold_below must not be greater than above")
        return self


class Condition(Model):
    """A probe that must pass: `until: {check: jwks.key_served}`."""

    check: Word
    with_: Arguments = Field(default_factory=dict, alias="with")
    expect: Expect | None = None


class Watch(Condition):
    """A probe that must keep passing for a while after an operation, which is undone if it does not."""

    for_: Span = Field(alias="for")
    every: Span = "30s"


class ByHand(Model):
    """How a person does it without the bot. Never run by keyturn, and no part of a plan."""

    run: list[str] = Field(default_factory=list, max_length=40)
    """Commands for a shell, in order; inputs are variables in capitals, such as `$NAMESPACE`."""
    see: str = Field(default="", max_length=500)
    """What has to be seen before going on."""
    otherwise: str = Field(default="", max_length=500)
    """What to do when it is not."""

    @model_validator(mode="after")
    def _helps(self) -> ByHand:
        if not (self.run or self.see):
            raise ValueError("say what to run, or what to see")
        return self


class StepBase(Model):
    """What every step may say."""

    id: Name
    title: str = Field(default="", max_length=150)
    with_: Arguments = Field(default_factory=dict, alias="with")
    skip: Skip | None = None
    timeout: Span = "60s"
    tries: int = Field(default=6, ge=1, le=100)
    """Failures in a row that are retried with backoff before people are asked."""
    each: str | list[str] | None = None
    """Fan out: run once per element, with `${{ each }}` naming it."""
    at_once: int = Field(default=8, ge=1, le=64)
    by_hand: ByHand | None = None
    """How a person does it without the bot."""


class DoStep(StepBase):
    """Do an operation; with `watch`, a brownout: undone when the watched probe fails."""

    do: Word
    watch: Watch | None = None


class CheckStep(StepBase):
    """A probe must pass, tried `every` so often for at most `within`."""

    check: Word
    expect: Expect | None = None
    every: Span = "30s"
    within: Span = "15m"


class WaitStep(StepBase):
    """Let time pass; with `until`, the wait is over when the time has passed and the condition holds."""

    wait: Span
    until: Condition | None = None
    every: Span = "30s"
    within: Span = "1h"
    """How long after the wait the condition may still fail before people are asked."""


class QuietStep(StepBase):
    """Every sensor has to say that the old credential was not used `for` so long, watched `at_least` so long."""

    quiet: list[Word] = Field(min_length=1)
    for_: Span = Field(alias="for")
    at_least: Span = "0s"
    every: Span = "5m"
    within: Span = "7d"

    @field_validator("quiet", mode="before")
    @classmethod
    def _several(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value


class AskStep(StepBase):
    """A person confirms something that no probe can see."""

    ask: str = Field(min_length=3, max_length=500)


Step = DoStep | CheckStep | WaitStep | QuietStep | AskStep

KINDS: dict[Kind, type[StepBase]] = {
    Kind.DO: DoStep,
    Kind.CHECK: CheckStep,
    Kind.WAIT: WaitStep,
    Kind.QUIET: QuietStep,
    Kind.ASK: AskStep,
}


def kind_of(step: StepBase) -> Kind:
    """The kind of a parsed step."""
    return next(kind for kind, model in KINDS.items() if isinstance(step, model))


def words_of(step: StepBase) -> tuple[tuple[Kind, str], ...]:
    """Every adapter word the step calls, with the kind of thing the word must name (DO, CHECK or QUIET)."""
    return tuple((kind, word) for kind, word, _ in uses_of(step))


def uses_of(step: StepBase) -> tuple[tuple[Kind, str, Arguments], ...]:
    """The same, each with the arguments that the step gives it."""
    own = step.with_
    if isinstance(step, DoStep):
        watch = step.watch
        watched = ((Kind.CHECK, watch.check, {**own, **watch.with_}),) if watch else ()
        return ((Kind.DO, step.do, own), *watched)
    if isinstance(step, CheckStep):
        return ((Kind.CHECK, step.check, own),)
    if isinstance(step, WaitStep):
        return ((Kind.CHECK, step.until.check, {**own, **step.until.with_}),) if step.until else ()
    return tuple((Kind.QUIET, word, own) for word in step.quiet) if isinstance(step, QuietStep) else ()


class FactSource(Model):
    """A value read from a live system when planning, with the bounds in which the plan stays valid."""

    read: Word
    with_: Arguments = Field(default_factory=dict, alias="with")
    """May look up other facts, which are read before it; where it is read again, they stay as they were planned."""
    type: Literal["text", "duration", "number", "list", "moment"] = "text"
    """A `moment` is a time by the calendar, such as the end of a token: `wait: "${{ until(facts.ends) }}"`."""
    bound: Literal["same", "at_most", "any"] = "same"
    at_most: Span | None = None
    title: str = Field(default="", max_length=150)
    """What it tells, for the card: `Used by`."""
    by_hand: ByHand | None = None
    """How a person looks it up without the bot."""

    @model_validator(mode="after")
    def _bound_given(self) -> FactSource:
        if (self.bound == "at_most") != (self.at_most is not None):
            raise ValueError("give at_most together with bound: at_most")
        if self.type in ("list", "moment") and self.bound == "at_most":
            raise ValueError(f"a {self.type} has no most; write bound: same or bound: any")
        return self


class Order(StrEnum):
    """What a revocation does first: put the new one in place, or take the suspected one out."""

    REPLACE_FIRST = "replace-first"
    CONTAIN_FIRST = "contain-first"


class Cost(Model):
    """What an order costs, in sentences for whoever chooses it."""

    outage: str = Field(min_length=3, max_length=300)
    """Who cannot work, and for how long."""
    exposure: str = Field(min_length=3, max_length=300)
    """How long the suspected one can still be used."""


class Emergency(Model):
    """What a revocation does: ids of the steps above or steps of its own, and the order the runbook prefers."""

    order: Order
    steps: list[Name | Step] = Field(min_length=1)
    """In the preferred order."""
    otherwise: list[Name] = Field(default_factory=list)
    """The ids in the other order; without it there is only one order."""
    contained: Name | None = None
    """The step after which the suspected one is out of use."""
    costs: dict[Order, Cost] = Field(default_factory=dict)

    @property
    def orders(self) -> tuple[Order, ...]:
        """The orders that one can choose from, the preferred one first."""
        other = [order for order in Order if order is not self.order]
        return (self.order, *other) if self.otherwise else (self.order,)

    def ids(self, order: Order) -> list[str]:
        """Ids of the steps in an order, which must be one of `orders`."""
        if order is not self.order:
            return list(self.otherwise)
        return [item if isinstance(item, str) else item.id for item in self.steps]

    def containment(self, order: Order) -> int:
        """How many steps, from the first on, take the suspected one out and nothing else; 0 where that is mixed."""
        if order is not Order.CONTAIN_FIRST or self.contained is None:
            return 0
        ids = self.ids(order)
        return ids.index(self.contained) + 1 if self.contained in ids else 0


class Trouble(Model):
    """A branch of the runbook's troubleshooting: a button on the card of a step that failed.

    It measures (`check`), repairs (`do`), per element of `each` if there is one, or only gives `advice`.
    """

    id: Name
    when: str = Field(max_length=200)
    check: Word | None = None
    do: Word | None = None
    with_: Arguments = Field(default_factory=dict, alias="with")
    each: str | list[str] | None = None
    advice: str = Field(default="", max_length=500)
    by_hand: ByHand | None = None
    """How a person does it without the bot."""

    @model_validator(mode="after")
    def _helps(self) -> Trouble:
        if self.check and self.do:
            raise ValueError("a branch has either check or do; make two branches")
        if not (self.check or self.do or self.advice):
            raise ValueError("say what helps: check, do or advice")
        return self


class Reviewed(Model):
    """That somebody has read the runbook as it stands: an edit makes the digest another one, and the review void."""

    by: str = Field(min_length=1, max_length=80)
    """A person of the settings, or a name."""
    digest: str = Field(pattern=r"^sha256:[0-9a-f]{64}$")
    """Of everything in the file but this."""


BOXES = ("access", "incidents", "rollback-plan", "notified", "dashboard", "contacts")
"""The pre-rotation checklist of the token rotation runbook."""


class Runbook(Model):
    """The procedure for a kind of credential."""

    runbook: Name
    summary: str = Field(min_length=10, max_length=300)
    source: str = ""
    lives: str = ""
    """Where the credentials that it rotates live, as an expression of inputs; discovery names the same place."""
    page: Name | None = None
    """File name of its page in docs/RUNBOOKS, where that is not the runbook's own."""
    author: str = ""
    """Who wrote it."""
    reviewed: Reviewed | None = None
    """Who else has read it, and what; `keyturn review` writes this."""
    notes: list[Annotated[str, Field(min_length=10, max_length=1000)]] = Field(default_factory=list)
    """What somebody who rotates has to know besides the steps."""
    background: dict[str, Annotated[str, Field(min_length=10, max_length=500)]] = Field(default_factory=dict)
    """Names of decisions and tickets that the notes speak of, and what each means."""
    contacts: list[Annotated[str, Field(min_length=3, max_length=200)]] = Field(default_factory=list)
    """Whom to call, in order."""
    back_by_hand: ByHand | None = None
    """How a person puts everything back without the bot, as long as the old one is there."""
    inputs: dict[Label, Input] = Field(default_factory=dict)
    facts: dict[Label, FactSource] = Field(default_factory=dict)
    rollback_within: Span
    before: list[str] = Field(default_factory=lambda: list(BOXES))
    with_: Arguments = Field(default_factory=dict, alias="with")
    """Arguments for every word that takes them; a step's own `with` comes on top."""
    overlap: Literal["both-valid", "verify-only"] = "both-valid"
    """Whether the old version counts against `max_valid` while it is being retired."""
    replaced: dict[Literal["old", "new"], str] = Field(default_factory=dict)
    """Names for the record: `old` and `new` id as expressions, such as `${{ steps.publish.kid }}`."""
    steps: list[Step] = Field(min_length=1)
    retire: list[Step] = Field(default_factory=list)
    retire_within: Span = "14d"
    emergency: Emergency | None = None
    trouble: list[Trouble] = Field(default_factory=list)

    @field_validator("before")
    @classmethod
    def _boxes(cls, value: list[str]) -> list[str]:
        for box in value:
            if box not in BOXES:
                raise ValueError(f"{box!r} is not a box of the checklist; choose from {', '.join(BOXES)}")
        return value

    def sections(self) -> Sequence[tuple[Section, StepBase]]:
        """All steps in the order in which they run."""
        return [(Section.STEPS, step) for step in self.steps] + [(Section.RETIRE, step) for step in self.retire]

    def emergency_sections(self, order: Order) -> Sequence[tuple[Section, StepBase]]:
        """The steps of a revocation in an order; ids that name no step are left out, the linter reports them."""
        ids = self.emergency.ids(order) if self.emergency else []
        return [(Section.EMERGENCY, step) for name in ids if (step := self.step(name)) is not None]

    def step(self, step_id: str) -> StepBase | None:
        """The step with this id, also one of the emergency's own."""
        own = [step for step in (self.emergency.steps if self.emergency else []) if isinstance(step, StepBase)]
        return next((step for step in (*self.steps, *self.retire, *own) if step.id == step_id), None)
