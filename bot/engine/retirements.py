"""Says until when old versions stand in the way of the next rotation."""

from __future__ import annotations

from bot.core.rotation import Overlap, Rotation, State
from bot.store.reading import Reader


def retirements(reader: Reader, credential: str, environment: str) -> str:
    """What each retirement under way waits for, and its last day, as a part of a sentence."""
    rows = reader.rotations(credential=credential, environment=environment, states=(State.PROMOTED,), under_way=True)
    found = [rotation for row in rows if (rotation := reader.rotation(row.number)) is not None]
    return "; ".join(_told(rotation) for rotation in found) or "wait for the retirement"


def _told(rotation: Rotation) -> str:
    i = rotation.current
    due = rotation.steps[i].due_at if i is not None else None
    step = "is held" if rotation.overlap is Overlap.BLOCKED else "goes on"
    if i is not None and due is not None and rotation.overlap is Overlap.RETIRING:
        step = f"waits until {due:%Y-%m-%d %H:%M} UTC ({rotation.plan.steps[i].title})"
    last = f", and has until {rotation.overlap_deadline:%Y-%m-%d %H:%M} UTC" if rotation.overlap_deadline else ""
    return f"the retirement of {rotation.id} {step}{last}"
