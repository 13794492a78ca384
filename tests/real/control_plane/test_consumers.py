"""The seed's rotation by hand, in plain calls: done in order nobody is refused, done in haste somebody is."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from adapters import clients, gateways
from playground.cluster.api import Api
from playground.cluster.cluster import Cluster
from playground.cluster.consumer import SIGNER, VERIFIER
from playground.cluster.consumers import Consumers
from playground.cluster.requests_proxy import SIGNS, VERIFIES, new_key, release, secret_name
from playground.estate.clock import VirtualClock

REPLICAS = 3


class Installation:
    """The two applications in a namespace, and the steps of the runbook on them."""

    def __init__(self, cluster: Cluster, namespace: str, consumers: Consumers) -> None:
        self.cluster, self.namespace, self.consumers = cluster, namespace, consumers
        self.secret = f"/api/v1/namespaces/{namespace}/secrets/{secret_name('demo')}"

    def write(self, **data: str | None) -> None:
        self.cluster.api.merge(self.secret, {"data": data})

    def add(self, version: str) -> None:
        self.write(**{f"key.{version}": new_key()})

    def activate(self, version: str) -> None:
        self.write(active=base64.b64encode(version.encode()).decode())

    def remove(self, version: str) -> None:
        self.write(**{f"key.{version}": None})

    def restart(self, *applications: str) -> None:
        names = [f"deployment/demo-{each}" for each in applications]
        self.cluster.kubectl("-n", self.namespace, "rollout", "restart", *names)
        for name in names:
            self.cluster.kubectl("-n", self.namespace, "rollout", "status", name, "--timeout=90s")

    def rounds(self, count: int = 3) -> None:
        """Have every token presented so many times more."""
        until = self.consumers.stats()["rounds"] + count
        self.cluster.wait(lambda: self.consumers.stats()["rounds"] >= until, "the tokens are presented")

    def until(self, holds: Callable[[dict[str, Any]], Any], what: str) -> None:
        self.cluster.wait(lambda: holds(self.consumers.stats()), what)


@pytest.fixture
def install(cluster: Cluster, namespace: str) -> Callable[..., Any]:
    """`with install(life=seconds) as installation`: both applications up, devices calling."""
    if not cluster.ours:
        pytest.skip("real pods of somebody's own cluster have no process of ours beside them")

    @contextmanager
    def installed(life: float, devices: int = 24) -> Iterator[Installation]:
        cluster.apply(*release(namespace, life=life, replicas=REPLICAS))
        api = Api(cluster.server, cluster.ca, cluster.admin_token)
        with Consumers(VirtualClock(), api, namespace, life=life, devices=devices) as consumers:
            made = Installation(cluster, namespace, consumers)
            made.until(lambda _: len(consumers.pods.ready(VERIFIER)) == REPLICAS, "all verifiers are up")
            made.until(lambda _: len(consumers.pods.ready(SIGNER)) == 1, "the signer is up")
            made.rounds()
            yield made

    return installed


def test_in_order_nobody_is_refused(install: Callable[..., Any]) -> None:
    life = 4.0
    with install(life) as installation:
        consumers: Consumers = installation.consumers
        clock = consumers.clock
        installation.add("v2")
        installation.restart(SIGNS, VERIFIES)
        assert all(pod.keys == ["v1", "v2"] for pod in consumers.pods.all() if pod.ready)
        installation.activate("v2")
        installation.restart(SIGNS)
        flipped = clock.now()
        installation.until(lambda stats: "v2" in stats["by_kid"], "tokens signed by v2 are presented")
        assert any(each["kid"] == "v1" for each in consumers.stats()["clients"].values()), "old tokens are alive"
        installation.cluster.wait(lambda: clock.now() > flipped + life, "every token signed by v1 has expired")
        installation.remove("v1")
        installation.restart(VERIFIES)
        installation.until(lambda _: all(pod.keys == ["v2"] for pod in consumers.pods.ready(VERIFIER)), "v1 is unknown")
        installation.rounds()
        stats = consumers.stats()
        assert stats["refusals"] == {}
        assert stats["failures_total"] == 0
        assert stats["logins_total"] > 100
        assert stats["by_kid"]["v1"] < flipped + life < stats["by_kid"]["v2"]


def test_taking_the_old_key_away_too_early_refuses_live_tokens(install: Callable[..., Any]) -> None:
    with install(life=60.0) as installation:
        installation.add("v2")
        installation.restart(SIGNS, VERIFIES)
        installation.activate("v2")
        installation.restart(SIGNS)
        assert installation.consumers.refused == 0
        installation.remove("v1")
        installation.restart(VERIFIES)
        installation.until(lambda stats: stats["refusals"].get("unknown_kid", {}).get("v1"), "v1's tokens are refused")
        assert set(installation.consumers.stats()["refusals"]) == {"unknown_kid"}


def test_signing_with_a_key_that_a_replica_does_not_know_refuses_fresh_tokens(install: Callable[..., Any]) -> None:
    with install(life=12.0) as installation:
        installation.add("v2")
        installation.activate("v2")
        installation.restart(SIGNS)
        installation.until(lambda stats: stats["refusals"].get("unknown_kid", {}).get("v2"), "v2's tokens are refused")
        assert "v1" not in installation.consumers.stats()["refusals"]["unknown_kid"]


def test_a_process_comes_and_goes_with_its_pod_and_shows_no_secret(install: Callable[..., Any]) -> None:
    with install(life=60.0, devices=4) as installation:
        pods = installation.consumers.pods.all()
        secret = installation.cluster.api.get(installation.secret)["data"]["key.v1"]
        value = base64.b64decode(secret)
        assert len({pod.process.pid for pod in pods}) == REPLICAS + 1
        for pod in pods:
            for place in ("cmdline", "environ"):
                shown = Path(f"/proc/{pod.process.pid}/{place}").read_bytes()
                assert value not in shown
                assert secret.encode() not in shown
            assert _resident(pod.process.pid) < 40
        answer = httpx.get(f"{installation.consumers.address}/stats", params={"over": "60"}).text
        assert value.decode() not in answer
        assert {"counting_since", "by_kid", "by_api_key", "window", "clients"} <= set(json.loads(answer))
        assert _as_adapters_read(installation.consumers)
        victim = installation.consumers.pods.ready(VERIFIER)[0]
        pid = victim.process.pid
        os.kill(pid, 9)
        installation.until(lambda _: victim.restarts == 1 and victim.ready, "a killed process is started again")
        assert victim.process.pid != pid
        installation.cluster.kubectl("-n", installation.namespace, "delete", "pod", victim.name)
        installation.until(lambda _: victim.process.poll() is not None, "it ended with its pod")
        installation.until(lambda _: len(installation.consumers.pods.ready(VERIFIER)) == REPLICAS, "another came")
        every = [pod.process for pod in installation.consumers.pods.all()]
    assert all(process.poll() is not None for process in every)


def test_a_signer_whose_key_is_gone_does_not_become_ready(install: Callable[..., Any]) -> None:
    with install(life=60.0, devices=4) as installation:
        installation.activate("v9")
        command = ("-n", installation.namespace, "rollout", "restart", f"deployment/demo-{SIGNS}")
        installation.cluster.kubectl(*command)

        def crashing() -> bool:
            text = installation.cluster.kubectl("-n", installation.namespace, "get", "pods", "-l", f"app={SIGNS}")
            return "CrashLoopBackOff" in text and "Running" in text

        installation.cluster.wait(crashing, "the new signer crashes while the old one serves")
        installation.rounds()
        assert installation.consumers.refused == 0


def _as_adapters_read(consumers: Consumers) -> bool:
    """The adapters that count for a rotation read both pages, and see the same key in use."""
    told = clients.Stats.model_validate(httpx.get(f"{consumers.address}/stats", params={"over": "60"}).json())
    counted = httpx.get(f"{consumers.address}/verifiers/stats", params={"over": "60"}).json()
    verified = gateways.Stats.model_validate(counted)
    metrics = httpx.get(f"{consumers.address}/metrics").text
    assert verified.kids == ["v1"]
    assert set(told.by_kid) == set(verified.by_kid) == {"v1"}
    assert verified.by_kid["v1"].refused == verified.window.refused == told.window.failures == 0
    assert verified.window.accepted >= told.window.logins > 0
    return 'requests_with_token_total{verdict="ok"}' in metrics


def _resident(pid: int) -> float:
    """Megabytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024
