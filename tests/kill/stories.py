"""What people do in a run under the killer, and what is to come of it: one story per entry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Line:
    """What a person says as soon as nothing else is left to do; `{number}` is that of the newest rotation."""

    person: str
    words: str
    at: str = ""
    """Only while the newest rotation stands at this step."""
    signs: str = ""
    """The vote on the newest rotation that goes with it, signed with the person's SSH key."""


@dataclass(frozen=True)
class Story:
    """One credential, and who says what in which order."""

    credential: str
    lines: tuple[Line, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Whole sections of the settings to replace."""
    rotations: int = 1
    """How many rotations there are at the end, all of them over."""
    keeps_old: bool = False
    """The old key is the one in use at the end, because somebody took everything back."""
    leaves: int = 0
    """How many keys stay published that a rotation had made before another one took over."""
    emergency: bool = False
    """The suspected key is disabled at the end and stays to be looked at; meanwhile logins may fail, but not after."""
    rarely: int = 4
    """How many times later each look of a waiting step is than the one before; fewer where another story has them."""
    calls: int = 0
    """How many reminders and escalations there are."""


SIGNERS = "allowed_signers"
"""Name of the file with everybody's public keys."""
_OWNERS = {"identity-signing": "alice", "billing-api-key": "dave", "proxy-signing": "alice", "callers-key": "dave"}


def _ordinary(credential: str, *more: Line, keeps_old: bool = False) -> Story:
    opening = Line(_OWNERS[credential], f'start {credential} --reason "weekly"')
    return Story(credential, (opening, Line("bob", "approve R-{number}"), *more), keeps_old=keeps_old)


def _emergency(credential: str, order: str, *before: Line, at: str = "") -> Story:
    opening = Line("carol", f'revoke {credential} --reason "seen in a public log" --order {order}', at)
    lines = (*before, opening, Line("bob", "approve R-{number}"))
    settings = {"roles": {"all": {"who": ["platform", "sec-oncall"], "may": ["start", "rollback", "revoke"]}}}
    over = bool(before)
    return Story(credential, lines, settings, rotations=1 + over, leaves=int(over), emergency=True)


def _alone(*lines: Line, **end: Any) -> Story:
    """A revocation that nobody answers: reminders after 8 and 20 minutes, the next ones called after 12, over at 25."""
    ordered = _emergency("identity-signing", "contain-first")
    escalate = [{"after": "12m", "to": ["platform"]}]
    ordinary = {"environments": ["production"], "from": ["sec-oncall"]}
    asking = {"words": ["revoke"], "expires": "25m", "remind": "8m", "escalate": escalate}
    revoking = ordinary | asking | {"signature": "required", "break_glass": "25m"}
    settings = {**ordered.settings, "policies": [revoking, ordinary], "signers": SIGNERS}
    return Story(ordered.credential, (ordered.lines[0], *lines), settings, **end)


_CONTAIN = Line("carol", 'contain R-{number} --reason "nobody answers"', signs="break-glass")
_AGREE = Line("bob", "approve R-{number}", signs="approve")
_BACK = Line("bob", 'rollback R-{number} --reason "errors"', at="quiet")

STORIES = {
    "signing-key": _ordinary("identity-signing"),
    "api-key": _ordinary("billing-api-key"),
    "versioned-secret": _ordinary("proxy-signing"),
    "api-key-in-secret": _ordinary("callers-key"),
    "signing-key-back": _ordinary("identity-signing", _BACK, keeps_old=True),
    "api-key-back": _ordinary("billing-api-key", _BACK, keeps_old=True),
    "signing-key-revoked": _emergency("identity-signing", "replace-first"),
    "signing-key-contained": _emergency("identity-signing", "contain-first"),
    "signing-key-taken-over": _emergency(
        "identity-signing", "contain-first", *_ordinary("identity-signing").lines, at="learn"
    ),
    "api-key-revoked": _emergency("billing-api-key", "replace-first"),
    "api-key-contained": _emergency("billing-api-key", "contain-first"),
    "signing-key-alone": _alone(_CONTAIN, _AGREE, emergency=True, rarely=64),
    "signing-key-put-back": _alone(_CONTAIN, keeps_old=True, emergency=True, calls=3),
    "signing-key-unanswered": _alone(keeps_old=True, calls=3),
}
