"""Modals, Home and answers: inside Slack's limits whatever they show, and read back strictly."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.contracts.command import Answer, CredentialView, Draft, Summary, Table
from bot.core.errors import Refused
from bot.core.rotation import Box
from bot.slack import forms
from bot.slack.answers import answer, refusal
from bot.slack.buttons import Bound, read_action
from bot.slack.home import Board, home
from bot.slack.lane import Lane
from bot.slack.names import Roster
from playground.workspace.blocks import check_blocks, check_view, too_large
from tests.slack.rotations import NOW, plan
from tests.slack.test_slack_cards import HOSTILE, hostile_plan

DIGEST = "sha256:" + "0" * 64
NAMES = Roster()


def draft(**changes: Any) -> Draft:
    given: dict[str, Any] = {
        "plan": plan(),
        "boxes": (
            Box("access", True, "keyturn", "confirmed"),
            Box("notified"),
            Box("dashboard", evidence="look there"),
        ),
        "expected_end": NOW + timedelta(hours=2),
        "retired_by": NOW + timedelta(days=1),
        "warnings": ("identity lacks keys:write",),
        "waits": {"learn": "16m = facts.cache + inputs.margin (Cache-Control of /jwks)"},
    }
    return Draft(**{**given, **changes})


def words_of(view: dict[str, Any]) -> str:
    return str(view)


def test_the_start_form_shows_plan_waits_checklist_digest_and_warnings() -> None:
    view = forms.start(draft(), "C0OPS", NAMES)
    assert check_view(view, "modal") == []
    shown = words_of(view)
    for said in (plan().digest, "16m = facts.cache + inputs.margin", "lacks keys:write", "no way back", "sec-oncall"):
        assert said in shown
    boxes = next(block for block in view["blocks"] if block.get("block_id") == forms.BOXES_FIELD)
    assert [one["value"] for one in boxes["element"]["options"]] == ["notified", "dashboard"]
    note = forms.StartNote.read(view["private_metadata"])
    assert note == forms.StartNote("identity-signing", "production", plan().digest, "C0OPS", "weekly")
    assert note.target == "identity-signing@production"


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_values_stay_inside_every_form(text: str) -> None:
    whole = text.encode("utf-8", "replace").decode()
    made = hostile_plan(whole)
    boxes = tuple(Box(f"box-{i}", i % 2 == 0, whole, whole) for i in range(6))
    view = forms.start(
        draft(plan=made, boxes=boxes, warnings=(whole,) * 30, waits={step.id: whole for step in made.steps}),
        "C1",
        NAMES,
    )
    view["private_metadata"] = view["private_metadata"][:3000]
    assert check_view(view, "modal") == []
    assert not too_large(view)
    for other in (forms.skeleton(text), forms.problem(text or "-"), forms.pick(text), forms.pick("C1")):
        assert check_view(other, "modal") == []


@pytest.mark.parametrize("word", ["reject", "cancel", "skip", "rollback", "another"])
def test_the_reason_form_reads_back_what_it_is_about(word: str) -> None:
    bound = Bound("R-7", DIGEST, "nonce")
    view = forms.reason(word, bound, "C0OPS")
    assert check_view(view, "modal") == []
    assert forms.ReasonNote.read(view["private_metadata"]) == forms.ReasonNote(word, bound, "C0OPS")
    assert forms.ReasonNote.read(forms.reason(word, bound, "")["private_metadata"]).channel == ""


@given(st.text(max_size=200))
def test_notes_that_are_not_ours_are_refused(text: str) -> None:
    for note in (forms.StartNote, forms.ReasonNote, Bound):
        with pytest.raises(Refused):
            note.read(text)


@pytest.mark.parametrize(
    "action",
    [
        "",
        "rotate:",
        "rotate:Approve",
        "rotate:approve:",
        "rotate:tick:../x",
        "other:approve",
        "rotate:a:b:c",
        "x" * 300,
    ],
)
def test_action_ids_that_are_not_ours_are_refused(action: str) -> None:
    with pytest.raises(Refused):
        read_action(action)
    assert read_action("rotate:tick:rollback-plan") == ("tick", "rollback-plan")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=20),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
        max_leaves=20,
    )
)
def test_values_of_any_shape_are_read_without_trouble(values: Any) -> None:
    found = forms.entered({"state": {"values": values}})
    assert all(isinstance(value, str | tuple) for value in found.values())


def test_entered_values_of_each_kind() -> None:
    values = {
        "reason": {"value": {"type": "plain_text_input", "value": "why"}},
        "credential": {"value": {"type": "external_select", "selected_option": {"value": "a@b"}}},
        "boxes": {"value": {"type": "checkboxes", "selected_options": [{"value": "notified"}]}},
        "empty": {"value": {"type": "plain_text_input", "value": None}},
    }
    found = forms.entered({"state": {"values": values}})
    assert found == {"reason": "why", "credential": "a@b", "boxes": ("notified",)}


def test_options_are_at_most_a_hundred_and_each_fits() -> None:
    offered = forms.options([(f"name-{i}" * 20, "production", "due") for i in range(300)] + [("x", "y", "")])["options"]
    assert len(offered) <= 100
    assert all(len(one["value"]) <= 150 and len(one["text"]["text"]) <= 75 for one in offered)


def summary(text: str = "identity-signing", number: int = 7) -> Summary:
    return Summary(number, text, text, "requested", "none", text, NOW, None, text, text)


def credential(text: str = "identity-signing") -> CredentialView:
    return CredentialView(text, text, text, text, text, NOW, NOW, 7, 1)


@pytest.mark.parametrize("text", [*HOSTILE, "identity-signing"], ids=range(len(HOSTILE) + 1))
@pytest.mark.parametrize("many", [0, 1, 300])
def test_home_fits_whatever_it_shows(text: str, many: int) -> None:
    board = Board([summary(text)] * many, [summary(text)] * many, [credential(text)] * many, [text] * many)
    view = home(board)
    assert check_view(view, "home") == []
    assert not too_large(view)
    assert check_view(home(replace(board, refused=text or "-")), "home") == []


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_answers_fit_whatever_they_say(text: str) -> None:
    table = Table(("a", "b", text), tuple((text, text, text) for _ in range(200)))
    for message in (answer(Answer(text or "-", table=table)), refusal(text or "-")):
        assert check_blocks(message.blocks, "message") == []
        assert 0 < len(message.text) <= 3000


@settings(max_examples=100, deadline=None)
@given(st.text(min_size=1, max_size=4000), st.lists(st.text(max_size=500), max_size=20))
def test_any_answer_fits(text: str, cells: list[str]) -> None:
    message = answer(Answer(text, table=Table(("x",), tuple((cell,) for cell in cells))))
    assert check_blocks(message.blocks, "message") == []


def test_the_lane_is_bounded_and_survives_what_it_carries() -> None:
    lane, gate, done = Lane(workers=1, most=3), threading.Event(), threading.Event()

    def breaks() -> None:
        gate.wait(5)
        raise RuntimeError("boom")

    assert lane.submit(breaks)
    assert lane.submit(lambda: None)
    assert lane.submit(done.set)
    assert not lane.submit(lambda: None), "the queue is full"
    gate.set()
    assert done.wait(5)
    lane.close()
    assert not lane.submit(lambda: None)
