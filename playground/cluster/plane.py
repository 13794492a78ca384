"""The servers of one control plane on loopback: etcd, API server, controllers, scheduler, and kwok for the nodes."""

from __future__ import annotations

import json
import secrets
import socket
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from playground.cluster.api import Api, ApiError, Unreachable
from playground.cluster.authority import Authority, make_signing_key
from playground.cluster.build import Parts
from playground.cluster.kubeconfig import write_kubeconfig
from playground.cluster.program import Program
from playground.cluster.stages import compose, policy

PATIENCE = 90.0
ATTEMPTS = 3
HALT_SECONDS = 4.0
"""How long a server may take to end in good order: the API server waits for watches, which never end by themselves."""
CONTROLLERS = (
    "deployment-controller", "replicaset-controller", "statefulset-controller", "daemonset-controller",
    "job-controller", "serviceaccount-controller", "serviceaccount-token-controller",
    "root-ca-certificate-publisher-controller", "namespace-controller", "garbage-collector-controller",
    "disruption-controller", "clusterrole-aggregation-controller", "node-lifecycle-controller",
)  # fmt: skip
NODE = "node-1"
LOG = "pods.log"
"""What every pod of the cluster has logged: kwok keeps no logs of its own, and shows this file."""
_BUSY = "address already in use"
_AUDIT = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {"level": "None", "verbs": ["watch"]},
        {"level": "None", "nonResourceURLs": ["*"]},
        {"level": "None", "users": ["servers", "system:apiserver"]},
        {"level": "Metadata"},
    ],
}
"""Who did what, without bodies: a test can see what an account asked for, and no secret value is ever written."""


class PlaneError(Exception):
    """A server did not start; the text has the end of its log."""


class ControlPlane:
    """Servers in one folder. What is in the folder can be thrown away once they have stopped.

    `options` are further ones of the API server.
    """

    def __init__(self, parts: Parts, folder: Path, options: Sequence[str] = ()) -> None:
        self._parts, self._folder = parts, folder
        self._options = options
        self._authority = Authority(folder)
        self._admin, self._servers = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
        self._programs: dict[str, Program] = {}
        self.server = ""
        self._stopping = threading.Event()

    @property
    def api(self) -> Api:
        """The API as its administrator sees it."""
        return Api(self.server, self._authority.file, self._admin)

    def start(self) -> None:
        """Start everything and return once a pod can run. Another program may take a free port first: then again."""
        self._prepare()
        for attempt in range(1, ATTEMPTS + 1):
            self._programs = self._declare()
            try:
                for name in ("etcd", "kube-apiserver"):
                    self._programs[name].start()
                self._wait("kube-apiserver", lambda: self.api.get("/readyz/ping") is not None)
                break
            except PlaneError:
                taken = any(_BUSY in program.tail() for program in self._programs.values())
                self.stop()
                if not taken or attempt == ATTEMPTS:
                    raise
        for name in ("kube-controller-manager", "kube-scheduler", "kwok"):
            self._programs[name].start()
        self._settle()
        self._describe()

    def run(self, name: str) -> None:
        """Start one server again, or one that is not started by itself, such as cert-manager."""
        program = self._known(name)
        program.start()
        if name == "kube-apiserver":
            self._wait(name, lambda: self.api.get("/readyz") is not None)

    def halt(self, name: str, *, hard: bool = False) -> None:
        """Stop one server; what it has stored stays."""
        self._known(name).stop(hard=hard, patience=HALT_SECONDS)

    def interrupt(self) -> None:
        """Have a start that is under way give up; called from another thread."""
        self._stopping.set()

    def stop(self) -> None:
        """Stop them all, and wait for each; their data is thrown away, so they need not put it in order."""
        programs = list(reversed(self._programs.values()))
        for program in programs:
            program.ask_to_stop(hard=program.name in ("etcd", "kube-apiserver"))
        for program in programs:
            program.stop()

    def pids(self) -> dict[str, int]:
        """The process ids of what runs."""
        return {name: program.pid for name, program in self._programs.items() if program.pid is not None}

    def _known(self, name: str) -> Program:
        if name not in self._programs:
            raise PlaneError(f"no server is called {name}; there are {', '.join(self._programs)}")
        return self._programs[name]

    def _prepare(self) -> None:
        self._serving = self._authority.issue("kube-apiserver")
        self._signing = make_signing_key(self._folder / "tokens.key")
        tokens = self._folder / "tokens.csv"
        tokens.touch(mode=0o600)
        lines = [(self._admin, "admin"), (self._servers, "servers")]
        tokens.write_text("".join(f'{token},{name},{name},"system:masters"\n' for token, name in lines))
        (self._folder / "audit-policy.yaml").write_text(json.dumps(_AUDIT))
        (self._folder / "stages.yaml").write_text(compose(self._parts))
        (self._folder / LOG).touch()
        (self._folder / "logs.yaml").write_text(json.dumps(_logs(self._folder / LOG)))

    def _declare(self) -> dict[str, Program]:
        folder, (client, peer, port, kubelet) = self._folder, _free_ports(4)
        etcd, self.server = f"http://127.0.0.1:{client}", f"https://127.0.0.1:{port}"
        certificate, key = self._serving
        servers = folder / "servers.kubeconfig"
        write_kubeconfig(servers, self.server, self._authority.file, self._servers)
        write_kubeconfig(folder / "admin.kubeconfig", self.server, self._authority.file, self._admin)
        client_options = [f"--kubeconfig={servers}", "--kube-api-qps=500", "--kube-api-burst=1000"]
        alone = ["--leader-elect=false", "--secure-port=0"]
        kubernetes = str(self._parts.program("kubernetes"))
        commands = {
            "etcd": [
                kubernetes, "etcd", f"--data-dir={folder}/etcd", "--unsafe-no-fsync", "--log-level=warn",
                f"--listen-client-urls={etcd}", f"--advertise-client-urls={etcd}",
                f"--listen-peer-urls=http://127.0.0.1:{peer}", f"--initial-advertise-peer-urls=http://127.0.0.1:{peer}",
                f"--initial-cluster=default=http://127.0.0.1:{peer}",
            ],
            "kube-apiserver": [
                kubernetes, "kube-apiserver", f"--etcd-servers={etcd}", f"--secure-port={port}",
                "--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none",
                f"--cert-dir={folder}", f"--tls-cert-file={certificate}", f"--tls-private-key-file={key}",
                "--service-cluster-ip-range=10.0.0.0/24", "--authorization-mode=RBAC",
                "--service-account-issuer=https://kubernetes.default.svc",
                f"--service-account-signing-key-file={self._signing}", f"--service-account-key-file={self._signing}",
                f"--token-auth-file={folder}/tokens.csv",
                f"--audit-policy-file={folder}/audit-policy.yaml", f"--audit-log-path={folder}/audit.jsonl",
                *self._options,
            ],
            "kube-controller-manager": [
                kubernetes, "kube-controller-manager", *client_options, *alone,
                "--node-monitor-grace-period=1000h",  # nobody reports for the faked node, which never goes away
                f"--controllers={','.join(CONTROLLERS)}", f"--root-ca-file={self._authority.file}",
                f"--service-account-private-key-file={self._signing}",
            ],
            "kube-scheduler": [kubernetes, "kube-scheduler", *client_options, *alone],
            "kwok": [
                str(self._parts.program("kwok")), f"--kubeconfig={servers}", "--manage-all-nodes=true",
                f"--config={folder}/stages.yaml", f"--config={folder}/logs.yaml",
                f"--server-address=127.0.0.1:{kubelet}", "--node-ip=127.0.0.1", f"--node-port={kubelet}",
                f"--tls-cert-file={certificate}", f"--tls-private-key-file={key}",
            ],
            "cert-manager": [str(self._parts.program("cert-manager")), f"-kubeconfig={servers}"],
        }  # fmt: skip
        return {name: Program(name, command, folder) for name, command in commands.items()}

    def _settle(self) -> None:
        """Make the node and the admission policy, and see both at work."""
        allocatable = {"cpu": "1000", "memory": "1Ti", "pods": "10000"}
        node: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {
                "name": NODE,
                "annotations": {"kwok.x-k8s.io/node": "fake"},
                "labels": {"kubernetes.io/hostname": NODE},
            },
            "status": {"allocatable": allocatable, "capacity": allocatable},
        }
        self.api.create(node)
        for manifest in policy():
            self.api.create(manifest)
        self._wait("kwok", self._node_ready)

    def _node_ready(self) -> bool:
        node = self.api.get(f"/api/v1/nodes/{NODE}")
        ready = any(
            each["type"] == "Ready" and each["status"] == "True" for each in node["status"].get("conditions", ())
        )
        return ready and not node["spec"].get("taints")

    def _describe(self) -> None:
        told = {"server": self.server, "ca": str(self._authority.file), "token": self._admin}
        file = self._folder / "cluster.json"
        file.touch(mode=0o600)
        file.write_text(json.dumps(told))

    def _wait(self, name: str, holds: Callable[[], bool]) -> None:
        """Until it holds; a server that has ended, or takes too long, is told with the end of its log."""
        until = time.monotonic() + PATIENCE
        last = "it did not answer"
        while time.monotonic() < until and not self._stopping.wait(0.05):
            if died := [program for program in self._programs.values() if program.died]:
                raise PlaneError("\n".join(program.tail() for program in died))
            try:
                if holds():
                    return
            except (ApiError, Unreachable) as error:
                last = str(error)
        raise PlaneError(f"{name} was not ready within {PATIENCE:g} s: {last}\n{self._programs[name].tail()}")


def _logs(file: Path) -> dict[str, Any]:
    return {
        "apiVersion": "kwok.x-k8s.io/v1alpha1",
        "kind": "ClusterLogs",
        "metadata": {"name": "logs"},
        "spec": {"logs": [{"logsFile": str(file)}]},
    }


def _free_ports(count: int) -> list[int]:
    """Ports that nobody listens on right now."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()
