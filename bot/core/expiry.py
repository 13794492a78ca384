"""The incident of a credential that expired in use: its stages as a plan, when each may be passed, and its symptoms.

Its rotation changes nothing by itself. Five questions are asked one after the other, each confirmed by a person, and
what recovers the credential is an ordinary rotation by the runbook of its class, with the consent that this one needs.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from bot.core.errors import Refused
from bot.core.plan import EXPIRED, PlannedStep
from bot.core.runbook import AskStep, Section, Skip

__all__ = [
    "COMMUNICATE",
    "CONTAIN",
    "EXPIRED",
    "IDENTIFY",
    "INVESTIGATE",
    "RECOVER",
    "SYMPTOMS",
    "Dates",
    "Standing",
    "may_pass",
    "shows",
    "speaks_of",
    "stages",
    "unmended",
]

IDENTIFY, CONTAIN, INVESTIGATE = "identify", "contain", "investigate"
RECOVER, COMMUNICATE = "recover", "communicate"

SYMPTOMS: Mapping[str, str] = {
    "api-key": "callers receive authentication failures, 401 or 403",
    "issuer-key": "tokens cannot be issued or verified",
    "federation-key": "peers reject the manifest or the answers to their pulls",
    "passphrase": "the database does not open after its secrets were changed",
    "signing-key": "tokens are rejected, or cannot be issued",
    "certificate": "TLS handshakes fail because the certificate has expired",
}
"""Class, or the end of its name -> how an expiry of it shows. A class that is not here is known by the branches of its
runbook's `trouble`."""

_STAGES: tuple[tuple[str, str, str, Skip], ...] = (
    (
        IDENTIFY,
        "Identify what expired",
        "Is this the credential that blocks production? Compare the symptom with what its class shows, and run the "
        "checks on the card.",
        Skip.NEVER,
    ),
    (
        CONTAIN,
        "Contain",
        "Does nothing issue with it any more? Never move its expiry by hand. Delete nothing: it is kept for the audit, "
        "and steps that would destroy a version wait until this incident is closed. The recovery may be started at "
        "once; where nobody can administer the system, use the break-glass procedure.",
        Skip.NEVER,
    ),
    (
        INVESTIGATE,
        "Investigate why nobody rotated it in time",
        "Are the five questions of the review answered? What the inventory and the audit know is filled in.",
        Skip.NEVER,
    ),
    (
        RECOVER,
        "Recover by the runbook of its class",
        "Is a replacement in use? This passes by itself when a rotation of it is promoted after the incident began. "
        "For a false alarm a second person has to agree to skip it.",
        Skip.SECOND_PERSON,
    ),
    (
        COMMUNICATE,
        "Tell affected callers",
        "Is it known whether data are at risk? Answer the question about integrity; confirming this then tells the "
        "credential's channel which one expired, what replaces it since when, and that answer.",
        Skip.NEVER,
    ),
)


def stages() -> tuple[PlannedStep, ...]:
    """The five stages as steps of a plan; none of them calls an adapter."""
    return tuple(
        PlannedStep(Section.STEPS, AskStep(id=name, title=title, ask=asks, skip=skip))
        for name, title, asks, skip in _STAGES
    )


@dataclass(frozen=True, slots=True)
class Standing:
    """What has to be known before a stage is passed."""

    unanswered: Collection[str] = ()
    """Questions of the review for which there is neither data nor an answer."""
    integrity: bool = False
    """Whether a person has said if data are at risk."""
    recovered_by: str = ""
    """The rotation that was promoted since the incident was opened: `R-10`."""
    under_way: str = ""
    """The rotation that is open for the credential."""


def may_pass(incident: str, credential: str, stage: str, standing: Standing) -> None:
    """Refuse to confirm a stage that is not done, with what is missing; data decide where there are any."""
    if stage == INVESTIGATE and standing.unanswered:
        raise Refused(
            f"Questions of {incident} are open: {', '.join(standing.unanswered)}. Answer with: "
            f'incident {incident} --answer {next(iter(standing.unanswered))} --text "…".',
            code="not-reviewed",
        )
    if stage == RECOVER and not standing.recovered_by:
        now = (
            f"{standing.under_way} is not promoted yet; follow it with: status {standing.under_way}."
            if standing.under_way
            else f'start its rotation with: start {incident} --reason "it expired".'
        )
        raise Refused(f"{credential} is not replaced: {now}", code="not-recovered")
    if stage == COMMUNICATE and not standing.integrity:
        raise Refused(
            f"Affected callers have to hear whether data are at risk, and nobody has said so. Answer with: "
            f'incident {incident} --answer integrity --text "…".',
            code="not-answered",
        )


@dataclass(frozen=True, slots=True)
class Dates:
    """What the inventory holds of the credential now, as far as reminding of it needs that."""

    owner: str = ""
    owner_finding: str = ""
    """Why the owner cannot be reached; empty when nothing is known against it."""
    next_due: datetime | None = None
    remind_at: datetime | None = None


def unmended(dates: Dates | None, now: datetime) -> tuple[str, ...]:
    """What still keeps the next reminder from reaching anybody, each as a phrase; nothing when it is set."""
    if dates is None:
        return ("the inventory does not have it",)
    missing = []
    if not dates.owner.strip():
        missing.append("it has no owner")
    elif dates.owner_finding:
        missing.append(f"its owner cannot be reached ({dates.owner_finding.rstrip('.')})")
    if dates.next_due is None:
        missing.append("it has no date: no cadence, and no expiry that the inventory knows")
    elif dates.next_due <= now:
        missing.append(f"its date {dates.next_due:%Y-%m-%d} is past")
    elif dates.remind_at is None or dates.remind_at <= now or dates.remind_at > dates.next_due:
        missing.append("no reminder is set before its date")
    return tuple(missing)


def shows(kind: str) -> str:
    """How an expiry of a class shows: `tls-certificate` is a `certificate`; empty where that is not known."""
    return SYMPTOMS.get(kind) or next((said for name, said in SYMPTOMS.items() if kind.endswith(f"-{name}")), "")


def speaks_of(symptom: str, texts: Iterable[str]) -> int:
    """How many words of a symptom the texts have in common with it, short words aside."""
    known: frozenset[str] = frozenset().union(*map(_words, texts))
    return len(_words(symptom) & known)


@lru_cache(maxsize=4096)
def _words(text: str) -> frozenset[str]:
    plain = "".join(letter if letter.isalnum() else " " for letter in text.casefold())
    return frozenset(word[:6] for word in plain.split() if len(word) > 2 and word not in _COMMON)


_COMMON = frozenset(
    {"the", "and", "its", "not", "that", "with", "has", "are", "was", "for", "cannot", "after", "although"}
)
