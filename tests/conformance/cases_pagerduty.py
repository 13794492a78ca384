"""The cases of PagerDuty; events are accepted and never shown again, so there is nothing to look at afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from adapters import pagerduty
from tests.conformance.kit import Case, Stage
from tests.stand_ins.pagerduty import PagerDuty
from tests.stand_ins.stand_in import REFERENCE, door_to, stage_on

KEY = "0123456789abcdef0123456789abcdee"
ALERT = "keyturn-R-7-page-0a1b2c3d"


def paging(service: PagerDuty) -> int:
    return sum(state != "resolved" for key, state in service.alerts.items() if key != ALERT)


def taken(service: PagerDuty) -> int:
    return int(service.alerts[ALERT] == "acknowledged")


def over(service: PagerDuty) -> int:
    return int(service.alerts[ALERT] == "resolved")


@contextmanager
def integration(effects: Callable[[PagerDuty], int], **params: Any) -> Iterator[Stage]:
    secrets = door_to(KEY)
    with PagerDuty(KEY) as service:
        service.alerts[ALERT] = "triggered"
        entry = {"api": service.address, "routing_key": REFERENCE}
        client = pagerduty.Client(pagerduty.Config.model_validate({"integrations": {"oncall": entry}}), secrets)
        given = {"integration": "oncall", **params}
        yield stage_on(service, client, given, secrets, partial(effects, service), lambda: dict(service.alerts))


CASES = [
    Case(
        "pagerduty.trigger", partial(integration, paging, summary="R-7 revokes a key", source="keyturn"), timeless=True
    ),
    Case("pagerduty.acknowledge", partial(integration, taken, alert=ALERT), stays=True, timeless=True),
    Case("pagerduty.resolve", partial(integration, over, alert=ALERT), stays=True, timeless=True),
]
