"""When a stage after an expiry may be passed, what keeps a reminder from working, and what waits while it is open."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from bot.core.decide import Stale, decide
from bot.core.errors import Refused
from bot.core.expiry import EXPIRED, Dates, Standing, may_pass, shows, speaks_of, stages, unmended
from bot.core.incident import closed, opened
from bot.core.plan import Plan
from bot.core.rotation import (
    Advanced,
    Asking,
    Began,
    Cancelled,
    Due,
    Ended,
    Kept,
    Opened,
    RolledBack,
    Rotation,
    Stage,
    State,
)
from tests.slack.rotations import NOW, plan

DAY = timedelta(days=1)


def guided() -> Plan:
    return replace(plan(), steps=stages(), word=EXPIRED, approvers=0, before=(), cadence=None)


def begun() -> Rotation:
    return decide(None, Opened(9, guided(), "nonce-00", "C0OPS", ()), NOW).rotation


def asking(rotation: Rotation) -> Rotation:
    """A worker takes the stage and asks."""
    i = rotation.current
    assert i is not None
    rotation = decide(rotation, Began(i, rotation.steps[i].attempt, "w"), NOW).rotation
    return decide(rotation, Ended(i, rotation.steps[i].attempt, "w", Asking("?")), NOW).rotation


def test_it_begins_without_anybodys_consent_and_ends_without_a_rotation() -> None:
    rotation = begun()
    assert (rotation.state, rotation.plan.has_incident, rotation.plan.emergency) == (State.APPROVED, True, False)
    events: list[str] = []
    for _ in stages():
        decision = decide(asking(rotation), Advanced("alice", "seen"), NOW)
        rotation, events = decision.rotation, [str(one.event) for one in decision.entries]
    assert (rotation.state, rotation.is_over, rotation.next_due) == (State.PROMOTED, True, None)
    assert events == ["step.confirmed", "incident.stages-passed"]


def test_it_waits_for_its_worker_however_long_nobody_is_there() -> None:
    rotation = begun()
    late = decide(rotation, Began(0, rotation.steps[0].attempt, "w"), NOW + 365 * DAY).rotation
    assert late.steps[0].stage is Stage.RUNNING


@pytest.mark.parametrize("event", [Cancelled("alice", "no"), RolledBack("alice", "no", "n")])
def test_it_is_not_taken_back(event: Cancelled | RolledBack) -> None:
    for rotation in (begun(), asking(begun())):
        with pytest.raises(Refused) as caught:
            decide(rotation, event, NOW)
        assert caught.value.code == "incident"


@pytest.mark.parametrize(
    ("stage", "standing", "code"),
    [
        ("investigate", Standing(unanswered=("owner",)), "not-reviewed"),
        ("recover", Standing(), "not-recovered"),
        ("recover", Standing(under_way="R-10"), "not-recovered"),
        ("communicate", Standing(recovered_by="R-10"), "not-answered"),
    ],
)
def test_a_stage_that_is_not_done_is_not_passed(stage: str, standing: Standing, code: str) -> None:
    with pytest.raises(Refused) as caught:
        may_pass("R-9", "identity-signing", stage, standing)
    assert caught.value.code == code
    assert "R-9" in str(caught.value) or "R-10" in str(caught.value)


def test_a_stage_that_is_done_is_passed() -> None:
    done = Standing(integrity=True, recovered_by="R-10")
    for one in stages():
        may_pass("R-9", "identity-signing", one.id, done)


@pytest.mark.parametrize(
    ("dates", "missing"),
    [
        (None, "the inventory does not have it"),
        (Dates("", "", NOW + 9 * DAY, NOW + DAY), "it has no owner"),
        (Dates("dave", "dave has left.", NOW + 9 * DAY, NOW + DAY), "its owner cannot be reached (dave has left)"),
        (Dates("dave", "", None, NOW + DAY), "it has no date"),
        (Dates("dave", "", NOW, NOW + DAY), "is past"),
        (Dates("dave", "", NOW + 9 * DAY, None), "no reminder is set"),
        (Dates("dave", "", NOW + 9 * DAY, NOW), "no reminder is set"),
        (Dates("dave", "", NOW + 9 * DAY, NOW + 10 * DAY), "no reminder is set before its date"),
    ],
)
def test_what_keeps_a_reminder_from_working_is_named(dates: Dates | None, missing: str) -> None:
    (told,) = unmended(dates, NOW)
    assert missing in told


def test_a_reminder_that_is_set_is_mended_and_words_alone_mend_nothing() -> None:
    assert unmended(Dates("dave", "", NOW + 9 * DAY, NOW + 2 * DAY), NOW) == ()
    incident = replace(opened(9, "key", "production", private=False, by="alice", now=NOW, late="It expired.")[0])
    incident = replace(incident, fixed="all is well, believe me")
    with pytest.raises(Refused) as caught:
        closed(incident, "alice", NOW, unanswered=(), is_over=True, unmended=("it has no owner",))
    assert caught.value.code == "not-mended"


def test_a_step_that_is_kept_stays_untouched_and_is_noted_once() -> None:
    rotation = begun()  # any queued step will do
    why = "kept for the audit until the incident of R-9 is closed"
    decision = decide(rotation, Kept(0, 1, NOW + DAY, why), NOW)
    run = decision.rotation.steps[0]
    assert (run.stage, run.touched, run.due_at, run.evidence) == (Stage.WAITING, False, NOW + DAY, why)
    assert [str(one.event) for one in decision.entries] == ["step.material-kept"]
    again = decide(decision.rotation, Due(0, 1), NOW + DAY).rotation
    repeated = decide(again, Kept(0, 2, NOW + 2 * DAY, why), NOW + DAY)
    assert repeated.entries == ()
    with pytest.raises(Stale):
        decide(again, Kept(0, 1, NOW + 2 * DAY, why), NOW + DAY)


def test_a_symptom_is_compared_by_its_words() -> None:
    assert speaks_of("Tokens are rejected!", ["tokens are rejected, or cannot be issued"]) == 2
    assert speaks_of("the and for", ["the and for"]) == 0


@pytest.mark.parametrize(
    ("kind", "said"),
    [("tls-certificate", "TLS handshakes"), ("certificate", "TLS handshakes"), ("jwt-signing-key", "tokens are"),
     ("secret", ""), ("uncertificate", "")],
)  # fmt: skip
def test_a_class_is_known_by_the_end_of_its_name(kind: str, said: str) -> None:
    """A discovery calls it `tls-certificate`, and settings may call it what they like."""
    assert said in shows(kind)
    assert bool(shows(kind)) is bool(said)
