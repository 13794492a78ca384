"""Versions of a secret file: put one beside the others, move clients to it, remove an old one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Annotated

from pydantic import Field

from adapters.secret_files.client import Client, version_named
from bot.contracts.adapter import (
    Absent,
    Discovery,
    Effect,
    Fact,
    Found,
    Known,
    Model,
    Observed,
    Operation,
    Outputs,
    Present,
    Run,
)
from bot.core.errors import Permanent
from bot.core.secret import Secret

Path = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@=+/-]{0,500}$")]
Version = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]


class Store:
    """The secret store of this adapter; a version is named after the marker it was written under."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def read(self, path: str, version: str) -> Secret:
        """A version's value, the current one's when none is named."""
        return self._client.read(path, version)

    def find(self, path: str, marker: str) -> str | None:
        """The version written under this marker."""
        version = version_named(marker)
        return version if self._client.has(path, version) else None

    def put(self, path: str, value: Secret, *, marker: str, label: str) -> str:
        """Add a version that nobody reads yet."""
        return self._client.put(path, value, marker, label)

    def label(self, path: str, version: str) -> str:
        """The public name of a version, the current one's when none is named; empty where nobody gave it one."""
        return self._client.label(path, version)

    def discard(self, path: str, version: str) -> None:
        """Erase a version that nobody reads; quiet when it is gone."""
        self._client.remove(path, version)


class Point(Operation):
    """Move the clients of a secret to one of its versions, all at once."""

    effect = Effect.CHANGES
    permissions = ("files: read", "files: write")
    outputs = ("version", "previous")

    class Params(Model):
        path: Path
        version: Version
        expected: Version | None = None
        """The version that the plan saw; anything else than that is not moved."""

    client: Client

    def observe(self, p: Params, run: Run) -> Observed:
        if self.client.current(p.path) != p.version:
            return Absent()
        return Present(_outputs(p.version, self.client.moved(p.path, run.token)))

    def ensure(self, p: Params, run: Run) -> Outputs:
        return _outputs(p.version, self.client.point(p.path, p.version, run.token, p.expected))

    def undo(self, p: Params, run: Run, outputs: Outputs) -> None:
        previous = outputs.get("previous")
        self.client.put_back(p.path, p.version, run.token, previous if isinstance(previous, str) else None)


class Remove(Operation):
    """Erase a version that no client reads any more."""

    effect = Effect.DESTROYS
    permissions = ("files: read", "files: write")
    outputs = ("version",)

    class Params(Model):
        path: Path
        version: Version

    client: Client

    def observe(self, p: Params, run: Run) -> Observed:
        return Present({"version": p.version}) if self.client.erased(p.path, p.version) else Absent()

    def ensure(self, p: Params, run: Run) -> Outputs:
        self.client.remove(p.path, p.version)
        return {"version": p.version}

    def undo(self, p: Params, run: Run, outputs: Outputs) -> None:
        if not self.client.has(p.path, p.version):
            raise Permanent(f"version {p.version} of {p.path} is erased", "it cannot be brought back; write a new one")


class CurrentVersion(Fact):
    """The version of a secret that its clients read."""

    permissions = ("files: read",)

    class Params(Model):
        path: Path

    client: Client

    def read(self, p: Params, run: Run) -> Known:
        version = self.client.current(p.path)
        if version is None:
            raise Permanent(f"{p.path} has no current version", "write a version and point the clients at it first")
        return Known(version, f"the link current of {p.path}")


def _outputs(version: str, previous: str | None) -> Outputs:
    return {"version": version, "previous": previous}


class Secrets(Discovery):
    """Every secret below the root with its versions, by name and by when it was written; no value is read."""

    permissions = ("files: read",)

    class Params(Model):
        kind: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,60}$")] = "secret-file"
        """The class that they have in the inventory."""

    client: Client

    def pages(self, p: Params, run: Run) -> Iterator[Sequence[Found]]:
        for path, versions in self.client.walk():
            run.remaining()
            yield [
                Found(f"secret_files:{path}", name, p.kind, created_at=datetime.fromtimestamp(written, UTC))
                for name, written in versions
            ]
