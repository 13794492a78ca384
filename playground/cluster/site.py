"""The playground's cluster: a control plane, the release with its consumers, and a Prometheus that counts refusals."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playground.cluster.api import Api
from playground.cluster.build import Missing, build
from playground.cluster.cluster import Cluster
from playground.cluster.consumers import Consumers
from playground.cluster.program import Program
from playground.cluster.requests_proxy import PART_OF, SIGNS, VERIFIES, release, rules, secret_name
from playground.estate.clock import VirtualClock

NAMESPACE, RELEASE, ACCOUNT = "shop", "demo", "keyturn"
LIFE = 3600.0
"""How long a token lives, in virtual seconds: short, so that the end of a rotation can be waited for."""
WATCHED = "1h"
"""How long nobody may have presented a token of the old key; short for the same reason."""
COUNTER = "requests_with_token_total"


@dataclass(frozen=True)
class Site:
    """What runs, and how keyturn reaches it."""

    cluster: Cluster
    consumers: Consumers
    kubeconfig: Path
    prometheus: str

    def extend(self, settings: dict[str, Any]) -> dict[str, Any]:
        """The playground's settings with the cluster's adapters and the credential that lives in it."""
        host = self.consumers.address.removeprefix("http://")
        adapters = settings["adapters"]
        gateways = adapters["gateways"]["gateways"] | {"verifiers": {"url": f"{self.consumers.address}/verifiers"}}
        more = {
            "kubernetes": {"clusters": {"default": {"kubeconfig": str(self.kubeconfig), "context": "default"}}},
            "gateways": {"gateways": gateways},
            "prometheus": {"servers": {"main": {"url": self.prometheus}}},
            "http": {"allowed": [host], "private": ["127.0.0.0/8"]},
        }
        credentials = [*settings["credentials"], credential(self.consumers.address)]
        return settings | {"adapters": adapters | more, "credentials": credentials}


def credential(address: str) -> dict[str, Any]:
    """The credential that lives in the cluster; `address` is the page of its consumers."""
    return {
        "name": "requests-proxy-key",
        "environment": "production",
        "class": "signing-key",
        "owner": "alice",
        "runbook": "versioned-secret",
        "inputs": {
            "namespace": NAMESPACE,
            "secret_name": secret_name(RELEASE),
            "workloads": [f"deployment/{RELEASE}-{SIGNS}", f"deployment/{RELEASE}-{VERIFIES}"],
            "signer": f"deployment/{RELEASE}-{SIGNS}",
            "selector": f"app.kubernetes.io/part-of={PART_OF}",
            "verifiers": ["verifiers"],
            "good": f'{COUNTER}{{verdict="ok"}}',
            "total": COUNTER,
            "watched": WATCHED,
            "dependants": [f"{address}/healthz"],
        },
    }


def lacking() -> str | None:
    """What this machine lacks for it, as a sentence; None where nothing is."""
    if shutil.which("prometheus") is None:
        return "The playground's cluster counts with Prometheus, which is not installed (Debian's package: prometheus)."
    return None


@contextmanager
def started(clock: VirtualClock, folder: Path) -> Iterator[Site]:
    """Start it all, building what is not built yet. Raises `Missing` or `ClusterError` with what to do."""
    if (why := lacking()) is not None:
        raise Missing(why)
    parts = build(lambda text: print(f"  control plane: {text}", flush=True))
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        cluster = stack.enter_context(Cluster.start(parts))
        cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
        cluster.apply(*release(NAMESPACE, RELEASE, life=LIFE))
        api = Api(cluster.server, cluster.ca, cluster.admin_token)
        consumers = stack.enter_context(Consumers(clock, api, NAMESPACE, life=LIFE))
        account = cluster.account(NAMESPACE, ACCOUNT, rules(RELEASE))
        kubeconfig = cluster.kubeconfig(folder / "kubeconfig", token=cluster.token(account, seconds=7 * 86400))
        prometheus, address = _prometheus(folder / "prometheus", consumers.port)
        prometheus.start()
        stack.callback(prometheus.stop)
        yield Site(cluster, consumers, kubeconfig, address)


def _prometheus(folder: Path, page: int) -> tuple[Program, str]:
    """A Prometheus that scrapes the consumers' page, which its clock sees in real time."""
    folder.mkdir()
    jobs = [{"job_name": "requests-proxy", "static_configs": [{"targets": [f"127.0.0.1:{page}"]}]}]
    settings = {"global": {"scrape_interval": "1s", "scrape_timeout": "1s"}, "scrape_configs": jobs}
    (folder / "prometheus.yml").write_text(json.dumps(settings))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        "prometheus",
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
    ]
    return Program("prometheus", command, folder), f"http://127.0.0.1:{port}"
