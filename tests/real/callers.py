"""Applications of a namespace that call an API: its key stands in a Secret, and each has it in a variable."""

from __future__ import annotations

import base64
from typing import Any

import httpx

from playground.cluster.cluster import Cluster
from playground.cluster.stages import DELAY
from playground.estate import Estate
from tests.real.control_plane.manifests import deployment
from tests.real.counters import Counters
from tests.real.shop import BECOMES_READY, OTHER

SECRET = "billing-api-key"
CLIENT = "billing"
NAMES = ("billing", "reports")
CONTAINER, VARIABLE = "app", "API_KEY"
TIER = {"tier": "callers"}
CREDENTIAL = "callers-key"


class Callers:
    """Their key is the one that the estate's identity service has issued to billing."""

    def __init__(self, cluster: Cluster, namespace: str, estate: Estate) -> None:
        self._cluster, self._namespace, self._estate = cluster, namespace, estate
        self.secret_path = f"/api/v1/namespaces/{namespace}/secrets/{SECRET}"

    def lay_out(self) -> None:
        """Make the Secret and the Deployments, and use the key once."""
        folder = self._estate.secrets_directory / CLIENT / "current"
        value = (folder / "value").read_text().strip()
        data = {"key.v1": value.encode(), "active": b"v1", OTHER: b"info"}
        coded = {name: base64.b64encode(text).decode() for name, text in data.items()}
        about = {"name": SECRET, "namespace": self._namespace}
        self._cluster.apply({"apiVersion": "v1", "kind": "Secret", "metadata": about, "data": coded})
        self._cluster.apply(*(self._deployment(name) for name in NAMES))
        self.log_in(value)

    def log_in(self, value: str) -> None:
        """Call with a key, as they do."""
        url, asked = f"{self._estate.identity.address}/oauth2/token", {"grant_type": "client_credentials"}
        httpx.post(url, data=asked, auth=(CLIENT, value), trust_env=False).raise_for_status()

    def data(self) -> dict[str, bytes]:
        """What the Secret holds."""
        held = self._cluster.api.get(self.secret_path).get("data", {})
        return {name: base64.b64decode(value) for name, value in held.items()}

    def keys(self) -> list[dict[str, Any]]:
        """The keys of the client at the identity service."""
        return [key for key in self._estate.identity.api_keys.all() if key["client"] == CLIENT]

    def credential(self, counters: Counters) -> dict[str, Any]:
        """How it is declared."""
        inputs = {
            "service": self._estate.identity.address,
            "client": CLIENT,
            "population": "apps",
            "overlap": "2h",
            "namespace": self._namespace,
            "secret_name": SECRET,
            "workloads": [f"deployment/{name}" for name in NAMES],
            "container": CONTAINER,
            "variable": VARIABLE,
            "selector": "tier=callers",
            "health": f"{counters.url}/healthz",
            "good": 'calls_total{code="200"}',
            "total": "calls_total",
            "dependants": [f"{counters.url}/healthz"],
        }
        return {
            "name": CREDENTIAL,
            "environment": "production",
            "class": "api-key",
            "owner": "dave",
            "runbook": "api-key",
            "inputs": inputs,
        }

    def _deployment(self, name: str) -> dict[str, Any]:
        made = deployment(self._namespace, name, behaves="slow", annotations={DELAY: BECOMES_READY})
        template = made["spec"]["template"]
        template["metadata"]["labels"] |= TIER
        reference = {"secretKeyRef": {"name": SECRET, "key": "key.v1"}}
        (container,) = template["spec"]["containers"]
        container |= {"name": CONTAINER, "env": [{"name": VARIABLE, "valueFrom": reference}]}
        return made


def referred(found: dict[str, Any]) -> dict[str, str]:
    """Which entry the variable of a Deployment comes from."""
    (container,) = found["spec"]["template"]["spec"]["containers"]
    (variable,) = (each for each in container["env"] if each["name"] == VARIABLE)
    reference: dict[str, str] = variable["valueFrom"]["secretKeyRef"]
    return reference
