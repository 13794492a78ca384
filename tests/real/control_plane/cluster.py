"""A pytest plugin: one control plane for all workers of a test run, or somebody's own cluster, and what lies before it.

Every test that takes one of these fixtures is marked `cluster`; `make test-cluster` asks for them. The plugin builds
what is needed before the first test, since that takes minutes, and says how many such tests were not asked for.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import secrets
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest

from playground.cluster.api import MANAGER, Api, Manifest
from playground.cluster.build import Missing, Parts, build, can_build, find, how_to_get_go
from playground.cluster.cluster import Cluster, ClusterError
from tests.real.control_plane.build import say
from tests.real.control_plane.manifests import why_only_ours
from tests.real.control_plane.proxies import FaultProxy, TcpProxy

OWN = "KEYTURN_TEST_KUBECONFIG"
MARKER = "cluster"
FIXTURES = {"cluster", "own_cluster", "cert_manager", "tcp_proxy", "fault_proxy", "control_plane_parts"}
_ACCOUNT = "keyturn-tests"

_deselected = pytest.StashKey[int]()


def pytest_itemcollected(item: pytest.Item) -> None:
    """A test that needs the control plane is marked by that alone."""
    if FIXTURES & set(getattr(item, "fixturenames", ())):
        item.add_marker(MARKER)


def pytest_deselected(items: list[pytest.Item]) -> None:
    """Count those left out by marker; somebody who names tests by `-k` knows what is left out."""
    for item in items:
        config = item.config
        if item.get_closest_marker(MARKER) and not config.option.keyword:
            config.stash[_deselected] = config.stash.get(_deselected, 0) + 1


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build before the first test: a test's own time limit is much shorter than that."""
    controller = session.config.option.__dict__.get("numprocesses") and not hasattr(session.config, "workerinput")
    asked = any(item.get_closest_marker(MARKER) for item in session.items) and not session.config.option.collectonly
    if asked and not controller and not _own() and can_build():
        try:
            build(say)
        except Missing as error:
            raise pytest.UsageError(str(error)) from None


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker tells its count to the process that prints the summary."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["cluster_deselected"] = session.config.stash.get(_deselected, 0)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Every worker collects all tests, so each one's count is the whole."""
    told = getattr(node, "workeroutput", {}).get("cluster_deselected", 0)
    node.config.stash[_deselected] = max(told, node.config.stash.get(_deselected, 0))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was not asked for."""
    skipped = sum(OWN in str(report.longrepr) for report in terminalreporter.stats.get("skipped", []))
    if skipped:
        terminalreporter.section(f"SKIPPED on the cluster that {OWN} names", sep="!")
        noun = "test needs" if skipped == 1 else "tests need"
        terminalreporter.line(
            f"{skipped} {noun} a control plane of our own (-rs says why): make test-cluster without {OWN}"
        )
    if count := terminalreporter.config.stash.get(_deselected, 0):
        terminalreporter.section("NOT RUN against a Kubernetes control plane", sep="!")
        noun = "test" if count == 1 else "tests"
        terminalreporter.line(
            f"{count} {noun} against a Kubernetes control plane were not asked for: make test-cluster"
        )


@pytest.fixture(scope="session")
def control_plane_parts() -> Parts:
    """The built programs and definitions; where there are none and none can be built, the test is skipped."""
    parts = find()
    if parts is None:
        pytest.skip(f"no control plane is built, and none can be. {how_to_get_go()}")
    return parts


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The cluster of this test run, shared by all its workers. Leave its servers running: see `own_cluster`."""
    if own := _own():
        with foreign(own) as somebodys:
            yield somebodys
        return
    parts: Parts = request.getfixturevalue("control_plane_parts")
    root = tmp_path_factory.getbasetemp()
    with shared(parts, root.parent if hasattr(request.config, "workerinput") else root) as ours:
        yield ours


@pytest.fixture(scope="module")
def own_cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A cluster of this file's own, whose servers its tests may stop; `API_SERVER` of the file has options for it."""
    if _own():
        _skip("no test stops its servers")
    options = getattr(request.module, "API_SERVER", ())
    with Cluster.start(request.getfixturevalue("control_plane_parts"), options) as ours:
        yield ours


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """A fresh namespace in the shared cluster."""
    with cluster.namespace() as name:
        yield name


@pytest.fixture(scope="session")
def cert_manager(cluster: Cluster) -> Cluster:
    """The shared cluster with cert-manager's kinds and controllers; somebody's own cluster brings its own."""
    if cluster.ours:
        parts = find()
        assert parts is not None
        cluster.define(parts.definitions("cert-manager"))
        cluster.run("cert-manager")
    elif "cert-manager.io" not in {group["name"] for group in cluster.api.get("/apis")["groups"]}:
        _skip("it has no cert-manager")
    return cluster


@pytest.fixture(scope="session")
def monitoring_kinds(cluster: Cluster, control_plane_parts: Parts) -> Cluster:
    """The shared cluster with the kinds ServiceMonitor and PrometheusRule."""
    cluster.define(control_plane_parts.definitions("monitoring"))
    return cluster


@pytest.fixture
def tcp_proxy(cluster: Cluster) -> Iterator[TcpProxy]:
    """A way to the shared API server that can be slow, cut or closed."""
    with TcpProxy(cluster.server) as proxy:
        yield proxy


@pytest.fixture
def fault_proxy(cluster: Cluster, tmp_path: Path) -> Iterator[FaultProxy]:
    """A way to the shared API server that answers chosen requests itself."""
    with FaultProxy(cluster.server, cluster.ca, tmp_path / "fault-proxy") as proxy:
        yield proxy


@contextmanager
def shared(parts: Parts, root: Path) -> Iterator[Cluster]:
    """The cluster of the processes that share `root`: the first one starts it, the last one to leave stops it."""
    note = root / "cluster.txt"
    with (root / "cluster.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        joined = _join(parts, note)
        if joined is None:
            joined = Cluster.start(parts)
            note.write_text(str(joined.folder))
    with joined:
        yield joined


def _join(parts: Parts, note: Path) -> Cluster | None:
    if not note.exists():
        return None
    try:
        return Cluster.join(parts, Path(note.read_text()))
    except ClusterError:
        return None  # the last one has just left, or its keeper was killed


def _own() -> str:
    return os.environ.get(OWN, "")


def _skip(why: str) -> NoReturn:
    pytest.skip(f"{OWN} names somebody's own cluster: {why}")


class TheirApi(Api):
    """Skips the test that is about to make what only our own cluster can run: no test has to say so itself."""

    def create(self, manifest: Manifest) -> Manifest:
        _check(manifest)
        return super().create(manifest)

    def apply(self, manifest: Manifest, manager: str = MANAGER) -> Manifest:
        _check(manifest)
        return super().apply(manifest, manager)

    def replace(self, manifest: Manifest) -> Manifest:
        _check(manifest)
        return super().replace(manifest)


def _check(manifest: Manifest) -> None:
    if why := why_only_ours(manifest):
        _skip(why)


class Theirs(Cluster):
    """Somebody's own cluster: real kubelets run its pods, and its servers and pods are not ours to direct."""

    def __init__(self, server: str, ca: Path, token: str, command: Sequence[str]) -> None:
        super().__init__(server, ca, token, command)
        self.api.close()
        self.api = TheirApi(server, ca, token)

    def _own(self) -> NoReturn:
        _skip("its servers and its pods are not ours to direct")


@contextmanager
def foreign(kubeconfig: str) -> Iterator[Cluster]:
    """Somebody's own cluster, entered as an account that we make there for the time being."""

    def kubectl(*words: str, text: str = "") -> str:
        command = ["kubectl", f"--kubeconfig={kubeconfig}", *words]
        return subprocess.run(command, input=text, check=True, capture_output=True, text=True, timeout=60).stdout

    name = f"{_ACCOUNT}-{secrets.token_hex(4)}"  # each worker has its own, and takes only that away
    about = {"name": name, "namespace": "kube-system"}
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": about}
    rbac = "rbac.authorization.k8s.io"
    binding = {
        "apiVersion": f"{rbac}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", **about}],
    }
    made = json.dumps({"apiVersion": "v1", "kind": "List", "items": [account, binding]})
    told = json.loads(kubectl("config", "view", "--raw", "--minify", "--flatten", "-o", "json"))["clusters"][0][
        "cluster"
    ]
    kubectl("apply", "-f", "-", text=made)
    with tempfile.TemporaryDirectory(prefix="keyturn-kube-") as folder:
        ca = Path(folder) / "ca.crt"
        ca.write_bytes(base64.b64decode(told["certificate-authority-data"]))
        token = kubectl("create", "token", name, "-n", "kube-system", "--duration=8h").strip()
        try:
            with Theirs(told["server"], ca, token, ["kubectl"]) as somebodys:
                yield somebodys
        finally:
            kubectl("delete", "-f", "-", text=made)
