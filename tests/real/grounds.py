"""Credentials of the shipped runbooks on a namespace of a cluster, as their owners have laid them out.

What a pod does with them is played here where it matters: a server shows the certificate that it found at its start.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

from adapters.kubernetes.claims import claims_of
from adapters.kubernetes.pem import blocks_of, serial_of
from bot.core.rotation import StepRun
from bot.core.secret import Secret
from playground.cluster.cluster import Cluster
from playground.cluster.stages import DELAY
from playground.estate import Estate
from tests.real.control_plane.manifests import deployment
from tests.real.counters import Counters
from tests.real.shop import BECOMES_READY, VERIFIER, Shop
from tests.stand_ins.tls_server import TlsServer

DAY, SECOND = timedelta(days=1), timedelta(seconds=1)
CERT_MANAGER = "cert-manager.io/v1"


class Ground(Shop):
    """One credential, and the Deployments that use it."""

    runbook: ClassVar[str]
    holds: ClassVar[str]
    """The Secret."""
    retiring: ClassVar[str]
    """The first step after the promotion, at which a rotation waits."""
    users: ClassVar[tuple[str, ...]] = ("web", "worker")
    labels: ClassVar[Mapping[str, str]] = {"uses": "the-credential"}
    restarts: ClassVar[int]
    """How often a whole rotation rolls every Deployment out."""

    def __init__(self, cluster: Cluster, namespace: str, folder: Path) -> None:
        super().__init__(cluster, namespace, secret=self.holds)
        self.workloads = [f"deployment/{name}" for name in self.users]
        self.folder = folder
        self.stack = ExitStack()

    def lay_out(self, replicas: int = 1) -> None:
        """Make the credential and who uses it, and wait for the pods."""
        self.make()
        self.cluster.apply(*(self._user(name, replicas) for name in self.users))
        self.settle()

    def make(self) -> None:
        """Make the credential."""
        raise NotImplementedError

    def in_use(self, run: StepRun) -> None:
        """The new one is in use, and the rotation waits at `run`: see that it waits rightly, and let that happen."""

    def replaced(self) -> None:
        """See that the old one is gone, and that nothing else is."""
        raise NotImplementedError

    def put_back(self) -> None:
        """See that everything is as it was, but for what somebody may rely on by now."""
        raise NotImplementedError

    def inputs(self, counters: Counters, watched: str = "2h") -> dict[str, Any]:
        """What the runbook wants to know."""
        wanted = super().inputs(counters)
        return {name: wanted[name] for name in ("namespace", "secret_name", "good", "total", "dependants")} | {
            "selector": ",".join(f"{name}={value}" for name, value in self.labels.items())
        }

    def credential(self, counters: Counters) -> dict[str, Any]:
        """How it is declared."""
        return super().credential(counters) | {"name": self.runbook, "runbook": self.runbook}

    def keep(self, entries: Mapping[str, bytes], **about: Any) -> None:
        """Make the Secret."""
        coded = {name: base64.b64encode(value).decode() for name, value in entries.items()}
        where = {"name": self.holds, "namespace": self.namespace, **about}
        self.cluster.apply({"apiVersion": "v1", "kind": "Secret", "metadata": where, "data": coded})

    def path(self, kind: str, name: str, group: str = "") -> str:
        """Where an object is."""
        root = f"/apis/{group}" if group else "/api/v1"
        return f"{root}/namespaces/{self.namespace}/{kind}/{name}"

    def _user(self, name: str, replicas: int) -> dict[str, Any]:
        made = deployment(self.namespace, name, replicas=replicas, behaves="slow", annotations={DELAY: BECOMES_READY})
        template = made["spec"]["template"]
        made["metadata"]["labels"] = dict(self.labels)
        template["metadata"]["labels"] |= self.labels
        template["spec"]["volumes"] = [{"name": "held", "secret": {"secretName": self.holds}}]
        (container,) = template["spec"]["containers"]
        container["volumeMounts"] = [{"name": "held", "mountPath": "/held"}]
        return made


class CapabilityToken(Ground):
    """A token that every workload with a label presents; the grace is a day."""

    runbook, holds, retiring = "capability-token", "capability-tokens", "quiet"
    labels: ClassVar[Mapping[str, str]] = {"requires": "capability-token"}
    restarts = 3

    def make(self) -> None:
        self.old = secrets.token_bytes(64)
        self.keep({"token.v1": self.old, "active": b"v1"})

    def inputs(self, counters: Counters, watched: str = "2h") -> dict[str, Any]:
        return super().inputs(counters) | {"verifiers": [VERIFIER]}

    def in_use(self, run: StepRun) -> None:
        assert self.data()["active"] == b"v2"
        assert set(self.data()) == {"token.v1", "token.v2", "active"}

    def replaced(self) -> None:
        data = self.data()
        assert set(data) == {"token.v2", "active"}
        assert data["active"] == b"v2"
        assert data["token.v2"] != self.old

    def put_back(self) -> None:
        data = self.data()
        assert (data["active"], data["token.v1"]) == (b"v1", self.old)
        assert set(data) == {"token.v1", "token.v2", "active"}, "it was presented, and is accepted"


class SigningKey(Ground):
    """Two slots of a signing key, whose tokens live for two days."""

    runbook, holds, retiring = "jwt-signing-key", "jwt", "outlive"
    restarts = 3
    life = 2 * DAY

    def make(self) -> None:
        self.old = secrets.token_bytes(64)
        self.keep({"current": self.old, "issuer": b"left-alone"})

    def inputs(self, counters: Counters, watched: str = "2h") -> dict[str, Any]:
        return super().inputs(counters) | {
            "workloads": self.workloads,
            "ttl_workload": self.workloads[0],
            "verifiers": [VERIFIER],
            "health": f"{counters.url}/healthz",
        }

    def in_use(self, run: StepRun) -> None:
        data = self.data()
        assert data["previous"] == self.old, "what it has signed is accepted"
        assert data["current"] != self.old
        assert run.began_at is not None
        assert run.due_at == run.began_at + self.life

    def replaced(self) -> None:
        data = self.data()
        assert set(data) == {"current", "issuer"}
        assert data["current"] != self.old
        assert data["issuer"] == b"left-alone"

    def put_back(self) -> None:
        data = self.data()
        assert data["current"] == self.old
        assert set(data) == {"current", "previous", "issuer"}, "what the new one has signed is accepted"

    def _user(self, name: str, replicas: int) -> dict[str, Any]:
        made = super()._user(name, replicas)
        (container,) = made["spec"]["template"]["spec"]["containers"]
        container["env"] = [{"name": "tokenTtlSeconds", "value": str(int(self.life.total_seconds()))}]
        return made


class ServiceAccountToken(Ground):
    """A token of a service account that ends in a week, while those that replace it live for a quarter of a year."""

    runbook, holds, retiring = "service-account-token", "collector-token", "expire"
    restarts = 1
    account, audience, pointer = "collector", "https://collectors.test", "in-use"
    life = 7 * DAY

    def make(self) -> None:
        named = {"name": self.account, "namespace": self.namespace}
        notes = {"keyturn.dev/created-by": "by-hand", "keyturn.dev/service-account": self.account}
        labels = {"app.kubernetes.io/managed-by": "keyturn"}
        self.anchor = f"keyturn-token-{self.account}-1"
        about = {"name": self.anchor, "namespace": self.namespace, "annotations": notes, "labels": labels}
        _, anchor = self.cluster.apply(
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": named},
            {"apiVersion": "v1", "kind": "Secret", "metadata": about},
        )
        bound = {"apiVersion": "v1", "kind": "Secret", "name": self.anchor, "uid": anchor["metadata"]["uid"]}
        spec = {"expirationSeconds": int(self.life.total_seconds()), "audiences": [self.audience]}
        answer = self.cluster.api.post(
            f"{self.path('serviceaccounts', self.account)}/token",
            {
                "apiVersion": "authentication.k8s.io/v1",
                "kind": "TokenRequest",
                "spec": spec | {"boundObjectRef": bound},
            },
        )
        self.old = str(answer["status"]["token"]).encode()
        self.ends = datetime.fromtimestamp(claims_of(Secret(self.old))["exp"], UTC)
        self.keep({"token.v1": self.old, self.pointer: b"v1"})

    def inputs(self, counters: Counters, watched: str = "2h") -> dict[str, Any]:
        return super().inputs(counters) | {
            "workloads": self.workloads,
            "service_account": self.account,
            "audiences": [self.audience],
            "pointer": self.pointer,
        }

    def in_use(self, run: StepRun) -> None:
        assert self.data()[self.pointer] == b"v2"
        new = claims_of(Secret(self.data()["token.v2"]))
        assert datetime.fromtimestamp(new["exp"], UTC) > self.ends + 80 * DAY
        assert run.due_at is not None
        assert timedelta(0) <= run.due_at - self.ends <= SECOND, "it waits for the end of the old one"
        # The cluster's own clock does not jump: it refuses the old token by its anchor, some seconds after that goes.
        self.cluster.api.delete(self.path("secrets", self.anchor))
        self.cluster.wait(lambda: not self._accepted(self.old), "the cluster refuses the old token")

    def replaced(self) -> None:
        data = self.data()
        assert set(data) == {"token.v2", self.pointer}
        assert data[self.pointer] == b"v2"
        assert self._accepted(data["token.v2"])

    def put_back(self) -> None:
        data = self.data()
        assert (data[self.pointer], data["token.v1"]) == (b"v1", self.old)
        assert self._accepted(self.old)
        assert self._accepted(data["token.v2"]), "pods may still hold it"

    def _accepted(self, token: bytes) -> bool:
        asked = {"token": token.decode(), "audiences": [self.audience]}
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": asked}
        found = self.cluster.api.post("/apis/authentication.k8s.io/v1/tokenreviews", review)["status"]
        return found.get("authenticated") is True


class Certificate(Ground):
    """A certificate by cert-manager, whose issuer has got another authority than the one that issued it."""

    runbook, holds, retiring = "tls-certificate", "web-tls", "overlap"
    users: ClassVar[tuple[str, ...]] = ("web",)
    restarts = 1

    def make(self) -> None:
        self._apply("Issuer", "own", {"selfSigned": {}})
        for name in ("before", "after"):
            self._certify(name, name, "own", isCA=True)
        self._apply("Issuer", "authority", {"ca": {"secretName": "before"}})
        self._certify(
            "web", self.holds, "authority", ipAddresses=["127.0.0.1"], privateKey={"rotationPolicy": "Always"}
        )
        self._apply("Issuer", "authority", {"ca": {"secretName": "after"}})
        self.before, self.after = (self._secret(name)["ca.crt"].decode() for name in ("before", "after"))
        about = {"name": "trust", "namespace": self.namespace}
        self.cluster.apply(
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": about, "data": {"ca.crt": self.before}}
        )
        self.old = self._serial()
        self._server = self.stack.enter_context(TlsServer(self._pair()))
        self._started: dict[str, int] = {}
        self._read_bundle()

    def inputs(self, counters: Counters, watched: str = "2h") -> dict[str, Any]:
        return super().inputs(counters) | {
            "workloads": self.workloads,
            "certificate": "web",
            "endpoints": ["web"],
            "bundle": "configmap/trust",
            "issuer_secret_name": "after",
        }

    def settings(self, kubeconfig: Path, counters: Counters, estate: Estate, **changes: Any) -> dict[str, Any]:
        made = super().settings(kubeconfig, counters, estate, **changes)
        ends = {"web": {"host": "127.0.0.1", "port": self._server.port, "ca": str(self._clients)}}
        made["adapters"] |= {"tls": {"endpoints": ends}}
        return made

    def settled(self) -> bool:
        """The same; what has started since shows the certificate that it found, and clients have read the bundle."""
        if not super().settled():
            return False
        now = self.generations()
        if now != self._started:
            self._server.serve(self._pair())
            self._started = now
        self._read_bundle()
        return True

    def in_use(self, run: StepRun) -> None:
        assert self._serial() != self.old
        assert self._trusted() == set(blocks_of(self.before + self.after))

    def replaced(self) -> None:
        assert self._serial() != self.old
        assert self._trusted() == set(blocks_of(self.after))

    def put_back(self) -> None:
        assert self._serial() != self.old, "a certificate is not taken back"
        assert self._trusted() == set(blocks_of(self.before + self.after)), "so its authority stays trusted"

    def _apply(self, kind: str, name: str, spec: Mapping[str, Any]) -> None:
        about = {"name": name, "namespace": self.namespace}
        self.cluster.apply({"apiVersion": CERT_MANAGER, "kind": kind, "metadata": about, "spec": dict(spec)})

    def _certify(self, name: str, into: str, issuer: str, **more: Any) -> None:
        spec = {"secretName": into, "commonName": name, "issuerRef": {"name": issuer, "kind": "Issuer"}}
        self._apply("Certificate", name, spec | more)
        path = self.path("certificates", name, CERT_MANAGER)
        self.cluster.wait(lambda: _ready(self.cluster.api.get(path)), f"the certificate {name} is issued")

    def _secret(self, name: str) -> dict[str, bytes]:
        held = self.cluster.api.get(self.path("secrets", name))["data"]
        return {entry: base64.b64decode(value) for entry, value in held.items()}

    def _pair(self) -> str:
        held = self.data()
        return held["tls.crt"].decode() + held["tls.key"].decode()

    def _serial(self) -> str:
        return serial_of(self.data()["tls.crt"].decode())

    def _bundle(self) -> str:
        return str(self.cluster.api.get(self.path("configmaps", "trust"))["data"]["ca.crt"])

    def _trusted(self) -> set[str]:
        return set(blocks_of(self._bundle()))

    @property
    def _clients(self) -> Path:
        """The authorities as clients have read them."""
        return self.folder / "trusted.pem"

    def _read_bundle(self) -> None:
        self._clients.write_text(self._bundle())


def _ready(found: Mapping[str, Any]) -> bool:
    conditions = found.get("status", {}).get("conditions", [])
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


GROUNDS: list[type[Ground]] = [CapabilityToken, SigningKey, ServiceAccountToken, Certificate]
