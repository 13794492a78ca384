"""Planning: reads the facts, asks the catalog what each word does, and freezes it as a plan. Changes nothing."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Protocol

from bot.contracts.adapter import Effect, Operation, Run, Secrets
from bot.contracts.command import Draft
from bot.contracts.registry import Registry
from bot.core import duration
from bot.core.errors import KeyturnError, Permanent, Refused
from bot.core.expiry import stages
from bot.core.plan import EXPIRED, READS, Plan, PlannedStep
from bot.core.policy import ApprovalRule
from bot.core.reviewed import Unreviewed
from bot.core.rotation import Box
from bot.core.runbook import (
    CheckStep,
    DoStep,
    Kind,
    Order,
    QuietStep,
    Runbook,
    Section,
    StepBase,
    Trouble,
    WaitStep,
    uses_of,
)
from bot.core.template import evaluate, evaluate_span, references
from bot.engine.facts import facts_for, read_facts
from bot.engine.needs import Use, known_of, needed, uses_of_steps
from bot.engine.scope import scope_of_plan

log = logging.getLogger(__name__)
PLANNING_SECONDS = 30.0
GRANT = "keyturn permissions prints what to grant, and a step that needs it fails until then"


@dataclass(frozen=True, slots=True)
class Subject:
    """A credential as the settings declare it: what a plan is made for."""

    name: str
    environment: str
    kind: str
    owner: str
    runbook: str
    inputs: Mapping[str, Any]
    cadence: timedelta | None
    channel: str
    max_valid: int = 2
    reviewed_runbook: bool = False
    """Whether policy wants its runbook reviewed before anything starts."""


class Runbooks(Protocol):
    """Runbooks by name, as loaded at start."""

    def get(self, name: str) -> tuple[Runbook, str]:
        """The runbook and its content hash; raises `Refused` when there is none, or it has mistakes."""
        ...

    def why_unreviewed(self, name: str) -> Unreviewed | None:
        """Why nobody but its author has read the runbook as it stands; None when somebody has."""
        ...


@dataclass(frozen=True, slots=True)
class Access:
    """What the adapters of a plan say about its permissions."""

    missing: Mapping[str, tuple[str, ...]]
    """Adapter -> what it lacks, nothing where all is well."""
    unknown: Mapping[str, str]
    """Adapter -> why it could not be asked."""


class Checklist(Protocol):
    """Ticks what can be checked; see `bot.engine.checklist`."""

    def boxes(self, subject: Subject, plan: Plan, access: Access) -> tuple[Box, ...]: ...


class Planner:
    """Makes plans and drafts."""

    def __init__(
        self,
        registry: Registry,
        runbooks: Runbooks,
        secrets: Secrets,
        checklist: Checklist,
        rule: Callable[[Subject, str], ApprovalRule],
        now: Callable[[], datetime],
    ) -> None:
        self._registry = registry
        self._runbooks = runbooks
        self._secrets = secrets
        self._checklist = checklist
        self._rule = rule
        self._now = now

    def draft(self, subject: Subject, requester: str, reason: str, word: str = "start", order: str = "") -> Draft:
        """Everything that a person sees before starting. Raises `Refused` with what is missing.

        A system that cannot be asked now what it allows is a warning: it may be down because of the emergency.
        """
        plan, warnings = self._made(subject, requester, reason, word, order)
        access = self._access(self._needed(plan), self._run(subject, requester))
        warnings += [f"{adapter} lacks {', '.join(what)}; {GRANT}" for adapter, what in access.missing.items() if what]
        warnings += [f"{adapter} could not be asked what it allows: {why}" for adapter, why in access.unknown.items()]
        if subject.reviewed_runbook and not plan.reviewed_by:
            warnings.append(self._unreviewed(subject))
        now = self._now()
        waits, forward, whole = timeline(plan, now)
        retired = now + whole if plan.promotion < len(plan.steps) else None
        boxes = self._checklist.boxes(subject, plan, access)
        return Draft(plan, boxes, now + forward, retired, tuple(warnings), waits, self._orders(subject, plan))

    def _orders(self, subject: Subject, plan: Plan) -> Mapping[str, Mapping[str, str]]:
        """The orders that a revocation can take, with what each costs; empty for other words."""
        runbook, _ = self._runbooks.get(subject.runbook)
        if not plan.emergency or runbook.emergency is None:
            return {}
        costs = runbook.emergency.costs
        return {
            order.value: costs[order].model_dump() if order in costs else {"outage": "", "exposure": ""}
            for order in runbook.emergency.orders
        }

    def plan(self, subject: Subject, requester: str, reason: str, word: str = "start", order: str = "") -> Plan:
        """Read facts, resolve words, freeze. Two calls on an unchanged world give the same digest.

        `word` is `start`, `revoke` or `expired`; `order` of a revocation is the runbook's own when empty. A revocation
        needs those facts alone that its steps use.
        """
        return self._made(subject, requester, reason, word, order)[0]

    def _made(self, subject: Subject, requester: str, reason: str, word: str, order: str) -> tuple[Plan, list[str]]:
        """The plan, and what could not be read for it and need not be."""
        if word == EXPIRED:
            return self._guided(subject, requester, reason), []
        runbook, content_hash = self._runbooks.get(subject.runbook)
        reviewed = runbook.reviewed is not None and self._runbooks.why_unreviewed(subject.runbook) is None
        if subject.reviewed_runbook and not reviewed and word == "start":  # an emergency is only warned
            raise Refused(f"{subject.name} cannot be rotated: {self._unreviewed(subject)}.", code="unreviewed-runbook")
        rule = self._rule(subject, word)
        inputs = _inputs(runbook, subject)
        emergency = _emergency(runbook, subject, order) if word == "revoke" else None
        sections = runbook.emergency_sections(emergency) if emergency else runbook.sections()
        empty = Plan(
            credential=subject.name,
            environment=subject.environment,
            kind=subject.kind,
            owner=subject.owner,
            runbook=runbook.runbook,
            runbook_hash=content_hash,
            author=runbook.author,
            page=runbook.page or runbook.runbook,
            reviewed_by=runbook.reviewed.by if runbook.reviewed and reviewed else "",
            requester=requester,
            reason=reason,
            inputs=inputs,
            facts={},
            steps=(),
            before=() if emergency else tuple(runbook.before),
            arguments=runbook.with_,
            replaced=dict(runbook.replaced.items()),
            approvers=rule.count,
            approve_from=rule.names,
            approve_within=rule.expires,
            rollback_within=evaluate_span(runbook.rollback_within, {"inputs": inputs}),
            retire_within=evaluate_span(runbook.retire_within, {"inputs": inputs}),
            cadence=subject.cadence,
            counts_old=runbook.overlap == "both-valid",
            max_valid=subject.max_valid,
            trouble=tuple(_branch(one) for one in runbook.trouble),
            word=word,
            order=emergency.value if emergency else "",
            contained=runbook.emergency.containment(emergency) if runbook.emergency and emergency else 0,
            signed=rule.signed,
            private=rule.private,
            remind=rule.reminds,
            escalation=tuple(
                {"after": stage.after.total_seconds(), "to": list(stage.names), "page": stage.page}
                for stage in rule.escalation
            ),
            break_glass=rule.break_glass,
        )
        run = self._run(subject, requester)
        needed = facts_for(self._registry, runbook, [step for _, step in sections]) if emergency else None
        facts, warnings = read_facts(self._registry, runbook, empty, run, needed)
        looked_up = replace(empty, facts=facts)
        scope = scope_of_plan(looked_up)
        steps = tuple(self._planned(section, step, runbook.with_, scope) for section, step in sections)
        return replace(looked_up, steps=steps), list(warnings)

    def _unreviewed(self, subject: Subject) -> str:
        why = self._runbooks.why_unreviewed(subject.runbook)
        told = f"{why.message}; {why.hint}" if why else ""
        return f"policy wants a reviewed runbook in {subject.environment}, and of {subject.runbook} it holds: {told}"

    def _guided(self, subject: Subject, requester: str, reason: str) -> Plan:
        """The stages after an expiry, with the checks of its runbook's troubleshooting. Reads nothing."""
        rule = self._rule(subject, EXPIRED)
        shared: Mapping[str, Any] = {}
        content_hash, inputs = "", dict(subject.inputs)
        trouble: tuple[Mapping[str, Any], ...] = ()
        try:
            runbook, content_hash = self._runbooks.get(subject.runbook)
            shared, inputs = runbook.with_, _inputs(runbook, subject)
            trouble = tuple(_branch(one) for one in runbook.trouble if _asks_now(one))
        except Refused as error:
            log.warning("an incident goes on without the runbook: %s", error, extra={"credential": subject.name})
        return Plan(
            credential=subject.name,
            environment=subject.environment,
            kind=subject.kind,
            owner=subject.owner,
            runbook=subject.runbook,
            runbook_hash=content_hash,
            requester=requester,
            reason=reason,
            inputs=inputs,
            facts={},
            steps=stages(),
            before=(),
            arguments=shared,
            replaced={},
            approvers=0,
            approve_from=rule.names,
            approve_within=rule.expires,
            rollback_within=timedelta(0),
            retire_within=timedelta(0),
            cadence=None,
            counts_old=False,
            max_valid=subject.max_valid,
            trouble=trouble,
            word=EXPIRED,
            private=rule.private,
        )

    def _run(self, subject: Subject, requester: str) -> Run:
        adapter = logging.LoggerAdapter(log, {"credential": subject.name})
        return Run(
            rotation="plan",
            token="plan",  # noqa: S106 - a marker, not a credential
            operator=requester,
            secrets=self._secrets,
            now=self._now(),
            log=adapter,
            deadline=time.monotonic() + PLANNING_SECONDS,
        )

    def _planned(
        self, section: Section, step: StepBase, shared: Mapping[str, Any], scope: Mapping[str, Any]
    ) -> PlannedStep:
        effect = READS
        needs: list[str] = []
        for kind, word, own in uses_of(step):
            part = self._registry.part(word)
            if part is None:
                raise Refused(f"the runbook's step {step.id} uses {word}, which no adapter offers", code="unknown-word")
            for known in known_of(part, shared, (word, own, step.each), scope):
                needs.extend(part.needs(known))
            if kind is Kind.DO:
                if not issubclass(part, Operation):
                    raise Refused(f"the runbook's step {step.id} does {word}, which is no operation", code="wrong-kind")
                effect = Effect(part.effect).value
        planned = step.model_copy(update={"by_hand": None})  # for people without the bot, and nothing that it does
        return PlannedStep(section, planned, effect, tuple(dict.fromkeys(needs)))

    def _access(self, needed: Mapping[str, Collection[str]], run: Run) -> Access:
        """Ask all adapters at the same time: one that does not answer takes no time from the others."""
        with ThreadPoolExecutor(max_workers=max(1, min(8, len(needed))), thread_name_prefix="access") as pool:
            asked = {name: pool.submit(self._registry.access, {name: needed[name]}, run) for name in sorted(needed)}
        missing: dict[str, tuple[str, ...]] = {}
        unknown: dict[str, str] = {}
        for name, answer in asked.items():
            try:
                missing |= answer.result()
            except KeyturnError as error:
                hint = error.hint if isinstance(error, Permanent) else ""
                unknown[name] = f"{error}; {hint}" if hint else str(error)
        return Access(missing, unknown)

    def _needed(self, plan: Plan) -> dict[str, set[str]]:
        """What each adapter has to allow for the plan: for its steps and for its facts."""
        facts: list[Use] = [(fact["read"], fact["with"], None) for fact in plan.facts.values()]
        uses = [*uses_of_steps(planned.step for planned in plan.steps), *facts]
        return needed(self._registry, uses, plan.arguments, scope_of_plan(plan))


def _branch(branch: Trouble) -> dict[str, Any]:
    """As the plan keeps it: without what people do by hand."""
    return branch.model_dump(mode="json", by_alias=True, exclude={"by_hand"})


def _asks_now(branch: Trouble) -> bool:
    """Whether a branch only looks, and can look before any step of a rotation has run and any fact is read."""
    used = {reference.scope for reference in references([branch.with_, branch.each])}
    return not branch.do and not used & {"steps", "facts"}


def _inputs(runbook: Runbook, subject: Subject) -> dict[str, Any]:
    values: dict[str, Any] = {}
    unknown = sorted(set(subject.inputs) - set(runbook.inputs))
    missing = []
    for name, declared in runbook.inputs.items():
        value = subject.inputs.get(name, declared.default)
        if value is None:
            missing.append(name)
        values[name] = value
    if unknown or missing:
        told = [f"{name} is missing" for name in missing] + [f"{name} is not an input" for name in unknown]
        raise Refused(
            f"{subject.name} does not fit the runbook {runbook.runbook}: {', '.join(told)}; correct keyturn.yml.",
            code="inputs",
        )
    return values


def _emergency(runbook: Runbook, subject: Subject, order: str) -> Order:
    """The order that was asked for, or the runbook's own. Raises `Refused` where there is no such order."""
    if runbook.emergency is None:
        raise Refused(
            f"The runbook {runbook.runbook} has no emergency section, so {subject.name} cannot be revoked by keyturn; "
            f"revoke it by hand and then rotate it.",
            code="no-emergency",
        )
    known = [each.value for each in runbook.emergency.orders]
    if order and order not in known:
        raise Refused(
            f"{subject.name} cannot be revoked {order[:40]!r}; its runbook knows: {', '.join(known)}.", code="order"
        )
    return Order(order) if order else runbook.emergency.order


def timeline(plan: Plan, now: datetime) -> tuple[dict[str, str], timedelta, timedelta]:
    """What each step waits for, and how long the rotation proper and everything together take by plan, from now on."""
    scope = scope_of_plan(plan)
    waits: dict[str, str] = {}
    forward = whole = timedelta(0)
    for planned in plan.steps:
        span, told = _wait_of(planned, {**scope, "now": now + whole}, plan)
        if told:
            waits[planned.id] = told
        whole += span
        if planned.section is not Section.RETIRE:
            forward += span
    return waits, forward, whole


def _wait_of(planned: PlannedStep, scope: Mapping[str, Any], plan: Plan) -> tuple[timedelta, str]:
    step = planned.step
    if isinstance(step, WaitStep):
        span = evaluate_span(step.wait, scope)
        return span, _told(span, step.wait, plan)
    if isinstance(step, QuietStep):
        quiet, least = evaluate_span(step.for_, scope), evaluate_span(step.at_least, scope)
        told = "quiet for " + _told(quiet, step.for_, plan)
        return max(quiet, least), told + (f", watched at least {_told(least, step.at_least, plan)}" if least else "")
    if isinstance(step, DoStep) and step.watch:
        span = evaluate_span(step.watch.for_, scope)
        return span, f"watched {duration.show(span)}"
    if isinstance(step, CheckStep) and step.expect and step.expect.over:
        span = evaluate_span(step.expect.over, scope)
        return span, f"over {duration.show(span)}"
    return timedelta(0), ""


def _told(span: timedelta, text: str, plan: Plan) -> str:
    """`1h 15m = facts.token_life + facts.jwks_cache (identity settings; gateway caches)`."""
    told = duration.show(span)
    if "${{" not in text:
        return told
    formula = text.replace("${{", "").replace("}}", "").strip()
    sources = [str(fact["source"]) for name, fact in plan.facts.items() if f"facts.{name}" in text]
    return f"{told} = {formula}" + (f" ({'; '.join(sources)})" if sources else "")


def changes(before: Plan, after: Plan) -> tuple[str, ...]:
    """Names of what differs between two plans, for the card."""
    old, new = before.to_json(), after.to_json()
    named = [name for name in old if name not in ("facts", "steps") and old[name] != new[name]]
    named += [f"fact {name}" for name in {*old["facts"], *new["facts"]} if _seen(old, name) != _seen(new, name)]
    if old["steps"] != new["steps"]:
        named.append("steps")
    return tuple(named)


def _seen(plan: Mapping[str, Any], name: str) -> Any:
    fact = plan["facts"].get(name)
    if fact is None or not fact.get("needed", True):
        return None
    return {k: v for k, v in fact.items() if k in ("value", "bound", "at_most")}


def resolved(plan: Plan, name: str, outputs: Mapping[str, Any]) -> str:
    """`old` or `new` of the runbook's `replaced`, as far as it can be told yet."""
    text = plan.replaced.get(name)
    if not text:
        return ""
    try:
        return str(evaluate(text, {**scope_of_plan(plan), "steps": outputs}))
    except KeyturnError:
        return ""
