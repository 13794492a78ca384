"""TLS: the certificate that an endpoint really serves, whoever renewed it; only endpoints of the configuration."""

from __future__ import annotations

import hashlib
import socket
import ssl
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator

from adapters._fields import Name, Reference
from bot.contracts.adapter import Fact, Known, Model, Probe, Reading, Run, Secrets
from bot.core import duration
from bot.core.errors import Permanent, Transient
from bot.core.secret import SecretReference

LONGEST_CALL = 10.0
LARGEST_BUNDLE = 4 * 1024 * 1024

Host = Annotated[str, Field(pattern=r"^[A-Za-z0-9](?:[A-Za-z0-9.:-]{0,251}[A-Za-z0-9])?$")]
Fingerprint = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Serial = Annotated[str, Field(pattern=r"^[0-9a-fA-F]{1,40}$")]


class Endpoint(Model):
    """One server; clients know it by `server_name`, which is its host where none is given."""

    host: Host
    port: Annotated[int, Field(ge=1, le=65535)] = 443
    server_name: Host | None = None
    ca: Path | None = None
    """Authorities in PEM; those of the machine when none are given."""


class Config(Model):
    """Endpoints by name; no other address is ever contacted."""

    endpoints: dict[Name, Endpoint] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Shown:
    """What a server showed in its handshake. `untrusted` says why clients would refuse it, empty when they do not."""

    serial: str
    fingerprint: str
    ends: datetime
    untrusted: str = ""


class Client:
    """Shakes hands with the configured endpoints; nothing is sent beyond that."""

    def __init__(self, config: Config, secrets: Secrets) -> None:
        self._endpoints, self._secrets = config.endpoints, secrets

    def access(self, permissions: Collection[str], run: Run) -> Collection[str]:
        """Nothing is needed to see what everybody is shown."""
        return ()

    def look(self, run: Run, name: str, ca: str | None = None) -> Shown:
        """The certificate that the endpoint serves, trusted or not. `Transient` when it cannot be had."""
        endpoint = self._known(name)
        try:
            return _shake(run, endpoint, self._trusting(endpoint, ca), "")
        except ssl.SSLCertVerificationError as error:
            anyone = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            anyone.check_hostname, anyone.verify_mode = (
                False,
                ssl.CERT_NONE,
            )  # it only looks
            try:
                return _shake(run, endpoint, anyone, error.verify_message or "its certificate is not trusted")
            except OSError:
                raise _lost(name, endpoint) from None
        except OSError:
            raise _lost(name, endpoint) from None

    def trusted(self, name: str, ca: str | None = None) -> set[str]:
        """Fingerprints of the authorities by which `look` judges the endpoint."""
        found = self._trusting(self._known(name), ca).get_ca_certs(binary_form=True)
        return {hashlib.sha256(raw).hexdigest() for raw in found}

    def _known(self, name: str) -> Endpoint:
        if name not in self._endpoints:
            raise Permanent(f"the endpoint {name} is not configured", "list it under adapters.tls.endpoints")
        return self._endpoints[name]

    def _trusting(self, endpoint: Endpoint, ca: str | None) -> ssl.SSLContext:
        hint = "name a file, or a reference to a value, of certificates in PEM"
        try:
            if ca is not None:
                raw = self._secrets.read(SecretReference.parse(ca)).reveal()
            elif endpoint.ca is not None:
                raw = endpoint.ca.read_bytes()[: LARGEST_BUNDLE + 1]
            else:
                return ssl.create_default_context()
        except OSError as error:
            raise Permanent(f"the authorities {endpoint.ca} cannot be read ({error.strerror})", hint) from None
        try:
            if len(raw) > LARGEST_BUNDLE:
                raise ValueError
            return ssl.create_default_context(cadata=raw.decode("ascii"))
        except (ssl.SSLError, ValueError):
            raise Permanent("the authorities are no certificates in PEM", hint) from None


def _lost(name: str, endpoint: Endpoint) -> Transient:
    return Transient(f"the endpoint {name} ({endpoint.host}:{endpoint.port}) did not shake hands")


def _shake(run: Run, endpoint: Endpoint, context: ssl.SSLContext, untrusted: str) -> Shown:
    from cryptography.x509 import load_der_x509_certificate

    patience = min(LONGEST_CALL, run.remaining())
    with (
        socket.create_connection((endpoint.host, endpoint.port), timeout=patience) as plain,
        context.wrap_socket(plain, server_hostname=endpoint.server_name or endpoint.host) as secured,
    ):
        raw = secured.getpeercert(binary_form=True)
    try:
        found = load_der_x509_certificate(raw or b"")
    except ValueError:
        raise Transient("the certificate that is served cannot be read") from None
    return Shown(
        f"{found.serial_number:x}", hashlib.sha256(raw or b"").hexdigest(), found.not_valid_after_utc, untrusted
    )


class Served(Probe):
    """The endpoint serves a certificate that its clients trust, and it is the one that is wanted.

    `fingerprint` is the SHA-256 of the one that must be served, `not_serial` the number of the one that must be gone.
    Whom clients trust is what the endpoint's `ca` says: have it be the file that they read, or a copy kept in step.
    """

    class Params(Model):
        endpoint: Name
        fingerprint: Fingerprint | None = None
        not_serial: Serial | None = None
        min_left: Annotated[float, Field(ge=0)] | None = None
        """Seconds that the certificate must still be valid."""
        ca: Reference | None = None
        """A reference to the authorities in PEM that clients trust, instead of those of the configuration."""
        without: Annotated[list[Fingerprint], Field(max_length=100)] = Field(default_factory=list)
        """SHA-256 of authorities that clients trust no longer; it fails while those that it is judged by hold one."""

        @model_validator(mode="after")
        def _something(self) -> Any:
            if self.fingerprint is None and self.not_serial is None and self.min_left is None:
                raise ValueError("give fingerprint, not_serial or min_left: say which certificate is wanted")
            return self

    client: Client

    def measure(self, p: Params, run: Run) -> Reading:
        shown = self.client.look(run, p.endpoint, p.ca)
        left = shown.ends - run.now
        wrong = [f"clients do not trust it: {shown.untrusted}"] if shown.untrusted else []
        if left <= timedelta(0):
            wrong.append("it has expired")
        if p.fingerprint is not None and shown.fingerprint != p.fingerprint:
            wrong.append("it is another one than is wanted")
        if p.not_serial is not None and int(shown.serial, 16) == int(p.not_serial, 16):
            wrong.append("it is still the old one")
        if p.min_left is not None and left < timedelta(seconds=p.min_left):
            wrong.append(f"it has less left than {duration.show(timedelta(seconds=p.min_left))}")
        if p.without and self.client.trusted(p.endpoint, p.ca) & set(p.without):
            wrong.append(f"it is judged by authorities (adapters.tls.endpoints.{p.endpoint}.ca) with the outgoing one")
        told = f"{p.endpoint} serves serial {shown.serial}, valid until {shown.ends:%Y-%m-%d %H:%M} UTC"
        return Reading("; ".join([told, *wrong]), passed=not wrong)


class ServedSerial(Fact):
    """The serial number, in hex, of the certificate that the endpoint serves, trusted or not."""

    class Params(Model):
        endpoint: Name

    client: Client

    def read(self, p: Params, run: Run) -> Known:
        shown = self.client.look(run, p.endpoint)
        doubt = f", which clients do not trust: {shown.untrusted}" if shown.untrusted else ""
        return Known(shown.serial, f"the handshake of {p.endpoint}{doubt}")
