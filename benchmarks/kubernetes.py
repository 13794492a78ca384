"""A real cluster: listing a large estate beside bare pages, and restarting many Deployments beside kubectl."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from adapters.kubernetes.consumers import AT_ONCE
from benchmarks.databases import NAMES, NO_POSTGRES, fresh
from benchmarks.figures import Bar, Report, paired, single, timed
from benchmarks.listing import KINDS
from bot.core.rotation import Stage
from playground.cluster.build import find, how_to_get_go
from playground.cluster.cluster import Cluster
from playground.cluster.stages import BEHAVES, DELAY
from playground.estate import Estate
from tests.world import World, describe, running

HERE = Path(__file__).parent
NOT_BUILT = "no control plane is built, so nothing was measured: python -m tests.real.control_plane.build"
LABEL = {"app.kubernetes.io/part-of": "benchmark"}
SELECTOR = "app.kubernetes.io/part-of=benchmark"
STARTS_IN = "1s"
USED = "s0"
"""The Secret that every Deployment of the estate uses."""
ONCE = "discovery"
"""A round writes every version that it finds, which takes long enough to be measured once."""
MEGABYTE = 1000 / 1.024
"""In KiB, as the kernel counts memory."""


def estates(*, quick: bool) -> Report:
    """Bars: twice the bare pages, and 25 MB however many there are, whatever is done with them."""
    secrets, deployments, rounds = (200, 20, 1) if quick else (5000, 500, 5)
    report = Report(f"Listing {secrets:,} Secrets and {deployments} Deployments (floor: bare pages of 500, dropped)")
    with _cluster(report) as cluster:
        if cluster is None:
            return report
        with cluster.namespace("bench") as namespace, tempfile.TemporaryDirectory() as folder:
            _fill(cluster, namespace, secrets, deployments)
            given = {
                "server": cluster.server,
                "ca": str(cluster.ca),
                "token": cluster.admin_token,
                "kubeconfig": str(cluster.kubeconfig(Path(folder) / "kubeconfig")),
                "namespace": namespace,
                "selector": SELECTOR,
                "secret": USED,
            }
            laps = [{kind: _listed(kind, given) for kind in KINDS if kind != ONCE or not lap} for lap in range(rounds)]
    least = {"floor": secrets, "keyturn": secrets + deployments, "consumers": deployments, "discovery": secrets}
    for lap in laps:
        for kind, told in lap.items():
            if told["seen"] < least[kind]:
                raise RuntimeError(f"only {told['seen']} things were seen by {kind}")

    def of(kind: str, name: str, unit: float = 1.0) -> list[float]:
        return [lap[kind][name] / unit for lap in laps if kind in lap]

    report.figures.append(paired("all of them", "s", of("floor", "seconds"), of("keyturn", "seconds"), Bar(2.0)))
    memory, floor = Bar(25, of="product"), of("floor", "growth", MEGABYTE)
    told = "all of them: memory at its peak, more than before"
    report.figures.append(paired(told, "MB", floor, of("keyturn", "growth", MEGABYTE), memory))
    for kind, what in (("consumers", "who uses a Secret"), ("discovery", "a round of discovery")):
        report.figures.append(single(what, "s", of(kind, "seconds")))
        report.figures.append(single(f"{what}: memory", "MB", of(kind, "growth", MEGABYTE), memory))
    report.notes += [
        "each in a process of its own; keyturn makes a finding of every version, the floor of nothing",
        f"who uses a Secret: {deployments} whole Deployments of some 10 kB are read, {AT_ONCE} in an answer",
        "a round of discovery: listed, checked, written to SQLite, and an entry of the inventory made of each",
    ]
    return report


def restarts(*, quick: bool) -> Report:
    """Bar: 1.3 times what the cluster takes when kubectl patches all of them at once."""
    count, rounds = (5, 1) if quick else (50, 5)
    report = Report(f"{count} Deployments restarted and Ready (floor: kubectl rollout restart and rollout status)")
    with _cluster(report) as cluster:
        if cluster is None:
            return report
        with cluster.namespace("bench") as namespace, _bots(cluster, namespace, count) as worlds:
            for kind, world in worlds.items():
                _by_keyturn(world)  # imports and connections
                laps = [(_by_kubectl(cluster, namespace), _by_keyturn(world)) for _ in range(rounds)]
                floors, products = ([lap[n] for lap in laps] for n in range(2))
                report.figures.append(paired(NAMES[kind], "s", floors, products, Bar(1.3)))
    report.notes.append(
        f"pods are Ready after {STARTS_IN}; 16 at a time, looked at every 1 s, as in the shipped runbook"
    )
    if "postgresql" not in worlds:
        report.notes.append(NO_POSTGRES)
    return report


@contextmanager
def _cluster(report: Report) -> Iterator[Cluster | None]:
    """A cluster for this part, None where none is built."""
    parts = find()
    if parts is None:
        report.notes.append(f"{NOT_BUILT}. {how_to_get_go()}")
        yield None
        return
    with Cluster.start(parts) as cluster:
        yield cluster


def _fill(cluster: Cluster, namespace: str, secrets: int, deployments: int) -> None:
    value = base64.b64encode(bytes(48)).decode()

    def make(number: int) -> None:
        about = {"name": f"s{number}", "namespace": namespace, "labels": LABEL}
        data = {"key.v1": value, "active": base64.b64encode(b"v1").decode()}
        cluster.api.create({"apiVersion": "v1", "kind": "Secret", "metadata": about, "data": data})

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(make, range(secrets)))
        list(pool.map(lambda n: cluster.api.create(_whole(namespace, f"d{n}")), range(deployments)))


def _whole(namespace: str, name: str) -> dict[str, Any]:
    """A Deployment as large as they are, without pods."""
    made = _deployment(namespace, name, 0)
    (container,) = made["spec"]["template"]["spec"]["containers"]
    container["env"] = [{"name": f"SETTING_{n}", "value": f"{n:04}" * 30} for n in range(40)]
    container["envFrom"] = [{"secretRef": {"name": USED}}]
    return made


def _deployment(namespace: str, name: str, replicas: int) -> dict[str, Any]:
    labels = {"app": name}
    told = {BEHAVES: "slow", DELAY: STARTS_IN}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"namespace": namespace, "name": name, "labels": LABEL},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels, "annotations": told},
                "spec": {"containers": [{"name": "c", "image": "none"}]},
            },
        },
    }


def _listed(kind: str, given: dict[str, Any]) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.listing", kind]
    text = json.dumps(given)  # on standard input: a token is among it
    done = subprocess.run(command, cwd=HERE.parent, input=text, capture_output=True, text=True, check=True, timeout=300)
    told: dict[str, Any] = json.loads(done.stdout)
    return told


@contextmanager
def _bots(cluster: Cluster, namespace: str, count: int) -> Iterator[dict[str, World]]:
    """Kind of database -> an engine whose one credential has so many consumers."""
    names = [f"d{number}" for number in range(count)]
    cluster.apply(*(_deployment(namespace, name, 1) for name in names))
    _wait(cluster, namespace)
    with ExitStack() as stack:
        urls = stack.enter_context(fresh())
        estate = stack.enter_context(Estate.start(rate=1.0, clients=0, gateways=0))
        found = {}
        for kind, url in urls.items():
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            kubeconfig = cluster.kubeconfig(folder / "kubeconfig")
            credential = {
                "name": "fleet",
                "environment": "production",
                "class": "key",
                "owner": "alice",
                "runbook": "cluster-restarts",
                "inputs": {"namespace": namespace, "workloads": [f"deployment/{name}" for name in names]},
            }
            settings = {
                "credentials": [credential],
                "cadences": {"key": "30d"},
                "adapters": {"kubernetes": {"clusters": {"default": {"kubeconfig": str(kubeconfig)}}}},
                "runbooks": [str(HERE / "runbooks")],
            }
            found[kind] = stack.enter_context(running(url, estate, folder, **settings))
        yield found


def _by_kubectl(cluster: Cluster, namespace: str) -> float:
    def run() -> None:
        cluster.kubectl("-n", namespace, "rollout", "restart", "deployment")
        _wait(cluster, namespace)

    return timed(run)


def _wait(cluster: Cluster, namespace: str) -> None:
    cluster.kubectl("-n", namespace, "rollout", "status", "deployment", "--timeout=110s")


def _by_keyturn(world: World) -> float:
    """From the committed approval to the last step recorded as done."""
    asked = world.say("alice", 'start fleet --reason "measured"', confirmed=True)
    if asked.rotation is None:
        raise RuntimeError(asked.text)
    commits: list[float] = []
    committed = lambda: commits.append(time.perf_counter())  # noqa: E731
    world.database.after_commit.append(committed)
    world.hear("bob", f"approve R-{asked.rotation}")
    began = time.perf_counter()
    done = world.wait(asked.rotation, lambda one: one.is_over or any(run.stage is Stage.HELD for run in one.steps), 120)
    world.database.after_commit.remove(committed)
    if not done.is_over or any(run.stage is not Stage.DONE for run in done.steps):
        raise RuntimeError(describe(done))
    return commits[-1] - began
