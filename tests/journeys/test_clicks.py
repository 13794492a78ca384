"""Double clicks, Slack's repetitions, two people at once: one effect, and a polite answer to the late one."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from bot.core.rotation import Stage, State
from tests.journeys.conftest import TownOpener
from tests.journeys.town import Town

pytestmark = pytest.mark.journey


@pytest.fixture
def calm(open_town: TownOpener) -> Town:
    """A town in which nothing happens by itself for a while."""
    return open_town(estate={"rate": 1.0, "clients": 0})


def together(*acts: Callable[[], object]) -> None:
    """Do everything at the same moment."""
    barrier = threading.Barrier(len(acts))

    def act(do: Callable[[], object]) -> None:
        barrier.wait()
        do()

    threads = [threading.Thread(target=act, args=(do,)) for do in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_a_double_click_on_approve_counts_once(calm: Town) -> None:
    number = calm.start()
    card = calm.shows(number, "asks to rotate")
    together(*[lambda: calm.workspace.click("bob", card, "rotate:approve", force=True)] * 2)
    calm.wait(number, lambda r: r.started_at is not None)
    calm.told("bob", "is counted")
    calm.told("bob", "was already approved by bob")
    assert calm.events(number).count("vote.counted") == 1
    assert calm.events(number).count("rotation.started") == 1


def test_two_approvers_at_once_have_one_effect(calm: Town) -> None:
    number = calm.start()
    card = calm.shows(number, "asks to rotate")
    together(*[lambda user=user: calm.workspace.click(user, card, "rotate:approve") for user in ("bob", "carol")])
    calm.wait(number, lambda r: r.started_at is not None)
    first = calm.rotation(number).votes[0].person
    late = "carol" if first == "bob" else "bob"
    calm.told(first, "is counted")
    calm.told(late, f"R-{number} was already approved by {first}")
    assert calm.events(number).count("vote.counted") == 1
    calm.until(lambda: calm.stage(number, "learn") is Stage.WAITING, lambda: calm.tell(number))
    assert len(calm.estate.identity.keys.all()) == 2


def test_approve_against_reject_ends_in_one_of_them(calm: Town) -> None:
    number = calm.start()
    card = calm.shows(number, "asks to rotate")
    together(
        lambda: calm.workspace.click("bob", card, "rotate:approve"),
        lambda: calm.type("carol", f'reject R-{number} --reason "not now"'),
    )
    ended = calm.wait(number, lambda r: r.state is not State.REQUESTED)
    calm.told("bob", f"R-{number}")
    calm.told("carol", f"R-{number}")
    assert calm.events(number).count("vote.counted") == 1
    if ended.state is State.CANCELLED:
        calm.told("bob", "your vote changed nothing")
        assert len(calm.estate.identity.keys.all()) == 1
    else:
        calm.told("carol", "your vote changed nothing")


def test_two_starts_at_once_open_one_rotation(calm: Town) -> None:
    together(
        *[lambda user=user: calm.type(user, "start identity-signing --reason x --yes") for user in ("alice", "dave")]
    )
    calm.until(lambda: calm.workspace.ephemerals("alice") and calm.workspace.ephemerals("dave"), "two answers")
    said = [calm.workspace.ephemerals(user)[-1].text for user in ("alice", "dave")]
    assert sorted("is open for" in text for text in said) == [False, True], said
    assert any("R-1 is already rotating identity-signing" in text for text in said), said
    assert calm.events().count("rotation.requested") == 1


@pytest.mark.parametrize("how", ["duplicate", "lose_ack", "drop_before_ack"])
def test_what_slack_delivers_twice_happens_once(calm: Town, how: str) -> None:
    """The same command, the same form and the same click, each of them again."""
    faults = calm.workspace.faults
    getattr(faults, how)("slash_commands", times=1)
    getattr(faults, how)("view_submission", times=1)
    calm.workspace.type("alice", "ops", "/rotate start identity-signing --reason weekly")
    calm.modal("alice", "Rotate identity-signing")
    calm.workspace.wait_connected()
    calm.workspace.submit("alice", {"boxes": ["incidents", "notified", "dashboard"]})
    calm.until(lambda: "rotation.requested" in calm.events(), lambda: calm.workspace.describe(), 20)
    calm.workspace.wait_connected()
    card = calm.shows(1, "asks to rotate")
    getattr(faults, how)("block_actions", times=1)
    calm.workspace.click("bob", card, "rotate:approve")
    calm.wait(1, lambda r: r.started_at is not None)
    events = calm.events()
    assert events.count("rotation.requested") == 1
    assert events.count("vote.counted") == 1
    intents = [row.detail["word"] for row in calm.audit() if row.event == "intent.received"]
    assert intents == ["start", "start", "approve"], "a delivery was heard twice"
    assert len(calm.cards(1)) == 1
    assert len([one for one in calm.workspace.ephemerals("bob") if "is counted" in one.text]) == 1


def test_a_double_click_on_retry_tries_once(open_town: TownOpener) -> None:
    town = open_town()
    fault = town.estate.identity.faults.add("status", "/api/v1/admin/keys/rotate", "POST", times=None, status=409)
    number = town.start()
    town.approve(number)
    town.wait(number, lambda r: r.state is State.HELD)
    card = town.shows(number, "is held at")
    tried = fault.fired
    together(*[lambda: town.workspace.click("erin", card, "rotate:retry", force=True)] * 2)
    town.told("erin", "is tried again")
    town.wait(number, lambda r: r.state is State.HELD and fault.fired > tried)
    town.until(lambda: len(town.workspace.ephemerals("erin")) >= 2, "both answers")
    released = town.events(number).count("step.released")
    assert released == fault.fired - tried, "a click and what it did are not one to one"
