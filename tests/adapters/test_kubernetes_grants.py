"""Permissions as Roles and as values of the chart: by name where names are known, and never a list of Secrets."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from adapters.kubernetes.grants import grants
from bot.core.errors import Permanent

WHERE = {"cluster": "default", "namespace": "keyturn", "account": "keyturn"}


def values(*permissions: str) -> dict[str, Any]:
    granted = grants(permissions, "values", WHERE)
    assert not granted.problems
    found: dict[str, Any] = yaml.safe_load(granted.text)["rbac"]
    return found


def rule(resource: str, *verbs: str, group: str = "", names: list[str] | None = None) -> dict[str, Any]:
    made = {"apiGroups": [group], "resources": [resource], "verbs": list(verbs)}
    return made | ({"resourceNames": names} if names else {})


def test_what_is_wanted_of_named_objects_is_granted_by_name() -> None:
    found = values(
        "secrets: get, patch @ default/shop/admin",
        "secrets: get @ default/shop/admin",
        "secrets: get @ default/shop/other",
        "deployments.apps: get, patch @ default/shop/web",
        "deployments.apps: get, patch @ default/shop/api",
        "secrets: get @ default/pay/admin",
    )
    assert found["namespaces"]["shop"] == [
        rule("secrets", "get", names=["other"]),
        rule("secrets", "get", "patch", names=["admin"]),
        rule("deployments", "get", "patch", group="apps", names=["api", "web"]),
    ]
    assert found["namespaces"]["pay"] == [rule("secrets", "get", names=["admin"])]
    assert found["cluster"] == []


def test_what_lists_or_creates_has_no_name_and_create_has_a_rule_of_its_own() -> None:
    found = values("secrets: create, delete, get @ default/shop/anchor", "pods: list @ default/shop")
    assert found["namespaces"]["shop"] == [
        rule("pods", "list"),
        rule("secrets", "create"),
        rule("secrets", "delete", "get", names=["anchor"]),
    ]


def test_a_token_is_granted_for_its_service_account_and_reviews_for_the_cluster() -> None:
    found = values(
        "serviceaccounts/token: create @ default/shop/robot",
        "tokenreviews.authentication.k8s.io: create @ default",
        "selfsubjectaccessreviews.authorization.k8s.io: create @ default",
    )
    assert found["namespaces"]["shop"] == [rule("serviceaccounts/token", "create", names=["robot"])]
    assert found["cluster"] == [rule("tokenreviews", "create", group="authentication.k8s.io")]


def test_workloads_that_only_a_fact_names_are_granted_in_their_namespace_and_flagged() -> None:
    permissions = ("deployments.apps: get, patch @ default/shop", "deployments.apps: get, patch @ default/shop/web")
    granted = grants(permissions, "values", WHERE)
    assert yaml.safe_load(granted.text)["rbac"]["namespaces"]["shop"] == [
        rule("deployments", "get", "patch", group="apps")
    ]
    assert "# the names come from what is found when it runs" in granted.text


@pytest.mark.parametrize(
    "permission",
    [
        "secrets: get, patch @ default/shop",
        "secrets: list @ default/shop",
        "secrets: delete @ default/shop",
        "secrets: get, patch @ default",
        "deployments.apps: get, patch @ default",
        "serviceaccounts/token: create @ default/shop",
    ],
)
@pytest.mark.parametrize("form", ["values", "roles"])
def test_what_would_be_too_wide_is_told_and_not_granted(permission: str, form: str) -> None:
    granted = grants([permission], form, WHERE)
    assert len(granted.problems) == 1
    assert permission.partition(":")[0] in granted.problems[0]
    assert "apiGroups" not in granted.text


def test_other_clusters_have_roles_of_their_own() -> None:
    permissions = ("secrets: get @ default/shop/a", "secrets: get @ west/shop/b")
    west = grants(permissions, "roles", WHERE | {"cluster": "west"})
    assert '["b"]' in west.text
    assert '["a"]' not in west.text
    assert not west.problems


def test_roles_are_bound_to_the_account() -> None:
    permissions = ("secrets: get @ default/shop/a", "tokenreviews.authentication.k8s.io: create @ default")
    documents = [one for one in yaml.safe_load_all(grants(permissions, "roles", WHERE).text) if one]
    assert [one["kind"] for one in documents] == ["Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"]
    assert documents[1]["subjects"] == [{"kind": "ServiceAccount", "name": "keyturn", "namespace": "keyturn"}]
    assert documents[1]["roleRef"]["name"] == documents[0]["metadata"]["name"]
    assert documents[1]["metadata"]["namespace"] == documents[0]["metadata"]["namespace"] == "shop"


def test_roles_that_create_secrets_bring_a_policy_for_their_account_and_no_others_do() -> None:
    with_it = grants(("secrets: create @ default/shop",), "roles", WHERE).text
    documents = [one for one in yaml.safe_load_all(with_it) if one]
    policy, binding = documents[2:]
    assert (policy["kind"], binding["kind"]) == ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")
    assert binding["spec"] == {"policyName": policy["metadata"]["name"], "validationActions": ["Deny"]}
    (whom,) = policy["spec"]["matchConditions"]
    assert "'system:serviceaccount:keyturn:keyturn'" in whom["expression"]
    for other in ("configmaps: create @ default/shop", "secrets: get, patch @ default/shop/a"):
        assert "Admission" not in grants((other,), "roles", WHERE).text


def test_an_unknown_form_is_refused() -> None:
    with pytest.raises(Permanent, match="policy"):
        grants([], "policy", WHERE)
