"""Small plans and rotations for the store's tests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bot.core.decide import Decision, decide
from bot.core.events import Entry, Event
from bot.core.plan import Plan, PlannedStep
from bot.core.rotation import Began, Done, Ended, Opened, Rotation, Voted
from bot.core.runbook import CheckStep, DoStep, Section
from bot.store.database import Database
from bot.store.records import Head
from bot.store.seal import FileWitness
from bot.store.verify import Report, verify
from bot.store.writing import Transaction

KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def plan(credential: str = "checkout", *, steps: int = 2, retire: int = 1, **changes: Any) -> Plan:
    """`steps` operations and as many checks in the retirement as told."""
    lines = [
        PlannedStep(Section.STEPS, DoStep(id=f"do-{i}", do="identity.publish_key"), "creates") for i in range(steps)
    ]
    lines += [PlannedStep(Section.RETIRE, CheckStep(id=f"look-{i}", check="jwks.key_served")) for i in range(retire)]
    values: dict[str, Any] = {
        "credential": credential,
        "environment": "production",
        "kind": "signing-key",
        "owner": "payments",
        "runbook": "identity-es256",
        "runbook_hash": "sha256:00",
        "requester": "ann",
        "reason": "due",
        "inputs": {"service": "https://identity"},
        "facts": {"old": {"value": "k1", "source": "jwks", "bound": "same", "at_most": None}},
        "steps": tuple(lines),
        "before": (),
        "arguments": {},
        "replaced": {},
        "approvers": 1,
        "approve_from": ("payments",),
        "approve_within": timedelta(hours=24),
        "rollback_within": timedelta(minutes=10),
        "retire_within": timedelta(days=14),
        "cadence": timedelta(days=90),
        "counts_old": True,
        "max_valid": 2,
    }
    return Plan(**(values | changes))


def opened(number: int, the_plan: Plan, now: datetime = NOW) -> Decision:
    """A request for it."""
    return decide(None, Opened(number, the_plan, "nonce", "C1", ()), now)


def request(database: Database, credential: str = "checkout", **changes: Any) -> Rotation:
    """Store a request."""
    with database.begin() as transaction:
        decision = opened(transaction.next_number(), plan(credential, **changes), transaction.now)
        return transaction.save(None, decision)


def apply(transaction: Transaction, rotation: Rotation, event: Any) -> Rotation:
    """Decide on the event and save."""
    return transaction.save(rotation, decide(rotation, event, transaction.now))


def approve(database: Database, rotation: Rotation) -> Rotation:
    """One approval, which queues the first step."""
    vote = Voted("bob", True, "group payments", rotation.plan.digest, rotation.nonce)
    with database.begin() as transaction:
        return apply(transaction, rotation, vote)


def finish_step(database: Database, rotation: Rotation, outcome: Any = None) -> Rotation:
    """Begin the current step as worker w, and end it."""
    with database.begin() as transaction:
        i = rotation.current
        assert i is not None
        rotation = apply(transaction, rotation, Began(i, rotation.steps[i].attempt, "w"))
        return apply(transaction, rotation, Ended(i, rotation.steps[i].attempt, "w", outcome or Done({"kid": f"k{i}"})))


def promote(database: Database, credential: str = "checkout", **changes: Any) -> Rotation:
    """A rotation that was approved and has done all steps before the retirement."""
    rotation = approve(database, request(database, credential, **changes))
    while rotation.promoted_at is None:
        rotation = finish_step(database, rotation)
    return rotation


def write(database: Database, rows: int, start: int = 0) -> None:
    """Rows of different shapes, two per commit."""
    for i in range(start, start + rows, 2):
        with database.begin() as transaction:
            transaction.audit(
                Entry(Event.STEP_INTENT, "keyturn", f"R-{i}", "checkout", {"step": "publish", "n": i}),
                Entry(Event.STEP_OUTCOME, 'ann "é"', detail={"evidence": "seen\n", "nothing": None}),
            )


def examine(database: Database, witness: FileWitness | None = None, cards: tuple[Head, ...] = ()) -> Report:
    """Verify with the test's key."""
    return verify(database, [KEY.public_key()], witness, cards)
