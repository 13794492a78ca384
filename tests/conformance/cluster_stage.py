"""Stages on a real control plane, behind a proxy that answers chosen calls in its place."""

from __future__ import annotations

import base64
import itertools
import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from adapters import kubernetes
from bot.contracts.adapter import Secrets
from bot.engine.secrets import SecretDoor
from playground.cluster.api import ApiError
from playground.cluster.cluster import Cluster
from tests.conformance.kit import Stage
from tests.real.control_plane.proxies import FaultProxy

Manifest = dict[str, Any]
ANSWERS: dict[str, dict[str, Any]] = {
    "drop": {"cut": True},
    "lose": {"cut": True, "after": True},
    "hang": {"hang": True},
    "garbage": {"garbage": True, "status": 200},
    "throttle": {"status": 429},
    "status": {},
}


class World:
    """One namespace of the control plane for all stages; every stage has objects of its own in it."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster, self.api = cluster, cluster.api
        self.proxy = FaultProxy(cluster.server, cluster.ca, folder)
        self.namespace = f"conformance-{uuid.uuid4().hex[:8]}"
        about = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}}
        cluster.apply(about)
        cluster.wait(lambda: self.find("serviceaccounts", "default"), "the service account")
        config = cluster.kubeconfig(folder / "kubeconfig", server=self.proxy.url, ca=self.proxy.ca)
        told = {"clusters": {"default": {"kubeconfig": config, "timeout": 2}}}
        self.client = kubernetes.Client(kubernetes.Config.model_validate(told), _nobody())
        self.secrets: Secrets = SecretDoor(lambda _: kubernetes.Store(self.client))
        self._numbers = itertools.count(1)
        self._made: set[str] = set()

    def name(self, what: str) -> str:
        """A name that no other stage has."""
        return f"{what}-{next(self._numbers)}"

    def once(self, key: str, make: Callable[[], None]) -> None:
        """Make what all stages share."""
        if key not in self._made:
            make()
            self._made.add(key)

    def path(self, resource: str, name: str = "") -> str:
        """Of an object in the namespace; `resource` is written `deployments.apps`."""
        plural, _, group = resource.partition(".")
        root = f"/apis/{group}/v1" if group else "/api/v1"
        return f"{root}/namespaces/{self.namespace}/{plural}" + (f"/{name}" if name else "")

    def find(self, resource: str, name: str) -> Manifest | None:
        """An object, None when it is not there."""
        try:
            found: Manifest = self.api.get(self.path(resource, name))
        except ApiError as error:
            if error.status != 404:
                raise
            return None
        return found

    def secret(self, name: str, data: Mapping[str, str], **more: Any) -> None:
        """Make a Secret."""
        about = {"name": name, "namespace": self.namespace, **more.pop("metadata", {})}
        made = {"apiVersion": "v1", "kind": "Secret", "metadata": about, "stringData": dict(data), "type": "Opaque"}
        self.api.create({**made, **more})

    def data(self, name: str) -> dict[str, str]:
        """A Secret's entries."""
        found = self.find("secrets", name) or {}
        return {key: base64.b64decode(value).decode() for key, value in (found.get("data") or {}).items()}

    def deployment(self, name: str, *, replicas: int = 0, secret: str = "admin", **more: Any) -> None:
        """Make a Deployment, and wait until its controller has a first revision of it."""
        env = [{"name": "TOKEN", "value": "literal-value-5b1d"}, {"name": "TTL", "value": "90d"}]
        pod = {"containers": [{"name": "web", "image": "none", "env": env}]}
        pod["volumes"] = [{"name": "keys", "secret": {"secretName": secret}}]  # type: ignore[list-item]
        template = {"metadata": {"labels": {"app": name}}, "spec": pod}
        spec = {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template, **more}
        about = {"name": name, "namespace": self.namespace, "labels": {"app": name}}
        self.api.create({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": about, "spec": spec})
        self.settled(name)

    def settled(self, name: str) -> Manifest:
        """The Deployment, once its controller has seen its newest generation."""

        def look() -> Manifest | None:
            found = self.find("deployments.apps", name) or {}
            status = found.get("status") or {}
            done = status.get("observedGeneration", 0) >= found["metadata"]["generation"]
            same = status.get("availableReplicas", 0) == found["spec"]["replicas"] == status.get("updatedReplicas", 0)
            marked = "deployment.kubernetes.io/revision" in (found["metadata"].get("annotations") or {})
            return found if done and marked and (same or not found["spec"]["replicas"]) else None

        found: Manifest = self.cluster.wait(look, f"the controller of {name}")
        return found

    def stage(
        self,
        params: Mapping[str, Any],
        effects: Callable[[], int] = lambda: 0,
        seen: Callable[[], Any] = lambda: None,
        hidden: Callable[[], list[str]] = list,
    ) -> Stage:
        """A stage; `seen` is what looking must not change."""

        def spoil(kind: str, **answer: Any) -> None:
            self.proxy.answer(**{"status": 200, **ANSWERS[kind], **answer})

        self.proxy.clear()
        return Stage(
            client=self.client,
            params={"namespace": self.namespace, **params},
            secrets=self.secrets,
            effects=effects,
            snapshot=seen,
            calls=lambda: len(self.proxy.seen),
            spoil=spoil,
            deny=lambda: self.proxy.answer(401, times=None),
            heal=self.proxy.clear,
            hidden=lambda: [self.cluster.admin_token, *hidden()],
        )


def _nobody() -> Secrets:
    def no_store(name: str) -> Any:
        raise AssertionError(f"{name} is not asked for secrets")

    return SecretDoor(no_store)


_worlds: list[World] = []


def use_cluster(cluster: Cluster, folders: pytest.TempPathFactory) -> None:
    """Play the stages on this control plane from now on."""
    if not _worlds or _worlds[-1].cluster is not cluster:
        _worlds.append(World(cluster, folders.mktemp("conformance-cluster")))


def world() -> World:
    """The control plane's namespace."""
    return _worlds[-1]


@contextmanager
def played(stage: Stage) -> Iterator[Stage]:
    """End what was spoiled, whatever the scene did."""
    try:
        yield stage
    finally:
        stage.heal()


def shown(found: Manifest | None) -> str:
    """What looking must not change of an object."""
    if found is None:
        return ""
    about = found["metadata"]
    return json.dumps([about.get("resourceVersion"), about.get("annotations")], sort_keys=True)
