"""The requests proxy of a shop on a cluster: keys by version in one Secret, a signer and verifiers that read it."""

from __future__ import annotations

import base64
import secrets
from pathlib import Path
from typing import Any

from playground.cluster.api import ApiError
from playground.cluster.cluster import Cluster
from playground.cluster.stages import DELAY
from playground.estate import Estate
from playground.installation import settings_of
from tests.real.control_plane.manifests import deployment
from tests.real.counters import Counters

SECRET = "requests-proxy-admin"
SIGNER, VERIFIER = "jobs-manager", "requests-proxy"
PART_OF = {"app.kubernetes.io/part-of": "requests-proxy"}
SELECTOR = "app.kubernetes.io/part-of=requests-proxy"
CREDENTIAL = "proxy-signing"
BECOMES_READY = "300ms"
"""A pod takes so long, so that who looks at once after a restart always finds it under way."""
OTHER = "log-level"
"""An entry of the Secret that is no key."""


class Shop:
    """One namespace. Its first key is v1."""

    def __init__(
        self, cluster: Cluster, namespace: str, *, secret: str = SECRET, signer: str = SIGNER, verifier: str = VERIFIER
    ) -> None:
        self.cluster, self.namespace = cluster, namespace
        self.secret, self.signer = secret, signer
        self.workloads = [f"deployment/{name}" for name in (signer, verifier)]
        self.secret_path = f"/api/v1/namespaces/{namespace}/secrets/{secret}"
        self.deployments_path = f"/apis/apps/v1/namespaces/{namespace}/deployments"

    def lay_out(self, replicas: int = 1) -> None:
        """Make the Secret and the Deployments, and wait for their pods."""
        data = {"key.v1": secrets.token_bytes(64), "active": b"v1", OTHER: b"info"}
        about = {"name": SECRET, "namespace": self.namespace, "annotations": {"helm.sh/resource-policy": "keep"}}
        coded = {name: base64.b64encode(value).decode() for name, value in data.items()}
        self.cluster.apply({"apiVersion": "v1", "kind": "Secret", "metadata": about, "data": coded})
        self.cluster.apply(*(self._deployment(name, replicas) for name in (SIGNER, VERIFIER)))
        self.settle()

    def _deployment(self, name: str, replicas: int) -> dict[str, Any]:
        told = {DELAY: BECOMES_READY}
        made = deployment(self.namespace, name, replicas=replicas, behaves="slow", annotations=told)
        template = made["spec"]["template"]
        template["metadata"]["labels"] |= PART_OF
        template["spec"]["volumes"] = [{"name": "keys", "secret": {"secretName": SECRET}}]
        (container,) = template["spec"]["containers"]
        container["volumeMounts"] = [{"name": "keys", "mountPath": "/keys"}]
        if name == SIGNER:
            container["env"] = [{"name": "tokenTtlSeconds", "value": str(90 * 86400)}]
        return made

    def data(self) -> dict[str, bytes]:
        """What the Secret holds."""
        held = self.cluster.api.get(self.secret_path).get("data", {})
        return {name: base64.b64decode(value) for name, value in held.items()}

    def write(self, **entries: bytes | None) -> None:
        """Change entries by hand; None removes one."""
        coded = {name: None if value is None else base64.b64encode(value).decode() for name, value in entries.items()}
        self.cluster.api.merge(self.secret_path, {"data": coded})

    def generations(self) -> dict[str, int]:
        """How often each Deployment was changed, by name."""
        return {each["metadata"]["name"]: each["metadata"]["generation"] for each in self.deployments()}

    def deployments(self) -> list[dict[str, Any]]:
        """The Deployments as they are now."""
        found: list[dict[str, Any]] = self.cluster.api.get(self.deployments_path)["items"]
        return found

    def settled(self) -> bool:
        """Whether every Deployment's pods are of its newest template and Ready, and no other is left."""
        return all(_settled(each) for each in self.deployments())

    def settle(self) -> None:
        """Wait until it is so."""
        self.cluster.wait(self.settled, f"the Deployments of {self.namespace} settle")

    def settings(self, kubeconfig: Path, counters: Counters, estate: Estate, **changes: Any) -> dict[str, Any]:
        """The settings of a bot that rotates its key."""
        made = settings_of(
            estate, credentials=[self.credential(counters)], cadences={"signing-key": {"production": "90d"}}
        )
        made["adapters"] |= {
            "kubernetes": {"clusters": {"default": {"kubeconfig": str(kubeconfig)}}},
            "prometheus": {"servers": {"main": {"url": counters.url}}},
            "gateways": {"gateways": {VERIFIER: {"url": counters.url}}},
            "http": {"allowed": [counters.host], "private": ["127.0.0.0/8"]},
        }
        return made | changes

    def credential(self, counters: Counters) -> dict[str, Any]:
        """How its key is declared."""
        return {
            "name": CREDENTIAL,
            "environment": "production",
            "class": "signing-key",
            "owner": "alice",
            "runbook": "versioned-secret",
            "inputs": self.inputs(counters),
        }

    def inputs(self, counters: Counters, watched: str = "2h") -> dict[str, Any]:
        """What the runbook wants to know."""
        return {
            "namespace": self.namespace,
            "secret_name": self.secret,
            "workloads": self.workloads,
            "signer": f"deployment/{self.signer}",
            "selector": SELECTOR,
            "watched": watched,
            "verifiers": [VERIFIER],
            "good": 'tokens_total{code="200"}',
            "total": "tokens_total",
            "dependants": [f"{counters.url}/healthz"],
        }

    def has_account(self) -> bool:
        """Whether pods can be made in the namespace."""
        path = f"/api/v1/namespaces/{self.namespace}/serviceaccounts"
        return any(each["metadata"]["name"] == "default" for each in self.cluster.api.get(path)["items"])

    def gone(self) -> bool:
        """Whether the namespace is no more."""
        try:
            self.cluster.api.get(f"/api/v1/namespaces/{self.namespace}")
        except ApiError as error:
            return error.status == 404
        return False


def _settled(found: dict[str, Any]) -> bool:
    status, wanted = found.get("status", {}), found["spec"]["replicas"]
    counts = (status.get(name, 0) for name in ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"))
    return status.get("observedGeneration") == found["metadata"]["generation"] and set(counts) == {wanted}
