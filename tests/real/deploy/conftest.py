"""Helm as a program, and the chart installed in a namespace of its own that lets restricted pods in alone."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from bot.settings import Settings, load_settings
from docs.manifests import CHART, KUBERNETES
from playground.cluster.api import Manifest
from playground.cluster.build import Parts
from playground.cluster.cluster import Cluster
from tests.cli.conftest import ROOT
from tests.cli.test_cli_permissions import PROCEDURE, SETTINGS


@dataclass(frozen=True)
class Helm:
    """The real Helm; without a cluster it is told for which version it renders."""

    program: Path

    def __call__(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self.program), *(str(word) for word in words)], capture_output=True, text=True, timeout=120
        )

    def render(self, *words: str | Path) -> str:
        done = self("template", "keyturn", CHART, "--namespace", "keyturn", "--kube-version", KUBERNETES, *words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def refuses(self, *words: str | Path) -> str:
        done = self("template", "keyturn", CHART, "--kube-version", KUBERNETES, *words)
        assert done.returncode != 0, done.stdout
        return done.stderr


FROM_MONITORING = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]
MONITORED = (
    *("--set", "serviceMonitor.enabled=true"),
    *("--set-json", f"networkPolicy.ingressFrom={json.dumps(FROM_MONITORING)}"),
)


def documents(text: str) -> list[Manifest]:
    return [one for one in yaml.safe_load_all(text) if one]


@pytest.fixture(scope="session")
def helm(control_plane_parts: Parts) -> Helm:
    return Helm(control_plane_parts.program("helm"))


@pytest.fixture(scope="module")
def shop(cluster: Cluster) -> Iterator[str]:
    """A namespace with what is rotated, and with what is none of keyturn's business."""
    with cluster.namespace("shop") as name:
        for secret in ("admin", "other"):
            cluster.apply(
                {
                    "apiVersion": "v1",
                    "kind": "Secret",
                    "metadata": {"name": secret, "namespace": name},
                    "stringData": {"key.v1": "first-value-of-this-key", "active": "v1"},
                }
            )
        cluster.apply(workload(name, "Deployment", "web"), workload(name, "StatefulSet", "store"))
        yield name


def workload(namespace: str, kind: str, name: str) -> Manifest:
    labels = {"app": name}
    spec: dict[str, Any] = {
        "replicas": 1,
        "selector": {"matchLabels": labels},
        "template": {
            "metadata": {"labels": labels},
            "spec": {
                "containers": [
                    {"name": "main", "image": "shop/main:1", "envFrom": [{"secretRef": {"name": "admin"}}]},
                ]
            },
        },
    }
    if kind == "StatefulSet":
        spec["serviceName"] = name
    about = {"name": name, "namespace": namespace, "labels": labels}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": about, "spec": spec}


@pytest.fixture(scope="module")
def settings(shop: str, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """What keyturn.yml declares, and the folder it lies in."""
    folder = tmp_path_factory.mktemp("installation")
    (folder / "runbooks").mkdir()
    (folder / "runbooks/rotate-key.yaml").write_text(PROCEDURE.read_text())
    (folder / "keyturn.yml").write_text(SETTINGS.replace("namespace: shop", f"namespace: {shop}"))
    return load_settings({"KEYTURN_CONFIG": str(folder / "keyturn.yml")})


@dataclass(frozen=True)
class Release:
    """The installed chart."""

    namespace: str
    account: str
    discovery: str
    values: dict[str, Any]
    """What `keyturn permissions --values` printed."""


@pytest.fixture(scope="module")
def release(
    cluster: Cluster,
    helm: Helm,
    settings: Settings,
    shop: str,
    monitoring_kinds: Cluster,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Release]:
    """The chart with two replicas each, what the declared credentials need, and discovery."""
    folder = tmp_path_factory.mktemp("release")
    config = settings.environment.config
    printed = _keyturn(config, "permissions", "--values")
    (folder / "grants.yaml").write_text(printed)
    kubeconfig = cluster.kubeconfig(folder / "kubeconfig")
    with restricted(cluster) as home:
        prerequisites(cluster, home)
        done = helm(
            *("install", "keyturn", CHART, "--kubeconfig", kubeconfig, "--namespace", home, "--wait"),
            *("--timeout", "90s", "--values", folder / "grants.yaml"),
            *("--set", "config.existingConfigMap=", "--set-file", f"config.files.keyturn\\.yml={config}"),
            *("--set-file", f"config.runbooks.rotate-key\\.yaml={PROCEDURE}"),
            *("--set", "discovery.enabled=true", "--set-json", f"discovery.namespaces={json.dumps([shop])}"),
            *MONITORED,
            *("--set", "prometheusRule.enabled=true"),
        )
        assert done.returncode == 0, done.stderr
        rbac = yaml.safe_load(printed)["rbac"]
        yield Release(home, f"{home}/keyturn", f"{home}/keyturn-discovery", rbac)
        helm("uninstall", "keyturn", "--kubeconfig", kubeconfig, "--namespace", home)


def restricted(cluster: Cluster) -> Any:
    """A namespace as deploy/manifests/namespace.yaml makes it."""
    from contextlib import contextmanager

    labels = documents((ROOT / "deploy/manifests/namespace.yaml").read_text())[0]["metadata"]["labels"]

    @contextmanager
    def made() -> Iterator[str]:
        with cluster.namespace("keyturn") as name:
            cluster.api.merge(f"/api/v1/namespaces/{name}", {"metadata": {"labels": labels}})
            yield name

    return made()


def prerequisites(cluster: Cluster, namespace: str) -> None:
    """The Secrets and the ConfigMap that an operator makes, as docs/deploy.md shows."""
    texts = {"SLACK_BOT_TOKEN": "xoxb-x", "SLACK_APP_TOKEN": "xapp-x", "KEYTURN_DATABASE_URL": "postgresql://db/x"}
    keys = {"audit-signing.pem": "pem", "audit-signing.pub": "pub"}
    for name, data in (("keyturn", texts), ("keyturn-keys", keys)):
        about = {"name": name, "namespace": namespace}
        cluster.apply({"apiVersion": "v1", "kind": "Secret", "metadata": about, "stringData": data})
    about = {"name": "keyturn-config", "namespace": namespace}
    cluster.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": about, "data": {"keyturn.yml": "version: 1\n"}})


def _keyturn(config: Path, *words: str) -> str:
    import os
    import sys

    done = subprocess.run(
        [sys.executable, "-m", "bot", *words],
        cwd=ROOT,
        env={**os.environ, "KEYTURN_CONFIG": str(config)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
