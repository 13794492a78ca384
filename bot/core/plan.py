"""A plan: what will be done, frozen as data, with a digest that approvals bind to."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

from bot.core import duration
from bot.core.runbook import (
    KINDS,
    AskStep,
    CheckStep,
    DoStep,
    Kind,
    QuietStep,
    Section,
    Skip,
    StepBase,
    WaitStep,
    kind_of,
)

FORMAT = 1
READS = "reads"
EXPIRED = "expired"
"""The word of an incident whose credential expired in use; see `bot.core.expiry`."""
DESTROYS = "destroys"


def canonical(value: Any) -> bytes:
    """The one byte form of JSON that is hashed and signed: sorted keys, no spaces, UTF-8, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def digest(value: Any) -> str:
    """`sha256:` and the hex digest of the canonical form."""
    return "sha256:" + hashlib.sha256(canonical(value)).hexdigest()


@dataclass(frozen=True)
class PlannedStep:
    """One step of a plan: the runbook's line, and what the catalog said about the word it calls."""

    section: Section
    step: StepBase
    effect: str = READS
    permissions: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """The step's id, unique in its runbook."""
        return self.step.id

    @cached_property
    def kind(self) -> Kind:
        """do, check, wait, quiet or ask."""
        return kind_of(self.step)

    @property
    def skip(self) -> Skip:
        """Who may skip it."""
        if self.step.skip is not None:
            return self.step.skip
        return Skip.NEVER if self.kind is Kind.DO else Skip.SECOND_PERSON

    @property
    def changes(self) -> bool:
        """Whether it leaves something in the world that a rollback has to undo."""
        return self.kind is Kind.DO and self.effect != READS

    @property
    def title(self) -> str:
        """One line for people."""
        step = self.step
        if step.title:
            return step.title
        if isinstance(step, DoStep):
            return step.do
        if isinstance(step, CheckStep):
            return f"check {step.check}"
        if isinstance(step, WaitStep):
            return f"wait {step.wait}" + (f" until {step.until.check}" if step.until else "")
        if isinstance(step, QuietStep):
            return "old credential quiet"
        return step.ask if isinstance(step, AskStep) else step.id

    def to_json(self) -> dict[str, Any]:
        """JSON that `of_json` reads back."""
        return {
            "section": self.section.value,
            "kind": self.kind.value,
            "effect": self.effect,
            "permissions": list(self.permissions),
            "step": self.step.model_dump(mode="json", by_alias=True, exclude_none=True),
        }

    @classmethod
    def of_json(cls, data: Mapping[str, Any]) -> PlannedStep:
        """Read a stored step."""
        model = KINDS[Kind(data["kind"])]
        return cls(
            Section(data["section"]),
            model.model_validate(data["step"]),
            data["effect"],
            tuple(data["permissions"]),
        )


@dataclass(frozen=True)
class Plan:
    """Everything that an approval covers. Two plans with the same digest do the same thing to the same targets."""

    credential: str
    environment: str
    kind: str
    owner: str
    runbook: str
    runbook_hash: str
    requester: str
    reason: str
    inputs: Mapping[str, Any]
    facts: Mapping[str, Mapping[str, Any]]
    """name -> {value, source, read, with, type, bound, at_most, title}; `at_most` in seconds

    Of a revocation also `needed: false` for those that no step of it uses: they are for people to see.
    """
    steps: tuple[PlannedStep, ...]
    before: tuple[str, ...]
    arguments: Mapping[str, Any]
    replaced: Mapping[str, str]
    approvers: int
    approve_from: tuple[str, ...]
    approve_within: timedelta
    rollback_within: timedelta
    retire_within: timedelta
    cadence: timedelta | None
    counts_old: bool
    """Whether the old version counts against `max_valid` during the overlap."""
    max_valid: int
    trouble: tuple[Mapping[str, Any], ...] = field(default=())
    word: str = "start"
    """What was asked for: `start`, `revoke` for an emergency, or `expired` for the incident of an expiry."""
    order: str = ""
    """Of a revocation: `replace-first` or `contain-first`."""
    contained: int = 0
    """Of a revocation: how many steps from the first on only take the suspected one out; 0 where that is mixed."""
    signed: bool = False
    """Whether an approval counts only with an SSH signature."""
    private: bool = False
    """Whether the incident's channel is private."""
    remind: timedelta | None = None
    """How often those who may approve are reminded."""
    escalation: tuple[Mapping[str, Any], ...] = ()
    """{after: seconds since the request, to: names for people, page: whether somebody is woken}, in order."""
    author: str = ""
    """Who wrote the runbook; empty where it does not say."""
    page: str = ""
    """Name of the runbook's page for people."""
    reviewed_by: str = ""
    """Who else has read it as it stands; empty where nobody has."""
    break_glass: timedelta | None = None
    """For how long one person alone may contain; None where policy does not allow it."""

    @property
    def emergency(self) -> bool:
        """Whether it revokes under suspicion."""
        return self.word == "revoke"

    @property
    def expiry(self) -> bool:
        """Whether it is no rotation, but the stages of an incident after an expiry."""
        return self.word == EXPIRED

    @property
    def has_incident(self) -> bool:
        """Whether an incident is opened with it."""
        return self.emergency or self.expiry

    def to_json(self) -> dict[str, Any]:
        """JSON that `of_json` reads back; its canonical bytes are what the digest covers."""
        return {
            "format": FORMAT,
            "credential": self.credential,
            "environment": self.environment,
            "class": self.kind,
            "owner": self.owner,
            "runbook": self.runbook,
            "runbook_hash": self.runbook_hash,
            "author": self.author,
            "reviewed_by": self.reviewed_by,
            "page": self.page,
            "requester": self.requester,
            "reason": self.reason,
            "inputs": dict(self.inputs),
            "facts": {name: dict(fact) for name, fact in self.facts.items()},
            "steps": [step.to_json() for step in self.steps],
            "before": list(self.before),
            "arguments": dict(self.arguments),
            "replaced": dict(self.replaced),
            "approvers": self.approvers,
            "approve_from": list(self.approve_from),
            "approve_within": self.approve_within.total_seconds(),
            "rollback_within": self.rollback_within.total_seconds(),
            "retire_within": self.retire_within.total_seconds(),
            "cadence": self.cadence.total_seconds() if self.cadence else None,
            "counts_old": self.counts_old,
            "max_valid": self.max_valid,
            "trouble": [dict(branch) for branch in self.trouble],
            "word": self.word,
            "order": self.order,
            "contained": self.contained,
            "signed": self.signed,
            "private": self.private,
            "remind": self.remind.total_seconds() if self.remind else None,
            "escalation": [dict(stage) for stage in self.escalation],
            "break_glass": self.break_glass.total_seconds() if self.break_glass else None,
        }

    @classmethod
    def of_json(cls, data: Mapping[str, Any]) -> Plan:
        """Read a stored plan; raises `ValueError` for a format this version does not know."""
        if data.get("format") != FORMAT:
            raise ValueError(f"plan format {data.get('format')!r} is not known to this version")
        return cls(
            credential=data["credential"],
            environment=data["environment"],
            kind=data["class"],
            owner=data["owner"],
            runbook=data["runbook"],
            runbook_hash=data["runbook_hash"],
            author=data["author"],
            reviewed_by=data["reviewed_by"],
            page=data["page"],
            requester=data["requester"],
            reason=data["reason"],
            inputs=data["inputs"],
            facts=data["facts"],
            steps=tuple(PlannedStep.of_json(step) for step in data["steps"]),
            before=tuple(data["before"]),
            arguments=data["arguments"],
            replaced=data["replaced"],
            approvers=data["approvers"],
            approve_from=tuple(data["approve_from"]),
            approve_within=timedelta(seconds=data["approve_within"]),
            rollback_within=timedelta(seconds=data["rollback_within"]),
            retire_within=timedelta(seconds=data["retire_within"]),
            cadence=_span(data["cadence"]),
            counts_old=data["counts_old"],
            max_valid=data["max_valid"],
            trouble=tuple(data["trouble"]),
            word=data["word"],
            order=data["order"],
            contained=data["contained"],
            signed=data["signed"],
            private=data["private"],
            remind=_span(data["remind"]),
            escalation=tuple(data["escalation"]),
            break_glass=_span(data["break_glass"]),
        )

    @cached_property
    def digest(self) -> str:
        """What approvals bind to."""
        return binding_digest(self.to_json())

    @cached_property
    def content_hash(self) -> str:
        """Hash of everything, readings included; the name under which the plan is stored."""
        return digest(self.to_json())

    @cached_property
    def promotion(self) -> int:
        """Index of the first step of the retirement; the number of steps when there is none."""
        return next((i for i, step in enumerate(self.steps) if step.section is Section.RETIRE), len(self.steps))

    def point_of_no_return(self) -> int | None:
        """Index of the first step that destroys; after it nothing can be rolled back."""
        return next((i for i, step in enumerate(self.steps) if step.effect == DESTROYS), None)

    def index(self, step_id: str) -> int | None:
        """Where a step stands, by its id."""
        return next((i for i, step in enumerate(self.steps) if step.id == step_id), None)


def _span(seconds: float | None) -> timedelta | None:
    return timedelta(seconds=seconds) if seconds is not None else None


MOST_NAMES = 12
"""Of a list, so many names are told; the others are counted."""


def fact_lines(plan: Plan) -> list[str]:
    """`Used by: deployment/jobs-manager, deployment/requests-proxy`: what was looked up for people to see."""
    return [f"{fact['title']}: {_told(fact)}" for fact in plan.facts.values() if fact.get("title")]


def _told(fact: Mapping[str, Any]) -> str:
    value = fact.get("value")
    if isinstance(value, list):
        names = ", ".join(str(name) for name in value[:MOST_NAMES])
        more = len(value) - MOST_NAMES
        return f"{names} and {more} more, {len(value)} in all" if more > 0 else names or "nobody"
    if fact.get("type") == "duration" and isinstance(value, int | float):
        return duration.show(timedelta(seconds=value))
    if fact.get("type") == "moment":
        return f"{datetime.fromisoformat(str(value)).astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    return str(value) if value not in (None, "") else "not known"


def reviewed(plan: Plan) -> str:
    """`written by platform and reviewed by security`, or that nobody has reviewed it."""
    written = f"written by {plan.author}" if plan.author else "written by nobody knows whom"
    return f"{written} and {f'reviewed by {plan.reviewed_by}' if plan.reviewed_by else 'reviewed by nobody else'}"


def binding_digest(data: Mapping[str, Any]) -> str:
    """The digest of a plan's JSON. Of a fact that may move within bounds, it covers the bounds and not the reading.

    What no step needs is not covered: an emergency is not asked for again because of it.
    """
    facts = {
        name: {
            key: value
            for key, value in fact.items()
            if key != "source" and (key != "value" or fact.get("bound", "same") == "same")
        }
        for name, fact in data["facts"].items()
        if fact.get("needed", True)
    }
    return digest({**data, "facts": facts})
