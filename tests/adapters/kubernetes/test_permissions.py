"""Permissions as text: read back, and narrowed to what a call touches."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters import kubernetes
from adapters.kubernetes.permissions import Permission, parse
from bot.catalog import Catalog
from bot.contracts.adapter import Part

WORDS = [value for value in vars(kubernetes).values() if isinstance(value, type) and issubclass(value, Part)]


def test_a_permission_is_read_with_its_place() -> None:
    assert parse("secrets: get, patch") == Permission("secrets", "", "", ("get", "patch"))
    assert parse("deployments.apps: get @ prod/shop/web") == Permission(
        "deployments", "apps", "", ("get",), "prod", "shop", "web"
    )
    assert parse("serviceaccounts/token: create @ c/n/s") == Permission(
        "serviceaccounts", "", "token", ("create",), "c", "n", "s"
    )
    assert parse("certificates.cert-manager.io/status: patch @ prod") == Permission(
        "certificates", "cert-manager.io", "status", ("patch",), "prod"
    )


@pytest.mark.parametrize(
    "text", ["", "secrets", "secrets: ", "secrets: steal", "secrets: get @ ", "s: get @ a/b/c/d", "Secrets: get"]
)
def test_what_is_no_permission_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse(text)


@pytest.mark.parametrize("part", WORDS, ids=lambda part: part.__name__)
def test_every_declared_permission_can_be_read_and_narrowed(part: type[Part]) -> None:
    assert part.permissions
    for text in (*part.permissions, *part.needs({}), *part.needs({"cluster": "prod", "namespace": "shop"})):
        parse(text)


JSON = st.none() | st.integers() | st.text(max_size=20) | st.lists(st.text(max_size=5), max_size=2)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(known=st.dictionaries(st.sampled_from(["cluster", "namespace", "secret", "workload", "to"]), JSON))
def test_narrowing_never_raises_and_lets_nothing_else_in(known: dict[str, object]) -> None:
    for part in WORDS:
        for text in part.needs(known):
            parse(text)


def test_a_call_needs_what_it_touches_and_no_more() -> None:
    known = {"namespace": "shop", "secret": "admin"}
    assert kubernetes.AddKey.needs(known) == ("secrets: get, patch @ default/shop/admin",)
    known = {"cluster": "prod", "namespace": "shop", "workload": "deployment/web"}
    assert kubernetes.Restart.needs(known) == (
        "deployments.apps: get, patch @ prod/shop/web",
        "replicasets.apps: list @ prod/shop",
    )
    known = {"namespace": "shop", "workload": "daemonset/agent"}
    assert kubernetes.RolledOut.needs(known) == (
        "daemonsets.apps: get @ default/shop/agent",
        "controllerrevisions.apps: list @ default/shop",
        "pods: list @ default/shop",
    )


def test_no_word_but_discovery_lists_secrets() -> None:
    from bot.contracts.adapter import Discovery

    for part in WORDS:
        if not issubclass(part, Discovery):
            assert not [text for text in part.permissions if text.startswith("secrets:") and "list" in text]


def test_the_adapter_is_there_without_its_sdk() -> None:
    import subprocess
    import sys

    seen = "import sys; from bot.catalog import Catalog; c = Catalog({}, lambda: None); c.part('kubernetes.add_key'); "
    done = subprocess.run([sys.executable, "-c", seen + "sys.exit('kubernetes.client' in sys.modules)"], check=False)
    assert done.returncode == 0
    assert Catalog({}, lambda: None).part("kubernetes.add_key") is kubernetes.AddKey  # type: ignore[arg-type,return-value]
