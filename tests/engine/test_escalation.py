"""Reminders, escalations and expiry: each exactly once over restarts and replicas, and nobody comes in unasked."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from bot.core.errors import Refused, Transient
from bot.core.rotation import State
from bot.store.database import Database
from tests.engine.stage import MINUTE, ORDINARY, REVOKING, Stage
from tests.ssh import need_ssh_keygen

UNSIGNED = (replace(REVOKING, signed=False), ORDINARY)
SECOND = timedelta(seconds=1)


@pytest.fixture
def stage(sqlite_database: Database, tmp_path: Path) -> Stage:
    return Stage(sqlite_database, tmp_path, UNSIGNED)


def refusal(act: Callable[[], object]) -> str:
    with pytest.raises(Refused) as refused:
        act()
    return refused.value.code


def test_everybody_is_called_once_by_many_replicas_and_after_restarts(database: Database, tmp_path: Path) -> None:
    stage = Stage(database, tmp_path, UNSIGNED)
    rotation = stage.revoke()
    for _ in range(31):
        replicas = [stage.timers() for _ in range(3)]  # each minute three new ones: what they knew before is lost
        ready = threading.Barrier(3)

        def tick(each: object, ready: threading.Barrier = ready) -> None:
            ready.wait()
            each.tick()  # type: ignore[attr-defined]  # a replica's timers

        stage.clock.advance(MINUTE)
        threads = [threading.Thread(target=tick, args=(each,)) for each in replicas]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        stage.pass_time(timedelta(0), *replicas)
    escalated = stage.audit(rotation, "approval.escalated")
    assert [row.detail["to"] for row in escalated] == [["platform-oncall"], ["director"]]
    asked = [(row.at - rotation.created_at) // MINUTE for row in stage.audit(rotation, "approval.reminded")]
    assert asked == sorted(set(asked)), "a reminder came twice"
    assert 9 <= len(asked) <= 13
    assert stage.load(rotation).state is State.ABANDONED
    assert len(stage.audit(rotation, "rotation.abandoned")) == 1
    assert stage.load(rotation).steps[0].attempt == 0, "it revoked without anybody's approval"


def test_an_escalation_brings_in_whom_it_names_and_nobody_else(stage: Stage) -> None:
    rotation = stage.revoke()
    assert refusal(lambda: stage.vote("erin", rotation, sign=False)) == "not-an-approver"
    stage.people.members["sec-oncall"].add("mallory")  # after the request, before the escalation
    stage.people.members["sec-oncall"].discard("carol")
    stage.pass_time(5 * MINUTE + SECOND)
    known = stage.load(rotation).eligible
    assert set(known or {}) == {"bob", "carol", "erin"}
    assert refusal(lambda: stage.vote("mallory", rotation, sign=False)) == "not-eligible-then"
    assert refusal(lambda: stage.vote("carol", rotation, sign=False)) == "not-an-approver"
    assert refusal(lambda: stage.vote("dave", rotation, sign=False)) == "not-an-approver", "his stage is not called yet"
    assert stage.vote("erin", rotation, sign=False).state is State.APPROVED


def test_who_joins_the_next_group_before_it_is_called_is_called_with_it(stage: Stage) -> None:
    rotation = stage.revoke()
    stage.people.members["director"].add("mallory")
    stage.pass_time(16 * MINUTE)
    assert stage.load(rotation).escalated == 2
    assert {"dave", "mallory"} <= set(stage.load(rotation).eligible or {})
    stage.people.members["director"].add("frank")
    assert "frank" not in (stage.load(rotation).eligible or {})


def test_an_escalation_waits_a_moment_for_slack_and_then_goes_out_without(stage: Stage) -> None:
    rotation = stage.revoke()
    stage.pass_time(2 * MINUTE)
    stage.people.down = True
    stage.clock.advance(3 * MINUTE + SECOND)
    with pytest.raises(Transient, match="Slack did not say who is in platform-oncall"):
        stage.board.called(stage.load(rotation))
    stage.pass_time(MINUTE)
    after = stage.load(rotation)
    assert after.escalated == 1, "nobody was paged while Slack was away"
    assert set(after.eligible or {}) == {"bob", "carol"}, "who was frozen before must be able to sign on the host"


def test_slack_away_at_the_escalation_still_leaves_two_people_on_the_host(
    sqlite_database: Database, tmp_path: Path
) -> None:
    need_ssh_keygen()
    stage = Stage(sqlite_database, tmp_path)
    rotation = stage.revoke()
    stage.people.down = True
    stage.pass_time(6 * MINUTE + SECOND)
    assert stage.load(rotation).escalated == 1
    assert stage.vote("bob", stage.load(rotation), surface="cli").state is State.APPROVED


def test_where_nothing_is_said_they_are_reminded_once_at_half_time(sqlite_database: Database, tmp_path: Path) -> None:
    silent = replace(REVOKING, signed=False, remind=None, escalation=())
    stage = Stage(sqlite_database, tmp_path, (silent, ORDINARY))
    rotation = stage.revoke()
    stage.pass_time(14 * MINUTE)
    assert stage.audit(rotation, "approval.reminded") == []
    for _ in range(16):
        stage.pass_time(MINUTE + SECOND)
    asked = [(row.at - rotation.created_at) // MINUTE for row in stage.audit(rotation, "approval.reminded")]
    assert asked == [15]


def test_nobody_is_called_after_the_approval(stage: Stage) -> None:
    rotation = stage.revoke()
    stage.vote("bob", rotation, sign=False)
    stage.pass_time(29 * MINUTE)
    assert stage.audit(rotation, "approval.escalated") == stage.audit(rotation, "approval.reminded") == []


def test_a_vote_and_an_escalation_at_once(database: Database, tmp_path: Path) -> None:
    stage = Stage(database, tmp_path, UNSIGNED)
    rotation = stage.revoke()
    stage.clock.advance(5 * MINUTE + SECOND)
    called = stage.board.called(stage.load(rotation))
    timers = stage.timers()
    timer = threading.Thread(target=timers.tick)
    timer.start()
    approved = stage.vote("bob", rotation, sign=False)
    timer.join()
    stage.pass_time(timedelta(0), timers)
    assert approved.state is State.APPROVED
    assert called.stage == 1
    assert len(stage.audit(rotation, "approval.escalated")) <= 1
    assert stage.load(rotation).state is State.APPROVED
