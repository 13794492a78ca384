"""What the service holds that can expire: signing keys and API keys, by id and date; never a value."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from adapters._fields import Address
from adapters.identity.client import Client
from bot.contracts.adapter import Discovery, Found, Model, Run

_PAGE = 200


class SigningKeys(Discovery):
    """The keys that a service signs with, or still publishes. They have no end; a cadence gives them one."""

    permissions = ("keys: read",)

    class Params(Model):
        service: Address

    client: Client

    def pages(self, p: Params, run: Run) -> Iterator[Sequence[Found]]:
        place = f"identity:{p.service}/signing-key"
        yield [
            Found(place, key.kid, "signing-key", created_at=key.promoted_at)
            for key in self.client.signing_keys(run, p.service)
            if key.state == "current"
        ]


class ApiKeys(Discovery):
    """Every API key that a service accepts, one place for each client."""

    permissions = ("api-keys: read",)

    class Params(Model):
        service: Address

    client: Client

    def pages(self, p: Params, run: Run) -> Iterator[Sequence[Found]]:
        keys = [key for key in self.client.api_keys(run, p.service) if key.enabled]
        for begin in range(0, len(keys), _PAGE):
            yield [
                Found(f"identity:{p.service}/api-keys/{key.client}", key.id, "api-key", key.created_at, key.expires_at)
                for key in keys[begin : begin + _PAGE]
            ]
