"""Rotations in the states that the benchmarks need, decided by the real `decide`."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from bot.core.decide import Decision, decide
from bot.core.plan import Plan, PlannedStep
from bot.core.rotation import Began, Done, Ended, NotYet, Opened, Voted
from bot.core.runbook import CheckStep, DoStep, Section, WaitStep

STEPS = (
    PlannedStep(Section.STEPS, DoStep(id="publish", do="identity.publish_key", title="Publish a new key"), "creates"),
    PlannedStep(Section.STEPS, WaitStep(id="learn", wait="30d")),
    PlannedStep(Section.STEPS, DoStep(id="promote", do="identity.promote_key"), "changes"),
    PlannedStep(Section.RETIRE, CheckStep(id="dead", check="jwks.old_refused_everywhere")),
    PlannedStep(Section.RETIRE, DoStep(id="remove", do="identity.delete_key"), "destroys"),
)


def plan(credential: str) -> Plan:
    """Five steps, of which the second waits."""
    return Plan(
        credential=credential,
        environment="production",
        kind="key",
        owner="alice",
        runbook="by-hand",
        runbook_hash="sha256:" + "0" * 64,
        requester="alice",
        reason="weekly",
        inputs={"service": "https://identity.internal"},
        facts={"old_kid": {"value": "kid-1", "source": "jwks", "bound": "same", "at_most": None}},
        steps=STEPS,
        before=(),
        arguments={},
        replaced={"old": "kid-1", "new": "${{ steps.publish.kid }}"},
        approvers=1,
        approve_from=("sec-oncall",),
        approve_within=timedelta(hours=24),
        rollback_within=timedelta(minutes=10),
        retire_within=timedelta(days=14),
        cadence=timedelta(days=7),
        counts_old=True,
        max_valid=2,
    )


def requested(number: int, credential: str, now: datetime) -> Decision:
    """Asked for, and not approved yet."""
    return decide(None, Opened(number, plan(credential), "nonce", "C0OPS", ()), now)


def waiting(number: int, credential: str, now: datetime) -> Decision:
    """Approved and begun; its second step is due in thirty days."""
    rotation = requested(number, credential, now).rotation
    vote = Voted("bob", True, "sec-oncall", rotation.plan.digest, rotation.nonce)
    rotation = decide(rotation, vote, now).rotation
    for step, outcome in ((0, Done({"kid": "kid-2"}, "published")), (1, NotYet(now + timedelta(days=30), "waits"))):
        attempt = rotation.steps[step].attempt
        rotation = decide(rotation, Began(step, attempt, "w"), now).rotation
        rotation = decide(rotation, Ended(step, attempt, "w", outcome), now).rotation
    return Decision(replace(rotation, version=0), ())
