"""The rules of an incident: roles, notes, answers, and everything that keeps it open."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bot.core import incident as core
from bot.core.errors import Refused
from bot.core.events import Event
from bot.core.incident import Incident

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)


def opened(**more: Any) -> Incident:
    return core.opened(9, "identity-signing", "production", private=True, by="alice", now=NOW, **more)[0]


def closed(incident: Incident, by: str = "bob", **more: Any) -> Incident:
    return core.closed(incident, by, LATER, **{"unanswered": (), "is_over": True, **more})[0]


def refusal(call: Any) -> str:
    with pytest.raises(Refused) as caught:
        call()
    return caught.value.code


def test_who_asked_commands_until_they_hand_it_over() -> None:
    incident, entry = core.opened(
        9, "identity-signing", "production", private=False, by="alice", now=NOW, known={"owner": "dave"}
    )
    assert (incident.commander, incident.scribe, incident.is_open) == ("alice", "", True)
    assert entry.event is Event.INCIDENT_OPENED
    assert entry.detail["known"] == {"owner": "dave"}
    after, entry = core.with_role(incident, "commander", "bob", "alice")
    assert (after.commander, entry.detail["was"], entry.actor) == ("bob", "alice", "alice")
    after, _ = core.with_role(after, "scribe", "carol", "bob")
    assert (after.commander, after.scribe) == ("bob", "carol")


def test_roles_that_are_none_and_roles_that_are_taken() -> None:
    assert refusal(lambda: core.with_role(opened(), "king", "bob", "alice")) == "unknown-role"
    assert refusal(lambda: core.with_role(opened(), "commander", "alice", "alice")) == "late"


def test_notes_and_answers_count_as_something_said() -> None:
    noted, entry = core.noted(opened(), "  the log was public for a day ", "carol", LATER)
    assert [(note.by, note.text) for note in noted.notes] == [("carol", "the log was public for a day")]
    assert noted.quiet_since == LATER
    assert entry.detail["text"] == "the log was public for a day"
    answered, _ = core.answered(noted, "owner", "dave was told", "bob", LATER, ("owner",))
    again, _ = core.answered(answered, "owner", "nobody was told", "carol", LATER, ("owner",))
    found = again.answer("owner")
    assert found is not None
    assert (found.text, found.by, len(again.review)) == ("nobody was told", "carol", 1)


@pytest.mark.parametrize(
    ("text", "code"), [("", "text-missing"), ("   ", "text-missing"), ("x" * (core.LONGEST_TEXT + 1), "too-long")]
)
def test_texts_have_to_say_something_and_not_too_much(text: str, code: str) -> None:
    assert refusal(lambda: core.noted(opened(), text, "carol", NOW)) == code
    assert refusal(lambda: core.mended(opened(), text, "carol", NOW)) == code
    assert refusal(lambda: core.answered(opened(), "owner", text, "carol", NOW, ("owner",))) == code


def test_there_are_no_other_questions_and_no_end_of_notes() -> None:
    assert refusal(lambda: core.answered(opened(), "weather", "fine", "bob", NOW, ("owner",))) == "unknown-question"
    full = replace(opened(), notes=(core.Note(NOW, "bob", "x"),) * core.MOST_NOTES)
    assert refusal(lambda: core.noted(full, "one more", "bob", NOW)) == "full"


def test_it_closes_when_it_is_over_and_reviewed() -> None:
    assert refusal(lambda: closed(opened(), is_over=False)) == "under-way"
    assert refusal(lambda: closed(opened(), unanswered=("owner",))) == "not-reviewed"
    done = closed(opened())
    assert (done.closed_by, done.closed_at, done.quiet_since) == ("bob", LATER, None)


def test_it_does_not_close_while_the_reminder_that_failed_is_not_fixed() -> None:
    late = opened(late="It was due on 2026-02-01.")
    assert refusal(lambda: closed(late)) == "not-fixed"
    mended, entry = core.mended(late, "the date is in the inventory now", "dave", LATER)
    assert entry.detail["question"] == "fixed"
    assert not closed(mended).is_open


@pytest.mark.parametrize("person", ["alice", "carol"])
def test_who_contained_alone_or_asked_for_it_does_not_close_it(person: str) -> None:
    assert refusal(lambda: closed(opened(solo="carol"), person)) == "own-incident"


def test_nor_do_they_under_another_account() -> None:
    assert refusal(lambda: closed(opened(solo="carol"), "slack:U9", own=True)) == "own-incident"
    assert not closed(opened(solo="carol"), "bob").is_open


def test_without_broken_glass_the_requester_may_close_it() -> None:
    assert closed(opened(), "alice").closed_by == "alice"


def test_a_closed_incident_stays_as_it_is() -> None:
    done = closed(opened())
    for change in (
        lambda: core.noted(done, "late", "bob", LATER),
        lambda: core.with_role(done, "scribe", "bob", "bob"),
        lambda: core.mended(done, "late", "bob", LATER),
        lambda: core.answered(done, "owner", "late", "bob", LATER, ("owner",)),
        lambda: closed(done),
    ):
        assert refusal(change) == "late"


def test_a_nudge_is_no_word_of_a_person() -> None:
    asked, entry = core.nudged(opened(), LATER)
    assert (asked.nudged_at, asked.said_at, asked.quiet_since) == (LATER, NOW, LATER)
    assert entry.actor == "keyturn"
