"""A Kubernetes cluster as tests and the playground use it: one of our own on loopback, or somebody else's."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from playground.cluster.api import Api, ApiError, Manifest
from playground.cluster.build import Parts
from playground.cluster.keeper import SOCKET
from playground.cluster.kubeconfig import write_kubeconfig
from playground.cluster.plane import LOG
from playground.cluster.stages import BEHAVES, BEHAVIOURS, PODS_BEHAVE

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0
RBAC = "rbac.authorization.k8s.io"


class ClusterError(Exception):
    """The cluster did not do what was asked of it; the text says what, and what the servers wrote last."""


class Cluster:
    """One cluster. `ours` says whether its servers can be stopped and its pods told how to behave."""

    def __init__(
        self, server: str, ca: Path, token: str, command: Sequence[str], keeper: _Keeper | None = None
    ) -> None:
        self.server, self.ca, self.admin_token = server, ca, token
        self.api = Api(server, ca, token)
        self._command, self._keeper = list(command), keeper
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        if keeper is not None:
            self._admin = keeper.folder / "admin.kubeconfig"
        else:
            self._scratch = tempfile.TemporaryDirectory(prefix="keyturn-kube-")
            self._admin = self.kubeconfig(Path(self._scratch.name) / "admin")

    @classmethod
    def start(cls, parts: Parts, options: Sequence[str] = ()) -> Self:
        """A fresh control plane, which ends when whoever holds it has ended. Raises `ClusterError`.

        `options` are further ones of its API server, such as `--service-account-max-token-expiration=24h`.
        """
        folder = Path(tempfile.mkdtemp(prefix="keyturn-cp-"))  # short: a socket's path has at most 107 bytes
        with (folder / "keeper.log").open("wb") as log:
            subprocess.Popen(  # noqa: S603 - ourselves
                [sys.executable, "-m", "playground.cluster.keeper", str(parts.folder), str(folder), *options],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        keeper = _Keeper.connect(folder)
        keeper.ask("begin")
        return cls._of(parts, folder, keeper)

    @classmethod
    def join(cls, parts: Parts, folder: Path) -> Self:
        """Share the control plane that another process has started; `ClusterError` when it has ended."""
        keeper = _Keeper.connect(folder, patience=0)
        keeper.ask("join")
        return cls._of(parts, folder, keeper)

    @classmethod
    def _of(cls, parts: Parts, folder: Path, keeper: _Keeper) -> Self:
        told = json.loads((folder / "cluster.json").read_text())
        command = [str(parts.program("kubernetes")), "kubectl"]
        return cls(told["server"], Path(told["ca"]), told["token"], command, keeper)

    @property
    def ours(self) -> bool:
        """Whether it runs beside us, and not somewhere as somebody's own."""
        return self._keeper is not None

    @property
    def folder(self) -> Path:
        """Where the servers keep their logs, and the API server its audit (`audit.jsonl`)."""
        return self._own().folder

    @property
    def pids(self) -> dict[str, int]:
        """The process ids of its servers."""
        return self._own().ask("pids")

    @property
    def pod_log(self) -> Path:
        """The file that `kubectl logs` shows for every pod: lines `<RFC 3339 time> stdout F <text>`."""
        return self.folder / LOG

    def close(self) -> None:
        """Leave; the last one to leave stops the servers and waits for them."""
        self.api.close()
        if self._scratch is not None:
            self._scratch.cleanup()
        if self._keeper is not None:
            self._keeper.leave()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def kubeconfig(
        self,
        path: Path,
        account: str = "",
        *,
        server: str = "",
        ca: Path | None = None,
        context: str = "default",
        token: str = "",
    ) -> Path:
        """Write a kubeconfig: of the administrator, or of a service account `namespace/name`.

        `server` and `ca` lead through a proxy.
        """
        token = token or (self.token(account) if account else self.admin_token)
        return write_kubeconfig(path, server or self.server, ca or self.ca, token, context)

    def token(self, account: str, seconds: int = 3600) -> str:
        """A fresh token of the service account `namespace/name`."""
        namespace, _, name = account.partition("/")
        answer = self.api.post(
            f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token",
            {
                "apiVersion": "authentication.k8s.io/v1",
                "kind": "TokenRequest",
                "spec": {"expirationSeconds": seconds},
            },
        )
        return str(answer["status"]["token"])

    def account(self, namespace: str, name: str, rules: Sequence[dict[str, Any]]) -> str:
        """A service account that may do what the rules of a Role say, in its namespace; returns `namespace/name`."""
        about = {"namespace": namespace, "name": name}
        self.apply(
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": about},
            {"apiVersion": f"{RBAC}/v1", "kind": "Role", "metadata": about, "rules": list(rules)},
            {
                "apiVersion": f"{RBAC}/v1",
                "kind": "RoleBinding",
                "metadata": about,
                "roleRef": {"apiGroup": RBAC, "kind": "Role", "name": name},
                "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
            },
        )
        return f"{namespace}/{name}"

    def kubectl(self, *words: str, input: str | None = None, check: bool = True) -> str:
        """Run kubectl as the administrator; returns what it prints, standard error last."""
        done = subprocess.run(  # noqa: S603 - a program that we built, or the owner's own
            [*self._command, f"--kubeconfig={self._admin}", *words],
            input=input,
            capture_output=True,
            text=True,
            timeout=120,
        )
        if check and done.returncode:
            raise ClusterError(f"kubectl {' '.join(words[:3])} failed: {done.stderr.strip()[-1000:]}")
        return done.stdout + done.stderr

    def apply(self, *manifests: Manifest) -> list[Manifest]:
        """Create or change objects by server-side apply, in this order."""
        return [self.api.apply(manifest) for manifest in manifests]

    @contextmanager
    def namespace(self, prefix: str = "test") -> Iterator[str]:
        """A fresh namespace in which pods can be made; it is deleted afterwards, which is not waited for."""
        name = f"{prefix}-{uuid.uuid4().hex[:8]}"
        self.api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        try:
            self.wait(lambda: self._has_account(name), f"the service account of {name}")
            yield name
        finally:
            self.api.delete(f"/api/v1/namespaces/{name}")

    def let_pods(self, namespace: str, app: str, behave: str | None) -> None:
        """Have pods labelled `app` behave so from now on, without a change of their template; None: as usual."""
        self._own()
        if behave is not None and behave not in BEHAVIOURS:
            raise ValueError(f"pods behave as one of {', '.join(BEHAVIOURS)}")
        self.api.merge(f"/api/v1/namespaces/{namespace}", {"metadata": {"annotations": {PODS_BEHAVE + app: behave}}})
        # The admission policy reads namespaces from a cache, which follows within moments.
        self.wait(lambda: self._would_behave(namespace, app) == behave, "the namespace's wish is heard")

    def _would_behave(self, namespace: str, app: str) -> str | None:
        about = {"generateName": "probe-", "namespace": namespace, "labels": {"app": app}}
        spec = {"containers": [{"name": "probe", "image": "none"}]}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": about, "spec": spec}
        made = self.api.post(f"/api/v1/namespaces/{namespace}/pods?dryRun=All", pod)
        told: str | None = made["metadata"].get("annotations", {}).get(BEHAVES)
        return told

    def define(self, files: Sequence[Path]) -> None:
        """Install definitions of kinds, and wait until the API server serves them."""
        import yaml

        for file in files:
            for manifest in yaml.safe_load_all(file.read_text()):
                path = self.api.path_of(self.api.apply(manifest))
                self.wait(lambda path=path: self._serves(self.api.get(path)), f"{path} is served")

    def run(self, server: str) -> None:
        """Start a server that does not start by itself (`cert-manager`), or again; quiet when it runs."""
        self._own().ask("run", server=server)

    def stop_api_server(self, *, hard: bool = False) -> None:
        """Stop the API server and wait until it is gone; use a cluster of your own, not the shared one."""
        self._own().ask("halt", server="kube-apiserver", hard=hard)

    def start_api_server(self) -> None:
        """Start it again on the same port, with what it had stored, and wait until it is ready."""
        self._own().ask("run", server="kube-apiserver")

    @staticmethod
    def wait(holds: Any, what: str, seconds: float = PATIENCE) -> Any:
        """Until it holds; returns what it said."""
        until = time.monotonic() + seconds
        while not (found := holds()):
            if time.monotonic() > until:
                raise ClusterError(f"{what}: not within {seconds:g} s")
            time.sleep(0.03)
        return found

    def _serves(self, definition: Manifest) -> bool:
        """Whether objects of the kind can be made: it is Established, and discovery, which follows, lists it."""
        conditions = definition.get("status", {}).get("conditions") or ()
        if not any(each["type"] == "Established" and each["status"] == "True" for each in conditions):
            return False
        spec = definition["spec"]
        version = next(each["name"] for each in spec["versions"] if each["storage"])
        try:
            listed = self.api.get(f"/apis/{spec['group']}/{version}")["resources"]
        except ApiError as error:
            if error.status not in (404, 503):
                raise
            return False
        return spec["names"]["plural"] in {each["name"] for each in listed}

    def _has_account(self, namespace: str) -> bool:
        try:
            self.api.get(f"/api/v1/namespaces/{namespace}/serviceaccounts/default")
        except ApiError as error:
            if error.status != 404:
                raise
            return False
        return True

    def _own(self) -> _Keeper:
        if self._keeper is None:
            raise ClusterError("this is somebody's own cluster: its servers and its pods are not ours to direct")
        return self._keeper


class _Keeper:
    """Our connection to the process that holds the servers."""

    def __init__(self, folder: Path, connection: socket.socket) -> None:
        self.folder = folder
        self._connection = connection
        self._stream = connection.makefile("rw", encoding="utf-8")

    @classmethod
    def connect(cls, folder: Path, patience: float = 20.0) -> Self:
        until = time.monotonic() + patience
        while True:
            connection = socket.socket(socket.AF_UNIX)
            try:
                connection.connect(str(folder / SOCKET))
            except OSError:
                connection.close()
                if time.monotonic() > until:
                    raise ClusterError(f"no control plane is held in {folder}{_tail(folder)}") from None
                time.sleep(0.02)
                continue
            return cls(folder, connection)

    def ask(self, word: str, **more: Any) -> dict[str, int]:
        answer = self._exchange({"do": word, **more})
        if answer is None or "failed" in answer:
            why = answer["failed"] if answer else f"its keeper has ended{_tail(self.folder)}"
            raise ClusterError(f"the control plane in {self.folder}: {why}")
        return dict(answer.get("pids", {}))

    def leave(self) -> None:
        self._exchange({"do": "leave"})
        self._stream.close()
        self._connection.close()

    def _exchange(self, asked: dict[str, Any]) -> dict[str, Any] | None:
        try:
            print(json.dumps(asked), file=self._stream, flush=True)
            line = self._stream.readline()
        except OSError:
            return None
        answer: dict[str, Any] | None = json.loads(line) if line else None
        return answer


def _tail(folder: Path) -> str:
    log = folder / "keeper.log"
    return f":\n{log.read_text()[-2000:]}" if log.exists() and os.path.getsize(log) else ""
