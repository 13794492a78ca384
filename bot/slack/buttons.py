"""Buttons: a command typed for you. What their ids and values say, how they are read back, and who gets which."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bot.core.errors import Refused
from bot.core.plan import DESTROYS
from bot.core.rotation import Overlap, Rotation, Stage, State
from bot.core.runbook import Skip
from bot.slack.blocks import Block, Element, actions, button
from bot.slack.text import cut

_ACTION = re.compile(r"rotate:([a-z][a-z-]{0,30})(?::([a-z][a-z0-9-]{0,40}))?")
_VALUE = re.compile(r"(R-[1-9][0-9]{0,9}) (sha256:[0-9a-f]{64}) ([0-9A-Za-z_-]{1,64})")
MOST_BRANCHES = 10
_INCIDENT: Mapping[str, Mapping[str, str]] = {
    "command": {"commander": "me"},
    "scribe": {"scribe": "me"},
    "close": {"close": "yes"},
}
"""What the buttons of an incident type; those that need a text open a modal."""


@dataclass(frozen=True, slots=True)
class Bound:
    """What a button binds to: the rotation, and the plan that stood above it."""

    rotation: str
    digest: str
    nonce: str

    def __str__(self) -> str:
        return f"{self.rotation} {self.digest} {self.nonce}"

    def as_mapping(self) -> Mapping[str, str]:
        """As a command receives it."""
        return {"digest": self.digest, "nonce": self.nonce}

    @classmethod
    def read(cls, value: str) -> Bound:
        """Read a button's value back; raises `Refused` for anything that no card of ours carries."""
        match = _VALUE.fullmatch(value)
        if match is None:
            raise Refused("This button is not one of keyturn's; use the rotation's own card.", code="bad-button")
        return cls(*match.groups())


def bound_to(rotation: Rotation) -> Bound:
    """What consent given on the card binds to now: the plan, or the change of it that somebody asked for."""
    if rotation.amendment is not None:
        return Bound(rotation.id, rotation.amendment.digest, rotation.amendment.nonce)
    return Bound(rotation.id, rotation.plan.digest, rotation.nonce)


def read_action(action_id: str) -> tuple[str, str]:
    """The word of an action id, and its argument (a box, a step, a branch) or an empty text. Raises `Refused`."""
    match = _ACTION.fullmatch(action_id)
    if match is None:
        raise Refused("This button is not one of keyturn's; use the rotation's own card.", code="bad-button")
    return match[1], match[2] or ""


def typed_for(word: str, about: str, rotation: str) -> tuple[tuple[str, ...], dict[str, str]]:
    """The arguments and flags of the words that a button stands for."""
    if word == "incident":
        return (rotation,), dict(_INCIDENT.get(about, {}))
    return ((rotation, about) if about else (rotation,)), {}


def rows(rotation: Rotation) -> list[Block]:
    """The rows of buttons that fit the rotation's state; none when it is over."""
    if rotation.is_over:
        return []
    made: list[Block] = []
    voting = rotation.state is State.REQUESTED and rotation.missing_approvals > 0
    if voting or rotation.amendment is not None:
        made.append(actions(*_consent(rotation)))
    steering = _steering(rotation)
    if steering:
        made.append(actions(*steering))
    branches = _branches(rotation)
    if branches:
        made.append(actions(*branches))
    if rotation.plan.expiry:
        made.append(actions(recovery_button(rotation)))
    return made


def _button(
    rotation: Rotation,
    word: str,
    label: str,
    spoken: str,
    *,
    style: str = "",
    about: str = "",
    confirm: Mapping[str, str] | None = None,
) -> Element:
    action = f"rotate:{word}" + (f":{about}" if about else "")
    plan = rotation.plan
    full = f"{spoken} {rotation.id}, {plan.credential} in {plan.environment}"
    return button(label, action, str(bound_to(rotation)), spoken=full, style=style, confirm=confirm)


def _consent(rotation: Rotation) -> list[Element]:
    signed = " and sign" if rotation.plan.signed else ""
    if rotation.amendment is not None and rotation.amendment.undoes:
        return [
            _button(rotation, "approve", f"Agree to undo{signed}", "Agree to undo", style="danger"),
            _button(rotation, "reject", "Do not undo", "Refuse to undo"),
        ]
    if rotation.amendment is not None:
        return [
            _button(rotation, "approve", f"Agree to skip{signed}", "Agree to skip a step of", style="danger"),
            _button(rotation, "reject", "Do not skip", "Refuse to skip a step of"),
        ]
    what = "revocation" if rotation.plan.emergency else "rotation"
    made = [
        _button(rotation, "approve", f"Approve{signed}", f"Approve {what}", style="primary"),
        _button(rotation, "reject", "Reject", f"Reject {what}", style="danger"),
    ]
    if may_contain(rotation):
        made.append(_button(rotation, "contain", "Contain alone", "Contain alone", style="danger"))
    return made


def incident_button(rotation: Rotation, about: str, label: str) -> Element:
    """A button of the word `incident`: `about` says what of it, as `typed_for` and the modals know."""
    return _button(rotation, "incident", label, f"{label}, incident", about=about)


def recovery_button(rotation: Rotation) -> Element:
    """Shows the plan of the rotation that replaces what expired; nothing is started by it."""
    return _button(rotation, "start", "Show the plan of the recovery", "Show the plan of the recovery for")


def may_contain(rotation: Rotation) -> bool:
    """Whether policy and plan let one person contain it alone, and nobody did."""
    plan = rotation.plan
    open_to = rotation.state is State.REQUESTED and rotation.glass is None and plan.break_glass is not None
    return open_to and plan.emergency and plan.contained > 0


def _steering(rotation: Rotation) -> list[Element]:
    if rotation.state is State.REQUESTED and rotation.glass is None:
        ticks = [
            _button(rotation, "tick", f"Tick {box.name}"[:75], f"Tick {box.name} of", about=box.name)
            for box in rotation.boxes
            if not box.ticked
        ]
        return [*ticks, _button(rotation, "cancel", "Withdraw", "Withdraw the request")]
    if rotation.state is State.APPROVED and not rotation.plan.expiry:
        return [_button(rotation, "cancel", "Withdraw", "Withdraw the request")]
    made = []
    current = rotation.current
    run = rotation.steps[current] if current is not None else None
    if run is not None and run.stage is Stage.ASKING:
        seen = rotation.plan.steps[current].id if current is not None else ""
        made.append(_button(rotation, "advance", "Confirm", "Confirm the step of", style="primary", about=seen))
    if run is not None and (run.stage is Stage.HELD or (run.stage is Stage.WAITING and run.failures)):
        made.append(_button(rotation, "retry", "Try again", "Try the failed step again of", style="primary"))
    elif run is not None and run.stage is Stage.WAITING:
        made.append(_button(rotation, "advance", "Look again now", "Look again now at"))
    if current is not None and may_skip(rotation, current):
        made.append(_button(rotation, "skip", "Skip this step", "Skip the current step of"))
    if _may_roll_back(rotation):
        made.append(_button(rotation, "rollback", "Roll back", "Roll back", style="danger"))
    return made


def may_skip(rotation: Rotation, current: int) -> bool:
    """Whether anybody may skip the current step in the stage it is in."""
    run, planned = rotation.steps[current], rotation.plan.steps[current]
    if run.stage not in (Stage.WAITING, Stage.HELD, Stage.ASKING) or rotation.amendment is not None:
        return False
    if rotation.state is State.REQUESTED:  # contained by one person: skipping would take the second one, too
        return False
    return run.undoing or planned.skip is not Skip.NEVER


def _may_roll_back(rotation: Rotation) -> bool:
    if rotation.state is State.ROLLING_BACK or rotation.plan.expiry:
        return False
    if any(
        planned.effect == DESTROYS and run.touched
        for planned, run in zip(rotation.plan.steps, rotation.steps, strict=True)
    ):
        return False
    return rotation.state is not State.PROMOTED or rotation.overlap in (Overlap.RETIRING, Overlap.BLOCKED)


def _branches(rotation: Rotation) -> list[Element]:
    current = rotation.current
    if current is None:
        return []
    stage = rotation.steps[current].stage
    if stage is not Stage.HELD and not (rotation.plan.expiry and stage is Stage.ASKING):
        return []
    return [
        _button(
            rotation,
            "fix",
            str(branch["when"]),
            f"{cut(str(branch['when']), 36)}:",
            about=str(branch["id"]),
            confirm=_warning(branch),
        )
        for branch in rotation.plan.trouble[:MOST_BRANCHES]
    ]


def _warning(branch: Mapping[str, Any]) -> Mapping[str, str] | None:
    """A branch that acts asks first: its button names what was seen, which does not say what the click will do."""
    if not branch.get("do"):
        return None
    over = " for each of its targets" if branch.get("each") else ""
    said = f"{branch.get('advice') or ''} This runs {branch['do']}{over} now.".strip()
    return {"title": cut(str(branch["when"]), 100), "text": said, "yes": "Do it", "no": "Not now"}
