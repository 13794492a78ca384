"""Judging what was measured: a reading against what the runbook expects, sightings against the silence it demands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from bot.contracts.adapter import Reading, Sighting
from bot.core import duration
from bot.core.errors import Permanent
from bot.core.runbook import Expect

USED_AT = "used_at"
"""In the notes of a step that waits for quiet: see `Silence.used_at`."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """`holds` now; `stop` when it is so bad that waiting longer would be wrong."""

    holds: bool
    evidence: str
    stop: bool = False
    value: float | None = None
    """The ratio that was measured, where it was one."""


def judge(reading: Reading, expect: Expect | None) -> Verdict:
    """A probe's own verdict, or its value against the runbook's bounds."""
    if expect is None or (expect.above is None and expect.hold_below is None):
        if reading.passed is None:
            raise Permanent("the probe only measures", "say in the runbook what is expected: expect: {above: 99.9%}")
        return Verdict(reading.passed, reading.evidence, value=reading.value)
    if reading.value is None:
        raise Permanent("the probe measured nothing to compare", reading.evidence)
    share = f"{reading.value:.3%}"
    if expect.hold_below is not None and reading.value < expect.hold_below:
        evidence = f"{reading.evidence}; {share} is below {expect.hold_below:.3%}"
        return Verdict(False, evidence, stop=True, value=reading.value)
    if expect.above is not None and reading.value <= expect.above and reading.value < 1:
        return Verdict(False, f"{reading.evidence}; {share} is not above {expect.above:.3%}", value=reading.value)
    return Verdict(True, f"{reading.evidence}; {share}", value=reading.value)


@dataclass(frozen=True, slots=True)
class Silence:
    """Whether the old credential is quiet, and if not, the earliest moment at which it could be."""

    quiet: bool
    earliest: datetime
    evidence: str
    used_at: datetime | None = None
    """The last use, where it is so recent that it alone keeps the credential from being quiet."""


def silence(
    sightings: Mapping[str, Sighting], *, quiet_for: timedelta, since: datetime, at_least: timedelta, now: datetime
) -> Silence:
    """Every sensor must have seen nothing for `quiet_for`, and we must have watched `at_least` since `since`.

    A sensor is believed only from the moment on from which its counters are complete, whatever it saw before.
    """
    last = max((max(each.at or each.since, each.since) for each in sightings.values()), default=now)
    earliest = max(last + quiet_for, since + at_least)
    evidence = "; ".join(f"{name}: {_tell(sighting, now)}" for name, sighting in sightings.items())
    used_at = max((each.at for each in sightings.values() if each.at is not None), default=None)
    recent = used_at if used_at is not None and now < used_at + quiet_for else None
    return Silence(bool(sightings) and now >= earliest, earliest, evidence, recent)


def _tell(sighting: Sighting, now: datetime) -> str:
    if sighting.at is None:
        return f"never seen since {sighting.since:%Y-%m-%d %H:%M} UTC"
    ago = duration.show(timedelta(seconds=max(0, round((now - sighting.at).total_seconds()))))
    by = f" by {', '.join(sighting.by[:5])}" if sighting.by else ""
    return f"last seen {ago} ago{by}"
