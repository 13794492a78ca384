"""Another authority under clients that never stop: cert-manager issues, a server presents, a bundle is believed."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from adapters import tls
from adapters.kubernetes.pem import blocks_of, serial_of
from bot.contracts.adapter import Reading
from playground.cluster.cluster import Cluster
from tests.real.kubernetes.conftest import Bench
from tests.stand_ins.authority import Authority
from tests.stand_ins.tls_server import TlsServer

GROUP = "cert-manager.io/v1"


class Clients:
    """They shake hands again and again, each time with the bundle as it is mounted by then."""

    def __init__(self, port: int, bundle: Path) -> None:
        self.served: set[int] = set()
        self.refused: list[str] = []
        self.rounds = 0
        self._port, self._bundle = port, bundle
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._shake, name="clients")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _shake(self) -> None:
        while not self._stopping.wait(0.02):
            try:
                trusting = ssl.create_default_context(cadata=self._bundle.read_text())
                with (
                    socket.create_connection(("127.0.0.1", self._port), timeout=10) as plain,
                    trusting.wrap_socket(plain, server_hostname="127.0.0.1") as secured,
                ):
                    self.served.add(int(str((secured.getpeercert() or {})["serialNumber"]), 16))
            except OSError as error:
                self.refused.append(str(error))
            self.rounds += 1


class Shop:
    """A Certificate of a CA Issuer, a server that presents it, and the bundle that its clients believe."""

    def __init__(self, bench: Bench, folder: Path) -> None:
        self.bench, self.bundle = bench, folder / "ca.crt"
        self.old, self.new = Authority("old"), Authority("new")
        about = {"namespace": bench.namespace}
        bench.secret("authority", self._pair(self.old), type="kubernetes.io/tls")
        bench.secret("trust", {"ca.crt": self.old.pem})
        self.mount()
        spec = {
            "secretName": "shop",
            "ipAddresses": ["127.0.0.1"],
            "issuerRef": {"name": "own", "kind": "Issuer"},
            "privateKey": {"rotationPolicy": "Always"},
        }
        issuer = {"ca": {"secretName": "authority"}}
        bench.cluster.apply(
            {"apiVersion": GROUP, "kind": "Issuer", "metadata": {**about, "name": "own"}, "spec": issuer},
            {"apiVersion": GROUP, "kind": "Certificate", "metadata": {**about, "name": "shop"}, "spec": spec},
        )
        bench.until("certificate_ready", certificate="shop")
        self.server = TlsServer(self.issued())

    @staticmethod
    def _pair(authority: Authority) -> dict[str, str]:
        return {"tls.crt": authority.pem, "tls.key": authority.key_pem}

    def issued(self) -> str:
        """The certificate that cert-manager keeps, with its key."""
        held = self.bench.data("shop")
        return held["tls.crt"] + held["tls.key"]

    def mount(self) -> None:
        """The bundle reaches its clients, as the kubelet exchanges a mounted file."""
        fresh = self.bundle.with_suffix(".new")
        fresh.write_text(self.bench.data("trust")["ca.crt"])
        fresh.rename(self.bundle)

    def exchange_authority(self) -> None:
        """Somebody replaces what the Issuer signs with."""
        self.bench.write("authority", dict(self._pair(self.new)))

    def trust(self) -> None:
        self.bench.do("trust_ca", "keyturn-R-7-trust-0", **TRUST)
        self.mount()

    def renew(self) -> None:
        """Renewed, waited for, and loaded by the server."""
        done = self.bench.do("renew_certificate", "keyturn-R-7-renew-0", certificate="shop")
        after = done["previous_revision"]
        self.bench.until("certificate_ready", certificate="shop", after_revision=after)
        self.server.serve(self.issued())

    def distrust(self, fingerprint: str) -> None:
        self.bench.do("distrust_ca", "keyturn-R-7-distrust-0", bundle="secret/trust", fingerprint=fingerprint)
        self.mount()

    def served(self, **wanted: Any) -> Reading:
        """What the probe says of the server, which believes the same bundle."""
        endpoint = tls.Endpoint(host="127.0.0.1", port=self.server.port, ca=self.bundle)
        client = tls.Client(tls.Config(endpoints={"shop": endpoint}), self.bench.secrets)
        return tls.Served(client).measure(tls.Served.Params(endpoint="shop", **wanted), self.bench.run())


TRUST: dict[str, Any] = {
    "bundle": "secret/trust",
    "from_secret": "authority",
    "from_key": "tls.crt",
    "secret": "shop",
}


@pytest.fixture
def shop(bench: Bench, cert_manager: Cluster, tmp_path: Path) -> Iterator[Shop]:
    made = Shop(bench, tmp_path)
    with made.server:
        yield made


@pytest.fixture
def clients(shop: Shop) -> Iterator[Clients]:
    with Clients(shop.server.port, shop.bundle) as made:
        yield made


def rounds(shop: Shop, clients: Clients) -> None:
    """Let them shake hands some times more."""
    until = clients.rounds + 5
    shop.bench.cluster.wait(lambda: clients.rounds >= until, "the clients shake hands")


def test_no_client_is_failed_while_both_authorities_are_trusted(shop: Shop, clients: Clients) -> None:
    first = serial_of(shop.bench.data("shop")["tls.crt"])
    outgoing = {"secret": "shop", "from_secret": "authority", "from_key": "tls.crt"}
    assert shop.bench.fact("outgoing_ca", **outgoing) == []
    shop.exchange_authority()
    (old,) = shop.bench.fact("outgoing_ca", **outgoing)
    assert old in blocks_of(shop.old.pem), "which cert-manager itself has written beside the certificate"
    shop.trust()
    rounds(shop, clients)
    assert not shop.served(not_serial=first).passed
    shop.renew()
    second = serial_of(shop.bench.data("shop")["tls.crt"])
    rounds(shop, clients)
    assert shop.served(not_serial=first).passed
    shop.distrust(old)
    assert list(blocks_of(shop.bundle.read_text())) == list(blocks_of(shop.new.pem))
    rounds(shop, clients)
    told = shop.served(not_serial=first)
    assert told.passed, told.evidence
    assert shop.bench.fact("outgoing_ca", **outgoing) == []
    assert not clients.refused
    assert clients.served == {int(first, 16), int(second, 16)}
    left = shop.bench.undo("trust_ca", {}, "keyturn-R-7-trust-0", **TRUST)
    assert left is not None, "the certificate that is presented needs it"
    assert "a certificate of it may be in use" in left


def test_distrusting_before_the_renewal_fails_clients(shop: Shop, clients: Clients) -> None:
    """The control: these clients do notice."""
    (old,) = blocks_of(shop.old.pem)
    shop.exchange_authority()
    shop.trust()
    rounds(shop, clients)
    assert not clients.refused
    shop.distrust(old)
    rounds(shop, clients)
    assert clients.refused
    assert "certificate verify failed" in clients.refused[-1]
    assert "clients do not trust it" in shop.served(min_left=0).evidence


def test_renewing_before_the_new_authority_is_trusted_fails_clients(shop: Shop, clients: Clients) -> None:
    """The other control: the order of the runbook is what keeps them."""
    shop.exchange_authority()
    shop.renew()
    rounds(shop, clients)
    assert "certificate verify failed" in clients.refused[-1]
    shop.trust()
    count = len(clients.refused)
    rounds(shop, clients)
    assert len(clients.refused) <= count + 1, "at most the handshake that was under way"
