"""Reminders while Slack is away for a day: none is lost, none is doubled, and what is late is one message."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from bot.store.database import Database
from playground.workspace.seed import BOT_USER
from playground.workspace.workspace import Workspace
from tests.engine.keeping_stage import DAY, MONDAY, Keep, declared
from tests.slack.mail import NOBODY_LISTENS, Mail

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def keep(sqlite_database: Database) -> Keep:
    return Keep(sqlite_database, at=MONDAY)


def due_in(keep: Keep, hours: dict[str, int], owners: tuple[str, ...] = ("alice",)) -> None:
    """Each has its tier of 30 days after so many hours; the owners take turns."""
    keep.declare(*(declared(name, owners[i % len(owners)], channel="C0OPS") for i, name in enumerate(hours)))
    for name, left in hours.items():
        keep.rotated(name, keep.now - 60 * DAY + timedelta(hours=left))


def said(mail: Mail, user: str = "alice") -> list[list[str]]:
    """The credentials that each message to a person names."""
    return [[name for name in ("first", "second", "third") if name in one.words] for one in mail.read(user)]


AWAY: dict[str, Callable[[Workspace], object]] = {
    "refuses to work": lambda workspace: workspace.faults.down("503"),
    "hangs up": lambda workspace: workspace.faults.down("cut"),
    "fails inside": lambda workspace: workspace.faults.web("*", times=None, error="internal_error"),
    "limits everything": lambda workspace: workspace.faults.web("*", times=None, status=429, retry_after=60),
    "refuses the token": lambda workspace: workspace.faults.web("*", times=None, error="invalid_auth"),
}


@pytest.mark.parametrize("how", AWAY)
def test_a_lone_reminder_outlives_a_day_without_slack(keep: Keep, workspace: Workspace, how: str) -> None:
    due_in(keep, {"first": 0})
    mail = Mail(keep, workspace)
    AWAY[how](workspace)
    mail.pass_hours(24)
    assert said(mail) == []
    workspace.faults.clear()
    mail.pass_hours(0.5, each=5)
    assert said(mail) == [["first"]]
    assert [row.failures for row in keep.notices()] == [0]


def test_answers_that_are_lost_for_a_day_double_nothing(keep: Keep, workspace: Workspace) -> None:
    due_in(keep, {"first": 0})
    mail = Mail(keep, workspace)
    for method in ("chat.postMessage", "conversations.history"):
        workspace.faults.web(method, times=None, cut="after")
    mail.pass_hours(24)
    assert said(mail) == [["first"]], "it arrived, though nobody heard so"
    assert keep.notices(unsent=True)
    workspace.faults.clear()
    mail.pass_hours(0.5, each=5)
    assert said(mail) == [["first"]]
    assert not keep.notices(unsent=True)


def test_a_slack_that_hangs_costs_no_reminder(keep: Keep, workspace: Workspace) -> None:
    due_in(keep, {"first": 0})
    mail = Mail(keep, workspace, timeout=1.0)
    hanging = workspace.faults.web("*", times=None, hang=30.0)
    mail.pass_hours(2, each=20.0)
    assert hanging.fired >= 4
    workspace.faults.clear()
    mail.pass_hours(0.5, each=5)
    assert said(mail) == [["first"]]


def test_what_falls_due_while_slack_cannot_be_reached_is_one_message(keep: Keep, workspace: Workspace) -> None:
    due_in(keep, {"first": 0, "second": 24, "third": 48})
    Mail(keep, workspace, NOBODY_LISTENS).pass_hours(72)
    mail = Mail(keep, workspace)
    mail.pass_hours(0.5, each=5)
    assert said(mail) == [["first", "second", "third"]]


def test_what_was_added_after_a_lost_answer_is_shown(keep: Keep, workspace: Workspace) -> None:
    """The first message is posted and nobody heard so: what comes later has to be a message of its own."""
    due_in(keep, {"first": 0, "second": 24, "third": 48})
    mail = Mail(keep, workspace)
    workspace.faults.web("chat.postMessage", cut="after")
    workspace.faults.at("chat.postMessage", lambda: workspace.faults.down(), after=True)
    mail.pass_hours(72)
    assert said(mail) == [["first"]]
    workspace.faults.clear()
    mail.pass_hours(0.5, each=5)
    assert said(mail) == [["first"], ["second", "third"]]


def test_only_one_message_is_risked_while_slack_is_away(keep: Keep, workspace: Workspace) -> None:
    """What was not tried can still take in more: it is asked first whether Slack is there."""
    due_in(keep, dict.fromkeys(("first", "second", "third"), 0), ("alice", "bob", "carol"))
    mail = Mail(keep, workspace)
    workspace.faults.down()
    mail.pass_hours(24)
    assert len([row for row in keep.notices() if row.note]) == 1
    assert len([one for one in workspace.calls if one.method != "auth.test"]) == 1


def test_a_mark_that_a_message_may_be_posted_outlives_other_troubles(keep: Keep, workspace: Workspace) -> None:
    """Lost, then limited, then refused: it is still looked for before it is posted again."""
    due_in(keep, {"first": 0})
    mail = Mail(keep, workspace)
    workspace.faults.web("chat.postMessage", cut="after")
    mail.pass_hours(1 / 60, each=1)
    workspace.faults.web("conversations.history", status=429, retry_after=1)
    workspace.faults.web("conversations.open", error="invalid_auth")
    mail.pass_hours(0.5, each=5)
    assert said(mail) == [["first"]]
    assert not keep.notices(unsent=True)


def test_a_message_that_slack_fails_at_holds_up_no_other(keep: Keep, workspace: Workspace) -> None:
    due_in(keep, {"first": 0, "second": 0}, ("alice", "bob"))
    mail = Mail(keep, workspace)
    alice = workspace.place("alice", f"@{workspace.state.users[BOT_USER].name}").id
    workspace.faults.web("chat.postMessage", times=None, error="internal_error", channel=alice)
    mail.pass_hours(0.5, each=5)
    assert said(mail, "bob") == [["second"]]
