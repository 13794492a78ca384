"""Carries one step out: calls the operation, probe or sensors, and turns whatever happens into an outcome as data."""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from bot.contracts.adapter import Absent, Effect, Operation, Present, Run, Secrets, Unclear
from bot.contracts.registry import Registry
from bot.core import duration
from bot.core.errors import Ambiguous, KeyturnError, Permanent, Transient, Underway
from bot.core.expiry import IDENTIFY
from bot.core.plan import PlannedStep
from bot.core.rotation import UNDERWAY, Asking, BackOut, Done, Failed, NotYet, Outcome, Rotation, StepRun
from bot.core.runbook import AskStep, CheckStep, Condition, DoStep, QuietStep, WaitStep
from bot.core.template import TemplateError, evaluate_span
from bot.engine.facts import Facts
from bot.engine.fanout import Targets, fan_out, measure_each, slug
from bot.engine.judge import USED_AT, Verdict, judge, silence
from bot.engine.scope import parameters, scope_of
from bot.engine.symptoms import evidence

log = logging.getLogger(__name__)
SOON = timedelta(seconds=1)
HELP = "Use the troubleshooting buttons, retry, or roll back."
UNDERWAY_FOR = timedelta(minutes=15)
"""How long what an undo has begun may take before that is a failure."""
MOST_READINGS = 60
"""Of a watch, kept for people to see where it goes."""


class Executor:
    """Executes steps. `stretch` turns a real delay (a server's Retry-After) into the engine's time."""

    def __init__(
        self,
        registry: Registry,
        secrets: Secrets,
        now: Callable[[], datetime],
        stretch: Callable[[timedelta], timedelta],
        targets: Targets,
    ) -> None:
        self._registry = registry
        self._facts = Facts(registry)
        self._secrets = secrets
        self._now = now
        self._stretch = stretch
        self._targets = targets

    def execute(self, rotation: Rotation, i: int) -> Outcome:
        """Carry step `i` out, which was begun in the database before. Never raises."""
        run = rotation.steps[i]
        try:
            return self._carry_out(rotation, i, rotation.plan.steps[i])
        except Transient as error:
            backoff = timedelta(seconds=min(2.0**run.failures, 300.0))
            return Failed(_first_line(error), hint=HELP, retry_in=self._stretch(max(error.delay, backoff)))
        except Ambiguous as error:
            hint = "Look at the system itself; then retry to look again, or roll back."
            return Failed(f"{_first_line(error)} ({error.evidence})", hint=hint, ambiguous=True)
        except Permanent as error:
            return Failed(_first_line(error), hint=error.hint)
        except Exception as error:  # noqa: BLE001 - an adapter's mistake must become data, and its text may hold anything
            where = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{where.filename.rsplit('/', 1)[-1]}:{where.lineno}"
            log.error("a step raised %s at %s", type(error).__name__, place, extra={"rotation": rotation.id})
            return Failed(f"{type(error).__name__} at {place}", hint="This is a defect; the log has the place.")

    def run_for(self, rotation: Rotation, planned: PlannedStep, token_tail: str = "") -> Run:
        """The `run` that an adapter gets: token, operator, deadline."""
        timeout = evaluate_span(planned.step.timeout, scope_of(rotation)).total_seconds()
        adapter = logging.LoggerAdapter(log, {"rotation": rotation.id, "step": planned.id})
        return Run(
            rotation=rotation.id,
            token=f"keyturn-{rotation.id}-{planned.id}-{rotation.nonce[:8]}{token_tail}",
            operator=rotation.plan.requester,
            secrets=self._secrets,
            now=self._now(),
            log=adapter,
            deadline=time.monotonic() + timeout,
        )

    def _runs_for(self, rotation: Rotation, planned: PlannedStep) -> Callable[[str], Run]:
        """The same for each target, beginning when it is called. The database is asked for the time only once."""
        first, began = self.run_for(rotation, planned), time.monotonic()

        def run(target: str) -> Run:
            later = time.monotonic() - began
            now = first.now + self._stretch(timedelta(seconds=later))
            return replace(first, token=f"{first.token}-{slug(target)}", now=now, deadline=first.deadline + later)

        return run

    def _carry_out(self, rotation: Rotation, i: int, planned: PlannedStep) -> Outcome:
        step, run = planned.step, rotation.steps[i]
        if run.undoing:
            return self._undo(rotation, i, planned)
        match step:
            case DoStep():
                return self._do(rotation, i, planned, step)
            case CheckStep():
                return self._check(rotation, planned, step, run)
            case WaitStep():
                return self._wait(rotation, planned, step, run)
            case QuietStep():
                return self._quiet(rotation, planned, step, run)
            case AskStep():
                return Asking(self._question(rotation, planned, step))
        raise Permanent(f"{planned.id} is a kind of step that this version does not know", "upgrade keyturn")

    def _question(self, rotation: Rotation, planned: PlannedStep, step: AskStep) -> str:
        """What a person is asked; after an expiry with what can be seen of it."""
        if not rotation.plan.expiry or planned.id != IDENTIFY:
            return step.ask
        return f"{step.ask} {evidence(rotation, self._registry, lambda tail: self.run_for(rotation, planned, tail))}"

    # --- do -----------------------------------------------------------------------------------------------------------

    def _do(self, rotation: Rotation, i: int, planned: PlannedStep, step: DoStep) -> Outcome:
        run = rotation.steps[i]
        if "watch_since" in run.progress:
            return self._watch(rotation, planned, step, run)
        scope = scope_of(rotation)
        operation = self._registry.operation(step.do)
        shared, own = rotation.plan.arguments, step.with_
        if step.each is None:
            p = parameters(operation.Params, shared, own, scope)
            outputs, evidence = _apply(operation, p, self.run_for(rotation, planned), look_first=run.attempt > 1)
        else:
            run_of = self._runs_for(rotation, planned)

            def one(target: str, look_first: bool) -> tuple[Mapping[str, Any], str]:
                p = parameters(operation.Params, shared, own, {**scope, "each": target})
                return _apply(operation, p, run_of(target), look_first=look_first)

            outputs, evidence = fan_out(self._targets, rotation, i, scope, one)
        if step.watch is None:
            return Done(outputs, evidence)
        now = self._now()
        return NotYet(
            at=now + self._span(step.watch.every, rotation),
            evidence=f"done, watching {step.watch.check}",
            progress={"watch_since": now.isoformat()},
            outputs=outputs,
        )

    def _watch(self, rotation: Rotation, planned: PlannedStep, step: DoStep, run: StepRun) -> Outcome:
        assert step.watch is not None
        try:
            verdict = self._measure(rotation, planned, step.watch)
        except (Transient, Permanent) as error:  # what cannot be watched is not left changed
            if isinstance(error, Transient) and run.failures + 1 < step.tries:
                raise
            return BackOut(f"{step.watch.check} could not be measured while watched: {_first_line(error)}")
        if not verdict.holds:
            return BackOut(f"{step.watch.check} failed while watched: {verdict.evidence}")
        now = self._now()
        until = datetime.fromisoformat(run.progress["watch_since"]) + self._span(step.watch.for_, rotation)
        if now >= until:
            return Done({}, f"watched: {verdict.evidence}")
        at = min(until, now + self._span(step.watch.every, rotation))
        return NotYet(at=at, evidence=verdict.evidence, progress=_with_reading(run, verdict, now))

    def _undo(self, rotation: Rotation, i: int, planned: PlannedStep) -> Outcome:
        step, run = planned.step, rotation.steps[i]
        assert isinstance(step, DoStep)
        operation = self._registry.operation(step.do)
        scope, shared = scope_of(rotation), rotation.plan.arguments
        later = zip(rotation.plan.steps[i + 1 :], rotation.steps[i + 1 :], strict=True)
        relied_on = any(each.effect != Effect.READS and ran.attempt > 0 for each, ran in later)
        try:
            if step.each is None:
                p = parameters(operation.Params, shared, step.with_, scope)
                left = operation.undo(p, replace(self.run_for(rotation, planned), relied_on=relied_on), run.outputs)
                return Done({}, left or "undone")
        except TemplateError:
            return Done({}, "nothing to undo: its parameters were never complete")
        except Underway as error:
            now = self._now()
            if now >= (run.began_at or now) + UNDERWAY_FOR:
                raise
            at = now + max(SOON, self._stretch(error.delay))
            return NotYet(at=at, evidence=_first_line(error), progress={**run.progress, UNDERWAY: True})
        outputs = {**self._targets.known(rotation, i), **run.outputs.get("targets", {})}
        run_of = self._runs_for(rotation, planned)

        def one(target: str, look_first: bool) -> tuple[Mapping[str, Any], str]:
            p = parameters(operation.Params, shared, step.with_, {**scope, "each": target})
            left = operation.undo(p, replace(run_of(target), relied_on=relied_on), outputs.get(target, {}))
            return {}, left or "undone"

        return Done({}, fan_out(self._targets, rotation, i, scope, one)[1])

    # --- check, wait, quiet -------------------------------------------------------------------------------------------

    def _measure(self, rotation: Rotation, planned: PlannedStep, condition: Condition | CheckStep) -> Verdict:
        probe = self._registry.probe(condition.check)
        over = condition.expect.over if condition.expect else None
        extra = {"over": self._span(over, rotation)} if over else {}
        shared, own = rotation.plan.arguments, condition.with_
        if not isinstance(condition, CheckStep):  # a watch or an until takes from the step's own `with` what fits
            shared = {**shared, **planned.step.with_}
        scope = scope_of(rotation)
        run = self.run_for(rotation, planned)
        if planned.step.each is None or isinstance(planned.step, DoStep):
            p = parameters(probe.Params, shared, own, scope, extra)
            return judge(probe.measure(p, run), condition.expect)

        def one(target: str) -> Verdict:
            p = parameters(probe.Params, shared, own, {**scope, "each": target}, extra)
            return judge(probe.measure(p, run), condition.expect)

        verdicts = measure_each(Targets.of(planned.step.each, scope), planned.step.at_once, one)
        failed = {target: verdict for target, verdict in verdicts.items() if not verdict.holds}
        told = "; ".join(
            verdict.evidence if verdict.evidence.startswith(f"{target}: ") else f"{target}: {verdict.evidence}"
            for target, verdict in (failed or verdicts).items()
        )
        return replace(next(iter((failed or verdicts).values())), evidence=told)

    def _check(self, rotation: Rotation, planned: PlannedStep, step: CheckStep, run: StepRun) -> Outcome:
        verdict = self._measure(rotation, planned, step)
        now, began = self._now(), run.began_at or self._now()
        over = self._span(step.expect.over, rotation) if step.expect and step.expect.over else timedelta(0)
        if verdict.holds and now >= began + over:
            return Done({}, verdict.evidence)
        if verdict.stop:
            return Failed(verdict.evidence, hint=HELP)
        if not verdict.holds and now >= began + over + self._span(step.within, rotation):
            within = duration.show(self._span(step.within, rotation))
            return Failed(f"still failing after {within}: {verdict.evidence}", hint=HELP)
        at = now + self._span(step.every, rotation)
        if verdict.holds:
            at = min(at, began + over)
        return NotYet(at=max(at, now + SOON), evidence=verdict.evidence)

    def _wait(self, rotation: Rotation, planned: PlannedStep, step: WaitStep, run: StepRun) -> Outcome:
        now, began = self._now(), run.began_at or self._now()
        ends = began + self._span(step.wait, rotation, began)
        if now >= ends:
            ends = began + self._believed(step.wait, rotation, planned, began)
        if now < ends and step.until is not None and rotation.plan.emergency:
            return self._look_on(rotation, planned, step, run, ends)
        if now < ends:
            return NotYet(at=ends, evidence=f"waiting {duration.show(ends - began)}")
        if step.until is None:
            return Done({}, f"waited {duration.show(ends - began)}")
        verdict = self._measure(rotation, planned, step.until)
        if verdict.holds:
            return Done({}, verdict.evidence)
        within = self._span(step.within, rotation)
        if verdict.stop or now >= ends + within:
            problem = f"{step.until.check} does not hold {duration.show(within)} after the wait: {verdict.evidence}"
            return Failed(problem, hint=HELP)
        at = now + max(SOON, self._span(step.every, rotation))
        return NotYet(at=at, evidence=verdict.evidence, progress=_with_reading(run, verdict, now))

    def _look_on(
        self, rotation: Rotation, planned: PlannedStep, step: WaitStep, run: StepRun, ends: datetime
    ) -> Outcome:
        """While an emergency waits, people see what is waited for. It is judged only when the time has passed."""
        assert step.until is not None
        now, progress = self._now(), dict(run.progress)
        try:
            verdict = self._measure(rotation, planned, step.until)
        except (Transient, Permanent) as error:
            told = f"not measured: {_first_line(error)}"
        else:
            told, progress = verdict.evidence, _with_reading(run, verdict, now)
        at = min(ends, now + max(SOON, self._span(step.every, rotation)))
        return NotYet(at=at, evidence=f"until {ends:%H:%M:%S} UTC; {told}", progress=progress)

    def _quiet(self, rotation: Rotation, planned: PlannedStep, step: QuietStep, run: StepRun) -> Outcome:
        now, began = self._now(), run.began_at or self._now()
        sightings = {}
        for word in step.quiet:
            sensor = self._registry.sensor(word)
            p = parameters(sensor.Params, rotation.plan.arguments, step.with_, scope_of(rotation))
            sightings[word] = sensor.last_seen(p, self.run_for(rotation, planned))
        spans = {"quiet_for": step.for_, "at_least": step.at_least}
        said = {name: self._span(text, rotation) for name, text in spans.items()}
        found = silence(sightings, since=began, now=now, **said)
        if found.quiet:
            believed = {name: self._believed(text, rotation, planned, began) for name, text in spans.items()}
            found = silence(sightings, since=began, now=now, **believed)
        if found.quiet:
            return Done({}, found.evidence)
        if now >= began + self._span(step.within, rotation):
            hint = "Find who still uses the old credential and move it; then retry."
            return Failed(f"the old credential is still in use: {found.evidence}", hint=hint)
        at = min(max(found.earliest, now + SOON), now + max(SOON, self._span(step.every, rotation)))
        progress = {} if found.used_at is None else {USED_AT: found.used_at.isoformat()}
        return NotYet(at=at, evidence=found.evidence, progress=progress)

    # --- durations and facts ------------------------------------------------------------------------------------------

    def _span(self, text: str, rotation: Rotation, since: datetime | None = None) -> timedelta:
        return evaluate_span(text, {**scope_of(rotation), "now": since})

    def _believed(self, text: str, rotation: Rotation, planned: PlannedStep, since: datetime) -> timedelta:
        return self._facts.believed(text, rotation, self.run_for(rotation, planned), since)


def _apply(operation: Operation, p: Any, run: Run, *, look_first: bool) -> tuple[Mapping[str, Any], str]:
    """Make it so; after a crash or a failure look first, and do it again only where it is absent."""
    if look_first:
        found = operation.observe(p, run)
        if isinstance(found, Present):
            return found.outputs, "found done"
        if isinstance(found, Unclear):
            raise Ambiguous("it cannot be told whether this was done", found.why)
        assert isinstance(found, Absent)
    return operation.ensure(p, run), "done"


def _with_reading(run: StepRun, verdict: Verdict, now: datetime) -> dict[str, Any]:
    """The step's notes with one reading more, as [seconds since the epoch, ratio]; the oldest ones go."""
    if verdict.value is None:
        return dict(run.progress)
    readings = [*run.progress.get("readings", ()), [round(now.timestamp(), 1), round(verdict.value, 6)]]
    return {**run.progress, "readings": readings[-MOST_READINGS:]}


def _first_line(error: KeyturnError) -> str:
    return str(error).split("\n", 1)[0][:500]
