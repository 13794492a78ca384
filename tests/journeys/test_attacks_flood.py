"""Attacks on the door: forged and replayed requests, and one person who types without end. Each is one audit row."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import pytest
from sqlalchemy import event

from playground.workspace import FORGERIES
from playground.workspace.crowd import Rush
from tests.journeys.siege import Siege, besieged

pytestmark = pytest.mark.journey
BURST = 20
"""What one person may send at once; a second brings one more."""


@pytest.fixture
def by_http(tmp_path: Path, sqlite_template: Path) -> Iterator[Siege]:
    """A town whose bot has a request URL."""
    with besieged(tmp_path, sqlite_template, http=True) as town:
        yield town


@pytest.fixture
def paced(tmp_path: Path, sqlite_template: Path) -> Iterator[Siege]:
    """A town in which nobody may be faster than people are."""
    with besieged(tmp_path, sqlite_template, paced=True) as town:
        yield town


# --- who sends it -----------------------------------------------------------------------------------------------------


def test_forged_requests_are_refused_unread_and_are_one_audit_row(by_http: Siege) -> None:
    number = by_http.request()
    card = by_http.card(number)
    assert card is not None
    before, seq = by_http.everything(), by_http.newest()
    click = by_http.workspace.intruder.draft_click("bob", card, "rotate:approve")
    command = by_http.workspace.intruder.draft_command("bob", "ops", f"/rotate approve R-{number}")
    for how in FORGERIES:
        for draft in (click, command):
            refused = by_http.workspace.intruder.forge(draft, how)
            assert (refused.status, refused.payload) == (401, {"text": ""}), how
    assert by_http.everything() == before
    assert by_http.since(seq) == []
    by_http.unharmed()
    forged = {"forged": 2 * len(FORGERIES), "why": "signature or time wrong"}
    assert by_http.floods() == [("http:127.0.0.1", forged)]
    assert by_http.workspace.intruder.send(click).acked, "the control: sent by Slack, it counts"
    by_http.wait(number, lambda r: [vote.person for vote in r.votes] == ["bob"])


def test_a_thousand_forged_requests_hold_nobody_up(by_http: Siege) -> None:
    draft = by_http.workspace.intruder.draft_command("bob", "ops", "/rotate help")
    by_http.unharmed()
    with ThreadPoolExecutor(8) as pool:
        sent = [pool.submit(by_http.workspace.intruder.forge, draft, "wrong-secret") for _ in range(1000)]
        for _ in range(5):
            asked = by_http.workspace.type("erin", "ops", "/rotate help")
            assert asked.acked, asked.error
        assert {one.result().status for one in sent} == {401}
    assert [(source, detail["forged"]) for source, detail in by_http.floods()] == [("http:127.0.0.1", 1000)]


# --- when it was sent -------------------------------------------------------------------------------------------------


def test_a_request_replayed_after_five_minutes_is_refused(by_http: Siege) -> None:
    number = by_http.start()
    by_http.click("bob", number, "reject")  # opens a form, and stores nothing
    by_http.type("bob", f"approve R-{number}")
    by_http.wait(number, lambda r: r.started_at is not None)
    seq = by_http.newest()
    votes = by_http.rotation(number).votes
    for delivery in by_http.workspace.deliveries:
        late = by_http.workspace.intruder.replay(delivery, age=301)
        assert (late.status, late.payload) == (401, {"text": ""})
    assert by_http.since(seq, "intent.received", "vote.counted") == []
    assert by_http.rotation(number).votes == votes
    assert [(source, sorted(detail)) for source, detail in by_http.floods()] == [("http:127.0.0.1", ["forged", "why"])]


def test_a_request_replayed_within_five_minutes_has_no_second_effect(by_http: Siege) -> None:
    number = by_http.start()
    vote = by_http.workspace.type("bob", "ops", f"/rotate approve R-{number}")
    by_http.wait(number, lambda r: r.started_at is not None)
    seq, told = by_http.newest(), len(by_http.workspace.ephemerals("bob"))
    for age in (0.0, 0.0, 0.0, 240.0, 299.0):
        again = by_http.workspace.intruder.replay(vote, age=age)
        assert (again.status, again.payload) == (200, {"text": ""})
    by_http.unharmed()
    _nothing_again(by_http, number, seq, told, 5)


def test_everything_that_was_ever_sent_has_no_second_effect(by_http: Siege) -> None:
    """Commands, the form that started, a click and the form of a reason, each of them again."""
    number = by_http.start()
    by_http.give_reason("bob", number, "reject", "not now")
    by_http.wait(number, lambda r: r.ended_at is not None)
    by_http.request(credential="billing-api-key")
    before, seq = by_http.everything(), by_http.newest()
    for delivery in by_http.workspace.deliveries:
        assert by_http.workspace.intruder.replay(delivery).status == 200
    by_http.unharmed()
    assert by_http.everything() == before
    stored = [row for row in by_http.since(seq, "intent.received") if not row.actor.endswith("/U0ERIN")]
    assert stored == []
    again = {source: detail["refused"] for source, detail in by_http.floods() if detail["why"] == "delivered before"}
    assert again == {"slack:T0KEYTURN/U0ALICE": 3, "slack:T0KEYTURN/U0BOB": 1}


@pytest.mark.parametrize("envelope", ["new", "same"])
@pytest.mark.parametrize("later", [timedelta(0), timedelta(minutes=6), timedelta(days=2)])
def test_a_delivery_replayed_over_a_socket_has_no_second_effect(
    siege: Siege, later: timedelta, envelope: Literal["new", "same"]
) -> None:
    """Nothing on a socket is dated, so that what was heard once is remembered however late it comes again."""
    number = siege.start()
    card = siege.shows(number, "asks to rotate")
    vote = siege.workspace.click("bob", card, "rotate:approve")
    siege.ask("erin", f'rollback R-{number} --reason "not today"', f"R-{number}")
    siege.wait(number, lambda r: r.ended_at is not None)
    siege.told("bob", "is counted")
    seq, told = siege.newest(), len(siege.workspace.ephemerals("bob"))
    siege.database.clock.advance(later)
    for _ in range(3):
        assert siege.workspace.intruder.replay(vote, envelope=envelope).ok
    siege.unharmed()
    _nothing_again(siege, number, seq, told, 3)


def _nothing_again(town: Siege, number: int, seq: int, told: int, times: int) -> None:
    """What Bob sent was heard once, and what came again is one row of the audit."""
    heard = [row for row in town.since(seq, "intent.received") if row.actor.endswith("/U0BOB")]
    assert heard == []
    assert town.since(seq, "vote.counted", "vote.refused", "rotation.requested", "rotation.approved") == []
    assert len(town.rotation(number).votes) == 1
    assert len(town.workspace.ephemerals("bob")) == told
    assert town.floods() == [("slack:T0KEYTURN/U0BOB", {"refused": times, "why": "delivered before"})]


# --- how much of it ---------------------------------------------------------------------------------------------------


def test_ten_thousand_commands_of_one_person_harm_nobody(paced: Siege) -> None:
    """Refused before anything of theirs is looked up or stored; an emergency and everybody else pass between them."""
    number = paced.request()
    paced.unharmed()
    rushes: list[Rush] = []

    def rush() -> None:
        rushes.append(paced.workspace.crowd.type("dave", "ops", f"/rotate approve R-{number}", 10_000))

    flood = threading.Thread(target=rush)
    flood.start()
    paced.until(lambda: len(paced.workspace.deliveries) > 500, "a flood", every=0.001)
    emergency = paced.revoke()
    passed_between = flood.is_alive()
    helps = [paced.workspace.type(user, "ops", "/rotate help") for user in ("erin", "bob", "carol") for _ in range(4)]
    flood.join(60)
    assert passed_between, "the emergency waited for the end of the flood"
    assert paced.rotation(emergency).plan.emergency
    assert Rush(tuple(helps), 0).acked == len(helps)
    assert Rush(tuple(helps), 0).ack(0.5) < 0.5
    (flooding,) = rushes
    assert flooding.acked == 10_000, flooding.errors
    passed = [one for one in flooding.deliveries if "too fast" not in str(one.answer)]
    assert len(passed) <= BURST + flooding.seconds + 1
    refused = 10_000 - len(passed)
    intents = [row for row in paced.audit() if row.event == "intent.received" and row.actor.endswith("/U0DAVE")]
    assert len(intents) == len(passed)
    assert paced.floods() == [("slack:T0KEYTURN/U0DAVE", {"refused": refused, "why": "too fast"})]


def test_what_is_too_fast_is_refused_before_the_database_is_asked(paced: Siege) -> None:
    assert paced.bot is not None
    assert paced.bot.room is not None
    paced.bot.room._flood._person = (BURST, 0.001)  # so that a slow machine lets no more of it pass
    number = paced.request()
    card = paced.card(number)
    assert card is not None
    asked: Counter[str] = Counter()

    def note(*of_sqlalchemy: Any) -> None:
        asked[threading.current_thread().name] += 1

    def by_listeners() -> int:
        return sum(many for name, many in asked.items() if name.startswith("ThreadPoolExecutor"))

    event.listen(paced.database.engine, "before_cursor_execute", note)
    rush = paced.workspace.crowd.type("dave", "ops", f"/rotate approve R-{number}", BURST)
    assert rush.acked == BURST
    assert by_listeners() >= BURST, "the control: what passed was stored"
    asked.clear()
    told = str(paced.workspace.type("dave", "ops", f"/rotate approve R-{number}").answer)
    assert "too fast, so nothing was done" in told
    assert paced.workspace.intruder.click("dave", card, "rotate:approve").acked
    assert by_listeners() == 0
    paced.unharmed()
    assert paced.floods() == [("slack:T0KEYTURN/U0DAVE", {"refused": 2, "why": "too fast"})]
