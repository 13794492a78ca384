"""Rotations to rows and back. The digest of the stored plan bytes is what people approved, and it is checked here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from datetime import datetime
from functools import lru_cache
from typing import Any

from bot.core.errors import Permanent
from bot.core.plan import Plan, binding_digest
from bot.core.rotation import Amendment, Box, Glass, Overlap, Rotation, Stage, State, StepRun, Vote
from bot.store.columns import json_bytes, micros, moment

STEP_FIELDS = tuple(item.name for item in fields(StepRun))


def plan_digest(body: bytes) -> str:
    """The name under which these bytes are stored."""
    return "sha256:" + hashlib.sha256(body).hexdigest()


def plan_row(plan: Plan) -> dict[str, Any]:
    """A row of `plan`.

    A plan that was loaded keeps the digest that it was stored under, even if this version of keyturn would write
    the same plan with other bytes.
    """
    return {"digest": plan.content_hash, "body": json_bytes(plan.to_json())}


@lru_cache(maxsize=256)
def read_plan(digest: str, body: bytes) -> Plan:
    """The stored plan; raises `Permanent` when the bytes are not those that were stored."""
    if not isinstance(body, bytes) or plan_digest(body) != digest:  # SQLite keeps text in any column
        raise Permanent(
            "A stored plan does not match its digest: it was changed in the database.",
            "Run `keyturn audit verify`, and restore the plan from a backup.",
        )
    try:
        data = json.loads(body)
        plan = Plan.of_json(data)
    except (ValueError, KeyError, TypeError) as error:
        raise Permanent(
            f"A stored plan cannot be read by this version of keyturn ({type(error).__name__}).",
            "Run the keyturn version that made it, or cancel the rotation and start it again.",
        ) from None
    vars(plan).update(digest=binding_digest(data), content_hash=digest)  # fills the cached properties
    return plan


def rotation_row(rotation: Rotation) -> dict[str, Any]:
    """The columns of `rotation`, without steps and overlap."""
    plan = rotation.plan
    return {
        "number": rotation.number,
        "version": rotation.version,
        "state": rotation.state.value,
        "credential": plan.credential,
        "environment": plan.environment,
        "kind": plan.kind,
        "owner": plan.owner,
        "runbook": plan.runbook,
        "requester": plan.requester,
        "plan": plan.content_hash,
        "nonce": rotation.nonce,
        "created_at": rotation.created_at,
        "expires_at": rotation.expires_at,
        "lapses_at": lapses_at(rotation),
        "votes": [_timed(asdict(vote)) for vote in rotation.votes],
        "boxes": [asdict(box) for box in rotation.boxes],
        "amendment": _timed(asdict(rotation.amendment)) if rotation.amendment else None,
        "channel": rotation.channel,
        "word": plan.word,
        "eligible": dict(rotation.eligible) if rotation.eligible is not None else None,
        "escalated": rotation.escalated,
        "called_at": rotation.called_at,
        "calls_at": rotation.calls_at,
        "glass": _timed(asdict(rotation.glass)) if rotation.glass else None,
        "unconfirmed": rotation.unconfirmed,
        "started_at": rotation.started_at,
        "promoted_at": rotation.promoted_at,
        "ended_at": rotation.ended_at,
        "next_due": rotation.next_due,
        "outcome": rotation.outcome,
    }


def lapses_at(rotation: Rotation) -> datetime | None:
    """When an `Expired` event has something to do; None when nothing can lapse."""
    ends = [rotation.expires_at] if rotation.state is State.REQUESTED else []
    if rotation.amendment is not None:
        ends.append(rotation.amendment.expires_at)
    return min(ends, default=None)


def step_row(number: int, position: int, run: StepRun, now: datetime) -> dict[str, Any]:
    """The columns of `step`."""
    row = {name: getattr(run, name) for name in STEP_FIELDS}
    row.update(rotation=number, position=position, stage=run.stage.value, since=now)
    return row


def read_rotation(row: Mapping[Any, Any], steps: Sequence[Mapping[Any, Any]], plan: Plan) -> Rotation:
    """Put a rotation together from its row (with `overlap_state` and `overlap_deadline`), its steps and its plan."""
    amendment = row["amendment"]
    return Rotation(
        number=row["number"],
        plan=plan,
        nonce=row["nonce"],
        state=State(row["state"]),
        steps=tuple(_read_step(step) for step in steps),
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        version=row["version"],
        overlap=Overlap(row["overlap_state"] or "none"),
        overlap_deadline=row["overlap_deadline"],
        votes=tuple(Vote(**_dated(vote)) for vote in row["votes"]),
        boxes=tuple(Box(**box) for box in row["boxes"]),
        amendment=Amendment(**_dated(amendment)) if amendment else None,
        channel=row["channel"],
        eligible=row["eligible"],
        escalated=row["escalated"],
        called_at=row["called_at"],
        glass=Glass(**_dated(row["glass"])) if row["glass"] else None,
        unconfirmed=row["unconfirmed"],
        started_at=row["started_at"],
        promoted_at=row["promoted_at"],
        ended_at=row["ended_at"],
        next_due=row["next_due"],
        outcome=row["outcome"],
    )


def _read_step(row: Mapping[Any, Any]) -> StepRun:
    values = {name: row[name] for name in STEP_FIELDS}
    values["stage"] = Stage(row["stage"])
    return StepRun(**values)


def _timed(values: dict[str, Any]) -> dict[str, Any]:
    return {name: micros(value) if isinstance(value, datetime) else value for name, value in values.items()}


def _dated(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: moment(value) if name in ("at", "until", "expires_at") else value for name, value in values.items()}
