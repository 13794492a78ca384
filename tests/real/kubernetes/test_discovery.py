"""Discovery: bare metadata in pages, every credential once, and no value in memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters.kubernetes import client as seam
from bot.core.errors import Transient
from playground.cluster.cluster import Cluster
from tests.real.control_plane.proxies import FaultProxy
from tests.real.kubernetes.conftest import Bench
from tests.stand_ins.authority import Authority


def test_every_secret_is_found_with_its_versions(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seam, "PAGE", 3)
    labels = {"app.kubernetes.io/part-of": "shop"}
    gone = {"retired.v9": "x", "retired.token.v9": "y"}
    bench.secret("admin", {"active": "v1", "key.v1": "one", "key.v2": "two", **gone}, metadata={"labels": labels})
    labels = {"app": "shop", "team": "platform"}
    for i in range(7):
        bench.secret(f"plain-{i}", {"password": "hunter2"}, metadata={"labels": labels})
    bench.secret("release", {"release": "x"}, type="helm.sh/release.v1")
    _, leaf = Authority("some").issue()
    bench.secret(
        "by-hand", {"tls.crt": leaf.partition("-----BEGIN PRIVATE")[0], "tls.key": "key"}, type="kubernetes.io/tls"
    )
    raw: list[bytes] = []
    real = seam._send

    def listening(*args: object) -> object:
        answer = real(*args)  # type: ignore[arg-type]
        raw.append(answer[2])
        return answer

    monkeypatch.setattr(seam, "_send", listening)
    found = bench.found("secrets")
    here = f"kubernetes:default/{bench.namespace}"
    versions = {one.version: one for one in found if one.place == f"{here}/admin/key."}
    assert set(versions) == {"v1", "v2"}
    assert versions["v1"].owner == "shop"
    assert versions["v1"].created_at is not None
    assert {one.place for one in found} == {f"{here}/admin/key.", *(f"{here}/plain-{i}" for i in range(7))}
    assert {one.owner for one in found if "/plain-" in one.place} == {"platform"}, (
        "not the application, but whose it is"
    )
    assert len(raw) >= 3, "in pages"
    assert not [text for text in raw if b"aHVudGVyMg" in text or b'"data":' in text], "values stay at the server"
    [tls] = bench.found("tls_secrets")
    assert tls.expires_at is None
    [tls] = bench.found("tls_secrets", read=True)
    assert tls.expires_at is not None
    assert tls.place == f"{here}/by-hand"


def test_a_changed_secret_is_another_version(bench: Bench) -> None:
    bench.secret("plain", {"password": "hunter2"})
    [before] = bench.found("secrets")
    bench.cluster.wait(lambda: bench.write("plain", {"password": "hunter3"}) or _other(bench, before.version), "change")


def _other(bench: Bench, version: str) -> bool:
    bench.write("plain", {"password": f"hunter-{version}"})
    [now] = bench.found("secrets")
    return now.version != version


def test_tokens_are_found_with_their_ends(bench: Bench) -> None:
    about = {"name": "worker", "namespace": bench.namespace}
    bench.api.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": about})
    named = {"annotations": {"kubernetes.io/service-account.name": "worker"}}
    bench.secret("legacy", {}, metadata=named, type="kubernetes.io/service-account-token")
    bench.secret("worker", {"active": "v1", "token.v1": "x"})
    to = f"kubernetes:default/{bench.namespace}/worker/token."
    made = bench.do("issue_token", service_account="worker", expires_in=3600, to=to)
    found = {one.version: one for one in bench.found("service_account_tokens")}
    assert set(found) == {"legacy", made["token_id"]}
    assert found["legacy"].expires_at is None
    end = found[made["token_id"]].expires_at
    assert end is not None
    assert end.isoformat() == made["expires_at"]
    assert not [one for one in bench.found("secrets") if made["token_id"] in one.place]


def test_a_listing_that_expired_is_begun_again_later(
    bench: Bench, cluster: Cluster, fault_proxy: FaultProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seam, "PAGE", 1)
    for i in range(3):
        bench.secret(f"plain-{i}", {"password": "hunter2"})
    config = cluster.kubeconfig(tmp_path / "through", server=fault_proxy.url, ca=fault_proxy.ca)
    fault_proxy.answer(410, "GET", "continue=")
    with pytest.raises(Transient, match="expired"):
        Bench(cluster, bench.namespace, config).found("secrets")
