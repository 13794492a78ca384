"""Health pages of whatever answers over HTTP, asked in a way that cannot be turned against our own network."""

from __future__ import annotations

import ipaddress
import socket
import time
from collections.abc import Collection
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import httpx
from pydantic import Field, IPvAnyNetwork

from adapters._fields import Address
from adapters._web import open_http
from bot.contracts.adapter import Model, Probe, Reading, Run, Secrets
from bot.core.errors import Permanent, Transient

LONGEST_CALL = 5.0
LARGEST_ANSWER = 64 * 1024
IP = ipaddress.IPv4Address | ipaddress.IPv6Address
# These carry an IPv4 address inside, so that a public one may lead to a private one.
_TUNNELS = tuple(ipaddress.ip_network(net) for net in ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32"))

Host = Annotated[
    str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?(:[0-9]{1,5})?$|^\[[0-9a-f:]+\](:[0-9]{1,5})?$")
]


class Config(Model):
    """Hosts that may be asked, `status.example.com` or `10.1.2.3:8080`, in small letters.

    Addresses that are not public (private, loopback, link-local …) are refused even then, unless a network of
    `private` contains them.
    """

    allowed: list[Host] = Field(default_factory=list)
    private: list[IPvAnyNetwork] = Field(default_factory=list)


class Client:
    """Resolves a name once and connects to that very address. No redirects, 5 seconds, 64 KiB, GET or HEAD."""

    def __init__(self, config: Config, secrets: Secrets) -> None:
        self._allowed, self._private = frozenset(config.allowed), tuple(config.private)
        self._http: httpx.Client | None = None

    def access(self, permissions: Collection[str], run: Run) -> Collection[str]:
        """Health pages need no permission."""
        return ()

    def status(self, run: Run, url: str, method: Literal["GET", "HEAD"]) -> int:
        """The status of the answer; `Permanent` when the address may not be asked, `Transient` when nobody answers."""
        parts = urlsplit(url)
        host, port = (parts.hostname or "").rstrip("."), parts.port or (443 if parts.scheme == "https" else 80)
        shown = f"[{host}]" if ":" in host else host
        if not {shown, f"{shown}:{port}"} & self._allowed:
            raise Permanent("this host may not be asked", "list it under adapters.http.allowed")
        address = self._resolve(host, port)
        end = time.monotonic() + min(LONGEST_CALL, run.remaining())
        target = httpx.URL(url).copy_with(host=str(address), port=port)
        headers = {"Host": parts.netloc, "Accept": "*/*"}
        # The certificate is checked against the name, although the connection goes to the address.
        extensions: dict[str, Any] = {"sni_hostname": host}
        try:
            with self._client().stream(
                method,
                target,
                headers=headers,
                extensions=extensions,
                timeout=min(LONGEST_CALL, run.remaining()),
                follow_redirects=False,
            ) as response:
                size = 0
                for chunk in response.iter_raw():
                    size += len(chunk)
                    if size > LARGEST_ANSWER:
                        raise Permanent(f"{shown} sent more than {LARGEST_ANSWER} bytes", "ask a smaller page")
                    if time.monotonic() > end:
                        raise Transient(f"{shown} did not finish its answer in time")
                return response.status_code
        except httpx.TimeoutException:
            raise Transient(f"{shown} did not answer in time") from None
        except (httpx.HTTPError, httpx.InvalidURL):
            raise Transient(f"{shown} cannot be reached, or gave no proper answer") from None

    def _resolve(self, host: str, port: int) -> IP:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            raise Transient(f"the name {host} cannot be resolved") from None
        addresses = [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
        # One forbidden address among good ones is no accident.
        if not addresses or not all(self._may_be_asked(address) for address in addresses):
            raise Permanent(
                f"{host} leads to an address that is not public", "list its network under adapters.http.private"
            )
        return addresses[0]

    def _may_be_asked(self, address: IP) -> bool:
        inner = getattr(address, "ipv4_mapped", None) or address
        if any(inner.version == net.version and inner in net for net in self._private):
            return True
        odd = inner.is_multicast or inner.is_reserved or getattr(inner, "is_site_local", False)
        if odd or any(inner.version == net.version and inner in net for net in _TUNNELS):
            return False
        return bool(inner.is_global)

    def _client(self) -> httpx.Client:
        if self._http is None:
            self._http = open_http()
        return self._http


class Healthy(Probe):
    """A page answers with the status that it should."""

    class Params(Model):
        url: Address
        status: Annotated[int, Field(ge=100, le=599)] = 200
        method: Literal["GET", "HEAD"] = "GET"

    client: Client

    def measure(self, p: Params, run: Run) -> Reading:
        found = self.client.status(run, p.url, p.method)
        return Reading(f"{p.url} answered {found}, {p.status} expected", passed=found == p.status)
