"""Small emergencies for the core's tests: a revocation in both orders, the people around it, and how its steps run."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from bot.core.decide import Decision, decide
from bot.core.plan import Plan, PlannedStep
from bot.core.rotation import Began, Confirmed, Done, Ended, GlassBroken, Opened, Rotation, Voted
from bot.core.runbook import CheckStep, DoStep, Section, Skip, StepBase

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
HALF_HOUR = timedelta(minutes=30)
HOUR = timedelta(hours=1)
ELIGIBLE = {"bob": "member of sec-oncall", "carol": "member of sec-oncall"}


def planned(step: StepBase, effect: str = "reads", section: Section = Section.EMERGENCY) -> PlannedStep:
    return PlannedStep(section, step, effect)


DISABLE = planned(DoStep(id="disable", do="identity.disable_key"), "changes")
REFUSED = planned(CheckStep(id="refused", check="jwks.old_refused_everywhere", skip=Skip.SECOND_PERSON))
PUBLISH = planned(DoStep(id="publish", do="identity.publish_key"), "creates")
LOOK = planned(CheckStep(id="look", check="jwks.key_served", skip=Skip.FREE))
PROMOTE = planned(DoStep(id="promote", do="identity.promote_key"), "changes")
DELETE = planned(DoStep(id="delete", do="identity.delete_key"), "destroys")
CONTAIN_FIRST = (DISABLE, REFUSED, PUBLISH, LOOK, PROMOTE, DELETE)
REPLACE_FIRST = (PUBLISH, LOOK, PROMOTE, DISABLE, REFUSED, DELETE)
ORDINARY = tuple(replace(step, section=Section.STEPS) for step in (PUBLISH, LOOK, PROMOTE)) + tuple(
    replace(step, section=Section.RETIRE) for step in (DISABLE, REFUSED)
)


def plan(**changes: Any) -> Plan:
    """A revocation, contain first, that needs signatures and lets one person contain."""
    fields: dict[str, Any] = {
        "credential": "identity-signing",
        "environment": "production",
        "kind": "signing-key",
        "owner": "alice",
        "runbook": "identity-es256",
        "runbook_hash": "sha256:00",
        "requester": "alice",
        "reason": "seen in a public log",
        "inputs": {},
        "facts": {},
        "steps": CONTAIN_FIRST,
        "before": (),
        "arguments": {},
        "replaced": {},
        "approvers": 1,
        "approve_from": ("sec-oncall",),
        "approve_within": HALF_HOUR,
        "rollback_within": timedelta(minutes=10),
        "retire_within": timedelta(days=14),
        "cadence": timedelta(days=7),
        "counts_old": False,
        "max_valid": 2,
        "word": "revoke",
        "order": "contain-first",
        "contained": 2,
        "signed": True,
        "break_glass": HOUR,
    }
    return Plan(**{**fields, **changes})


def ordinary(**changes: Any) -> Plan:
    """The weekly rotation of the same credential."""
    fields = {"word": "start", "order": "", "contained": 0, "signed": False, "break_glass": None, "steps": ORDINARY}
    return plan(**{**fields, **changes})


def opened(the_plan: Plan | None = None, **more: Any) -> Rotation:
    asked = Opened(9, the_plan or plan(), "nonce-00", "C1", (), **{"eligible": ELIGIBLE, **more})
    return decide(None, asked, START).rotation


def vote(rotation: Rotation, person: str = "bob", **changes: Any) -> Voted:
    """A signed approval of what stands there now."""
    bound = rotation.amendment or rotation
    digest = rotation.amendment.digest if rotation.amendment else rotation.plan.digest
    fields = {"approve": True, "because": "member of sec-oncall", "digest": digest, "nonce": bound.nonce}
    signed = {"key": f"SHA256:{person}", "signature": f"signed by {person}"}
    return Voted(person, **{**fields, **signed, **changes})


def reject(rotation: Rotation, person: str = "bob", **changes: Any) -> Voted:
    return vote(rotation, person, **{"approve": False, "reason": "a false alarm", **changes})


def glass(rotation: Rotation, person: str = "alice", **changes: Any) -> GlassBroken:
    bound = {"digest": rotation.plan.digest, "nonce": rotation.nonce}
    signed = {"key": f"SHA256:{person}", "signature": f"signed by {person}"}
    return GlassBroken(**{"person": person, "reason": "nobody answers", **bound, **signed, **changes})


def confirm(rotation: Rotation, person: str = "alice", **changes: Any) -> Confirmed:
    bound = {"digest": rotation.plan.digest, "nonce": rotation.nonce}
    return Confirmed(**{"person": person, **bound, "key": f"SHA256:{person}", "signature": "signed", **changes})


def approved(rotation: Rotation | None = None, now: datetime = START) -> Rotation:
    rotation = rotation or opened()
    return decide(rotation, vote(rotation), now).rotation


def broken(now: datetime = START, **changes: Any) -> Rotation:
    """Contained by one person: its first step is queued."""
    rotation = opened(plan(**changes))
    return decide(rotation, glass(rotation), now).rotation


def begin(rotation: Rotation, now: datetime = START) -> Rotation:
    i = rotation.current
    assert i is not None
    return decide(rotation, Began(i, rotation.steps[i].attempt, "w1"), now).rotation


def end(rotation: Rotation, outcome: Any = None, now: datetime = START) -> Decision:
    """What came of the step that runs."""
    i = next(i for i, run in enumerate(rotation.steps) if run.stage == "running")
    return decide(rotation, Ended(i, rotation.steps[i].attempt, "w1", outcome or Done({"id": f"x{i}"}, "ok")), now)


def run(rotation: Rotation, outcome: Any = None, now: datetime = START) -> Rotation:
    return end(begin(rotation, now), outcome, now).rotation


def contained(now: datetime = START) -> Rotation:
    """One person's containment is complete; the rest waits."""
    return run(run(broken(now), now=now), now=now)
