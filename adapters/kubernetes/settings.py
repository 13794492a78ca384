"""A number or a duration in a live object: a variable of a workload, or an entry of a ConfigMap."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue, model_validator

from adapters.kubernetes.client import Client
from adapters.kubernetes.names import Container, DataKey, InNamespace, ObjectName, Variable, Workload
from adapters.kubernetes.permissions import Placed, known_text
from adapters.kubernetes.places import WORKLOADS, Place, workload
from adapters.kubernetes.said import said
from bot.contracts.adapter import Fact, Known, Run
from bot.core import duration
from bot.core.errors import Permanent

GETS = ("deployments.apps: get", "statefulsets.apps: get", "daemonsets.apps: get")


class Setting(Placed, Fact):
    """A number or a duration as it is set now, in seconds: how long tokens live, how old a cache may be.

    Of a workload's variable, directly or through the ConfigMap that is named, or of a ConfigMap's entry. `default` is
    what the consumer takes where nothing is set. What is neither number nor duration is not shown.
    """

    permissions = (*GETS, "configmaps: get")
    named = {**dict.fromkeys(WORKLOADS.values(), "workload"), "configmaps": "configmap"}  # noqa: RUF012

    class Params(InNamespace):
        workload: Workload | None = None
        container: Container | None = None
        """All of them when none is named; they must agree."""
        variable: Variable | None = None
        configmap: ObjectName | Literal["-"] | None = None
        """Holds the key, or the variable where the workload takes it from one (`-`: none); no other one is read."""
        key: DataKey | None = None
        default: float | Annotated[str, Field(max_length=60)] | None = None
        """Seconds, or a duration such as `90d`."""

        @model_validator(mode="after")
        def _one_way(self) -> Any:
            of_workload, of_map = (self.workload, self.variable), (self.configmap, self.key)
            if not (all(of_workload) and not self.key) and not (all(of_map) and not any(of_workload)):
                raise ValueError("give either workload and variable, or configmap and key")
            return self

    client: Client

    @classmethod
    def needs(cls, known: Mapping[str, Any]) -> tuple[str, ...]:
        found = super().needs(known)
        of_map = tuple(text for text in found if text.startswith("configmaps"))
        if known.get("workload"):
            return found if known_text(known, "configmap") else tuple(text for text in found if text not in of_map)
        return of_map if known.get("configmap") else found

    def read(self, p: Params, run: Run) -> Known:
        if p.configmap and not p.workload:
            assert p.key is not None
            text, source = self._entry(p, run, p.configmap, p.key), f"{p.key} of ConfigMap {p.namespace}/{p.configmap}"
        else:
            text, source = self._variable(p, run), f"{p.variable} of {p.workload} in {p.namespace}"
        if text is None:
            if p.default is None:
                raise Permanent(f"{source} is not set", "set it, or give the default that the consumer has")
            return Known(_seconds(str(p.default), "the default"), f"default, since {source} is not set")
        return Known(_seconds(text, source), source)

    def _entry(self, p: Params, run: Run, name: str, key: str) -> str | None:
        found = self.client.get(run, Place(p.cluster, "configmaps", p.namespace, name))
        value = (found.get("data") or {}).get(key)
        return value if isinstance(value, str) else None

    def _variable(self, p: Params, run: Run) -> str | None:
        found = self.client.get(run, workload(p.cluster, p.namespace, p.workload or ""))
        spec = ((found.get("spec") or {}).get("template") or {}).get("spec") or {}
        known = [one for one in spec.get("containers") or [] if p.container in (None, one.get("name"))]
        if not known:
            raise Permanent(f"{p.workload} has no container {p.container}", "correct the name of the container")
        values = set()
        for one in known:
            entry = next((each for each in reversed(one.get("env") or []) if each.get("name") == p.variable), None)
            text = self._inherited(p, run, one) if entry is None else self._value(p, run, entry)
            if text is not None:
                values.add(text)
        if len(values) > 1:
            raise Permanent(f"containers of {p.workload} have different {p.variable}", "name one of them as container")
        return values.pop() if values else None

    def _value(self, p: Params, run: Run, entry: Mapping[str, Any]) -> str | None:
        source = entry.get("valueFrom")
        if not source:
            return str(entry.get("value") or "")
        if (reference := source.get("configMapKeyRef")) and isinstance(reference.get("name"), str):
            return self._entry(p, run, self._named(p, reference["name"]), str(reference.get("key")))
        raise Permanent(
            f"{p.variable} of {p.workload} comes from elsewhere than a ConfigMap", "read it where it is set"
        )

    def _inherited(self, p: Params, run: Run, container: Mapping[str, Any]) -> str | None:
        """The variable as it comes with a whole ConfigMap; the last one wins, as for the container."""
        for one in reversed(container.get("envFrom") or []):
            name, prefix = (one.get("configMapRef") or {}).get("name"), str(one.get("prefix") or "")
            if not isinstance(name, str) or not str(p.variable).startswith(prefix):
                continue
            if p.configmap in (None, "-"):
                self._named(p, name)
            if name == p.configmap:
                text = self._entry(p, run, name, str(p.variable)[len(prefix) :])
                if text is not None:
                    return text
        return None

    def _named(self, p: Params, name: str) -> str:
        """A ConfigMap is read only if it was named: what it is granted for is known before."""
        if name != p.configmap:
            raise Permanent(
                f"{p.variable} of {p.workload} may come from the ConfigMap {said(name, 100)}", "name it as configmap"
            )
        return name


def _seconds(text: str, source: str) -> JsonValue:
    try:
        return _plain(float(text))
    except ValueError:
        pass
    try:
        return _plain(duration.parse(text).total_seconds())
    except ValueError:
        raise Permanent(f"{source} is neither a number nor a duration", "name the setting that holds one") from None


def _plain(seconds: float) -> JsonValue:
    if not 0 <= seconds <= duration.LONGEST.total_seconds():
        raise Permanent("a setting of less than nothing, or of more than ten years, is none", "correct it")
    return int(seconds) if seconds == int(seconds) else seconds
