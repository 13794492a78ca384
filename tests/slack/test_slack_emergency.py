"""Cards, status, review and forms of emergencies: what they say, and that nothing hostile in them speaks to anybody."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from bot.contracts.command import Draft
from bot.core.incident import Answered, Incident
from bot.core.plan import Plan, PlannedStep
from bot.core.review import Moment, Question
from bot.core.rotation import (
    Began,
    Done,
    Due,
    Ended,
    Failed,
    Glass,
    NotYet,
    Postponed,
    Rotation,
    Stage,
    State,
    TakenOver,
    Voted,
)
from bot.core.runbook import DoStep, Section, WaitStep
from bot.slack import forms, incident_cards, incident_forms
from bot.slack.buttons import Bound, read_action
from bot.slack.cards import Scene, card
from bot.slack.charts import MOST_BARS, chart, points
from bot.slack.revocation import RevokeNote, revoke
from bot.slack.signing import SignNote, sign
from playground.workspace.blocks import check_view
from tests.slack.rotations import BOXES, NOW, Story, plan
from tests.slack.test_slack_cards import HOSTILE, SCENE, check, hostile_plan, words_in

DIGEST = "sha256:" + "0" * 64
STEPS = (
    PlannedStep(Section.EMERGENCY, DoStep(id="disable", do="identity.disable_key", title="Disable it"), "changes"),
    PlannedStep(Section.EMERGENCY, DoStep(id="publish", do="identity.publish_key"), "creates"),
    PlannedStep(
        Section.EMERGENCY,
        DoStep(id="restart", do="gateways.restart", each="${{ inputs.gateways }}", title="Restart all"),
        "changes",
    ),
    PlannedStep(Section.EMERGENCY, WaitStep(id="watch", wait="10m", title="Watch failed logins")),
)
ESCALATION = (
    {"after": 300.0, "to": ["platform-oncall"], "page": True},
    {"after": 900.0, "to": ["director"], "page": True},
)


def emergency(**changes: Any) -> Plan:
    given: dict[str, Any] = {
        "word": "revoke",
        "order": "contain-first",
        "contained": 1,
        "steps": STEPS,
        "before": (),
        "inputs": {"gateways": [f"gw-{i}" for i in range(50)]},
        "approve_within": timedelta(minutes=30),
        "remind": timedelta(minutes=2),
        "escalation": ESCALATION,
        "signed": True,
        "break_glass": timedelta(hours=1),
        "reason": "seen in a public log",
        "trouble": (),
    }
    return plan(**{**given, **changes})


class Emergency(Story):
    """A revocation that things happen to."""

    def __init__(self, made: Plan | None = None, eligible: dict[str, str] | None = None) -> None:
        super().__init__(made or emergency(), ())
        people = {"bob": "member of sec-oncall", "carol": "in place of dave"} if eligible is None else eligible
        self.rotation = replace(self.rotation, eligible=people)

    def approve(self) -> Rotation:
        made = self.rotation
        voted = Voted(
            "bob", True, "member of sec-oncall", made.plan.digest, made.nonce, key="SHA256:abc", signature="s"
        )
        return self.happen(voted)


def shown(rotation: Rotation, scene: Scene = SCENE) -> str:
    message = card(rotation, scene)
    check(message)
    return message.text + "\n" + "\n".join(words_in(message.blocks))


def buttons(rotation: Rotation) -> set[str]:
    elements = [
        one for block in card(rotation, SCENE).blocks if block["type"] == "actions" for one in block["elements"]
    ]
    return {read_action(one["action_id"])[0] for one in elements}


# --- cards ------------------------------------------------------------------------------------------------------------


def test_the_request_says_who_may_approve_why_until_when_and_who_is_called_next() -> None:
    said = shown(Emergency().rotation)
    for wanted in (
        "EMERGENCY: alice asks to revoke identity-signing in production, contain-first",
        "*Who may approve* (0 of 1 so far) <@U0BOB> (member of sec-oncall), carol (in place of dave), as of the",
        "*Suspected* `kid-old`, not contained yet",
        "SSH key",
        "it lapses then unless 1 more approval came",
        "*called next* platform-oncall (paged) after 5m",
        "*Reminded* at <!date^",
    ):
        assert wanted in said, wanted
    assert buttons(Emergency().rotation) == {"approve", "reject", "contain", "cancel"}


def test_an_escalated_request_says_who_was_called() -> None:
    story = Emergency()
    story.rotation = replace(story.rotation, escalated=1)
    assert "*Called so far* platform-oncall (paged)" in shown(story.rotation)
    story.rotation = replace(story.rotation, escalated=2, plan=emergency(remind=None))
    assert "Nobody else is called before it lapses" in shown(story.rotation)


def test_a_signed_vote_says_with_which_key_and_how_many_are_missing() -> None:
    story = Emergency(emergency(approvers=2))
    said = shown(story.approve())
    assert "(member of sec-oncall; signed with `SHA256:abc`)" in said
    assert "1 of 2" in said
    assert "1 more approval is needed" in said
    assert "<@U0BOB> (member" not in said.split("*Who may approve*")[1], "who has voted is not asked again"


def test_nobody_at_all_is_said_and_an_open_list_names_the_groups() -> None:
    assert "nobody at the moment; somebody has to be added to sec-oncall" in shown(Emergency(eligible={}).rotation)
    story = Emergency()
    story.rotation = replace(story.rotation, eligible=None)
    assert "*Who may approve* (0 of 1 so far) sec-oncall" in shown(story.rotation)


def test_ordinary_cards_name_approvers_without_calling_them() -> None:
    story = Story()
    story.rotation = replace(story.rotation, eligible={"bob": "member of sec-oncall"})
    said = shown(story.rotation)
    assert "Bob Berg (member of sec-oncall)" in said
    assert "<@U0BOB>" not in said


def test_containment_targets_and_the_end_are_told_as_they_come() -> None:
    story = Emergency()
    story.approve()
    assert "being contained" in shown(story.happen(Began(0, 1, "w1")))
    story.happen(Ended(0, 1, "w1", Done({}, "disabled")))
    said = shown(story.rotation)
    assert "*contained* since <!date^" in said
    story.step(Done({"kid": "kid-new"}))
    assert "*New one* `kid-new`, being put into use" in shown(story.rotation)
    story.happen(Began(2, 1, "w1"))
    assert "*37 of 50 done*" in shown(story.rotation, replace(SCENE, targets={2: (37, 50)}))
    story.happen(Ended(2, 1, "w1", Done()))
    readings = [[NOW.timestamp() + i * 5, 1 - 0.01 * (i % 7)] for i in range(40)]
    story.step(NotYet(story.now + timedelta(seconds=5), "99.2%", {"readings": readings}))
    said = shown(story.rotation)
    assert "40 readings since 15:00:00 UTC" in said
    assert "lowest 94.00%" in said
    story.happen(Due(3, 1))
    story.now += timedelta(minutes=20)
    done = replace(story.rotation, steps=tuple(replace(run, stage=Stage.DONE) for run in story.rotation.steps))
    ended = replace(done, state=State.PROMOTED, promoted_at=NOW, ended_at=NOW)
    said = shown(ended)
    assert "is revoked and replaced since" in said
    assert "`kid-old`, refused" in said
    assert buttons(ended) == set()


def test_a_held_emergency_says_what_is_safe() -> None:
    story = Emergency()
    story.approve()
    said = shown(story.step(Failed("503", "Look at the service.")))
    assert "*What is safe* All that was done so far can be put back, which takes a second person." in said
    assert {"retry", "rollback"} <= buttons(story.rotation)


def test_broken_glass_is_loud_and_names_who_when_and_what_then() -> None:
    story = Emergency()
    glass = Glass("bob", "nobody answers", NOW, NOW + timedelta(hours=1), "SHA256:abc")
    rotation = replace(story.rotation, glass=glass, expires_at=glass.until)
    said = shown(rotation)
    for wanted in ("EMERGENCY: Bob Berg contains", "Glass broken", "nobody answers", "*It is put back at <!date^"):
        assert wanted in said, wanted
    assert buttons(rotation) == {"approve", "reject", "rollback"}


def test_taken_over_rejected_and_postponed_are_told_in_words() -> None:
    ticked = tuple(replace(box, ticked=True, by="alice") for box in BOXES)
    story = Story(boxes=ticked)
    story.approve()
    at = NOW + timedelta(hours=9)
    story.happen(Postponed(0, 1, at, at + timedelta(hours=3), "Outside of the window nights."))
    said = shown(story.rotation)
    assert "is approved and waits for its window, 2026-11-21 00:00 UTC: Outside of the window nights." in said
    said = shown(story.happen(TakenOver("R-9")))
    assert "was taken over by R-9 at" in said
    assert "*State* taken over by R-9" in said
    rejected = Story()
    made = rejected.rotation
    rejected.happen(Voted("bob", False, "member of sec-oncall", made.plan.digest, made.nonce, reason="not today"))
    said = shown(rejected.rotation)
    assert "was rejected at" in said
    assert "*State* rejected" in said


def test_what_asks_for_a_signature_says_so() -> None:
    story = Emergency()
    labels = [
        one["text"]["text"]
        for block in card(story.rotation, SCENE).blocks
        if block["type"] == "actions"
        for one in block["elements"]
    ]
    assert "Approve and sign" in labels
    assert "Contain alone" in labels


# --- charts -----------------------------------------------------------------------------------------------------------


def test_a_chart_says_in_words_what_its_bars_show() -> None:
    start = NOW.timestamp()
    bars, told = chart([(start + i, 0.9 + i * 0.001) for i in range(60)])
    assert len(bars.strip("`")) == 60
    assert bars.strip("`")[0] == "▁"
    assert bars.strip("`")[-1] == "█"
    assert "now *95.90%*" in told
    assert "rising" in told
    bars, told = chart([(start, 1.0)] * 3)
    assert bars == "`███`"
    assert told.endswith("unchanged.")
    assert chart([]) == []


@pytest.mark.parametrize(
    "notes",
    [
        {},
        {"readings": None},
        {"readings": "abc"},
        {"readings": [1, "ab", [1], [1, 2, 3], [True, 1], [1, float("nan")]]},
    ],
)
def test_notes_of_another_shape_are_no_readings(notes: dict[str, Any]) -> None:
    assert points(notes) == []


def test_only_the_last_readings_are_drawn_and_ratios_stay_within_bounds() -> None:
    found = points({"readings": [[i, i - 50] for i in range(200)]})
    assert len(found) == MOST_BARS
    assert all(0 <= value <= 1 for _, value in found)


# --- status, timeline, review -----------------------------------------------------------------------------------------


def opened(**changes: Any) -> Incident:
    given: dict[str, Any] = {"commander": "bob", "place": "C1", "room": {"refused": {"pins.add": "missing_scope"}}}
    base = Incident(7, "identity-signing", "production", False, NOW, "alice")
    return replace(base, **{**given, **changes})


def test_the_status_names_roles_state_what_is_safe_and_what_slack_refuses() -> None:
    story = Emergency()
    story.approve()
    message = incident_cards.status(story.rotation, opened(), SCENE, NOW)
    check(message)
    said = message.text + "\n".join(words_in(message.blocks))
    for wanted in (
        "UNDER WAY",
        "*Commander* <@U0BOB>, *scribe* nobody yet",
        "*What is safe*",
        "pins.add (missing_scope)",
    ):
        assert wanted in said, wanted
    assert "*approved by* <@U0BOB>" in said
    closed = opened(closed_at=NOW, closed_by="carol")
    message = incident_cards.status(story.rotation, closed, SCENE, NOW)
    assert not [block for block in message.blocks if block["type"] == "actions"]
    assert "*Closed* by carol" in "\n".join(words_in(message.blocks))


def test_the_review_shows_answers_data_and_what_nobody_knows() -> None:
    rotation = Emergency().approve()
    questions = (
        Question("alert", "Was a reminder set?", "Yes, for Friday."),
        Question("owner", "Did it reach the owner?", answer="No, Otto has left.", by="bob"),
        Question("query", "By the inventory?"),
    )
    incident = opened(late="It was due on Monday.", solo="bob", review=(Answered("owner", "No", "bob", NOW),))
    ending = incident_cards.Ending("The key kid-old was revoked.\nThe new one is in use.", (), questions)
    message = incident_cards.review(rotation, incident, ending, SCENE.names)
    check(message)
    said = "\n".join(words_in(message.blocks))
    for wanted in (
        "1 question nobody has answered",
        "nobody knows yet",
        "No, Otto has left. (<@U0BOB>)",
        "not said yet",
    ):
        assert wanted in message.text + said, wanted
    assert "somebody else has to close it" in said


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_values_stay_harmless_in_every_message_and_form_of_an_emergency(text: str) -> None:
    whole = text.encode("utf-8", "replace").decode()
    made = replace(
        hostile_plan(whole),
        word="revoke",
        order=whole,
        contained=2,
        signed=True,
        break_glass=timedelta(hours=1),
        escalation=({"after": 60.0, "to": [whole] * 20, "page": True},),
    )
    story = Emergency(made, {whole + str(i): whole for i in range(60)})
    glass = Glass(whole, whole, NOW, NOW + timedelta(hours=1), whole)
    rotation = replace(story.rotation, glass=glass, outcome=whole)
    for one in (story.rotation, rotation, replace(rotation, state=State.PROMOTED, promoted_at=NOW, ended_at=NOW)):
        check(card(one, SCENE))
        room = {"invited": {whole: whole}, "refused": {whole: whole}}
        incident = opened(
            commander=whole, scribe=whole, place_note=whole, room=room, solo=whole, late=whole, fixed=whole
        )
        check(incident_cards.status(one, incident, SCENE, NOW))
        check(incident_cards.timeline(one, [Moment(NOW, whole)] * 200))
        questions = tuple(Question(f"q{i}", whole, whole, whole, whole) for i in range(6))
        check(incident_cards.review(one, incident, incident_cards.Ending(whole, (), questions), SCENE.names))
        assert len(incident_cards.topic(one, incident, SCENE.names)) <= 250


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_values_stay_inside_the_form_of_a_revocation(text: str) -> None:
    whole = text.encode("utf-8", "replace").decode()
    made = replace(
        hostile_plan(whole), word="revoke", order="replace-first", escalation=({"after": 1.0, "to": [whole]},)
    )
    costs = {"outage": whole, "exposure": whole}
    orders = {"replace-first": costs, "contain-first": costs}
    view = revoke(Draft(made, (), NOW, None, (whole,) * 20, {}, orders), "C1", "form-" + "0" * 40)
    view["private_metadata"] = view["private_metadata"][:3000]
    assert check_view(view, "modal") == []


# --- forms ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vote", ["approve", "break-glass", "request"])
def test_the_form_for_a_signature_shows_the_command_and_reads_back(vote: str) -> None:
    rotation = Emergency().rotation
    bound = Bound("R-7", rotation.plan.digest, "nonce-of-seven")
    view = sign(rotation, "approve", vote, bound, "C0OPS", reason=True)
    assert check_view(view, "modal") == []
    assert f"--plan {rotation.plan.digest} --nonce nonce-of-seven" in str(view)
    assert SignNote.read(view["private_metadata"]) == SignNote("approve", bound, "C0OPS")


@pytest.mark.parametrize("about", sorted(incident_forms.ASKED))
def test_what_people_say_of_an_incident_reads_back(about: str) -> None:
    bound = Bound("R-7", DIGEST, "nonce")
    view = incident_forms.say(about, bound, "C0OPS")
    assert check_view(view, "modal") == []
    note = incident_forms.SayNote.read(view["private_metadata"])
    assert note == incident_forms.SayNote(about, bound, "C0OPS")
    wanted = {"answer": "owner", "text": "yes"} if about == "answer" else {about: "yes"}
    assert note.flags("yes", "owner") == wanted


def test_the_note_of_a_revocation_reads_back() -> None:
    note = RevokeNote(
        forms.StartNote("door", "production", DIGEST, "C0OPS", "why, and how"), "contain-first", "form-" + "a" * 40
    )
    assert RevokeNote.read(str(note)) == note
