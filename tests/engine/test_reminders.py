"""Reminders: grouped, once, to whom it concerns, until the system shows a new date."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from bot.contracts.adapter import Found
from bot.core.policy import Person, PersonKind
from bot.core.reminders import Rules, Stage
from bot.core.rotation import Cancelled
from bot.engine.arrivals import undelivered
from bot.store.database import Database
from bot.store.tables import CREDENTIAL
from tests.conftest import Opener
from tests.engine.keeping_stage import DAY, HOUR, MONDAY, NAMES, PRODUCTION, Keep, declared
from tests.store import samples


@pytest.fixture
def keep(database: Database) -> Keep:
    return Keep(database)


def expires(keep: Keep, at: datetime) -> None:
    """As its system says; each was made long before."""
    with keep.database.begin() as tx:
        values = {"created_at": MONDAY - 60 * DAY, "expires_at": at, "remind_at": tx.now}
        tx.connection.execute(CREDENTIAL.update().values(values))


def refuse(keep: Keep) -> None:
    """Slack gives up whatever waits."""
    for row in keep.notices(unsent=True):
        with keep.database.begin() as tx:
            if tx.give_up(row.id, "missing_scope"):
                undelivered(tx, row, "missing_scope")


def test_twenty_credentials_of_one_owner_are_one_message(keep: Keep) -> None:
    keep.declare(*(declared(f"key-{i:02}") for i in range(20)), declared("other", "bob"))
    for i in range(20):
        keep.rotated(f"key-{i:02}", MONDAY - timedelta(hours=i))
    keep.rotated("other", MONDAY)
    keep.turn()
    keep.pass_days(62)
    first = [row for row in keep.notices() if row.person == "@alice"]
    assert len(first) == 1
    assert first[0].payload["reminder"]["count"] == 20
    assert {item["credential"] for item in first[0].payload["reminder"]["items"]} == {f"key-{i:02}" for i in range(20)}
    assert len([row for row in keep.notices() if row.person == "@bob"]) == 1


def test_each_tier_is_told_once_and_the_audit_says_to_whom(keep: Keep) -> None:
    keep.declare(declared("key"))
    keep.rotated("key", MONDAY)
    keep.run_until(MONDAY + 95 * DAY)
    told = keep.told()
    assert len(told) == len(set(told))
    assert [tier for _, _, tier in told] == [
        "30d", "14d", "90%", "7d", "escalation-1", "3d", "1d", "escalation-2", "due", "expired",
    ]  # fmt: skip
    assert {expiry for _, expiry, _ in told} == {MONDAY + 90 * DAY}
    heard = [(row.detail["tiers"], row.detail["told"]) for row in keep.audit("credential.reminded")]
    assert heard[0] == (["30d"], ["@alice"])
    assert any("C0TEAM" in to for _, to in heard)


def test_what_has_run_out_is_said_every_week_until_there_is_a_later_date(keep: Keep) -> None:
    keep.declare(declared("key"), declared("other"))
    keep.rotated("key", MONDAY)
    keep.rotated("other", MONDAY - 7 * DAY)
    keep.run_until(MONDAY + 93 * DAY)
    keep.deliver()
    keep.run_until(MONDAY + 105 * DAY)
    weeks = {(name, tier) for name, _, tier in keep.told() if "+" in tier}
    assert weeks == {
        ("other", "expired+7d"), ("other", "expired+14d"), ("other", "expired+21d"),
        ("key", "expired+7d"), ("key", "expired+14d"),
    }  # fmt: skip
    assert [row.payload["reminder"]["count"] for row in keep.notices(unsent=True) if row.person == "@alice"] == [2]
    keep.rotated("key")
    keep.run_until(keep.now + 20 * DAY)
    assert {name for name, _, tier in keep.told() if "+" in tier and (name, tier) not in weeks} == {"other"}


def test_a_rotation_moves_the_reminders_with_its_date(keep: Keep) -> None:
    keep.declare(declared("key"))
    keep.rotated("key", MONDAY)
    keep.run_until(MONDAY + 80 * DAY)
    before = keep.told()
    keep.rotated("key")
    keep.turn()
    row = keep.row("key")
    assert row.next_due == row.last_rotated_at + 90 * DAY if row.last_rotated_at else False
    keep.run_until(MONDAY + 130 * DAY)
    assert keep.told() == before, "the old date is still counted down"


def test_a_slack_outage_of_days_ends_in_one_message(keep: Keep) -> None:
    keep.declare(declared("key"), declared("other"))
    keep.rotated("key", MONDAY)
    keep.rotated("other", MONDAY - DAY)
    keep.turn()
    keep.run_until(MONDAY + 60 * DAY)
    keep.deliver()
    keep.run_until(MONDAY + 95 * DAY)  # nothing is taken for five weeks
    waiting = [row for row in keep.notices(unsent=True) if row.person == "@alice"]
    assert len(waiting) == 1
    items = {item["credential"]: item for item in waiting[0].payload["reminder"]["items"]}
    assert set(items) == {"key", "other"}
    assert waiting[0].payload["reminder"]["count"] == 2
    assert {tier for name, _, tier in keep.told() if name == "key"} >= {"14d", "7d", "3d", "1d", "due", "expired"}


def test_what_is_being_sent_is_not_changed_any_more(keep: Keep) -> None:
    keep.declare(declared("key"))
    keep.rotated("key", MONDAY)
    keep.turn()
    keep.run_until(MONDAY + 61 * DAY)
    with keep.database.begin() as tx:
        (claimed,) = tx.claim_notices(tx.now, tx.now + HOUR)
    keep.run_until(MONDAY + 77 * DAY)
    assert len(keep.notices()) == 2
    assert keep.notices()[0].payload == claimed.payload


def test_replicas_send_nothing_twice(database_url: str, open_database: Opener) -> None:
    replicas = [Keep(open_database(database_url)) for _ in range(3)]
    first = replicas[0]
    first.declare(*(declared(f"key-{i:03}", ("alice", "bob", "carol")[i % 3]) for i in range(300)))
    for i in range(300):
        first.rotated(f"key-{i:03}", MONDAY - 60 * DAY)
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda keep: [keep.reminders.turn() for _ in range(8)], replicas))
    first.turn()
    told = first.told()
    assert len(told) == len(set(told)) == 300
    assert len([row for row in first.notices()]) == 3


def test_an_owner_who_left_is_a_finding_and_somebody_else_hears(keep: Keep) -> None:
    keep = Keep(keep.database, Rules(route=("security", "channel")))
    keep.people.away["alice"] = PersonKind.DEACTIVATED
    keep.declare(declared("key"), declared("lost", "nobody"))
    for name in ("key", "lost"):
        keep.rotated(name, MONDAY - 60 * DAY)
    keep.turn()
    keep.owners.turn()
    assert [row.channel or row.person for row in keep.notices() if row.key.startswith("remind-")] == ["C0TEAM"]
    codes = {(one.credential, one.code, one.route) for one in keep.desk.findings(keep.call())}
    assert {("key", "owner-away", "security, channel"), ("lost", "empty-group", "security, channel")} <= codes
    keep.people.away.clear()
    keep.database.clock.advance(2 * DAY)
    keep.owners.turn()
    assert keep.row("key").owner_finding == ""


def test_what_nobody_owns_goes_to_the_team_and_then_to_on_call_as_well(database: Database) -> None:
    """A channel can always be told, so it must not keep on-call from hearing."""
    keep = Keep(database, Rules(route=("channel", "nobody", "security", "carol"), escalation=()))
    keep.declare(declared("lost", "nobody"), declared("mine", "alice"))
    for name in ("lost", "mine"):
        keep.rotated(name, MONDAY - 60 * DAY)
    heard: list[set[str]] = []
    for until in (1, 17, 24, 28):
        keep.run_until(MONDAY + until * DAY)
        rows = [row for row in keep.deliver() if row.key.startswith("remind-")]
        heard.append({row.channel or row.person for row in rows} - {"@alice"})
    assert heard == [{"C0TEAM"}, {"C0TEAM", "@bob"}, {"C0TEAM", "@bob", "@carol"}, {"C0TEAM", "@bob", "@carol"}]


def test_in_the_last_hour_the_whole_route_hears(database: Database) -> None:
    keep = Keep(database, Rules(route=("channel", "security"), escalation=()))
    keep.declare(declared("lost", "nobody", None))
    expires(keep, keep.now + HOUR / 2)
    keep.turn()
    assert {row.channel or row.person for row in keep.notices()} == {"C0TEAM", "@bob"}


def test_a_group_that_is_called_hears_itself(database: Database) -> None:
    keep = Keep(database, Rules(escalation=(Stage(7 * DAY, ("channel",)), Stage(3 * DAY, ("platform",)))))
    keep.declare(declared("key"))
    keep.rotated("key", MONDAY - 84 * DAY)
    keep.pass_days(4)
    assert {row.channel or row.person for row in keep.notices()} == {"@alice", "C0TEAM", "@carol", "@dave"}


def test_where_nobody_of_a_call_is_there_the_first_of_the_route_is_called(database: Database) -> None:
    keep = Keep(database, Rules(route=("channel",), escalation=(Stage(7 * DAY, ("nobody",)),)))
    keep.declare(declared("key"))
    keep.rotated("key", MONDAY - 84 * DAY)
    keep.turn()
    assert {row.channel or row.person for row in keep.notices()} == {"@alice", "C0TEAM"}


def test_where_nobody_can_be_told_it_is_kept_until_somebody_can(database: Database) -> None:
    keep = Keep(database, Rules(route=()))
    keep.people.away["alice"] = PersonKind.DEACTIVATED
    keep.declare(declared("key", channel=""))
    keep.rotated("key", MONDAY - 60 * DAY)
    keep.turn()
    keep.pass_days(1)
    assert keep.told() == []
    assert keep.notices() == []
    keep.people.away.clear()
    keep.pass_days(1)
    assert [tier for _, _, tier in keep.told()] == ["30d"]


def test_the_pager_is_called_though_nobody_can_be_told(database: Database) -> None:
    keep = Keep(database, Rules(route=(), escalation=(Stage(DAY, ("nobody",), page=True),)))
    keep.people.away["alice"] = PersonKind.DEACTIVATED
    keep.declare(declared("key", cadence=None))
    expires(keep, MONDAY + 5 * DAY)
    keep.pass_days(3.9)
    with keep.database.read() as reader:
        assert reader.pages() == []
    keep.pass_days(2)
    with keep.database.read() as reader:
        (page,) = reader.pages()
    assert (page.credential, page.payload["owner"]) == ("key", "alice")
    assert keep.notices() == []
    keep.people.members["nobody"].add("bob")
    keep.pass_days(0.1)
    assert {row.person for row in keep.notices()} == {"@bob"}, "who could not be told hears late"


def test_what_was_only_found_has_the_channel_of_the_others(keep: Keep) -> None:
    keep.system.held = [Found("svc/a", "k", "api-key", MONDAY - 60 * DAY, MONDAY + 30 * DAY)]
    keep.discover()
    assert [(row.channel, row.payload["reminder"]["count"]) for row in keep.notices()] == [("C0DEFAULT", 1)]


def test_what_neither_place_took_is_told_in_a_new_message(database: Database) -> None:
    """A day later, when both are tried again, the same tiers are still to be told to the same people."""
    keep = Keep(database, Rules(escalation=()))
    keep.declare(declared("key", cadence=None))
    expires(keep, MONDAY + 25 * DAY)
    for _ in range(3):
        keep.turn()
        refuse(keep)
    assert keep.told() == []
    keep.pass_days(1.2)
    (waiting,) = keep.notices(unsent=True)
    assert (waiting.person, keep.told()) == ("@alice", [("key", MONDAY + 25 * DAY, "30d")])
    assert keep.audit("credential.reminded")[-1].detail["notices"] == [waiting.key]


def test_a_slack_that_does_not_answer_keeps_nobody_from_being_told(keep: Keep) -> None:
    keep.people.down = True
    keep.declare(declared("key"))
    keep.rotated("key", MONDAY - 60 * DAY)
    keep.turn()
    assert [row.person for row in keep.notices()] == ["@alice"]


def test_a_slack_that_hangs_is_waited_for_once_in_a_turn(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """At nine many owners are due at once, and each question would take as long as the first."""
    keep = Keep(database, Rules(escalation=(Stage(DAY, ("platform",), page=True),)))
    keep.declare(*(declared(f"key-{name}", name, channel="") for name in NAMES))
    for name in NAMES:
        keep.rotated(f"key-{name}", MONDAY - 89.5 * DAY)
    waited: list[str] = []

    def hangs(account: str) -> Person:
        waited.append(account)
        return keep.policy.resolve_person(account)

    finder = keep.reminders.recipients()
    finder.monotonic = lambda: 10.0 * len(waited)
    monkeypatch.setattr(keep.people, "person", hangs)
    monkeypatch.setattr(keep.people, "known", lambda account: None)
    monkeypatch.setattr(keep.people, "remembered", lambda names: dict.fromkeys(names))
    monkeypatch.setattr(keep.reminders, "recipients", lambda: finder)
    keep.reminders.turn()
    assert len(waited) == 1
    heard = {row.channel or row.person for row in keep.notices()}
    assert heard == {"C0DEFAULT", *(f"@{name}" for name in NAMES)}, "who is not known may well be reached"
    with keep.database.read() as reader:
        assert len(reader.pages()) == len(NAMES)


def test_escalation_reaches_others(keep: Keep) -> None:
    keep = Keep(keep.database, Rules(escalation=(Stage(3 * DAY, ("security", "bob")),)))
    keep.declare(declared("key", channel=""))
    keep.rotated("key", MONDAY)
    keep.run_until(MONDAY + 88 * DAY)
    assert ("@bob", 1) in [(row.person, row.payload["reminder"]["count"]) for row in keep.notices()]


def test_nobody_else_is_called_while_it_is_rotated_and_at_once_when_that_ends(keep: Keep) -> None:
    keep = Keep(keep.database, Rules(escalation=(Stage(3 * DAY, ("bob",), page=True),)))
    keep.declare(declared("key", channel=""))
    keep.rotated("key", MONDAY)
    keep.run_until(MONDAY + 80 * DAY)
    rotation = samples.request(keep.database, "key", approve_within=90 * DAY)
    keep.run_until(MONDAY + 88 * DAY)
    assert {row.person for row in keep.notices()} == {"@alice"}
    assert "3d" in [tier for _, _, tier in keep.told()], "its owner still hears"
    keep.pass_days(0.1)
    with keep.database.begin() as tx:
        samples.apply(tx, rotation, Cancelled("ann", "not now"))
    keep.turn()
    assert {row.person for row in keep.notices()} == {"@alice", "@bob"}


def test_what_nobody_approves_does_not_keep_the_pager_quiet(database: Database) -> None:
    keep = Keep(database, Rules(escalation=(Stage(DAY, ("channel",)), Stage(DAY, ("bob",), page=True))))
    keep.declare(declared("key", cadence=None))
    expires(keep, MONDAY + 5 * DAY)
    samples.request(keep.database, "key", approve_within=9 * DAY)
    keep.run_until(MONDAY + 5 * DAY - HOUR - timedelta(minutes=1))
    assert {row.channel or row.person for row in keep.notices()} == {"@alice"}
    keep.run_until(MONDAY + 5 * DAY - HOUR + timedelta(minutes=1))
    assert {row.channel or row.person for row in keep.notices()} == {"@alice", "@bob"}
    with keep.database.read() as reader:
        (page,) = reader.pages()
    assert page.credential == "key"


@pytest.mark.parametrize("jump", [-40 * DAY, -HOUR, HOUR, 40 * DAY])
def test_a_clock_that_jumps_tells_nothing_twice(keep: Keep, jump: timedelta) -> None:
    keep.declare(declared("key"))
    keep.rotated("key", MONDAY)
    keep.run_until(MONDAY + 77 * DAY)
    keep.go_to(keep.now + jump)
    keep.turn()
    keep.run_until(max(MONDAY + 95 * DAY, keep.now + 3 * DAY))
    told = [tier for _, _, tier in keep.told()]
    assert sorted(tier for tier in told if "+" not in tier) == sorted(
        ["30d", "14d", "90%", "7d", "escalation-1", "3d", "1d", "escalation-2", "due", "expired"]
    )
    assert [tier for tier in told if "+" in tier] == (["expired+28d"] if jump == 40 * DAY else [])


def test_what_is_gone_is_not_reminded_of(keep: Keep) -> None:
    keep.declare(declared("key", place="identity:a/key"))
    keep.rotated("key", MONDAY - 60 * DAY)
    with keep.database.begin() as tx:
        tx.connection.exec_driver_sql("UPDATE credential SET status = 'gone'")
    keep.turn()
    assert keep.notices() == []
    assert keep.row("key").next_due is None


def test_everything_is_looked_at_anew_when_the_rules_change(keep: Keep) -> None:
    keep.declare(declared("key"))
    keep.rotated("key", MONDAY)
    keep.turn()
    far = keep.row("key").remind_at
    with keep.database.begin() as tx:
        tx.look_at_all()
    keep.turn()
    assert keep.row("key").remind_at == far


def test_a_digest_is_sent_once_a_month(keep: Keep) -> None:
    keep.declare(declared("key"), declared("other", "bob"))
    keep.rotated("key", MONDAY - 85 * DAY)
    keep.rotated("other", MONDAY)
    keep.turn()
    for _ in range(40):
        keep.owners.turn()
        keep.database.clock.advance(DAY)
    found = [row for row in keep.notices() if row.key.startswith("digest-")]
    assert sorted((row.key, row.person) for row in found) == [
        ("digest-2027-01-alice-@alice", "@alice"),
        ("digest-2027-01-bob-@bob", "@bob"),
        ("digest-2027-02-alice-@alice", "@alice"),
        ("digest-2027-02-bob-@bob", "@bob"),
    ]
    january = found[0].payload["digest"]
    assert (january["counts"], [item["credential"] for item in january["items"]]) == ({"soon": 1}, ["key"])
    assert PRODUCTION in january["items"][0]["environment"]


def test_a_digest_comes_while_its_owner_works(sqlite_database: Database) -> None:
    tokyo = ZoneInfo("Asia/Tokyo")
    keep = Keep(sqlite_database, Rules(zones={"bob": tokyo}), at=datetime(2027, 1, 31, 12, tzinfo=UTC))
    keep.declare(declared("key"), declared("other", "bob"))
    came: dict[str, datetime] = {}
    for _ in range(60):
        keep.owners.turn()
        for row in keep.notices():
            came.setdefault(row.key, keep.now)
        keep.database.clock.advance(HOUR)
    assert set(came) == {"digest-2027-02-alice-@alice", "digest-2027-02-bob-@bob"}, "January ended on a Sunday"
    alice, bob = (came[f"digest-2027-02-{name}-@{name}"] for name in ("alice", "bob"))
    assert (alice.day, alice.hour) == (1, 9)
    assert (bob.astimezone(tokyo).day, bob.astimezone(tokyo).hour) == (1, 9)


def test_a_digest_that_nobody_could_send_in_time_waits_for_the_morning(keep: Keep) -> None:
    keep.declare(declared("key"))
    keep.go_to(MONDAY.replace(hour=22))
    keep.owners.turn()
    assert keep.notices() == []
    keep.go_to(MONDAY + DAY)
    keep.owners.turn()
    assert [row.key for row in keep.notices()] == ["digest-2027-01-alice-@alice"]
