"""Drawings, notices, the inventory and workers: claimed by one, told once."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from threading import Barrier

import pytest

from bot.core.rotation import Began
from bot.store.clock import Clock
from bot.store.database import Database
from bot.store.records import Declared
from bot.store.reminding import SETTLED
from tests.store import samples

LEASE = timedelta(seconds=30)


def declared(name: str, environment: str = "production", **changes: object) -> Declared:
    """A declared credential."""
    row = Declared(name, environment, "signing-key", "payments", "identity-es256", timedelta(days=90), {"a": [1]})
    return replace(row, **changes)  # type: ignore[arg-type]  # the caller names the fields


def test_a_drawing_is_claimed_by_one(database: Database) -> None:
    with database.begin() as transaction:
        for i in range(40):
            transaction.add_drawing(i, "card", "C1", 1)
    barrier = Barrier(4)

    def claim(_: int) -> list[int]:
        barrier.wait()
        with database.begin() as transaction:
            rows = transaction.claim_drawings(transaction.now, transaction.now + LEASE, 10)
        return [row.id for row in rows]

    with ThreadPoolExecutor(4) as pool:
        claimed = [number for numbers in pool.map(claim, range(4)) for number in numbers]
    assert len(claimed) == len(set(claimed)) == 40


def test_a_drawing_is_kept_once_and_redrawn_when_wanted(database: Database) -> None:
    with database.begin() as transaction:
        first = transaction.add_drawing(1, "card", "C1", 3)
        assert transaction.add_drawing(1, "card", "C1", 2) == first
        assert transaction.add_drawing(1, "log", "C1", 1) != first
        now, until = transaction.now, transaction.now + LEASE
        row = transaction.claim_drawings(now, until)[0]
        assert (row.id, row.wanted, row.ts) == (first, 3, "")
        assert transaction.claim_drawings(now, until) == []
        assert len(transaction.claim_drawings(until, until + LEASE)) == 2  # the one who claimed them died
        transaction.drawn(first, "17.1", 3)
        assert transaction.drawing_at("C1", "17.1") is not None
        assert transaction.drawing_at("C1", "17.2") is None
        transaction.want_drawings(1, 4)
        rows = {row.form: row for row in transaction.drawings(1)}
        assert (rows["card"].drawn, rows["card"].wanted, rows["log"].wanted) == (3, 4, 4)


def test_a_postponed_drawing_stays_postponed_when_more_is_wanted(database: Database) -> None:
    with database.begin() as transaction:
        drawing = transaction.add_drawing(1, "card", "C1", 1)
        later = transaction.now + timedelta(minutes=1)
        transaction.postpone(drawing, later, 2, "rate limited")
        transaction.want_drawings(1, 2)
        assert transaction.claim_drawings(transaction.now, later) == []
        assert transaction.next_message_at() == later
        (row,) = transaction.claim_drawings(later, later + LEASE)
        assert (row.failures, row.note, row.wanted) == (2, "rate limited", 2)


def test_a_lost_message_is_drawn_again_and_a_hopeless_one_given_up(database: Database) -> None:
    with database.begin() as transaction:
        drawing = transaction.add_drawing(1, "card", "C1", 5)
        transaction.drawn(drawing, "17.1", 5)
        transaction.redraw(drawing, "message_not_found")
        (row,) = transaction.claim_drawings(transaction.now, transaction.now + LEASE)
        assert (row.ts, row.drawn) == ("", 0)
        transaction.drop_drawing(drawing, "is_archived")
        transaction.want_drawings(1, 9)
        assert transaction.next_message_at() is None


def test_urgent_messages_come_first(database: Database) -> None:
    with database.begin() as transaction:
        now = transaction.now
        transaction.add_notice("a", "ann", "", "later", due_at=now - timedelta(hours=1))
        transaction.add_notice("b", "ann", "", "now", urgent=True)
        transaction.add_drawing(1, "card", "C1", 1, due_at=now - timedelta(hours=1))
        urgent = transaction.add_drawing(2, "card", "C1", 1, urgent=True)
        assert [row.key for row in transaction.claim_notices(now, now + LEASE, 1)] == ["b"]
        assert [row.id for row in transaction.claim_drawings(now, now + LEASE, 1)] == [urgent]


def test_a_notice_is_sent_once(database: Database) -> None:
    with database.begin() as transaction:
        now = transaction.now
        assert transaction.add_notice("due:checkout:7d", "ann", "", "soon", {"blocks": []})
        assert not transaction.add_notice("due:checkout:7d", "ann", "", "soon")
        (row,) = transaction.claim_notices(now, now + LEASE)
        assert (row.text, row.payload) == ("soon", {"blocks": []})
        transaction.postpone_notice(row.id, now + LEASE, 1, "ratelimited")
        assert transaction.claim_notices(now, now + LEASE) == []
        (row,) = transaction.claim_notices(now + LEASE, now + 2 * LEASE)
        transaction.sent(row.id, "17.1")
        assert transaction.claim_notices(now + 9 * LEASE, now + 10 * LEASE) == []
        assert transaction.next_message_at() is None
        assert not transaction.add_notice("due:checkout:7d", "ann", "", "soon")


def test_the_inventory_follows_what_is_declared(database: Database) -> None:
    with database.begin() as transaction:
        rows = [declared("a"), declared("a", "staging"), declared("b")]
        applied = transaction.apply_credentials(rows)
        assert applied.added == (("a", "production"), ("a", "staging"), ("b", "production"))
        assert transaction.apply_credentials(rows) == replace(applied, added=())
        due = transaction.now + timedelta(days=5)
        assert transaction.update_credential("b", "production", next_due=due, owner_override="risk")
        assert not transaction.update_credential("zz", "production", next_due=due)
        with pytest.raises(ValueError, match="runbook"):
            transaction.update_credential("b", "production", runbook="x")
        applied = transaction.apply_credentials([declared("b", kind="token"), declared("c")])
        assert applied.added == (("c", "production"),)
        assert applied.changed == (("b", "production"),)
        assert applied.removed == (("a", "production"), ("a", "staging"))
    with database.read() as reader:
        assert reader.credential("a") == []
        (row,) = reader.credential("b")
        assert (row.kind, row.next_due, row.owner, row.declared_owner) == ("token", due, "risk", "payments")
        assert row.cadence == timedelta(days=90)
        assert [row.name for row in reader.credentials()] == ["b", "c"]
        assert [row.name for row in reader.credentials(owner="risk")] == ["b"]
        assert [row.name for row in reader.credentials(due_before=due)] == ["b"]
        assert reader.credentials(kind="token", environment="staging") == []
        assert reader.credentials(offset=2) == []
    with database.begin() as transaction:
        assert transaction.apply_credentials([declared("a")], "import", partial=True).added == (("a", "production"),)
        assert transaction.apply_credentials([declared("b"), declared("c")]).removed == ()


def test_names_that_were_meant_are_found(database: Database) -> None:
    with database.begin() as transaction:
        transaction.apply_credentials([declared(name) for name in ("checkout-api-key", "checkout-jwt", "ledger-db")])
        assert transaction.similar_names("chekout-api-key")[0] == "checkout-api-key"
        assert transaction.similar_names("ledger_db") == ["ledger-db"]
        assert transaction.similar_names("zzzz") == []


def test_a_credential_is_looked_at_by_one(database: Database) -> None:
    with database.begin() as transaction:
        transaction.apply_credentials(declared(f"credential-{i:03}") for i in range(100))
        now = transaction.now
        for i in range(100):
            transaction.update_credential(f"credential-{i:03}", "production", remind_at=now - timedelta(seconds=i))
        assert transaction.reminders_due(now, 1)[0].name == "credential-099"
    together = Barrier(4)

    def look(_: int) -> list[str]:
        together.wait()
        names: list[str] = []
        while len(names) < 25:
            with database.begin() as transaction:
                rows = transaction.claim_reminders(now, 25 - len(names))
                fields = dict.fromkeys(SETTLED) | {"due_source": "", "remind_at": now + LEASE}
                transaction.settle(((row.name, row.environment), fields) for row in rows)
                names += [row.name for row in rows]
        return names

    with ThreadPoolExecutor(4) as pool:
        names = [name for chunk in pool.map(look, range(4)) for name in chunk]
    assert len(names) == len(set(names)) == 100
    with database.read() as reader:
        assert reader.reminders_due(now) == []
        assert len(reader.reminders_due(now + LEASE)) == 100
        assert reader.reminders_for(now) == []


def test_settings_are_remembered(database: Database) -> None:
    with database.begin() as transaction:
        assert transaction.setting("hash") is None
        transaction.record_setting("hash", "1")
        transaction.record_setting("hash", "2")
    with database.read() as reader:
        assert reader.setting("hash") == "2"


def test_a_worker_that_is_silent_is_declared_dead_once(database: Database) -> None:
    with database.begin() as transaction:
        assert transaction.heartbeat("a")
        assert transaction.heartbeat("a")
        assert transaction.heartbeat("b")
        assert transaction.mark_dead(timedelta(seconds=30)) == []
        assert set(transaction.workers()) == {"a", "b"}
    with database.begin() as transaction:
        assert transaction.heartbeat("b")
        assert transaction.mark_dead(timedelta(0)) == ["a"]
    with database.begin() as transaction:
        assert not transaction.heartbeat("a")
        assert transaction.heartbeat("b")
        assert transaction.mark_others_dead("c") == ["b"]
        assert transaction.workers() == {}


def test_heartbeats_are_real_time(database_url: str, open_database: Callable[..., Database]) -> None:
    """A simulated year must not make anybody look dead."""
    clock = Clock()
    database = open_database(database_url, clock)
    with database.begin() as transaction:
        transaction.heartbeat("a")
    clock.advance(timedelta(days=365))
    with database.begin() as transaction:
        assert transaction.mark_dead(timedelta(seconds=30)) == []


def test_steps_of_dead_and_unknown_workers_are_lost(database: Database) -> None:
    rotation = samples.approve(database, samples.request(database))
    with database.begin() as transaction:
        early = transaction.now - timedelta(minutes=5)
        assert transaction.lost_steps(early) == []
        assert transaction.lost_steps(transaction.now + timedelta(seconds=1)) == [(rotation.number, 0, 1)]
        transaction.heartbeat("w")
        rotation = samples.apply(transaction, rotation, Began(0, 1, "w"))
    with database.begin() as transaction:
        assert transaction.running_steps("w") == [(rotation.number, 0, 1)]
        assert transaction.lost_steps(early) == []
        transaction.leave("w")
        assert transaction.lost_steps(early) == [(rotation.number, 0, 1)]
