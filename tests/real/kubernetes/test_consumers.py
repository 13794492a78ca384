"""Who uses a Secret: found wherever it is mounted or named, told once, in small pages, and as far as may be seen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from adapters.kubernetes import client as seam
from adapters.kubernetes import consumers
from bot.core.errors import Permanent
from playground.cluster.stages import BEHAVES
from tests.real.control_plane.manifests import deployment
from tests.real.kubernetes.conftest import Bench, rules

REF = {"name": "admin"}
USING: dict[str, Any] = {"containers": [{"name": "c", "image": "none", "envFrom": [{"secretRef": REF}]}]}


def once(behaves: str) -> dict[str, Any]:
    """A job that does not end, or one that does."""
    about = {"annotations": {BEHAVES: behaves}}
    return {"template": {"metadata": about, "spec": {"restartPolicy": "Never", **USING}}}


RUNS, ENDS = once("image"), once("complete")


def using(bench: Bench, name: str, replicas: int = 0, **pod: Any) -> dict[str, Any]:
    made = deployment(bench.namespace, name, replicas=replicas)
    container = made["spec"]["template"]["spec"]["containers"][0]
    container |= pod.pop("container", {})
    made["spec"]["template"]["spec"] |= pod
    return made


def batch(bench: Bench, kind: str, name: str, **spec: Any) -> dict[str, Any]:
    about = {"name": name, "namespace": bench.namespace}
    return {"apiVersion": "batch/v1", "kind": kind, "metadata": about, "spec": spec}


def pod(bench: Bench, name: str, **about: Any) -> dict[str, Any]:
    about |= {"name": name, "namespace": bench.namespace}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": about, "spec": {"restartPolicy": "Never", **USING}}


def test_every_way_of_using_a_secret_counts(bench: Bench) -> None:
    bench.cluster.apply(
        using(bench, "env", container={"env": [{"name": "A", "valueFrom": {"secretKeyRef": {**REF, "key": "k"}}}]}),
        using(bench, "from", container={"envFrom": [{"secretRef": REF}]}),
        using(bench, "mount", volumes=[{"name": "v", "secret": {"secretName": "admin"}}]),
        using(bench, "projected", volumes=[{"name": "v", "projected": {"sources": [{"secret": REF}]}}]),
        using(bench, "pull", imagePullSecrets=[REF]),
        using(bench, "init", initContainers=[{"name": "i", "image": "none", "envFrom": [{"secretRef": REF}]}]),
        using(bench, "other", volumes=[{"name": "v", "secret": {"secretName": "other"}}]),
    )
    found = bench.fact("consumers", secret="admin")
    assert found == [f"deployment/{name}" for name in ("env", "from", "init", "mount", "projected", "pull")]


def test_jobs_single_pods_and_ingresses_are_told(bench: Bench) -> None:
    backend = {"service": {"name": "shop", "port": {"number": 80}}}
    spec = {"tls": [{"hosts": ["shop.test"], "secretName": "admin"}], "defaultBackend": backend}
    about = {"namespace": bench.namespace}
    web = {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress"}
    bench.cluster.apply(
        {**web, "metadata": {**about, "name": "shop"}, "spec": spec},
        {**web, "metadata": {**about, "name": "plain"}, "spec": {"defaultBackend": backend}},
        batch(bench, "CronJob", "nightly", schedule="0 3 1 1 *", jobTemplate={"spec": RUNS}),
        batch(bench, "Job", "migrate", **RUNS),
        pod(bench, "debug"),
    )
    found = bench.fact("consumers", secret="admin")
    assert found == ["cronjob/nightly", "job/migrate", "pod/debug", "ingress/shop"]
    assert bench.fact("consumers", secret="other") == []


def test_pods_that_were_given_a_secret_on_their_way_in_are_told_by_their_deployment(bench: Bench) -> None:
    """Their template says nothing of it: the service account names it, and admission writes it into each pod."""
    account = bench.path("serviceaccounts", "default")
    bench.api.merge(account, {"imagePullSecrets": [REF]})
    bench.cluster.apply(deployment(bench.namespace, "web", replicas=2))
    bench.until("rolled_out", workload="deployment/web")
    assert bench.fact("consumers", secret="admin") == ["deployment/web"]


def test_what_has_a_controller_is_told_by_it_and_what_has_finished_is_not(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In pages of two: whole pod templates come with each, so there must never be many at once."""
    monkeypatch.setattr(consumers, "AT_ONCE", 2)
    pages: list[int] = []
    real = seam._send

    def counting(*args: Any) -> Any:
        answer = real(*args)
        pages.append(len(json.loads(answer[2]).get("items", ())))
        return answer

    web = using(bench, "web", 3, **USING)
    cron = batch(bench, "CronJob", "nightly", schedule="0 3 1 1 *", suspend=True, jobTemplate={"spec": RUNS})
    _, made = bench.cluster.apply(web, cron)

    def owned(manifest: dict[str, Any], by: dict[str, Any], group: str = "batch/v1") -> dict[str, Any]:
        owner = {"apiVersion": group, "kind": by["kind"], "name": by["metadata"]["name"], "uid": by["metadata"]["uid"]}
        manifest["metadata"]["ownerReferences"] = [{**owner, "controller": True}]
        return manifest

    bench.cluster.apply(owned(batch(bench, "Job", "nightly-1", **RUNS), made))
    ended = pod(bench, "ended", annotations={BEHAVES: "complete"})
    bench.cluster.apply(batch(bench, "Job", "done", **ENDS), ended)

    def over() -> bool:
        job = bench.api.get(bench.path("jobs.batch", "done")).get("status", {})
        ended = bench.api.get(bench.path("pods", "ended"))["status"].get("phase") == "Succeeded"
        running = bench.api.get(bench.path("jobs.batch", "nightly-1")).get("status", {}).get("active") == 1
        return ended and running and any(one["type"] == "Complete" for one in job.get("conditions", ()))

    bench.cluster.wait(over, "the job and the pod have ended")
    bench.until("rolled_out", workload="deployment/web")
    monkeypatch.setattr(seam, "_send", counting)
    assert bench.fact("consumers", secret="admin") == ["deployment/web", "cronjob/nightly"]
    assert max(pages) == 2
    assert len(pages) > len(consumers.USERS), "some kinds took more than one"


def test_a_kind_that_may_not_be_listed_is_told_as_not_seen(bench: Bench, tmp_path: Path) -> None:
    bench.cluster.apply(using(bench, "web", **USING), batch(bench, "Job", "migrate", suspend=True, **RUNS))
    part = bench.catalog.part("kubernetes.consumers")
    assert part is not None
    needed = part.needs({"namespace": bench.namespace})

    def may(kinds: str, *resources: str) -> Bench:
        granted = [text for text in needed if text.partition(":")[0].partition(".")[0] in resources]
        account = bench.cluster.account(bench.namespace, kinds, rules(granted))
        return Bench(bench.cluster, bench.namespace, bench.cluster.kubeconfig(tmp_path / kinds, account))

    every = ("deployments", "statefulsets", "daemonsets", "cronjobs", "jobs", "pods", "ingresses")
    assert may("all", *every).fact("consumers", secret="admin") == ["deployment/web", "job/migrate"]
    some = may("some", *(name for name in every if name not in ("jobs", "ingresses")))
    assert some.fact("consumers", secret="admin") == ["not seen: jobs", "not seen: ingresses", "deployment/web"]
    with pytest.raises(Permanent, match="may not list"):
        may("none").fact("consumers", secret="admin")
