"""A cluster that gives tokens less time than asked: what is recorded, shown and waited for is what it gave."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from adapters.kubernetes.claims import claims_of
from adapters.kubernetes.tokens import EXPIRES, LIFE
from bot.contracts.adapter import Present
from bot.core.secret import Secret
from playground.cluster.cluster import Cluster
from tests.real.kubernetes.conftest import Bench

API_SERVER = ("--service-account-max-token-expiration=24h",)
DAY, QUARTER = timedelta(days=1), timedelta(days=90)


@pytest.fixture
def capped(own_cluster: Cluster, tmp_path: Path) -> Iterator[Bench]:
    """A namespace with a service account and a Secret for its tokens."""
    with own_cluster.namespace() as name:
        bench = Bench(own_cluster, name, own_cluster.kubeconfig(tmp_path / "kubeconfig"))
        about = {"name": "worker", "namespace": name}
        bench.api.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": about})
        bench.secret("worker", {"active": "v1", "token.v1": "the-token-before"})
        yield bench


def test_what_counts_is_what_the_cluster_gave(capped: Bench) -> None:
    to = f"kubernetes:default/{capped.namespace}/worker/token."
    asked = {"service_account": "worker", "expires_in": QUARTER.total_seconds(), "to": to}
    made = capped.do("issue_token", **asked)
    exp = datetime.fromtimestamp(claims_of(Secret(capped.data("worker")["token.v2"]))["exp"], UTC)
    assert timedelta(0) < exp - datetime.now(UTC) <= DAY, "this cluster has cut it"
    assert made["life"] == DAY.total_seconds()
    assert datetime.fromisoformat(made["expires_at"]) == exp
    notes = capped.api.get(capped.path("secrets", made["token_id"]))["metadata"]["annotations"]
    assert (notes[EXPIRES], notes[LIFE]) == (exp.isoformat(), "86400"), "for whoever looks after a crash"
    assert capped.observe("issue_token", **asked) == Present(made)
    assert capped.fact("token_expiry", secret=made["secret"]) == exp.isoformat()
    (found,) = capped.found("service_account_tokens")
    assert found.expires_at == exp, "the inventory reminds of the real end"
