"""`keyturn permissions`: what has to be granted for the declared credentials."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from tests.cli.conftest import ROOT, Installation

PROCEDURE = ROOT / "tests/real/deploy/rotate-key.yaml"
SETTINGS = """\
people: {alice: {slack: U0ALICE00}, bob: {slack: U0BOB0000}}
groups: {platform: {members: [alice, bob]}}
roles: {operators: {who: [platform], may: [start]}}
channels: {default: C0123ABCD}
policies: [{environments: [production], approvers: 1, from: [platform]}]
runbooks: [runbooks]
adapters: {kubernetes: {clusters: {default: {}}}}
credentials:
  - name: shop-admin
    environment: production
    class: signing-key
    owner: platform
    runbook: rotate-key
    cadence: 90d
    inputs: {namespace: shop, secret: admin, workloads: [deployment/web, statefulset/store]}
"""


@pytest.fixture
def in_kubernetes(tmp_path: Path) -> Installation:
    """An installation that rotates a key in a Secret."""
    (tmp_path / "runbooks").mkdir()
    shutil.copy(PROCEDURE, tmp_path / "runbooks")
    (tmp_path / "keyturn.yml").write_text(SETTINGS)
    return Installation(tmp_path)


def test_they_are_told_with_the_credentials_that_need_them(in_kubernetes: Installation) -> None:
    done = in_kubernetes.keyturn("permissions", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["kubernetes"]
    assert found["secrets: get, patch @ default/shop/admin"] == ["shop-admin@production"]
    assert "statefulsets.apps: get, patch @ default/shop/store" in found
    told = in_kubernetes.keyturn("permissions").stdout
    assert "secrets: get, patch @ default/shop/admin    (shop-admin@production)" in told


def test_values_name_the_objects_and_nothing_lists_secrets(in_kubernetes: Installation) -> None:
    done = in_kubernetes.keyturn("permissions", "--values")
    assert done.returncode == 0, done.stderr
    rules = yaml.safe_load(done.stdout)["rbac"]["namespaces"]["shop"]
    assert {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["admin"], "verbs": ["get", "patch"]} in rules
    assert all(rule.get("resourceNames") for rule in rules if {"get", "patch"} & set(rule["verbs"]))
    assert all("list" not in rule["verbs"] for rule in rules if "secrets" in rule["resources"])


def test_roles_are_bound_to_the_account_that_is_named(in_kubernetes: Installation) -> None:
    done = in_kubernetes.keyturn("permissions", "--roles", "--account", "tools/rotator")
    documents = [one for one in yaml.safe_load_all(done.stdout) if one]
    assert documents[1]["subjects"] == [{"kind": "ServiceAccount", "name": "rotator", "namespace": "tools"}]


def test_what_cannot_be_granted_is_a_problem_of_exit_code_one(in_kubernetes: Installation) -> None:
    path = in_kubernetes.folder / "runbooks/rotate-key.yaml"
    path.write_text(path.read_text().replace('secret: "${{ inputs.secret }}"', 'secret: "${{ facts.old }}"'))
    done = in_kubernetes.keyturn("permissions", "--values")
    assert done.returncode == 1
    assert "Not granted: secrets: get, patch in shop: Secrets are granted by name only" in done.stderr
    assert '["secrets"]' not in done.stdout


@pytest.mark.parametrize("words", [("--roles", "--account", "nobody"), ("--roles", "--account", "a/b: c\n")])
def test_a_mistaken_account_is_refused(in_kubernetes: Installation, words: tuple[str, ...]) -> None:
    done = in_kubernetes.keyturn("permissions", *words)
    assert done.returncode == 1
    assert "NAMESPACE/NAME" in done.stderr


def test_two_forms_at_once_are_wrong_use(in_kubernetes: Installation) -> None:
    assert in_kubernetes.keyturn("permissions", "--roles", "--values").returncode == 2


def test_the_shipped_example_needs_what_its_adapters_say_and_nothing_of_kubernetes(installation: Installation) -> None:
    found = json.loads(installation.keyturn("permissions", "--json").stdout)
    assert found["identity"]
    assert "kubernetes" not in found
    done = installation.keyturn("permissions", "--values")
    assert yaml.safe_load(done.stdout)["rbac"] == {"namespaces": {}, "cluster": []}
