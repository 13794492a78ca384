"""What an emergency tells whom: approvers, escalations, the incident, its nudges, and the word `incident`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from bot.contracts.command import Answer, Call, Need
from bot.core import incident as core
from bot.core.errors import Refused
from bot.core.policy import Person, PersonKind, Policy, Role, Who
from bot.core.rotation import Called, Expired, Failed, GlassBroken, RolledBack, Skipped, State
from bot.engine.incident_desk import IncidentDesk
from bot.engine.incidents import nudge
from bot.engine.timers import Timers
from bot.store.database import Database
from commands import incident as word
from tests.engine.calamity import Calamity, plan

MINUTE = timedelta(minutes=1)


@pytest.fixture
def calamity(database: Database) -> Calamity:
    return Calamity(database)


@pytest.fixture
def quick(sqlite_database: Database) -> Calamity:
    """Where the kind of database plays no part."""
    return Calamity(sqlite_database)


def texts(calamity: Calamity, **like: Any) -> list[str]:
    """Messages with these columns."""
    return [row.text for row in calamity.notices() if all(getattr(row, name) == value for name, value in like.items())]


# --- approvers --------------------------------------------------------------------------------------------------------


def test_a_request_is_announced_and_every_approver_gets_a_copy(calamity: Calamity) -> None:
    rotation = calamity.ask()
    (notice,) = calamity.notices()
    assert notice.urgent
    assert notice.payload["broadcast"]
    assert (
        "alice asks to revoke identity-signing in production (R-1, contain-first): seen in a public log" in notice.text
    )
    assert f"second person's approval by {rotation.expires_at:%Y-%m-%d %H:%M} UTC" in notice.text
    assert calamity.copies() == ["@bob", "@carol"]
    assert calamity.errands() == []
    with calamity.database.read() as reader:
        assert reader.incident(1) is None


def test_an_ordinary_request_is_not_announced(quick: Calamity) -> None:
    quick.ask(plan(word="start", order="", contained=0))
    assert quick.notices() == []
    assert quick.copies() == []


def test_where_everybody_may_approve_nobody_is_written_to(quick: Calamity) -> None:
    quick.ask(eligible=None)
    assert quick.copies() == []
    quick.happen(Called(None, 1), 2 * MINUTE)
    assert [row.person for row in quick.notices()] == ["", ""]
    quick.ask(plan(environment="staging"), eligible={f"p{i}": "a member" for i in range(40)})
    assert len(quick.copies()) == 30
    quick.happen(Called({f"p{i}": "a member" for i in range(40)}, 1), 2 * MINUTE)
    assert [row.person for row in quick.notices()][-1] == ""


def test_a_reminder_goes_to_each_who_has_not_voted(calamity: Calamity) -> None:
    calamity.ask(plan(approvers=2))
    calamity.vote("bob")
    calamity.happen(Called(calamity.rotation().eligible, 1), 2 * MINUTE)
    reminded = [row for row in calamity.notices() if row.person]
    assert [row.person for row in reminded] == ["@carol"]
    assert "waits for 1 approval until" in reminded[0].text
    assert reminded[0].channel == ""


def test_an_escalation_names_those_who_are_called_and_pages_once(calamity: Calamity) -> None:
    calamity.ask()
    wider = {**(calamity.rotation().eligible or {}), "erin": "member of platform-oncall"}
    calamity.happen(Called(wider, 1), 5 * MINUTE)
    (said,) = [row for row in calamity.notices() if row.key.startswith("escalated") and not row.person]
    assert "Now platform-oncall (erin) may approve it too" in said.text
    assert "They are paged." in said.text
    assert said.urgent
    assert calamity.copies() == ["@bob", "@carol", "@erin"]
    assert {row.person for row in calamity.notices() if row.person} == {"@bob", "@carol", "@erin"}
    assert calamity.errands() == ["page-1-stage-1"]
    calamity.happen(Called(wider, 2), 15 * MINUTE)
    assert calamity.errands() == ["page-1-stage-1"], "the second stage does not page"


def test_a_request_that_lapses_is_loud(calamity: Calamity) -> None:
    calamity.ask()
    over = calamity.happen(Expired(), 31 * MINUTE)
    assert over.state is State.ABANDONED
    said = calamity.notices()[-1]
    assert said.urgent
    assert "was abandoned" in said.text
    assert calamity.errands() == ["page-1-expired"], "and nothing that would end the page"


def test_what_was_asked_for_on_the_command_line_pages_nobody_before_it_is_signed(quick: Calamity) -> None:
    quick.ask(unconfirmed=True)
    quick.happen(Called(quick.rotation().eligible, 1), 5 * MINUTE)
    quick.happen(Expired(), 31 * MINUTE)
    assert quick.errands() == []


def test_a_rejected_request_opens_no_incident(quick: Calamity) -> None:
    quick.ask()
    quick.vote("bob", approve=False, reason="a false alarm")
    with quick.database.read() as reader:
        assert reader.incident(1) is None
    assert quick.errands() == ["resolve-1"]


def test_who_may_agree_to_skip_a_step_is_asked(calamity: Calamity) -> None:
    calamity.ask()
    calamity.vote("bob")
    calamity.step()
    calamity.step(Failed("no answer"))
    before = len(calamity.notices())
    calamity.happen(Skipped("carol", "the gateway is gone", "nonce-skip"))
    asked = calamity.notices()[before:]
    assert {row.person for row in asked} == {"", "@bob"}
    assert "carol asks to skip “It is refused” of" in asked[0].text
    amendment = calamity.rotation().amendment
    assert amendment is not None
    calamity.vote("bob", approve=False, reason="look again", digest=amendment.digest, nonce=amendment.nonce)
    calamity.happen(RolledBack("alice", "a false alarm", "nonce-back"))
    told = texts(calamity)[-1]
    assert "alice asks to put back all of" in told


# --- the incident -----------------------------------------------------------------------------------------------------


def test_the_approval_opens_the_incident_in_the_same_transaction(calamity: Calamity) -> None:
    calamity.declare(next_due=None)
    calamity.ask(plan(private=True))
    calamity.vote("bob")
    with calamity.database.read() as reader:
        incident = reader.incident(1)
        rooms = [row for row in reader.drawings(1) if row.form == "room"]
        opened = reader.history(rotation="R-1", event="incident.opened")
    assert incident is not None
    assert (incident.commander, incident.private, incident.solo, incident.late) == ("alice", True, "", "")
    assert [(row.place, row.urgent) for row in rooms] == [("", True)]
    assert opened[0].detail["known"]["owner"] == "dave"
    said = calamity.notices()[-1]
    assert (said.incident, said.urgent) == (1, True)
    assert "begins, asked for by alice and approved by bob: seen in a public log" in said.text
    assert calamity.errands() == ["page-1-opened", "ticket-1"]


def test_a_credential_that_was_overdue_has_to_be_fixed(quick: Calamity) -> None:
    quick.declare(next_due=quick.database.now() - timedelta(days=3))
    quick.ask()
    quick.vote("bob")
    with quick.database.read() as reader:
        incident = reader.incident(1)
    assert incident is not None
    assert "was due on" in incident.late


def test_every_step_is_told_once_and_the_end_ends_the_page(calamity: Calamity) -> None:
    calamity.ask()
    calamity.vote("bob")
    calamity.step()
    calamity.step(Failed("one gateway accepts it"))
    calamity.happen(Skipped("carol", "that gateway is gone", "nonce-skip"))
    amendment = calamity.rotation().amendment
    assert amendment is not None
    over = calamity.vote("bob", digest=amendment.digest, nonce=amendment.nonce)
    assert over.is_over
    said = texts(calamity, incident=1)
    assert said[1] == "Disable it: done: seen by all."
    assert "is held at It is refused: one gateway accepts it." in said[2]
    assert any(text.startswith("It is refused: skipped by carol and bob: that gateway is gone") for text in said)
    assert any("is revoked and replaced. That is without proof of: It is refused." in text for text in said)
    assert calamity.errands() == ["page-1-opened", "ticket-1", "resolve-1"]
    assert len({row.key for row in calamity.notices()}) == len(calamity.notices())


def break_glass(calamity: Calamity, person: str = "carol") -> None:
    rotation = calamity.ask()
    bound = {"digest": rotation.plan.digest, "nonce": rotation.nonce}
    calamity.happen(GlassBroken(person, "nobody answers", key="SHA256:carol", signature="signed", **bound))


def test_broken_glass_is_loud_and_its_lapse_too(calamity: Calamity) -> None:
    break_glass(calamity)
    with calamity.database.read() as reader:
        incident = reader.incident(1)
    assert incident is not None
    assert incident.solo == "carol"
    said = calamity.notices()[-1]
    assert "carol contains identity-signing in production (R-1, contain-first) alone: nobody answers" in said.text
    assert said.payload["broadcast"]
    calamity.step()
    calamity.happen(Expired(), 2 * timedelta(hours=1))
    assert any("is put back" in text for text in texts(calamity, incident=1)[2:])
    calamity.step()
    assert calamity.rotation().state is State.ROLLED_BACK
    assert calamity.errands() == ["page-1-opened", "ticket-1", "page-1-put-back"], "nobody came: the alert stays"


def test_the_second_person_goes_on_in_the_same_incident(quick: Calamity) -> None:
    break_glass(quick)
    quick.step()
    quick.vote("bob")
    assert "bob approved what carol began alone; it goes on." in texts(quick, incident=1)
    assert quick.errands() == ["page-1-opened", "ticket-1"]


# --- nudges -----------------------------------------------------------------------------------------------------------


def timers(calamity: Calamity, after: timedelta) -> Timers:
    return Timers(calamity.database, "w", nudge=after)


def test_a_silence_is_broken_once_per_interval(calamity: Calamity) -> None:
    calamity.ask()
    calamity.vote("bob")
    silent = timers(calamity, timedelta(0))  # whatever was said is long ago
    assert silent.tick() == 0
    asked = [row for row in calamity.notices() if "nudge" in row.key]
    assert len(asked) == 1
    assert asked[0].text.startswith("alice, nothing was said for")
    assert asked[0].text.endswith("It is at: Disable it.")
    patient = timers(calamity, 15 * MINUTE)
    patient.tick()
    assert len([row for row in calamity.notices() if "nudge" in row.key]) == 1
    with calamity.database.read() as reader:
        due = reader.next_due_at(15 * MINUTE)
        assert due is not None
        assert due > reader.now + 14 * MINUTE, "and it does not spin"


def test_what_was_said_meanwhile_postpones_it(calamity: Calamity) -> None:
    calamity.ask()
    calamity.vote("bob")
    with calamity.database.begin() as tx:
        found = tx.incident(1)
        assert found is not None
        old = tx.now - timedelta(hours=1)
        tx.save_incident(found, replace(found, said_at=old, opened_at=old))
    timers(calamity, 15 * MINUTE).tick()
    assert not [row for row in calamity.notices() if "nudge" in row.key]
    with calamity.database.read() as reader:
        assert reader.quiet_incidents(reader.now - 15 * MINUTE) == []


def test_after_the_end_the_review_is_asked_for_once_a_day(quick: Calamity) -> None:
    quick.ask()
    quick.vote("bob")
    quick.step()
    quick.step()
    for _ in range(3):
        with quick.database.begin() as tx:
            nudge(tx, 1, timedelta(0))
    asked = [row.text for row in quick.notices() if "nudge" in row.key]
    assert asked == ["alice, R-1 is over and its review is open. See: incident R-1."]


# --- the word ---------------------------------------------------------------------------------------------------------


class People:
    """A directory in which those of the settings are members."""

    def __init__(self, policy: Policy, guests: Collection[str] = ()) -> None:
        self._policy = policy
        self._guests = guests

    def person(self, account: str) -> Person:
        person = self._policy.resolve_person(account)
        known = any(person.id == each.id for each in self._policy.people)
        kind = PersonKind.GUEST if person.id in self._guests else PersonKind.MEMBER
        return self._policy.resolve_person(account, kind=kind if known else PersonKind.UNKNOWN)

    def groups(self, names: Collection[str]) -> Mapping[str, frozenset[str] | None]:
        return {}

    remembered = groups


NAMES = ("alice", "bob", "carol", "dave", "erin", "gus")
POLICY = Policy(
    people=tuple(Person(name, slack_ids=frozenset({f"U0{name.upper()}"}), os_user=name) for name in NAMES),
    roles=(
        Role("all", Who(everyone=True), frozenset({Need.SEE})),
        Role("leads", Who(people=frozenset({"erin"})), frozenset({Need.REVOKE})),
    ),
)


class Desk:
    """Says `incident …` as a person."""

    def __init__(self, calamity: Calamity) -> None:
        self.calamity = calamity
        directory: Any = People(POLICY, guests={"gus"})
        self.incidents = IncidentDesk(calamity.database, POLICY, directory, lambda call, text: calamity.rotation())

    def say(self, person: str, **flags: str) -> Answer:
        who = POLICY.resolve_person(f"os:{person}", kind=PersonKind.MEMBER)
        flags = {name: text for name, text in flags.items()}
        rotations: Any = self
        return word.run(Call("incident", Need.SEE, who, ("R-1",), flags, surface="cli"), rotations)

    def refuse(self, person: str, **flags: str) -> str:
        with pytest.raises(Refused) as caught:
            self.say(person, **flags)
        return caught.value.code


@pytest.fixture
def desk(calamity: Calamity) -> Desk:
    calamity.declare()
    calamity.ask()
    calamity.vote("bob")
    return Desk(calamity)


def test_roles_are_handed_over_by_those_who_have_them(desk: Desk) -> None:
    assert desk.say("alice", commander="@bob").text == "bob is the commander of R-1 now."
    assert desk.refuse("alice", commander="me") == "not-allowed"
    assert desk.say("bob", scribe="<@U0CAROL|carol>").data["scribe"] == "carol"
    assert desk.say("carol", scribe="dave").data["scribe"] == "dave"
    assert desk.say("erin", commander="me").data["commander"] == "erin"
    assert "bob is the commander from now on." in texts(desk.calamity, incident=1)


@pytest.mark.parametrize("somebody", ["@gus", "<@U0NOBODY>", "mallory", "sec-oncall"])
def test_nobody_leads_who_cannot_be_looked_up_as_a_member(desk: Desk, somebody: str) -> None:
    assert desk.refuse("alice", commander=somebody) == "unknown-person"


def test_only_those_who_take_part_write(desk: Desk) -> None:
    assert desk.say("carol", note="the log was public").good
    assert desk.say("erin", note="callers know").good
    for flags in ({"note": "x"}, {"answer": "owner", "text": "x"}, {"fixed": "x"}, {"close": "yes"}):
        assert desk.refuse("dave", **flags) == "not-allowed"


def test_the_incident_is_shown(desk: Desk) -> None:
    desk.calamity.step()
    desk.say("bob", note="the log was public for a day")
    said = desk.say("dave")
    assert "alice commands it" in said.text
    assert "owner: Did the reminder reach the right owner?" in said.text
    assert said.table is not None
    told = [row[1] for row in said.table.rows]
    assert "bob: the log was public for a day" in told
    assert any(text.startswith("alice asked for this rotation") for text in told)
    assert any(text.startswith("disable is done") for text in told)
    assert told.index("bob: the log was public for a day") == len(told) - 1
    assert said.data["open"] is True


def test_it_ends_when_everything_is_answered(desk: Desk) -> None:
    assert desk.refuse("bob", close="yes") == "under-way"
    desk.calamity.step()
    desk.calamity.step()
    left = desk.say("bob").data["unanswered"]
    assert left
    assert desk.refuse("bob", close="yes") == "not-reviewed"
    for question in left:
        desk.say("carol", answer=question, text="nobody knew")
    desk.say("carol", answer="integrity", text="none")
    assert desk.refuse("carol", answer="weather", text="fine") == "unknown-question"
    assert desk.say("bob", close="yes").data["open"] is False
    assert desk.refuse("bob", note="one more") == "late"
    assert "bob closed the incident of R-1." in texts(desk.calamity, incident=1)
    with desk.calamity.database.read() as reader:
        assert reader.quiet_incidents(reader.now + timedelta(days=1)) == []
        assert reader.history(rotation="R-1", event="incident.closed")


def test_who_broke_the_glass_does_not_close_it_under_any_account(quick: Calamity) -> None:
    break_glass(quick, "slack:U0CAROL")
    quick.step()
    quick.vote("bob")
    quick.step()
    desk = Desk(quick)
    for question in desk.say("bob").data["unanswered"]:
        desk.say("bob", answer=question, text="nobody knew")
    assert desk.refuse("carol", close="yes") == "own-incident"
    assert desk.refuse("alice", close="yes") == "own-incident"
    assert desk.say("bob", close="yes").good


def test_one_thing_at_a_time(desk: Desk) -> None:
    assert desk.refuse("bob", note="x", scribe="me") == "usage"
    assert desk.refuse("bob", text="x") == "usage"
    assert desk.refuse("bob", answer="owner") == "text-missing"


def test_without_consent_there_is_no_incident(quick: Calamity) -> None:
    quick.ask()
    assert Desk(quick).refuse("bob") == "no-incident"


def test_what_a_word_changed_is_not_changed_by_it_again(calamity: Calamity) -> None:
    """The intent is run again after a crash between its effect and its answer."""
    calamity.ask()
    calamity.vote("bob")
    with calamity.database.begin(quiet=True) as tx:
        row, _ = tx.add_intent("k1", "incident", "slack:T1/U0BOB", "C0OPS", "slack", "R-1", {})
    who = POLICY.resolve_person("slack:T1/U0BOB", kind=PersonKind.MEMBER)
    call = Call("incident", Need.SEE, who, ("R-1",), {"note": "once"}, intent=row.number)
    rotations: Any = Desk(calamity)
    assert word.run(call, rotations).good
    with pytest.raises(Refused, match="done already"):
        word.run(call, rotations)
    with calamity.database.read() as reader:
        found = reader.incident(1)
    assert found is not None
    assert [note.text for note in found.notes] == ["once"]
    assert isinstance(found.notes[0], core.Note)
