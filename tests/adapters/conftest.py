"""Estates, adapters configured for them, and calls as the engine makes them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from bot.catalog import Catalog
from bot.contracts.adapter import Fact, Operation, Probe, Reading, Run, Sensor, Sighting
from bot.engine.secrets import SecretDoor
from playground.estate import Estate


class Bench:
    """Adapters as the bot builds them, on an estate; every call is made with parameters as they come from a runbook."""

    def __init__(self, estate: Estate) -> None:
        self.estate = estate
        token = f"file:{str(estate.admin_token_file).lstrip('/')}"
        services = {estate.identity.address: {"admin_token": token}}
        known = {gateway.name: {"url": gateway.address} for gateway in estate.gateways}
        population = estate.clients.address if estate.clients else "http://127.0.0.1:9"
        self.catalog = Catalog(
            {
                "identity": {"services": services},
                "jwks": {"services": services, "gateways": known},
                "gateways": {"gateways": {name: {**one, "admin_token": token} for name, one in known.items()}},
                "clients": {"populations": {"shop": {"url": population}}},
                "secret_files": {"root": str(estate.secrets_directory)},
            },
            lambda: self.secrets,
        )
        self.secrets = SecretDoor(self.catalog.store)
        self.shared: dict[str, Any] = {
            "service": estate.identity.address,
            "gateways": [gateway.name for gateway in estate.gateways],
            "population": "shop",
        }

    def run(self, token: str = "keyturn-R-7-step-0a1b2c3d", rotation: str = "R-7") -> Run:
        """A call."""
        log = logging.LoggerAdapter(logging.getLogger("bench"), {})
        return Run(rotation, token, "person:ada", self.secrets, datetime.now(UTC), log, time.monotonic() + 10)

    def _p(self, part: Any, params: dict[str, Any]) -> Any:
        fields = part.Params.model_fields
        return part.Params.model_validate({**{k: v for k, v in self.shared.items() if k in fields}, **params})

    def operation(self, word: str, **params: Any) -> tuple[Operation, Any]:
        """An operation and its parameters."""
        operation = self.catalog.operation(word)
        return operation, self._p(operation, params)

    def do(self, word: str, token: str = "keyturn-R-7-step-0a1b2c3d", **params: Any) -> dict[str, Any]:
        """Do an operation."""
        operation, p = self.operation(word, **params)
        return dict(operation.ensure(p, self.run(token)))

    def undo(
        self,
        word: str,
        outputs: dict[str, Any],
        token: str = "keyturn-R-7-step-0a1b2c3d",
        *,
        relied_on: bool = False,
        **params: Any,
    ) -> str | None:
        """Undo it."""
        operation, p = self.operation(word, **params)
        left: str | None = operation.undo(p, replace(self.run(token), relied_on=relied_on), outputs)
        return left

    def check(self, word: str, **params: Any) -> Reading:
        """Measure."""
        probe: Probe = self.catalog.probe(word)
        return probe.measure(self._p(probe, params), self.run())

    def seen(self, word: str, **params: Any) -> Sighting:
        """Ask a sensor."""
        sensor: Sensor = self.catalog.sensor(word)
        return sensor.last_seen(self._p(sensor, params), self.run())

    def fact(self, word: str, rotation: str = "R-7", **params: Any) -> Any:
        """Read a fact."""
        fact: Fact = self.catalog.fact(word)
        return fact.read(self._p(fact, params), self.run(rotation=rotation)).value


@pytest.fixture
def bench() -> Iterator[Bench]:
    """A bench on an estate in real time, without clients."""
    with Estate.start(rate=1, gateways=2, clients=0, restart_seconds=0.01) as estate:
        yield Bench(estate)


@pytest.fixture
def busy(until: Callable[..., None]) -> Iterator[Bench]:
    """A bench on an estate with clients at work: a token lives 2.5 s and a cache 0.63 s of real time."""
    with Estate.start(rate=1440, gateways=3, clients=6, calls_per_second=60) as estate:
        until(lambda: all(client["kid"] for client in estate.stats()["clients"]["clients"].values()))
        yield Bench(estate)


@pytest.fixture
def until() -> Callable[..., None]:
    """Wait for a condition, at most so many real seconds."""

    def wait(condition: Callable[[], object], seconds: float = 10.0) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "it did not come true in time"
            time.sleep(0.02)

    return wait
