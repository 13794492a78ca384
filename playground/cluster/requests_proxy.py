"""A release of two applications around one Secret: jobs-manager signs tokens, requests-proxy verifies them.

The Secret `<release>-requests-proxy-admin` holds `key.v1`, `key.v2` … and `active`, and Helm never deletes it
(`helm.sh/resource-policy: keep`). Both read it when a pod starts.
"""

from __future__ import annotations

import base64
import secrets
from typing import Any

from playground.cluster.consumer import SIGNER, VERIFIER
from playground.cluster.pods import CONSUMER_LABEL, SECRET
from playground.cluster.stages import BEHAVES, CONSUMER

SIGNS, VERIFIES = "jobs-manager", "requests-proxy"
PART_OF = "requests-proxy"
TTL = "tokenTtlSeconds"
"""The variable of the signer that says how long a token lives."""


def secret_name(release: str) -> str:
    """Of the Secret with the keys."""
    return f"{release}-requests-proxy-admin"


def new_key() -> str:
    """The value of a fresh key, as a Secret's data."""
    return base64.b64encode(secrets.token_urlsafe(32).encode()).decode()


def release(namespace: str, name: str = "demo", *, life: float, replicas: int = 3) -> list[dict[str, Any]]:
    """The Secret with one key, and both Deployments; tokens live for `life` seconds."""
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": secret_name(name),
            "namespace": namespace,
            "annotations": {"helm.sh/resource-policy": "keep"},
        },
        "data": {"key.v1": new_key(), "active": base64.b64encode(b"v1").decode()},
    }
    return [
        secret,
        _deployment(namespace, name, SIGNS, SIGNER, 1, [{"name": TTL, "value": f"{life:g}"}]),
        _deployment(namespace, name, VERIFIES, VERIFIER, replicas, []),
    ]


def rules(name: str = "demo") -> list[dict[str, Any]]:
    """What a rotation of the Secret needs to do, and nothing else, as `keyturn permissions` tells it."""
    deployments = [f"{name}-{SIGNS}", f"{name}-{VERIFIES}"]
    return [
        _rule("", "secrets", "get", "patch", names=[secret_name(name)]),
        _rule("", "pods", "list"),
        _rule("", "pods/log", "get"),
        _rule("apps", "deployments", "get", "patch", names=deployments),
        *(_rule("apps", kind, "list") for kind in ("deployments", "statefulsets", "daemonsets", "replicasets")),
        *(_rule("batch", kind, "list") for kind in ("cronjobs", "jobs")),
        _rule("networking.k8s.io", "ingresses", "list"),
    ]


def _rule(group: str, resource: str, *verbs: str, names: list[str] | None = None) -> dict[str, Any]:
    named = {} if names is None else {"resourceNames": names}
    return {"apiGroups": [group], "resources": [resource], "verbs": list(verbs), **named}


def _deployment(
    namespace: str, release: str, application: str, role: str, replicas: int, variables: list[dict[str, str]]
) -> dict[str, Any]:
    labels = {"app": application, "app.kubernetes.io/instance": release, "app.kubernetes.io/part-of": PART_OF}
    container = {
        "name": application,
        "image": application,
        "env": variables,
        "envFrom": [{"secretRef": {"name": secret_name(release)}}],
    }
    told = {BEHAVES: CONSUMER, SECRET: secret_name(release)}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": f"{release}-{application}", "namespace": namespace, "labels": labels},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels | {CONSUMER_LABEL: role}, "annotations": told},
                "spec": {"containers": [container]},
            },
        },
    }
