"""What words of a runbook may be written shorter: a duration as a default, and `auth` for refused logins."""

from __future__ import annotations

from adapters.kubernetes.logs import refuses
from tests.real.control_plane.manifests import deployment
from tests.real.kubernetes.conftest import Bench


def test_a_duration_is_a_default_too(bench: Bench) -> None:
    bench.cluster.apply(deployment(bench.namespace, "web"))
    assert bench.fact("setting", workload="deployment/web", variable="TTL", default="90d") == 90 * 86400
    assert bench.fact("setting", workload="deployment/web", variable="TTL", default=60) == 60


def test_lines_that_tell_of_a_refusal() -> None:
    for fields in ({"status": 401}, {"status": "403"}, {"msg": "authentication failed"}, {"error": "Unauthorized"}):
        assert refuses(fields)
    for fields in ({"status": 200}, {"count": 401}, {"msg": "401 items sold"}, {"level": "error"}):
        assert not refuses(fields)
