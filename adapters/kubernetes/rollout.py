"""Whether a rollout has finished and pods are Ready, by what their controllers say; failures with their reason."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from adapters.kubernetes.client import Client, Found
from adapters.kubernetes.counts import counted, seen
from adapters.kubernetes.names import InNamespace, Selector
from adapters.kubernetes.permissions import Placed
from adapters.kubernetes.places import Place
from adapters.kubernetes.revisions import current, history
from adapters.kubernetes.said import said
from adapters.kubernetes.workloads import LOOKS_AT_WORKLOADS, OneWorkload, OnWorkload, check_rolls
from bot.contracts.adapter import Probe, Reading, Run
from bot.core.errors import Permanent

BROKEN = frozenset(
    {
        "CrashLoopBackOff",
        "ImagePullBackOff",
        "ErrImagePull",
        "ErrImageNeverPull",
        "InvalidImageName",
        "ImageInspectError",
        "RegistryUnavailable",
        "CreateContainerConfigError",
        "CreateContainerError",
        "RunContainerError",
    }
)
"""Reasons of a waiting container that do not pass by waiting."""

REPLACED = frozenset({"ReplicaSet", "StatefulSet", "DaemonSet", "ReplicationController"})
"""Controllers that make another pod for one that failed."""


QUIET = timedelta(seconds=3)
"""Without progress; a cluster's clock that is wrong by more makes pods be looked at sooner or later than that."""


class RolledOut(OnWorkload, Probe):
    """Every pod of a workload is of its newest template and Ready, and none of an older one is left.

    It fails with the pod's own reason when a new pod crashes or cannot pull its image, when the controller gives up
    (progress deadline), and at once when the rollout is paused. Of a rollout under way it names the first new pod that
    is not Ready with what the pod says: that it has no node, how it ended last, that its readiness probe fails. Pods
    are looked at once a Deployment has made no progress for 3 s: while it moves, a look is one call.
    """

    permissions = (*LOOKS_AT_WORKLOADS, "pods: list")

    class Params(OneWorkload):
        """The workload."""

    client: Client

    def measure(self, p: Params, run: Run) -> Reading:
        found = self.client.get(run, p.place)
        check_rolls(p.place, found)
        reading = counted(p.place, p.workload, found)
        if reading.passed or not seen(found) or _moves(found):
            return reading
        why = self._look_for_trouble(p, run, found)
        return replace(reading, evidence=f"{reading.evidence}; {why}") if why else reading

    def _look_for_trouble(self, p: Params, run: Run, found: Found) -> str:
        """What the first new pod that is not Ready says. Raises `Permanent` when waiting will not help."""
        newest = current(found, history(self.client, run, p.place, found))
        place = replace(p.place, resource="pods", name="")
        pods = self.client.all(run, place, labels=newest.pods) if newest else []
        new = [pod for pod in pods if not pod["metadata"].get("deletionTimestamp") and not _ready(pod)]
        for pod in new:
            if why := _broken(pod):
                raise Permanent(
                    f"{p.workload} does not roll out: {_named(pod)}: {why}",
                    "look at the pod; roll back, or correct what it needs and retry",
                )
        why = next((f"{_named(pod)}: {_unready(pod) or _phase(pod)}" for pod in new), _not_made(found))
        late = _condition(found, "Progressing")
        if late.get("reason") == "ProgressDeadlineExceeded":
            raise Permanent(
                f"{p.workload} does not roll out: its progress deadline is exceeded "
                f"({said(late.get('message'))}){f'; {why}' if why else ''}",
                "look at its pods and at the room on the nodes; roll back, or correct it and retry",
            )
        return why


def _conditions(found: Found) -> list[Mapping[str, Any]]:
    conditions = (found.get("status") or {}).get("conditions") or []
    return [one for one in conditions if isinstance(one, dict)]


def _condition(found: Found, kind: str) -> Mapping[str, Any]:
    return next((one for one in _conditions(found) if one.get("type") == kind), {})


def _moves(found: Found) -> bool:
    """Whether its controller has just seen progress; only a Deployment's says so."""
    progress = _condition(found, "Progressing")
    try:
        at = datetime.fromisoformat(str(progress.get("lastUpdateTime")))
    except ValueError:
        return False
    return progress.get("status") == "True" and at.tzinfo is not None and abs(datetime.now(UTC) - at) < QUIET


def _ready(pod: Found) -> bool:
    return _condition(pod, "Ready").get("status") == "True"


def _named(pod: Found) -> str:
    return f"pod {said(pod['metadata'].get('name'), 100)}"


def _containers(pod: Found) -> Iterator[Mapping[str, Any]]:
    status = pod.get("status") or {}
    for kind in ("initContainerStatuses", "containerStatuses"):
        yield from status.get(kind) or []


def _broken(pod: Found) -> str:
    """Why a pod will not become Ready, as it says itself; empty while it may."""
    for one in _containers(pod):
        waiting = (one.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") in BROKEN:
            return f"container {said(one.get('name'), 63)} {_told(waiting)}{_ended(one)}"
    return ""


def _unready(pod: Found) -> str:
    """Why a pod is not Ready yet, as it says itself: its node, its containers, its readiness; empty if it is silent."""
    status, scheduled, ready = pod.get("status") or {}, _condition(pod, "PodScheduled"), _condition(pod, "Ready")
    if why := _broken(pod):
        return why
    if scheduled.get("status") == "False":
        return f"it has no node, {_told(scheduled)}"
    if status.get("reason"):  # evicted, or refused by its node
        return _told(status)
    for one in _containers(pod):
        waiting, ended = (one.get("state") or {}).get("waiting") or {}, _ended(one)
        if not one.get("ready") and (waiting.get("reason") or ended):
            return f"container {said(one.get('name'), 63)} {_told(waiting) or 'is not Ready'}{ended}"
    return f"it is not Ready, {told}" if ready.get("status") == "False" and (told := _told(ready)) else ""


def _told(about: Mapping[str, Any]) -> str:
    """`Unschedulable: 0/3 nodes are available`, of anything with a reason and a message."""
    parts = (said(about[name], most) for name, most in (("reason", 60), ("message", 200)) if about.get(name))
    return ": ".join(parts)


def _ended(container: Mapping[str, Any]) -> str:
    """`, exit code 137 (OOMKilled) after 4 restarts`, when it has ended before."""
    now, before = ((container.get(name) or {}).get("terminated") for name in ("state", "lastState"))
    last = now or before or {}
    code, reason = last.get("exitCode"), last.get("reason")
    if not isinstance(code, int):
        return ""
    times = container.get("restartCount")
    restarts = f" after {times} restarts" if isinstance(times, int) and times else ""
    return f", exit code {code}{f' ({said(reason, 60)})' if reason else ''}{restarts}"


def _not_made(found: Found) -> str:
    """Why no pod could be made, which only a Deployment says."""
    failed = _condition(found, "ReplicaFailure")
    return f"no pod can be made, {_told(failed)}" if failed.get("status") == "True" else ""


# --- all pods ---------------------------------------------------------------------------------------------------------


class AllReady(Placed, Probe):
    """Every pod that the labels select is Ready. Completed pods and such as are going away do not count."""

    permissions = ("pods: list",)

    class Params(InNamespace):
        selector: Selector

    client: Client

    def measure(self, p: Params, run: Run) -> Reading:
        ready, unready = 0, []
        for page in self.client.pages(run, Place(p.cluster, "pods", p.namespace), labels=p.selector):
            for pod in page:
                if not _counts_as_running(pod):
                    continue
                if _ready(pod):
                    ready += 1
                else:
                    unready.append(f"{said(pod['metadata'].get('name'), 100)} ({_unready(pod) or _phase(pod)})")
        if not ready and not unready:
            return Reading(f"no pod in {p.namespace} has the labels {p.selector}", passed=False)
        told = f"{ready} of {ready + len(unready)} pods Ready"
        return Reading(f"{told}; not: {'; '.join(unready[:5])}" if unready else told, passed=not unready)


def _counts_as_running(pod: Found) -> bool:
    about, phase = pod.get("metadata") or {}, (pod.get("status") or {}).get("phase")
    if about.get("deletionTimestamp") or phase == "Succeeded":
        return False
    owners = {owner.get("kind") for owner in about.get("ownerReferences") or []}
    return not (phase == "Failed" and owners & REPLACED)


def _phase(pod: Found) -> str:
    status = pod.get("status") or {}
    return said(status.get("reason") or status.get("phase") or "not Ready", 60)
