"""The cases of gateways, key set and clients."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from tests.conformance.estate_stage import private_estate, shared_estate, stage_on
from tests.conformance.kit import Case, Stage

MANY = 100


@contextmanager
def restart() -> Iterator[Stage]:
    with private_estate(gateways=1) as estate:
        gateway = estate.gateways[0]
        params = {"gateway": gateway.name}
        yield stage_on(estate, "gateways", params, lambda: gateway.restarts, spoiled=((gateway, "*", MANY),))


@contextmanager
def refresh() -> Iterator[Stage]:
    # At this rate the gateway's limit of one refresh a second is a fifth of a millisecond.
    with private_estate(gateways=1, rate=5000, jwks_max_age=10_000_000) as estate:
        gateway, new = estate.gateways[0], estate.identity.keys.rotate("earlier")[0]["kid"]
        params = {"gateway": gateway.name}
        effects = partial(lambda: int(new in gateway.stats()["kids"]))
        yield stage_on(estate, "gateways", params, effects, spoiled=((gateway, "/admin/*", MANY),))


@contextmanager
def count(**params: Any) -> Iterator[Stage]:
    with shared_estate() as estate:
        given = {"gateways": ["gateway-1"], **params}
        if given.get("kid") == "current":
            given["kid"] = estate.signing_kid()
        calls = ((estate.gateways[0], "/stats", MANY),)
        yield stage_on(estate, "gateways", given, spoiled=calls, guarded=False)


@contextmanager
def served() -> Iterator[Stage]:
    with shared_estate() as estate:
        given = {"service": estate.identity.address, "kid": estate.signing_kid()}
        calls = ((estate.identity, "/.well-known/jwks.json", MANY),)
        yield stage_on(estate, "jwks", given, spoiled=calls, guarded=False)


@contextmanager
def accepted() -> Iterator[Stage]:
    with shared_estate() as estate:
        given = {"service": estate.identity.address, "kid": estate.signing_kid(), "gateways": ["gateway-1"]}
        calls = ((estate.identity, "/api/v1/admin/*", 1), (estate.gateways[0], "/canary", 1))
        yield stage_on(estate, "jwks", given, spoiled=calls)


@contextmanager
def refused() -> Iterator[Stage]:
    with private_estate(gateways=1) as estate:
        old, keys = estate.signing_kid(), estate.identity.keys
        keys.promote(keys.rotate("earlier")[0]["kid"])
        keys.disable(old)
        estate.gateways[0].restart()
        given = {"service": estate.identity.address, "kid": old, "gateways": ["gateway-1"]}
        calls = ((estate.identity, "/api/v1/admin/*", 3), (estate.gateways[0], "/canary", 2))
        yield stage_on(estate, "jwks", given, spoiled=calls)


@contextmanager
def cache_ttl() -> Iterator[Stage]:
    with shared_estate() as estate:
        calls = ((estate.gateways[0], "/stats", MANY),)
        yield stage_on(estate, "jwks", {"gateways": ["gateway-1"]}, spoiled=calls, guarded=False)


@contextmanager
def population(**params: Any) -> Iterator[Stage]:
    with shared_estate(busy=True) as estate:
        assert estate.clients is not None
        given = {"population": "shop", **params}
        if given.get("kid") == "current":
            given["kid"] = estate.signing_kid()
        if given.get("key_id") == "billing":
            given["key_id"] = estate.identity.api_keys.all("billing")[0]["id"]
        yield stage_on(estate, "clients", given, spoiled=((estate.clients, "/stats", MANY),), guarded=False)


CASES = [
    Case("gateways.restart", restart, stays=True),
    Case("gateways.refresh", refresh, stays=True, timeless=True),
    Case("gateways.kid_last_seen", partial(count, kid="current"), credentials=False),
    Case("gateways.success_rate", partial(count, over=300), credentials=False),
    Case("gateways.caches_fresh", count, credentials=False),
    Case("jwks.key_served", served, credentials=False),
    Case("jwks.canary_accepted_everywhere", accepted),
    Case("jwks.old_refused_everywhere", refused),
    Case("jwks.cache_ttl", cache_ttl, credentials=False),
    Case("clients.kid_last_seen", partial(population, kid="current"), credentials=False),
    Case("clients.api_key_last_seen", partial(population, key_id="billing"), credentials=False),
    Case("clients.success_rate", partial(population, over=300), credentials=False),
    Case("clients.uses_api_key", partial(population, key_id="billing", client="billing"), credentials=False),
]
