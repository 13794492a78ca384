"""The adapter as the bot builds it, in a fresh namespace of the control plane."""

from __future__ import annotations

import base64
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from adapters import kubernetes
from adapters.kubernetes.permissions import parse
from bot.catalog import Catalog
from bot.contracts.adapter import Discovery, Fact, Found, Observed, Operation, Probe, Reading, Run, Sensor, Sighting
from bot.core.errors import KeyturnError, Underway
from bot.engine.secrets import SecretDoor
from playground.cluster.cluster import Cluster, ClusterError

TOKEN = "keyturn-R-7-step-0a1b2c3d"


class Bench:
    """Words of the adapter in one namespace, and the namespace as its owner sees it."""

    def __init__(self, cluster: Cluster, namespace: str, kubeconfig: Path | None, context: str | None = None) -> None:
        self.cluster, self.api, self.namespace = cluster, cluster.api, namespace
        self.file = kubeconfig
        clusters = {"default": {"kubeconfig": str(kubeconfig), "context": context}} if kubeconfig else {}
        self.catalog = Catalog({"kubernetes": {"clusters": clusters}}, lambda: self.secrets)
        self.secrets = SecretDoor(self.catalog.store)

    @property
    def kubeconfig(self) -> Path:
        """The file that its credentials are in."""
        assert self.file is not None
        return self.file

    @property
    def client(self) -> kubernetes.Client:
        """The adapter's one client, for who has to come in between."""
        found: kubernetes.Client = self.catalog.operation("kubernetes.add_key").client
        return found

    def run(self, token: str = TOKEN, seconds: float = 20.0) -> Run:
        """A call."""
        log = logging.LoggerAdapter(logging.getLogger("bench"), {})
        return Run("R-7", token, "person:ada", self.secrets, datetime.now(UTC), log, time.monotonic() + seconds)

    def part(self, word: str, params: Mapping[str, Any]) -> tuple[Any, Any]:
        """A word and its parameters, ready to use."""
        kind = self.catalog.part(f"kubernetes.{word}")
        assert kind is not None
        given = {"namespace": self.namespace} if "namespace" in kind.Params.model_fields else {}
        return kind(self.client), kind.Params.model_validate({**given, **params})

    def do(self, word: str, token: str = TOKEN, **params: Any) -> dict[str, Any]:
        """Do an operation."""
        operation, p = self.part(word, params)
        assert isinstance(operation, Operation)
        return dict(operation.ensure(p, self.run(token)))

    def observe(self, word: str, token: str = TOKEN, **params: Any) -> Observed:
        """Look for what an operation did."""
        operation, p = self.part(word, params)
        found: Observed = operation.observe(p, self.run(token))
        return found

    def undo(
        self, word: str, outputs: Mapping[str, Any] = {}, token: str = TOKEN, *, relied_on: bool = False, **params: Any
    ) -> str | None:
        """Undo it, as often as it says that it is under way; returns what was left on purpose."""
        operation, p = self.part(word, params)
        left: list[str | None] = []

        def undone() -> bool:
            try:
                left.append(operation.undo(p, replace(self.run(token), relied_on=relied_on), outputs))
            except Underway:
                return False
            return True

        self.cluster.wait(undone, f"{word} is undone")
        return left[-1]

    def check(self, word: str, **params: Any) -> Reading:
        """Measure."""
        probe, p = self.part(word, params)
        assert isinstance(probe, Probe)
        return probe.measure(p, self.run())

    def until(self, word: str, *, patience: float = 60.0, **params: Any) -> Reading:
        """Measure until it passes."""
        readings: list[Reading] = []

        def passes() -> bool:
            readings.append(self.check(word, **params))
            return bool(readings[-1].passed)

        try:
            self.cluster.wait(passes, word, patience)
        except ClusterError as error:
            raise AssertionError(f"{error}: {readings[-1].evidence}") from None
        return readings[-1]

    def fails(self, word: str, *, before: Callable[[], None] = lambda: None, **params: Any) -> KeyturnError:
        """Measure until it raises, as a probe that knows that waiting does not help; `before` is done each time."""

        def look() -> KeyturnError | None:
            before()
            try:
                self.check(word, **params)
            except KeyturnError as error:
                return error
            return None

        found: KeyturnError = self.cluster.wait(look, f"{word} raises")
        return found

    def fact(self, word: str, **params: Any) -> Any:
        """Read a fact."""
        fact, p = self.part(word, params)
        assert isinstance(fact, Fact)
        return fact.read(p, self.run()).value

    def seen(self, word: str, **params: Any) -> Sighting:
        """Ask a sensor."""
        sensor, p = self.part(word, params)
        assert isinstance(sensor, Sensor)
        return sensor.last_seen(p, self.run())

    def found(self, word: str, **params: Any) -> list[Found]:
        """Everything that a discovery lists."""
        discovery, p = self.part(word, params)
        assert isinstance(discovery, Discovery)
        return [one for page in discovery.pages(p, self.run()) for one in page]

    # --- the namespace, by its owner ----------------------------------------------------------------------------------

    def path(self, resource: str, name: str = "") -> str:
        """Of an object; `resource` is written `deployments.apps`."""
        plural, _, group = resource.partition(".")
        root = f"/apis/{group}/v1" if group else "/api/v1"
        return f"{root}/namespaces/{self.namespace}/{plural}" + (f"/{name}" if name else "")

    def secret(self, name: str, data: Mapping[str, str], **more: Any) -> None:
        """Make a Secret."""
        about = {"name": name, "namespace": self.namespace, **more.pop("metadata", {})}
        self.api.create({"apiVersion": "v1", "kind": "Secret", "metadata": about, "stringData": dict(data), **more})

    def data(self, name: str) -> dict[str, str]:
        """A Secret's entries."""
        found = self.api.get(self.path("secrets", name)).get("data") or {}
        return {key: base64.b64decode(value).decode() for key, value in found.items()}

    def write(self, name: str, data: Mapping[str, str | None], manager: str = "kubectl-edit") -> None:
        """Change a Secret as somebody else does."""
        coded = {
            key: None if value is None else base64.b64encode(value.encode()).decode() for key, value in data.items()
        }
        self.api.merge(self.path("secrets", name), {"data": coded}, fieldManager=manager)

    def just_before_the_patch(self, act: Callable[[], Any], times: int = 1) -> None:
        """Let somebody act between keyturn's reading and its writing."""
        client, left = self.client, [times]
        real = client.patch

        def patch(*args: Any, **kwargs: Any) -> Any:
            if left[0]:
                left[0] -= 1
                act()
            return real(*args, **kwargs)

        client.patch = patch  # type: ignore[method-assign]


@pytest.fixture
def bench(cluster: Cluster, namespace: str, tmp_path: Path) -> Bench:
    """The adapter with the administrator's credentials."""
    return Bench(cluster, namespace, cluster.kubeconfig(tmp_path / "kubeconfig"))


def rules(permissions: Iterable[str]) -> list[dict[str, Any]]:
    """The rules of a Role that grants exactly this."""
    made = []
    for text in permissions:
        one = parse(text)
        resource = one.resource + (f"/{one.subresource}" if one.subresource else "")
        rule: dict[str, Any] = {"apiGroups": [one.group], "resources": [resource], "verbs": list(one.verbs)}
        made.append(rule | ({"resourceNames": [one.name]} if one.name else {}))
    return made
