"""Objects that tests put into a cluster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from playground.cluster.stages import BEHAVES

FAKED = "none"
"""The image of pods that only kwok runs: there is none."""
_TEMPLATED = frozenset({"Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job"})


def deployment(
    namespace: str,
    name: str,
    *,
    replicas: int = 1,
    behaves: str | None = None,
    annotations: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """A Deployment whose pods are labelled `app: <name>`; `behaves` and `annotations` go onto its pods."""
    told = dict(annotations or {}) | ({BEHAVES: behaves} if behaves else {})
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}, "annotations": told},
                "spec": {"containers": [{"name": name, "image": FAKED}]},
            },
        },
    }


def why_only_ours(manifest: Mapping[str, Any]) -> str:
    """Why an object cannot be put into a cluster whose pods real kubelets run; empty when it can."""
    kind, spec = manifest.get("kind"), manifest.get("spec") or {}
    if kind == "Node":
        return "no test adds a node to it"
    if kind in _TEMPLATED:
        if spec.get("replicas") == 0 or spec.get("suspend") is True:
            return ""
        spec = spec["template"]["spec"]
    elif kind != "Pod":
        return ""
    images = {one.get("image") for part in ("containers", "initContainers") for one in spec.get(part) or []}
    return "its pods have no image, and run only where kwok plays the kubelet" if FAKED in images else ""
