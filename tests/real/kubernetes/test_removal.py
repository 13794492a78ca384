"""A version taken away from consumers that read the Secret at their start: they are restarted, there and back."""

from __future__ import annotations

import pytest

from adapters.kubernetes.logs import refuses
from adapters.kubernetes.versions import RemoveKey
from bot.contracts.adapter import Absent, Present
from bot.core.errors import Permanent
from tests.real.control_plane.manifests import deployment
from tests.real.kubernetes.conftest import Bench

WORKLOADS = ["deployment/signer", "deployment/verifier"]


def make(bench: Bench) -> None:
    bench.secret("admin", {"active": "v2", "key.v1": "first-key-value-77aa", "key.v2": "second-key-value-31bc"})
    bench.cluster.apply(*(deployment(bench.namespace, one.partition("/")[2]) for one in WORKLOADS))
    for one in WORKLOADS:
        bench.until("rolled_out", workload=one)


def generations(bench: Bench) -> list[int]:
    paths = [bench.path("deployments.apps", one.partition("/")[2]) for one in WORKLOADS]
    return [int(bench.api.get(path)["metadata"]["generation"]) for path in paths]


def test_consumers_are_restarted_once_with_it_and_once_back(bench: Bench) -> None:
    make(bench)
    before = generations(bench)
    given = {"secret": "admin", "version": "v1", "workloads": WORKLOADS}
    assert isinstance(bench.observe("remove_key", **given), Absent)
    done = bench.do("remove_key", **given)
    assert bench.do("remove_key", **given) == done
    assert isinstance(bench.observe("remove_key", **given), Present)
    assert generations(bench) == [number + 1 for number in before]
    assert set(bench.data("admin")) == {"active", "key.v2", "retired.v1"}
    bench.undo("remove_key", done, **given)
    bench.undo("remove_key", done, **given)
    assert generations(bench) == [number + 2 for number in before]
    assert set(bench.data("admin")) == {"active", "key.v1", "key.v2"}


def test_dead_between_the_secret_and_the_restarts_it_is_not_done(bench: Bench) -> None:
    make(bench)
    before = generations(bench)
    bench.do("remove_key", secret="admin", version="v1", workloads=WORKLOADS[:1])
    given = {"secret": "admin", "version": "v1", "workloads": WORKLOADS}
    assert isinstance(bench.observe("remove_key", **given), Absent)
    bench.do("remove_key", **given)
    assert generations(bench) == [number + 1 for number in before]
    bench.undo("remove_key", {}, **given)
    assert generations(bench) == [number + 2 for number in before]


def test_what_never_happened_restarts_nobody_on_the_way_back(bench: Bench) -> None:
    make(bench)
    before = generations(bench)
    bench.undo("remove_key", {}, secret="admin", version="v1", workloads=WORKLOADS)
    assert generations(bench) == before


def test_the_version_in_use_goes_in_an_emergency_only(bench: Bench) -> None:
    make(bench)
    with pytest.raises(Permanent, match="is the version in use"):
        bench.do("remove_key", secret="admin", version="v2")
    bench.do("remove_key", secret="admin", version="v2", emergency=True)
    assert set(bench.data("admin")) == {"active", "key.v1", "retired.v2"}
    bench.undo("remove_key", {}, secret="admin", version="v2", emergency=True)
    assert set(bench.data("admin")) == {"active", "key.v1", "key.v2"}


def test_it_needs_the_workloads_that_it_restarts_and_no_others() -> None:
    known = {"namespace": "shop", "secret": "admin", "version": "v1"}
    assert RemoveKey.needs(known) == ("secrets: get, patch @ default/shop/admin",)
    needed = RemoveKey.needs({**known, "workloads": ["deployment/web"]})
    assert "deployments.apps: get, patch @ default/shop/web" in needed
    assert not any("statefulsets" in text for text in needed)


def test_a_duration_is_a_default_too(bench: Bench) -> None:
    bench.cluster.apply(deployment(bench.namespace, "web"))
    assert bench.fact("setting", workload="deployment/web", variable="TTL", default="90d") == 90 * 86400
    assert bench.fact("setting", workload="deployment/web", variable="TTL", default=60) == 60


def test_lines_that_tell_of_a_refusal() -> None:
    for fields in ({"status": 401}, {"status": "403"}, {"msg": "authentication failed"}, {"error": "Unauthorized"}):
        assert refuses(fields)
    for fields in ({"status": 200}, {"count": 401}, {"msg": "401 items sold"}, {"level": "error"}):
        assert not refuses(fields)
