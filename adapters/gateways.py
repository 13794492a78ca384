"""Gateways that verify tokens: whom they let in, which key they saw last, how fresh they are; refresh and restart."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from adapters._fields import Address, Name, PublicId, Reference
from adapters._web import Answer, Shape, Web, ask_each
from bot.contracts.adapter import (
    Absent,
    Effect,
    Model,
    Observed,
    Operation,
    Outputs,
    Present,
    Probe,
    Reading,
    Run,
    Secrets,
    Sensor,
    Sighting,
)
from bot.core.errors import Permanent, Transient
from bot.core.secret import SecretReference

HINT = "check admin_token under adapters.gateways.gateways, and that the token is an admin's"
PATIENCE = 8
"""Seconds that a gateway may take to come up again before we look another time."""

Names = Annotated[list[Name], Field(min_length=1, max_length=1000)]
Seconds = Annotated[float, Field(gt=0, le=86400)]


class Gateway(Model):
    """One gateway; the token is only needed to refresh and to restart it."""

    url: Address
    admin_token: Reference | None = None


class Config(Model):
    """Gateways by name; no other address is ever contacted."""

    gateways: dict[Name, Gateway] = Field(default_factory=dict)


class Uses(Shape):
    """What a gateway counted for one key."""

    accepted: int
    refused: int
    last_seen: datetime | None = None
    last_refused: datetime | None = None


class Window(Shape):
    """Requests with a token over a window of time."""

    accepted: int = Field(ge=0)
    refused: int = Field(ge=0)


class Stats(Shape):
    """A gateway's counters, complete since `counting_since`; times are UTC."""

    boot_id: str
    counting_since: datetime
    last_restart_marker: str | None = None
    cache_age_seconds: float | None
    cache_ttl_seconds: float
    kids: list[str]
    by_kid: dict[str, Uses]
    window: Window


class _Restarted(Shape):
    boot_id: str
    restarting: bool


class _Me(Shape):
    role: Literal["admin", "viewer"]


class Client:
    """Speaks to the configured gateways."""

    def __init__(self, config: Config, secrets: Secrets) -> None:
        self._gateways, self._secrets = config.gateways, secrets
        self._web = Web("the gateway", HINT)

    def access(self, permissions: Collection[str], run: Run) -> Collection[str]:
        """Which permissions are missing at any of the gateways; counters need none."""
        if not self._gateways:
            raise Permanent("no gateway is configured", "list them under adapters.gateways.gateways")
        if not permissions:
            return ()

        def allows(name: str) -> bool:
            try:
                return self._admin(run, "GET", name, "whoami").read(_Me).role == "admin"
            except Permanent:
                return False

        return () if all(allowed for _, allowed in ask_each(self._gateways, allows)) else tuple(permissions)

    def stats(self, run: Run, name: str, over: float = 3600) -> Stats:
        """The counters of one gateway, with a window of so many seconds."""
        return self._web.get(run, f"{self._known(name).url}/stats?over={over:g}").read(Stats)

    def refresh(self, run: Run, name: str) -> None:
        """Have it fetch the key set now."""
        self._admin(run, "POST", name, "refresh")

    def restart(self, run: Run, name: str) -> str:
        """Restart it and wait until it is up; the same marker restarts once. Its boot id afterwards."""
        headers = {"Idempotency-Key": run.token, "Prefer": f"wait={PATIENCE}"}
        answer = self._admin(run, "POST", name, "restart", headers).read(_Restarted)
        if answer.restarting:
            raise Transient(f"{name} is still restarting")
        return answer.boot_id

    def _admin(self, run: Run, method: str, name: str, path: str, headers: dict[str, str] | None = None) -> Answer:
        gateway = self._known(name)
        if gateway.admin_token is None:
            raise Permanent(f"no token is configured for {name}", HINT)
        token = self._secrets.read(SecretReference.parse(gateway.admin_token))
        return self._web.call(run, method, f"{gateway.url}/admin/{path}", token=token, headers=headers)

    def _known(self, name: str) -> Gateway:
        if name not in self._gateways:
            raise Permanent(f"the gateway {name} is not configured", "list it under adapters.gateways.gateways")
        return self._gateways[name]


class KidLastSeen(Sensor):
    """When any gateway last let in, or refused, a token signed by this key.

    Canary tokens do not count. A gateway that has restarted has forgotten: nothing is claimed about the time before.
    """

    class Params(Model):
        gateways: Names
        kid: PublicId

    client: Client

    def last_seen(self, p: Params, run: Run) -> Sighting:
        stats = dict(ask_each(p.gateways, lambda name: self.client.stats(run, name)))
        since = max(each.counting_since for each in stats.values())
        seen = {name: moment for name, each in stats.items() if (moment := _last(each.by_kid.get(p.kid))) is not None}
        last = max(seen.values(), default=None)
        youngest = max(stats, key=lambda name: stats[name].counting_since)
        evidence = f"counted by {len(stats)} gateways, {youngest} since {since:%Y-%m-%d %H:%M} UTC"
        if last is None or last < since:
            return Sighting(since, evidence)
        return Sighting(since, evidence, at=last, by=tuple(name for name, moment in seen.items() if moment == last))


class SuccessRate(Probe):
    """The share of requests with a token that were let in, over all gateways."""

    class Params(Model):
        gateways: Names
        over: Seconds = 300.0
        """Seconds."""

    client: Client

    def measure(self, p: Params, run: Run) -> Reading:
        windows = dict(ask_each(p.gateways, lambda name: self.client.stats(run, name, p.over).window))
        accepted = sum(window.accepted for window in windows.values())
        total = accepted + sum(window.refused for window in windows.values())
        if total == 0:
            raise Transient(f"no gateway had a request with a token in the last {p.over:g} s, so there is no rate")
        refusing = [f"{name} refused {window.refused}" for name, window in windows.items() if window.refused]
        told = f"{accepted} of {total} requests let in over {p.over:g} s"
        return Reading("; ".join([told, *refusing[:5]]), value=accepted / total)


class CachesFresh(Probe):
    """No gateway's copy of the key set is older than it may be."""

    class Params(Model):
        gateways: Names
        gateway: Name | None = None
        """The one in question, where a runbook names it beside the list; it has to be in the list."""

    client: Client

    def measure(self, p: Params, run: Run) -> Reading:
        if p.gateway is not None and p.gateway not in p.gateways:
            raise Permanent(f"{p.gateway} is not among the gateways listed", "correct the runbook")
        told, fresh = [], True
        for name, stats in ask_each(p.gateways, lambda name: self.client.stats(run, name)):
            age = stats.cache_age_seconds
            # A cache is fetched again when its time is up, not a moment before it.
            good = age is not None and age <= stats.cache_ttl_seconds * 1.5
            fresh = fresh and good
            told.append(
                f"{name}: {'no keys' if age is None else f'{age:.0f} s old'} of {stats.cache_ttl_seconds:.0f} s"
            )
        return Reading("; ".join(told), passed=fresh)


class Refresh(Operation):
    """Have a gateway fetch the key set now, and once more on the way back.

    A runbook that disables a key puts this before it: undone after the key was enabled again, it sees to it that every
    gateway knows the key before anything signs with it. An emergency that disables first waits for no gateway before
    that: `only_back` calls it on the way back only.
    """

    effect = Effect.CHANGES
    permissions = ("gateway: admin",)
    outputs = ("gateway",)

    class Params(Model):
        gateway: Name
        gateways: Names | None = None
        """Taken for runbooks that share it among steps; only `gateway` is refreshed."""
        only_back: bool = False
        """Whether nothing is done until it is undone."""

    client: Client

    def observe(self, p: Params, run: Run) -> Observed:
        # A cache keeps no record of who asked; fetching it once more harms nobody.
        return Absent()

    def ensure(self, p: Params, run: Run) -> Outputs:
        if not p.only_back:
            self.client.refresh(run, p.gateway)
        return {"gateway": p.gateway}

    def undo(self, p: Params, run: Run, outputs: Outputs) -> None:
        if outputs:  # without them it never ran, and neither did what comes after it
            self.client.refresh(run, p.gateway)


class Restart(Operation):
    """Restart a gateway, which empties its cache, and see it come up again."""

    effect = Effect.CHANGES
    permissions = ("gateway: admin",)
    outputs = ("gateway", "boot_id")

    class Params(Model):
        gateway: Name

    client: Client

    def observe(self, p: Params, run: Run) -> Observed:
        stats = self.client.stats(run, p.gateway)
        if stats.last_restart_marker != run.token:
            return Absent()
        return Present({"gateway": p.gateway, "boot_id": stats.boot_id})

    def ensure(self, p: Params, run: Run) -> Outputs:
        return {"gateway": p.gateway, "boot_id": self.client.restart(run, p.gateway)}

    def undo(self, p: Params, run: Run, outputs: Outputs) -> None:
        """Nothing: a restart leaves nothing to put back."""


def _last(uses: Uses | None) -> datetime | None:
    moments = (uses.last_seen, uses.last_refused) if uses else ()
    return max((moment for moment in moments if moment is not None), default=None)
