"""The chart: linted and rendered by Helm, and taken by a control plane, first as a dry run and then for real."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from bot.app import DRAIN_SECONDS
from docs.manifests import CHART, TARGET, rendered
from playground.cluster.api import Manifest
from playground.cluster.cluster import Cluster
from tests.image.dockerfile import read
from tests.real.deploy.conftest import FROM_MONITORING, Helm, Release, documents, prerequisites, restricted

FILES = {"config": {"existingConfigMap": "", "files": {"keyturn.yml": "version: 1\n"}}}
NAMED = {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["admin"], "verbs": ["get", "patch"]}
SQLITE = {
    "database": {"kind": "sqlite"},
    "serve": {"replicas": 1},
    "worker": {"replicas": 0},
    "keys": {"existingSecret": ""},
}
SETS: dict[str, dict[str, Any]] = {
    "default": {},
    "sqlite": SQLITE,
    "everything": FILES
    | {
        "image": {"digest": f"sha256:{'0' * 64}", "pullSecrets": ["registry"]},
        "adapterSecrets": ["identity"],
        "slack": {"transport": "http"},
        "witness": {"existingClaim": "witness"},
        "rbac": {
            "namespaces": {"default": [NAMED]},
            "cluster": [
                {"apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"]},
            ],
        },
        "discovery": {"enabled": True},
        "networkPolicy": {
            "ingressFrom": FROM_MONITORING,
            "egress": {"more": [{"ports": [{"protocol": "TCP", "port": 9090}]}]},
        },
        "serviceMonitor": {"enabled": True, "labels": {"release": "main"}},
        "prometheusRule": {"enabled": True},
        "podAnnotations": {"team": "platform"},
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"key": "tools", "operator": "Exists"}],
        "extraVolumes": [{"name": "ca", "configMap": {"name": "ca"}}],
        "extraVolumeMounts": [{"name": "ca", "mountPath": "/etc/ca"}],
        "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy.example.com:3128"}],
    },
}


@pytest.fixture(params=list(SETS))
def values(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return written(tmp_path, SETS[request.param])


def written(folder: Path, values: dict[str, Any]) -> Path:
    path = folder / "values.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def pods(found: list[Manifest]) -> list[tuple[Manifest, Any]]:
    return [(one, one["spec"]["template"]["spec"]) for one in found if one["kind"] in ("Deployment", "StatefulSet")]


def test_helm_s_linter_has_nothing_to_say(helm: Helm, values: Path) -> None:
    done = helm("lint", "--strict", CHART, "--values", values)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stdout


def test_the_control_plane_takes_it(cluster: Cluster, monitoring_kinds: Cluster, helm: Helm, values: Path) -> None:
    found = documents(helm.render("--values", values))
    with restricted(cluster) as home:
        for one in found:
            if not one["kind"].startswith("Cluster"):
                one["metadata"].setdefault("namespace", home)
        items = json.dumps({"apiVersion": "v1", "kind": "List", "items": found})
        told = cluster.kubectl("apply", "--dry-run=server", "-f", "-", input=items)
        assert told.count("(server dry run)") == len(found)
        assert "Warning" not in told  # a pod that is less than restricted would bring one


def test_a_pod_that_is_less_than_restricted_would_bring_a_warning(cluster: Cluster, helm: Helm) -> None:
    (about, pod), *_ = pods(documents(helm.render()))
    pod["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = True
    with restricted(cluster) as home:
        told = cluster.kubectl("apply", "--dry-run=server", "-n", home, "-f", "-", input=json.dumps(about))
    assert "allowPrivilegeEscalation" in told


def test_pods_have_no_more_than_they_need(helm: Helm, values: Path) -> None:
    final = read()[1][-1]
    for about, pod in pods(documents(helm.render("--values", values))):
        (container,) = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"]
        user = f"{pod['securityContext']['runAsUser']}:{pod['securityContext']['runAsGroup']}"
        assert user == final.all("USER")[-1]
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        variables = {one["name"]: one.get("value") for one in container["env"]}
        mounted = {one["mountPath"]: one for one in container["volumeMounts"]}
        (volume,) = re.findall(r'"(.+)"', final.all("VOLUME")[0])
        assert mounted.keys() >= {volume, "/tmp", "/etc/keyturn"}
        image = final.pairs("ENV")
        assert variables["KEYTURN_CONFIG"] == image["KEYTURN_CONFIG"]
        assert variables["KEYTURN_HTTP"].endswith(f":{container['ports'][0]['containerPort']}")
        assert final.all("EXPOSE") == [str(container["ports"][0]["containerPort"])]
        assert not mounted.get(str(Path(variables["KEYTURN_WITNESS"]).parent), {"readOnly": True}).get("readOnly")
        assert pod["terminationGracePeriodSeconds"] > 3 * DRAIN_SECONDS
        probes = {container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness", "readiness")}
        assert probes == {"/healthz", "/readyz"}
        if about["kind"] == "Deployment":
            assert about["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


def test_replicas_are_spread_and_never_all_evicted(helm: Helm) -> None:
    found = documents(helm.render())
    assert {about["metadata"]["name"]: about["spec"]["replicas"] for about, _ in pods(found)} == {
        "keyturn-serve": 2,
        "keyturn-worker": 2,
    }
    budgets = [one for one in found if one["kind"] == "PodDisruptionBudget"]
    assert len(budgets) == 2
    for about, pod in pods(found):
        labels = about["spec"]["template"]["metadata"]["labels"]
        assert pod["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"].items() <= labels.items()
        matching = [one for one in budgets if one["spec"]["selector"]["matchLabels"].items() <= labels.items()]
        assert len(matching) == 1


def test_pods_get_a_token_only_where_something_is_granted(helm: Helm, tmp_path: Path) -> None:
    assert all(pod["automountServiceAccountToken"] is False for _, pod in pods(documents(helm.render())))
    path = written(tmp_path, {"rbac": {"namespaces": {"shop": [NAMED]}}})
    found = documents(helm.render("--values", path))
    assert all(pod["automountServiceAccountToken"] is True for _, pod in pods(found))
    assert not any(one["automountServiceAccountToken"] for one in found if one["kind"] == "ServiceAccount")


def test_no_secret_is_made_with_a_value(helm: Helm, values: Path) -> None:
    for one in documents(helm.render("--values", values)):
        if one["kind"] == "Secret":
            assert one["type"] == "kubernetes.io/service-account-token"
            assert "data" not in one
            assert "stringData" not in one


def test_changed_settings_replace_the_pods(helm: Helm, tmp_path: Path) -> None:
    def annotation(text: str) -> str:
        path = written(tmp_path, {"config": {"existingConfigMap": "", "files": {"keyturn.yml": text}}})
        (found, *_) = pods(documents(helm.render("--values", path)))
        return str(found[0]["spec"]["template"]["metadata"]["annotations"]["keyturn.dev/config"])

    assert annotation("version: 1\n") != annotation("version: 1\n# changed\n")


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (SQLITE | {"serve": {"replicas": 2}}, "SQLite is one file for one process: set serve.replicas to 1"),
        (SQLITE | {"worker": {"replicas": 1}}, "SQLite is one file for one process: set worker.replicas to 0"),
        ({"keys": {"existingSecret": ""}}, "all replicas share one audit key"),
        ({"config": {"existingConfigMap": ""}}, "There is no keyturn.yml"),
        ({"config": {"files": {"keyturn.yml": "version: 1"}}}, "not both"),
        ({"rbac": {"namespaces": {"shop": [NAMED | {"verbs": ["list"], "resourceNames": []}]}}}, "resourceNames"),
        (
            {"rbac": {"namespaces": {"shop": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["list"]}]}}},
            "rotations have Secrets by name only",
        ),
        ({"rbac": {"namespaces": {"shop": [NAMED | {"verbs": ["*"]}]}}}, "verbs"),
        ({"rbac": {"namespaces": {"shop": [NAMED | {"resources": ["pods/exec"]}]}}}, "resources"),
        ({"rbac": {"cluster": [NAMED]}}, "resources"),
        (
            {
                "rbac": {
                    "namespaces": {
                        "shop": [{"apiGroups": [""], "resources": ["serviceaccounts/token"], "verbs": ["create"]}]
                    }
                }
            },
            "tokens of every service account",
        ),
        ({"serviceMonitor": {"enabled": True}}, "name it in networkPolicy.ingressFrom"),
        ({"slack": {"transport": "http"}}, "name your ingress in networkPolicy.ingressFrom"),
        ({"slackToken": "xoxb-1"}, "slackToken"),
        ({"terminationGracePeriodSeconds": 5}, "terminationGracePeriodSeconds"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_what_contradicts_itself_or_is_too_wide_is_refused(
    helm: Helm, tmp_path: Path, values: dict[str, Any], told: str
) -> None:
    assert told in helm.refuses("--values", written(tmp_path, values))


def test_without_a_policy_nobody_has_to_be_let_in(helm: Helm, tmp_path: Path) -> None:
    asked = {"serviceMonitor": {"enabled": True}, "slack": {"transport": "http"}}
    helm.render("--values", written(tmp_path, asked | {"networkPolicy": {"enabled": False}}))
    helm.render("--values", written(tmp_path, asked | {"networkPolicy": {"ingressFrom": FROM_MONITORING}}))


def test_the_plain_manifests_are_the_chart_with_its_default_values(helm: Helm) -> None:
    assert TARGET.read_text() == rendered(str(helm.program)), "run `make manifests`"


def test_the_plain_manifests_can_be_applied_by_kustomize(cluster: Cluster) -> None:
    text = cluster.kubectl("kustomize", str(TARGET.parent))
    assert {one["metadata"].get("namespace", "keyturn") for one in documents(text)} == {"keyturn"}
    with restricted(cluster) as home:
        prerequisites(cluster, home)
        cluster.kubectl("apply", "--namespace", home, "-f", str(TARGET))
        cluster.kubectl("rollout", "status", "--namespace", home, "--timeout=60s", "deployment/keyturn-serve")


def test_the_release_runs_two_replicas_of_each(cluster: Cluster, release: Release) -> None:
    for name in ("keyturn-serve", "keyturn-worker"):
        path = f"/apis/apps/v1/namespaces/{release.namespace}/deployments/{name}"
        assert cluster.api.get(path)["status"]["readyReplicas"] == 2
    path = f"/apis/policy/v1/namespaces/{release.namespace}/poddisruptionbudgets/keyturn-serve"
    status = cluster.wait(lambda: _settled(cluster.api.get(path)), "the budget of the replicas")
    assert status["disruptionsAllowed"] == 1


def _settled(budget: Manifest) -> Any:
    status = budget.get("status", {})
    return status if status.get("currentHealthy") == 2 else None


@pytest.mark.realparts
def test_promtool_takes_the_alerts() -> None:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed; Debian has it in the package prometheus")
    done = subprocess.run(
        ["promtool", "check", "rules", "--lint=all", CHART / "alerts.yaml"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_alerts_use_metrics_that_there_are() -> None:
    known = set(re.findall(r"`(keyturn_\w+)`", (CHART.parents[2] / "docs/reference/metrics.md").read_text()))
    used = set(re.findall(r"keyturn_\w+", (CHART / "alerts.yaml").read_text()))
    assert {name.removesuffix("_info") for name in used} <= known
