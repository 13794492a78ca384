"""What people ask for is stored once and worked off in order."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier

import pytest

from bot.contracts.delivery import Leg
from bot.core.decide import Stale
from bot.core.events import Entry, Event
from bot.store.database import Database
from tests.store.test_save import Noted


def add(database: Database, key: str, subject: str = "R-7") -> int:
    """Store an intent and return its number."""
    with database.begin() as transaction:
        row, _ = transaction.add_intent(key, "approve", "ann", "C1", "button", subject, {"reason": "x"})
    return row.number


@pytest.fixture
def noted(database: Database) -> Noted:
    database.delivery = Noted()
    return database.delivery


def test_a_key_is_stored_once_under_eight_threads(database: Database, noted: Noted) -> None:
    barrier = Barrier(8)

    def deliver(i: int) -> tuple[int, bool]:
        barrier.wait()
        with database.begin() as transaction:
            row, fresh = transaction.add_intent("trigger-1", "start", f"p{i}", "C", "slash", "s", {"i": i})
            if fresh:
                transaction.audit(Entry(Event.INTENT, row.person, detail={"intent": row.number}))
        return row.number, fresh

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(deliver, range(8)))
    assert len({number for number, _ in results}) == 1
    assert sum(fresh for _, fresh in results) == 1
    assert noted.legs == [Leg(results[0][0])]
    with database.read() as reader:
        assert len(reader.history(event="intent.received")) == 1
        stored = reader.intent_by_key("trigger-1")
        assert stored == reader.intent(results[0][0])
        assert stored is not None
        assert stored.payload == {"i": int(stored.person[1:])}


def test_the_row_that_is_returned_is_the_row_that_is_stored(database: Database) -> None:
    with database.begin() as transaction:
        row, fresh = transaction.add_intent("k", "start", "ann", "C", "slash", "s", {"a": [1, None]})
    assert fresh
    with database.read() as reader:
        assert reader.intent(row.number) == row
        assert reader.new_intents() == [row.number]
        assert reader.intent(row.number + 1) is None
        assert reader.intent_by_key("other") is None


def test_an_intent_is_begun_once(database: Database) -> None:
    number = add(database, "k")
    barrier = Barrier(8)

    def begin(i: int) -> bool:
        barrier.wait()
        with database.begin() as transaction:
            return transaction.begin_intent(number, f"w{i}") is not None

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(begin, range(8))) == 1


def test_intents_of_a_subject_run_in_order(database: Database, noted: Noted) -> None:
    first, second, third = (add(database, key) for key in "abc")
    other = add(database, "d", "R-8")
    noted.legs.clear()
    with database.begin() as transaction:
        assert transaction.begin_intent(second, "w") is None
        assert transaction.begin_intent(first, "w") is not None
        assert transaction.begin_intent(other, "w") is not None
    with database.begin() as transaction:
        assert transaction.begin_intent(third, "w") is None
        transaction.finish_intent(first, {"text": "done"}, "w")
    assert noted.legs == [Leg(second)]
    with database.begin() as transaction:
        assert transaction.begin_intent(third, "w") is None
        row = transaction.begin_intent(second, "w")
    assert row is not None
    assert (row.state, row.worker) == ("running", "w")
    with database.read() as reader:
        done = reader.intent(first)
        assert done is not None
        assert (done.state, done.answer) == ("done", {"text": "done"})


def test_what_waits_for_an_earlier_one_is_not_offered(database: Database, noted: Noted) -> None:
    first, second, third = (add(database, key) for key in "abc")
    free = [add(database, key, "") for key in "xy"]
    later = timedelta(seconds=1)

    def offered() -> tuple[list[int], list[int]]:
        noted.legs.clear()
        with database.begin() as transaction:
            return transaction.new_intents(), transaction.lost_intents(transaction.now + later)

    assert offered() == ([first, *free], [first, *free])
    with database.begin() as transaction:
        transaction.begin_intent(first, "w")
        transaction.heartbeat("w")
    assert offered() == (free, free)
    with database.begin() as transaction:
        transaction.finish_intent(first, {}, "w")
    assert offered() == ([second, *free], [second, *free])
    with database.begin() as transaction:
        transaction.begin_intent(second, "gone")
    assert offered() == (free, [second, *free])
    assert offered() == ([second, *free], [second, *free])
    assert third not in {leg.number for leg in noted.legs}


def test_intents_without_a_subject_run_in_any_order(database: Database) -> None:
    first, second = add(database, "a", ""), add(database, "b", "")
    with database.begin() as transaction:
        assert transaction.begin_intent(second, "w") is not None
        assert transaction.begin_intent(first, "w") is not None


def test_order_holds_under_threads(database: Database, noted: Noted) -> None:
    """Eight threads work off forty intents of one subject: each leg is offered once, nothing stays behind."""
    numbers = [add(database, f"k{i}") for i in range(40)]
    noted.legs.clear()
    done: list[int] = []

    def work(number: int) -> None:
        with database.begin() as transaction:
            if transaction.begin_intent(number, "w") is None:
                return
        done.append(number)
        with database.begin() as transaction:
            transaction.finish_intent(number, {}, "w")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, numbers))
        while noted.legs:  # what `finish_intent` enqueued
            legs, noted.legs = noted.legs, []
            list(pool.map(work, [leg.number for leg in legs]))
    assert done == numbers


def test_a_late_worker_cannot_finish_what_was_taken_over(database: Database, noted: Noted) -> None:
    number = add(database, "k")
    with database.begin() as transaction:
        transaction.heartbeat("old")
        transaction.heartbeat("new")
        transaction.begin_intent(number, "old")
    noted.legs.clear()
    with database.begin() as transaction:
        assert transaction.lost_intents(transaction.now - timedelta(minutes=5)) == []
        transaction.leave("old")
        assert transaction.lost_intents(transaction.now - timedelta(minutes=5)) == [number]
    assert noted.legs == [Leg(number)]
    with database.begin() as transaction:
        assert transaction.begin_intent(number, "new") is not None
    with pytest.raises(Stale), database.begin() as transaction:
        transaction.finish_intent(number, {}, "old")
    with database.begin() as transaction:
        transaction.finish_intent(number, {}, "new")
    with pytest.raises(Stale), database.begin() as transaction:
        transaction.finish_intent(number, {}, "new")


def test_intents_left_new_are_delivered_again(database: Database, noted: Noted) -> None:
    number = add(database, "k")
    noted.legs.clear()
    with database.begin() as transaction:
        assert transaction.lost_intents(transaction.now - timedelta(minutes=5)) == []
        assert transaction.lost_intents(transaction.now + timedelta(seconds=1)) == [number]
    assert noted.legs == [Leg(number)]
