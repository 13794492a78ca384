"""A rotation's credential, as policy looks at it."""

from __future__ import annotations

from dataclasses import dataclass

from bot.core.policy import Target
from bot.core.rotation import Rotation
from bot.store.records import RotationSummary


@dataclass(frozen=True, slots=True)
class Named:
    """Implements `Target`."""

    name: str
    environment: str
    kind: str
    owner: str

    @classmethod
    def of(cls, row: RotationSummary) -> Named:
        """From a line of a list."""
        return cls(row.credential, row.environment, row.kind, row.owner)


def target_of(rotation: Rotation) -> Target:
    """From a rotation."""
    plan = rotation.plan
    return Named(plan.credential, plan.environment, plan.kind, plan.owner)
