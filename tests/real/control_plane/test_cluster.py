"""The control plane that other tests rely on: rollouts that go well or do not, who may do what, faults, its end."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from playground.cluster.api import Api, ApiError, Unreachable
from playground.cluster.build import Parts
from playground.cluster.cluster import ROOT, Cluster, ClusterError
from tests.real.control_plane.cluster import foreign
from tests.real.control_plane.manifests import deployment
from tests.real.control_plane.proxies import FaultProxy, TcpProxy


def pods(cluster: Cluster, namespace: str, app: str) -> list[dict[str, Any]]:
    listed = cluster.api.get(f"/api/v1/namespaces/{namespace}/pods", labelSelector=f"app={app}")
    found: list[dict[str, Any]] = listed["items"]
    return found


def waiting(cluster: Cluster, namespace: str, app: str) -> set[str]:
    """Why containers wait."""
    states = (
        each["state"] for pod in pods(cluster, namespace, app) for each in pod["status"].get("containerStatuses", ())
    )
    return {state["waiting"]["reason"] for state in states if "waiting" in state}


def test_a_deployment_rolls_out_and_restarts(cluster: Cluster, namespace: str) -> None:
    cluster.apply(deployment(namespace, "web", replicas=3))
    cluster.kubectl("-n", namespace, "rollout", "status", "deployment/web", "--timeout=60s")
    before = {pod["metadata"]["uid"] for pod in pods(cluster, namespace, "web")}
    cluster.kubectl("-n", namespace, "rollout", "restart", "deployment/web")
    cluster.kubectl("-n", namespace, "rollout", "status", "deployment/web", "--timeout=60s")

    def replaced() -> bool:
        return not before & {pod["metadata"]["uid"] for pod in pods(cluster, namespace, "web")}

    cluster.wait(replaced, "the old pods are gone")


def test_pods_show_the_log_that_was_written_for_them(own_cluster: Cluster) -> None:
    line = f"{datetime.now(UTC).isoformat()} stdout F unauthorized: unknown kid v1\n"
    own_cluster.pod_log.write_text(line * 3)
    with own_cluster.namespace() as namespace:
        own_cluster.apply(deployment(namespace, "web"))
        own_cluster.kubectl("-n", namespace, "rollout", "status", "deployment/web", "--timeout=60s")
        shown = own_cluster.kubectl("-n", namespace, "logs", "deployment/web", "--since=1h")
    assert shown.count("unauthorized: unknown kid v1") == 3


@pytest.mark.parametrize(("behaves", "reason"), [("crash", "CrashLoopBackOff"), ("image", "ImagePullBackOff")])
def test_pods_of_the_next_rollout_fail_though_nothing_changed_in_the_template(
    cluster: Cluster, namespace: str, behaves: str, reason: str
) -> None:
    cluster.apply(deployment(namespace, "web", replicas=2), deployment(namespace, "other"))
    cluster.kubectl("-n", namespace, "rollout", "status", "deployment/web", "--timeout=60s")
    cluster.let_pods(namespace, "web", behaves)
    cluster.kubectl("-n", namespace, "rollout", "restart", "deployment/web", "deployment/other")
    cluster.wait(lambda: reason in waiting(cluster, namespace, "web"), f"a pod shows {reason}")
    ready = [pod for pod in pods(cluster, namespace, "web") if _ready(pod)]
    assert len(ready) == 2, "the old pods stay while the new ones fail"
    cluster.kubectl("-n", namespace, "rollout", "status", "deployment/other", "--timeout=60s")
    cluster.let_pods(namespace, "web", None)
    cluster.kubectl("-n", namespace, "delete", "pods", "-l", "app=web", "--field-selector=status.phase=Pending")
    cluster.kubectl("-n", namespace, "rollout", "status", "deployment/web", "--timeout=60s")


def test_a_pod_can_stay_unready_come_late_or_complete(cluster: Cluster, namespace: str) -> None:
    cluster.apply(
        deployment(namespace, "unready", behaves="unready"),
        deployment(namespace, "slow", behaves="slow", annotations={"keyturn.test/ready-after": "1500ms"}),
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"namespace": namespace, "name": "once"},
            "spec": {"template": _template("complete")},
        },
    )
    cluster.wait(lambda: any(_ready(pod) for pod in pods(cluster, namespace, "slow")), "the slow pod is ready")
    (slow,) = pods(cluster, namespace, "slow")
    started = time.strptime(slow["metadata"]["creationTimestamp"], "%Y-%m-%dT%H:%M:%SZ")
    became = next(each["lastTransitionTime"] for each in slow["status"]["conditions"] if each["type"] == "Ready")
    assert time.mktime(time.strptime(became[:19], "%Y-%m-%dT%H:%M:%S")) - time.mktime(started) >= 1
    (unready,) = pods(cluster, namespace, "unready")
    assert unready["status"]["phase"] == "Running"
    assert not _ready(unready)
    job = f"/apis/batch/v1/namespaces/{namespace}/jobs/once"
    cluster.wait(lambda: cluster.api.get(job)["status"].get("succeeded") == 1, "the job succeeds")


def _template(behaves: str) -> dict[str, Any]:
    return {
        "metadata": {"annotations": {"keyturn.test/behaves": behaves}},
        "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "none"}]},
    }


def _ready(pod: dict[str, Any]) -> bool:
    return any(
        each["type"] == "Ready" and each["status"] == "True" for each in pod.get("status", {}).get("conditions") or ()
    )


def test_an_account_may_do_what_its_role_says_and_no_more(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    rules = [{"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["one"], "verbs": ["get"]}]
    account = cluster.account(namespace, "reader", rules)
    for name in ("one", "two"):
        cluster.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace}})
    file = cluster.kubeconfig(tmp_path / "reader", account)
    assert file.stat().st_mode & 0o077 == 0
    api = Api(cluster.server, cluster.ca, json.loads(file.read_text())["users"][0]["user"]["token"])
    secrets = f"/api/v1/namespaces/{namespace}/secrets"
    assert api.get(f"{secrets}/one")["metadata"]["name"] == "one"
    for path in (f"{secrets}/two", secrets):
        with pytest.raises(ApiError) as refused:
            api.get(path)
        assert refused.value.status == 403
    with pytest.raises(ApiError) as stranger:
        Api(cluster.server, cluster.ca, "nobody").get(secrets)
    assert stranger.value.status == 401


def test_bytes_can_be_late_and_connections_cut(cluster: Cluster, tcp_proxy: TcpProxy) -> None:
    api = Api(tcp_proxy.url, cluster.ca, cluster.admin_token)
    api.get("/api/v1/namespaces/default")
    tcp_proxy.delay = 0.5
    begun = time.monotonic()
    api.get("/api/v1/namespaces/default")
    assert time.monotonic() - begun >= 1.0, "the request and the answer are late"
    tcp_proxy.delay = 0
    tcp_proxy.drop()
    with tcp_proxy.paused(), pytest.raises(Unreachable):
        api.get("/api/v1/namespaces/default")
    api.get("/api/v1/namespaces/default")


def test_chosen_requests_are_answered_in_the_servers_place(
    cluster: Cluster, namespace: str, fault_proxy: FaultProxy, tmp_path: Path
) -> None:
    with httpx.Client(base_url=fault_proxy.url, verify=_trusting(fault_proxy.ca), trust_env=False) as http:
        http.headers["Authorization"] = f"Bearer {cluster.admin_token}"
        path = f"/api/v1/namespaces/{namespace}"
        throttled = fault_proxy.answer(429, "GET", namespace, retry_after=7)
        answer = http.get(path)
        assert (answer.status_code, answer.headers["Retry-After"], throttled.given) == (429, "7", 1)
        assert answer.json()["reason"] == "TooManyRequests"
        assert http.get(path).json()["metadata"]["name"] == namespace
        fault_proxy.answer(500, "POST", "configmaps", after=True, cut=True)
        made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "made", "namespace": namespace}}
        with pytest.raises(httpx.HTTPError):
            http.post(f"{path}/configmaps", json=made)
        assert http.get(f"{path}/configmaps/made").status_code == 200, "the work was done, and nobody was told"
        file = cluster.kubeconfig(tmp_path / "through", server=fault_proxy.url, ca=fault_proxy.ca)
        cluster.kubectl(f"--kubeconfig={file}", "-n", namespace, "rollout", "restart", "deployment", "-l", "none=none")
    assert ("GET", path) in fault_proxy.seen


def _trusting(ca: Path) -> Any:
    import ssl

    return ssl.create_default_context(cafile=str(ca))


def test_a_watch_comes_through_the_proxy_as_it_happens(
    cluster: Cluster, namespace: str, fault_proxy: FaultProxy
) -> None:
    api = Api(fault_proxy.url, fault_proxy.ca, cluster.admin_token)
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    events = api.watch(path, fieldSelector="metadata.name=late")
    made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "late", "namespace": namespace}}
    cluster.api.create(made)
    word, found = next(events)
    assert (word, found["metadata"]["name"]) == ("ADDED", "late")
    events.close()


def test_a_stopped_api_server_comes_back_with_what_it_had(own_cluster: Cluster) -> None:
    about = {"name": "kept", "namespace": "default"}
    own_cluster.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": about, "data": {"a": "1"}})
    for hard in (False, True):
        own_cluster.stop_api_server(hard=hard)
        with pytest.raises(Unreachable):
            own_cluster.api.get("/readyz")
        own_cluster.start_api_server()
        assert own_cluster.api.get("/api/v1/namespaces/default/configmaps/kept")["data"] == {"a": "1"}


@pytest.fixture
def kubeconfig(own_cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The file of a cluster that is entered as somebody's own, with a kubectl on the path."""
    program = tmp_path / "bin" / "kubectl"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {shlex.join(own_cluster._command)} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return str(own_cluster._admin)


def test_somebodys_own_cluster_is_entered_and_left_as_it_was(own_cluster: Cluster, kubeconfig: str) -> None:
    """`KEYTURN_TEST_KUBECONFIG`: by the kubectl on the path, and an account that each worker makes for itself."""

    def there() -> set[str]:
        bindings = own_cluster.api.get("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings")["items"]
        return {one["metadata"]["name"] for one in bindings}

    before = there()
    with foreign(kubeconfig) as theirs:
        assert not theirs.ours
        with foreign(kubeconfig):
            assert len(there() - before) == 2
        with theirs.namespace() as namespace:
            made = deployment(namespace, "web")
            made["spec"]["template"]["spec"]["containers"][0]["image"] = "registry.k8s.io/pause:3.10"
            theirs.apply(made)
            theirs.kubectl("-n", namespace, "rollout", "status", "deployment/web", "--timeout=60s")
            assert len(pods(theirs, namespace, "web")) == 1
    assert there() == before


def test_what_only_our_own_cluster_can_run_is_skipped_on_another(kubeconfig: str) -> None:
    """Pods without an image would wait for ever there, and look like a fault of what is tested."""
    pod = {"containers": [{"name": "c", "image": "none"}], "restartPolicy": "Never"}
    with foreign(kubeconfig) as theirs, theirs.namespace() as namespace:
        about = {"name": "made", "namespace": namespace}
        job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": about, "spec": {"template": {"spec": pod}}}
        only_ours: list[dict[str, Any]] = [
            deployment(namespace, "web"),
            {"apiVersion": "v1", "kind": "Pod", "metadata": about, "spec": pod},
            job,
            {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "theirs-2"}},
        ]
        for manifest in only_ours:
            for make in (theirs.apply, theirs.api.create, theirs.api.replace):
                with pytest.raises(pytest.skip.Exception, match="KEYTURN_TEST_KUBECONFIG names somebody's own"):
                    make(manifest)
        for act in (lambda: theirs.let_pods(namespace, "web", "crash"), theirs.stop_api_server, lambda: theirs.folder):
            with pytest.raises(pytest.skip.Exception, match="not ours to direct"):
                act()
        theirs.apply(deployment(namespace, "idle", replicas=0), {**job, "spec": {**job["spec"], "suspend": True}})
        assert [each["metadata"]["name"] for each in theirs.api.get("/api/v1/nodes")["items"]] == ["node-1"]


def test_a_run_on_somebodys_own_cluster_says_aloud_what_it_skips(kubeconfig: str) -> None:
    folder = "tests/real/kubernetes"
    rollout = f"{folder}/test_workloads.py::test_a_probe_right_after_the_restart_does_not_believe_the_old_rollout"
    plain = f"{folder}/test_discovery.py::test_a_changed_secret_is_another_version"
    words = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "-rs", "-m", "cluster", rollout, plain]
    told = os.environ | {"KEYTURN_TEST_KUBECONFIG": kubeconfig}
    told.pop("KEYTURN_REQUIRE_REAL_PARTS", None)  # which would turn the skips into failures
    done = subprocess.run(words, cwd=ROOT, env=told, capture_output=True, text=True, timeout=100)
    assert "1 passed, 1 skipped" in done.stdout, done.stdout
    assert "run only where kwok plays the kubelet" in done.stdout
    assert "SKIPPED on the cluster that KEYTURN_TEST_KUBECONFIG names" in done.stdout
    assert "1 test needs a control plane of our own" in done.stdout


def test_the_last_to_leave_ends_the_servers_even_if_it_is_killed(control_plane_parts: Parts) -> None:
    """A worker that is killed cannot say goodbye; nobody else may be left with its servers, nor lose theirs."""
    program = (
        "import sys, time, json; from pathlib import Path\n"
        "from playground.cluster.build import Parts; from playground.cluster.cluster import Cluster\n"
        f"cluster = Cluster.start(Parts(Path({str(control_plane_parts.folder)!r})))\n"
        "print(json.dumps({'folder': str(cluster.folder), 'pids': cluster.pids}), flush=True)\n"
        "time.sleep(300)"
    )
    first = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert first.stdout is not None
    told = json.loads(first.stdout.readline())
    second = Cluster.join(control_plane_parts, Path(told["folder"]))
    first.send_signal(signal.SIGKILL)
    first.wait()
    first.stdout.close()
    assert second.api.get("/readyz") == "ok"
    assert all(_lives(pid) for pid in told["pids"].values())
    second.close()
    assert not any(_lives(pid) for pid in told["pids"].values())
    assert not Path(told["folder"]).exists()
    with pytest.raises(ClusterError):
        Cluster.join(control_plane_parts, Path(told["folder"]))


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_server_that_does_not_start_shows_its_log(control_plane_parts: Parts, tmp_path: Path) -> None:
    broken = tmp_path / "parts"
    (broken / "bin").mkdir(parents=True)
    for name in ("kubernetes", "cert-manager", "kwok"):
        (broken / "bin" / name).symlink_to(control_plane_parts.program(name))
    (broken / "stages").mkdir()
    (broken / "stages" / "pod-ready.yaml").write_text(
        '{"apiVersion": "kwok.x-k8s.io/v1alpha1", "kind": "Stage", "metadata": {"name": "broken"}, "spec": {"next": 7}}'
    )
    with pytest.raises(ClusterError, match=r"kwok \(ended with \d+\)") as failed:
        Cluster.start(Parts(broken))
    kept = re.search(r"control plane in (\S+?):", str(failed.value))
    assert kept is not None
    assert (Path(kept[1]) / "kwok.log").exists(), "its logs stay for whoever looks into it"
    shutil.rmtree(kept[1])


def test_certificates_become_ready(cert_manager: Cluster, namespace: str) -> None:
    def about(name: str) -> dict[str, str]:
        return {"name": name, "namespace": namespace}

    group = "cert-manager.io/v1"
    cert_manager.apply(
        {"apiVersion": group, "kind": "Issuer", "metadata": about("own"), "spec": {"selfSigned": {}}},
        _certificate(about("root"), "own", isCA=True),
        {"apiVersion": group, "kind": "Issuer", "metadata": about("ca"), "spec": {"ca": {"secretName": "root"}}},
        _certificate(about("leaf"), "ca"),
    )
    for name in ("root", "leaf"):
        path = f"/apis/{group}/namespaces/{namespace}/certificates/{name}"
        cert_manager.wait(lambda path=path: _ready(cert_manager.api.get(path)), name)
    leaf = cert_manager.api.get(f"/api/v1/namespaces/{namespace}/secrets/leaf")
    assert {"tls.crt", "tls.key", "ca.crt"} <= set(leaf["data"])


def _certificate(about: dict[str, str], issuer: str, **more: Any) -> dict[str, Any]:
    name = about["name"]
    spec = {"secretName": name, "commonName": name, "dnsNames": [name], "issuerRef": {"name": issuer, "kind": "Issuer"}}
    return {"apiVersion": "cert-manager.io/v1", "kind": "Certificate", "metadata": about, "spec": spec | more}


def test_the_kinds_of_the_prometheus_operator_are_served(monitoring_kinds: Cluster, namespace: str) -> None:
    rule = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "keyturn", "namespace": namespace},
        "spec": {"groups": [{"name": "g", "rules": [{"alert": "A", "expr": "vector(1)"}]}]},
    }
    assert monitoring_kinds.apply(rule)[0]["spec"] == rule["spec"]
    with pytest.raises(ApiError, match="groups"):
        monitoring_kinds.apply(rule | {"spec": {"groups": "none"}})
