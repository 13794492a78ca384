"""A number or a duration in a live object: a variable of a workload, or an entry of a ConfigMap."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, JsonValue, model_validator

from adapters.kubernetes.client import Client
from adapters.kubernetes.names import Container, DataKey, InNamespace, ObjectName, Variable, Workload
from adapters.kubernetes.permissions import Placed
from adapters.kubernetes.places import WORKLOADS, Place, workload
from bot.contracts.adapter import Fact, Known, Run
from bot.core import duration
from bot.core.errors import Permanent

GETS = ("deployments.apps: get", "statefulsets.apps: get", "daemonsets.apps: get")


class Setting(Placed, Fact):
    """A number or a duration as it is set now, in seconds: how long tokens live, how old a cache may be.

    Of a workload's variable, directly or through a ConfigMap, or of a ConfigMap's entry. `default` is what the consumer
    takes where nothing is set. What is neither number nor duration is not shown.
    """

    permissions = (*GETS, "configmaps: get")
    named = {**dict.fromkeys(WORKLOADS.values(), "workload"), "configmaps": "configmap"}  # noqa: RUF012

    class Params(InNamespace):
        workload: Workload | None = None
        container: Container | None = None
        """All of them when none is named; they must agree."""
        variable: Variable | None = None
        configmap: ObjectName | None = None
        key: DataKey | None = None
        default: float | Annotated[str, Field(max_length=60)] | None = None
        """Seconds, or a duration such as `90d`."""

        @model_validator(mode="after")
        def _one_way(self) -> Any:
            of_workload, of_map = (self.workload, self.variable), (self.configmap, self.key)
            if not (all(of_workload) and not any(of_map)) and not (all(of_map) and not any(of_workload)):
                raise ValueError("give either workload and variable, or configmap and key")
            return self

    client: Client

    @classmethod
    def needs(cls, known: Mapping[str, Any]) -> tuple[str, ...]:
        found = super().needs(known)
        if known.get("configmap"):
            return tuple(text for text in found if text.startswith("configmaps"))
        return found

    def read(self, p: Params, run: Run) -> Known:
        if p.configmap and p.key:
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
            if entry is not None:
                values.add(self._value(p, run, entry))
        if len(values) > 1:
            raise Permanent(f"containers of {p.workload} have different {p.variable}", "name one of them as container")
        return values.pop() if values else None

    def _value(self, p: Params, run: Run, entry: Mapping[str, Any]) -> str | None:
        source = entry.get("valueFrom")
        if not source:
            return str(entry.get("value") or "")
        if (reference := source.get("configMapKeyRef")) and isinstance(reference.get("name"), str):
            return self._entry(p, run, reference["name"], str(reference.get("key")))
        raise Permanent(
            f"{p.variable} of {p.workload} comes from elsewhere than a ConfigMap", "read it where it is set"
        )


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
