"""Steps of workflows: the same path of approval, ended exactly once, whatever is delivered twice, lost or restarted."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from bot.store.records import Declared
from playground.workspace.forms import NotAccepted
from playground.workspace.records import Execution, Message
from tests.slack.conftest import House, Opener

ASKED = {"credential": "door-key@production", "reason": "a joiner's workflow"}


SOON = (0.0, 0.3, 0.6, 1.2, 2.4)
"""How soon events are brought again, where a test waits for it."""


def run(house: House, user: str = "alice", step: str = "rotate_credential", **inputs: str) -> Execution:
    return house.workspace.run_step(user, step, inputs or ASKED)


def ended(house: House, execution: Execution) -> Execution:
    house.wait(lambda: execution.state != "running", f"the end of {execution.step}")
    return execution


def endings(house: House, execution: Execution) -> list[str]:
    """What came of each call that wanted to end it."""
    calls = [one for name in ("Success", "Error") for one in house.workspace.calls_to(f"functions.complete{name}")]
    mine = [one for one in calls if one.arguments.get("function_execution_id") == execution.id]
    return [one.error or "ok" for one in mine]


def card_of(house: House, number: int = 1) -> Message:
    def look() -> Message | None:
        card = house.card(number)
        if card is None:
            return None
        with house.bot.database.read() as reader:
            return card if reader.drawing_at(card.channel, card.ts) is not None else None

    return house.wait(look, "the card")


def finish(house: House) -> None:
    """Consent, and every step by hand up to promotion."""
    house.workspace.click("alice", card_of(house), "rotate:tick:notified")
    house.workspace.click("bob", card_of(house), "rotate:approve")
    for step in ("first", "second"):
        house.wait(lambda step=step: f"rotate:advance:{step}" in card_of(house).buttons, step)
        house.workspace.click("alice", card_of(house), f"rotate:advance:{step}")


def test_a_step_asks_for_a_rotation_and_ends_when_the_new_one_is_in_use(house: House) -> None:
    execution = run(house)
    house.shows("a joiner's workflow")
    house.workspace.click("alice", card_of(house), "rotate:approve")
    house.told("alice", "somebody else")
    finish(house)
    assert execution.state == "running" or execution.outputs
    assert ended(house, execution).outputs == {
        "rotation": "R-1",
        "state": "in use",
        "outcome": "R-1 (door-key, production) is rotated; the old one is being retired.",
    }
    assert ("rotation.requested", "alice") in house.audit()
    house.wait(lambda: endings(house, execution) == ["ok"], "one ending")


@pytest.mark.parametrize("transport", ["socket", "http"])
@pytest.mark.parametrize("fault", ["duplicate", "drop_before_ack", "lose_ack"])
def test_a_step_that_is_delivered_again_asks_once(open_house: Opener, transport: str, fault: str) -> None:
    house = open_house(transport=transport, retry_delays=SOON)
    getattr(house.workspace.faults, fault)("function_executed")
    run(house)
    card_of(house)
    house.wait(lambda: all(one.done.done() for one in house.workspace.deliveries))
    assert house.audit().count(("rotation.requested", "alice")) == 1
    with house.bot.database.read() as reader:
        assert [one.form for one in reader.drawings(1)].count("step") == 1


def test_a_step_outlives_the_bot_and_a_lost_answer(house: House) -> None:
    execution = run(house)
    card_of(house)
    house.restart()
    house.workspace.faults.web("functions.completeError", cut="after")
    house.workspace.type("alice", "ops", '/rotate cancel R-1 --reason "wrong door"')
    assert "ended without a change: Cancelled by alice: wrong door" in ended(house, execution).error
    house.wait(lambda: endings(house, execution)[-1:] == ["execution_not_in_running_state"], "the second look")

    def settled() -> bool:
        with house.bot.database.read() as reader:
            return next(one for one in reader.drawings(1) if one.form == "step").drawn == 2**31 - 1

    house.wait(settled, "a row that wants nothing more")


@pytest.mark.parametrize(
    ("user", "inputs", "said"),
    [
        ("", ASKED, "No person runs this workflow"),
        ("gus", ASKED, "There is no credential"),
        ("pagerbot", ASKED, "There is no credential"),
        ("alice", {**ASKED, "credential": "dor-key"}, "Did you mean door-key"),
        ("alice", {**ASKED, "reason": "ghp_0123456789abcdefghijklmnopqrstuvwxyz"}, "looks like a GitHub token"),
        ("alice", {**ASKED, "credential": "  "}, "names no credential"),
    ],
)
def test_what_cannot_be_asked_for_fails_the_step_with_a_sentence(
    house: House, user: str, inputs: dict[str, str], said: str
) -> None:
    execution = house.workspace.run_step(user, "rotate_credential", inputs)
    assert said in ended(house, execution).error
    house.wait(lambda: endings(house, execution) == ["ok"], "one ending")
    assert [event for event, _ in house.audit()].count("rotation.requested") == 0
    assert any("refused" in event for event, _ in house.audit())
    assert "ghp_" not in repr(house.workspace.calls)


def test_who_runs_it_cannot_be_filled_in(house: House) -> None:
    with pytest.raises(NotAccepted):
        run(house, credential="door-key", reason="x", person="U0BOB")


def test_status_gives_strings(house: House) -> None:
    first = run(house, step="credential_status", credential="door-key")
    assert ended(house, first).outputs["open_rotation"] == "none"
    assert first.outputs["owner"] == "alice"
    run(house)
    card_of(house)
    second = run(house, "bob", "credential_status", credential="door-key@production")
    assert ended(house, second).outputs["open_rotation"] == "R-1"
    third = run(house, "bob", "credential_status", credential="nothing")
    assert "There is no credential 'nothing'" in ended(house, third).error


def test_the_choices_are_the_credentials(house: House) -> None:
    execution = house.workspace.run_step("", "credential_choices", {})
    options = ended(house, execution).outputs["options"]
    assert [one["value"] for one in options] == ["door-key@production", "shed-key@staging"]


def test_those_due_next_come_first_and_a_typed_name_finds_the_others(house: House) -> None:
    with house.bot.database.begin() as tx:
        many = (Declared(f"aa-{n:03}", "production", "key", "alice", "by-hand", None) for n in range(150))
        tx.apply_credentials(many, partial=True)
        for name, environment, days in (("shed-key", "staging", 1), ("door-key", "production", 9)):
            tx.update_credential(name, environment, next_due=tx.now + timedelta(days=days), remind_at=None)

    def offered(query: str) -> list[str]:
        execution = house.workspace.run_step("", "credential_choices", {"query": query} if query else {})
        return [one["value"] for one in ended(house, execution).outputs["options"]]

    everything = offered("")
    assert everything[:3] == ["shed-key@staging", "door-key@production", "aa-000@production"]
    assert len(everything) == 100
    assert "aa-149@production" not in everything
    assert offered("AA-149") == ["aa-149@production"]
    assert offered("aa-149@production") == ["aa-149@production"]
    assert offered("-key") == ["shed-key@staging", "door-key@production"]
    assert offered("nothing like it") == []


def test_what_cannot_be_stored_is_brought_again(open_house: Opener) -> None:
    house = open_house(transport="http", retry_delays=SOON)
    with house.bot.database.engine.connect() as connection:
        connection.exec_driver_sql("CREATE TRIGGER full BEFORE INSERT ON intent BEGIN SELECT RAISE(ABORT, 'disk'); END")
    house.workspace.run_step("alice", "rotate_credential", ASKED, wait=False)
    sent = house.wait(lambda: next((one for one in house.workspace.deliveries if one.attempts), None))
    house.wait(lambda: sent.attempts[0].error, "a first attempt")
    with house.bot.database.engine.connect() as connection:
        connection.exec_driver_sql("DROP TRIGGER full")
    card_of(house)
    assert len(sent.attempts) > 1


def test_the_token_of_a_workflow_is_kept_nowhere(house: House) -> None:
    execution = run(house)
    card_of(house)
    for path in Path(house.folder).glob("keyturn.db*"):
        assert execution.token.encode() not in path.read_bytes()
