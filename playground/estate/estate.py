"""The whole estate in one process: identity service, gateways and clients on threads, in a directory of its own."""

import base64
import os
import secrets
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from playground.estate.clients import Clients
from playground.estate.clock import VirtualClock
from playground.estate.gateway import Gateway
from playground.estate.identity import Identity
from playground.estate.secret_files import current_version, point, write_version
from playground.estate.service import Admission, Service

APPLICATIONS = ("billing", "reports", "scanner")


class Ground:
    """The estate's directory: tokens and the key-encryption key (0600, made when missing), database, secret files."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.admin_token_file = directory / "admin-token"
        self.viewer_token_file = directory / "viewer-token"
        self.kek_file = directory / "key-encryption-key"
        self.secrets_directory = directory / "secrets"
        for folder in (directory, self.secrets_directory):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for file in (self.admin_token_file, self.viewer_token_file):
            _keep(file, secrets.token_urlsafe(32))
        _keep(self.kek_file, base64.b64encode(secrets.token_bytes(32)).decode())

    def admission(self) -> Admission:
        """Who may use the admin APIs."""
        return Admission(self.admin_token_file, self.viewer_token_file)

    def seed(self, identity: Identity, applications: Sequence[str]) -> None:
        """Give a new identity service its first key, and each application without a secret an API key."""
        if not any(key["state"] != "disabled" for key in identity.keys.all()):
            identity.keys.bootstrap()
        for name in applications:
            folder = self.secrets_directory / name
            if current_version(folder) is None:
                key, value = identity.api_keys.create(name, "seed", "read write", None)
                write_version(folder, "v1", key["id"], value)
                point(folder, "v1")


class Estate:
    """A running estate. Make it with `Estate.start(…)`, use it as a context manager or call `stop()`.

    Programs are reached as `identity`, `gateways` and `clients` (None without traffic): each has `address`, `faults`,
    `calls`, `stop()`, `start()` and `restart()` (same port, memory lost).
    """

    def __init__(self, clock: VirtualClock, ground: Ground, identity: Identity, gateways: list[Gateway]) -> None:
        self.clock = clock
        self.ground = ground
        self.identity = identity
        self.gateways = gateways
        self.clients: Clients | None = None
        self._temporary = False

    @classmethod
    def start(
        cls,
        *,
        rate: float = 1440.0,
        anchor: float | None = None,
        gateways: int = 3,
        clients: int = 12,
        calls_per_second: float = 20.0,
        applications: Sequence[str] = APPLICATIONS,
        token_life: float = 3600,
        jwks_max_age: float = 900,
        restart_seconds: float = 0.2,
        directory: Path | None = None,
        ports: Sequence[int] = (),
        expose_faults: bool = True,
        clock: VirtualClock | None = None,
    ) -> Self:
        """Start everything on loopback and return once it serves.

        `clients=0` leaves out the traffic. `token_life` and `jwks_max_age` are virtual seconds, `restart_seconds` and
        `calls_per_second` real. Without `directory` the state is temporary and goes with `stop()`; with one, a later
        start finds keys and secrets again. `ports` (identity, gateways…, clients) fixes the ports (0: a free one).
        """
        if clock is None:
            clock = VirtualClock(rate) if anchor is None else VirtualClock(rate, anchor)
        ground = Ground(directory or Path(tempfile.mkdtemp(prefix="estate-")))
        port = iter((*ports, *([0] * (gateways + 2))))
        identity = Identity(
            clock,
            ground.directory,
            ground.kek_file,
            ground.admission(),
            port=next(port),
            token_life=token_life,
            jwks_max_age=jwks_max_age,
            expose_faults=expose_faults,
        ).start()
        estate = cls(clock, ground, identity, [])
        estate._temporary = directory is None
        try:
            ground.seed(identity, applications)
            for number in range(1, gateways + 1):
                gateway = Gateway(
                    f"gateway-{number}",
                    clock,
                    identity.address,
                    ground.admission(),
                    port=next(port),
                    restart_seconds=restart_seconds,
                    expose_faults=expose_faults,
                )
                estate.gateways.append(gateway.start())
            if clients:
                estate.clients = Clients(
                    clock,
                    identity.address,
                    [gateway.address for gateway in estate.gateways],
                    ground.secrets_directory,
                    count=clients,
                    calls_per_second=calls_per_second,
                    port=next(port),
                    expose_faults=expose_faults,
                ).start()
        except BaseException:
            estate.stop()
            raise
        return estate

    @property
    def services(self) -> list[Service]:
        """All programs, in the order in which they stop."""
        return [*([self.clients] if self.clients else []), *self.gateways, self.identity]

    @property
    def secrets_directory(self) -> Path:
        """Where the clients' API keys live: `<application>/versions/<version>/value` and `<application>/current`."""
        return self.ground.secrets_directory

    @property
    def admin_token_file(self) -> Path:
        """The file with the admin token of identity service and gateways."""
        return self.ground.admin_token_file

    @property
    def admin_token(self) -> str:
        """The admin token itself."""
        return self.ground.admin_token_file.read_text().strip()

    @property
    def viewer_token(self) -> str:
        """A token that may look at the admin APIs but not change anything."""
        return self.ground.viewer_token_file.read_text().strip()

    def gateway(self, name: str) -> Gateway:
        """The gateway of that name."""
        return next(gateway for gateway in self.gateways if gateway.name == name)

    def stats(self) -> dict[str, Any]:
        """All counters: {"clients": … or None, "gateways": {name: …}, "keys": […], "api_keys": […]}."""
        return {
            "clients": self.clients.stats() if self.clients else None,
            "gateways": {gateway.name: gateway.stats() for gateway in self.gateways},
            "keys": self.identity.keys.all(),
            "api_keys": self.identity.api_keys.all(),
        }

    def signing_kid(self) -> str:
        """The kid of the current key."""
        return next(str(key["kid"]) for key in self.identity.keys.all() if key["state"] == "current")

    def describe(self) -> dict[str, Any]:
        """Addresses and file names as JSON, without anything secret."""
        return {
            "identity": self.identity.address,
            "gateways": {gateway.name: gateway.address for gateway in self.gateways},
            "clients": self.clients.address if self.clients else None,
            "admin_token_file": str(self.admin_token_file),
            "secrets_directory": str(self.secrets_directory),
            "rate": self.clock.rate,
            "anchor": self.clock.anchor,
        }

    def heal(self) -> None:
        """Clear the faults of every program."""
        for service in self.services:
            service.faults.clear()

    def stop(self) -> None:
        """Stop everything, and remove a temporary directory."""
        for service in self.services:
            service.stop()
        if self._temporary:
            shutil.rmtree(self.ground.directory, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _keep(file: Path, text: str) -> None:
    """Write a private file unless it is there; two programs that start together agree on the first one's."""
    fresh = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as stream:
        stream.write(text)
    try:
        os.link(fresh, file)
    except FileExistsError:
        return
    finally:
        fresh.unlink()
