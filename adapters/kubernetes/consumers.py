"""Who mounts or references a Secret, and what a label selects: the blast radius, and what a step fans out over."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import JsonValue

from adapters.kubernetes.client import Client
from adapters.kubernetes.names import InNamespace, ObjectName, Selector
from adapters.kubernetes.permissions import Placed, narrowed
from adapters.kubernetes.places import WORKLOADS, Place
from bot.contracts.adapter import Fact, Known, Run
from bot.core.errors import Permanent

LISTS = tuple(f"{resource}: list" for resource in WORKLOADS.values())
OTHERS = {
    "cronjob": "cronjobs.batch",
    "job": "jobs.batch",
    "pod": "pods",
    "ingress": "ingresses.networking.k8s.io",
}
USERS = {**WORKLOADS, **OTHERS}
"""Kinds that can use a Secret. Jobs come before pods, so that it is known whose a pod of a job is."""

AT_ONCE = 50
"""Objects in one answer: they come with whole pod templates, and only their names are kept."""

_UNFINISHED = {"pods": "status.phase!=Succeeded,status.phase!=Failed"}
_HASH = "pod-template-hash"


class Consumers(Placed, Fact):
    """Who mounts or references a Secret, for people to see: workloads, CronJobs, Jobs, single pods, and Ingresses.

    A pod or Job is told by its controller. A kind that keyturn may not list is told as `not seen: jobs`. What a step
    fans out over is an input or `restartable`, since not everything here can be restarted.
    """

    permissions = (*LISTS, *(f"{resource}: list" for resource in OTHERS.values()))

    class Params(InNamespace):
        secret: ObjectName

    client: Client

    def read(self, p: Params, run: Run) -> Known:
        found: dict[str, None] = {}
        unseen: list[str] = []
        jobs: dict[str, str] = {}
        for kind, resource in USERS.items():
            try:
                names = {_told(kind, one, jobs) for one in self._listed(p, run, resource, jobs) if _uses(one, p.secret)}
            except Permanent:
                if not self._may_not(p, run, resource) or len(unseen) == len(USERS) - 1:
                    raise
                unseen.append(resource.partition(".")[0])
                continue
            found |= dict.fromkeys(sorted(names))
        told: list[JsonValue] = [f"not seen: {name}" for name in unseen]
        return Known([*told, *found], f"what in {p.namespace} uses the Secret {p.secret}")

    def _listed(self, p: Params, run: Run, resource: str, jobs: dict[str, str]) -> Iterator[Mapping[str, Any]]:
        """What has not finished, of one kind."""
        place = Place(p.cluster, resource, p.namespace)
        for page in self.client.pages(run, place, fields=_UNFINISHED.get(resource, ""), at_once=AT_ONCE):
            for one in page:
                if resource == OTHERS["job"]:
                    name = f"job/{one['metadata']['name']}"
                    jobs[name] = _controller(one) or name
                    if _finished(one):
                        continue
                yield one

    def _may_not(self, p: Params, run: Run, resource: str) -> bool:
        return bool(self.client.access([narrowed(f"{resource}: list", p.cluster, p.namespace)], run))


class Restartable(Placed, Fact):
    """The Deployments, StatefulSets and DaemonSets that the labels select."""

    permissions = LISTS

    class Params(InNamespace):
        selector: Selector

    client: Client

    def read(self, p: Params, run: Run) -> Known:
        found: list[JsonValue] = []
        for kind, resource in WORKLOADS.items():
            place = Place(p.cluster, resource, p.namespace)
            for page in self.client.pages(run, place, labels=p.selector, metadata_only=True):
                found += sorted(f"{kind}/{one['metadata']['name']}" for one in page)
        return Known(found, f"workloads in {p.namespace} with the labels {p.selector}")


def _uses(one: Mapping[str, Any], secret: str) -> bool:
    return any(name == secret for name in secrets_of(one.get("spec")))


def _told(kind: str, one: Mapping[str, Any], jobs: Mapping[str, str]) -> str:
    """The name under which people know it."""
    name = f"{kind}/{one['metadata']['name']}"
    owner = _controller(one) if kind in ("job", "pod") else ""
    return jobs.get(owner, owner) or name


def _controller(one: Mapping[str, Any]) -> str:
    """`deployment/web` for its pods too, whose ReplicaSet is another with every rollout; empty where there is none."""
    about = one["metadata"]
    owner = next((each for each in about.get("ownerReferences") or [] if each.get("controller")), None)
    if owner is None:
        return ""
    kind, name = str(owner.get("kind", "")).lower(), str(owner.get("name", ""))
    version = (about.get("labels") or {}).get(_HASH)
    if kind == "replicaset" and version and name.endswith(f"-{version}"):
        return f"deployment/{name.removesuffix(f'-{version}')}"
    return f"{kind}/{name}"


def _finished(job: Mapping[str, Any]) -> bool:
    conditions = (job.get("status") or {}).get("conditions") or []
    return any(one.get("type") in ("Complete", "Failed") and one.get("status") == "True" for one in conditions)


def secrets_of(part: Any) -> Iterator[str]:
    """The names of all Secrets that a specification uses, wherever in it: a pod's, a template's, an Ingress's."""
    if isinstance(part, list):
        for one in part:
            yield from secrets_of(one)
    elif isinstance(part, dict):
        for name, value in part.items():
            if name in ("secretKeyRef", "secretRef", "nodePublishSecretRef", "secret") and isinstance(value, dict):
                yield str(value.get("name") or value.get("secretName") or "")
            elif name == "imagePullSecrets" and isinstance(value, list):
                yield from (str(one.get("name", "")) for one in value if isinstance(one, dict))
            elif name == "secretName" and isinstance(value, str):
                yield value
            else:
                yield from secrets_of(value)
