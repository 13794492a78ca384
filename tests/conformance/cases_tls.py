"""The cases of TLS, on a server of the test's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from adapters import tls
from tests.conformance.kit import Case, Stage
from tests.stand_ins.authority import Authority
from tests.stand_ins.stand_in import REFERENCE, door_to
from tests.stand_ins.tls_server import TlsServer


@contextmanager
def served(**params: Any) -> Iterator[Stage]:
    authority = Authority("test")
    _, pair = authority.issue()
    with TlsServer(pair) as server:
        secrets = door_to(authority.pem)
        endpoints = {"shop": {"host": "127.0.0.1", "port": server.port}}
        client = tls.Client(tls.Config.model_validate({"endpoints": endpoints}), secrets)
        yield Stage(client=client, params={"endpoint": "shop", **params}, secrets=secrets)


CASES = [
    Case("tls.served", partial(served, min_left=86400, ca=REFERENCE), network=False, credentials=False),
    Case("tls.served_serial", served, network=False, credentials=False),
]
