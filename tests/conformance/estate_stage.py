"""Stages on the playground's estate, for the adapters that speak to it."""

from __future__ import annotations

import atexit
import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from adapters import clients, gateways, identity, jwks, secret_files
from bot.contracts.adapter import Secrets
from bot.engine.secrets import SecretDoor
from playground.estate import Estate
from playground.estate.secret_files import read_current
from playground.estate.service import Service
from tests.conformance.kit import Stage


def door(estate: Estate) -> Secrets:
    """The bot's own door to secrets, with the estate's secret files behind it."""
    config = secret_files.Config(root=estate.secrets_directory)
    holder: list[Secrets] = []
    store = secret_files.Store(secret_files.Client(config, SecretDoor(lambda _: store)))
    holder.append(SecretDoor(lambda _: store))
    return holder[0]


def client_of(name: str, estate: Estate, secrets: Secrets) -> Any:
    """An adapter's client, configured for the estate."""
    token = f"file:{str(estate.admin_token_file).lstrip('/')}"
    services = {estate.identity.address: {"admin_token": token}}
    known = {gateway.name: {"url": gateway.address} for gateway in estate.gateways}
    if name == "identity":
        return identity.Client(identity.Config.model_validate({"services": services}), secrets)
    if name == "gateways":
        guarded = {gateway: {**entry, "admin_token": token} for gateway, entry in known.items()}
        return gateways.Client(gateways.Config.model_validate({"gateways": guarded}), secrets)
    if name == "jwks":
        return jwks.Client(jwks.Config.model_validate({"services": services, "gateways": known}), secrets)
    assert estate.clients is not None
    populations = {"shop": {"url": estate.clients.address}}
    return clients.Client(clients.Config.model_validate({"populations": populations}), secrets)


def hidden(estate: Estate) -> list[str]:
    """Every secret value in the estate."""
    files = [path.read_text() for path in Path(estate.secrets_directory).rglob("value") if not path.parent.is_symlink()]
    return [estate.admin_token, *files]


def facts_of(estate: Estate) -> Any:
    """What looking must not change."""
    keys = [(key["kid"], key["state"]) for key in estate.identity.keys.all()]
    api_keys = [(key["id"], key["enabled"]) for key in estate.identity.api_keys.all()]
    boots = [(gateway.stats()["boot_id"], gateway.stats()["kids"]) for gateway in estate.gateways]
    files = sorted(str(path) for path in estate.secrets_directory.rglob("*"))
    return keys, api_keys, boots, files


def stage_on(
    estate: Estate,
    adapter: str,
    params: dict[str, Any],
    effects: Callable[[], int] = lambda: 0,
    *,
    spoiled: tuple[tuple[Service, str, int], ...],
    guarded: bool = True,
) -> Stage:
    """A stage. `spoiled` lists where the word's calls go: service, path, and how many of the calls, in this order."""
    secrets = door(estate)

    def spoil(skip: int = 0, **answer: Any) -> None:
        for service, path, calls in spoiled:
            if skip < calls:
                service.faults.add(path=path, skip=skip, **answer)
                return
            skip -= calls
        raise AssertionError("it makes more calls than the case says")

    def deny() -> None:
        for service, _, _ in spoiled:
            if service is not estate.clients:
                service.faults.turn("reject_admin")

    return Stage(
        client=client_of(adapter, estate, secrets),
        params=params,
        secrets=secrets,
        effects=effects,
        snapshot=lambda: facts_of(estate),
        calls=lambda: sum(sum(service.calls.values()) for service in {id(s): s for s, _, _ in spoiled}.values()),
        spoil=spoil,
        deny=deny if guarded else None,
        heal=estate.heal,
        hidden=lambda: hidden(estate),
    )


@contextmanager
def private_estate(**options: Any) -> Iterator[Estate]:
    """An estate for one scene."""
    with Estate.start(**{"rate": 1, "gateways": 0, "clients": 0, "restart_seconds": 0.01, **options}) as estate:
        yield estate


@contextmanager
def shared_estate(*, busy: bool = False) -> Iterator[Estate]:
    """An estate that only watchers use, healed after each scene. `busy` has clients at work, the other some traffic."""
    estate = _busy() if busy else _still()
    try:
        yield estate
    finally:
        estate.heal()


@functools.cache
def _still() -> Estate:
    estate = Estate.start(rate=1, gateways=1, clients=0)
    atexit.register(estate.stop)
    secret = read_current(estate.secrets_directory / "billing")
    assert secret is not None
    with httpx.Client(trust_env=False) as http:
        form = {"grant_type": "client_credentials"}
        answer = http.post(f"{estate.identity.address}/oauth2/token", data=form, auth=("billing", secret.value))
        sent = {"Authorization": f"Bearer {answer.json()['access_token']}"}
        assert http.get(f"{estate.gateways[0].address}/api/v1/findings", headers=sent).status_code == 200
    return estate


@functools.cache
def _busy() -> Estate:
    estate = Estate.start(rate=1, gateways=1, clients=3, calls_per_second=4)  # it lives as long as the run of tests
    atexit.register(estate.stop)
    assert estate.clients is not None
    while not all(member["kid"] for member in estate.clients.stats()["clients"].values()):
        pass
    return estate
