"""`helm upgrade` of the installed chart: what was changed is changed, and nothing else is touched or lost."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from docs.manifests import CHART
from playground.cluster.api import ApiError, Manifest
from playground.cluster.cluster import Cluster
from tests.real.deploy.conftest import FROM_MONITORING, Helm, documents, prerequisites, restricted

SECRETS = {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["admin"], "verbs": ["get", "patch"]}
ANCHORS = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["create"]}
REVIEWS = {"apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"]}
POD_LIST = {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}
OPERATORS = (("secrets", "keyturn"), ("secrets", "keyturn-keys"), ("configmaps", "keyturn-config"))

Objects = dict[tuple[str, str, str], Manifest]


@dataclass
class Installed:
    """The release `keyturn`, its values in a file, and its objects as the API server has them."""

    cluster: Cluster
    helm: Helm
    home: str
    folder: Path

    def __call__(self, word: str, values: dict[str, Any], *words: str) -> str:
        """Install or upgrade."""
        (self.folder / "values.json").write_text(json.dumps(values))
        where = ("--kubeconfig", self.folder / "kubeconfig", "--namespace", self.home)
        done = self.helm(word, "keyturn", CHART, *where, "--values", self.folder / "values.json", *words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def told(self, *words: str) -> str:
        """What Helm says of the release."""
        done = self.helm(*words, "--kubeconfig", self.folder / "kubeconfig", "--namespace", self.home)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def manifest(self) -> list[Manifest]:
        """What the release consists of by Helm's own record."""
        found = documents(self.told("get", "manifest", "keyturn"))
        for one in found:
            one["metadata"].setdefault("namespace", self.home)
        return found

    def objects(self) -> Objects:
        """The same, live; every one has to be there."""
        return {key(one): self.cluster.api.get(self.cluster.api.path_of(one)) for one in self.manifest()}

    def operators(self) -> list[Manifest]:
        """What an operator has put beside it."""
        return [self.cluster.api.get(f"/api/v1/namespaces/{self.home}/{kind}/{name}") for kind, name in OPERATORS]

    def settle(self) -> None:
        """Wait until the rollouts are over."""
        for name in ("keyturn-serve", "keyturn-worker"):
            self.cluster.kubectl("rollout", "status", f"deployment/{name}", "-n", self.home, "--timeout=60s")


def key(one: Manifest) -> tuple[str, str, str]:
    return one["kind"], one["metadata"].get("namespace", ""), one["metadata"]["name"]


def unlike(before: Objects, after: Objects) -> set[str]:
    """Kind and name of the objects whose declared content is another one now; none may have been made anew."""
    found = set()
    for each in before.keys() & after.keys():
        one, other = before[each], after[each]
        assert one["metadata"]["uid"] == other["metadata"]["uid"], f"{each} was made anew"
        if declared(one) != declared(other):
            found.add(f"{each[0]}/{each[2]}")
    return found


def declared(one: Manifest) -> Manifest:
    about = {name: one["metadata"].get(name) for name in ("labels", "annotations")}
    about["annotations"] = {
        name: value
        for name, value in (about["annotations"] or {}).items()
        if not name.startswith("deployment.kubernetes.io/")
    }
    return {name: value for name, value in one.items() if name not in ("metadata", "status")} | {"about": about}


@pytest.fixture(scope="module")
def shops(cluster: Cluster) -> Iterator[tuple[str, str]]:
    with cluster.namespace("shop") as shop, cluster.namespace("pay") as pay:
        yield shop, pay


@pytest.fixture
def release(cluster: Cluster, helm: Helm, monitoring_kinds: Cluster, tmp_path: Path) -> Iterator[Installed]:
    cluster.kubeconfig(tmp_path / "kubeconfig")
    with restricted(cluster) as home:
        prerequisites(cluster, home)
        installed = Installed(cluster, helm, home, tmp_path)
        yield installed
        installed.told("uninstall", "keyturn")


def values(shop: str, pay: str) -> dict[str, Any]:
    """Everything that the chart can bring."""
    return {
        "config": {"existingConfigMap": "", "files": {"keyturn.yml": "version: 1\n"}},
        "rbac": {"namespaces": {shop: [SECRETS, ANCHORS], pay: [SECRETS]}, "cluster": [REVIEWS]},
        "discovery": {"enabled": True, "namespaces": [shop]},
        "serviceMonitor": {"enabled": True},
        "networkPolicy": {"ingressFrom": FROM_MONITORING},
        "prometheusRule": {"enabled": True},
    }


def test_an_upgrade_changes_what_was_changed_and_loses_nothing(
    release: Installed, shops: tuple[str, str], cluster: Cluster
) -> None:
    shop, pay = shops
    given = values(shop, pay)
    release("install", given, "--wait", "--timeout", "90s")
    before, beside = release.objects(), release.operators()
    token = before["Secret", release.home, "keyturn-discovery"]

    # The same values again: nothing is touched.
    release("upgrade", given, "--wait", "--timeout", "90s")
    again = release.objects()
    assert again.keys() == before.keys()
    assert unlike(before, again) == set()
    assert {each: one["metadata"].get("generation") for each, one in again.items()} == {
        each: one["metadata"].get("generation") for each, one in before.items()
    }, "no pod was replaced"

    # Another setting, another replica, another grant: the API server takes it as a dry run, which changes nothing.
    given["config"]["files"]["keyturn.yml"] = "version: 1\n# changed\n"
    given["worker"] = {"replicas": 3}
    given["rbac"]["namespaces"][pay].append(POD_LIST)
    release("upgrade", given, "--dry-run=server")
    assert unlike(again, release.objects()) == set()

    # And for real.
    release("upgrade", given, "--wait", "--timeout", "90s")
    release.settle()
    after = release.objects()
    assert after.keys() == before.keys()
    assert unlike(before, after) == {
        "ConfigMap/keyturn-files",
        "Deployment/keyturn-serve",
        "Deployment/keyturn-worker",
        "Role/keyturn-rotation",
    }
    assert before["Role", shop, "keyturn-rotation"]["rules"] == after["Role", shop, "keyturn-rotation"]["rules"]
    assert after["Role", pay, "keyturn-rotation"]["rules"] == [SECRETS, POD_LIST]
    for name, replicas in (("serve", 2), ("worker", 3)):
        deployment = after["Deployment", release.home, f"keyturn-{name}"]
        assert deployment["status"]["readyReplicas"] == deployment["status"]["updatedReplicas"] == replicas
    assert after["Secret", release.home, "keyturn-discovery"]["data"] == token["data"], "its kubeconfig goes on"
    assert release.operators() == beside

    # What is granted no longer is taken away, and the account keeps the rest.
    del given["rbac"]["namespaces"][shop]
    given["discovery"]["enabled"] = False
    release("upgrade", given, "--wait", "--timeout", "90s")
    left = release.objects()
    gone = before.keys() - left.keys()
    assert {(kind, name) for kind, _, name in gone} == {
        ("Role", "keyturn-rotation"),
        ("RoleBinding", "keyturn-rotation"),
        ("ValidatingAdmissionPolicy", f"{release.home}-keyturn-secrets"),
        ("ValidatingAdmissionPolicyBinding", f"{release.home}-keyturn-secrets"),
        *((kind, "keyturn-discovery") for kind in ("ServiceAccount", "Secret", "ConfigMap", "Role", "RoleBinding")),
    }
    for each in gone:
        with pytest.raises(ApiError, match="404"):
            cluster.api.get(cluster.api.path_of(before[each]))
    assert release.operators() == beside

    # And back by Helm's own rollback.
    release.told("rollback", "keyturn", "1", "--wait", "--timeout", "90s")
    back = release.objects()
    assert back.keys() == before.keys()
    assert {each[2] for each in before if declared(before[each]) != declared(back[each])} <= {"keyturn-discovery"}
