"""The certificate that is really served: the wanted one, trusted, and long enough valid; by a real handshake."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from adapters import tls
from adapters.kubernetes.pem import fingerprint_of
from bot.contracts.adapter import Reading, Run
from bot.core.errors import Permanent, Transient
from tests.stand_ins.authority import Authority
from tests.stand_ins.stand_in import REFERENCE, door_to
from tests.stand_ins.tls_server import TlsServer


class Shop:
    """An endpoint, its authority, and what the adapter says of it."""

    def __init__(self, server: TlsServer, authority: Authority, folder: Path) -> None:
        self.server, self.authority = server, authority
        self.other = Authority("other")
        self.bundle = folder / "ca.pem"
        self.bundle.write_text(authority.pem)
        endpoints = {"shop": {"host": "127.0.0.1", "port": server.port, "ca": str(self.bundle)}}
        self.client = tls.Client(tls.Config.model_validate({"endpoints": endpoints}), door_to(self.other.pem))

    def run(self, seconds: float = 10) -> Run:
        log = logging.LoggerAdapter(logging.getLogger("tls"), {})
        secrets = door_to(self.other.pem)
        return Run("R-7", "token", "person:ada", secrets, datetime.now(UTC), log, time.monotonic() + seconds)

    def check(self, seconds: float = 10, **params: Any) -> Reading:
        p = tls.Served.Params.model_validate({"endpoint": "shop", **params})
        return tls.Served(self.client).measure(p, self.run(seconds))

    def serial(self) -> str:
        p = tls.ServedSerial.Params(endpoint="shop")
        return str(tls.ServedSerial(self.client).read(p, self.run()).value)


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    authority = Authority("test")
    with TlsServer(authority.issue()[1]) as server:
        yield Shop(server, authority, tmp_path)


def test_the_old_certificate_is_told_from_the_new_one(shop: Shop) -> None:
    old = shop.serial()
    assert not shop.check(not_serial=old.upper()).passed
    made, pair = shop.authority.issue()
    shop.server.serve(pair)
    told = shop.check(not_serial=old)
    assert told.passed
    assert f"{made.serial_number:x}" in told.evidence
    from cryptography.hazmat.primitives.hashes import SHA256

    assert shop.check(fingerprint=made.fingerprint(SHA256()).hex()).passed
    assert not shop.check(fingerprint="0" * 64).passed


def test_a_certificate_that_clients_refuse_never_passes(shop: Shop) -> None:
    stranger = shop.other.issue()[1]
    shop.server.serve(stranger)
    told = shop.check(min_left=0)
    assert told.passed is False
    assert "do not trust" in told.evidence
    assert shop.check(min_left=0, ca=REFERENCE).passed, "clients that trust the other authority take it"
    shop.bundle.write_text(shop.authority.pem + shop.other.pem)
    assert shop.check(min_left=0).passed, "both are trusted in the overlap"
    assert shop.serial()


def test_nothing_is_proved_by_authorities_that_still_hold_the_outgoing_one(shop: Shop) -> None:
    outgoing = fingerprint_of(shop.other.pem)
    shop.bundle.write_text(shop.authority.pem + shop.other.pem)
    told = shop.check(min_left=0, without=[outgoing])
    assert not told.passed
    assert "adapters.tls.endpoints.shop.ca" in told.evidence
    assert shop.check(min_left=0, without=[]).passed
    shop.bundle.write_text(shop.authority.pem)
    assert shop.check(min_left=0, without=[outgoing]).passed


def test_a_certificate_about_to_end_is_told(shop: Shop) -> None:
    assert shop.check(min_left=86400).passed
    assert not shop.check(min_left=11 * 86400).passed
    shop.server.serve(shop.authority.issue(timedelta(days=-1))[1])
    told = shop.check(min_left=0)
    assert told.passed is False
    assert "expired" in told.evidence


def test_what_cannot_be_seen_is_not_good(shop: Shop) -> None:
    shop.server.silent = True
    with pytest.raises(Transient):
        shop.check(seconds=0.2, min_left=0)
    shop.server.silent = False
    with pytest.raises(Permanent, match="not configured"):
        tls.Served(shop.client).measure(tls.Served.Params(endpoint="other", min_left=0), shop.run())
    shop.bundle.write_text("nothing")
    with pytest.raises(Permanent, match="no certificates"):
        shop.check(min_left=0)
    with pytest.raises(ValidationError):
        shop.check()


def test_an_endpoint_that_is_gone_may_come_back(shop: Shop) -> None:
    shop.server.__exit__()
    with pytest.raises(Transient, match="shake hands"):
        shop.check(min_left=0)
