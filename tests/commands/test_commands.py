"""Every word: what it does on a real engine, what it says, and how it refuses."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from bot.catalog import names
from bot.core.errors import Refused
from bot.core.rotation import State
from bot.core.words import YES_OR_NO
from tests.commands.conftest import Desk

WORDS = [
    "advance",
    "approve",
    "cancel",
    "contain",
    "expired",
    "fix",
    "forecast",
    "help",
    "history",
    "incident",
    "list",
    "own",
    "plan",
    "record",
    "reject",
    "retry",
    "revoke",
    "rollback",
    "runbooks",
    "skip",
    "snooze",
    "start",
    "status",
    "tick",
]
AT_ONCE = {"help", "history", "list", "runbooks", "status"}
WITH_REASON = {"cancel", "contain", "reject", "rollback", "skip"}


def test_the_words_are_the_files() -> None:
    assert sorted(names("commands")) == WORDS


def test_every_word_declares_what_the_contract_asks(desk: Desk) -> None:
    for word, command in desk.bot.engine.board.words().items():
        doc = inspect.cleandoc(command.__doc__)
        assert doc.partition("\n")[0].endswith("."), f"{word}: the first line is the one-line help"
        assert command.usage.split()[0] == word
        assert bool(getattr(command, "at_once", False)) == (word in AT_ONCE)
        assert bool(getattr(command, "reason", False)) == (word in WITH_REASON)
        for flag, text in getattr(command, "flags", {}).items():
            assert re.fullmatch(r"[a-z][a-z-]*", flag)
            assert text, f"--{flag} of {word} has a help"
        if word in WITH_REASON:
            assert "reason" in command.flags
    start = desk.bot.engine.board.words()["start"]
    assert start.form
    assert start.flags["yes"].endswith(YES_OR_NO)


def test_commands_import_contracts_and_core_only() -> None:
    for path in (Path(__file__).parents[2] / "commands").glob("*.py"):
        for imported in re.findall(
            r"^(?:from|import) (bot\.\S+|slack\S*|sqlalchemy\S*|commands\S*)", path.read_text(), re.M
        ):
            assert imported.startswith(("bot.contracts", "bot.core")), f"{path.name} imports {imported}"


def test_a_start_shows_the_plan_first_and_starts_nothing(desk: Desk) -> None:
    said = desk.say("alice", 'start door-key --reason "weekly"')
    assert "Nothing is started yet" in said.text
    assert said.draft is not None
    assert said.data["digest"] == said.draft.plan.digest
    assert desk.say("alice", "status").text.startswith("No rotation is open")


def test_a_rotation_by_words(desk: Desk) -> None:
    opened = desk.open()
    assert opened.rotation == 1
    assert "1 more person has to approve it" in opened.text
    with pytest.raises(Refused, match="yourself"):
        desk.say("alice", "approve R-1")
    assert desk.say("bob", "approve R-1").text.endswith("is counted.")
    desk.asking(0)
    assert "is asking at" in desk.say("carol", "status R-1").text
    for step in range(3):
        desk.asking(step)
        desk.say("carol", 'advance R-1 --evidence "CHG-1"')
    desk.wait(lambda found: found.is_over)
    said = desk.say("carol", "status door-key")
    assert "It is done. It is due again on" in said.text
    story = desk.say("bob", "history door-key")
    assert story.table is not None
    told = "\n".join(row[2] for row in story.table.rows)
    for sentence in (
        "alice asked for this rotation by the runbook by-hand",
        "bob approved it",
        "carol confirmed first: CHG-1",
        "The new credential is in use",
        "It is due again on",
        "The old credential is retired",
    ):
        assert sentence in told
    assert told.index("alice asked") < told.index("bob approved") < told.index("is retired")
    assert "secret" not in told


def test_open_boxes_hold_a_start_until_somebody_vouches(desk: Desk) -> None:
    said = desk.say("alice", 'start door-key --reason "weekly"', confirmed=True)
    assert "these boxes are still open: notified" in said.text
    assert "these boxes are ticked: notified" in desk.say("bob", "approve R-1").text
    with pytest.raises(Refused, match="no box 'nosuch'"):
        desk.say("carol", "tick R-1 nosuch")
    assert "the checklist is complete" in desk.say("carol", "tick R-1 notified --evidence #ops").text
    desk.asking(0)
    assert desk.rotation().boxes[0].by == "carol"


def test_reject_ends_the_request(desk: Desk) -> None:
    desk.open()
    assert "counted" in desk.say("bob", 'reject R-1 --reason "freeze"').text
    assert desk.rotation().state is State.CANCELLED
    assert "freeze" in desk.say("alice", "status R-1").text


def test_cancel_says_that_nothing_was_changed(desk: Desk) -> None:
    desk.open()
    assert "nothing was changed" in desk.say("alice", 'cancel R-1 --reason "wrong door"').text


def test_rollback_after_a_step(desk: Desk) -> None:
    desk.open()
    desk.say("bob", "approve R-1")
    desk.asking(0)
    assert "being rolled back" in desk.say("alice", 'rollback R-1 --reason "no"').text
    desk.wait(lambda found: found.state is State.ROLLED_BACK)
    assert "rolled back" in desk.say("alice", "status R-1").text


def test_skipping_asks_for_a_second_person(desk: Desk) -> None:
    desk.open()
    desk.say("bob", "approve R-1")
    desk.asking(0)
    assert "needs a second person" in desk.say("alice", 'skip R-1 --reason "it is there"').text
    assert "asked to skip first" in desk.say("bob", "status R-1").text
    desk.say("bob", "approve R-1")
    desk.asking(1)


def test_a_branch_of_the_troubleshooting(desk: Desk) -> None:
    desk.open()
    desk.say("bob", "approve R-1")
    desk.asking(0)
    assert desk.say("carol", "fix R-1 lost").text == "lost of R-1: Look into the safe."
    with pytest.raises(Refused, match="offers: lost"):
        desk.say("carol", "fix R-1")


def test_lists(desk: Desk) -> None:
    said = desk.say("carol", "list")
    assert said.table is not None
    assert {row[0] for row in said.table.rows} == {"door-key", "shed-key"}
    shed = desk.say("carol", "list shed")
    assert shed.table is not None
    assert [row[0] for row in shed.table.rows] == ["shed-key"]
    assert "No credential" in desk.say("carol", "list nothing-like-it").text
    books = desk.say("carol", "runbooks")
    assert books.table is not None
    assert ("by-hand", "door-key@production, shed-key@staging") in {(row[0], row[2]) for row in books.table.rows}
    desk.open()
    opened = desk.say("carol", "status")
    assert opened.table is not None
    assert opened.table.rows[0][:3] == ("R-1", "door-key (production)", "requested")
    planned = desk.say("carol", "plan shed-key")
    assert planned.table is not None
    assert [row[0] for row in planned.table.rows] == ["first", "second", "third"]


def test_help(desk: Desk) -> None:
    said = desk.say("carol", "help")
    assert said.table is not None
    assert len(said.table.rows) == len(WORDS)
    one = desk.say("carol", "help start")
    assert "Write: start <credential>" in one.text
    with pytest.raises(Refused, match="did you mean start"):
        desk.say("carol", "help strat")


@pytest.mark.parametrize(
    ("typed", "advice"),
    [
        ("start", "start <credential>"),
        ("start door-key shed-key --reason x", "start <credential>"),
        ("plan", "plan <credential>"),
        ("approve", "approve R-7"),
        ("approve R-1 R-2", "approve R-7"),
        ("reject R-1", "reject R-7 --reason"),
        ("skip R-1", "skip R-7 --reason"),
        ("cancel R-1", "cancel R-7 --reason"),
        ("rollback", "rollback R-7 --reason"),
        ("retry", "retry R-7"),
        ("advance", "advance R-7"),
        ("tick R-1", "tick R-7 <box>"),
        ("fix", "fix R-7 <branch>"),
        ("status R-1 R-2", "status"),
        ("history", "history <credential>"),
        ("list a b", "list"),
        ("list --page 0", "list --page 2"),
        ("list --page x", "list --page 2"),
        ("retry R-1", "no-such"),
        ("status R-99", "R-99"),
        ("start dor-key --reason x", "door-key"),
    ],
)
def test_every_mistake_gets_one_sentence_with_the_way_out(desk: Desk, typed: str, advice: str) -> None:
    desk.open()
    before = desk.rotation()
    with pytest.raises(Refused) as caught:
        desk.say("bob", typed)
    if advice != "no-such":
        assert advice in str(caught.value)
    assert desk.rotation() == before
