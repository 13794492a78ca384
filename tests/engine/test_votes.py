"""Whose votes count, on live membership, with real signatures: groups that change, delegates, doubles, Slack away."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bot.core.errors import Refused
from bot.core.policy import Delegate, Person, PersonKind
from bot.core.rotation import Rotation, State
from bot.store.database import Database
from tests.engine.stage import MINUTE, ORDINARY, REVOKING, Stage, bound_to
from tests.ssh import need_ssh_keygen

pytestmark = pytest.mark.usefixtures("keygen")
Opener = Callable[..., Database]


@pytest.fixture
def keygen() -> None:
    need_ssh_keygen()


@pytest.fixture
def stage(sqlite_database: Database, tmp_path: Path) -> Stage:
    return Stage(sqlite_database, tmp_path)


def refusal(act: Callable[[], Any]) -> str:
    with pytest.raises(Refused) as refused:
        act()
    return refused.value.code


def test_a_signed_vote_of_another_approver_counts_and_its_signature_is_kept(stage: Stage) -> None:
    rotation = stage.revoke()
    approved = stage.vote("bob", rotation)
    assert approved.state is State.APPROVED
    counted = stage.audit(rotation, "vote.counted")[0].detail
    assert counted["key"] == stage.key("bob").fingerprint
    assert "BEGIN SSH SIGNATURE" in counted["signature"]
    assert approved.votes[0].key == stage.key("bob").fingerprint


def test_who_joins_the_group_after_the_request_has_no_say(stage: Stage) -> None:
    rotation = stage.revoke()
    stage.people.members["sec-oncall"].add("mallory")
    assert refusal(lambda: stage.vote("mallory", rotation)) == "not-eligible-then"
    assert refusal(lambda: stage.vote("mallory", rotation, sign=False, approve=False)) == "not-eligible-then"
    assert stage.load(rotation).state is State.REQUESTED


def test_who_leaves_the_group_after_the_request_has_none_either(stage: Stage) -> None:
    rotation = stage.revoke()
    stage.people.members["sec-oncall"].remove("bob")
    assert refusal(lambda: stage.vote("bob", rotation)) == "not-an-approver"
    assert len(stage.audit(rotation, "vote.refused")) == 1
    assert stage.vote("carol", rotation).state is State.APPROVED


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (PersonKind.GUEST, "kind-guest"),
        (PersonKind.BOT, "kind-bot"),
        (PersonKind.DEACTIVATED, "kind-deactivated"),
        (PersonKind.STRANGER, "kind-stranger"),
        (PersonKind.UNKNOWN, "kind-unknown"),
    ],
)
def test_only_full_members_vote_even_with_a_signature(stage: Stage, kind: PersonKind, code: str) -> None:
    rotation = stage.revoke()
    assert refusal(lambda: stage.vote("bob", rotation, kind=kind)) == code


def test_the_requester_is_nobody_s_second_person_under_any_account(stage: Stage) -> None:
    stage.people.members["sec-oncall"] |= {"alice", "slack:U0ALICE", "os:alice"}
    rotation = stage.revoke()
    alias = Person("os:alice", os_user="alice", kind=PersonKind.MEMBER)
    assert refusal(lambda: stage.vote("alice", rotation)) == "own-request"
    assert refusal(lambda: stage.vote("alice", rotation, who=alias, sign=stage.signature("alice", rotation))) in (
        "own-request",
        "unknown-signer",
    )


def test_signatures_that_do_not_count(stage: Stage) -> None:
    rotation = stage.revoke()
    stage.key("bob")
    assert refusal(lambda: stage.vote("bob", rotation, sign=False)) == "unsigned"
    assert refusal(lambda: stage.vote("bob", rotation, sign=stage.signature("carol", rotation))) == "unknown-signer"
    for word in ("break-glass", "request", "reject"):
        other = stage.signature("bob", rotation, word)
        assert refusal(lambda other=other: stage.vote("bob", rotation, sign=other)) == "bad-signature"  # type: ignore[misc]
    calls = stage.people.asked
    forged = replace(rotation, nonce="0" * 16)
    assert refusal(lambda: stage.vote("bob", forged)) == "stale-plan", "signed, but not for what stands there"
    assert stage.people.asked == calls, "Slack was asked about a vote that cannot count"
    edited = {"bound": bound_to(rotation), "sign": stage.signature("bob", forged)}
    assert refusal(lambda: stage.vote("bob", rotation, **edited)) == "bad-signature"
    assert stage.load(rotation).votes == ()


def test_a_signature_is_no_key_to_a_second_request(stage: Stage) -> None:
    rotation = stage.revoke()
    old = stage.signature("bob", rotation)
    stage.plans.fact = "k2"
    stage.vote("carol", rotation)
    stage.work()  # the worker plans again, and finds that the world has changed
    again = stage.load(rotation)
    assert (again.state, again.votes) == (State.REQUESTED, ())
    assert refusal(lambda: stage.vote("bob", rotation, sign=old)) == "stale-plan"
    assert refusal(lambda: stage.vote("bob", again, sign=old)) == "bad-signature"
    assert stage.vote("bob", again).state is State.APPROVED
    stage.work()
    assert stage.load(rotation).state is State.PROMOTED


def test_nobody_counts_twice(sqlite_database: Database, tmp_path: Path) -> None:
    stage = Stage(sqlite_database, tmp_path, (replace(REVOKING, count=2), ORDINARY))
    rotation = stage.revoke()
    assert stage.vote("bob", rotation).missing_approvals == 1
    assert refusal(lambda: stage.vote("bob", rotation)) == "double-vote"
    assert stage.load(rotation).state is State.REQUESTED
    assert stage.vote("carol", rotation).state is State.APPROVED


def test_a_delegate_stands_in_and_one_right_counts_once(sqlite_database: Database, tmp_path: Path) -> None:
    until = sqlite_database.now() + timedelta(days=1)
    delegates = (Delegate("bob", "dave", until), Delegate("bob", "erin", until), Delegate("alice", "mallory", until))
    stage = Stage(sqlite_database, tmp_path, (replace(REVOKING, count=2, escalation=()), ORDINARY), delegates)
    stage.people.members["sec-oncall"].add("alice")
    rotation = stage.revoke()
    assert refusal(lambda: stage.vote("mallory", rotation)) == "not-an-approver", "nobody stands in for the requester"
    assert stage.vote("dave", rotation).votes[0].instead_of == "bob"
    assert refusal(lambda: stage.vote("erin", rotation)) == "stood-in-already"
    both = stage.vote("bob", rotation)
    assert (both.state, both.missing_approvals) == (State.REQUESTED, 1), "bob's right counted twice"
    assert stage.vote("carol", rotation).state is State.APPROVED


def test_a_delegation_ends_between_the_request_and_the_click(sqlite_database: Database, tmp_path: Path) -> None:
    until = sqlite_database.now() + 5 * MINUTE
    stage = Stage(sqlite_database, tmp_path, delegates=(Delegate("bob", "dave", until),))
    rotation = stage.revoke()
    assert "dave" in (rotation.eligible or {})
    stage.clock.advance(6 * MINUTE)
    assert refusal(lambda: stage.vote("dave", rotation)) == "not-an-approver"


def test_clicks_after_the_end_change_nothing(stage: Stage) -> None:
    rotation = stage.revoke()
    stage.clock.advance(30 * MINUTE)
    assert refusal(lambda: stage.vote("bob", rotation)) == "expired"
    stage.timers().tick()
    assert refusal(lambda: stage.vote("bob", rotation)) == "late"


def test_many_clicks_at_once_are_one_approval(database: Database, tmp_path: Path) -> None:
    stage = Stage(database, tmp_path, (replace(REVOKING, signed=False), ORDINARY))
    rotation = stage.revoke()
    answers: list[str] = []
    ready = threading.Barrier(16)

    def click(person: str) -> None:
        ready.wait()
        try:
            answers.append(stage.vote(person, rotation, sign=False).state.value)
        except Refused as error:
            answers.append(error.code)

    threads = [threading.Thread(target=click, args=(("bob", "carol")[i % 2],)) for i in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers.count("approved") == 1, answers
    assert len(stage.audit(rotation, "vote.counted")) == len(stage.audit(rotation, "rotation.approved")) == 1
    assert stage.load(rotation).steps[0].attempt == 1
    assert set(answers) <= {"approved", "late", "busy", "double-vote"}


def test_without_slack_two_signatures_on_the_host_are_two_people(stage: Stage) -> None:
    rotation = stage.revoke(surface="cli")
    assert rotation.unconfirmed
    stage.people.down = True
    assert refusal(lambda: stage.vote("bob", rotation, sign=False, surface="cli")) == "unsigned"
    assert refusal(lambda: stage.vote("mallory", rotation, surface="cli")) == "group-unknown"
    waiting = stage.vote("bob", rotation, surface="cli")
    assert (waiting.state, waiting.unconfirmed) == (State.REQUESTED, True)
    assert "Slack could not be asked" in waiting.votes[0].because
    assert refusal(lambda: stage.vote("alice", rotation, sign=False, surface="cli")) == "unsigned"
    assert refusal(lambda: stage.vote("alice", rotation, surface="cli")) == "bad-signature", "approve is not request"
    assert len(stage.audit(rotation, "vote.refused")) == 4
    signed = stage.signature("alice", rotation, "request")
    begun = stage.vote("alice", rotation, sign=signed, surface="cli")
    assert (begun.state, begun.unconfirmed) == (State.APPROVED, False)


def test_without_slack_a_delegate_is_still_only_a_delegate(sqlite_database: Database, tmp_path: Path) -> None:
    until = sqlite_database.now() + timedelta(days=1)
    rules = (replace(REVOKING, count=2), ORDINARY)
    stage = Stage(sqlite_database, tmp_path, rules, (Delegate("bob", "dave", until),))
    rotation = stage.revoke()
    stage.people.down = True
    assert stage.vote("dave", rotation, surface="cli").votes[0].instead_of == "bob"
    both = stage.vote("bob", rotation, surface="cli")
    assert (both.state, both.missing_approvals) == (State.REQUESTED, 1)


def test_without_slack_an_ordinary_rotation_waits(stage: Stage) -> None:
    rotation = stage.start()
    stage.people.down = True
    assert refusal(lambda: stage.vote("bob", rotation)) == "group-unknown"


def test_a_second_rotation_of_an_unread_group_counts_live_members_only(stage: Stage) -> None:
    stage.people.down = True
    rotation: Rotation = stage.revoke()
    assert rotation.eligible is None, "nobody could say who may approve"
    assert refusal(lambda: stage.vote("bob", rotation, surface="cli")) == "group-unknown"
    stage.people.down = False
    assert stage.vote("bob", rotation).state is State.APPROVED


def test_what_was_read_just_before_slack_went_away_is_believed_of_a_signature(stage: Stage) -> None:
    stage.people.down = stage.people.memory = True
    rotation = stage.revoke()
    assert set(rotation.eligible or {}) == {"bob", "carol"}
    assert stage.vote("bob", rotation, surface="cli").state is State.APPROVED
