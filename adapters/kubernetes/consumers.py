"""Who mounts or references a Secret, and what a label selects: the blast radius, and what a step fans out over."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import JsonValue

from adapters.kubernetes.client import Client
from adapters.kubernetes.names import InNamespace, ObjectName, Selector
from adapters.kubernetes.permissions import Placed
from adapters.kubernetes.places import WORKLOADS, Place
from bot.contracts.adapter import Fact, Known, Run

LISTS = ("deployments.apps: list", "statefulsets.apps: list", "daemonsets.apps: list")


class Consumers(Placed, Fact):
    """The workloads that mount or reference a Secret. CronJobs are told too: they read it at their next run."""

    permissions = (*LISTS, "cronjobs.batch: list")

    class Params(InNamespace):
        secret: ObjectName

    client: Client

    def read(self, p: Params, run: Run) -> Known:
        found: list[JsonValue] = []
        for kind, resource in WORKLOADS.items():
            found += [f"{kind}/{name}" for name in self._using(p, run, resource)]
        jobs = [f"cronjob/{name}" for name in self._using(p, run, "cronjobs.batch")]
        later = f"; {', '.join(sorted(jobs)[:10])} will read it at the next run" if jobs else ""
        return Known(found, f"pod templates in {p.namespace} that use the Secret {p.secret}{later}")

    def _using(self, p: Params, run: Run, resource: str) -> list[str]:
        place = Place(p.cluster, resource, p.namespace)
        every = (one for page in self.client.pages(run, place) for one in page)
        return sorted(one["metadata"]["name"] for one in every if p.secret in set(secrets_of(one.get("spec"))))


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


def secrets_of(part: Any) -> Iterator[str]:
    """The names of all Secrets that a pod's specification uses, wherever in it."""
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
