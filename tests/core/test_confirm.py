"""What was asked for on the command line begins only when its requester has signed it."""

from __future__ import annotations

from typing import Any

import pytest

from bot.core.decide import decide
from bot.core.errors import Refused
from bot.core.rotation import PlanChanged, State
from tests.core.emergency import HALF_HOUR, START, approved, confirm, glass, opened, plan, vote


def test_approval_alone_begins_nothing() -> None:
    rotation = approved(opened(unconfirmed=True))
    assert (rotation.state, rotation.missing_approvals) == (State.REQUESTED, 0)
    decision = decide(rotation, confirm(rotation), START)
    assert (decision.rotation.state, decision.dispatch) == (State.APPROVED, 0)


def test_confirmation_alone_begins_nothing() -> None:
    rotation = opened(unconfirmed=True)
    rotation = decide(rotation, confirm(rotation), START).rotation
    assert rotation.state is State.REQUESTED
    assert approved(rotation).state is State.APPROVED


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"person": "bob"}, "not-the-requester"),
        ({"key": ""}, "unsigned"),
        ({"digest": "sha256:other"}, "stale-plan"),
        ({"nonce": "old-nonce"}, "stale-plan"),
    ],
)
def test_confirmations_that_do_not_count(change: dict[str, Any], code: str) -> None:
    rotation = approved(opened(unconfirmed=True))
    with pytest.raises(Refused) as refused:
        decide(rotation, confirm(rotation, **change), START)
    assert refused.value.code == code


def test_too_late_is_too_late() -> None:
    rotation = approved(opened(unconfirmed=True))
    with pytest.raises(Refused) as refused:
        decide(rotation, confirm(rotation), START + HALF_HOUR)
    assert refused.value.code == "expired"


def test_once_is_enough() -> None:
    for rotation in (opened(), approved()):
        with pytest.raises(Refused) as refused:
            decide(rotation, confirm(rotation), START)
        assert refused.value.code == "late"


def test_a_changed_plan_is_not_the_one_that_was_signed() -> None:
    rotation = opened(unconfirmed=True)
    changed = decide(rotation, PlanChanged(plan(reason="other"), "nonce-01", ("reason",)), START).rotation
    with pytest.raises(Refused) as refused:
        decide(changed, confirm(rotation), START)
    assert refused.value.code == "stale-plan"


def test_nobody_breaks_the_glass_of_a_request_that_may_be_forged() -> None:
    rotation = opened(unconfirmed=True)
    with pytest.raises(Refused) as refused:
        decide(rotation, glass(rotation, "bob"), START)
    assert refused.value.code == "unconfirmed"


def test_the_requester_s_own_signature_under_the_glass_confirms_it() -> None:
    rotation = opened(unconfirmed=True)
    rotation = decide(rotation, glass(rotation, "alice"), START).rotation
    assert not rotation.unconfirmed
    assert decide(rotation, vote(rotation), START).rotation.state is State.RUNNING
