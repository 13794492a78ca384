"""What becomes of a row after Slack was called: done, later, elsewhere, given up. Written by `messenger`, as data."""

from __future__ import annotations

from dataclasses import dataclass

from bot.core.errors import Permanent, Transient
from bot.slack.api import LostAnswer, RateLimited, SlackRefused
from bot.slack.budget import Budget

MOST_BACKOFF = 300.0
LOST = "an answer was lost"


@dataclass(frozen=True, slots=True)
class Shown:
    """The message is there, as `ts`."""

    ts: str
    version: int = 0


@dataclass(frozen=True, slots=True)
class Later:
    """Again in so many real seconds; `failed` counts it as a failure."""

    seconds: float
    note: str = ""
    failed: bool = False
    silent: bool = False
    """Slack did not answer at all: nothing else need be tried now."""


@dataclass(frozen=True, slots=True)
class Gone:
    """The message was deleted: post it anew."""

    note: str


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """The place does not take it: use this one."""

    place: str
    note: str


@dataclass(frozen=True, slots=True)
class Dropped:
    """It cannot be shown anywhere."""

    note: str


Outcome = Shown | Later | Gone | Elsewhere | Dropped


def after(error: Transient | Permanent, method: str, failures: int, budget: Budget) -> Later:
    """When to try again after an error that says nothing about the message itself."""
    if isinstance(error, RateLimited):
        seconds = max(1.0, error.delay.total_seconds())
        budget.hold(method, seconds)
        return Later(seconds, "Slack's rate limit")
    backoff = min(MOST_BACKOFF, 1.0 * 2 ** min(failures, 12))
    if isinstance(error, LostAnswer):
        return Later(min(backoff, 30.0), LOST, failed=True, silent=True)
    seconds = max(backoff, 5.0)
    if isinstance(error, SlackRefused) and error.error in ("invalid_auth", "token_revoked", "account_inactive"):
        seconds = MOST_BACKOFF
    return Later(seconds, str(error)[:300], failed=True)
