"""The words of the inventory on a real engine: list and its filters, own, snooze, record, forecast."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from bot.contracts.command import Overlaps
from bot.contracts.inventory import Forecast, Overlapping, Week
from bot.core.errors import Refused
from bot.store.records import Declared
from commands.forecast import ages, chart, overlaps
from tests.commands.conftest import Desk
from tests.store import samples


def row_of(desk: Desk, name: str) -> tuple[datetime | None, str, datetime | None]:
    with desk.bot.database.read() as reader:
        [row] = reader.credential(name)
    return row.next_due, row.owner, row.snoozed_until


def due_in(desk: Desk, days: float, name: str = "door-key", environment: str = "production") -> None:
    """As if it had been rotated so long ago that it is due then: its cadence is seven days."""
    with desk.bot.database.begin() as tx:
        at = tx.now + timedelta(days=days)
        tx.update_credential(name, environment, last_rotated_at=at - timedelta(days=7), next_due=at, remind_at=tx.now)


def names(desk: Desk, text: str) -> list[str]:
    said = desk.say("carol", text)
    return [row[0] for row in said.table.rows] if said.table else []


def test_filters_narrow_the_list(desk: Desk) -> None:
    due_in(desk, 2)
    assert names(desk, "list") == ["door-key", "shed-key"]
    assert names(desk, "list --expiring 3d") == ["door-key"]
    assert names(desk, "list --expiring 1h") == []
    assert names(desk, "list --owner bob") == ["shed-key"]
    assert names(desk, "list --owner @alice") == ["door-key"]
    assert names(desk, "list --owner me") == []
    assert names(desk, "list --class key --environment staging") == ["shed-key"]
    assert "shed-key" in names(desk, "list --findings"), "it was never rotated"
    assert names(desk, "list --unmanaged") == []
    assert names(desk, "list --overlapping") == []
    samples.promote(desk.bot.database, "shed-key", environment="staging")
    with desk.bot.database.begin() as tx:
        tx.connection.exec_driver_sql("UPDATE credential SET status = 'unmanaged' WHERE name = 'door-key'")
    assert names(desk, "list --overlapping") == ["shed-key"]
    assert names(desk, "list --unmanaged") == ["door-key"]
    assert names(desk, "list --gone") == []
    with desk.bot.database.begin() as tx:
        tx.connection.exec_driver_sql("UPDATE credential SET status = 'gone' WHERE name = 'door-key'")
    assert names(desk, "list --gone") == ["door-key"]
    assert "the next due first" in desk.say("carol", "list --expiring 3d").text


def test_pages_walk_through_everything_once(desk: Desk) -> None:
    with desk.bot.database.begin() as tx:
        tx.apply_credentials(
            [Declared(f"key-{n:04}", "production", "key", "alice", "by-hand", timedelta(days=90)) for n in range(260)],
            partial=True,
        )
    found: list[str] = []
    for page in range(1, 13):
        said = desk.say("carol", f"list --owner alice --page {page}")
        assert said.table is not None
        found += [row[0] for row in said.table.rows]
        more = f"More on: list --owner alice --page {page + 1}" in said.text
        assert said.data["more"] == more
        if not more:
            break
    assert found == ["door-key", *(f"key-{n:04}" for n in range(260))]
    assert "of 261" in desk.say("carol", "list --owner alice").text
    assert "There is no page 40" in desk.say("carol", "list --owner alice --page 40").text


def test_machines_get_the_same_rows(desk: Desk) -> None:
    due_in(desk, 2)
    [one] = desk.say("carol", "list --expiring 7d").data["credentials"]
    assert (one["name"], one["owner"], one["class"]) == ("door-key", "alice", "key")
    assert datetime.fromisoformat(one["next_due"]).tzinfo is not None


def test_a_credential_changes_its_owner_and_goes_back(desk: Desk) -> None:
    assert "belongs to carol" in desk.say("alice", "own door-key --to carol").text
    assert names(desk, "list --owner me") == ["door-key"]
    assert "belongs to sec-oncall" in desk.say("alice", "own door-key sec-oncall").text
    assert "belongs to bob" in desk.say("bob", "own door-key me").text
    assert "belongs to alice" in desk.say("bob", "own door-key --back").text
    assert "has no owner now" in desk.say("alice", 'own door-key --not-mine --reason "moved"').text
    assert row_of(desk, "door-key")[1] == ""


def test_a_snooze_needs_a_reason_and_never_outlives_the_date(desk: Desk) -> None:
    due_in(desk, 6)
    with pytest.raises(Refused, match="at most"):
        desk.say("alice", 'snooze door-key 30d --reason "later"')
    assert "The owner of door-key" in desk.say("alice", 'snooze door-key 12h --reason "release"').text
    due, _, until = row_of(desk, "door-key")
    assert due is not None
    assert until is not None
    assert until < due
    due_in(desk, 0.001)
    with pytest.raises(Refused, match="cannot be snoozed"):
        desk.say("alice", 'snooze door-key 1 --reason "later"')


def test_what_chat_changed_is_shown_beside_the_file(desk: Desk) -> None:
    due_in(desk, 6)
    assert "door-key in production belongs to alice and" in desk.say("alice", "status door-key").text
    desk.say("alice", "own door-key --to bob")
    desk.say("bob", 'snooze door-key 12h --reason "release week"')
    said = desk.say("alice", "list door-key")
    assert said.table is not None
    (row,) = said.table.rows
    assert row[2] == "bob (file: alice)"
    assert "snoozed until 20" in row[5]
    assert "(bob: release week)" in row[5]
    (data,) = said.data["credentials"]
    assert (data["owner"], data["declared_owner"], data["snooze_note"]) == ("bob", "alice", "bob: release week")
    told = desk.say("alice", "status door-key")
    assert "belongs to bob (file: alice)" in told.text
    assert "Its reminders are snoozed until 20" in told.text
    assert (told.data["declared_owner"], told.data["snooze_note"]) == ("alice", "bob: release week")
    assert told.data["snoozed_until"]
    desk.say("bob", 'own door-key --not-mine --reason "moved"')
    assert "nobody (file: alice)" in desk.say("alice", "list door-key").table.rows[0][2]  # type: ignore[union-attr]


def test_a_rotation_by_hand_is_recorded(desk: Desk) -> None:
    said = desk.say("alice", 'record door-key --old key-7 --new key-8 --reason "lost in a taxi" --operator "Dave"')
    assert "by hand is recorded" in said.text
    with desk.bot.database.read() as reader:
        [row] = reader.credential("door-key")
        told = [one for one in reader.audit_rows() if one.credential == "door-key"][-1]
    assert row.last_rotated_at is not None
    assert (told.detail["old"], told.detail["new"], told.detail["operator"]) == ("key-7", "key-8", "Dave")


@pytest.mark.parametrize(
    "value",
    [
        "hunter2!",
        "two words",
        "dGhpcyBpcyBhIHNlY3JldA==",
        "sk_live_4eC39HqLyjWDarjtT1zdp7dc",
        "aB3dE5gH7jK9mN1pQ3",
        "-----BEGIN",
        "x" * 81,
    ],
)
def test_a_value_in_the_place_of_an_id_is_refused_and_not_repeated(desk: Desk, value: str) -> None:
    for field, other in (("old", "new"), ("new", "old")):
        with pytest.raises(Refused) as refusal:
            desk.say("alice", f'record door-key --{field} "{value}" --{other} key-7 --reason "x"')
        assert value not in str(refusal.value)
    with desk.bot.database.read() as reader:
        assert all(value not in repr(row.detail) for row in reader.audit_rows())


def test_a_forecast_counts_by_week(desk: Desk) -> None:
    assert "Rotations due by week" not in {one.title for one in desk.say("carol", "forecast 1d").charts}
    due_in(desk, 10)
    due_in(desk, 12, "shed-key", "staging")
    said = desk.say("carol", "forecast 30d")
    assert said.text.startswith("2 rotations are due within 30 days.")
    chart = said.charts[0]
    assert sum(value for _, values in chart.series for value in values) == 2
    assert len(chart.categories) == len(said.data["weeks"])
    assert "shed-key@staging" in {name for week in said.data["weeks"] for name in week["due"]}


@pytest.mark.parametrize(
    ("typed", "advice"),
    [
        ("list --expiring soon", "list --expiring 7d"),
        ("own door-key", "own <credential>"),
        ("own door-key me --back", "own <credential>"),
        ("own", "own <credential>"),
        ("own door-key --to nobody-here", "mention a person"),
        ("snooze door-key 3d", "snooze <credential>"),
        ('snooze door-key soon --reason "x"', "snooze <credential>"),
        ("record door-key", "record <credential>"),
        ('record door-key --old a --new b --type odd --reason "x"', "manual or migration"),
        ("forecast 90d 30d", "forecast"),
        ("forecast soon", "forecast"),
        ("forecast 9999", "370"),
    ],
)
def test_mistakes_get_the_way_out(desk: Desk, typed: str, advice: str) -> None:
    with pytest.raises(Refused, match=advice.replace("<", "<")):
        desk.say("alice", typed)


def test_ages_and_overlaps_are_counted() -> None:
    now = datetime(2026, 11, 26, tzinfo=UTC)
    counted = [("up to 30 days", 2), ("over a year", 1), ("not known", 3)]
    chart = ages(counted)
    assert chart.series[0][1] == (2.0, 1.0, 3.0)
    assert chart.told == "6 credentials: 1 older than a year, 3 of an age that is not known."
    longest = (
        Overlapping("b", "p", now - timedelta(days=9), now - timedelta(days=1)),
        Overlapping("a", "p", now - timedelta(days=3), now + timedelta(days=2)),
        Overlapping("c", "p", now, None),
    )
    chart = overlaps(Overlaps(longest, 30, 1), now)
    assert chart.categories == ("b", "a", "c")
    assert chart.series == (("days so far", (9.0, 3.0, 0.0)), ("days to the deadline", (0.0, 2.0, 0.0)))
    assert chart.told == "30 old versions are being retired, 1 of them past the deadline."


@pytest.mark.parametrize(("count", "each", "bars"), [(1, 1, 1), (20, 1, 20), (21, 2, 11), (54, 3, 18)])
def test_the_picture_of_a_forecast_shows_all_of_its_weeks(count: int, each: int, bars: int) -> None:
    first = date(2026, 11, 23)
    weeks = tuple(Week(first + timedelta(days=7 * n), (), n + 2, 1) for n in range(count))
    shown = chart(Forecast(weeks, (), (), datetime(2026, 11, 26, tzinfo=UTC)))
    assert len(shown.categories) == bars
    assert [len(values) for _, values in shown.series] == [bars, bars]
    people, alone = (sum(values) for _, values in shown.series)
    assert (people, alone) == (sum(week.count - 1 for week in weeks), count)
    assert shown.told.startswith(
        f"{sum(week.count for week in weeks)} due in {count} weeks; the fullest is the week of"
    )
    assert shown.x_label == ("week from Monday" if each == 1 else f"{each} weeks from Monday")


def test_a_forecast_shows_ages_and_overlaps_beside_the_load(desk: Desk) -> None:
    due_in(desk, 2)
    said = desk.say("carol", "forecast")
    assert [one.title for one in said.charts] == ["Rotations due by week", "Age of the credentials in use"]
    assert sum(said.data["ages"].values()) == len(names(desk, "list"))
    assert said.data["overlaps"]["count"] == 0
