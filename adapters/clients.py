"""Clients that log in with API keys and tokens: which keys they use and used last, and how many logins succeed."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Annotated

from pydantic import Field

from adapters._fields import Address, Name, PublicId
from adapters._web import Shape, Web
from bot.contracts.adapter import Model, Probe, Reading, Run, Secrets, Sensor, Sighting
from bot.core.errors import Permanent, Transient


class Population(Model):
    """Clients that are counted together."""

    url: Address


class Config(Model):
    """Populations by name; no other address is ever contacted."""

    populations: dict[Name, Population] = Field(default_factory=dict)


class Member(Shape):
    """One client."""

    application: str
    api_key_id: str | None = None
    kid: str | None = None


class Window(Shape):
    """Logins over a window of time."""

    logins: int = Field(ge=0)
    failures: int = Field(ge=0)


class Stats(Shape):
    """A population's counters, complete since `counting_since`; times are UTC."""

    counting_since: datetime
    by_kid: dict[str, datetime]
    by_api_key: dict[str, datetime]
    window: Window
    clients: dict[str, Member]


class Client:
    """Reads the counters of the configured populations; that needs no permission."""

    def __init__(self, config: Config, secrets: Secrets) -> None:
        self._populations = config.populations
        self._web = Web("the clients' counter", "check adapters.clients.populations")

    def access(self, permissions: Collection[str], run: Run) -> Collection[str]:
        """Nothing is ever missing: counters are read without a credential."""
        return ()

    def stats(self, run: Run, population: str, over: float = 3600) -> Stats:
        """The counters of one population, with a window of so many seconds."""
        if population not in self._populations:
            raise Permanent(
                f"the population {population} is not configured", "list it under adapters.clients.populations"
            )
        return self._web.get(run, f"{self._populations[population].url}/stats?over={over:g}").read(Stats)


class KidLastSeen(Sensor):
    """When a client of the population last presented a token signed by this key."""

    class Params(Model):
        population: Name
        kid: PublicId

    client: Client

    def last_seen(self, p: Params, run: Run) -> Sighting:
        stats = self.client.stats(run, p.population)
        holders = tuple(name for name, member in stats.clients.items() if member.kid == p.kid)
        return _sighting(stats, p.population, stats.by_kid.get(p.kid), holders)


class ApiKeyLastSeen(Sensor):
    """When a client of the population last logged in, or tried to, with this API key."""

    class Params(Model):
        population: Name
        key_id: PublicId

    client: Client

    def last_seen(self, p: Params, run: Run) -> Sighting:
        stats = self.client.stats(run, p.population)
        holders = tuple(name for name, member in stats.clients.items() if member.api_key_id == p.key_id)
        return _sighting(stats, p.population, stats.by_api_key.get(p.key_id), holders)


class SuccessRate(Probe):
    """The share of the population's logins that succeeded."""

    class Params(Model):
        population: Name
        over: Annotated[float, Field(gt=0, le=86400)] = 300.0
        """Seconds."""

    client: Client

    def measure(self, p: Params, run: Run) -> Reading:
        window = self.client.stats(run, p.population, p.over).window
        total = window.logins + window.failures
        if total == 0:
            raise Transient(f"nobody of {p.population} logged in within the last {p.over:g} s, so there is no rate")
        return Reading(f"{window.logins} of {total} logins succeeded over {p.over:g} s", value=window.logins / total)


class UsesApiKey(Probe):
    """Every client of the population, or every instance of one of its applications, uses this API key."""

    class Params(Model):
        population: Name
        key_id: PublicId
        client: Name | None = None
        """The application; None: all of them."""

    client: Client

    def measure(self, p: Params, run: Run) -> Reading:
        members = {
            name: member
            for name, member in self.client.stats(run, p.population).clients.items()
            if p.client in (None, member.application)
        }
        if not members:
            raise Permanent(f"{p.population} has no client {p.client or 'at all'}", "check the names in the inputs")
        others = [name for name, member in members.items() if member.api_key_id != p.key_id]
        told = f"{len(members) - len(others)} of {len(members)} clients use {p.key_id}"
        return Reading(f"{told}; not yet: {', '.join(others[:5])}" if others else told, passed=not others)


def _sighting(stats: Stats, population: str, at: datetime | None, holders: tuple[str, ...]) -> Sighting:
    evidence = f"{population} counted by its clients since {stats.counting_since:%Y-%m-%d %H:%M} UTC"
    return Sighting(stats.counting_since, evidence, at=at, by=holders if at is not None else ())
