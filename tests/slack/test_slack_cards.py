"""Cards: inside Slack's limits whatever they show, nothing that Slack would read as markup, every state in words."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bot.contracts.command import HistoryLine
from bot.core.events import Event
from bot.core.plan import Plan, PlannedStep
from bot.core.policy import Person
from bot.core.rotation import Box, Rotation, Stage
from bot.core.runbook import AskStep, Section
from bot.slack.blocks import MOST_CHARACTERS, weigh
from bot.slack.buttons import Bound, bound_to, read_action
from bot.slack.cards import Message, Scene, card, log
from bot.slack.names import Roster
from playground.workspace.blocks import check_blocks, weight
from tests.slack.rotations import NOW, Story, plan, states

SCENE = Scene(Roster([Person("bob", "Bob Berg", frozenset({"T1/U0BOB"}))]), "1204:9f2c41d0a7b3")
ALL = dict(states())
HOSTILE = [
    "<!channel> <!here>",
    "<@U0BOB>",
    "<https://evil.example|click>",
    "a" * 40_000,
    "&lt;" * 9_000,
    "\u202egnp.exe\u2066",
    "zero\u200bwidth\ufeff",
    "```" * 50 + "`",
    "\x00\x1b[31m",
    "\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16") * 3000,
    "line\nbreak\r\n*bold* _it_ ~s~",
    "\ud800 lone",
]
MARKUP = re.compile(r"<[^>]*>")
OURS = re.compile(r"<!date\^\d+\^\{date_short_pretty\} \{time\}\|[0-9: UTC-]+>|<@U0BOB>")


def words_in(value: Any) -> list[str]:
    """Every text that Slack draws."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [t for k, v in value.items() if k not in ("action_id", "block_id", "value", "type") for t in words_in(v)]
    if isinstance(value, list):
        return [t for one in value for t in words_in(one)]
    return []


def mrkdwn_in(value: Any) -> list[str]:
    """Every text in which Slack reads markup."""
    if isinstance(value, dict):
        own = [value["text"]] if value.get("type") == "mrkdwn" else []
        return own + [t for one in value.values() for t in mrkdwn_in(one)]
    return [t for one in value for t in mrkdwn_in(one)] if isinstance(value, list) else []


def check(message: Message) -> None:
    assert check_blocks(message.blocks, "message") == []
    assert weigh(message.blocks) <= MOST_CHARACTERS
    assert weight(message.blocks) <= 13_200
    assert 0 < len(message.text) <= 3000
    for text in [message.text, *mrkdwn_in(message.blocks)]:
        assert [found for found in MARKUP.findall(text) if not OURS.fullmatch(found)] == [], text
        assert not re.search(r"&(?!amp;|lt;|gt;)", text)
    for text in [message.text, *words_in(message.blocks)]:
        assert not re.search(r"[\x00-\x09\x0b-\x1f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]", text)


def hostile_plan(text: str) -> Plan:
    made = plan(
        credential=text,
        environment=text,
        reason=text,
        runbook=text,
        requester=text,
        owner=text,
        approve_from=(text,) * 20,
        inputs={"margin": "1m", "long": text},
        facts={"cache": {"value": 900, "source": text, "bound": "same"}},
        replaced={"old": "${{ inputs.long }}", "new": "${{ steps.publish.kid }}"},
        trouble=tuple({"id": f"b{i}", "when": text, "advice": text} for i in range(20)),
    )
    many = tuple(
        PlannedStep(Section.STEPS, AskStep.model_construct(id=f"s{i}", ask=text, title=text)) for i in range(60)
    )
    return replace(made, steps=(*made.steps, *many))


def spoiled(rotation: Rotation, text: str) -> Rotation:
    steps = tuple(
        replace(
            run,
            evidence=text,
            problem=text if run.stage is Stage.HELD else "",
            hint=text,
            outputs={"kid": text},
            by=text,
        )
        for run in rotation.steps
    )
    boxes = tuple(Box(name, i % 2 == 0, text, text) for i, name in enumerate(("access", "incidents", "notified")))
    return replace(rotation, steps=steps, boxes=boxes, outcome=text)


@pytest.mark.parametrize("state", ALL)
def test_every_state_has_a_card_within_slacks_limits(state: str) -> None:
    check(card(ALL[state], SCENE))


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_values_neither_break_the_card_nor_speak_to_anybody(text: str) -> None:
    whole = text.encode("utf-8", "replace").decode()  # a plan is UTF-8; what was said later may be anything
    for _, rotation in states(hostile_plan(whole)):
        check(card(spoiled(rotation, text), SCENE))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(max_size=400), st.sampled_from(sorted(ALL)))
def test_any_text_is_drawn_safely(text: str, state: str) -> None:
    rotation = spoiled(ALL[state], text)
    check(card(replace(rotation, plan=replace(rotation.plan, reason=text, credential=text or "-")), SCENE))


@pytest.mark.parametrize(
    ("state", "said", "buttons"),
    [
        ("requested", "asks to rotate identity-signing in production", {"approve", "reject", "tick", "cancel"}),
        ("approved", "is approved and begins", {"cancel"}),
        ("running", "is running: step 1 of 7", {"rollback"}),
        ("waiting", "waits until 2026-11-20", {"advance", "skip", "rollback"}),
        ("amended", "asks to skip", {"approve", "reject", "advance", "rollback"}),
        ("asking", "needs a person: Is the dashboard calm?", {"advance", "skip", "rollback"}),
        ("backing-off", "waits until", {"retry", "rollback"}),
        ("held", "is held at step 1 of 7", {"retry", "rollback", "fix"}),
        ("rolling-back", "rolled back", set()),
        ("rolled-back", "was rolled back", set()),
        ("retiring", "the old one is being retired", {"rollback"}),
        ("quiet", "the old one is being retired", {"advance", "skip", "rollback"}),
        ("blocked", "retiring the old one is held", {"retry", "skip", "rollback", "fix"}),
        ("done", "Done at", set()),
        ("cancelled", "nothing was changed", set()),
        ("abandoned", "was abandoned", set()),
    ],
)
def test_the_sentence_and_the_buttons_of_each_state(state: str, said: str, buttons: set[str]) -> None:
    message = card(ALL[state], SCENE)
    assert said in message.text
    assert message.text.endswith(".") or message.text.endswith("?")
    elements = [one for block in message.blocks if block["type"] == "actions" for one in block["elements"]]
    assert {read_action(one["action_id"])[0] for one in elements} == buttons
    for one in elements:
        assert Bound.read(one["value"]) == bound_to(ALL[state])
        assert "R-7" in one["accessibility_label"] or "…" in one["accessibility_label"]


def test_the_card_names_people_reasons_votes_and_the_new_key() -> None:
    shown = "\n".join(words_in(card(ALL["done"], SCENE).blocks))
    for said in ("weekly", "<@U0BOB>", "member of sec-oncall", "`kid-old` by `kid-new`", "1 of 1", "1204:9f2c41d0a7b3"):
        assert said in shown
    assert "*Due again* <!date^" in shown


def test_a_wait_shows_its_formula_its_source_and_a_local_time() -> None:
    shown = "\n".join(words_in(card(ALL["waiting"], SCENE).blocks))
    assert "16m = facts.cache + inputs.margin (Cache-Control of /jwks)" in shown
    assert "*waiting*" in shown
    assert "until <!date^" in shown
    assert "2 of 3 gateways know it" in shown


def test_a_branch_that_acts_says_what_it_will_do_and_asks_first() -> None:
    blocks = card(ALL["held"], SCENE).blocks
    elements = [one for block in blocks if block["type"] == "actions" for one in block["elements"]]
    branches = {
        one["text"]["text"]: one.get("confirm") for one in elements if one["action_id"].startswith("rotate:fix")
    }
    assert branches["A gateway answers 401"] is None, "it only looks"
    assert branches["No keys are available"]["text"]["text"] == "This runs identity.bootstrap_key now."


def test_a_held_step_shows_the_problem_the_way_out_and_the_troubleshooting() -> None:
    message = card(ALL["held"], SCENE)
    shown = "\n".join(words_in(message.blocks))
    assert "401 from gateway-2" in shown
    assert "Look at the gateway" in shown
    assert "Nobody can tell" in shown
    assert {"A gateway answers 401", "No keys are available"} <= set(shown.split("\n"))


def test_an_amendment_binds_its_buttons_to_its_own_digest() -> None:
    rotation = ALL["amended"]
    assert rotation.amendment is not None
    assert bound_to(rotation) == Bound("R-7", rotation.amendment.digest, rotation.amendment.nonce)
    assert bound_to(rotation).digest != rotation.plan.digest


def test_the_log_tells_the_newest_lines_when_there_are_too_many() -> None:
    lines = [
        HistoryLine(
            i,
            NOW,
            Event.STEP_OUTCOME,
            "keyturn",
            "R-7",
            "c",
            {"step": f"s{i}", "result": "done", "evidence": "x" * 900},
        )
        for i in range(500)
    ]
    message = log(Story().rotation, lines, SCENE)
    check(message)
    shown = "\n".join(words_in(message.blocks))
    assert "s499 is done" in shown
    assert "s0 is done" not in shown
    assert "/rotate history R-7" in shown
