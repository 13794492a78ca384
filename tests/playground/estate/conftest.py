"""Estates to test, and a patient way to wait."""

import time
from collections.abc import Callable, Iterator

import httpx
import pytest

from playground.estate import Estate

Until = Callable[..., None]


@pytest.fixture
def until() -> Until:
    """Wait for a condition, at most so many real seconds."""

    def wait(condition: Callable[[], object], seconds: float = 10.0) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "it did not come true in time"
            time.sleep(0.01)

    return wait


@pytest.fixture
def still() -> Iterator[Estate]:
    """An estate in real time, without clients."""
    with Estate.start(rate=1, gateways=2, clients=0) as estate:
        yield estate


@pytest.fixture
def admin(still: Estate) -> Iterator[httpx.Client]:
    """The identity service as an admin sees it."""
    with httpx.Client(
        base_url=f"{still.identity.address}/api/v1/admin",
        headers={"Authorization": f"Bearer {still.admin_token}"},
        timeout=5,
        trust_env=False,
    ) as http:
        yield http
