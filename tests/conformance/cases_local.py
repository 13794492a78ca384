"""The cases of adapters that speak to no system of their own: files, health pages, people."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from adapters import http, manual, secret_files
from bot.contracts.adapter import Store
from bot.core.secret import Secret
from bot.engine.secrets import SecretDoor
from tests.conformance.estate_stage import shared_estate
from tests.conformance.kit import Case, Stage


def no_store(name: str) -> Store:
    raise AssertionError(f"{name} is not asked for secrets")


NOBODY = SecretDoor(no_store)
OLD, NEW = "old value of a secret", "new value of a secret"


@contextmanager
def files() -> Iterator[tuple[Path, secret_files.Client]]:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name) / "secrets"
        root.mkdir()
        client = secret_files.Client(secret_files.Config(root=root), NOBODY)
        for version, value in (("v1", OLD), ("v2", NEW)):
            client.put("team/api-key", Secret(value), version, "id")
        client.point("team/api-key", "v1", "earlier", None)
        yield root, client


def file_stage(root: Path, client: secret_files.Client, params: dict[str, Any], effects: Any) -> Stage:
    return Stage(
        client=client,
        params=params,
        secrets=NOBODY,
        effects=effects,
        snapshot=lambda: sorted((str(path), path.is_symlink() and path.readlink()) for path in root.rglob("*")),
        deny=lambda: root.rename(root.with_name("elsewhere")),
        hidden=lambda: [OLD, NEW],
    )


@contextmanager
def point() -> Iterator[Stage]:
    with files() as (root, client):
        params = {"path": "team/api-key", "version": "v2", "expected": "v1"}
        yield file_stage(root, client, params, lambda: int(client.current("team/api-key") == "v2"))


@contextmanager
def remove() -> Iterator[Stage]:
    with files() as (root, client):
        params = {"path": "team/api-key", "version": "v2"}
        yield file_stage(root, client, params, lambda: int(not client.has("team/api-key", "v2")))


@contextmanager
def current_version() -> Iterator[Stage]:
    with files() as (root, client):
        yield file_stage(root, client, {"path": "team/api-key"}, lambda: 0)


@contextmanager
def secrets() -> Iterator[Stage]:
    with files() as (root, client):
        yield file_stage(root, client, {}, lambda: 0)


@contextmanager
def healthy() -> Iterator[Stage]:
    with shared_estate() as estate:
        gateway = estate.gateways[0]
        config = {"allowed": [gateway.address.removeprefix("http://")], "private": ["127.0.0.0/8"]}
        yield Stage(
            client=http.Client(http.Config.model_validate(config), NOBODY),
            params={"url": f"{gateway.address}/healthz"},
            secrets=NOBODY,
            calls=lambda: gateway.calls["GET /healthz"],
            spoil=lambda **answer: gateway.faults.add(path="/healthz", **answer),
            heal=gateway.faults.clear,
        )


@contextmanager
def record() -> Iterator[Stage]:
    client = manual.Client(manual.Config(), NOBODY)
    params = {"what": "made a key in the console", "reference": "key-2026-11"}
    yield Stage(client=client, params=params, secrets=NOBODY, effects=lambda: 1)


CASES = [
    Case("secret_files.point", point, network=False),
    Case("secret_files.remove", remove, network=False),
    Case("secret_files.current_version", current_version, network=False),
    Case("secret_files.secrets", secrets, network=False),
    Case("http.healthy", healthy, credentials=False, blind=frozenset({"garbage"})),
    Case("manual.record", record, stays=True, timeless=True, network=False, credentials=False),
]
