"""The service accounts of the installed chart: what they may do is what their work needs, and nothing else."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bot.catalog import Catalog
from bot.contracts.adapter import Run
from bot.engine.secrets import SecretDoor
from bot.settings import Settings
from bot.setup.permissions import wanted
from playground.cluster.api import Api
from playground.cluster.cluster import Cluster
from tests.real.deploy.conftest import Release
from tests.real.rights import Rule, flat

REVIEW = "/apis/authorization.k8s.io/v1"
ANYBODY = {"selfsubjectaccessreviews", "selfsubjectrulesreviews", "selfsubjectreviews"}

Ask = Callable[..., bool]


@pytest.fixture
def rotation(cluster: Cluster, release: Release) -> Api:
    return Api(cluster.server, cluster.ca, cluster.token(release.account))


@pytest.fixture
def discovery(cluster: Cluster, release: Release) -> Api:
    return Api(cluster.server, cluster.ca, cluster.token(release.discovery))


def may(api: Api, verb: str, resource: str, namespace: str = "", name: str = "") -> bool:
    """Whether the account may, as the API server itself says; the resource is written `deployments.apps/scale`."""
    kind, _, subresource = resource.partition("/")
    kind, _, group = kind.partition(".")
    asked = {"verb": verb, "resource": kind, "group": group, "namespace": namespace, "name": name}
    asked |= {"subresource": subresource} if subresource else {}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {key: value for key, value in asked.items() if value}},
    }
    return bool(api.post(f"{REVIEW}/selfsubjectaccessreviews", review)["status"]["allowed"])


def rules(api: Api, namespace: str) -> set[Rule]:
    """Every verb that the account has in the namespace, but for what every account has."""
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": namespace},
    }
    status = api.post(f"{REVIEW}/selfsubjectrulesreviews", review)["status"]
    assert not status["incomplete"]
    return flat(one for one in status["resourceRules"] if not set(one["resources"]) <= ANYBODY)


def test_what_the_declared_credentials_need_is_there_as_the_adapter_itself_asks(
    cluster: Cluster, release: Release, settings: Settings, tmp_path: Path
) -> None:
    kubeconfig = cluster.kubeconfig(tmp_path / "kubeconfig", release.account)
    catalog = Catalog({"kubernetes": {"clusters": {"default": {"kubeconfig": str(kubeconfig)}}}}, lambda: door)
    door = SecretDoor(catalog.store)
    run = Run(
        rotation="test",
        token="test",
        operator="test",
        secrets=door,
        now=datetime.now(UTC),
        log=logging.LoggerAdapter(logging.getLogger(__name__), {}),
        deadline=time.monotonic() + 60,
    )
    needed = {"kubernetes": set(wanted(settings, catalog)["kubernetes"])}
    assert len(needed["kubernetes"]) > 5
    assert catalog.access(needed, run) == {"kubernetes": ()}


def test_the_account_has_in_the_namespace_what_was_printed_and_nothing_else(
    release: Release, rotation: Api, shop: str
) -> None:
    assert rules(rotation, shop) == flat(release.values["namespaces"][shop])


@pytest.mark.parametrize("namespace", ["default", "kube-system", "home"])
def test_it_has_nothing_in_other_namespaces_its_own_included(release: Release, rotation: Api, namespace: str) -> None:
    assert rules(rotation, release.namespace if namespace == "home" else namespace) == set()


@pytest.mark.parametrize(
    ("verb", "resource", "name"),
    [
        ("list", "secrets", ""),
        ("watch", "secrets", ""),
        ("get", "secrets", ""),
        ("get", "secrets", "other"),
        ("patch", "secrets", "other"),
        ("create", "secrets", ""),
        ("delete", "secrets", "admin"),
        ("update", "secrets", "admin"),
        ("patch", "deployments.apps", "another"),
        ("delete", "deployments.apps", "web"),
        ("patch", "deployments.apps/scale", "web"),
        ("create", "pods", ""),
        ("create", "pods/exec", "web-0"),
        ("get", "pods/log", "web-0"),
        ("create", "serviceaccounts/token", "default"),
        ("impersonate", "serviceaccounts", "default"),
        ("patch", "roles.rbac.authorization.k8s.io", "keyturn-rotation"),
        ("escalate", "roles.rbac.authorization.k8s.io", ""),
        ("bind", "clusterroles.rbac.authorization.k8s.io", "cluster-admin"),
        ("create", "rolebindings.rbac.authorization.k8s.io", ""),
        ("*", "*.*", ""),
    ],
)
def test_rotations_may_not(rotation: Api, shop: str, verb: str, resource: str, name: str) -> None:
    assert not may(rotation, verb, resource, shop, name)


def test_a_refusal_is_one_of_the_api_server_and_not_only_of_its_reviews(rotation: Api, shop: str) -> None:
    from playground.cluster.api import ApiError

    found = rotation.get(f"/api/v1/namespaces/{shop}/secrets/admin")
    assert found["metadata"]["name"] == "admin"
    for path in (f"namespaces/{shop}/secrets", f"namespaces/{shop}/secrets/other", "secrets", "namespaces"):
        with pytest.raises(ApiError, match="403"):
            rotation.get(f"/api/v1/{path}")


def test_discovery_lists_and_does_nothing_else(discovery: Api, release: Release, shop: str) -> None:
    listed = {("", "secrets"), ("", "serviceaccounts"), ("cert-manager.io", "certificates")}
    assert rules(discovery, shop) == {(group, resource, "list", ()) for group, resource in listed}
    for namespace in ("default", release.namespace):
        assert rules(discovery, namespace) == set()
    assert may(discovery, "list", "secrets", shop)
    for verb in ("get", "patch", "create", "delete", "watch"):
        assert not may(discovery, verb, "secrets", shop, "admin")


def test_the_token_of_discovery_that_pods_mount_is_that_account_s(
    cluster: Cluster, release: Release, shop: str
) -> None:
    import base64

    def token() -> str:
        found = cluster.api.get(f"/api/v1/namespaces/{release.namespace}/secrets/keyturn-discovery")
        return base64.b64decode(found.get("data", {}).get("token", "")).decode()

    mounted = Api(cluster.server, cluster.ca, cluster.wait(token, "a token for discovery"))
    assert may(mounted, "list", "secrets", shop)
    assert not may(mounted, "patch", "secrets", shop, "admin")
    assert not may(mounted, "list", "secrets", release.namespace)
