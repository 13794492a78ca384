"""Errors in logs, read through the API server from a node's own server; a digit that looks like one is none."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from adapters.kubernetes.logs import fields_of, matches
from tests.real.kubernetes.conftest import Bench
from tests.stand_ins.kubelet import Kubelet

SECRET = "hunter2-in-a-log-line"


@pytest.fixture
def kubelet(bench: Bench) -> Iterator[Kubelet]:
    """A node whose logs the test writes, and one pod on it."""
    with Kubelet() as kubelet:
        name = f"logs-{uuid.uuid4().hex[:6]}"
        kubelet.join(bench.cluster, name)
        try:
            bench.api.create(pod(bench, name))

            def runs() -> bool:
                told = bench.api.get(bench.path("pods", "web"))["status"].get("containerStatuses") or []
                return any("running" in one.get("state", {}) for one in told)

            bench.cluster.wait(runs, "the pod runs")
            yield kubelet
        finally:
            bench.api.delete(f"/api/v1/nodes/{name}")


def pod(bench: Bench, node: str) -> dict[str, Any]:
    about = {"name": "web", "namespace": bench.namespace, "labels": {"app": "web"}}
    spec = {"nodeName": node, "containers": [{"name": "web", "image": "none"}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": about, "spec": spec}


def test_lines_whose_fields_match_are_counted(bench: Bench, kubelet: Kubelet) -> None:
    lines = [
        json.dumps({"level": "info", "msg": f"took 401 ms and 500 bytes {SECRET}"}),
        json.dumps({"level": "error", "msg": SECRET}),
        'time=2026-11-26 level=error msg="it failed" status=401',
        "E1126 10:00:00.000000       1 auth.go:42] it failed",
        "just a line with an error in it",
    ]
    kubelet.logs["web/web"] = "\n".join(lines)
    told = bench.check("log_errors", selector="app=web", below=4)
    assert told.passed
    assert told.evidence.startswith("3 of 5 lines over 5m match, in 1 pods; 1 lines could not be read")
    assert SECRET not in told.evidence
    assert not bench.check("log_errors", selector="app=web", below=3).passed
    assert kubelet.asked[-1]["sinceSeconds"] == ["300"]
    only = bench.check("log_errors", selector="app=web", below=1, where={"status": [401, 403]}, over=60)
    assert only.passed is False
    assert only.evidence.startswith("1 of 5")


@pytest.mark.parametrize(
    ("line", "where"),
    [
        ('E1126 10:00:00.000000       1 authn.go:63] "Unable to authenticate the request" err="token expired"', "auth"),
        ("W1126 10:00:00.000000       1 server.go:9] request refused: Unauthorized", "auth"),
        ('{"level":"warn","msg":"unauthorized","code":401}', "auth"),
        ("time=10:00 level=warn path=/login status_code=401", "auth"),
        ('{"http":{"response":{"status_code":403}},"path":"/login"}', "auth"),
        ('{"level":"error","msg":"remote error: tls: unknown certificate authority"}', "handshake"),
        ("E1126 10:00:00.000000       1 server.go:9] http: TLS handshake error from 10.0.0.1:4711: EOF", "handshake"),
    ],
)
def test_who_is_refused_is_counted_however_it_is_told(bench: Bench, kubelet: Kubelet, line: str, where: str) -> None:
    kubelet.logs["web/web"] = "\n".join(['{"level":"info","msg":"certificate and token read","status":200}', line])
    told = bench.check("log_errors", selector="app=web", below=1, where=where)
    assert told.passed is False
    assert told.evidence.startswith("1 of 2")


def test_lines_without_the_fields_that_are_looked_at_prove_nothing(bench: Bench, kubelet: Kubelet) -> None:
    kubelet.logs["web/web"] = "\n".join(['{"level":"info","took":3}', '{"level":"info","code":401}'])
    told = bench.check("log_errors", selector="app=web", below=1, where={"status": [401, 403]})
    assert told.passed is False
    assert "none of 2 lines has the fields" in told.evidence
    kubelet.logs["web/web"] += '\n{"status":200}'
    told = bench.check("log_errors", selector="app=web", below=1, where={"status": [401, 403]})
    assert told.passed
    assert "2 lines have none of the fields" in told.evidence


def test_what_cannot_be_read_is_not_good(bench: Bench, kubelet: Kubelet) -> None:
    assert not bench.check("log_errors", selector="app=none", below=1).passed
    assert bench.check("log_errors", selector="app=web", below=1).passed, "a silent pod has no errors"
    kubelet.logs["web/web"] = "some text\nsome more"
    told = bench.check("log_errors", selector="app=web", below=1)
    assert told.passed is False
    assert "none of 2 lines" in told.evidence


@pytest.mark.parametrize(
    ("line", "where", "yes"),
    [
        ('{"level":"ERROR"}', {"level": "error"}, True),
        ('{"http":{"status":403}}', {"http.status": [401, 403]}, True),
        ('{"http.status":403}', {"http.status": 403}, True),
        ('{"level":"error","status":200}', {"level": "error", "status": 401}, False),
        ('{"level":', {"level": "error"}, False),
        ("[1, 2]", {"level": "error"}, False),
        ("status 401", {"status": 401}, False),
        ('level=warn msg="level=error"', {"level": "error"}, False),
    ],
)
def test_fields_are_matched_and_not_text(line: str, where: dict[str, Any], yes: bool) -> None:
    fields = fields_of(line)
    assert (fields is not None and matches(fields, where)) == yes
