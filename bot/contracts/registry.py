"""What the catalog offers to the engine: adapters and commands by the word that names them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Protocol

from bot.contracts.adapter import Fact, Operation, Probe, Run, Sensor, Store


class Registry(Protocol):
    """Loads on demand. Unknown words raise `Permanent` with close matches."""

    def operation(self, word: str) -> Operation: ...

    def probe(self, word: str) -> Probe: ...

    def sensor(self, word: str) -> Sensor: ...

    def fact(self, word: str) -> Fact: ...

    def store(self, name: str) -> Store: ...

    def part(self, word: str) -> type[Operation] | type[Probe] | type[Sensor] | type[Fact] | None:
        """The class behind a word, without building its client; None when there is none."""
        ...

    def access(self, words: Collection[str], run: Run) -> Mapping[str, tuple[str, ...]]:
        """Permissions that are missing, per adapter; asks each adapter once. Raises `Transient` when unknown."""
        ...

    def commands(self) -> Mapping[str, Any]:
        """Every word of `/rotate`, by name."""
        ...
