"""Objects that tests put into a cluster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from playground.cluster.stages import BEHAVES


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
                "spec": {"containers": [{"name": name, "image": "none"}]},
            },
        },
    }
