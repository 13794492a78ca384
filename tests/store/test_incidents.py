"""Incidents and errands in both databases: whole again when read, saved once, claimed by one."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from bot.core import incident as core
from bot.core.decide import Stale
from bot.core.errors import KeyturnError
from bot.core.incident import Incident
from bot.core.plan import EXPIRED
from bot.store.database import Database
from bot.store.records import Declared
from bot.store.tables import CREDENTIAL
from tests.store import samples

MINUTE = timedelta(minutes=1)


def opened(database: Database) -> Incident:
    rotation = samples.request(database)
    with database.begin() as tx:
        for form in ("card", "room"):
            tx.add_drawing(rotation.number, form, "", 1)
        incident, entry = core.opened(
            rotation.number, "checkout", "production", private=True, by="ann", now=tx.now, late="It was late."
        )
        return tx.save_incident(None, incident, entry)


def read(database: Database, number: int) -> Incident:
    with database.read() as reader:
        found = reader.incident(number)
    assert found is not None
    return found


def test_it_is_read_as_it_was_saved(database: Database) -> None:
    incident = opened(database)
    assert read(database, incident.number) == incident
    with database.begin() as tx:
        after, entry = core.noted(incident, "seen 🔑 in a log\x00", "bob", tx.now)
        after, _ = core.answered(after, "owner", "dave", "carol", tx.now, ("owner",))
        after = replace(after, place="C0INC", room={"topic": True, "invited": ["U1"]}, solo="bob", fixed="the date")
        saved = tx.save_incident(incident, after, entry)
    assert saved == replace(after, version=2)
    assert read(database, incident.number) == saved
    with database.read() as reader:
        assert reader.incident(incident.number + 1) is None
        told = [row.event for row in reader.history(rotation=incident.id)]
    assert told[:2] == ["incident.note", "incident.opened"]


def test_only_one_of_two_changes_is_saved(database: Database) -> None:
    incident = opened(database)
    with database.begin() as tx:
        tx.save_incident(incident, replace(incident, scribe="bob"))
    with pytest.raises(Stale), database.begin() as tx:
        tx.save_incident(incident, replace(incident, scribe="carol"))
    with pytest.raises(Stale), database.begin() as tx:
        tx.save_incident(None, incident)
    assert read(database, incident.number).scribe == "bob"


def test_what_shows_it_is_drawn_again_and_cards_are_not(database: Database) -> None:
    incident = opened(database)
    with database.begin() as tx:
        tx.add_drawing(incident.number, "status", "C0INC", 1)
        before = {row.form: row.wanted for row in tx.drawings(incident.number)}
        tx.save_incident(incident, incident)
        after = {row.form: row.wanted for row in tx.drawings(incident.number)}
    assert {form: after[form] - before[form] for form in before} == {"card": 0, "room": 1, "status": 1}


def test_a_decision_redraws_them_whatever_was_counted(database: Database) -> None:
    incident = opened(database)
    with database.begin() as tx:
        for _ in range(5):
            incident = tx.save_incident(incident, incident)
    with database.begin() as tx:
        rows = {row.form: row for row in tx.drawings(incident.number)}
        for row in rows.values():
            tx.drawn(row.id, "1.0", row.wanted)
    with database.read() as reader:
        rotation = reader.rotation(incident.number)
    assert rotation is not None
    samples.approve(database, rotation)
    with database.read() as reader:
        assert all(row.wanted > row.drawn for row in reader.drawings(incident.number))


def test_a_quiet_incident_is_found_and_what_is_said_counts(database: Database) -> None:
    incident = opened(database)
    start = incident.opened_at
    with database.begin() as tx:
        assert tx.quiet_incidents(start - MINUTE) == []
        assert tx.quiet_incidents(start + MINUTE) == [incident.number]
        assert tx.last_said(incident.number) is None
        tx.add_notice("other", "", "C1", "elsewhere", {"rotation": incident.number})
        assert tx.last_said(incident.number) is None
        tx.add_notice("said", "", "C1", "here", {"rotation": incident.number, "incident": True}, due_at=start + MINUTE)
        assert tx.last_said(incident.number) == start + MINUTE
        tx.heard(incident.number, start + 5 * MINUTE)
        assert tx.quiet_incidents(start + 4 * MINUTE) == []
        tx.heard(incident.number, start)  # older news change nothing
        tx.look_later(incident.number, start + 9 * MINUTE)
        assert tx.next_due_at(MINUTE) == start + 10 * MINUTE
    found = read(database, incident.number)
    assert found.said_at == start + 5 * MINUTE
    assert found.version == incident.version
    with database.begin() as tx:
        tx.save_incident(found, replace(found, closed_at=tx.now, closed_by="bob"))
        assert tx.quiet_incidents(start + timedelta(days=9)) == []


def test_what_was_heard_meanwhile_is_not_written_over(database: Database) -> None:
    """The messenger saves what it loaded some time ago."""
    incident = opened(database)
    with database.begin() as tx:
        tx.heard(incident.number, incident.opened_at + MINUTE)
        tx.save_incident(incident, replace(incident, place="C0INC"))
    assert read(database, incident.number).said_at == incident.opened_at + MINUTE


# --- errands ----------------------------------------------------------------------------------------------------------


def test_an_errand_is_added_once_and_claimed_by_one(database: Database) -> None:
    number = samples.request(database).number
    with database.begin() as tx:
        assert tx.add_errand("page-1", number, "page", {"why": "late"})
        assert not tx.add_errand("page-1", number, "page", {"why": "other"})
        now = tx.now
    later = now + MINUTE
    with database.begin() as tx:
        (row,) = tx.claim_errands(now + timedelta(seconds=1), later)
        assert (row.key, row.payload, row.done_at) == ("page-1", {"why": "late"}, None)
    with database.begin() as tx:
        assert tx.claim_errands(now + timedelta(seconds=2), later) == []
        assert tx.next_errand_at() == later  # whoever claimed it may die
        assert len(tx.claim_errands(later, later + MINUTE)) == 1


def test_an_errand_comes_again_until_it_is_done(database: Database) -> None:
    number = samples.request(database).number
    with database.begin() as tx:
        tx.add_errand("ticket-1", number, "ticket", {})
        (row,) = tx.claim_errands(tx.now, tx.now + MINUTE)
        tx.postpone_errand(row.id, tx.now + 2 * MINUTE, 3, "no answer")
        (again,) = tx.claim_errands(tx.now + 2 * MINUTE, tx.now + 3 * MINUTE)
        assert (again.failures, again.note) == (3, "no answer")
        tx.finish_errand(row.id, {"url": "https://tracker/1"})
        assert tx.next_errand_at() is None
        tx.postpone_errand(row.id, tx.now, 9, "too late")  # done is done
        (done,) = tx.errands(number)
    assert done.outputs == {"url": "https://tracker/1"}
    assert done.done_at is not None
    assert done.failures == 3


def test_errands_belong_to_a_rotation(database: Database) -> None:
    with pytest.raises(KeyturnError), database.begin() as tx:
        tx.add_errand("page-1", 77, "page", {})


def expiring(database: Database, now: datetime) -> None:
    """`checkout` has expired in use; `stale` was replaced since; `later` will expire."""
    names = ("checkout", "stale", "later")
    rows = [Declared(name, "production", "signing-key", "ann", "identity-es256") for name in names]
    past, soon = now - timedelta(days=1), now + timedelta(days=1)
    dates = {
        "checkout": {"expires_at": past, "next_due": past},
        "stale": {"expires_at": past, "next_due": past, "last_rotated_at": now, "found_at": past},
        "later": {"expires_at": soon, "next_due": past},
    }
    with database.begin() as tx:
        tx.apply_credentials(rows)
        for name, values in dates.items():
            tx.connection.execute(CREDENTIAL.update().where(CREDENTIAL.c.name == name).values(**values))


def test_what_expired_in_use_is_found_until_an_incident_tells_of_it(database: Database) -> None:
    now = database.now()
    expiring(database, now)
    with database.read() as reader:
        assert [row.name for row in reader.expired_in_use(now)] == ["checkout"]
        assert reader.open_expiry("checkout", "production") is None
    rotation = samples.request(database, word=EXPIRED, approvers=0, before=())
    with database.begin() as tx:
        tx.add_drawing(rotation.number, "room", "", 1)
        incident, entry = core.opened(
            rotation.number, "checkout", "production", private=False, by="keyturn", now=tx.now, late="It expired."
        )
        incident = tx.save_incident(None, incident, entry)
    with database.read() as reader:
        assert reader.expired_in_use(now) == []
        assert reader.open_expiry("checkout", "production") == rotation.number
        assert reader.open_expiry("checkout", "staging") is None
    with database.begin() as tx:
        tx.save_incident(incident, replace(incident, closed_at=tx.now, closed_by="bob"))
    with database.read() as reader:
        assert reader.open_expiry("checkout", "production") is None
        assert reader.expired_in_use(now) == [], "one expiry is told of once, also after the end"
