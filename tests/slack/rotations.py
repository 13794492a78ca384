"""Rotations in every state, made by the real `decide`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from bot.core.decide import decide
from bot.core.plan import Plan, PlannedStep
from bot.core.rotation import (
    Advanced,
    Asking,
    Began,
    Box,
    Cancelled,
    Done,
    Ended,
    Expired,
    Failed,
    Happening,
    NotYet,
    Opened,
    Outcome,
    RolledBack,
    Rotation,
    Skipped,
    Stage,
    Voted,
)
from bot.core.runbook import AskStep, CheckStep, DoStep, QuietStep, Section, WaitStep

NOW = datetime(2026, 11, 20, 15, 0, tzinfo=UTC)
BOXES = (
    Box("access", True, "keyturn", "permissions of every step confirmed by identity"),
    Box("notified"),
)
STEPS = (
    PlannedStep(Section.STEPS, DoStep(id="publish", do="identity.publish_key", title="Publish a new key"), "creates"),
    PlannedStep(Section.STEPS, WaitStep(id="learn", wait="${{ facts.cache + inputs.margin }}")),
    PlannedStep(Section.STEPS, AskStep(id="look", ask="Is the dashboard calm?")),
    PlannedStep(Section.STEPS, DoStep(id="promote", do="identity.promote_key"), "changes"),
    PlannedStep(
        Section.RETIRE, QuietStep.model_validate({"id": "quiet", "quiet": "gateways.kid_last_seen", "for": "1h"})
    ),
    PlannedStep(Section.RETIRE, CheckStep(id="dead", check="jwks.old_refused_everywhere")),
    PlannedStep(Section.RETIRE, DoStep(id="remove", do="identity.delete_key"), "destroys"),
)


def plan(**changes: Any) -> Plan:
    """A plan with one step of each kind."""
    given: dict[str, Any] = {
        "credential": "identity-signing",
        "environment": "production",
        "kind": "signing-key",
        "owner": "platform",
        "runbook": "identity-es256",
        "runbook_hash": "sha256:" + "0" * 64,
        "requester": "alice",
        "reason": "weekly",
        "inputs": {"margin": "1m"},
        "facts": {"cache": {"value": 900, "source": "Cache-Control of /jwks", "bound": "same"}},
        "steps": STEPS,
        "before": ("access", "notified"),
        "arguments": {},
        "replaced": {"old": "kid-old", "new": "${{ steps.publish.kid }}"},
        "approvers": 1,
        "approve_from": ("sec-oncall",),
        "approve_within": timedelta(hours=24),
        "rollback_within": timedelta(minutes=10),
        "retire_within": timedelta(days=14),
        "cadence": timedelta(days=7),
        "counts_old": True,
        "max_valid": 2,
        "trouble": (
            {"id": "gateway-401", "when": "A gateway answers 401", "check": "gateways.caches_fresh", "with": {}},
            {"id": "no-keys", "when": "No keys are available", "do": "identity.bootstrap_key", "with": {}},
        ),
    }
    return Plan(**{**given, **changes})


class Story:
    """A rotation that things happen to."""

    def __init__(self, made: Plan | None = None, boxes: tuple[Box, ...] = BOXES) -> None:
        self.now = NOW
        self.rotation: Rotation = decide(None, Opened(7, made or plan(), "nonce", "C0OPS", boxes), NOW).rotation

    def happen(self, event: Happening) -> Rotation:
        """Apply one event."""
        self.now += timedelta(minutes=1)
        decided = decide(self.rotation, event, self.now).rotation
        self.rotation = replace(decided, version=self.rotation.version + 1)
        return self.rotation

    def approve(self) -> Rotation:
        """Bob approves; the checklist has to be complete already."""
        made = self.rotation
        return self.happen(Voted("bob", True, "member of sec-oncall", made.plan.digest, made.nonce))

    def step(self, outcome: Outcome) -> Rotation:
        """The current step begins and ends so."""
        i = self.rotation.current
        assert i is not None
        attempt = self.rotation.steps[i].attempt
        self.happen(Began(i, attempt, "w1"))
        return self.happen(Ended(i, attempt, "w1", outcome))


def states(made: Plan | None = None) -> Iterator[tuple[str, Rotation]]:
    """A rotation in every state that a card can show, by name."""
    ticked = tuple(replace(box, ticked=True, by=box.by or "alice") for box in BOXES)
    yield "requested", Story(made).rotation
    story = Story(made, ticked)
    yield "approved", story.approve()
    yield "running", story.happen(Began(0, 1, "w1"))
    story.happen(Ended(0, 1, "w1", Done({"kid": "kid-new"}, "published")))
    yield "waiting", story.step(NotYet(story.now + timedelta(minutes=16), "2 of 3 gateways know it"))
    skipping = Story(made, ticked)
    skipping.approve()
    skipping.step(Done({"kid": "kid-new"}))
    skipping.step(NotYet(story.now + timedelta(minutes=16), "waits"))
    yield "amended", skipping.happen(Skipped("alice", "the gateway is gone", "other"))
    story.rotation = replace(story.rotation, steps=_queued(story.rotation, 1))
    story.step(Done())
    yield "asking", story.step(Asking("Is the dashboard calm?"))
    story.happen(Advanced("bob", "calm"))
    yield "backing-off", story.step(Failed("503 from identity", retry_in=timedelta(seconds=5)))
    held = Story(made, ticked)
    held.approve()
    yield "held", held.step(Failed("401 from gateway-2", "Look at the gateway's cache.", ambiguous=True))
    back = Story(made, ticked)
    back.approve()
    back.step(Done({"kid": "kid-new"}))
    back.step(NotYet(back.now + timedelta(minutes=16), "waits"))
    yield "rolling-back", back.happen(RolledBack("bob", "logins fail"))
    yield "rolled-back", back.step(Done())
    story.rotation = replace(story.rotation, steps=_queued(story.rotation, 3))
    yield "retiring", story.step(Done({"previous": "kid-old"}, "promoted"))
    yield (
        "quiet",
        story.step(NotYet(story.now + timedelta(hours=1), "gateways.kid_last_seen: last seen 3m ago by web-1")),
    )
    story.rotation = replace(story.rotation, steps=_queued(story.rotation, 4))
    yield "blocked", story.step(Failed("still in use by web-1", "Move web-1."))
    story.rotation = replace(story.rotation, steps=_queued(story.rotation, 4))
    story.step(Done(evidence="quiet for 1h"))
    story.step(Done())
    yield "done", story.step(Done())
    withdrawn = Story(made)
    yield "cancelled", withdrawn.happen(Cancelled("alice", "wrong one"))
    late = Story(made)
    late.now += timedelta(days=2)
    yield "abandoned", late.happen(Expired())


def _queued(rotation: Rotation, i: int) -> Any:
    """As if the wait of the step were over."""
    run = replace(rotation.steps[i], stage=Stage.QUEUED, attempt=rotation.steps[i].attempt + 1, due_at=None)
    return (*rotation.steps[:i], run, *rotation.steps[i + 1 :])
