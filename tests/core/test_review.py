"""The review's questions filled in from data, the timeline, and what affected callers are told."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from bot.core import incident as core
from bot.core.events import Event
from bot.core.incident import Incident, Note
from bot.core.plan import Plan, PlannedStep
from bot.core.review import ASKS, INTEGRITY, NOT_KNOWN, QUESTIONS, Facts, Row, review, summary, timeline, unanswered
from bot.core.rotation import Overlap, Rotation, Stage, State, StepRun
from bot.core.runbook import DoStep, Section

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
WELL_KEPT = Facts(
    owner="dave",
    source="settings",
    cadence="90d",
    next_due=NOW + 30 * DAY,
    last_rotated_at=NOW - 60 * DAY,
    remind_at=NOW + 16 * DAY,
    earlier=4,
)


def incident() -> Incident:
    return core.opened(9, "billing-api-key", "production", private=False, by="alice", now=NOW)[0]


def told(facts: Facts, the_incident: Incident | None = None) -> dict[str, str]:
    return {question.id: question.told for question in review(the_incident or incident(), facts)}


def test_the_five_questions_are_asked_in_order() -> None:
    assert [question.id for question in review(incident(), Facts())] == list(ASKS)
    assert len(ASKS) == 5
    assert {*ASKS, INTEGRITY} == set(QUESTIONS)


def test_what_the_inventory_knows_is_filled_in() -> None:
    found = told(WELL_KEPT)
    assert found["alert"] == "Yes: the inventory's next reminder was set for 2026-03-17."
    assert found["query"].startswith("Yes: rotated on 2025-12-31 and due every 90d, so due on 2026-03-31")
    assert found["missing"] == "No: its owner is dave, and it was due on 2026-03-31."
    assert found["coordination"] == "Nothing shows it: none of 4 earlier rotation(s) was held or given up."
    assert found["owner"] == NOT_KNOWN
    assert unanswered(review(incident(), WELL_KEPT)) == ("owner",)


def test_nothing_is_claimed_where_nothing_is_known() -> None:
    found = told(Facts(owner="dave", source="settings", next_due=NOW))
    assert [found[name] for name in ("alert", "query", "owner", "coordination")] == [NOT_KNOWN] * 4


def test_a_reminder_of_the_past_is_none() -> None:
    assert told(replace(WELL_KEPT, remind_at=WELL_KEPT.last_rotated_at))["alert"] == NOT_KNOWN


def test_a_credential_that_nobody_kept_is_called_so() -> None:
    found = told(Facts())
    assert found["alert"].startswith("No:")
    assert found["query"] == "No: the inventory does not have it."
    assert found["missing"] == "Yes: it had no owner, and it had no date."
    assert found["owner"].startswith("No:")
    assert unanswered(review(incident(), Facts())) == ("coordination",)


def test_a_person_has_the_last_word() -> None:
    given, _ = core.answered(incident(), "missing", "the owner had left", "bob", NOW, QUESTIONS)
    assert told(WELL_KEPT, given)["missing"] == "the owner had left (bob)"
    given, _ = core.answered(given, "owner", "it went to a closed channel", "bob", NOW, QUESTIONS)
    assert unanswered(review(given, WELL_KEPT)) == ()


def test_earlier_trouble_is_named() -> None:
    found = told(replace(WELL_KEPT, trouble=("R-4 was given up (Nobody approved in time)",)))
    assert found["coordination"] == "Earlier: R-4 was given up (Nobody approved in time)."


# --- timeline ---------------------------------------------------------------------------------------------------------


def row(minute: int, event: Event, actor: str = "keyturn", **detail: Any) -> Row:
    return Row(NOW + timedelta(minutes=minute), event, actor, detail)


def test_the_timeline_merges_the_audit_and_the_notes() -> None:
    rows = [
        row(0, Event.REQUESTED, "alice", reason="seen in a log"),
        row(1, Event.INTENT, "bob", word="approve"),
        row(2, Event.VOTE_COUNTED, "bob", counted=1, needed=1),
        row(3, Event.STEP_INTENT, step="disable"),
        row(4, Event.STEP_OUTCOME, step="disable", result="waiting"),
        row(5, Event.STEP_OUTCOME, step="disable", result="done"),
        row(6, Event.INCIDENT_NOTE, "carol", text="callers are told"),
        row(7, Event.HELD, step="restart", problem="no answer"),
    ]
    found = timeline(rows, [Note(NOW + timedelta(minutes=6), "carol", "callers are told")])
    minutes = [(one.at - NOW).seconds // 60 for one in found]
    assert minutes == [0, 2, 5, 6, 7]
    assert found[3].text == "carol: callers are told"
    assert found[1].text.startswith("bob approved it")


# --- what callers hear ------------------------------------------------------------------------------------------------


def plan(**changes: Any) -> Plan:
    steps = tuple(
        PlannedStep(Section.EMERGENCY, DoStep(id=name, do=f"identity.{name}"), "changes")
        for name in ("disable", "move")
    )
    fields: dict[str, Any] = {
        "credential": "billing-api-key",
        "environment": "production",
        "kind": "api-key",
        "owner": "dave",
        "runbook": "identity-api-key",
        "runbook_hash": "sha256:00",
        "requester": "alice",
        "reason": "seen in a public log",
        "inputs": {},
        "facts": {},
        "steps": steps,
        "before": (),
        "arguments": {},
        "replaced": {},
        "approvers": 1,
        "approve_from": (),
        "approve_within": timedelta(minutes=30),
        "rollback_within": timedelta(minutes=10),
        "retire_within": DAY,
        "cadence": None,
        "counts_old": False,
        "max_valid": 2,
        "word": "revoke",
        "order": "contain-first",
        "contained": 1,
    }
    return Plan(**{**fields, **changes})


def rotation(*stages: Stage, state: State = State.RUNNING, **more: Any) -> Rotation:
    steps = tuple(
        StepRun(stage=stage, ended_at=NOW + timedelta(minutes=i) if stage is Stage.DONE else None)
        for i, stage in enumerate(stages)
    )
    the_plan = more.pop("plan", None) or plan()
    return Rotation(9, the_plan, "nonce", state, steps, NOW, NOW + DAY, **more)


def test_a_key_that_is_contained_is_said_to_be_refused() -> None:
    said = summary(incident(), rotation(Stage.DONE, Stage.RUNNING), "ak_old", "ak_new")
    assert "The credential ak_old of billing-api-key (production) was revoked: seen in a public log" in said
    assert "It is not replaced yet." in said
    assert "The old one is refused since 2026-03-01 12:00 UTC." in said
    assert "nobody has said yet whether it is at risk" in said


def test_a_containment_that_was_skipped_proves_nothing() -> None:
    said = summary(incident(), rotation(Stage.SKIPPED, Stage.RUNNING))
    assert "refused since" not in said


def test_at_the_end_it_says_since_when() -> None:
    replace_first = plan(order="replace-first", contained=0)
    over = rotation(
        Stage.DONE,
        Stage.DONE,
        state=State.PROMOTED,
        plan=replace_first,
        promoted_at=NOW + timedelta(minutes=5),
        ended_at=NOW + timedelta(minutes=5),
        overlap=Overlap.NONE,
    )
    given, _ = core.answered(incident(), INTEGRITY, "none; nothing was written with it", "bob", NOW, QUESTIONS)
    said = summary(given, over, "ak_old", "ak_new")
    assert "The new one (ak_new) is in use since 2026-03-01 12:05 UTC." in said
    assert "refused since 2026-03-01 12:05 UTC at the latest" in said
    assert "Integrity of data: none; nothing was written with it" in said
    going = rotation(Stage.DONE, Stage.RUNNING, plan=replace_first)
    assert "The old one may still work." in summary(incident(), going)


def test_a_revocation_that_was_taken_back_says_so() -> None:
    back = rotation(Stage.UNDONE, Stage.UNDONE, state=State.ROLLED_BACK)
    said = summary(incident(), back)
    assert "taken back: the old one is in use again" in said
    assert "refused" not in said.replace("was refused", "")
