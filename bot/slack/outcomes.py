"""What becomes of a row after Slack was called: done, later, elsewhere, given up. Written by `messenger`, as data."""

from __future__ import annotations

from dataclasses import dataclass

from bot.core.errors import Permanent, Transient
from bot.engine.recipients import Recipient
from bot.slack.api import LostAnswer, RateLimited, SlackRefused, Unreachable
from bot.slack.budget import Budget
from bot.store.outbox import LOST
from bot.store.records import DrawingRow, NoticeRow

MOST_BACKOFF = 300.0
LOST_AGAIN = 30.0
"""Seconds until a row is tried again that lost its answer twice, so that others get their turn."""
OF_THE_TOKEN = frozenset({"invalid_auth", "not_authed", "token_revoked", "token_expired", "account_inactive"})
"""Refusals that say nothing about the message: it goes out once the token is mended."""


@dataclass(frozen=True, slots=True)
class Shown:
    """The message is there, as `ts`."""

    ts: str
    version: int = 0


@dataclass(frozen=True, slots=True)
class Later:
    """Again in so many real seconds; `failed` counts it as a failure, of which a message is given so many."""

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


@dataclass(frozen=True, slots=True)
class Forwarded:
    """Each of these hears it instead, in a message of their own; nobody where all of them know it."""

    to: tuple[Recipient, ...]


Outcome = Shown | Later | Gone | Elsewhere | Dropped | Forwarded


def after(error: Transient | Permanent, method: str, failures: int, budget: Budget) -> Later:
    """When to try again after an error that says nothing about the message itself."""
    if isinstance(error, RateLimited):
        seconds = max(1.0, error.delay.total_seconds())
        budget.hold(method, seconds)
        return Later(seconds, "Slack's rate limit")
    if isinstance(error, Unreachable):
        return Later(1.0, silent=True)
    if isinstance(error, LostAnswer):
        return Later(1.0, LOST, silent=True)
    if isinstance(error, SlackRefused) and error.error in OF_THE_TOKEN:
        return Later(MOST_BACKOFF, str(error)[:300])
    return Later(max(min(MOST_BACKOFF, 2.0 ** min(failures, 12)), 5.0), str(error)[:300], failed=True)


def may_be_posted(row: DrawingRow | NoticeRow) -> bool:
    """Whether an earlier try lost its answer or died before it was recorded."""
    return row.claimed_until is not None or row.note.startswith(LOST)


def put_off(row: DrawingRow | NoticeRow, outcome: Later) -> tuple[float, int, str]:
    """Seconds, failures and note of a row that is tried again. That it may be posted is noted until it is settled."""
    lost = may_be_posted(row)
    seconds = max(outcome.seconds, LOST_AGAIN) if lost and outcome.silent else outcome.seconds
    said = outcome.note or row.note
    note = f"{LOST}; {said}" if lost and not said.startswith(LOST) else said
    return seconds, row.failures + outcome.failed, note[:300]
