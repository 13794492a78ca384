"""The identity adapter's cases."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

from playground.estate import Estate
from tests.conformance.estate_stage import private_estate, shared_estate, stage_on
from tests.conformance.kit import Case, Stage

ADMIN = "/api/v1/admin/*"
MANY = 100


@contextmanager
def publish() -> Iterator[Stage]:
    with private_estate() as estate:
        params = {"service": estate.identity.address}
        yield stage_on(estate, "identity", params, lambda: keys(estate) - 1, spoiled=admin(estate))


@contextmanager
def promote() -> Iterator[Stage]:
    with private_estate() as estate:
        old, new = estate.signing_kid(), estate.identity.keys.rotate("earlier")[0]["kid"]
        params = {"service": estate.identity.address, "kid": new, "old": old}
        yield stage_on(estate, "identity", params, lambda: int(estate.signing_kid() == new), spoiled=admin(estate))


@contextmanager
def disable() -> Iterator[Stage]:
    with private_estate() as estate:
        old = estate.signing_kid()
        estate.identity.keys.promote(estate.identity.keys.rotate("earlier")[0]["kid"])
        params = {"service": estate.identity.address, "kid": old}

        def disabled() -> int:
            return int(estate.identity.keys.get(old)["state"] == "disabled")

        yield stage_on(estate, "identity", params, disabled, spoiled=admin(estate))


@contextmanager
def bootstrap() -> Iterator[Stage]:
    with private_estate() as estate:
        with estate.identity._lock, estate.identity._db:
            estate.identity._db.execute("DELETE FROM signing_keys")
        params = {"service": estate.identity.address}
        yield stage_on(estate, "identity", params, lambda: keys(estate), spoiled=admin(estate))


@contextmanager
def create_api_key() -> Iterator[Stage]:
    with private_estate() as estate:
        before = len(estate.identity.api_keys.all())
        params = {
            "service": estate.identity.address,
            "client": "billing",
            "to": "secret_files:billing",
            "scope": "read,write",
            "expires_in": 90 * 86400,
        }
        yield stage_on(
            estate, "identity", params, lambda: len(estate.identity.api_keys.all()) - before, spoiled=admin(estate)
        )


@contextmanager
def disable_api_key() -> Iterator[Stage]:
    with private_estate() as estate:
        key = estate.identity.api_keys.all("billing")[0]["id"]
        params = {"service": estate.identity.address, "key_id": key}

        def disabled() -> int:
            return int(not estate.identity.api_keys.get(key)["enabled"])

        yield stage_on(estate, "identity", params, disabled, spoiled=admin(estate))


@contextmanager
def delete_api_key() -> Iterator[Stage]:
    with private_estate() as estate:
        key = estate.identity.api_keys.all("billing")[0]["id"]
        estate.identity.api_keys.switch(key, False)
        params = {"service": estate.identity.address, "key_id": key}

        def deleted() -> int:
            return int(not estate.identity.api_keys.all("billing"))

        yield stage_on(estate, "identity", params, deleted, spoiled=admin(estate))


@contextmanager
def ask(**params: Any) -> Iterator[Stage]:
    with shared_estate() as estate:
        given = {"service": estate.identity.address, **params}
        if given.get("key_id") == "billing":
            given["key_id"] = estate.identity.api_keys.all("billing")[0]["id"]
        yield stage_on(estate, "identity", given, spoiled=admin(estate))


@contextmanager
def login(*, dead: bool) -> Iterator[Stage]:
    start = private_estate if dead else shared_estate
    with start() as estate:
        if dead:
            estate.identity.api_keys.switch(estate.identity.api_keys.all("billing")[0]["id"], False)
        given = {"service": estate.identity.address, "client": "billing", "secret": "secret_files:billing#v1"}
        calls = ((estate.identity, "/oauth2/token", MANY),)
        yield stage_on(estate, "identity", given, spoiled=calls, guarded=False)


def admin(estate: Estate) -> Any:
    return ((estate.identity, ADMIN, MANY),)


def keys(estate: Estate) -> int:
    return len(estate.identity.keys.all())


def watch(word: str, **params: Any) -> Case:
    stage: Callable[[], AbstractContextManager[Stage]] = partial(ask, **params)
    return Case(f"identity.{word}", stage)


CASES = [
    Case("identity.publish_key", publish),
    Case("identity.promote_key", promote),
    Case("identity.disable_key", disable),
    Case("identity.bootstrap_key", bootstrap, stays=True),
    Case("identity.create_api_key", create_api_key),
    Case("identity.disable_api_key", disable_api_key),
    Case("identity.delete_api_key", delete_api_key),
    Case("identity.api_key_works", partial(login, dead=False), credentials=False),
    Case("identity.api_key_refused", partial(login, dead=True), credentials=False),
    watch("key_store_healthy"),
    watch("admin_access"),
    watch("api_key_last_used", key_id="billing"),
    watch("signing_kid"),
    watch("token_life"),
    watch("current_api_key", client="billing"),
    watch("api_keys"),
    watch("signing_keys"),
]
