"""The incident of an expiry: opened by a word or by the bot, passed stage by stage, closed only when it is mended."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from bot.app import Bot
from bot.contracts.command import Answer, Call, Need
from bot.core.errors import Refused
from bot.core.policy import PersonKind
from bot.core.rotation import Rotation, Stage, State
from bot.core.words import parse
from bot.engine.arrivals import arrived, undelivered
from bot.engine.incidents import nudge
from bot.settings import read_environment, read_settings
from bot.store.tables import CREDENTIAL, NOTICE, REMINDER

RUNBOOK = """\
runbook: by-hand
summary: A rotation that people do with their own hands.
author: platform
rollback_within: 10m
steps:
  - {id: first, ask: "Is the new one in use?"}
retire:
  - {id: second, ask: "Is the old one gone?"}
trouble:
  - {id: dark, when: The lamp is out, check: http.healthy, with: {url: "http://127.0.0.1:9/lamp"}}
  - {id: lost, when: The door refuses everybody, advice: Look into the safe.}
emergency:
  order: contain-first
  steps:
    - {id: lock, ask: "Is the suspected one locked out?"}
"""
SETTINGS = """\
people:
  alice: {os: alice, slack: U0ALICE}
  bob: {os: bob, slack: U0BOB}
  carol: {os: carol}
  mallory: {os: mallory}
groups: {sec-oncall: {members: [bob, carol]}}
roles:
  operators:
    who: [alice, bob, carol]
    may: [see, start, tick, advance, retry, skip, cancel, rollback, repair, revoke]
  readers: {who: [mallory], may: [see]}
policies:
  - {approvers: 1, from: [sec-oncall]}
credentials:
  - name: door-key
    environment: production
    class: key
    owner: alice
    runbook: by-hand
    cadence: 90d
    callers: [C0PAY, C0SHOP]
  - {name: shed-key, environment: production, class: api-key, owner: bob, runbook: by-hand, cadence: 90d}
runbooks: [runbooks]
"""
DAY = timedelta(days=1)
BOXES = ("access", "incidents", "rollback-plan", "notified", "dashboard", "contacts")


class Desk:
    """A running engine without Slack, and people who use words on it."""

    def __init__(self, bot: Bot) -> None:
        self.bot = bot
        self._intents = itertools.count(1)

    def say(self, user: str, text: str, **more: Any) -> Answer:
        """Use a word; raises `Refused` as the command does."""
        board = self.bot.engine.board
        words = board.words()
        typed = parse(text, {word: getattr(command, "flags", {}) for word, command in words.items()})
        person = self.bot.settings.policy.resolve_person(f"os:{user}", kind=PersonKind.MEMBER)
        bound = {}
        if typed.word in ("approve", "reject"):
            with self.bot.database.read() as reader:
                bound = reader.binding(int(typed.args[0].removeprefix("R-"))) or {}
        command = words[typed.word]
        assert isinstance(command.need, Need)
        call = Call(typed.word, command.need, person, typed.args, typed.flags, bound=bound, **more)
        answer = command.run(call, board)
        assert isinstance(answer, Answer)
        return answer

    def refused(self, user: str, text: str, **more: Any) -> Refused:
        """The same where it has to be refused."""
        with pytest.raises(Refused) as caught:
            self.say(user, text, **more)
        return caught.value

    def dates(self, name: str = "door-key", **values: Any) -> None:
        """What discoveries and reminders leave in the inventory."""
        with self.bot.database.begin() as tx:
            tx.connection.execute(update(CREDENTIAL).where(CREDENTIAL.c.name == name).values(**values))

    def expire(self, name: str = "door-key") -> None:
        """It has expired yesterday, and is used; nobody is reminded while the test goes on."""
        past = self.bot.database.now() - DAY
        values = {"due_source": "expiry", "version": "v1", "versions": 1, "remind_at": None}
        self.dates(name, expires_at=past, next_due=past, **values)

    def mend(self) -> None:
        """As the reminders leave it after a promotion."""
        now = self.bot.database.now()
        self.dates(expires_at=None, owner_finding="", next_due=now + 90 * DAY, remind_at=now + 60 * DAY)

    def rotation(self, number: int = 1) -> Rotation:
        with self.bot.database.read() as reader:
            found = reader.rotation(number)
        assert found is not None
        return found

    def asked(self, stage: str, number: int = 1) -> Rotation:
        """Once the rotation asks this."""
        deadline = time.monotonic() + 10
        while True:
            found = self.rotation(number)
            i = found.current
            if i is not None and found.plan.steps[i].id == stage and found.steps[i].stage is Stage.ASKING:
                return found
            assert time.monotonic() < deadline, f"{found.state} {[run.stage for run in found.steps]}"
            time.sleep(0.01)

    def until(self, holds: Callable[[Rotation], bool], number: int = 1) -> Rotation:
        deadline = time.monotonic() + 10
        while not holds(found := self.rotation(number)):
            assert time.monotonic() < deadline, f"{found.state} {[run.stage for run in found.steps]}"
            time.sleep(0.01)
        return found

    def events(self, number: int = 1) -> list[str]:
        with self.bot.database.read() as reader:
            return [str(row.event) for row in reversed(reader.history(rotation=f"R-{number}", limit=500))]

    def notices(self) -> dict[str, str]:
        with self.bot.database.read() as reader:
            rows = reader.connection.execute(NOTICE.select().order_by(NOTICE.c.id))
            return {row.key: row.text for row in rows}

    def incident(self, number: int = 1) -> Any:
        with self.bot.database.read() as reader:
            found = reader.incident(number)
        assert found is not None
        return found

    def answer_all(self, number: int = 1) -> None:
        for question in self.say("alice", f"incident R-{number}").data["unanswered"]:
            self.say("alice", f'incident R-{number} --answer {question} --text "nobody had looked"')

    def recover(self, person: str = "alice") -> int:
        """Rotate it in the incident: asked for by one person, approved by another."""
        asked = self.say(person, 'start R-1 --reason "it expired"', confirmed=True, ticked=BOXES)
        assert asked.rotation is not None
        self.say("carol" if person != "carol" else "bob", f"approve R-{asked.rotation}")
        self.asked("first", asked.rotation)
        self.say(person, f"advance R-{asked.rotation}")
        return asked.rotation


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    (tmp_path / "runbooks").mkdir()
    (tmp_path / "runbooks" / "by-hand.yaml").write_text(RUNBOOK)
    environ = {"KEYTURN_DATABASE_URL": f"sqlite:///{tmp_path / 'keyturn.db'}", "KEYTURN_KEYS": str(tmp_path / "keys")}
    settings = read_settings(SETTINGS, read_environment(environ), file="keyturn.yml", folder=tmp_path)
    bot = Bot(settings, slack=False)
    bot.engine.start()
    yield Desk(bot)
    bot.engine.stop()


# --- from its beginning to its end ------------------------------------------------------------------------------------


def test_an_expiry_is_guided_from_the_symptom_to_the_mended_reminder(desk: Desk) -> None:
    desk.expire()
    opened = desk.say("alice", 'expired door-key --reason "the door refuses everybody"')
    assert "R-1 is the incident of door-key in production" in opened.text
    first = desk.asked("identify")
    assert "Its class is key." in first.steps[0].evidence
    incident = desk.incident()
    assert (incident.commander, incident.is_open) == ("alice", True)
    assert "door-key expired at" in incident.late
    assert desk.notices()["incident-1-opened"].startswith("door-key in production has expired in use (R-1): the door")

    desk.say("alice", "advance R-1")
    desk.asked("contain")
    desk.say("bob", "advance R-1")
    desk.asked("investigate")
    refused = desk.refused("alice", "advance R-1")
    assert refused.code == "not-reviewed"
    desk.answer_all()
    desk.say("alice", "advance R-1")
    desk.asked("recover")
    refused = desk.refused("alice", "advance R-1")
    assert refused.code == "not-recovered"
    assert "start R-1" in str(refused)

    number = desk.recover()
    desk.asked("communicate")
    passed = desk.rotation().steps[3]
    assert (passed.by, passed.stage) == ("keyturn", Stage.DONE)
    assert f"R-{number} put a replacement into use" in passed.evidence
    assert desk.refused("alice", "advance R-1").code == "not-answered"
    desk.say("bob", 'incident R-1 --answer integrity --text "none; nothing was written"')
    assert desk.refused("bob", "incident R-1 --close").code == "under-way"
    desk.say("alice", "advance R-1")
    desk.until(lambda found: found.is_over)

    told = desk.notices()["callers-1"]
    assert "door-key (production) expired on" in told
    assert f"(R-{number})" in told
    assert "none; nothing was written" in told
    assert [desk.notices()[f"callers-1-{channel}"] for channel in ("C0PAY", "C0SHOP")] == [told, told]
    assert desk.refused("bob", "incident R-1 --close").code == "not-mended"
    desk.mend()
    refused = desk.refused("bob", "incident R-1 --close")
    assert refused.code == "not-fixed", str(refused)
    desk.say("bob", 'incident R-1 --fixed "it has a cadence and an owner now"')
    assert desk.say("bob", "incident R-1 --close").text == "The incident of R-1 is closed."
    events = desk.events()
    for wanted in ("incident.opened", "step.confirmed", "incident.stages-passed", "incident.callers-told"):
        assert wanted in events, wanted
    assert events[-1] == "incident.closed"
    assert "credential.next-due" not in events, "the incident itself rotates nothing"


def test_the_bot_notices_what_expired_in_use_and_once_only(desk: Desk) -> None:
    desk.expire()
    board = desk.bot.engine.board
    board.notice_expiries()
    assert board.notice_expiries() == 0, "an incident of it is open"
    found = desk.asked("identify")
    assert found.plan.requester == "keyturn"
    assert "the inventory shows that it expired" in found.plan.reason
    assert desk.incident().commander == ""
    with desk.bot.database.begin() as tx:
        nudge(tx, 1, timedelta(0))
    assert any(text.startswith("Nobody leads this yet") for text in desk.notices().values())
    desk.say("bob", "incident R-1 --commander me")
    assert desk.incident().commander == "bob"
    with desk.bot.database.read() as reader:
        assert len(reader.rotations(limit=10)) == 1


def test_the_bot_is_silent_where_nothing_expired_in_use(desk: Desk) -> None:
    now = desk.bot.database.now()
    board = desk.bot.engine.board
    for values in (
        {"expires_at": now + DAY, "next_due": now - DAY},  # overdue by its cadence alone
        {"expires_at": now - DAY, "next_due": now - DAY, "status": "gone"},
        {"expires_at": now - DAY, "next_due": now - DAY, "status": "unmanaged"},
        {"expires_at": now - DAY, "next_due": now - DAY, "removed_at": now, "status": "known"},
        {
            "expires_at": now - DAY,
            "next_due": now - DAY,
            "removed_at": None,
            "last_rotated_at": now,
            "found_at": now - 2 * DAY,
        },
    ):
        desk.dates(**values)
        assert board.notice_expiries() == 0, values


def test_who_was_reminded_when_stands_in_the_review(desk: Desk) -> None:
    now = desk.bot.database.now()
    row = {
        "credential": "door-key", "environment": "production", "expiry": now - DAY, "tier": "7d",
        "due_at": now - 8 * DAY, "told_at": now - 8 * DAY, "told": ["@alice", "C0OPS"], "notice": "n",
    }  # fmt: skip
    with desk.bot.database.begin() as tx:
        tx.connection.execute(REMINDER.insert(), row)
    desk.expire()
    desk.say("alice", "expired door-key")
    review = desk.say("alice", "incident R-1").data["review"]
    assert review["alert"].startswith("Yes: 1 reminder(s) were sent")
    assert "7d on" in review["owner"]
    assert "@alice, C0OPS" in review["owner"]
    assert "it expires on" in review["query"]
    assert review["missing"].startswith("No: its owner is alice")


def test_a_reminder_that_did_not_arrive_counts_as_none(desk: Desk) -> None:
    now = desk.bot.database.now()
    with desk.bot.database.begin() as tx:
        for to, person in (("@alice", "@alice"), ("C0OPS", "")):
            payload = {"reminder": {"items": [{"credential": "door-key"}], "count": 1}}
            tx.add_notice(f"remind-{to}-1", person, "" if person else to, "due", payload)
            row = {
                "credential": "door-key", "environment": "production", "expiry": now - DAY, "tier": f"{len(to)}d",
                "due_at": now - 8 * DAY, "told_at": now - 8 * DAY, "told": [to], "notice": f"remind-{to}-1",
            }  # fmt: skip
            tx.connection.execute(REMINDER.insert(), row)
    with desk.bot.database.begin() as tx:
        for row in tx.claim_notices(tx.now, tx.now):
            if row.person:
                assert tx.give_up(row.id, "user_disabled")
                undelivered(tx, row, "user_disabled")
            else:
                assert tx.sent(row.id, "1.0")
                arrived(tx, row)
    desk.expire()
    answer = desk.say("alice", "expired door-key")
    review = desk.say("alice", "incident R-1").data["review"]
    assert review["alert"].startswith("Yes: 1 reminder(s) were sent")
    assert review["owner"].startswith("No: Slack takes no messages for alice (user_disabled). Not delivered: to @alice")
    with desk.bot.database.begin() as tx:
        tx.update_credential("door-key", "production", owner_finding="")
    with desk.bot.database.read() as reader:
        known = reader.history(rotation="R-1", event="incident.opened")[0].detail["known"]
    assert "to C0OPS, delivered on" in known["told"][0]
    assert answer.good


def test_the_audit_is_captured_at_the_beginning(desk: Desk) -> None:
    desk.say("alice", "expired door-key")
    with desk.bot.database.read() as reader:
        (row,) = reader.history(rotation="R-1", event="incident.opened")
        (asked,) = reader.history(rotation="R-1", event="rotation.requested")
    assert row.detail["known"]["captured"] == [] or all(
        line.split(" ")[0].isdigit() for line in row.detail["known"]["captured"]
    )
    assert asked.detail["word"] == "expired"


# --- what is refused --------------------------------------------------------------------------------------------------


def test_a_credential_has_one_incident(desk: Desk) -> None:
    desk.say("alice", "expired door-key")
    refused = desk.refused("bob", "expired door-key")
    assert refused.code == "already-open"
    assert "R-1 is already the incident of door-key" in str(refused)
    desk.say("alice", 'revoke shed-key --reason "seen in a log"', confirmed=True)
    refused = desk.refused("bob", "expired shed-key")
    assert (refused.code, "R-2 is already revoking" in str(refused)) == ("already-open", True)


def test_a_revocation_takes_the_incident_over(desk: Desk) -> None:
    desk.say("alice", "expired door-key")
    desk.asked("identify")
    desk.say("alice", 'revoke door-key --reason "it was also leaked"', confirmed=True)
    desk.say("bob", "approve R-2")
    assert desk.rotation(1).state is State.ABANDONED
    first, second = desk.incident(1), desk.incident(2)
    assert (first.is_open, first.closed_by, second.is_open) == (False, "keyturn", True)


def test_others_neither_open_nor_pass_nor_close_it(desk: Desk) -> None:
    assert desk.refused("mallory", "expired door-key").code == "not-allowed"
    desk.say("alice", "expired door-key")
    desk.asked("identify")
    assert desk.refused("mallory", "advance R-1").code == "not-allowed"
    for flags in ('--note "x"', "--close", "--commander me", '--fixed "x"', '--answer owner --text "x"'):
        assert desk.refused("mallory", f"incident R-1 {flags}").code == "not-allowed", flags
    assert desk.refused("mallory", 'start R-1 --reason "x"', confirmed=True).code == "not-allowed"


def test_an_incident_is_neither_withdrawn_nor_rolled_back(desk: Desk) -> None:
    desk.say("alice", "expired door-key")
    desk.asked("identify")
    assert desk.refused("alice", 'cancel R-1 --reason "no"').code == "incident"
    assert desk.refused("alice", 'rollback R-1 --reason "no"').code == "incident"
    assert desk.refused("alice", 'skip R-1 --reason "no"').code == "never"


def test_a_late_click_passes_nothing_else(desk: Desk) -> None:
    desk.say("alice", "expired door-key")
    desk.asked("identify")
    desk.say("alice", "advance R-1 identify")
    desk.asked("contain")
    assert desk.refused("bob", "advance R-1 identify").code == "late"


def test_a_false_alarm_takes_a_second_person(desk: Desk) -> None:
    desk.say("alice", "expired door-key")
    for stage in ("identify", "contain", "investigate"):
        desk.asked(stage)
        if stage == "investigate":
            desk.answer_all()
        desk.say("alice", "advance R-1")
    desk.asked("recover")
    desk.say("alice", 'skip R-1 --reason "its date was wrong"')
    assert desk.rotation().steps[3].stage is Stage.ASKING, "one person alone"
    assert desk.refused("alice", "approve R-1").code in ("own-request", "self-approval")
    desk.say("bob", "approve R-1")
    desk.asked("communicate")
    desk.say("alice", 'incident R-1 --answer integrity --text "none"')
    desk.say("alice", "advance R-1")
    desk.until(lambda found: found.is_over)
    assert "It is not replaced yet" in desk.notices()["callers-1"]
    desk.mend()
    desk.say("alice", 'incident R-1 --fixed "its date is right now"')
    assert not desk.say("alice", "incident R-1 --close").data["open"]


def test_a_replacement_that_was_rolled_back_keeps_it_open(desk: Desk) -> None:
    desk.say("alice", "expired door-key")
    number = desk.recover("bob")
    for stage in ("identify", "contain", "investigate"):
        desk.asked(stage)
        desk.answer_all()
        desk.say("alice", "advance R-1")
    desk.asked("communicate")
    desk.say("alice", 'incident R-1 --answer integrity --text "none"')
    desk.say("alice", "advance R-1")
    desk.until(lambda found: found.is_over)
    desk.say("bob", f'rollback R-{number} --reason "it does not fit the door"')
    desk.until(lambda found: found.state is State.ROLLED_BACK, number)
    desk.mend()
    desk.say("alice", 'incident R-1 --fixed "a date"')
    refused = desk.refused("alice", "incident R-1 --close")
    assert (refused.code, "was rolled back" in str(refused)) == ("not-mended", True)


def test_an_expiry_moved_by_hand_is_noted_in_its_incident_once(desk: Desk) -> None:
    desk.expire()
    desk.say("alice", 'expired door-key --reason "the door is shut"')
    now = desk.bot.database.now()
    said = "v1: its expiry was moved by hand from 2027-01-01 to 2027-02-01"
    desk.dates(finding=said, expires_at=now + 30 * DAY, owner="alice")
    for _ in range(2):
        desk.bot.engine.keeping.watch.turn()
    assert [(note.by, note.text) for note in desk.incident().notes] == [("keyturn", said)]
    (told,) = [text for key, text in desk.notices().items() if key.startswith("moved ")]
    assert "replaces nothing" in told


# --- symptoms ---------------------------------------------------------------------------------------------------------


def test_a_symptom_shows_what_may_be_behind_it_and_opens_nothing(desk: Desk) -> None:
    desk.expire("shed-key")
    shown = desk.say("alice", "expired authentication failures")
    assert [one["credential"] for one in shown.data] == ["shed-key"]
    assert shown.table is not None
    by_runbook = desk.say("alice", 'expired "the door refuses"')
    assert [one["credential"] for one in by_runbook.data] == ["shed-key", "door-key"], "what is past its date is first"
    assert not desk.say("alice", 'expired "something else altogether"').good
    looked = {one["credential"]: one["reading"] for one in by_runbook.data}
    assert all(said.startswith("The lamp is out: ") for said in looked.values()), looked
    assert [one["reading"] for one in desk.say("mallory", 'expired "the door refuses"').data] == ["", ""]
    mistyped = desk.say("alice", "expired dor-key")
    assert (mistyped.good, "Did you mean door-key" in mistyped.text) == (False, True)
    assert desk.refused("alice", "expired xyzzy").code == "unknown-credential"
    with desk.bot.database.read() as reader:
        assert reader.rotations(limit=5) == []


def test_a_name_stands_for_the_rotation_and_not_for_the_incident(desk: Desk) -> None:
    desk.say("alice", "expired door-key")
    desk.asked("identify")
    assert desk.say("alice", "status door-key").data["rotation"] == "R-1"
    number = desk.recover()
    assert desk.say("alice", "status door-key").data["rotation"] == f"R-{number}"


def test_an_intent_that_runs_twice_opens_one_incident(desk: Desk) -> None:
    heard = {"word": "expired", "person": "os:alice", "channel": "", "surface": "slack", "subject": "door-key"}
    with desk.bot.database.begin() as tx:
        row, _ = tx.add_intent(key="k", payload={}, **heard)
    desk.say("alice", "expired door-key", intent=row.number)
    with pytest.raises(Refused):
        desk.say("alice", "expired door-key", intent=row.number)
    with desk.bot.database.read() as reader:
        assert len(reader.rotations(limit=5)) == 1
        intent = reader.intent(row.number)
    assert intent is not None
    assert intent.effect == 1
