"""One sentence for every event of the audit, whatever its detail holds."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.events import Event
from bot.core.story import PHRASES, tell

DETAIL = st.dictionaries(
    st.sampled_from(
        [
            "step",
            "result",
            "evidence",
            "problem",
            "hint",
            "plan",
            "reason",
            "because",
            "counted",
            "needed",
            "box",
            "by",
            "what",
            "outputs",
            "replaced",
            "cadence",
            "due",
            "deadline",
            "boxes",
            "attempt",
            "does",
            "branch",
            "said",
            "target",
            "until",
            "question",
            "refused",
            "forged",
            "why",
            "word",
            "args",
            "reject",
            "rejected",
        ]
    ),
    st.none()
    | st.text(max_size=20)
    | st.integers()
    | st.booleans()
    | st.lists(st.text(max_size=5), max_size=3)
    | st.dictionaries(
        st.text(max_size=5), st.text(max_size=5) | st.dictionaries(st.text(max_size=3), st.text(), max_size=2)
    ),
    max_size=8,
)


def test_every_event_has_a_phrase() -> None:
    assert set(PHRASES) == set(Event)


@pytest.mark.parametrize("event", list(Event))
def test_every_phrase_is_a_sentence_also_without_any_detail(event: Event) -> None:
    told = tell(event, "alice", {})
    assert told.endswith((".", "!", "?"))
    assert told == told.strip()


@given(st.sampled_from(list(Event)), DETAIL)
def test_no_detail_breaks_a_phrase(event: Event, detail: dict[str, Any]) -> None:
    assert tell(event, "alice", detail)


@pytest.mark.parametrize(
    ("event", "actor", "detail", "told"),
    [
        (
            Event.REQUESTED,
            "alice",
            {
                "plan": "sha256:" + "a" * 64,
                "runbook": "identity-es256",
                "reason": "weekly",
                "boxes": {"access": {"ticked": True}, "notified": {"ticked": False}},
            },
            "alice asked for this rotation by the runbook identity-es256 (plan aaaaaaaaaaaa, 1 of 2 boxes ticked): "
            "weekly.",
        ),
        (
            Event.VOTE_COUNTED,
            "bob",
            {"because": "member of sec-oncall", "counted": 1, "needed": 2},
            "bob approved it (member of sec-oncall), 1 of 2.",
        ),
        (Event.VOTE_COUNTED, "bob", {"reject": True, "reason": "freeze"}, "bob rejected it: freeze."),
        (
            Event.STEP_INTENT,
            "keyturn",
            {"step": "publish", "does": "Publish a key", "attempt": 2},
            "keyturn began to do publish (Publish a key), attempt 2.",
        ),
        (
            Event.STEP_OUTCOME,
            "keyturn",
            {"step": "publish", "result": "done", "outputs": {"kid": "k2"}},
            "publish is done (kid k2).",
        ),
        (
            Event.STEP_OUTCOME,
            "keyturn",
            {"step": "learn", "result": "waiting", "until": "2026-11-20T15:00:00+00:00"},
            "learn waits until 2026-11-20 15:00 UTC.",
        ),
        (
            Event.PROMOTED,
            "keyturn",
            {"replaced": {"publish": {"kid": "k2"}}},
            "The new credential is in use: publish gave kid k2.",
        ),
        (
            Event.FLOOD,
            "slack:T1/U1",
            {"refused": 40, "why": "too fast"},
            "40 requests of slack:T1/U1 were not listened to: too fast.",
        ),
        (
            Event.AMENDMENT_ASKED,
            "alice",
            {"step": "everything", "reason": "a false alarm"},
            "alice asked to undo the revocation, which needs a second person: a false alarm.",
        ),
        (
            Event.AMENDMENT_APPROVED,
            "bob",
            {"step": "quiet", "asked_by": "alice"},
            "bob agreed to skip quiet, as alice had asked.",
        ),
        ("later.invented", "keyturn", {}, "keyturn caused later.invented."),
    ],
)
def test_what_is_told(event: Event | str, actor: str, detail: dict[str, Any], told: str) -> None:
    assert tell(event, actor, detail) == told
