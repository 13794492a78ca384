"""What can be asked of the identity service as a whole: health, our rights, and how long its tokens live."""

from __future__ import annotations

from adapters._fields import Address
from adapters.identity.client import Client
from bot.contracts.adapter import Fact, Known, Model, Probe, Reading, Run
from bot.core.errors import Permanent


class KeyStoreHealthy(Probe):
    """The service reaches its database and the store that encrypts its keys."""

    permissions = ("health: read",)

    class Params(Model):
        service: Address

    client: Client

    def measure(self, p: Params, run: Run) -> Reading:
        health = self.client.health(run, p.service)
        parts = {"database": health.database, "key encryption": health.key_encryption}
        told = ", ".join(f"{name} {'reachable' if good else 'NOT reachable'}" for name, good in parts.items())
        return Reading(told, passed=all(parts.values()))


class AdminAccess(Probe):
    """Our token may change keys at this service."""

    permissions = ("health: read",)

    class Params(Model):
        service: Address

    client: Client

    def measure(self, p: Params, run: Run) -> Reading:
        role = self.client.role(run, p.service)
        return Reading(
            f"our token is that of a {role}" if role != "admin" else "our token is an admin's", role == "admin"
        )


class TokenLife(Fact):
    """How long a token of this service is valid, in seconds."""

    permissions = ("settings: read",)

    class Params(Model):
        service: Address

    client: Client

    def read(self, p: Params, run: Run) -> Known:
        life = self.client.settings(run, p.service).token_life_seconds
        if not 0 < life <= 366 * 86400:
            raise Permanent("the service names no believable token life", "look at the settings of its admin API")
        return Known(life, "token_life_seconds in the service's settings")
