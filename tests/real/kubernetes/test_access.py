"""What an account may do: asked of the cluster itself, told by name, and enough for the words that declare it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from bot.core.errors import Permanent, Transient
from playground.cluster.cluster import Cluster
from tests.real.control_plane.manifests import deployment
from tests.real.control_plane.proxies import FaultProxy, TcpProxy
from tests.real.kubernetes.conftest import Bench, rules

OLD = "first-key-value-77aa"


def as_account(bench: Bench, permissions: Iterable[str], folder: Path) -> Bench:
    account = bench.cluster.account(bench.namespace, "rotator", rules(permissions))
    return Bench(bench.cluster, bench.namespace, bench.cluster.kubeconfig(folder / "rotator", account))


def test_what_words_declare_is_enough_and_is_no_list_of_secrets(bench: Bench, tmp_path: Path) -> None:
    bench.secret("admin", {"active": "v1", "key.v1": OLD})
    bench.secret("other", {"active": "v1", "key.v1": OLD})
    bench.cluster.apply(deployment(bench.namespace, "web"))
    known = {"namespace": bench.namespace, "secret": "admin", "workload": "deployment/web"}
    words = ("add_key", "point_key", "remove_key", "purge_key", "key_present", "restart", "roll_back", "rolled_out")
    needed = {
        text for word in words if (part := bench.catalog.part(f"kubernetes.{word}")) for text in part.needs(known)
    }
    limited = as_account(bench, needed, tmp_path)
    assert limited.client.access(needed, limited.run()) == ()
    bench.until("rolled_out", workload="deployment/web")
    limited.do("add_key", secret="admin")
    limited.do("restart", workload="deployment/web")
    limited.until("rolled_out", workload="deployment/web")
    limited.do("point_key", "keyturn-R-7-flip-0", secret="admin", version="v2")
    limited.do("remove_key", "keyturn-R-7-remove-0", secret="admin", version="v1")
    limited.do("purge_key", "keyturn-R-7-purge-0", secret="admin", version="v1")
    with pytest.raises(Permanent, match="may not get Secret other") as caught:
        limited.do("add_key", "keyturn-R-8-add-0", secret="other")
    assert f"grant get on secrets other in namespace {bench.namespace}" in caught.value.hint
    with pytest.raises(Permanent, match="may not list secrets"):
        limited.found("secrets")
    foreign = "secrets: get, patch @ default/kube-system/other"
    wider = [*needed, f"secrets: get, patch @ default/{bench.namespace}/other", "secrets: list", foreign]
    assert set(limited.client.access(wider, limited.run())) == set(wider) - needed


def test_credentials_that_were_renewed_on_disk_are_used(bench: Bench) -> None:
    bench.secret("admin", {"active": "v1", "key.v1": OLD})
    assert bench.fact("active_version", secret="admin") == "v1"
    told = json.loads(bench.kubeconfig.read_text())
    good = told["users"][0]["user"]["token"]
    told["users"][0]["user"]["token"] = "expired-token-0123456789"
    bench.kubeconfig.write_text(json.dumps(told))
    with pytest.raises(Permanent, match="401") as caught:
        bench.fact("active_version", secret="admin")
    assert "renew" in caught.value.hint
    assert "expired-token" not in f"{caught.value} {caught.value.hint}"
    token = bench.kubeconfig.with_name("token")
    token.write_text(good)
    del told["users"][0]["user"]["token"]
    told["users"][0]["user"]["tokenFile"] = str(token)
    bench.kubeconfig.write_text(json.dumps(told))
    assert bench.fact("active_version", secret="admin") == "v1"
    token.write_text("expired-token-0123456789")
    client = bench.client
    client._connections["default"].api(unless=client._connections["default"].api())
    with pytest.raises(Permanent, match="401"):
        bench.fact("active_version", secret="admin")
    token.write_text(good)
    assert bench.fact("active_version", secret="admin") == "v1", "a token file is read again when it is refused"


def test_a_pod_of_the_cluster_uses_its_own_account(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a kubeconfig, from the files and variables that a kubelet gives to every pod; renewed by it too."""
    from kubernetes.config import incluster_config

    bench.secret("admin", {"active": "v1", "key.v1": OLD})
    needed = {f"secrets: get, patch @ default/{bench.namespace}/admin"}
    account = bench.cluster.account(bench.namespace, "keyturn", rules(needed))
    token = tmp_path / "token"
    token.write_text(bench.cluster.token(account))
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(token))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(bench.cluster.ca))
    server = urlsplit(bench.cluster.server)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", str(server.hostname))
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(server.port))
    pod = Bench(bench.cluster, bench.namespace, None)
    assert pod.fact("active_version", secret="admin") == "v1"
    token.write_text("expired-token-0123456789")
    pod.client._connections["default"].api(unless=pod.client._connections["default"].api())
    with pytest.raises(Permanent, match="401"):
        pod.fact("active_version", secret="admin")
    token.write_text(bench.cluster.token(account))
    assert pod.do("add_key", secret="admin")["version"] == "v2"
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST")
    with pytest.raises(Permanent, match="cannot be loaded") as caught:
        Bench(bench.cluster, bench.namespace, None).fact("active_version", secret="admin")
    assert "in a pod" in caught.value.hint


def test_a_kubeconfig_that_cannot_be_used_says_so(bench: Bench) -> None:
    bench.kubeconfig.write_text("users: [{name: a, user: {token: hunter2-hunter2")
    with pytest.raises(Permanent, match="cannot be loaded") as caught:
        bench.fact("active_version", secret="admin")
    assert "hunter2" not in f"{caught.value} {caught.value.hint}"
    bench.kubeconfig.unlink()
    with pytest.raises(Permanent, match="cannot be read"):
        bench.fact("active_version", secret="admin")


def test_the_context_that_is_configured_is_used_and_no_other(bench: Bench, tmp_path: Path) -> None:
    """One file for several clusters, as people have it; the context that happens to be current leads nowhere."""
    bench.secret("admin", {"active": "v1", "key.v1": OLD})
    limited = bench.cluster.account(bench.namespace, "limited", rules([]))
    nowhere = "https://127.0.0.1:1"
    made = [
        bench.cluster.kubeconfig(tmp_path / "nowhere", context="nowhere", server=nowhere),
        bench.cluster.kubeconfig(tmp_path / "full", context="full"),
        bench.cluster.kubeconfig(tmp_path / "limited", limited, context="limited"),
    ]
    told = [json.loads(path.read_text()) for path in made]
    whole = {**told[0], **{kind: [each[kind][0] for each in told] for kind in ("clusters", "users", "contexts")}}
    assert whole["current-context"] == "nowhere"
    bench.kubeconfig.write_text(json.dumps(whole))

    def by(context: str | None) -> Bench:
        return Bench(bench.cluster, bench.namespace, bench.kubeconfig, context)

    assert by("full").fact("active_version", secret="admin") == "v1"
    with pytest.raises(Permanent, match="may not get Secret admin"):
        by("limited").fact("active_version", secret="admin")
    with pytest.raises(Transient, match="cannot be reached"):
        by(None).fact("active_version", secret="admin")
    with pytest.raises(Permanent, match="has no context typo") as caught:
        by("typo").fact("active_version", secret="admin")
    assert "it has nowhere, full, limited" in caught.value.hint
    assert "adapters.kubernetes.clusters.default.context" in caught.value.hint
    del whole["current-context"]
    bench.kubeconfig.write_text(json.dumps(whole))
    assert by("full").fact("active_version", secret="admin") == "v1", "a file need not have a current one"
    whole["contexts"][1]["context"]["cluster"] = "gone"
    bench.kubeconfig.write_text(json.dumps(whole))
    with pytest.raises(Permanent, match="cannot be loaded"):
        by("full").fact("active_version", secret="admin")


def test_a_server_that_is_not_the_one_is_not_spoken_to(
    bench: Bench, cluster: Cluster, fault_proxy: FaultProxy, tmp_path: Path
) -> None:
    """Somebody in between, whose certificate is of another authority."""
    config = cluster.kubeconfig(tmp_path / "between", server=fault_proxy.url)
    with pytest.raises(Permanent, match="not trusted"):
        Bench(cluster, bench.namespace, config).fact("active_version", secret="admin")
    assert not fault_proxy.seen


def test_a_slow_or_absent_server_is_waited_for_later(
    bench: Bench, cluster: Cluster, tcp_proxy: TcpProxy, tmp_path: Path
) -> None:
    bench.secret("admin", {"active": "v1", "key.v1": OLD})
    far = Bench(cluster, bench.namespace, cluster.kubeconfig(tmp_path / "far", server=tcp_proxy.url))
    assert far.fact("active_version", secret="admin") == "v1"
    tcp_proxy.delay = 0.05
    far.do("add_key", secret="admin")
    tcp_proxy.delay = 0.5
    operation, p = far.part("add_key", {"secret": "admin"})
    with pytest.raises(Transient, match="in time"):
        operation.ensure(p, far.run(seconds=0.3))
    tcp_proxy.delay = 0
    with tcp_proxy.paused(), pytest.raises(Transient):
        far.do("add_key", secret="admin")
    assert far.do("add_key", secret="admin")["version"] == "v2"
    assert sorted(bench.data("admin")) == ["active", "key.v1", "key.v2"]


def test_a_patch_whose_answer_is_lost_is_found_by_looking(
    bench: Bench, cluster: Cluster, fault_proxy: FaultProxy, tmp_path: Path
) -> None:
    bench.secret("admin", {"active": "v1", "key.v1": OLD})
    config = cluster.kubeconfig(tmp_path / "through", server=fault_proxy.url, ca=fault_proxy.ca)
    through = Bench(cluster, bench.namespace, config)
    fault_proxy.answer(500, "PATCH", "secrets/admin", after=True, cut=True)
    with pytest.raises(Transient, match="lost"):
        through.do("add_key", secret="admin")
    patches = [path for method, path in fault_proxy.seen if method == "PATCH"]
    assert len(patches) == 1, "never sent twice"
    assert through.do("add_key", secret="admin")["version"] == "v2"
    assert sorted(bench.data("admin")) == ["active", "key.v1", "key.v2"]
