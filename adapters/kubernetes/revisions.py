"""Earlier templates of a workload, as its controller keeps them: ReplicaSets, or ControllerRevisions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from adapters.kubernetes.client import Client, Found
from adapters.kubernetes.places import Place
from bot.contracts.adapter import Run
from bot.core.errors import Permanent

NUMBER = "deployment.kubernetes.io/revision"
HASH = "pod-template-hash"


@dataclass(frozen=True, slots=True)
class Revision:
    """One template that a workload has had. Its name stays; its number grows when the workload goes back to it."""

    number: int
    name: str
    template: Mapping[str, Any] = field(repr=False)
    pods: str = ""
    """The label selector of its own pods."""


def selector_of(found: Found) -> str:
    """A workload's own selector, as a query takes it."""
    asked = (found.get("spec") or {}).get("selector") or {}
    parts = [f"{name}={value}" for name, value in (asked.get("matchLabels") or {}).items()]
    for one in asked.get("matchExpressions") or []:
        name, among = one.get("key"), ",".join(one.get("values") or [])
        words = {"In": f"{name} in ({among})", "NotIn": f"{name} notin ({among})", "Exists": f"{name}"}
        parts.append(words.get(one.get("operator"), f"!{name}"))
    return ",".join(parts)


def history(client: Client, run: Run, place: Place, found: Found) -> list[Revision]:
    """All revisions that are kept, the oldest first."""
    if place.resource == "deployments.apps":
        kind, label = "replicasets.apps", HASH
    else:
        kind, label = "controllerrevisions.apps", "controller-revision-hash"
    uid = found["metadata"].get("uid")
    kept = []
    for one in client.all(run, replace(place, resource=kind, name=""), labels=selector_of(found)):
        about = one.get("metadata") or {}
        if any(owner.get("uid") == uid for owner in about.get("ownerReferences") or []):
            name = str(about.get("name", ""))
            pods = _pods(place, label, name, about.get("labels") or {})
            kept.append(Revision(_number_of(one), name, _template(one), pods))
    return sorted(kept, key=lambda one: one.number)


def current(found: Found, kept: list[Revision]) -> Revision | None:
    """The revision of the template that is wanted now; None where the controller has not made it yet.

    Told by the template itself: the numbers that the controller writes may be those of the change before.
    """
    wanted = _plain(found["spec"]["template"])
    return next((one for one in reversed(kept) if _plain(template_of(one)) == wanted), None)


def before(place: Place, found: Found, kept: list[Revision]) -> tuple[Revision | None, Revision]:
    """The revision that is wanted now, if there is one yet, and the one before it; `Permanent` when there is none."""
    now = current(found, kept)
    earlier = [one for one in kept if one is not now]
    if not earlier:
        raise Permanent(
            f"no earlier revision of {place} is kept", "put its template back by hand, or roll it back by its own tool"
        )
    return now, earlier[-1]


def template_of(revision: Revision) -> dict[str, Any]:
    """The template as the workload had it, without what its controller added."""
    template = {name: value for name, value in revision.template.items() if name != "$patch"}
    about = dict(template.get("metadata") or {})
    labels = {name: value for name, value in (about.get("labels") or {}).items() if name != HASH}
    return {**template, "metadata": {**about, "labels": labels}}


def _plain(value: Any) -> Any:
    """Without what is empty: a template that was stored may spell out what the live one leaves out."""
    if isinstance(value, dict):
        held = {name: _plain(inner) for name, inner in value.items()}
        return {name: inner for name, inner in held.items() if inner not in (None, {}, [])}
    return [_plain(inner) for inner in value] if isinstance(value, list) else value


def _number(found: Found) -> int:
    text = (found["metadata"].get("annotations") or {}).get(NUMBER, "0")
    return int(text) if str(text).isdigit() else 0


def _number_of(one: Found) -> int:
    number = one.get("revision")
    return number if isinstance(number, int) else _number(one)


def _template(one: Found) -> Mapping[str, Any]:
    held = one.get("spec") or (one.get("data") or {}).get("spec") or {}
    return held.get("template") or {}


def _pods(place: Place, label: str, name: str, labels: Mapping[str, Any]) -> str:
    """A StatefulSet's pods carry the revision's name, the others' its hash."""
    mark = name if place.resource == "statefulsets.apps" else labels.get(label, name)
    return f"{label}={mark}"
