"""Reminders that do not arrive: the audit says so, and the next of the route hears, once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from bot.contracts.adapter import Found
from bot.core.automatic import Automatic
from bot.core.errors import Permanent
from bot.core.expiry import EXPIRED, stages
from bot.core.incident import opened
from bot.core.policy import PersonKind
from bot.core.reminders import Rules, Stage
from bot.core.rotation import Stage as Progress
from bot.engine.arrivals import tell_owner, undelivered
from bot.engine.automatic import Starter
from bot.engine.expiry import follow_expiry, open_expiry
from bot.engine.owners import Owners
from bot.engine.recipients import Recipient, Recipients
from bot.store.database import Database
from bot.store.records import CredentialRow
from bot.store.writing import Transaction
from playground.workspace.workspace import Workspace
from tests.engine.keeping_stage import DAY, HOUR, MONDAY, PRODUCTION, Keep, declared
from tests.slack.mail import Mail
from tests.store import samples

RULES = Rules(escalation=(Stage(7 * DAY, ("channel",)),), route=("channel", "@nobody", "security"))


@pytest.fixture
def keep(sqlite_database: Database) -> Keep:
    return a_keep(sqlite_database)


def a_keep(database: Database, owner: str = "alice", left: int = 30) -> Keep:
    keep = Keep(database, RULES)
    keep.declare(declared("key", owner, channel="C0OPS"))
    keep.rotated("key", MONDAY - (90 - left) * DAY)
    return keep


def said(workspace: Workspace, channel: str = "ops") -> int:
    return len([one for one in workspace.messages(channel) if one.metadata and "key" in one.words])


GONE: dict[str, Callable[[Workspace], object]] = {
    "the account is deactivated": lambda workspace: workspace.deactivate("alice"),
    "direct messages are closed": lambda workspace: workspace.faults.web(
        "conversations.open", times=None, error="missing_scope"
    ),
    "every post is refused": lambda workspace: workspace.faults.web(
        "chat.postMessage", times=None, error="no_text", channel=workspace.place("alice", "@keyturn").id
    ),
}


@pytest.mark.parametrize("how", GONE)
def test_a_reminder_that_does_not_reach_its_owner_goes_to_the_next(keep: Keep, workspace: Workspace, how: str) -> None:
    mail = Mail(keep, workspace)
    GONE[how](workspace)
    mail.pass_hours(6, each=6)
    assert said(workspace) == 1
    (failed,) = keep.audit("reminder.undelivered")
    assert (failed.credential, failed.detail["environment"], failed.detail["to"]) == ("key", PRODUCTION, "@alice")
    assert failed.detail["tiers"]
    assert failed.detail["why"]
    assert [row.detail["told"] for row in keep.audit("credential.reminded")] == [["@alice"], ["C0OPS"]]
    assert [row.detail["to"] for row in keep.audit("reminder.delivered")] == ["C0OPS"]
    assert "Slack takes no messages for alice" in keep.row("key").owner_finding
    assert len(keep.told()) == len(set(keep.told()))


def test_where_the_channel_is_archived_as_well_the_next_but_one_hears(keep: Keep, workspace: Workspace) -> None:
    mail = Mail(keep, workspace)
    workspace.deactivate("alice")
    workspace.archive("ops")
    mail.pass_hours(1, each=5)
    assert [row.detail["to"] for row in keep.audit("reminder.undelivered")] == ["@alice", "C0OPS"]
    assert [row.detail["to"] for row in keep.audit("reminder.delivered")] == ["@bob"]
    assert len(mail.read("bob")) == 1


def test_what_somebody_else_got_is_not_told_again(sqlite_database: Database, workspace: Workspace) -> None:
    """A week ahead its owner and the channel hear it at once: of these the channel has it."""
    keep = a_keep(sqlite_database, left=7)
    mail = Mail(keep, workspace)
    workspace.deactivate("alice")
    mail.pass_hours(6, each=60)
    assert said(workspace) == 1
    (failed,) = keep.audit("reminder.undelivered")
    assert failed.detail["again"] is False
    assert len(keep.audit("credential.reminded")) == 1


def test_a_closed_place_is_tried_again_after_a_day(keep: Keep, workspace: Workspace) -> None:
    mail = Mail(keep, workspace)
    workspace.deactivate("alice")
    mail.pass_hours(1, each=20)
    workspace.reactivate("alice")
    keep.go_to(MONDAY + 17 * DAY)
    mail.pass_hours(1, each=20)
    assert [row.detail["to"] for row in keep.audit("reminder.delivered")] == ["C0OPS", "@alice"]


def test_two_replicas_that_give_up_the_same_message_tell_it_anew_once(database: Database) -> None:
    keep = a_keep(database)
    keep.turn()
    (row,) = keep.notices()
    settled = []
    for _ in range(2):
        with database.begin() as tx:
            settled.append(tx.give_up(row.id, "user_disabled"))
            if settled[-1]:
                undelivered(tx, row, "user_disabled")
    with database.begin() as tx:
        settled.append(tx.sent(row.id, "1.0"))
    assert settled == [True, False, False]
    keep.turn()
    assert [one.channel for one in keep.notices(unsent=True)] == ["C0OPS"]
    assert len(keep.audit("reminder.undelivered")) == 1
    assert len(keep.told()) == len(set(keep.told())) == 1


def test_where_nobody_of_an_escalation_takes_messages_the_route_hears(sqlite_database: Database) -> None:
    keep = Keep(sqlite_database)
    closed = {"@carol": "user_disabled", "C0OPS": "is_archived"}
    finder = Recipients(keep.policy, keep.people, {}, ("channel", "bob"), closed)
    assert finder.instead(("carol", "channel"), "C0OPS") == (Recipient("@bob"),)
    assert finder.instead(("carol", "dave"), "C0OPS") == (Recipient("@dave"),)
    assert finder.instead((), "C0OPS") == (), "a stage for the pager alone"


def test_a_message_that_is_given_up_tells_no_other_anew(database: Database) -> None:
    keep = Keep(database, RULES)
    keep.declare(*(declared(name, owner) for name, owner in (("key", "alice"), ("key-2", "bob"))))
    for name in ("key", "key-2"):
        keep.rotated(name, MONDAY - 60 * DAY)
    keep.turn()
    row = next(one for one in keep.notices() if one.person == "@alice")
    before = {told for told in keep.told() if told[0] == "key-2"}
    with database.begin() as tx:
        assert tx.give_up(row.id, "is_archived")
        undelivered(tx, row, "is_archived")
    assert {told for told in keep.told()} == before
    keep.database.clock.advance(HOUR)
    keep.turn()
    assert {name for name, _, _ in keep.told()} == {"key", "key-2"}


# --- word of what failed by itself ------------------------------------------------------------------------------------


OWNED = Rules(route=("bob", "carol"))


def failed(keep: Keep, owner: str = "alice") -> None:
    """An automatic rotation of this owner's needs somebody."""
    rotation = samples.request(keep.database, "key", owner=owner)
    with keep.database.begin() as tx:
        tell_owner(tx, replace(rotation, channel="C0OPS"), "automatic-held-1-2", "The automatic rotation needs you.")


@pytest.mark.parametrize(
    ("owner", "away", "heard"),
    [("alice", False, "alice"), ("alice", True, "bob"), ("security", False, ""), ("nobody", False, "bob")],
    ids=["the owner", "who hears for an owner who is away", "a group in the channel", "an empty group"],
)
def test_who_hears_of_a_failed_automatic_rotation(
    sqlite_database: Database, workspace: Workspace, owner: str, away: bool, heard: str
) -> None:
    keep = Keep(sqlite_database, OWNED)
    if away:
        keep.people.away["alice"] = PersonKind.DEACTIVATED
    failed(keep, owner)
    mail = Mail(keep, workspace)
    mail.pass_hours(0.5, each=5)
    got = {name for name in ("alice", "bob", "carol") if mail.read(name)}
    assert got == ({heard} if heard else set())
    assert not keep.notices(unsent=True)


def test_who_is_gone_when_it_is_sent_is_replaced_by_the_next(sqlite_database: Database, workspace: Workspace) -> None:
    keep = Keep(sqlite_database, OWNED)
    failed(keep)
    mail = Mail(keep, workspace)
    workspace.deactivate("alice")
    workspace.deactivate("bob")
    mail.pass_hours(0.5, each=5)
    assert [row.detail["to"] for row in keep.audit("reminder.undelivered")] == ["@alice", "@bob"]
    assert len(mail.read("carol")) == 1
    assert not keep.notices(unsent=True)


def test_where_nobody_is_left_it_is_said_and_given_up(sqlite_database: Database, workspace: Workspace) -> None:
    keep = Keep(sqlite_database, OWNED)
    failed(keep)
    mail = Mail(keep, workspace)
    for name in ("alice", "bob", "carol"):
        keep.people.away[name] = PersonKind.DEACTIVATED
    mail.pass_hours(0.5, each=5)
    (row,) = keep.audit("reminder.undelivered")
    assert "nobody can be told" in row.detail["why"]
    assert not keep.notices(unsent=True)


# --- word of what nobody started --------------------------------------------------------------------------------------


def leftover(keep: Keep) -> str:
    """An old version is about to expire."""
    keep.system.held = [
        Found("svc/a", "k1", "api-key", MONDAY - 80 * DAY, MONDAY + 20 * DAY),
        Found("svc/a", "k2", "api-key", MONDAY - DAY, MONDAY + 300 * DAY),
    ]
    keep.declare(declared("key", "alice", None, "svc/a", channel="C0OPS"))
    keep.discover()
    keep.watch.turn()
    return "k1 of key (production) expires on"


def moved(keep: Keep) -> str:
    """Somebody gave the same version a later date."""
    for days in (40, 80):
        keep.system.held = [Found("svc/a", "k1", "api-key", MONDAY - 80 * DAY, MONDAY + days * DAY)]
        keep.declare(declared("key", "alice", None, "svc/a", channel="C0OPS"))
        keep.discover()
    keep.watch.turn()
    return "moved by hand"


def not_started(keep: Keep) -> str:
    """Policy would rotate it, and cannot."""

    def start(row: CredentialRow, reason: str, ahead: timedelta, kept: Callable[[Transaction], None]) -> None:
        raise Permanent("no adapter offers it", "install it")

    keep.declare(declared("key", "alice", channel="C0OPS"))
    keep.rotated("key", MONDAY - 89 * DAY - HOUR)
    with keep.database.begin() as tx:
        tx.update_credential("key", PRODUCTION, starts_at=tx.now, remind_at=None, next_due=MONDAY + DAY - HOUR)
    Starter(keep.database, start, (Automatic(),), keep.reminders.recipients).turn()
    return "could not start: no adapter offers it; install it"


@pytest.mark.parametrize("what", [leftover, moved, not_started], ids=lambda one: one.__name__)
def test_what_its_owner_does_not_get_goes_to_the_next_of_the_route(
    sqlite_database: Database, workspace: Workspace, what: Callable[[Keep], str]
) -> None:
    keep = Keep(sqlite_database, OWNED)
    mail = Mail(keep, workspace)
    workspace.deactivate("alice")
    text = what(keep)
    mail.pass_hours(0.5, each=5)
    (failed,) = [row for row in keep.audit("reminder.undelivered") if "tiers" not in row.detail]
    assert (failed.credential, failed.detail["environment"], failed.detail["to"]) == ("key", PRODUCTION, "@alice")
    assert len([one for one in mail.read("bob") if text in one.words]) == 1
    assert not [one for one in mail.read("carol") if text in one.words]
    assert not keep.notices(unsent=True)


def test_word_of_a_blind_discovery_reaches_those_of_a_team_whose_channel_is_archived(
    sqlite_database: Database, workspace: Workspace
) -> None:
    keep = Keep(sqlite_database, Rules(route=("platform",)))
    mail = Mail(keep, workspace)
    workspace.archive("ops")
    keep.system.breaks = (0, Permanent("its account was taken away", "give it back"))
    for _ in range(5):
        keep.discover()
    Owners(keep.database, keep.rules, keep.reminders.recipients, "C0OPS").turn()
    mail.pass_hours(0.5, each=5)
    (failed,) = keep.audit("reminder.undelivered")
    assert failed.detail["to"] == "C0OPS"
    assert [len(mail.read(name)) for name in ("carol", "dave")] == [1, 1]
    assert not keep.notices(unsent=True)


def test_a_team_of_which_one_takes_no_messages_hears_once(sqlite_database: Database, workspace: Workspace) -> None:
    keep = Keep(sqlite_database, OWNED)
    mail = Mail(keep, workspace)
    workspace.archive("ops")
    workspace.deactivate("carol")
    failed(keep, "platform")
    with keep.database.begin() as tx:
        tx.close_place("C0OPS", "is_archived")
    mail.pass_hours(0.5, each=5)
    assert [row.detail["to"] for row in keep.audit("reminder.undelivered")] == ["@carol"]
    assert [len(mail.read(name)) for name in ("bob", "dave")] == [0, 1]
    assert not keep.notices(unsent=True)


def test_the_incident_hears_which_of_its_callers_were_not_told(sqlite_database: Database, workspace: Workspace) -> None:
    keep = Keep(sqlite_database, OWNED)
    mail = Mail(keep, workspace)
    team, shop, closed = (workspace.place("bob", name).id for name in ("ops", "security", "partner-api"))
    keep.declare(replace(declared("key"), detail={"channel": team, "callers": [shop, closed]}))
    workspace.archive("partner-api")
    plan = replace(samples.plan(credential="key"), environment=PRODUCTION, word=EXPIRED, steps=stages())
    with keep.database.begin() as tx:
        rotation = open_expiry(tx, plan, team)
        tx.save_incident(None, *opened(rotation.number, "key", PRODUCTION, private=False, by="alice", now=tx.now))
        done = tuple(replace(step, stage=Progress.DONE, by="alice") for step in rotation.steps)
        follow_expiry(tx, rotation, replace(rotation, steps=done))
    for _ in range(4):
        mail.turn()
    assert len([one for one in workspace.messages("security") if "of key (production) expired" in one.words]) == 1
    (missed,) = keep.audit("incident.callers-not-told")
    assert (missed.rotation, missed.credential) == (rotation.id, "key")
    assert (missed.detail["to"], missed.detail["why"]) == (closed, "is_archived")
    assert keep.audit("reminder.undelivered") == [], "the next incident would count it as a reminder"
    text = f"The callers in {closed} were not told what this meant (is_archived): tell them in another way."
    assert [one.words for one in workspace.messages("ops") if text in one.words]
