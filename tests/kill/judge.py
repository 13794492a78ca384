"""Judges what a run left behind: in the bot's database, in the identity service, and in the secret files."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import select

from bot.core.events import Event
from bot.core.rotation import Rotation
from bot.store.database import Database
from bot.store.tables import NOTICE
from playground.estate import Estate
from tests.kill.stories import Story

DECIDED = frozenset(
    {
        Event.REQUESTED,
        Event.APPROVED,
        Event.VOTE_COUNTED,
        Event.VOTE_REFUSED,
        Event.REMINDED,
        Event.ESCALATED,
        Event.GLASS_BROKEN,
        Event.CONTAINED,
        Event.GLASS_LAPSED,
        Event.INCIDENT_OPENED,
        Event.TAKEN_OVER,
        Event.PROMOTED,
        Event.ABANDONED,
        Event.ROLLING_BACK,
        Event.ROLLED_BACK,
    }
)
"""A killed run decides these as often as an undisturbed one."""


@dataclass(frozen=True)
class Before:
    """What there was before the run."""

    signing: list[dict[str, Any]]
    api: list[dict[str, Any]]
    failures: int

    @classmethod
    def of(cls, estate: Estate) -> Before:
        """As the estate is now."""
        assert estate.clients is not None
        return cls(
            signing=estate.identity.keys.all(),
            api=[key for key in estate.identity.api_keys.all() if key["client"] == "billing"],
            failures=int(estate.clients.stats()["failures_total"]),
        )


@dataclass
class Verdict:
    """What a run left."""

    state: list[dict[str, Any]]
    """How each rotation stands, the oldest first."""
    problems: list[str] = field(default_factory=list)
    told: Counter[str] = field(default_factory=Counter)
    """How often what was decided and told to people: audit events, and keys of notices without their numbers."""
    done: Counter[str] = field(default_factory=Counter)
    """How often something was done to the world that is to be done as often as in an undisturbed run."""


def judge(database_url: str, story: Story, estate: Estate, before: Before) -> Verdict:
    """Look everywhere."""
    verdict = judge_bot(database_url, story)
    problems = verdict.problems
    after = Before.of(estate)
    if story.credential == "identity-signing":
        problems += _judge_signing(before.signing, after.signing, story)
    else:
        problems += _judge_api_key(before.api, after.api, story, estate.secrets_directory / "billing")
    if after.failures != before.failures:
        problems.append(f"{after.failures - before.failures} logins failed")
    return verdict


def judge_bot(database_url: str, story: Story) -> Verdict:
    """Look at what the bot itself has stored."""
    database = Database.open(database_url)
    try:
        with database.read() as reader:
            numbers = [known.number for known in reversed(reader.rotations(limit=10))]
            rotations = [rotation for number in numbers if (rotation := reader.rotation(number)) is not None]
            rows = list(reader.audit_rows())
            notices = reader.connection.execute(select(NOTICE.c.key)).scalars().all()
    finally:
        database.close()
    verdict = Verdict([_standing(rotation) for rotation in rotations])
    verdict.told.update(row.event for row in rows if row.event in DECIDED)
    calls = verdict.told[Event.REMINDED] + verdict.told[Event.ESCALATED]
    # How long it was quiet depends on when somebody died.
    verdict.told.update(re.sub(r"\d+", "", key) for key in notices if "-nudge-" not in key)
    problems = verdict.problems
    if calls != story.calls:
        problems.append(f"people were called {calls} times")
    if len(rotations) != story.rotations or not all(rotation.is_over for rotation in rotations):
        problems.append(f"{len(rotations)} rotations: {verdict.state}")
    began: set[tuple[str, str, str]] = set()
    for row in rows:
        key = (row.rotation, row.event.partition(".")[0], str(row.detail.get("step")))
        if row.event in ("step.intent", "undo.intent"):
            began.add(key)
        if row.event in ("step.outcome", "undo.outcome") and key not in began:
            problems.append(f"{key} has an outcome without an earlier intent")
    return verdict


def _standing(rotation: Rotation) -> dict[str, Any]:
    return {
        "state": rotation.state.value,
        "overlap": rotation.overlap.value,
        "steps": {
            planned.id: run.stage.value for planned, run in zip(rotation.plan.steps, rotation.steps, strict=True)
        },
    }


def _judge_api_key(before: list[Any], after: list[Any], story: Story, folder: Path) -> list[str]:
    old, left = [key["id"] for key in before], [key["id"] for key in after if key["enabled"]]
    problems = []
    suspects = [key["id"] for key in after if not key["enabled"]]
    if suspects != (old if story.emergency else []):
        problems.append(f"disabled api keys of billing: {suspects}")
    # What was rolled back after clients may have taken it stays enabled, so that whoever has it goes on.
    fresh = [key for key in left if key not in old]
    if len(fresh) != 1 or [key for key in left if key in old] != (old if story.keeps_old else []):
        problems.append(f"api keys of billing: {old} became {left}")
    versions = sorted(path.name for path in (folder / "versions").iterdir())
    if [(folder / "current" / "id").read_text().strip()] != (old if story.keeps_old else fresh):
        problems.append("the current secret is not the living key's")
    if len(versions) != len(after):
        problems.append(f"secret versions left: {versions}")
    return problems


def _judge_signing(before: list[Any], after: list[Any], story: Story) -> list[str]:
    def kids(keys: list[Any], *states: str) -> list[str]:
        return sorted(str(key["kid"]) for key in keys if key["state"] in states)

    problems = []
    living = ("next", "current", "previous")
    if len(kids(after, "current")) != 1:
        problems.append(f"current keys: {kids(after, 'current')}")
    # What was rolled back after it had signed stays published, so that its tokens go on working until they end.
    left = sorted(
        {*kids(before, *living), *kids(after, "previous")} - (set() if story.keeps_old else {*kids(before, "current")})
    )
    fresh = sorted({*kids(after, "next")} - {*kids(before, "next")})
    if len(fresh) != story.leaves:
        problems.append(f"published and never used: {fresh}")
    expected = left if story.keeps_old else sorted({*left, *fresh, *kids(after, "current")})
    if kids(after, *living) != expected:
        problems.append(f"living keys went from {kids(before, *living)} to {kids(after, *living)}")
    if (kids(after, "current") == kids(before, "current")) is not story.keeps_old:
        problems.append(f"the key in use went from {kids(before, 'current')} to {kids(after, 'current')}")
    made = len(after) - len(before)
    if made > 1 + story.leaves:
        problems.append(f"{made} keys were made")
    return problems
