"""What is safe about a rotation that stands still: whether the old credential is still there, in one sentence."""

from __future__ import annotations

from bot.core.plan import DESTROYS
from bot.core.rotation import Overlap, Rotation, Stage, State
from bot.core.runbook import Section


def what_is_left(rotation: Rotation) -> str:
    """What somebody woken at night has to know of a held rotation, in plain text."""
    if rotation.state is State.ROLLING_BACK:
        return "The rollback is not complete; what the card shows as undone is put back, the rest is not."
    begun = [
        planned
        for planned, run in zip(rotation.plan.steps, rotation.steps, strict=True)
        if run.touched and run.stage is not Stage.UNDONE and planned.changes
    ]
    gone = [planned.title for planned in begun if planned.effect == DESTROYS]
    if gone:
        return f"There is no way back: {gone[0]} has begun or is done."
    retiring = [planned.title for planned in begun if planned.section is Section.RETIRE]
    if retiring:
        return f"Retiring the old credential has begun ({retiring[0]}); a rollback puts it back."
    if rotation.plan.emergency and begun:
        alone = rotation.state is State.REQUESTED
        return f"All that was done so far can be put back{'' if alone else ', which takes a second person'}."
    return "The old credential still works." if rotation.overlap is Overlap.BLOCKED else "Nothing was removed."
