"""When ordinary rotations may begin: windows that open by the clock of a place, and freezes that close them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from bot.core.rules import Need, Target, Verdict, fits

_DAY = timedelta(days=1)
_SECOND = timedelta(seconds=1)
_LOOK_AHEAD = 15
"""Days within which a weekly window opens again, even where a change of the clock swallows it once."""
_LONGEST_OPENING = 60 * _DAY
"""What is open without end for so long is taken to be open always."""
_UTC_ZONE = ZoneInfo("UTC")


@dataclass(frozen=True, slots=True)
class Window:
    """A daily opening `[opens, closes)` on some days of the week; Monday is 0, and the day is that of the opening.

    One that closes at or before the hour of its opening closes on the next day. Where clocks are set forward over an
    edge, it lies at the change; where an hour comes twice, the first one counts. Empty environments and classes mean
    all.
    """

    name: str
    opens: time
    closes: time
    zone: ZoneInfo = _UTC_ZONE
    days: frozenset[int] = frozenset(range(7))
    environments: frozenset[str] = frozenset()
    classes: frozenset[str] = frozenset()

    def opening(self, day: date) -> tuple[datetime, datetime] | None:
        """From when to when (UTC) it is open on a day of its own place; None when it is not."""
        if day.weekday() not in self.days:
            return None
        last = day if self.closes > self.opens else day + _DAY
        begin = instant(datetime.combine(day, self.opens), self.zone)
        end = instant(datetime.combine(last, self.closes), self.zone)
        return (begin, end) if begin < end else None

    def around(self, at: datetime, days: int = 2) -> Iterator[tuple[datetime, datetime]]:
        """The openings of the days about a moment, and of those that follow, in order."""
        today = _utc(at).astimezone(self.zone).date()
        for number in range(-1, days):
            if found := self.opening(today + number * _DAY):
                yield found

    def contains(self, at: datetime) -> bool:
        """Whether it is open at a moment."""
        return any(start <= at < end for start, end in self.around(at))


@dataclass(frozen=True, slots=True)
class Freeze:
    """A time `[start, end)` in which nothing ordinary begins, in UTC. Empty environments and classes mean all."""

    name: str
    start: datetime
    end: datetime
    reason: str = ""
    environments: frozenset[str] = frozenset()
    classes: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Calendar:
    """Windows and freezes. A credential for which no window is declared may always begin, but for freezes.

    Times are aware; answers are in UTC. Neither holds for the word `revoke`. A freeze does not hold for a credential
    whose `due` (its next due date or expiry, whichever is first) lies before the freeze's end: a freeze never lets a
    credential expire.
    """

    windows: tuple[Window, ...] = ()
    freezes: tuple[Freeze, ...] = ()

    def may_begin(
        self, credential: Target, at: datetime, *, word: str = "start", due: datetime | None = None
    ) -> Verdict:
        """Whether a rotation may begin at a moment, and why; refusals tell when it may."""
        if word == Need.REVOKE:
            return Verdict(True, "a revocation does not wait")
        freeze = self._binding(credential, at, due)
        mine = self._windows(credential)
        inside = next((one.name for one in mine if one.contains(at)), "")
        if freeze is None and (inside or not mine):
            spared = self.freeze_at(credential, at)
            told = f"; it is due before {spared.name} ends" if spared else ""
            return Verdict(True, f"inside the window {inside}{told}" if inside else f"no window is declared{told}")
        opens = self.next_opening(credential, at, due=due)
        when = f"it may begin from {opens:%Y-%m-%d %H:%M} UTC" if opens else "no window opens after it"
        if freeze is not None:
            reason = f" ({freeze.reason})" if freeze.reason else ""
            return Verdict(False, f"{credential.name} is frozen by {freeze.name}{reason}; {when}.", "frozen")
        names = ", ".join(one.name for one in mine)
        return Verdict(False, f"{credential.name} waits for a window ({names}); {when}.", "outside-windows")

    def next_opening(
        self, credential: Target, at: datetime, *, word: str = "start", due: datetime | None = None
    ) -> datetime | None:
        """The first moment from `at` on when a rotation may begin; None when it never may."""
        moment: datetime | None = _utc(at)
        mine = self._windows(credential) if word != Need.REVOKE else ()
        while moment is not None:
            freeze = self._binding(credential, moment, due) if word != Need.REVOKE else None
            if freeze is not None:
                moment = freeze.end
            elif not mine or any(one.contains(moment) for one in mine):
                return moment
            else:
                moment = min(
                    (start for one in mine for start, _ in one.around(moment, _LOOK_AHEAD) if start > moment),
                    default=None,
                )
        return None

    def closes_at(self, credential: Target, at: datetime, *, due: datetime | None = None) -> datetime | None:
        """When the opening that holds at a moment ends, by its windows or by a freeze; None when it does not end.

        A moment at which nothing may begin is its own answer.
        """
        start = _utc(at)
        if not self.may_begin(credential, at, due=due):
            return start
        ends = [
            freeze.start
            for freeze in self.freezes
            if fits(freeze, credential) and freeze.start > start and not (due is not None and due < freeze.end)
        ]
        if mine := self._windows(credential):
            end = start
            while end - start < _LONGEST_OPENING:
                later = max((to for one in mine for since, to in one.around(end) if since <= end < to), default=None)
                if later is None:
                    ends.append(end)
                    break
                end = later
        return min(ends, default=None)

    def freeze_at(self, credential: Target, at: datetime) -> Freeze | None:
        """The freeze that a credential is in at a moment; of several, the one that ends last."""
        return self._binding(credential, at, None)

    def _binding(self, credential: Target, at: datetime, due: datetime | None) -> Freeze | None:
        found = [
            freeze
            for freeze in self.freezes
            if fits(freeze, credential)
            and freeze.start <= _utc(at) < freeze.end
            and not (due is not None and due < freeze.end)
        ]
        return max(found, key=lambda freeze: freeze.end, default=None)

    def _windows(self, credential: Target) -> tuple[Window, ...]:
        return tuple(one for one in self.windows if fits(one, credential))


def instant(wall: datetime, zone: ZoneInfo, *, last: bool = False) -> datetime:
    """When (UTC) the clocks of a zone show a time: the first such moment or the `last`.

    A time that is skipped when clocks are set forward is the moment of the change.
    """
    shown = wall.replace(tzinfo=zone, fold=int(last)).astimezone(UTC)
    if shown.astimezone(zone).replace(tzinfo=None, fold=0) == wall.replace(fold=0):
        return shown
    # skipped: with fold 1 the offset after the change applies, so the two lie before and after it
    low, high = (wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (1, 0))
    after = high.astimezone(zone).utcoffset()
    while high - low > _SECOND:
        middle = low + (high - low) / 2
        low, high = (low, middle) if middle.astimezone(zone).utcoffset() == after else (middle, high)
    return high.replace(microsecond=0)


def _utc(at: datetime) -> datetime:
    if at.tzinfo is None:
        raise ValueError("a moment has its zone")
    return at.astimezone(UTC)
