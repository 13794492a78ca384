"""What every stand-in is: a program on loopback with faults, and a stage for the conformance kit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from bot.contracts.adapter import Secrets, Store
from bot.core.secret import Secret
from bot.engine.secrets import SecretDoor
from playground.estate.clock import VirtualClock
from playground.estate.faults import Faults
from playground.estate.service import Service
from tests.conformance.kit import Stage

REFERENCE = "vault:team/token"


class StandIn(Service):
    """A service that takes one credential, given at its start; the switch `refuse` refuses it."""

    def __init__(self, name: str, credential: str) -> None:
        super().__init__(name, VirtualClock(), Faults({"refuse": False}), expose_faults=False)
        self.credential = credential

    def prepare(self) -> None:
        """Nothing to make."""

    def release(self) -> None:
        """Nothing to let go."""

    def admits(self, credential: str | None) -> bool:
        """Whether this is the credential."""
        return credential == self.credential and not self.faults.value("refuse")


class OneSecret:
    """A store with one value in it."""

    def __init__(self, value: str) -> None:
        self._value = value

    def read(self, path: str, version: str) -> Secret:
        return Secret(self._value)

    def find(self, path: str, marker: str) -> str | None:
        raise AssertionError("nothing is looked for")

    def put(self, path: str, value: Secret, *, marker: str, label: str) -> str:
        raise AssertionError("nothing is kept")

    def discard(self, path: str, version: str) -> None:
        raise AssertionError("nothing is erased")


def door_to(value: str) -> Secrets:
    """The bot's own door, with this value behind `REFERENCE`."""
    store: Store = OneSecret(value)
    return SecretDoor(lambda _: store)


def stage_on(
    service: StandIn,
    client: Any,
    params: Mapping[str, Any],
    secrets: Secrets,
    effects: Callable[[], int] = lambda: 0,
    snapshot: Callable[[], Any] = lambda: None,
) -> Stage:
    """A stage where every call goes to the stand-in."""
    return Stage(
        client=client,
        params=params,
        secrets=secrets,
        effects=effects,
        snapshot=snapshot,
        calls=lambda: sum(service.calls.values()),
        spoil=lambda **answer: service.faults.add(**answer),
        deny=lambda: service.faults.turn("refuse"),
        heal=service.faults.clear,
        hidden=lambda: [service.credential],
    )
