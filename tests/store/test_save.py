"""A decision is saved whole or not at all, once, and by one."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from threading import Barrier

import pytest

from bot.contracts.delivery import Leg
from bot.core.decide import Decision, Stale, decide
from bot.core.errors import KeyturnError, Refused
from bot.core.events import Entry, Event
from bot.core.rotation import Began, Cancelled, NotYet, Overlap, PlanChanged, RolledBack, Skipped, State, Voted
from bot.store.database import Database
from bot.store.records import Declared, TargetWrite
from tests.store import samples


class Noted:
    """A delivery that only notes what was committed."""

    def __init__(self) -> None:
        self.legs: list[Leg] = []

    def enqueue(self, connection: object, leg: Leg) -> None:
        connection.after_commit(lambda: self.legs.append(leg))  # type: ignore[attr-defined]  # a Transaction

    def start(self, run: object, workers: int) -> None: ...

    def stop(self, within: float) -> None: ...


@pytest.fixture
def noted(database: Database) -> Noted:
    database.delivery = Noted()
    return database.delivery


def test_a_request_is_stored_with_its_audit_row(database: Database) -> None:
    rotation = samples.request(database)
    with database.read() as reader:
        assert reader.rotation(rotation.number) == rotation
        assert reader.open_rotation("checkout", "production") == rotation
        assert reader.open_rotation("checkout", "staging") is None
        assert [row.event for row in reader.history(rotation=rotation.id)] == ["rotation.requested"]
        assert reader.history(credential="checkout")[0].rotation == rotation.id


def test_numbers_rise(database: Database) -> None:
    numbers = [samples.request(database, f"credential-{i}").number for i in range(3)]
    assert numbers == sorted(set(numbers))


def test_nothing_is_stored_when_the_transaction_fails(database: Database, noted: Noted) -> None:
    rotation = samples.request(database)
    vote = Voted("bob", True, "x", rotation.plan.digest, rotation.nonce)

    def vote_and_fail() -> None:
        with database.begin() as transaction:
            samples.apply(transaction, rotation, vote)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        vote_and_fail()
    with database.read() as reader:
        assert reader.rotation(rotation.number) == rotation
        assert len(reader.history(rotation=rotation.id)) == 1
    assert noted.legs == []


def test_nothing_is_stored_when_the_audit_cannot_be_written(database: Database, noted: Noted) -> None:
    rotation = samples.request(database)
    decision = decide(rotation, Voted("bob", True, "x", rotation.plan.digest, rotation.nonce), samples.NOW)
    unwritable = Entry(Event.APPROVED, "bob", detail={"x": float("nan")})
    with pytest.raises(ValueError, match="JSON"), database.begin() as transaction:
        transaction.save(rotation, replace(decision, entries=(unwritable,)))
    with database.read() as reader:
        assert reader.rotation(rotation.number) == rotation
    assert noted.legs == []


def test_a_leg_is_handed_over_at_commit(database: Database, noted: Noted) -> None:
    rotation = samples.approve(database, samples.request(database))
    assert noted.legs == [Leg(rotation.number, 0, 1)]
    with database.read() as reader:
        assert reader.queued_steps() == [(rotation.number, 0, 1)]


def test_of_sixteen_savers_one_wins(database: Database) -> None:
    rotation = samples.request(database)
    barrier = Barrier(16)

    def save(i: int) -> str:
        barrier.wait()
        try:
            with database.begin() as transaction:
                event = Cancelled(f"person-{i}", "race")
                transaction.save(rotation, decide(rotation, event, samples.NOW))
        except Stale:
            return "stale"
        return "won"

    with ThreadPoolExecutor(16) as pool:
        results = sorted(pool.map(save, range(16)))
    assert results == ["stale"] * 15 + ["won"]
    with database.read() as reader:
        assert [row.event for row in reader.history(rotation=rotation.id)] == [
            "rotation.cancelled",
            "rotation.requested",
        ]


def test_deciders_that_load_in_their_transaction_wait_for_each_other(database: Database) -> None:
    rotation = samples.request(database, approvers=8)
    barrier = Barrier(8)

    def vote(i: int) -> None:
        barrier.wait()
        with database.begin() as transaction:
            loaded = transaction.rotation(rotation.number)
            assert loaded is not None
            samples.apply(transaction, loaded, Voted(f"person-{i}", True, "x", loaded.plan.digest, loaded.nonce))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(vote, range(8)))
    with database.read() as reader:
        stored = reader.rotation(rotation.number)
    assert stored is not None
    assert stored.state is State.APPROVED
    assert len(stored.votes) == 8
    assert stored.version == 9


def test_of_eight_starts_one_is_open(database: Database) -> None:
    barrier = Barrier(8)

    def start(i: int) -> str:
        barrier.wait()
        try:
            samples.request(database)
        except Refused as refused:
            return refused.code
        return "won"

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(start, range(8))) == ["already-open"] * 7 + ["won"]


def test_a_refused_start_leaves_the_transaction_usable(database: Database) -> None:
    samples.request(database)
    with database.begin() as transaction:
        again = samples.opened(transaction.next_number(), samples.plan())
        with pytest.raises(Refused, match="R-1 is already open for checkout in production"):
            transaction.save(None, again)
        transaction.audit(Entry(Event.REFUSED, "ann", detail={"code": "already-open"}))
    with database.read() as reader:
        assert reader.history(event="intent.refused")[0].actor == "ann"


def test_a_closed_rotation_frees_its_credential(database: Database) -> None:
    rotation = samples.request(database)
    with database.begin() as transaction:
        samples.apply(transaction, rotation, Cancelled("ann", "no"))
    assert samples.request(database).number != rotation.number


def test_promotion_opens_an_overlap_and_sets_the_dates(database: Database) -> None:
    with database.begin() as transaction:
        transaction.apply_credentials([Declared("checkout", "production", "signing-key", "payments", "identity-es256")])
        was = transaction.now - timedelta(days=90)
        transaction.update_credential("checkout", "production", last_rotated_at=was, next_due=transaction.now)
    rotation = samples.promote(database)
    assert rotation.overlap is Overlap.RETIRING
    with database.read() as reader:
        assert reader.open_overlaps("checkout", "production") == 1
        (credential,) = reader.credential("checkout")
        assert credential.last_rotated_at == rotation.promoted_at
        assert credential.next_due == rotation.next_due
        assert reader.open_rotation("checkout", "production") is None
        assert rotation.overlap_deadline is not None
        warned = rotation.overlap_deadline - timedelta(days=1)
        assert reader.overlaps_due(warned) == [rotation.number]
        assert reader.overlaps_due(warned - timedelta(seconds=1)) == []
    with database.begin() as transaction:
        transaction.remind_overlap(rotation.number, None)
        assert transaction.overlaps_due(rotation.overlap_deadline) == []
    retired = samples.finish_step(database, rotation)
    assert retired.overlap is Overlap.RETIRED
    with database.read() as reader:
        assert reader.open_overlaps("checkout", "production") == 0
        assert reader.rotation(rotation.number) == retired


def test_an_overlap_of_verify_only_keys_does_not_count(database: Database) -> None:
    samples.promote(database, counts_old=False)
    with database.read() as reader:
        assert reader.open_overlaps("checkout", "production") == 0


def test_rolling_an_overlap_back_puts_the_dates_back(database: Database) -> None:
    with database.begin() as transaction:
        transaction.apply_credentials([Declared("checkout", "production", "signing-key", "payments", "identity-es256")])
        was = transaction.now - timedelta(days=90)
        transaction.update_credential("checkout", "production", last_rotated_at=was)
    rotation = samples.promote(database)
    with database.begin() as transaction:
        rotation = samples.apply(transaction, rotation, RolledBack("ann", "broken"))
    assert rotation.state is State.ROLLING_BACK
    while rotation.state is State.ROLLING_BACK:
        rotation = samples.finish_step(database, rotation)
    assert rotation.overlap is Overlap.ROLLED_BACK
    with database.read() as reader:
        (credential,) = reader.credential("checkout")
        assert (credential.last_rotated_at, credential.next_due) == (was, None)
        assert reader.rotation(rotation.number) == rotation


def test_an_overlap_cannot_be_rolled_back_into_a_second_open_rotation(database: Database) -> None:
    rotation = samples.promote(database)
    other = samples.request(database)
    with database.begin() as transaction:
        with pytest.raises(Refused) as refused:
            samples.apply(transaction, rotation, RolledBack("ann", "broken"))
        assert refused.value.code == "already-open"
        assert other.id in str(refused.value)
        transaction.audit(Entry(Event.REFUSED, "ann"))  # the transaction goes on
    with database.read() as reader:
        assert reader.rotation(rotation.number) == rotation


def test_a_changed_plan_may_have_fewer_or_more_steps(database: Database) -> None:
    rotation = samples.request(database, steps=3)
    for steps in (1, 4):
        changed = PlanChanged(samples.plan(steps=steps), f"nonce-{steps}", ("steps",))
        with database.begin() as transaction:
            rotation = samples.apply(transaction, rotation, changed)
        with database.read() as reader:
            assert reader.rotation(rotation.number) == rotation
        assert len(rotation.steps) == steps + 1


def test_only_what_changed_is_written(database: Database) -> None:
    rotation = samples.approve(database, samples.request(database))
    with database.read() as reader:
        before = {row[0]: row[1] for row in reader.connection.exec_driver_sql("SELECT position, since FROM step")}
    with database.begin() as transaction:
        samples.apply(transaction, rotation, Began(0, 1, "w"))
    with database.read() as reader:
        after = {row[0]: row[1] for row in reader.connection.exec_driver_sql("SELECT position, since FROM step")}
    assert after[0] > before[0]
    assert (after[1], after[2]) == (before[1], before[2])


def test_what_is_due_is_found_exactly(database: Database) -> None:
    rotation = samples.approve(database, samples.request(database))
    at = samples.NOW + timedelta(days=30)
    rotation = samples.finish_step(database, rotation, NotYet(at, "waiting"))
    second = timedelta(microseconds=1)
    with database.read() as reader:
        assert reader.due_steps(at) == [(rotation.number, 0, 1)]
        assert reader.due_steps(at - second) == []
        assert reader.next_due_at() == at
        assert reader.queued_steps() == []


def test_requests_and_amendments_lapse(database: Database) -> None:
    rotation = samples.request(database)
    microsecond = timedelta(microseconds=1)
    with database.read() as reader:
        assert reader.expired(rotation.expires_at) == [rotation.number]
        assert reader.expired(rotation.expires_at - microsecond) == []
        assert reader.next_due_at() == rotation.expires_at
    rotation = samples.promote(database, "other")
    at = samples.NOW + timedelta(days=30)
    rotation = samples.finish_step(database, rotation, NotYet(at, "waiting"))
    with database.begin() as transaction:
        rotation = samples.apply(transaction, rotation, Skipped("ann", "safe", "nonce-2"))
    assert rotation.amendment is not None
    with database.read() as reader:
        assert rotation.number in reader.expired(rotation.amendment.expires_at)
        assert reader.rotation(rotation.number) == rotation


def test_lists_are_newest_first_and_can_be_paged(database: Database) -> None:
    made = [samples.request(database, f"credential-{i}") for i in range(5)]
    promoted = samples.promote(database, "retiring")
    done = samples.promote(database, "done", retire=0)
    with database.read() as reader:
        assert [row.number for row in reader.rotations(limit=3)] == [done.number, promoted.number, made[4].number]
        assert [row.number for row in reader.rotations(before=made[1].number)] == [made[0].number]
        assert done.number not in [row.number for row in reader.rotations(under_way=True)]
        assert promoted.number in [row.number for row in reader.rotations(under_way=True)]
        assert [row.id for row in reader.rotations(credential="credential-2")] == [made[2].id]
        assert len(reader.rotations(states=[State.REQUESTED], owner="payments", environment="production")) == 5
        assert reader.rotations(requester="nobody") == []
        (row,) = reader.rotations(credential="retiring")
        assert (row.state, row.overlap) == (State.PROMOTED, Overlap.RETIRING)


def test_targets_are_fenced_by_their_attempt(database: Database) -> None:
    rotation = samples.request(database)
    with database.begin() as transaction:
        of = (rotation.number, 0)
        ready = TargetWrite(*of, "a", 2, "done", {"version": "3"}, "ready")
        transaction.put_targets([TargetWrite(*of, "b", 1, "running", {}, ""), ready])
        transaction.put_targets([TargetWrite(*of, "a", 1, "failed", {}, "a late one")])
    with database.read() as reader:
        targets = reader.targets(rotation.number, 0)
    assert list(targets) == ["a", "b"]
    assert (targets["a"].stage, targets["a"].outputs, targets["a"].attempt) == ("done", {"version": "3"}, 2)


def test_drawings_follow_the_rotation(database: Database) -> None:
    rotation = samples.request(database)
    with database.begin() as transaction:
        drawing = transaction.add_drawing(rotation.number, "card", "C1", rotation.version)
        transaction.drawn(drawing, "1.2", rotation.version)
        assert transaction.claim_drawings(transaction.now, transaction.now + timedelta(seconds=30)) == []
    rotation = samples.approve(database, rotation)
    with database.begin() as transaction:
        (row,) = transaction.claim_drawings(transaction.now, transaction.now + timedelta(seconds=30))
    assert (row.id, row.ts, row.drawn, row.wanted) == (drawing, "1.2", 1, rotation.version)


def test_one_transaction_per_thread(sqlite_database: Database) -> None:
    with sqlite_database.begin(), pytest.raises(RuntimeError, match="already has a transaction"):
        samples.request(sqlite_database)


def test_a_decision_on_a_stored_rotation_needs_its_version(database: Database) -> None:
    rotation = samples.request(database)
    old = replace(rotation, version=7)
    with pytest.raises(KeyturnError), database.begin() as transaction:
        transaction.save(old, Decision(old, ()))
