"""How far a rollout is, by what a workload's controller counts: one call, and no pod is looked at."""

from __future__ import annotations

from collections.abc import Mapping

from adapters.kubernetes.client import Found
from adapters.kubernetes.places import Place
from bot.contracts.adapter import Reading


def seen(found: Found) -> bool:
    """Whether the controller knows the object as it is now; before that its counts are of an earlier one."""
    generation: int = found["metadata"].get("generation", 0)
    return _status(found, "observedGeneration") >= generation


def counted(place: Place, workload: str, found: Found) -> Reading:
    """Whether every pod is of the newest template and available, and none of an older one is left."""
    if not seen(found):
        generation = found["metadata"].get("generation", 0)
        return Reading(f"the controller has not seen generation {generation} of {place} yet", passed=False)
    wanted, counts = _counts(place, found)
    if not wanted and not any(counts.values()) and not _older(place, found, wanted):
        return Reading(f"{workload} is scaled to 0, no pod runs", passed=True)
    told = ", ".join(f"{count} of {wanted} {name}" for name, count in counts.items())
    left = _older(place, found, wanted)
    complete = all(count == wanted for count in counts.values()) and not left
    return Reading(f"{workload}: {told}{left}", passed=complete)


def _counts(place: Place, found: Found) -> tuple[int, Mapping[str, int]]:
    """How many pods are wanted, and how many there are by what the controller says."""
    if place.resource == "daemonsets.apps":
        return _status(found, "desiredNumberScheduled"), {
            "updated": _status(found, "updatedNumberScheduled"),
            "ready": _status(found, "numberReady"),
            "available": _status(found, "numberAvailable"),
        }
    wanted = (found.get("spec") or {}).get("replicas")
    return 1 if wanted is None else int(wanted), {
        "updated": _status(found, "updatedReplicas"),
        "ready": _status(found, "readyReplicas"),
        "available": _status(found, "availableReplicas"),
    }


def _older(place: Place, found: Found, wanted: int) -> str:
    """`, 1 of an older template`, while such are left."""
    if place.resource == "daemonsets.apps":
        return ""
    left = _status(found, "replicas") - wanted
    status = found.get("status") or {}
    if place.resource == "statefulsets.apps" and status.get("currentRevision") != status.get("updateRevision"):
        left = max(left, _status(found, "replicas") - _status(found, "updatedReplicas"))
    return f", {left} of an older template" if left > 0 else ""


def _status(found: Found, name: str) -> int:
    value = (found.get("status") or {}).get(name, 0)
    return value if isinstance(value, int) else 0
