"""The fleet of the benchmarks: keys of its issuer, and the consumers that know them. Not part of keyturn."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Any

from pydantic import Field

from adapters._fields import Address, Name
from adapters._web import Shape, Web
from bot.contracts.adapter import (
    Absent,
    Effect,
    Fact,
    Known,
    Model,
    Observed,
    Operation,
    Outputs,
    Present,
    Probe,
    Reading,
    Run,
    Secrets,
)

Key = Annotated[str, Field(pattern=r"^key-[0-9]+$")]


class Config(Model):
    """Where the fleet is."""

    url: Address


class _Keys(Shape):
    keys: dict[str, bool]
    first: str


class _Made(Shape):
    id: str


class _Consumer(Shape):
    key: str
    accepts: list[str]


class Client:
    """Speaks to the fleet."""

    def __init__(self, config: Config, secrets: Secrets) -> None:
        self._url, self._web = config.url, Web("the fleet", "it asks for no credentials")

    def access(self, permissions: Collection[str], run: Run) -> Collection[str]:
        """Everybody may do everything."""
        return ()

    def call(self, run: Run, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """One call."""
        return self._web.call(run, method, f"{self._url}/{path}", body=body)

    def keys(self, run: Run) -> _Keys:
        """The keys and whether they are enabled."""
        found: _Keys = self.call(run, "GET", "keys").read(_Keys)
        return found

    def consumer(self, run: Run, name: str) -> _Consumer:
        """What a consumer knows."""
        found: _Consumer = self.call(run, "GET", f"consumers/{name}").read(_Consumer)
        return found


class OldKey(Fact):
    """The key that the fleet began with."""

    class Params(Model):
        pass

    client: Client

    def read(self, p: Params, run: Run) -> Known:
        return Known(self.client.keys(run).first, "the issuer's list of keys")


class MakeKey(Operation):
    """Make a key; the same run makes one."""

    effect = Effect.CREATES
    outputs = ("key",)

    class Params(Model):
        pass

    client: Client

    def observe(self, p: Params, run: Run) -> Observed:
        return Absent()

    def ensure(self, p: Params, run: Run) -> Outputs:
        return {"key": self.client.call(run, "POST", "keys", {"marker": run.token}).read(_Made).id}

    def undo(self, p: Params, run: Run, outputs: Outputs) -> None:
        self.client.call(run, "DELETE", f"keys/{outputs['key']}")


class StopKey(Operation):
    """Disable a key."""

    effect = Effect.CHANGES
    outputs = ("key",)

    class Params(Model):
        key: Key

    client: Client

    def observe(self, p: Params, run: Run) -> Observed:
        return Absent() if self.client.keys(run).keys.get(p.key, False) else Present({"key": p.key})

    def ensure(self, p: Params, run: Run) -> Outputs:
        self.client.call(run, "POST", f"keys/{p.key}/disable")
        return {"key": p.key}

    def undo(self, p: Params, run: Run, outputs: Outputs) -> None:
        """Nothing: no benchmark goes back."""


class RemoveKey(Operation):
    """Delete a key."""

    effect = Effect.DESTROYS
    outputs = ("key",)

    class Params(Model):
        key: Key

    client: Client

    def observe(self, p: Params, run: Run) -> Observed:
        return Absent() if p.key in self.client.keys(run).keys else Present({"key": p.key})

    def ensure(self, p: Params, run: Run) -> Outputs:
        self.client.call(run, "DELETE", f"keys/{p.key}")
        return {"key": p.key}

    def undo(self, p: Params, run: Run, outputs: Outputs) -> None:
        """Nothing: no benchmark goes back."""


class Point(Operation):
    """Give a consumer another key."""

    effect = Effect.CHANGES
    outputs = ("consumer",)

    class Params(Model):
        consumer: Name
        key: Key

    client: Client

    def observe(self, p: Params, run: Run) -> Observed:
        done = self.client.consumer(run, p.consumer).key == p.key
        return Present({"consumer": p.consumer}) if done else Absent()

    def ensure(self, p: Params, run: Run) -> Outputs:
        self.client.call(run, "PATCH", f"consumers/{p.consumer}", {"key": p.key})
        return {"consumer": p.consumer}

    def undo(self, p: Params, run: Run, outputs: Outputs) -> None:
        """Nothing: no benchmark goes back."""


class Restart(Operation):
    """Restart a consumer and wait until it is up."""

    effect = Effect.CHANGES
    outputs = ("consumer",)

    class Params(Model):
        consumer: Name

    client: Client

    def observe(self, p: Params, run: Run) -> Observed:
        return Absent()

    def ensure(self, p: Params, run: Run) -> Outputs:
        self.client.call(run, "POST", f"consumers/{p.consumer}/restart")
        return {"consumer": p.consumer}

    def undo(self, p: Params, run: Run, outputs: Outputs) -> None:
        """Nothing: no benchmark goes back."""


class Uses(Probe):
    """A consumer accepts the key."""

    class Params(Model):
        consumer: Name
        key: Key

    client: Client

    def measure(self, p: Params, run: Run) -> Reading:
        accepts = self.client.consumer(run, p.consumer).accepts
        return Reading(f"{p.consumer} accepts {len(accepts)} keys", passed=p.key in accepts)


class Refuses(Probe):
    """A consumer does not accept the key."""

    class Params(Model):
        consumer: Name
        key: Key

    client: Client

    def measure(self, p: Params, run: Run) -> Reading:
        accepts = self.client.consumer(run, p.consumer).accepts
        return Reading(f"{p.consumer} accepts {len(accepts)} keys", passed=p.key not in accepts)
