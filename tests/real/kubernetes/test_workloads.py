"""Consumers: restarted once, judged by their controllers, made to refer, rolled back; what fails tells its reason."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from adapters.kubernetes import rollout
from adapters.kubernetes.places import Place, workload
from adapters.kubernetes.workloads import change
from bot.core.errors import Permanent
from playground.cluster.cluster import ClusterError
from playground.cluster.stages import BEHAVES
from tests.real.control_plane.manifests import deployment
from tests.real.kubernetes.conftest import Bench

LITERAL = "literal-value-5b1d"
WEB = "deployment/web"
BROKEN = {"op": "replace", "path": "/spec/replicas", "value": -1}


def pods(bench: Bench, app: str = "web") -> set[str]:
    listed = bench.api.get(bench.path("pods"), labelSelector=f"app={app}")["items"]
    return {pod["metadata"]["uid"] for pod in listed if not pod["metadata"].get("deletionTimestamp")}


def make(bench: Bench, kind: str = "Deployment", name: str = "web", **spec: Any) -> dict[str, Any]:
    made = deployment(bench.namespace, name, replicas=2)
    made["kind"] = kind
    if kind == "DaemonSet":
        del made["spec"]["replicas"]
    if kind == "StatefulSet":
        made["spec"]["serviceName"] = name
    made["metadata"]["labels"] = {"app": name, "tier": "front"}
    made["spec"] |= spec
    made["spec"]["template"]["spec"]["containers"][0]["env"] = [{"name": "TOKEN", "value": LITERAL}]
    bench.cluster.apply(made)
    return made


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "DaemonSet"])
def test_a_restart_replaces_every_pod_once(bench: Bench, kind: str) -> None:
    make(bench, kind)
    workload = f"{kind.lower()}/web"
    bench.until("rolled_out", workload=workload)
    before = pods(bench)
    done = bench.do("restart", workload=workload)
    assert done["previous_revision"] == "1"
    told = bench.until("rolled_out", workload=workload)
    assert "updated" in told.evidence
    after = pods(bench)
    assert after
    assert not after & before, "all are new"
    assert bench.do("restart", workload=workload) == done
    assert bench.check("rolled_out", workload=workload).passed
    assert pods(bench) == after, "the same token restarts once"
    bench.undo("restart", done, workload=workload)
    bench.until("rolled_out", workload=workload)
    again = pods(bench)
    assert not again & after, "undoing restarts once more"
    bench.undo("restart", done, workload=workload)
    assert bench.check("rolled_out", workload=workload).passed
    assert pods(bench) == again
    bench.do("restart", workload=workload)
    bench.until("rolled_out", workload=workload)
    assert not pods(bench) & (before | after | again), "done again after undoing: new pods, not the first restart's"


def test_a_probe_right_after_the_restart_does_not_believe_the_old_rollout(bench: Bench) -> None:
    make(bench)
    bench.until("rolled_out", workload=WEB)
    bench.cluster.let_pods(bench.namespace, "web", "unready")
    bench.do("restart", workload=WEB)
    for _ in range(20):
        assert not bench.check("rolled_out", workload=WEB).passed


@pytest.mark.parametrize(("behaves", "reason"), [("crash", "CrashLoopBackOff"), ("image", "ImagePullBackOff")])
@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "DaemonSet"])
def test_a_pod_that_cannot_start_fails_the_rollout_with_its_reason(
    bench: Bench, kind: str, behaves: str, reason: str
) -> None:
    make(bench, kind)
    workload = f"{kind.lower()}/web"
    bench.until("rolled_out", workload=workload)
    bench.cluster.let_pods(bench.namespace, "web", behaves)
    bench.do("restart", workload=workload)
    error = bench.fails("rolled_out", workload=workload)
    assert isinstance(error, Permanent)
    assert reason in str(error)
    assert "pod web-" in str(error)
    assert "roll back" in error.hint


def test_while_a_deployment_moves_a_look_is_one_call(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    make(bench)
    bench.until("rolled_out", workload=WEB)
    bench.cluster.let_pods(bench.namespace, "web", "unready")
    bench.do("restart", workload=WEB)
    seen = lambda: bench.check("rolled_out", workload=WEB).evidence.startswith(f"{WEB}: ")  # noqa: E731
    bench.cluster.wait(seen, "the controller sees the restart")
    monkeypatch.setattr(rollout, "QUIET", timedelta(hours=1))
    asked: list[Place] = []
    monkeypatch.setattr(bench.client, "pages", lambda run, place, **_: asked.append(place) or iter([]))
    assert not bench.check("rolled_out", workload=WEB).passed
    assert not asked
    monkeypatch.setattr(rollout, "QUIET", timedelta(0))
    assert not bench.check("rolled_out", workload=WEB).passed
    assert [place.resource for place in asked] == ["replicasets.apps"]


def test_a_pod_of_the_old_template_that_crashes_is_not_blamed_on_the_new_one(bench: Bench) -> None:
    bench.cluster.let_pods(bench.namespace, "web", "crash")
    make(bench)
    bench.fails("rolled_out", workload=WEB)
    bench.cluster.let_pods(bench.namespace, "web", None)
    bench.do("restart", workload=WEB)
    bench.until("rolled_out", workload=WEB)


def test_the_controllers_deadline_is_believed_and_told_with_the_pods_reason(bench: Bench) -> None:
    bench.cluster.let_pods(bench.namespace, "web", "unready")
    make(bench, progressDeadlineSeconds=1)
    error = bench.fails("rolled_out", workload=WEB)
    assert isinstance(error, Permanent)
    assert "progress deadline" in str(error)
    assert re.search(r"pod web-\S+: it is not Ready, ContainersNotReady: containers with unready status", str(error))


def says(bench: Bench, workload: str, reason: str) -> None:
    """Wait until the reading, which has not passed, names a pod with this reason."""
    found: list[str] = []

    def told() -> bool:
        reading = bench.check("rolled_out", workload=workload)
        found.append(reading.evidence)
        return not reading.passed and re.search(rf"; pod web-\S+: .*{reason}", reading.evidence) is not None

    try:
        bench.cluster.wait(told, f"the reading tells {reason}", 30)
    except ClusterError as error:
        raise AssertionError(f"{error}: {found[-1]}") from None


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "DaemonSet"])
def test_a_pod_that_no_node_takes_is_named_while_it_is_waited_for(bench: Bench, kind: str) -> None:
    """The scheduler's own words; only Deployments have a deadline, so the others would only run out of time."""
    made = make(bench, kind)
    bench.until("rolled_out", workload=f"{kind.lower()}/web")
    (container,) = made["spec"]["template"]["spec"]["containers"]
    container["resources"] = {"requests": {"cpu": "5000"}}
    bench.cluster.apply(made)
    says(bench, f"{kind.lower()}/web", r"it has no node, Unschedulable: 0/\d+ nodes are available")


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "DaemonSet"])
def test_a_pod_that_does_not_become_ready_is_named_with_how_it_ended_last(bench: Bench, kind: str) -> None:
    workload = f"{kind.lower()}/web"
    make(bench, kind)
    bench.until("rolled_out", workload=workload)
    bench.cluster.let_pods(bench.namespace, "web", "unready")
    bench.do("restart", workload=workload)
    says(bench, workload, "it is not Ready, ContainersNotReady: containers with unready status")
    listed = bench.api.get(bench.path("pods"), labelSelector="app=web")["items"]
    killed = {"terminated": {"exitCode": 137, "reason": "OOMKilled", "containerID": "x://1"}}
    for pod in listed:
        (status,) = pod["status"]["containerStatuses"]
        if not status["ready"]:  # as the kubelet writes it, which kwok does not go on with
            ended = {"containerStatuses": [{**status, "restartCount": 4, "lastState": killed}]}
            bench.api.merge(bench.path("pods", pod["metadata"]["name"]) + "/status", {"status": ended})
    says(bench, workload, r"container web is not Ready, exit code 137 \(OOMKilled\) after 4 restarts")


def test_a_deployment_whose_pods_nobody_lets_in_says_so(bench: Bench) -> None:
    wish = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}
    bench.api.merge(f"/api/v1/namespaces/{bench.namespace}", wish)
    make(bench, progressDeadlineSeconds=1)
    error = bench.fails("rolled_out", workload=WEB)
    assert "progress deadline" in str(error)
    assert "no pod can be made, FailedCreate" in str(error)
    assert "violates PodSecurity" in str(error)


def test_what_does_not_roll_by_itself_is_refused_before_anything_is_done(bench: Bench) -> None:
    make(bench, paused=True)
    with pytest.raises(Permanent, match=r"paused \(by tests\)") as caught:
        bench.do("restart", workload=WEB)
    assert "resume" in caught.value.hint
    with pytest.raises(Permanent, match="paused"):
        bench.check("rolled_out", workload=WEB)
    make(bench, "DaemonSet", "agent", updateStrategy={"type": "OnDelete"})
    with pytest.raises(Permanent, match="OnDelete"):
        bench.do("restart", workload="daemonset/agent")
    make(bench, "StatefulSet", "db", updateStrategy={"type": "RollingUpdate", "rollingUpdate": {"partition": 1}})
    with pytest.raises(Permanent, match="partition"):
        bench.do("restart", workload="statefulset/db")
    with pytest.raises(Permanent, match="no Deployment gone"):
        bench.do("restart", workload="deployment/gone")


def test_a_workload_that_others_change_meanwhile_is_restarted_all_the_same(bench: Bench) -> None:
    make(bench)
    path = bench.path("deployments.apps", "web")
    bench.just_before_the_patch(lambda: bench.api.merge(path, {"spec": {"replicas": 3}}))
    bench.do("restart", workload=WEB)
    bench.until("rolled_out", workload=WEB)
    assert bench.api.get(path)["spec"]["replicas"] == 3
    assert len(pods(bench)) == 3


def test_what_the_controller_writes_meanwhile_is_no_reason_to_begin_again(bench: Bench) -> None:
    """Its status changes with every pod that comes or goes."""
    make(bench)
    bench.until("rolled_out", workload=WEB)
    path = bench.path("deployments.apps", "web")
    notes = iter(range(1, 100))

    def busy() -> None:
        bench.api.merge(f"{path}/status", {"status": {"collisionCount": next(notes)}})

    bench.just_before_the_patch(busy, times=99)
    done = bench.do("restart", workload=WEB)
    assert next(notes) == 2, "the first try counts"
    bench.until("rolled_out", workload=WEB)
    assert bench.do("restart", workload=WEB) == done


def test_two_rotations_that_restart_the_same_at_once_both_do(bench: Bench) -> None:
    make(bench)
    bench.until("rolled_out", workload=WEB)
    tokens = [f"keyturn-R-{i}-restart-0" for i in range(4)]
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda token: bench.do("restart", token, workload=WEB), tokens))
    assert [bench.do("restart", token, workload=WEB) for token in tokens] == done, "each is remembered"
    assert len({one["generation"] for one in done}) == 4


def test_a_change_that_the_server_calls_invalid_is_told_as_that(bench: Bench) -> None:
    make(bench)
    bench.until("rolled_out", workload=WEB)
    with pytest.raises(Permanent, match="422") as caught:
        change(bench.client, bench.run(), workload("default", bench.namespace, WEB), lambda found, marks: [BROKEN])
    assert "refused the change as invalid" in caught.value.hint


def test_fifty_are_restarted_at_once_by_label(bench: Bench) -> None:
    for i in range(50):
        bench.cluster.apply(_labelled(bench, f"app-{i}"))
    found = bench.fact("restartable", selector="tier=front")
    assert len(found) == 50
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda name: bench.do("restart", workload=name), found))
    for name in found:
        bench.until("rolled_out", patience=100, workload=name)


def _labelled(bench: Bench, name: str) -> dict[str, Any]:
    made = deployment(bench.namespace, name)
    made["metadata"]["labels"] = {"tier": "front"}
    return made


def test_a_literal_becomes_a_reference_and_is_put_back(bench: Bench) -> None:
    make(bench)
    bench.until("rolled_out", workload=WEB)
    bench.secret("api", {"token.v2": "x"})
    given = {"workload": WEB, "container": "web", "variable": "TOKEN", "secret": "api", "key": "token.v2"}
    done = bench.do("refer", **given)
    assert done == {"workload": WEB, "variable": "TOKEN", "previous_revision": "1"}
    assert bench.do("refer", **given) == done
    assert _variable(bench) == {
        "name": "TOKEN",
        "valueFrom": {"secretKeyRef": {"name": "api", "key": "token.v2"}},
    }
    assert bench.fact("consumers", secret="api") == [WEB]
    bench.undo("refer", done, **given)
    assert _variable(bench) == {"name": "TOKEN", "value": LITERAL}
    bench.do("refer", **given)
    other = {**given, "key": "token.v3"}
    bench.do("refer", "keyturn-R-8-refer-0", **other)
    with pytest.raises(Permanent, match=r"refers to token.v3 of api"):
        bench.undo("refer", done, **given)
    with pytest.raises(Permanent, match="it sets TOKEN") as caught:
        bench.do("refer", "keyturn-R-9-refer-0", **{**given, "variable": "TYPO"})
    assert LITERAL not in f"{caught.value} {caught.value.hint} {done}"


def _variable(bench: Bench) -> dict[str, Any]:
    found = bench.api.get(bench.path("deployments.apps", "web"))["spec"]["template"]["spec"]["containers"][0]["env"][0]
    return dict(found)


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "DaemonSet"])
def test_a_workload_goes_back_to_its_previous_template_and_forward_again(bench: Bench, kind: str) -> None:
    made = make(bench, kind)
    workload, resource = f"{kind.lower()}/web", f"{kind.lower()}s.apps"
    bench.until("rolled_out", workload=workload)
    first = bench.api.get(bench.path(resource, "web"))["spec"]["template"]
    with pytest.raises(Permanent, match="no earlier revision"):
        bench.do("roll_back", workload=workload)
    made["spec"]["template"]["spec"]["containers"][0]["image"] = "second"
    bench.cluster.apply(made)
    bench.until("rolled_out", workload=workload)
    second = bench.api.get(bench.path(resource, "web"))["spec"]["template"]
    done = bench.do("roll_back", workload=workload)
    assert (done["from_revision"], done["to_revision"]) == ("2", "1")
    assert bench.api.get(bench.path(resource, "web"))["spec"]["template"] == first
    bench.until("rolled_out", workload=workload)
    assert bench.do("roll_back", workload=workload) == done, "once, not back and forth"
    bench.undo("roll_back", done, workload=workload)
    assert bench.api.get(bench.path(resource, "web"))["spec"]["template"] == second


def test_ready_is_what_counts_and_completed_pods_do_not(bench: Bench) -> None:
    def pod(name: str, behaves: str) -> dict[str, Any]:
        about = {"name": name, "namespace": bench.namespace, "labels": {"app": "job"}}
        about["annotations"] = {BEHAVES: behaves}  # type: ignore[assignment]
        spec = {"containers": [{"name": "c", "image": "none"}], "restartPolicy": "Never"}
        return {"apiVersion": "v1", "kind": "Pod", "metadata": about, "spec": spec}

    assert not bench.check("all_ready", selector="app=job").passed, "nothing is not Ready"
    make(bench, name="job")
    bench.until("rolled_out", workload="deployment/job")
    bench.cluster.apply(pod("done", "complete"))

    def completed() -> bool:
        return bool(bench.api.get(bench.path("pods", "done"))["status"].get("phase") == "Succeeded")

    bench.cluster.wait(completed, "the pod has completed")
    told = bench.check("all_ready", selector="app=job")
    assert told.passed
    assert told.evidence == "2 of 2 pods Ready"
    bench.cluster.apply(pod("running", "unready"))

    def running() -> bool:
        return bool(bench.api.get(bench.path("pods", "running"))["status"].get("phase") == "Running")

    bench.cluster.wait(running, "the pod runs")
    told = bench.check("all_ready", selector="app=job")
    assert told.passed is False, "Running is not Ready"
    assert "running (it is not Ready, ContainersNotReady" in told.evidence


def test_a_setting_is_read_where_it_is_live(bench: Bench) -> None:
    made = make(bench)
    about = {"name": "settings", "namespace": bench.namespace}
    bench.cluster.apply(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": about, "data": {"ttl": "90d", "odd": "?!"}}
    )
    made["spec"]["template"]["spec"]["containers"][0]["env"] = [
        {"name": "TTL", "value": "7776000"},
        {"name": "CACHE", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "ttl"}}},
        {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "admin", "key": "ttl"}}},
        {"name": "TOKEN", "value": LITERAL},
    ]
    bench.cluster.apply(made)
    quarter = 90 * 86400
    assert bench.fact("setting", workload=WEB, variable="TTL") == quarter
    assert bench.fact("setting", workload=WEB, variable="CACHE", configmap="settings") == quarter
    assert bench.fact("setting", configmap="settings", key="ttl") == quarter
    assert bench.fact("setting", configmap="settings", key="none", default=quarter) == quarter
    assert bench.fact("setting", workload=WEB, variable="NONE", default=60) == 60
    for given in (
        {"workload": WEB, "variable": "TOKEN"},
        {"workload": WEB, "variable": "PASSWORD"},
        {"configmap": "settings", "key": "odd"},
        {"configmap": "settings", "key": "none"},
    ):
        with pytest.raises(Permanent) as caught:
            bench.fact("setting", **given)
        assert LITERAL not in f"{caught.value} {caught.value.hint}"


def test_a_setting_is_read_from_no_other_configmap_than_the_named_one(bench: Bench) -> None:
    made = make(bench)
    for name, data in (("settings", {"TTL": "90d"}), ("others", {"TTL": "30d", "AGE": "1h"})):
        about = {"name": name, "namespace": bench.namespace}
        bench.cluster.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": about, "data": data})
    (container,) = made["spec"]["template"]["spec"]["containers"]
    container["env"] = [{"name": "CACHE", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "TTL"}}}]
    container["envFrom"] = [
        {"configMapRef": {"name": "settings"}},
        {"prefix": "MAX_", "configMapRef": {"name": "others"}},
    ]
    bench.cluster.apply(made)
    for configmap in (None, "-", "others"):
        with pytest.raises(Permanent) as caught:
            bench.fact("setting", workload=WEB, variable="CACHE", configmap=configmap, default=60)
        assert caught.value.hint == "name it as configmap"
    for configmap in (None, "-"):  # it may be there, so the default would be a guess
        with pytest.raises(Permanent, match="may come from the ConfigMap"):
            bench.fact("setting", workload=WEB, variable="TTL", configmap=configmap, default=60)
    assert bench.fact("setting", workload=WEB, variable="TTL", configmap="settings") == 90 * 86400
    assert bench.fact("setting", workload=WEB, variable="MAX_AGE", configmap="others") == 3600
    assert bench.fact("setting", workload=WEB, variable="NONE", configmap="settings", default=60) == 60


def test_a_duration_is_a_default_too(bench: Bench) -> None:
    bench.cluster.apply(deployment(bench.namespace, "web"))
    assert bench.fact("setting", workload="deployment/web", variable="TTL", default="90d") == 90 * 86400
    assert bench.fact("setting", workload="deployment/web", variable="TTL", default=60) == 60
