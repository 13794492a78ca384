"""What a system says of a credential's versions: what can be believed of it, and which version is in use."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

EARLIEST = datetime(1990, 1, 1, tzinfo=UTC)
LATEST = datetime(2200, 1, 1, tzinfo=UTC)
AHEAD = timedelta(days=1)
"""How far a system's clock may be ahead of ours."""
JITTER = timedelta(minutes=10)
"""An expiry that moves by less is the same one: some systems work it out anew at every look."""
MOST_FAILURES = 5
"""So often in a row a discovery may fail before somebody hears of it."""
LONGEST_UNSEEN = timedelta(days=1)
"""So long a discovery that fails, or a round that does not end, may leave what is known as it is."""
MOVED = "its expiry was moved by hand"
"""What a finding says of a version that is the same and expires later than it did."""
UNLISTED = "no discovery lists it any more; what was seen last counts until it is rotated"
"""What a finding says where the discovery that listed it is no longer declared."""
LONGEST_NAME = 300


@dataclass(frozen=True, slots=True)
class Find:
    """A discovery that settings declare."""

    name: str
    word: str
    """`identity.api_keys`."""
    environment: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    owner: str = ""
    """Who owns what nobody declares, where its system names neither a person nor a group that settings declare."""
    every: timedelta = timedelta(hours=6)


@dataclass(frozen=True, slots=True)
class Version:
    """One version, checked. What cannot be believed is left out, and `problem` says so."""

    version: str
    kind: str
    owner: str = ""
    created_at: datetime | None = None
    expires_at: datetime | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class InUse:
    """What the versions of one place say together: the newest valid one counts."""

    version: str
    kind: str
    owner: str
    created_at: datetime | None
    expires_at: datetime | None
    valid: int
    finding: str


def usable(name: Any) -> bool:
    """Whether a place or a version can be kept and shown."""
    return isinstance(name, str) and 0 < len(name) <= LONGEST_NAME and name.isprintable()


def checked(version: str, kind: str, owner: str, created_at: Any, expires_at: Any, now: datetime) -> Version:
    """A version as its system describes it, without the dates that cannot be true."""
    created, problem = _moment(created_at, "its creation")
    expires, wrong = _moment(expires_at, "its expiry")
    if created is not None and created > now + AHEAD:
        problem = f"its creation ({_day(created)}) lies ahead"
        created = None
    if expires is not None and created is not None and expires <= created:
        wrong = f"its expiry ({_day(expires)}) lies before its creation ({_day(created)})"
        expires = None
    return Version(version, kind, owner, created, expires, "; ".join(part for part in (wrong, problem) if part))


def in_use(versions: Collection[Version], now: datetime) -> InUse | None:
    """The newest version that is valid; the newest of all where none is. None where there is no version."""
    if not versions:
        return None
    valid = [one for one in versions if one.expires_at is None or one.expires_at > now]
    newest = max(valid or versions, key=_newness)
    finding = f"{newest.version}: {newest.problem}" if newest.problem else ""
    return InUse(newest.version, newest.kind, newest.owner, newest.created_at, newest.expires_at, len(valid), finding)


def unseen(
    name: str, failures: int, began_at: datetime | None, completed_at: datetime | None, error: str, now: datetime
) -> str:
    """Why the dates that a discovery keeps can be stale, in a sentence; empty where it works.

    It has failed `MOST_FAILURES` times in a row, or for `LONGEST_UNSEEN`, or a round lasts that long. A bot that was
    down is not blind: its next round has not failed.
    """
    since = completed_at or began_at
    under_way = began_at is not None and (completed_at is None or began_at > completed_at)
    old = since is not None and now - since > LONGEST_UNSEEN
    stuck = under_way and began_at is not None and now - began_at > LONGEST_UNSEEN
    if failures < MOST_FAILURES and not (old and failures) and not stuck:
        return ""
    how = f"has failed {failures} times in a row" if failures else "does not come to an end"
    seen = f"what it lists was seen last on {completed_at:%Y-%m-%d %H:%M} UTC" if completed_at else "it never completed"
    why = f": {error}" if error else ""
    return f"The discovery {name} {how}{why}. Dates may be stale: {seen}."


def moved_by_hand(version: str, finding: str, before: datetime, now: datetime) -> str:
    """The finding that says so; it keeps the date that held first, until another version is in use."""
    told = f"{version}: {MOVED}"
    since = finding.removeprefix(f"{told} from ")[:10] if finding.startswith(told) else _day(before)
    return f"{told} from {since} to {_day(now)}"


def settled(known: datetime | None, said: datetime | None) -> datetime | None:
    """The expiry that counts: the one that is known, where the system says nearly the same."""
    return known if known is not None and said is not None and abs(said - known) < JITTER else said


def named(place: str) -> str:
    """Under which name something is kept that nobody declares: its place, which holds a colon as no declared name."""
    return place if ":" in place and "@" not in place else "found:" + place.replace("@", "(at)")


def _newness(one: Version) -> tuple[datetime, datetime, str]:
    return one.created_at or EARLIEST, one.expires_at or LATEST, one.version


def _moment(value: Any, what: str) -> tuple[datetime | None, str]:
    if value is None:
        return None, ""
    if not isinstance(value, datetime):
        return None, f"{what} is not a date"
    if value.tzinfo is None:
        return None, f"{what} ({_day(value)}) has no time zone"
    if not EARLIEST < value.astimezone(UTC) < LATEST:
        return None, f"{what} ({_day(value)}) cannot be true"
    return value.astimezone(UTC), ""


def _day(moment: datetime) -> str:
    return moment.date().isoformat()
