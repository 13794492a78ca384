"""PagerDuty: one alert per step however often it is sent, refusals that say what to do, and no key in sight."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from adapters import pagerduty
from bot.core.errors import Permanent, Transient
from tests.conformance.kit import Stage, run_of
from tests.stand_ins.pagerduty import PagerDuty
from tests.stand_ins.stand_in import REFERENCE, door_to

KEY = "0123456789abcdef0123456789abcdee"
TOKEN = "keyturn-R-7-page-0a1b2c3d"


@pytest.fixture
def service() -> Iterator[PagerDuty]:
    """An integration."""
    with PagerDuty(KEY) as one:
        yield one


def ready(service: PagerDuty, kind: Any, key: str = KEY, **params: Any) -> tuple[Any, Any, Any]:
    secrets = door_to(key)
    entry = {"api": service.address, "routing_key": REFERENCE}
    client = pagerduty.Client(pagerduty.Config.model_validate({"integrations": {"oncall": entry}}), secrets)
    p = kind.Params.model_validate({"integration": "oncall", **params})
    return kind(client), p, run_of(Stage(client=client, params={}, secrets=secrets), TOKEN)


def do(service: PagerDuty, kind: Any, key: str = KEY, **params: Any) -> Any:
    operation, p, run = ready(service, kind, key, **params)
    return operation.ensure(p, run)


def test_the_life_of_an_alert(service: PagerDuty) -> None:
    page = {"summary": "R-7\nrevokes", "source": "checkout", "details": {"who": "ada"}, "link": "https://x.example/7"}
    alert = do(service, pagerduty.Trigger, **page)["alert"]
    assert alert == TOKEN
    assert service.events[0]["payload"] == {
        "summary": "R-7 revokes",
        "source": "checkout",
        "severity": "critical",
        "custom_details": {"who": "ada"},
    }
    assert service.events[0]["links"][0]["href"] == "https://x.example/7"
    do(service, pagerduty.Acknowledge, alert=alert)
    do(service, pagerduty.Trigger, **page)
    assert service.alerts == {TOKEN: "acknowledged"}
    do(service, pagerduty.Resolve, alert=alert)
    assert service.alerts == {TOKEN: "resolved"}


def test_undoing_a_page_resolves_it(service: PagerDuty) -> None:
    operation, p, run = ready(service, pagerduty.Trigger, summary="R-7")
    operation.undo(p, run, {})
    assert service.alerts == {}
    operation.ensure(p, run)
    operation.undo(p, run, {})
    assert service.alerts == {TOKEN: "resolved"}


def test_access_pages_nobody(service: PagerDuty) -> None:
    operation, _, run = ready(service, pagerduty.Trigger, summary="R-7")
    assert not operation.client.access(pagerduty.SEND, run)
    assert service.alerts == {}
    assert [event["event_action"] for event in service.events] == ["resolve"]


@pytest.mark.parametrize("key", ["f" * 32, "short", "", "ü" * 16, "0123456789abcdef 123456789abcdee"])
def test_a_wrong_key(service: PagerDuty, key: str) -> None:
    with pytest.raises(Permanent) as caught:
        do(service, pagerduty.Trigger, key, summary="R-7")
    assert "routing_key" in caught.value.hint
    assert not key or key not in str(caught.value)
    assert service.alerts == {}


def test_a_limit_and_a_lost_answer(service: PagerDuty) -> None:
    service.faults.add(kind="throttle", retry_after=60)
    with pytest.raises(Transient) as caught:
        do(service, pagerduty.Trigger, summary="R-7")
    assert caught.value.delay == timedelta(seconds=60)
    service.faults.add(kind="lose")
    with pytest.raises(Transient):
        do(service, pagerduty.Trigger, summary="R-7")
    do(service, pagerduty.Trigger, summary="R-7")
    assert service.alerts == {TOKEN: "triggered"}


@pytest.mark.parametrize("said", ["<!channel>", KEY, "x" * 500, "Invalid routing key", "'payload.source' is missing"])
def test_what_it_says_is_shown_when_it_is_harmless(service: PagerDuty, said: str) -> None:
    service._errors = lambda event: [said]  # type: ignore[method-assign]  # an answer that it would never give
    with pytest.raises(Permanent, match="refused the event") as caught:
        do(service, pagerduty.Trigger, summary="R-7")
    assert caught.value.hint
    assert (said in str(caught.value)) == (said[0] in "I'")


def test_texts(service: PagerDuty) -> None:
    do(service, pagerduty.Trigger, summary="x" * 3000)
    assert len(service.events[0]["payload"]["summary"]) == 200
    for params in (
        {"summary": "the token is xoxb-1234567890-abcdefghij"},
        {"summary": "R-7", "details": {"a": "xoxb-1234567890-abcdefghij"}},
        {"summary": ""},
        {"summary": "R-7", "severity": "bad"},
        {"summary": "R-7", "link": "javascript:alert(1)"},
        {"summary": "R-7", "details": {str(i): "x" for i in range(21)}},
    ):
        with pytest.raises(ValidationError):
            do(service, pagerduty.Trigger, **params)
    assert len(service.events) == 1


def test_only_integrations_that_are_listed(service: PagerDuty) -> None:
    with pytest.raises(Permanent, match="not configured"):
        do(service, pagerduty.Trigger, summary="R-7", integration="other")
    assert service.events == []
