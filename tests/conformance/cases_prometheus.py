"""The cases of Prometheus; the tests of the adapter itself meet a real one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from adapters import prometheus
from tests.conformance.kit import Case, Stage
from tests.stand_ins.prometheus import Prometheus
from tests.stand_ins.stand_in import REFERENCE, door_to, stage_on

TOKEN = "prometheus-proxy-token-5f1e"
TOTAL = "http_requests_total"


@contextmanager
def ask(**params: Any) -> Iterator[Stage]:
    secrets = door_to(TOKEN)
    with Prometheus(TOKEN) as service:
        servers = {"main": {"url": service.address, "bearer_token": REFERENCE}}
        client = prometheus.Client(prometheus.Config.model_validate({"servers": servers}), secrets)
        yield stage_on(service, client, {"server": "main", **params}, secrets)


CASES = [
    Case("prometheus.success_rate", partial(ask, good=f'{TOTAL}{{code!~"5.."}}', total=TOTAL)),
    Case("prometheus.error_rate", partial(ask, query="job:errors:ratio5m", below=1)),
    Case("prometheus.auth_failures", partial(ask, failures=f'{TOTAL}{{code="401"}}', total=TOTAL, below=1000)),
]
