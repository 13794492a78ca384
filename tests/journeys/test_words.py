"""Every word of `/rotate`, typed and by button: what the person is told, what the card says, what the audit keeps."""

from __future__ import annotations

from pathlib import Path

import pytest

import runbooks
from bot.core.rotation import Stage, State
from tests.journeys.conftest import TownOpener
from tests.journeys.town import BOXES, Town

pytestmark = pytest.mark.journey
CALM = {"rate": 1.0, "clients": 0}
"""No wait ends while the test looks."""
SHIPPED = Path(runbooks.__file__).parent


@pytest.fixture
def calm(open_town: TownOpener) -> Town:
    """A town in which nothing happens by itself for a while."""
    return open_town(estate=CALM)


def test_start_typed_shows_the_plan_and_submitting_asks_for_it(calm: Town) -> None:
    calm.type("alice", "start identity-signing")
    form = calm.modal("alice", "Rotate identity-signing")
    for text in (
        "Publish a new key beside the old one",
        "Nobody presents a token of the old key",
        "can be rolled back within",
        "Plan `sha256:",
        "permissions of every step confirmed by clients, gateways, identity, jwks",
    ):
        assert text in form.words, text
    calm.workspace.submit("alice", {"reason": "  "}, wait=True)
    assert "needs a reason" in calm.told("alice", "needs a reason").words
    number = calm.start(reason="quarterly", tick=False)
    card = calm.shows(number, "*Why* quarterly", "the checklist is not complete", "*open* `notified`")
    assert {"rotate:approve", "rotate:reject", "rotate:tick:notified", "rotate:cancel"} <= set(card.buttons)
    assert "rotation.requested" in calm.events(number)


def test_a_bare_command_lets_one_choose_the_credential(calm: Town) -> None:
    calm.workspace.type("alice", "ops", "/rotate")
    calm.modal("alice", "Rotate a credential")
    calm.workspace.suggest("alice", "modal", "value", "ident")
    calm.workspace.submit("alice", {"credential": "identity-signing@production", "reason": "weekly"})
    calm.modal("alice", "Rotate identity-signing")
    calm.workspace.submit("alice", {"boxes": ["notified"]})
    calm.shows(1, "asks to rotate `identity-signing`", "*Why* weekly")


def test_start_with_yes_needs_no_form(calm: Town) -> None:
    calm.ask("alice", 'start identity-signing --reason "weekly" --yes', "R-1 is open for identity-signing")
    assert calm.workspace.view("alice") is None
    calm.shows(1, "*Why* weekly")


def test_plan_touches_nothing(calm: Town) -> None:
    said = calm.ask("erin", "plan identity-signing", "would be done by").words
    assert "Publish a new key beside the old one" in said
    assert "sha256:" in said
    assert calm.events().count("rotation.requested") == 0
    assert len(calm.estate.identity.keys.all()) == 1


def test_tick_by_button_and_by_text_completes_the_checklist(calm: Town) -> None:
    number = calm.start(tick=False)
    calm.shows(number, "*open* `notified`")
    calm.click("alice", number, "tick:notified")
    calm.shows(number, "*ticked* `notified`", "<@U0ALICE>")
    calm.ask("erin", f'tick R-{number} dashboard --evidence "grafana d/12"', "Your name stands beside dashboard")
    calm.shows(number, "<@U0ERIN>: grafana d/12")
    boxes = [box.name for box in calm.rotation(number).boxes if not box.ticked]
    calm.approve(number)
    assert calm.rotation(number).state is State.REQUESTED
    for box in boxes:
        calm.ask("alice", f"tick R-{number} {box}", f"Your name stands beside {box}")
    calm.wait(number, lambda r: r.started_at is not None)
    ticked = [row.detail["box"] for row in calm.audit(number) if row.event == "checklist.ticked"]
    assert ticked == ["notified", "dashboard", *boxes]


def test_approve_by_text_counts_and_says_so(calm: Town) -> None:
    number = calm.start()
    calm.ask("carol", f"approve R-{number}", f"Your approval of R-{number} (identity-signing) is counted.")
    calm.shows(number, "*Approved* by <@U0CAROL> (member of sec-oncall)")
    vote = next(row for row in calm.audit(number) if row.event == "vote.counted")
    assert (vote.actor, vote.detail["plan"]) == ("carol", calm.rotation(number).plan.digest)


def test_reject_asks_for_a_reason_and_ends_it(calm: Town) -> None:
    number = calm.start()
    calm.ask("bob", f"reject R-{number}", "Say which rotation you reject, and why")
    assert calm.rotation(number).state is State.REQUESTED
    calm.give_reason("bob", number, "reject", "freeze until Monday")
    card = calm.shows(number, "nothing was changed", "Rejected by bob: freeze until Monday")
    assert card.buttons == []
    assert calm.events(number)[-2:] == ["vote.counted", "rotation.cancelled"]


def test_reject_by_text(calm: Town) -> None:
    number = calm.start()
    calm.ask("bob", f'reject R-{number} --reason "wrong week"', f"Your rejection of R-{number}")
    calm.shows(number, "Rejected by bob: wrong week")


def test_cancel_by_button_and_by_text(calm: Town) -> None:
    number = calm.start()
    calm.give_reason("alice", number, "cancel", "wrong environment")
    calm.shows(number, "Cancelled by alice: wrong environment")
    again = calm.start()
    calm.ask("alice", f'cancel R-{again} --reason "again"', f"R-{again} (identity-signing) is cancelled")
    assert calm.rotation(again).state is State.CANCELLED
    assert len(calm.estate.identity.keys.all()) == 1


@pytest.mark.timeout(120)
def test_advance_fix_skip_and_rollback(open_town: TownOpener) -> None:
    """The wait for the caches is ended early by a second person, once the caches are known to be fresh."""
    town = open_town(estate={"rate": 30.0, "clients": 4, "jwks_max_age": 900})
    old = town.estate.signing_kid()
    number = town.start()
    town.approve(number)
    town.wait(number, lambda r: town.stage(number, "learn") is Stage.WAITING)
    town.shows(number, "waits until")

    town.click("erin", number, "advance")
    town.until(lambda: "step.released" in town.events(number), "the look")
    town.ask("erin", f"advance R-{number}", "goes on from here")
    assert town.stage(number, "learn") in (Stage.WAITING, Stage.QUEUED, Stage.RUNNING), "a look ended the wait"

    town.ask("erin", f"fix R-{number} refresh-caches", "gateway-3: done")
    town.give_reason("erin", number, "skip", "caches are fresh")
    town.shows(number, "asks to skip", "a second person has to agree", "caches are fresh")
    town.ask("erin", f"approve R-{number}", "somebody else has to approve it")
    town.click("bob", number, "approve")
    town.wait(number, lambda r: town.stage(number, "learn") is Stage.SKIPPED)
    events = town.events(number)
    assert events.index("amendment.asked") < events.index("amendment.approved") < events.index("step.skipped")

    town.wait(number, lambda r: town.estate.signing_kid() != old)
    town.give_reason("bob", number, "rollback", "not today")
    town.wait(number, lambda r: r.state is State.ROLLED_BACK)
    assert town.estate.signing_kid() == old
    card = town.shows(number, "was rolled back", "the old one is used", "Rolled back by bob: not today")
    assert card.buttons == []
    assert town.failures() == 0


@pytest.mark.timeout(60)
def test_skip_and_rollback_by_text_and_a_refusal_to_skip(open_town: TownOpener) -> None:
    town = open_town(estate={"rate": 30.0, "clients": 2})
    number = town.start()
    town.approve(number)
    town.wait(number, lambda r: town.stage(number, "learn") is Stage.WAITING)
    town.ask("erin", f'skip R-{number} --reason "in a hurry"', "needs a second person")
    town.give_reason("bob", number, "reject", "wait for it")
    town.until(lambda: "amendment.lapsed" in town.events(number), "the refusal")
    assert town.stage(number, "learn") is Stage.WAITING
    town.ask("erin", f'rollback R-{number} --reason "not today"', "is being rolled back")
    town.wait(number, lambda r: r.state is State.ROLLED_BACK)
    assert len(town.estate.identity.keys.all()) == 1


def test_words_that_only_read(calm: Town) -> None:
    calm.ask("dave", "status", "No rotation is open")
    number = calm.start()
    assert "identity-signing (production)" in calm.ask("dave", "status", "1 rotation is open").words
    told = calm.ask("dave", f"status r{number}", f"R-{number} rotates identity-signing").words
    assert "It waits for 1 more approval(s)" in told
    calm.ask("dave", "status identity-signing", f"R-{number} rotates identity-signing")
    listed = calm.ask("dave", "list", "These are 2 credentials").words
    assert "billing-api-key" in listed
    assert f"R-{number} is open" in listed
    assert "billing-api-key" not in calm.ask("dave", "list signing", "This is 1 credential").words
    books = calm.ask("dave", "runbooks", f"There are {len(list(SHIPPED.glob('*.yaml')))} runbooks").words
    assert "identity-signing@production" in books
    told = calm.ask("dave", f"history R-{number}", "The audit tells this").words
    assert "alice asked for this rotation" in told
    everything = calm.ask("dave", "help", "keyturn rotates credentials by runbook").words
    for word in ("advance", "approve", "cancel", "fix", "history", "list", "plan", "reject", "retry", "rollback"):
        assert word in everything
    assert "Write: approve R-7" in calm.ask("dave", "help approve", "Approve a rotation").words


def test_the_checklist_of_the_form_is_what_the_audit_keeps(calm: Town) -> None:
    number = calm.start()
    asked = next(row for row in calm.audit(number) if row.event == "rotation.requested")
    assert set(asked.detail["boxes"]) == set(BOXES)
    assert asked.detail["boxes"]["notified"] == {"ticked": True, "by": "alice", "evidence": ""}
    assert asked.detail["boxes"]["access"]["by"] == "keyturn"
    assert asked.detail["plan"] == calm.rotation(number).plan.digest
