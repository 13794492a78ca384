"""The inventory's use cases: pages of lists, snoozes within a budget, owners, records that are proved, forecasts."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from threading import Barrier

import pytest

from bot.contracts.inventory import Filters
from bot.core.errors import Permanent, Refused
from bot.core.policy import ApprovalRule, Need, Who
from bot.core.windows import Calendar, Freeze
from bot.engine.forecast import CROWD
from bot.store.database import Database
from tests.engine.keeping_stage import DAY, HOUR, MONDAY, PRODUCTION, Keep, declared
from tests.store import samples


@pytest.fixture
def keep(database: Database) -> Keep:
    return Keep(database)


def aged(keep: Keep, *ages: int, owner: str = "alice") -> None:
    """Credentials of 90 days, so old in days."""
    keep.declare(*(declared(f"key-{age:02}", owner) for age in ages))
    for age in ages:
        keep.rotated(f"key-{age:02}", MONDAY - age * DAY)
    keep.turn()


def test_a_list_is_read_by_pages_that_neither_overlap_nor_skip(keep: Keep) -> None:
    aged(keep, *range(30))
    for filters in (Filters(), Filters(within=200 * DAY)):
        seen: list[str] = []
        cursor = ""
        while True:
            page = keep.desk.search(keep.call(), filters, limit=7, cursor=cursor)
            seen += [row.name for row in page.rows]
            cursor = page.cursor
            if not cursor:
                break
        assert sorted(seen) == [f"key-{age:02}" for age in range(30)]
        assert seen == (sorted(seen) if filters.within is None else sorted(seen, reverse=True))


@pytest.mark.parametrize("cursor", ["x", "bnVsbA==", "WzEsMl0=", "W251bGwsIDEsIDJd", "%%%", "WzFlOTksICJhIiwgImIiXQ=="])
def test_a_cursor_that_is_none_begins_anew(keep: Keep, cursor: str) -> None:
    aged(keep, 1, 2)
    assert len(keep.desk.search(keep.call(), Filters(), cursor=cursor).rows) == 2


def test_filters_narrow_a_list(keep: Keep) -> None:
    aged(keep, 10, 85, 95)
    keep.declare(declared("key-10"), declared("key-85"), declared("key-95"), declared("odd_%", "bob", None))
    keep.turn()

    def names(**wanted: object) -> list[str]:
        return [row.name for row in keep.desk.search(keep.call(), Filters(**wanted)).rows]  # type: ignore[arg-type]

    assert names(within=30 * DAY) == ["key-95", "key-85"]
    assert names(owner="bob") == names(text="_%") == names(text="ODD") == names(findings=True) == ["odd_%"]
    assert names(kind="api-key", environment=PRODUCTION, owner="alice") == ["key-10", "key-85", "key-95"]
    assert names(unmanaged=True) == names(gone=True) == names(overlapping=True) == names(kind="x") == []
    samples.promote(keep.database, "key-10")
    with keep.database.begin() as tx:
        tx.connection.exec_driver_sql("UPDATE credential SET status = 'gone' WHERE name = 'key-85'")
        tx.connection.exec_driver_sql("UPDATE credential SET status = 'unmanaged' WHERE owner = 'bob'")
    assert (names(overlapping=True), names(gone=True), names(unmanaged=True)) == (["key-10"], ["key-85"], ["odd_%"])


def test_standing_is_counted_and_shown(keep: Keep) -> None:
    aged(keep, 10, 85, 95)
    keep.declare(declared("key-10"), declared("key-85"), declared("key-95"), declared("odd_%", "bob", None))
    keep.turn()
    counts = keep.desk.counts(keep.call(), Filters())
    assert counts == {"fine": 1, "soon": 1, "overdue": 1, "unknown": 1}
    standing = {row.name: row.standing for row in keep.desk.search(keep.call(), Filters()).rows}
    assert standing == {"key-10": "fine", "key-85": "soon", "key-95": "overdue", "odd_%": "unknown"}


def test_a_forecast_counts_ages_and_what_is_valid_beside_the_new_one(keep: Keep) -> None:
    aged(keep, 10, 85, 95, 400)
    began = samples.promote(keep.database, "key-10").promoted_at
    keep.turn()
    found = keep.desk.forecast(keep.call())
    ages = dict(found.ages)
    assert ages["up to 30 days"] == ages["up to 90 days"] == ages["up to 180 days"] == ages["over a year"] == 1
    assert ages["not known"] == 0
    assert (found.overlaps.count, found.overlaps.late) == (1, 0)
    [one] = found.overlaps.longest
    assert (one.credential, one.since) == ("key-10", began)
    assert one.deadline is not None
    keep.go_to(one.deadline + HOUR)
    assert keep.desk.forecast(keep.call()).overlaps.late == 1


def test_a_forecast_says_where_several_are_due_on_one_day(keep: Keep) -> None:
    aged(keep, 10)
    keep.declare(*(declared(f"crowd-{n}") for n in range(CROWD)), declared("key-10"))
    for n in range(CROWD):
        keep.rotated(f"crowd-{n}", MONDAY - timedelta(days=50, minutes=n))
    keep.turn()
    day = (MONDAY + 40 * DAY).date()
    assert keep.desk.forecast(keep.call()).collisions == (f"{CROWD} due on {day} in production.",)
    keep.rotated("crowd-0", MONDAY)
    keep.turn()
    assert keep.desk.forecast(keep.call()).collisions == ()


def test_a_snooze_keeps_to_its_budget_and_holds(keep: Keep) -> None:
    aged(keep, 76)
    call = keep.call("alice", Need.SNOOZE)
    budget = keep.desk.snooze_budget(call, "key-76")
    assert budget is not None
    assert timedelta(days=6) < budget - keep.now <= 7 * DAY
    for until in (8 * DAY, 400 * DAY, timedelta.max, -DAY, MONDAY - DAY):
        with pytest.raises(Refused):
            keep.desk.snooze(call, "key-76", until, "away")
    with pytest.raises(Refused, match="needs a reason"):
        keep.desk.snooze(call, "key-76", 3 * DAY, " ")
    view = keep.desk.snooze(call, "key-76", 6 * DAY, "release week")
    assert view.snoozed_until is not None
    assert view.snooze_note == "alice: release week"
    before = len(keep.told())
    keep.run_until(view.snoozed_until - HOUR)
    assert len(keep.told()) == before
    keep.run_until(view.snoozed_until + 2 * DAY)
    assert len(keep.told()) > before
    assert [row.detail["reason"] for row in keep.audit("credential.snoozed")] == ["release week"]


def test_a_snooze_quiets_its_owner_and_nobody_else(keep: Keep) -> None:
    """One person cannot mute the channel, and not the pager either."""
    aged(keep, 76)
    keep.desk.snooze(keep.call("alice", Need.SNOOZE), "key-76", 7 * DAY - HOUR, "away")
    keep.run_until(keep.now + 7 * DAY - 2 * HOUR)
    since = {tier for _, _, tier in keep.told()}
    assert "escalation-1" in since, "the channel was muted"
    assert "7d" not in since, "the owner was not left alone"
    assert {row.channel for row in keep.notices() if row.key.startswith("remind-C")} == {"C0TEAM"}
    keep.run_until(keep.now + 2 * HOUR)
    assert "7d" in {tier for _, _, tier in keep.told()}


def test_snoozing_again_does_not_begin_the_budget_anew(keep: Keep) -> None:
    aged(keep, 76)
    call = keep.call("alice", Need.SNOOZE)
    keep.desk.snooze(call, "key-76", 4 * DAY, "away")
    keep.run_until(keep.now + 4 * DAY)
    budget = keep.desk.snooze_budget(call, "key-76")
    assert budget is not None
    assert abs(budget - keep.now - 3 * DAY) < HOUR, "four days were used, and as much has to be left at the end"
    keep.desk.snooze(call, "key-76", 3 * DAY - HOUR, "still away")
    keep.run_until(keep.now + 3 * DAY)
    with pytest.raises(Refused, match=r"at most|enough"):
        keep.desk.snooze(call, "key-76", DAY, "and again")
    assert not {told.tier for told in keep.desk.reminders(keep.call(), "key-76")} & {"snooze-1", "snooze-2"}


def test_snoozes_at_once_wait_for_each_other_and_share_one_budget(keep: Keep) -> None:
    aged(keep, 76)
    call = keep.call("alice", Need.SNOOZE)
    together = Barrier(4)

    def snooze(days: int) -> str:
        together.wait()
        try:
            keep.desk.snooze(call, "key-76", days * DAY, "away")
        except Refused as refused:
            return refused.code
        return "snoozed"

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(snooze, (6, 6, 6, 6))) == ["snoozed"] * 4
        assert list(pool.map(snooze, (1, 1, 9, 9))) == ["snoozed", "snoozed", "snooze-budget", "snooze-budget"]
    assert len(keep.audit("credential.snoozed")) == 6


def test_a_snooze_that_another_one_cuts_short_used_only_what_it_held(keep: Keep) -> None:
    aged(keep, 76)
    call = keep.call("alice", Need.SNOOZE)
    keep.desk.snooze(call, "key-76", 6 * DAY, "away")
    keep.run_until(keep.now + DAY)
    keep.desk.snooze(call, "key-76", HOUR, "back already")
    keep.run_until(keep.now + HOUR)
    budget = keep.desk.snooze_budget(call, "key-76")
    assert budget is not None
    assert abs(budget - keep.now - 6 * DAY) < 2 * HOUR


def test_a_rotation_ends_a_snooze(keep: Keep) -> None:
    aged(keep, 60)
    keep.desk.snooze(keep.call("alice", Need.SNOOZE), "key-60", 5 * DAY, "later")
    keep.desk.record(
        keep.call("alice", Need.RECORD),
        "key-60",
        type="api-key",
        old_id="a",
        new_id="b",
        operator="alice",
        reason="now",
    )
    assert keep.row("key-60").snoozed_until is None


def test_an_owner_is_given_shown_beside_the_declared_one_and_told(keep: Keep) -> None:
    aged(keep, 10)
    view = keep.desk.own(keep.call("alice", Need.OWN), "key-10", "@bob")
    assert (view.owner, view.declared_owner) == ("bob", "alice")
    assert [row.person for row in keep.notices()] == ["@bob"]
    assert keep.desk.own(keep.call("alice", Need.OWN), "key-10", "platform").owner == "platform"
    assert keep.desk.own(keep.call("alice", Need.OWN), "key-10", "").owner == "alice"
    with pytest.raises(Refused):
        keep.desk.own(keep.call("alice", Need.OWN), "key-10", "@stranger")
    keep.declare(declared("key-10", "carol"))
    assert keep.row("key-10").owner == "carol"


def test_a_history_is_that_of_one_environment(keep: Keep) -> None:
    keep.declare(declared("key"), replace(declared("key"), environment="staging"))
    keep.rotated("key", MONDAY - 60 * DAY)
    keep.turn()
    keep.deliver()
    samples.promote(keep.database, "key")
    keep.desk.own(keep.call("carol", Need.OWN), "key@staging", "bob")
    keep.desk.disown(keep.call("bob"), "key@staging", "never was")
    there = keep.lookout.history(keep.call(), "key@staging", limit=2)
    assert [line.event for line in there] == ["credential.owned", "credential.disowned"]
    here = {line.event for line in keep.lookout.history(keep.call(), "key@production")}
    assert here > {"credential.reminded", "rotation.promoted"}
    assert not here & {"credential.owned", "credential.disowned"}


def test_not_mine_goes_to_the_route(keep: Keep) -> None:
    aged(keep, 60)
    view = keep.desk.disown(keep.call("alice"), "key-60", "I left the team")
    assert view.owner == ""
    assert {one.code for one in keep.desk.findings(keep.call())} >= {"no-owner"}
    keep.run_until(MONDAY + 17 * DAY)
    assert {row.channel for row in keep.notices() if row.key.startswith("remind-C")} == {"C0TEAM"}


def test_not_mine_is_for_the_owner_to_say_whatever_else_they_may(database: Database) -> None:
    keep = Keep(database, may=frozenset({Need.START}))
    aged(keep, 60, 61, 62)
    keep.declare(declared("key-60"), declared("key-61", "platform"), declared("key-62", "bob"))
    assert keep.desk.disown(keep.call("alice", Need.OWN), "key-60").owner == ""
    for name in ("key-61", "key-62"):
        with pytest.raises(Refused, match="no role"):
            keep.desk.disown(keep.call("alice", Need.OWN), name)
    assert keep.desk.disown(keep.call("carol", Need.OWN), "key-61").owner == "", "a group's member"
    with pytest.raises(Refused, match="no role"):
        keep.desk.own(keep.call("bob", Need.OWN), "key-62", "alice")
    assert [row.actor for row in keep.audit("credential.disowned")] == ["alice", "carol"]


def test_not_mine_does_not_take_it_from_somebody_who_owns_it_by_now(
    keep: Keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    aged(keep, 60)
    asked = keep.people.groups
    keep.declare(declared("key-60", "platform"))

    def meanwhile(names: object) -> Mapping[str, frozenset[str] | None]:
        monkeypatch.undo()
        keep.desk.own(keep.call("dave", Need.OWN), "key-60", "bob")
        return asked(names)

    monkeypatch.setattr(keep.people, "groups", meanwhile)
    with pytest.raises(Refused, match="just now"):
        keep.desk.disown(keep.call("carol", Need.OWN), "key-60")
    assert keep.row("key-60").owner == "bob"


def test_a_record_is_proved_where_its_system_tells(keep: Keep) -> None:
    aged(keep, 60)
    call = keep.call("alice", Need.RECORD)
    given = {"type": "api-key", "old_id": "k1", "new_id": "k2", "operator": "bob", "reason": "by hand"}
    keep.in_use = "k1"
    with pytest.raises(Refused, match="in use"):
        keep.desk.record(call, "key-60", **given)
    assert keep.row("key-60").last_rotated_at == MONDAY - 60 * DAY
    keep.in_use = "k2"
    view = keep.desk.record(call, "key-60", **given)
    assert view.last_rotated_at is not None
    keep.turn()
    assert keep.row("key-60").next_due == view.last_rotated_at + 90 * DAY
    (row,) = keep.audit("credential.recorded")
    assert (row.detail["old"], row.detail["new"], row.detail["operator"]) == ("k1", "k2", "bob")
    assert "in use" in row.detail["proof"]
    for wrong in ({"new_id": "k1"}, {"reason": " "}, {"operator": "x" * 999}):
        with pytest.raises(Refused):
            keep.desk.record(call, "key-60", **given | wrong)


def test_what_cannot_be_looked_at_is_not_recorded(keep: Keep, monkeypatch: pytest.MonkeyPatch) -> None:
    aged(keep, 60)

    def away(row: object, person: str) -> str:
        raise Permanent("the service refuses us", "look at its token")

    monkeypatch.setattr(keep.desk, "_in_use", away)
    with pytest.raises(Refused, match="Nothing was recorded"):
        keep.desk.record(
            keep.call("alice", Need.RECORD), "key-60", type="k", old_id="a", new_id="b", operator="c", reason="d"
        )


def test_a_forecast_tells_load_collisions_and_gaps(database: Database) -> None:
    freeze = Freeze("year-end", MONDAY + 78 * DAY, MONDAY + 82 * DAY, "books are closed")
    keep = Keep(database, calendar=Calendar((), (freeze,)))
    aged(keep, *range(10, 17), 95)
    found = keep.desk.forecast(keep.call(), 90)
    assert sum(week.count for week in found.weeks) == 8
    assert found.weeks[0].due == ("key-95@production",)
    assert found.weeks[0].begins == MONDAY.date()
    assert any("year-end" in told for told in found.collisions)
    assert found.gaps
    assert all("approver" in told for told in found.gaps)
    for days in (0, 400):
        with pytest.raises(Refused):
            keep.desk.forecast(keep.call(), days)


@pytest.mark.parametrize(
    ("down", "empty", "told"),
    [
        (False, False, ""),
        (False, True, "start needs 1 approver and 0 people may approve (security has no members)"),
        (True, False, "whether enough people could approve is not known, nor who is in security"),
    ],
    ids=["it has members", "it is empty", "Slack is away"],
)
def test_a_forecast_asks_who_is_in_the_groups_that_approve(
    sqlite_database: Database, down: bool, empty: bool, told: str
) -> None:
    keep = Keep(sqlite_database, approvals=(ApprovalRule(who=Who(groups=frozenset({"security"}))),))
    aged(keep, 60)
    keep.people.down = down
    if empty:
        keep.people.members["security"] = set()
    assert keep.desk.forecast(keep.call(), 90).gaps == ((f"api-key in production: {told} (1 due).",) if told else ())


def test_an_intent_has_its_effect_once(keep: Keep) -> None:
    aged(keep, 60)
    with keep.database.begin() as tx:
        asked, _ = tx.add_intent("k", "snooze", "slack:T1/U0ALICE", "C0", "slack", "key-60", {})
    call = replace(keep.call("alice", Need.SNOOZE), intent=asked.number)
    keep.desk.snooze(call, "key-60", 2 * DAY, "once")
    with pytest.raises(Refused, match="already"):
        keep.desk.snooze(call, "key-60", 3 * DAY, "twice")
    assert len(keep.audit("credential.snoozed")) == 1


def test_reminders_tell_who_heard_what(keep: Keep) -> None:
    aged(keep, 60)
    (told,) = keep.desk.reminders(keep.call(), "key-60")
    assert (told.tier, told.to, told.expiry) == ("30d", ("@alice",), datetime(2027, 2, 3, 12, tzinfo=UTC))
