"""What the catalog offers to the engine: adapters and commands by the word that names them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Protocol

from bot.contracts.adapter import Discovery, Fact, Operation, Part, Probe, Run, Sensor, Store
from bot.core.secret import SecretReference


class Registry(Protocol):
    """Loads on demand. Unknown words raise `Permanent` with close matches."""

    def operation(self, word: str) -> Operation: ...

    def probe(self, word: str) -> Probe: ...

    def sensor(self, word: str) -> Sensor: ...

    def fact(self, word: str) -> Fact: ...

    def discovery(self, word: str) -> Discovery: ...

    def store(self, name: str) -> Store: ...

    def store_needs(self, reference: SecretReference) -> tuple[str, ...]:
        """The permissions at its system for reading and writing there; none where the store declares none."""
        ...

    def part(self, word: str) -> type[Part] | None:
        """The class behind a word, without building its client; None when there is none."""
        ...

    def access(self, needed: Mapping[str, Collection[str]], run: Run) -> Mapping[str, tuple[str, ...]]:
        """Which permissions, needed of each adapter, are missing; asks each once. Raises `Transient` when unknown."""
        ...

    def commands(self) -> Mapping[str, Any]:
        """Every word of `/rotate`, by name."""
        ...
