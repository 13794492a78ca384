"""Who may create Secrets could have a token of any account written into one: the chart's policy stops that."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from adapters.kubernetes.admission import TOKEN_TYPE
from adapters.kubernetes.grants import grants
from docs.manifests import CHART
from playground.cluster.api import Api, ApiError, Manifest
from playground.cluster.cluster import Cluster
from tests.real.deploy.conftest import Helm, documents, prerequisites, restricted
from tests.real.kubernetes.conftest import Bench
from tests.real.rights import rules
from tests.runbooks.test_cluster_runbooks import INPUTS

ROBOT, CHIEF = "robot", "chief"
ANCHOR = f"keyturn-token-{ROBOT}-1"
NAMED = {"namespace", "service_account", "secret_name", "workloads", "selector"}


@pytest.fixture(scope="module")
def shop(cluster: Cluster) -> Iterator[str]:
    """A namespace with an account whose tokens are rotated, and one that may do much more."""
    with cluster.namespace("shop") as name:
        for account in (ROBOT, CHIEF):
            cluster.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": _about(name, account)})
        entries = {"token.v1": "the-token-before", "active": "v1"}
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": _about(name, "keys"), "stringData": entries}
        cluster.apply(secret)
        yield name


@dataclass(frozen=True)
class Bot:
    """The service account that its pods have."""

    api: Api
    kubeconfig: Path


@contextmanager
def installed(cluster: Cluster, helm: Helm, shop: str, folder: Path, *, policy: bool) -> Iterator[Bot]:
    """The chart with what the rotation of one token needs."""
    inputs = {name: value for name, value in INPUTS.items() if name in NAMED}
    inputs |= {"namespace": shop, "service_account": ROBOT}
    wanted = rules(shop, {"runbook": "service-account-token", "inputs": inputs})
    (folder / "values.json").write_text(json.dumps({"rbac": {"namespaces": {shop: wanted}, "admissionPolicy": policy}}))
    kubeconfig = cluster.kubeconfig(folder / "kubeconfig")
    with restricted(cluster) as home:
        prerequisites(cluster, home)
        where = ("--kubeconfig", kubeconfig, "--namespace", home)
        done = helm("install", "keyturn", CHART, *where, "--values", folder / "values.json")
        assert done.returncode == 0, done.stderr
        rotation = cluster.kubeconfig(folder / "rotation", f"{home}/keyturn")
        try:
            api = Api(cluster.server, cluster.ca, cluster.token(f"{home}/keyturn"))
            if policy:
                cluster.wait(lambda: _stops(api, shop), "the API server has heard of the policy")
            yield Bot(api, rotation)
        finally:
            helm("uninstall", "keyturn", *where)


def _stops(api: Api, shop: str) -> bool:
    try:
        api.post(f"/api/v1/namespaces/{shop}/secrets?dryRun=All", made(shop, "anything"))
    except ApiError as error:
        return "ValidatingAdmissionPolicy" in str(error)
    return False


def _about(namespace: str, name: str) -> dict[str, Any]:
    return {"namespace": namespace, "name": name}


def made(namespace: str, name: str = ANCHOR, kind: str = "Opaque", of: str = "", **more: Any) -> Manifest:
    about = _about(namespace, name)
    if of:
        about["annotations"] = {"kubernetes.io/service-account.name": of}
    return {"apiVersion": "v1", "kind": "Secret", "type": kind, "metadata": about, **more}


@pytest.fixture(scope="module")
def bot(cluster: Cluster, helm: Helm, shop: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bot]:
    """The account of rotations, guarded."""
    with installed(cluster, helm, shop, tmp_path_factory.mktemp("guarded"), policy=True) as guarded:
        yield guarded


def test_without_it_the_role_would_be_a_way_to_any_account(
    cluster: Cluster, helm: Helm, shop: str, tmp_path: Path
) -> None:
    """The control: what the policy is for."""
    if not cluster.ours:
        pytest.skip("a token of another account is not made in somebody's own cluster")
    with installed(cluster, helm, shop, tmp_path, policy=False) as bot:
        api = bot.api
        api.create(made(shop, kind=TOKEN_TYPE, of=CHIEF))
        path = f"/api/v1/namespaces/{shop}/secrets/{ANCHOR}"
        try:
            token = cluster.wait(lambda: (api.get(path).get("data") or {}).get("token"), "the controller's token")
            stolen = Api(cluster.server, cluster.ca, base64.b64decode(token).decode())
            review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
            who = stolen.post("/apis/authentication.k8s.io/v1/selfsubjectreviews", review)["status"]["userInfo"]
        finally:
            cluster.api.delete(path)
    assert who["username"] == f"system:serviceaccount:{shop}:{CHIEF}"


@pytest.mark.parametrize(
    "more",
    [
        {"kind": TOKEN_TYPE, "of": CHIEF},
        {"kind": TOKEN_TYPE, "of": ROBOT},
        {"kind": "bootstrap.kubernetes.io/token"},
        {"kind": "example.com/anything"},
        {"name": "keyturn-token-robot-4"},
        {"name": "anything"},
        {"data": {"token": "eA=="}},
        {"stringData": {"token": "x"}},
    ],
    ids=str,
)
def test_nothing_but_an_anchor_may_be_created(bot: Bot, shop: str, more: dict[str, Any]) -> None:
    with pytest.raises(ApiError, match="ValidatingAdmissionPolicy"):
        bot.api.create(made(shop, **more))


@pytest.mark.parametrize("more", [{"kind": TOKEN_TYPE, "of": CHIEF}, {"data": {"token": "eA=="}}], ids=str)
def test_nor_by_a_patch_of_what_is_not_there(bot: Bot, shop: str, more: dict[str, Any]) -> None:
    with pytest.raises(ApiError, match="ValidatingAdmissionPolicy"):
        bot.api.apply(made(shop, **more))


def test_an_anchor_does_not_become_something_else(bot: Bot, cluster: Cluster, shop: str) -> None:
    path = f"/api/v1/namespaces/{shop}/secrets/{ANCHOR}"
    bot.api.create(made(shop))
    try:
        for change in ({"type": TOKEN_TYPE}, {"type": TOKEN_TYPE, "metadata": made(shop, of=CHIEF)["metadata"]}):
            with pytest.raises(ApiError, match=r"422|ValidatingAdmissionPolicy"):
                bot.api.merge(path, change)
    finally:
        cluster.api.delete(path)


def test_a_secret_that_the_cluster_fills_is_not_led_to_another_account(bot: Bot, cluster: Cluster, shop: str) -> None:
    """Somebody else made it under the name of an anchor, which the role may patch."""
    path = f"/api/v1/namespaces/{shop}/secrets/{ANCHOR}"
    cluster.api.create(made(shop, kind=TOKEN_TYPE, of=ROBOT))
    try:
        with pytest.raises(ApiError, match="ValidatingAdmissionPolicy"):
            bot.api.merge(path, {"metadata": {"annotations": {"kubernetes.io/service-account.name": CHIEF}}})
    finally:
        cluster.api.delete(path)


def test_a_token_is_issued_and_revoked_all_the_same(bot: Bot, cluster: Cluster, shop: str) -> None:
    bench = Bench(cluster, shop, bot.kubeconfig)
    given = {"service_account": ROBOT, "expires_in": 7200, "to": f"kubernetes:default/{shop}/keys/token."}
    issued = bench.do("issue_token", **given)
    assert issued["token_id"] == ANCHOR
    assert "token.v2" in bench.data("keys")
    bench.undo("issue_token", issued, **given)
    assert set(bench.data("keys")) == {"active", "token.v1"}


def test_others_create_secrets_as_before(bot: Bot, cluster: Cluster, shop: str) -> None:
    made_by_others = made(shop, "elsewhere", stringData={"a": "b"})
    assert cluster.api.create(made_by_others)["metadata"]["name"] == "elsewhere"


def test_the_printed_roles_bring_the_policy_of_the_chart(helm: Helm, shop: str, tmp_path: Path) -> None:
    wanted = ("secrets: create @ default/pay", f"secrets: get, patch, delete @ default/pay/{ANCHOR}")
    where = {"cluster": "default", "namespace": "keyturn", "account": "keyturn"}
    printed = {one["kind"]: one["spec"] for one in documents(grants(wanted, "roles", where).text) if "spec" in one}
    rule = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["create"]}
    (tmp_path / "values.json").write_text(json.dumps({"rbac": {"namespaces": {"pay": [rule]}}}))
    rendered = documents(helm.render("--values", tmp_path / "values.json"))
    assert printed == {one["kind"]: one["spec"] for one in rendered if "Admission" in one["kind"]}


def test_a_cluster_without_such_policies_is_refused(helm: Helm, tmp_path: Path) -> None:
    rule = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["create"]}
    (tmp_path / "values.json").write_text(json.dumps({"rbac": {"namespaces": {"pay": [rule]}}}))
    old = ("template", "keyturn", CHART, "--values", tmp_path / "values.json", "--kube-version", "1.29.0")
    assert "takes Kubernetes 1.30" in helm(*old).stderr
    done = helm(*old, "--set", "rbac.admissionPolicy=false")
    assert done.returncode == 0, done.stderr
    assert not [one for one in documents(done.stdout) if "Admission" in one["kind"]]


def test_it_is_not_there_where_nothing_creates_secrets(helm: Helm) -> None:
    assert not [one for one in documents(helm.render()) if "Admission" in one["kind"]]
