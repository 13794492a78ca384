"""Discoveries: what is found is reconciled, what is wrong is not believed, and half a list concludes nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from bot.contracts.adapter import Found
from bot.contracts.inventory import Filters
from bot.core.decide import decide
from bot.core.errors import Permanent, Transient
from bot.core.rotation import Opened
from bot.engine.discoveries import AT_ONCE
from bot.engine.recipients import Reached, Recipient
from bot.store.database import Database
from bot.store.tables import DISCOVERY, FOUND
from tests.engine.keeping_stage import DAY, HOUR, MONDAY, PRODUCTION, Keep, declared
from tests.store import samples

PLACE = "identity:https://id.example/api-keys/checkout"


@pytest.fixture
def keep(database: Database) -> Keep:
    return Keep(database)


def found(version: str = "k1", place: str = PLACE, begun: float = 10, ends: float | None = 40, **more: Any) -> Found:
    expires = None if ends is None else MONDAY + ends * DAY
    return Found(place, version, "api-key", MONDAY - begun * DAY, expires, **more)


def test_what_nobody_declares_is_listed_and_reminded_of(keep: Keep) -> None:
    keep.system.held = [found(owner="bob"), found("x", "identity:other", ends=None)]
    keep.discover()
    row = keep.row(PLACE)
    assert (row.status, row.owner, row.expires_at, row.due_source) == ("unmanaged", "bob", MONDAY + 40 * DAY, "expiry")
    page = keep.desk.search(keep.call(), Filters(unmanaged=True))
    assert [one.name for one in page.rows] == ["identity:https://id.example/api-keys/checkout", "identity:other"]
    codes = {one.code for one in keep.desk.findings(keep.call()) if one.credential == "identity:other"}
    assert codes == {"unmanaged", "no-owner", "no-date"}
    keep.run_until(MONDAY + 41 * DAY)
    assert [tier for name, _, tier in keep.told() if name == PLACE][-2:] == ["due", "expired"]


def test_a_system_s_word_for_the_owner_counts_where_settings_know_it(keep: Keep) -> None:
    """Labels name applications and whatever else; a credential of nobody is told to nobody."""
    keep.declare_discoveries(replace(keep.find, owner="platform"))
    said = {"bob": "bob", "security": "security", "checkout": "platform", "C0GENERAL": "platform", "": "platform"}
    keep.system.held = [found(place=f"identity:{number}", owner=owner) for number, owner in enumerate(said)]
    keep.discover()
    assert [keep.row(f"identity:{number}").owner for number in range(len(said))] == list(said.values())


@pytest.mark.parametrize("owner", ["C0GENERAL", "CHECKOUT", "default", "channel"])
def test_an_owner_is_never_a_channel(keep: Keep, owner: str) -> None:
    finder = replace(keep.reminders.recipients(), route=("C0GENERAL", "default"))
    assert finder.owner("alice", "C0TEAM") == Reached((Recipient("@alice"),))
    reached = finder.owner(owner, "C0TEAM")
    assert (reached.to, reached.later) == ((Recipient(channel="C0GENERAL"),), ((Recipient(channel="C0DEFAULT"),),))
    assert reached.finding == f"{owner[:1].upper()}{owner[1:]} has no Slack account."


def test_what_is_declared_takes_its_dates_from_its_system(keep: Keep) -> None:
    keep.declare(declared("checkout", place=PLACE))
    keep.system.held = [found("old", begun=50, ends=20), found("new", begun=1, ends=80)]
    keep.discover()
    row = keep.row("checkout")
    assert (row.version, row.versions, row.expires_at) == ("new", 2, MONDAY + 80 * DAY)
    assert (row.next_due, row.due_source) == (MONDAY + 80 * DAY, "expiry")
    assert [one.name for one in keep.all_rows()] == ["checkout"]


def test_a_declaration_takes_over_what_was_found_before(keep: Keep) -> None:
    keep.system.held = [found()]
    keep.discover()
    keep.declare(declared("checkout", place=PLACE))
    assert keep.row("checkout").expires_at == MONDAY + 40 * DAY
    with keep.database.read() as reader:
        assert reader.credential(PLACE, PRODUCTION) == []


@pytest.mark.parametrize("place", ["vault:shop/key", ""])
def test_what_is_declared_at_another_place_is_not_gone(keep: Keep, place: str) -> None:
    """No look has concluded anything of the new place, and what the old one shows is nobody's."""
    keep.declare(declared("checkout", place=PLACE))
    keep.rotated("checkout", MONDAY - 60 * DAY)
    keep.system.held = [found(begun=60)]
    keep.discover()
    keep.declare(declared("checkout", place=place))
    for _ in range(2):
        row = keep.row("checkout")
        assert (row.status, row.expires_at, row.version, row.versions, row.found_at) == ("known", None, "", 0, None)
        assert keep.row(PLACE).status == "unmanaged", "it still expires"
        keep.discover()
    assert keep.row("checkout").next_due == MONDAY + 30 * DAY, "its cadence rules"
    keep.run_until(MONDAY + 30 * DAY)
    assert {tier for name, _, tier in keep.told() if name == "checkout"} >= {"30d", "7d", "due"}
    keep.declare(declared("checkout", place=PLACE))
    assert keep.row("checkout").expires_at == MONDAY + 40 * DAY


def test_what_is_declared_anew_takes_the_dates_of_now(keep: Keep) -> None:
    keep.declare(declared("checkout", place=PLACE))
    keep.system.held = [found()]
    keep.discover()
    keep.declare()
    keep.system.held = [found("k2", begun=0, ends=70)]
    keep.discover()
    keep.declare(declared("checkout", place=PLACE))
    assert (keep.row("checkout").version, keep.row("checkout").expires_at) == ("k2", MONDAY + 70 * DAY)
    assert [row.name for row in keep.all_rows() if row.removed_at is None] == ["checkout"]


def test_a_new_expiry_ends_the_reminders_of_the_old_one(keep: Keep) -> None:
    keep.declare(declared("checkout", cadence=None, place=PLACE))
    keep.system.held = [found(begun=60)]
    keep.discover()
    keep.run_until(MONDAY + 36 * DAY)
    before = keep.told()
    assert {tier for _, _, tier in before} >= {"30d", "14d", "7d"}
    keep.system.held = [found("k2", begun=-36, ends=130)]
    keep.discover()
    keep.run_until(MONDAY + 45 * DAY)
    assert keep.told() == before


def test_a_rotation_that_promotes_has_its_system_looked_at_anew(keep: Keep) -> None:
    keep.declare(declared("checkout", place=PLACE))
    keep.system.held = [found()]
    keep.discover()
    assert keep.discoveries.turn() > 0, "nothing is due"
    samples.promote(keep.database, "checkout")
    keep.system.held.append(found("k2", begun=0, ends=130))
    keep.discoveries.turn()
    assert keep.row("checkout").expires_at == MONDAY + 130 * DAY
    assert keep.discoveries.turn() > 0, "once"


def test_a_rotation_that_promotes_while_its_system_is_listed_has_it_listed_once_more(keep: Keep) -> None:
    keep.declare(declared("checkout", place=PLACE))
    keep.system.held = [found()]
    keep.discover()

    def promote() -> None:
        keep.go_to(keep.now + HOUR)
        samples.promote(keep.database, "checkout")
        keep.system.held.append(found("k2", begun=0, ends=130))

    keep.go_to(keep.now + 6 * HOUR)
    keep.system.after_a_page = promote
    keep.discoveries.turn()
    assert keep.row("checkout").expires_at == MONDAY + 40 * DAY, "what was listed before"
    keep.discoveries.turn()
    assert keep.row("checkout").expires_at == MONDAY + 130 * DAY
    assert keep.discoveries.turn() > 0


def a_renamed(keep: Keep) -> None:
    keep.declare(declared("checkout", cadence=None, place=PLACE))
    keep.system.held = [found(), found("a", "identity:a"), found("b", "identity:b")]
    keep.discover()
    keep.system.held = [found("b", "identity:b")]
    keep.find = replace(keep.find, name="renamed")
    keep.declare_discoveries(keep.find)


def test_what_an_undeclared_discovery_listed_is_forgotten_when_the_others_have_listed(keep: Keep) -> None:
    a_renamed(keep)
    keep.system.breaks = (0, Transient("the service is away", timedelta(seconds=1)))
    keep.discover()
    assert {row.status for row in keep.all_rows() if row.removed_at is None} == {"known", "unmanaged"}
    assert keep.row("identity:a").expires_at == MONDAY + 40 * DAY, "nothing was concluded yet"
    keep.system.breaks = None
    keep.discover()
    assert {row.name for row in keep.all_rows() if row.removed_at is None} == {"checkout", "identity:b"}
    with keep.database.read() as reader:
        assert reader.connection.execute(select(FOUND.c.discovery, FOUND.c.place)).all() == [("renamed", "identity:b")]
        assert reader.connection.execute(select(DISCOVERY.c.name)).scalars().all() == ["renamed"]


def test_what_is_declared_keeps_its_expiry_until_it_is_rotated_though_nothing_lists_it(keep: Keep) -> None:
    a_renamed(keep)
    keep.discover()
    row = keep.row("checkout")
    assert (row.status, row.next_due, row.versions) == ("known", MONDAY + 40 * DAY, 0)
    assert "not-listed" in {one.code for one in keep.desk.findings(keep.call()) if one.credential == "checkout"}
    keep.run_until(MONDAY + 30 * DAY)
    keep.rotated("checkout")
    keep.turn()
    assert keep.row("checkout").next_due is None
    told = [one for one in keep.told() if one[0] == "checkout"]
    assert told
    keep.run_until(MONDAY + 60 * DAY)
    assert [one for one in keep.told() if one[0] == "checkout"] == told, "it has been replaced"
    keep.system.held.append(found("k2", begun=-30, ends=100))
    keep.discover()
    row = keep.row("checkout")
    assert (row.next_due, row.finding) == (MONDAY + 100 * DAY, "")


def test_where_no_discovery_is_declared_any_more_nothing_is_kept_of_them(keep: Keep) -> None:
    keep.system.held = [found(place=f"identity:{number:04}") for number in range(450)]
    keep.discover()
    keep.declare_discoveries()
    keep.discover()
    assert [row.name for row in keep.all_rows() if row.removed_at is None] == []
    keep.declare_discoveries(keep.find)
    keep.system.held = keep.system.held[:1]
    keep.discover()
    assert [row.name for row in keep.all_rows() if row.removed_at is None] == ["identity:0000"]


def test_what_is_gone_is_said_only_after_a_complete_round(keep: Keep) -> None:
    keep.declare(declared("checkout", place=PLACE))
    keep.system.held = [found(), found("a", "identity:a"), found("b", "identity:b"), found("c", "identity:c")]
    keep.discover()
    keep.system.held = keep.system.held[1:]
    keep.system.breaks = (1, Transient("the service is away", timedelta(seconds=1)))
    keep.discover()
    assert keep.row("checkout").status == "known"
    assert {row.status for row in keep.all_rows() if row.removed_at is None} == {"known", "unmanaged"}
    with keep.database.read() as reader:
        (row,) = reader.discoveries()
    assert (row.error, row.failures) == ("the service is away", 1)
    keep.system.breaks = None
    keep.discover()
    gone = keep.row("checkout")
    assert (gone.status, gone.versions, gone.next_due) == ("gone", 0, None)
    assert "gone" in {one.code for one in keep.desk.findings(keep.call())}
    keep.system.held.insert(0, found("k9", ends=70))
    keep.discover()
    assert (keep.row("checkout").status, keep.row("checkout").expires_at) == ("known", MONDAY + 70 * DAY)


@pytest.mark.parametrize("how", ["gone", "rotated"])
def test_what_is_gone_or_was_replaced_does_not_count_as_expired(keep: Keep, how: str) -> None:
    keep.declare(declared("checkout", cadence=None, place=PLACE))
    keep.system.held = [found()]
    keep.discover()
    keep.go_to(MONDAY + 41 * DAY)
    keep.turn()
    assert keep.desk.counts(keep.call(), Filters()) == {"expired": 1}
    assert [row.standing for row in keep.desk.search(keep.call(), Filters()).rows] == ["expired"]
    if how == "gone":
        keep.system.held = []
        keep.discover()
    else:
        keep.rotated("checkout")
        keep.turn()
    assert keep.desk.counts(keep.call(), Filters()) == {"unknown": 1}
    assert [row.standing for row in keep.desk.search(keep.call(), Filters()).rows] == ["unknown"]
    assert {one.code for one in keep.desk.findings(keep.call())} == {"gone" if how == "gone" else "no-date"}


@pytest.mark.parametrize(
    "expires",
    [
        datetime(2027, 3, 1),  # noqa: DTZ001 - without a time zone, which is the mistake
        MONDAY - 400 * DAY,
        datetime.max.replace(tzinfo=MONDAY.tzinfo),
        "2027-03-01",
    ],
)
def test_a_wrong_expiry_is_a_finding_and_the_cadence_rules(keep: Keep, expires: Any) -> None:
    keep.declare(declared("checkout", place=PLACE))
    keep.rotated("checkout", MONDAY - 9 * DAY)
    keep.system.held = [Found(PLACE, "k1", "api-key", MONDAY - 10 * DAY, expires)]
    keep.discover()
    row = keep.row("checkout")
    assert (row.expires_at, row.next_due, row.due_source) == (None, MONDAY + 81 * DAY, "cadence")
    assert "wrong-expiry" in {one.code for one in keep.desk.findings(keep.call())}


def test_an_expiry_that_is_no_longer_told_still_counts(keep: Keep) -> None:
    keep.declare(declared("checkout", cadence=None, place=PLACE))
    keep.system.held = [found()]
    keep.discover()
    keep.system.held = [found(ends=None)]
    keep.discover()
    assert keep.row("checkout").expires_at == MONDAY + 40 * DAY
    assert "no longer says" in keep.row("checkout").finding


def test_an_expiry_that_is_worked_out_at_every_look_is_one(keep: Keep) -> None:
    keep.declare(declared("checkout", cadence=None, place=PLACE))
    for seconds in range(5):
        keep.system.held = [Found(PLACE, "k1", "api-key", MONDAY - DAY, MONDAY + 20 * DAY + timedelta(seconds=seconds))]
        keep.discover()
    assert keep.row("checkout").expires_at == MONDAY + 20 * DAY


@pytest.mark.parametrize("place", ["", "x" * 400, "a\nb", "a\x00b", None, 7])
def test_a_name_that_cannot_be_kept_ends_the_round(keep: Keep, place: Any) -> None:
    keep.system.held = [found()]
    keep.discover()
    keep.system.held = [Found(place, "k", "api-key")]
    keep.discover()
    assert [row.name for row in keep.all_rows() if row.removed_at is None] == [PLACE]
    assert [row.detail["error"] for row in keep.audit("discovery.failed")] != []


def test_an_adapter_that_breaks_says_where_and_not_what(keep: Keep) -> None:
    keep.system.breaks = (0, RuntimeError("token=hunter2"))
    keep.discover()
    (row,) = keep.audit("discovery.failed")
    assert "hunter2" not in str(row.detail)
    assert "RuntimeError" in row.detail["error"]


def test_a_round_that_was_taken_over_keeps_nothing(keep: Keep) -> None:
    keep.system.held = [found()]
    keep.discover()
    with keep.database.begin() as tx:
        assert not tx.put_found("identity", 0, PRODUCTION, [], tx.now)
        assert tx.forget_unlisted("identity", 0) is None
        assert not tx.end_round("identity", 0, tx.now)


def test_a_round_that_nobody_ends_is_begun_anew(keep: Keep) -> None:
    keep.discoveries.declare()
    with keep.database.begin() as tx:
        row = tx.claim_discovery(tx.now, tx.now + HOUR)
        assert row is not None
        assert tx.claim_discovery(tx.now, tx.now + HOUR) is None
    keep.database.clock.advance(2 * HOUR)
    with keep.database.begin() as tx:
        again = tx.claim_discovery(tx.now, tx.now + HOUR)
    assert again is not None
    assert again.round == row.round + 1


def test_a_failed_round_is_tried_again_soon(keep: Keep) -> None:
    keep.system.breaks = (0, Permanent("no access", "give it a role"))
    keep.discover()
    with keep.database.read() as reader:
        due = reader.next_discovery_at()
        assert due is not None
        assert timedelta(0) < due - reader.now <= timedelta(minutes=2)


def test_a_discovery_that_stays_blind_is_told_along_the_route_once(keep: Keep) -> None:
    """Dates that nobody reads any more look like dates on which nothing happens."""
    keep.system.held = [Found("svc/a", "k1", "api-key", MONDAY - DAY, MONDAY + 90 * DAY)]
    keep.discover()
    keep.system.breaks = (0, Permanent("its account was taken away", "give it back"))
    for _ in range(4):
        keep.discover()
    keep.owners.turn()
    assert [row for row in keep.notices() if row.key.startswith("unseen-")] == []
    keep.discover()
    for _ in range(3):
        keep.owners.turn()
    (told,) = [row for row in keep.notices() if row.key.startswith("unseen-")]
    assert told.channel == "C0DEFAULT"
    assert "its account was taken away" in told.text
    assert "5 times" in told.text
    finding = keep.desk.findings(keep.call())[0]
    assert (finding.credential, finding.code, finding.route) == ("identity", "unseen", "channel")
    keep.system.breaks = None
    keep.discover()
    assert "unseen" not in {one.code for one in keep.desk.findings(keep.call())}


def test_a_round_that_does_not_end_is_noticed_and_a_bot_that_was_down_is_not_blind(keep: Keep) -> None:
    keep.discover()
    keep.database.clock.advance(3 * DAY)
    keep.owners.turn()
    assert keep.audit("discovery.unseen") == []
    with keep.database.begin() as tx:
        tx.claim_discovery(tx.now, tx.now + 10 * DAY)
    keep.database.clock.advance(DAY + HOUR)
    keep.owners.turn()
    (row,) = keep.audit("discovery.unseen")
    assert "does not come to an end" in row.detail["error"]


def test_an_older_version_does_not_expire_unnoticed(keep: Keep) -> None:
    """The newest valid version counts for the date; what else is valid and ends sooner is told to its owner."""
    old = Found("svc/a", "k1", "api-key", MONDAY - 80 * DAY, MONDAY + 40 * DAY)
    keep.system.held = [old, Found("svc/a", "k2", "api-key", MONDAY - DAY, MONDAY + 300 * DAY)]
    keep.declare(declared("key", "alice", None, "svc/a"))
    keep.discover()
    keep.watch.turn()
    assert keep.notices() == []
    keep.go_to(MONDAY + 11 * DAY)
    for _ in range(2):
        keep.watch.turn()
    (told,) = keep.notices()
    assert told.person == "@alice"
    assert told.text.startswith("k1 of key (production) expires on 2027-02-13 12:00 UTC")
    keep.go_to(MONDAY + 39 * DAY)
    keep.watch.turn()
    assert len(keep.notices()) == 2
    assert keep.row("key").expires_at == MONDAY + 300 * DAY


def test_each_of_several_leftovers_is_told_once_though_its_expiry_is_worked_out_anew(keep: Keep) -> None:
    keep.declare(declared("key", "alice", None, "svc/a"))
    for _ in range(3):
        old = [Found("svc/a", name, "api-key", MONDAY - 80 * DAY, keep.now + 20 * DAY) for name in ("k0", "k1")]
        keep.system.held = [*old, Found("svc/a", "k2", "api-key", MONDAY - DAY, MONDAY + 300 * DAY)]
        keep.discover()
        keep.watch.turn()
        keep.database.clock.advance(6 * HOUR)
    assert sorted(leftovers(keep)) == ["k0 of key", "k1 of key"]
    assert {tier for _, _, tier in keep.told()} == {"leftover k0", "leftover k1"}


def leftovers(keep: Keep) -> list[str]:
    """Which versions of what were told as such."""
    return [row.text.partition(" (")[0] for row in keep.notices() if row.key.startswith("leftover")]


@pytest.mark.parametrize("ends", ["fails", "goes on"])
def test_what_is_renewed_in_place_is_no_leftover_while_its_round_is_not_complete(keep: Keep, ends: str) -> None:
    keep.declare(declared("key", "alice", None, "svc/a"))
    seen: list[str] = []

    def look() -> None:
        seen.append(keep.row("key").version)
        assert seen[-1] == "rev2"
        keep.watch.turn()

    before = Found("svc/a", "rev1", "tls", MONDAY - 60 * DAY, MONDAY + 25 * DAY)
    after = Found("svc/a", "rev2", "tls", MONDAY, MONDAY + 90 * DAY)
    keep.system.held = [before]
    keep.discover()
    keep.system.held = [after, *(Found(f"svc/{i}", "x", "tls", MONDAY, MONDAY + 90 * DAY) for i in range(AT_ONCE))]
    if ends == "fails":
        keep.system.breaks = (AT_ONCE // 2, Transient("the service is away", timedelta(0)))
    else:
        keep.system.page = AT_ONCE
        keep.system.after_a_page = lambda: setattr(keep.system, "after_a_page", look)
    keep.discover()
    look()
    assert len(seen) == (1 if ends == "fails" else 2)
    assert leftovers(keep) == []
    keep.system.held, keep.system.breaks = [before, after], None
    keep.discover()
    keep.watch.turn()
    assert leftovers(keep) == ["rev1 of key"], "both are there"


def test_a_leftover_that_a_rotation_retires_is_not_told(keep: Keep) -> None:
    old = Found("svc/a", "k1", "api-key", MONDAY - 80 * DAY, MONDAY + 10 * DAY)
    keep.system.held = [old, Found("svc/a", "k2", "api-key", MONDAY - DAY, MONDAY + 300 * DAY)]
    keep.declare(declared("key", "alice", None, "svc/a"))
    keep.discover()
    with keep.database.begin() as tx:
        opened = Opened(tx.next_number(), samples.plan(credential="key"), "t", "C0", ())
        rotation = tx.save(None, decide(None, opened, tx.now))
    assert rotation.plan.environment == PRODUCTION
    keep.watch.turn()
    assert keep.notices() == []


def test_an_expiry_that_was_moved_by_hand_is_told_and_ends_no_reminders(keep: Keep) -> None:
    made = MONDAY - 80 * DAY
    keep.system.held = [Found("svc/a", "k1", "api-key", made, MONDAY + 5 * DAY)]
    keep.declare(declared("key", "alice", None, "svc/a"))
    keep.discover()
    keep.system.held = [Found("svc/a", "k1", "api-key", made, MONDAY + 20 * DAY)]
    for _ in range(3):
        keep.discover()
        keep.watch.turn()
    (told,) = [row for row in keep.notices() if row.key.startswith("moved ")]
    assert told.person == "@alice"
    assert "moved by hand from 2027-01-09 to 2027-01-24" in told.text
    assert {"expiry-moved"} <= {one.code for one in keep.desk.findings(keep.call())}
    keep.run_until(MONDAY + 15 * DAY)
    assert (MONDAY + 20 * DAY, "7d") in {(expiry, tier) for _, expiry, tier in keep.told()}
    keep.system.held.append(Found("svc/a", "k2", "api-key", keep.now, MONDAY + 400 * DAY))
    keep.discover()
    assert keep.row("key").finding == ""


@pytest.mark.parametrize("how", ["rotated", "made anew"])
def test_the_same_name_made_anew_was_not_moved_by_hand(keep: Keep, how: str) -> None:
    made = MONDAY - 80 * DAY
    keep.system.held = [Found("svc/a", "tls", "api-key", made, MONDAY + 5 * DAY)]
    keep.declare(declared("key", "alice", None, "svc/a"))
    keep.discover()
    if how == "rotated":
        keep.rotated("key")
    keep.system.held = [Found("svc/a", "tls", "api-key", made if how == "rotated" else keep.now, MONDAY + 90 * DAY)]
    keep.discover()
    assert keep.row("key").finding == ""
    assert keep.row("key").expires_at == MONDAY + 90 * DAY
