"""Errands: pages and tickets at programs that behave as PagerDuty and GitHub do, through crashes and refusals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

import pytest

from adapters import github, pagerduty
from bot.contracts.adapter import Operation
from bot.core.errors import Permanent
from bot.core.incident_rules import Errand, Incidents
from bot.core.rotation import Called, Expired, GlassBroken
from bot.engine.errands import MOST_FAILURES, Errands, defaults, scope_of_incident
from bot.store.database import Database
from bot.store.records import ErrandRow
from bot.store.tables import ERRAND
from tests.engine.calamity import Calamity, plan
from tests.stand_ins.github import GitHub
from tests.stand_ins.pagerduty import PagerDuty
from tests.stand_ins.stand_in import REFERENCE, door_to

KEY = "0123456789abcdef0123456789abcdee"
TOKEN = "github_pat_errands_5f1e"
MINUTE = timedelta(minutes=1)
SETTINGS = Incidents(
    page=Errand("pagerduty.trigger", {"integration": "oncall"}),
    ticket=Errand("github.open_issue", {"repository": "acme/ops", "title": "Look: ${{ incident.summary }}"}),
)


class Registry:
    """Operations by their words."""

    def __init__(self, **operations: Operation) -> None:
        self._operations = {name.replace("__", "."): operation for name, operation in operations.items()}

    def operation(self, word: str) -> Operation:
        if word not in self._operations:
            raise Permanent(f"there is no operation {word}", "name one that there is")
        return self._operations[word]


class Died(BaseException):
    """The process is gone: nothing is saved any more."""


class Stage:
    """Both programs, an emergency, and what runs the errands."""

    def __init__(self, database: Database, pager: PagerDuty, tracker: GitHub) -> None:
        self.calamity = Calamity(database)
        self.pager, self.tracker = pager, tracker
        self.errands = self.another()

    def another(self, settings: Incidents = SETTINGS) -> Errands:
        """The same in another process."""
        paging = {"integrations": {"oncall": {"api": self.pager.address, "routing_key": REFERENCE}}}
        filing = {"repositories": {"acme/ops": {"api": self.tracker.address, "token": REFERENCE}}}
        self.page = pagerduty.Client(pagerduty.Config.model_validate(paging), door_to(KEY))
        self.file = github.Client(github.Config.model_validate(filing), door_to(TOKEN))
        registry: Any = Registry(
            pagerduty__trigger=pagerduty.Trigger(self.page), github__open_issue=github.OpenIssue(self.file)
        )
        return Errands(self.calamity.database, registry, door_to(TOKEN), settings)

    def rows(self) -> dict[str, ErrandRow]:
        """By their keys."""
        with self.calamity.database.read() as reader:
            return {row.key: row for row in reader.errands(self.calamity.number)}

    def make_due(self) -> None:
        """Let the time of every claim and backoff pass."""
        with self.calamity.database.begin() as tx:
            for row in tx.errands(self.calamity.number):
                if row.done_at is None:
                    tx.postpone_errand(row.id, tx.now, row.failures, row.note)

    def events(self) -> list[str]:
        """Events of the audit about errands, the oldest first."""
        with self.calamity.database.read() as reader:
            found = reader.history(rotation=f"R-{self.calamity.number}", limit=500)
        return [row.event for row in reversed(found) if row.event.startswith("errand")]

    def states(self) -> list[str]:
        """Of all alerts at the pager."""
        return sorted(self.pager.alerts.values())


@pytest.fixture
def pager() -> Iterator[PagerDuty]:
    with PagerDuty(KEY) as service:
        yield service


@pytest.fixture
def tracker() -> Iterator[GitHub]:
    with GitHub(TOKEN) as service:
        yield service


@pytest.fixture
def stage(database: Database, pager: PagerDuty, tracker: GitHub) -> Stage:
    return Stage(database, pager, tracker)


@pytest.fixture
def quick(sqlite_database: Database, pager: PagerDuty, tracker: GitHub) -> Stage:
    """Where the kind of database plays no part."""
    return Stage(sqlite_database, pager, tracker)


def begin(stage: Stage) -> None:
    stage.calamity.ask()
    stage.calamity.vote("bob")


def finish(stage: Stage) -> None:
    stage.calamity.step()
    assert stage.calamity.step().is_over


def test_an_emergency_pages_files_a_ticket_and_ends_the_page(stage: Stage) -> None:
    begin(stage)
    assert stage.errands.turn() > 0
    assert stage.states() == ["triggered"]
    (event,) = stage.pager.events
    assert event["payload"]["summary"] == "R-1: revoke identity-signing (production), an incident was opened"
    assert event["payload"]["severity"] == "critical"
    assert event["payload"]["custom_details"]["reason"] == "seen in a public log"
    (issue,) = stage.tracker.issues.values()
    assert issue["title"] == "Look: R-1: revoke identity-signing (production)"
    assert {label["name"] for label in issue["labels"]} == {"credential-rotation", "severity:high"}
    assert "reason: seen in a public log" in issue["body"]
    assert any(issue["html_url"] in row.text for row in stage.calamity.notices() if row.incident == 1)
    finish(stage)
    stage.errands.turn()
    assert stage.states() == ["resolved"]
    assert all(row.done_at for row in stage.rows().values())
    assert stage.events() == ["errand.intent", "errand.outcome"] * 3
    assert issue["state"] == "open", "the ticket outlives the emergency"


def test_every_stage_and_the_end_of_the_time_are_one_alert(stage: Stage) -> None:
    calamity = stage.calamity
    calamity.ask()
    eligible = calamity.rotation().eligible
    calamity.happen(Called(eligible, 1), 5 * MINUTE)
    stage.errands.turn()
    calamity.happen(Expired(), 31 * MINUTE)
    stage.errands.turn()
    assert len(stage.pager.events) == 2
    assert stage.states() == ["triggered"], "and nobody ends it: nobody has done anything"
    said = [event["payload"]["summary"].rpartition(", ")[2] for event in stage.pager.events]
    assert said == ["platform-oncall have to approve", "nobody approved in time"]


def test_what_is_not_configured_is_not_run(quick: Stage) -> None:
    begin(quick)
    finish(quick)
    quick.another(Incidents()).turn()
    assert {row.note for row in quick.rows().values()} == {"not configured"}
    assert quick.events() == []
    assert not quick.pager.events


# --- crashes ----------------------------------------------------------------------------------------------------------


def test_a_crash_after_the_effect_repeats_nothing(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The outcome is lost; the next life looks first."""
    begin(stage)

    def die(*_: Any) -> None:
        raise Died

    for _ in range(2):  # one errand each
        dying = stage.another()
        monkeypatch.setattr(dying, "_done", die)
        with pytest.raises(Died):
            dying.turn()
    assert (len(stage.tracker.issues), len(stage.pager.alerts)) == (1, 1)
    assert all(row.done_at is None for row in stage.rows().values())
    assert stage.errands.turn() > 1, "they are claimed until the dead one's time is over"
    stage.make_due()
    stage.errands.turn()
    assert (len(stage.tracker.issues), stage.states()) == (1, ["triggered"])
    assert all(row.done_at for row in stage.rows().values())
    assert stage.rows()["ticket-1"].outputs["number"] == 1


def test_a_crash_before_the_effect_loses_nothing(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    begin(stage)

    def die(*_: Any) -> None:
        raise Died

    for _ in range(2):
        dying = stage.another()
        monkeypatch.setattr(dying, "_carry_out", die)
        with pytest.raises(Died):
            dying.turn()
    assert stage.events() == ["errand.intent"] * 2
    assert not stage.tracker.issues
    stage.make_due()
    stage.errands.turn()
    assert (len(stage.tracker.issues), stage.states()) == (1, ["triggered"])


def test_two_replicas_do_not_run_it_twice(stage: Stage) -> None:
    begin(stage)
    with stage.calamity.database.begin() as tx:
        claimed = tx.claim_errands(tx.now, tx.now + MINUTE, 9)
    assert len(claimed) == 2
    assert stage.errands.turn() > 1
    assert not stage.pager.events
    assert not stage.tracker.issues


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_what_fails_for_ever_delays_no_revocation(stage: Stage) -> None:
    stage.pager.faults.turn("refuse")
    stage.tracker.faults.turn("refuse")
    begin(stage)
    stage.errands.turn()
    finish(stage)
    stage.make_due()
    stage.errands.turn()
    with stage.calamity.database.read() as reader:
        due, now = reader.next_errand_at(), reader.now
    assert due is not None
    assert due > now + 30 * timedelta(seconds=1), "and it waits before it tries again"
    rows = stage.rows()
    assert rows["ticket-1"].failures == 2
    assert rows["page-1-opened"].note == "it was over; somebody may have been paged"
    told = [row.text for row in stage.calamity.notices() if row.key.startswith("incident-1-ticket")]
    assert len(told) == 1
    assert told[0].startswith("The ticket did not work:")
    assert "nothing waits for it" in told[0]
    assert KEY not in str([row.text for row in stage.calamity.notices()])


def test_it_works_once_it_may(quick: Stage) -> None:
    quick.tracker.faults.turn("refuse")
    begin(quick)
    quick.errands.turn()
    assert quick.rows()["ticket-1"].done_at is None
    quick.tracker.faults.clear()
    quick.make_due()
    quick.errands.turn()
    assert quick.rows()["ticket-1"].done_at is not None
    assert len(quick.tracker.issues) == 1


def test_in_the_end_it_is_given_up_and_said(quick: Stage) -> None:
    begin(quick)
    with quick.calamity.database.begin() as tx:
        for row in tx.errands(1):
            tx.postpone_errand(row.id, tx.now, MOST_FAILURES - 1, "refused")
    quick.pager.faults.turn("refuse")
    quick.tracker.faults.turn("refuse")
    quick.errands.turn()
    assert all(row.note.startswith("given up:") for row in quick.rows().values())
    assert sum("nobody tries again" in row.text for row in quick.calamity.notices()) == 2


def test_a_mistake_in_the_settings_is_named(quick: Stage) -> None:
    begin(quick)
    wrong = Incidents(
        page=Errand("pagerduty.trigger", {"integration": "oncall", "wrong": 1}), ticket=Errand("git.open", {})
    )
    quick.another(wrong).turn()
    notes = {row.kind: row.note for row in quick.rows().values()}
    assert "the parameters do not fit: wrong" in notes["page"]
    assert notes["ticket"] == "there is no operation git.open; name one that there is"


class Defect(Operation):
    """An operation that is broken."""

    def observe(self, p: Any, run: Any) -> Any:
        raise ZeroDivisionError("with-a-value-in-its-text")


def test_a_defect_in_an_adapter_ends_no_thread(quick: Stage) -> None:
    begin(quick)
    registry: Any = Registry(github__open_issue=Defect(None))
    settings = Incidents(ticket=Errand("github.open_issue", {}))
    Errands(quick.calamity.database, registry, door_to(TOKEN), settings).turn()
    note = quick.rows()["ticket-1"].note
    assert note.startswith("ZeroDivisionError at test_errands.py:")


# --- pages and their end ----------------------------------------------------------------------------------------------


def test_nobody_is_paged_for_what_is_over(quick: Stage) -> None:
    begin(quick)
    finish(quick)
    quick.errands.turn()
    assert not quick.pager.events
    assert quick.rows()["resolve-1"].note == "nobody was paged"
    assert len(quick.tracker.issues) == 1


def test_a_containment_that_lapsed_pages_again_and_nothing_ends_the_alert(quick: Stage) -> None:
    rotation = quick.calamity.ask()
    bound = {"digest": rotation.plan.digest, "nonce": rotation.nonce}
    quick.calamity.happen(GlassBroken("carol", "nobody answers", key="SHA256:carol", signature="signed", **bound))
    quick.calamity.step()
    quick.errands.turn()
    quick.calamity.happen(Expired(), 2 * timedelta(hours=1))
    assert quick.calamity.step().is_over, "it was put back before the page was sent"
    quick.errands.turn()
    summaries = [event["payload"]["summary"].partition(", ")[2] for event in quick.pager.events]
    assert summaries == ["an incident was opened", "the containment is put back"]
    assert quick.states() == ["triggered"]


def test_the_end_waits_for_a_page_that_is_being_sent(stage: Stage) -> None:
    begin(stage)
    with stage.calamity.database.begin() as tx:
        (sending,) = tx.claim_errands(tx.now, tx.now + MINUTE)
    assert sending.kind == "page"
    finish(stage)
    assert stage.errands.turn() > 0
    resolve = stage.rows()["resolve-1"]
    assert (resolve.done_at, resolve.note) == (None, "waits for a page")


@pytest.mark.parametrize("first", ["page", "resolve"])
def test_a_page_by_one_who_died_is_ended_too(stage: Stage, monkeypatch: pytest.MonkeyPatch, first: str) -> None:
    begin(stage)

    def die(*_: Any) -> None:
        raise Died

    dying = stage.another()
    monkeypatch.setattr(dying, "_done", die)
    with pytest.raises(Died):
        dying.turn()
    assert stage.states() == ["triggered"]
    finish(stage)
    with stage.calamity.database.begin() as tx:  # the dead one's claim is over
        for row in tx.errands(1):
            when = tx.now - (2 if row.kind == first else 1) * MINUTE
            of = ERRAND.c.id == row.id
            claimed = when if row.claimed_until else None
            tx.connection.execute(ERRAND.update().where(of).values(due_at=when, claimed_until=claimed))
    stage.errands.turn()
    assert stage.states() == ["resolved"]


def test_a_page_whose_answer_was_lost_is_ended_too(stage: Stage) -> None:
    begin(stage)
    stage.pager.faults.add("lose")
    stage.errands.turn()
    assert stage.rows()["page-1-opened"].failures == 1
    assert stage.states() == ["triggered"]
    finish(stage)
    stage.make_due()
    stage.errands.turn()
    assert stage.states() == ["resolved"]


# --- what they say ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["page", "ticket"])
def test_what_they_say_by_themselves_fits_whatever_the_reason_is(quick: Stage, kind: str) -> None:
    reason = "@channel <b>\u202e “leak”\n" + "x" * 900
    rotation = quick.calamity.ask(plan(reason=reason))
    scope: Mapping[str, str] = scope_of_incident(rotation, "nobody approved in time")
    model = pagerduty.Trigger.Params if kind == "page" else github.OpenIssue.Params
    needed = {"integration": "oncall"} if kind == "page" else {"repository": "acme/ops"}
    given = {**needed, **defaults(kind, scope)}
    model.model_validate(given)
