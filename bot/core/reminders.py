"""When somebody is reminded of a credential: tiers before each date, working hours, snoozes, and who is called later.

Nothing here is kept: tiers are worked out from the dates whenever they count, so a date that moves takes its reminders
along. What was told is known by expiry and tier, and so no tier is told twice.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from itertools import count
from zoneinfo import ZoneInfo

from bot.core import duration
from bot.core.rules import Target, fits
from bot.core.schedule import WARN_AT, Dates, life
from bot.core.windows import Window

DAY = timedelta(days=1)
TIERS = (30 * DAY, 14 * DAY, 7 * DAY, 3 * DAY, 1 * DAY)
AGED, DUE, EXPIRED = "90%", "due", "expired"
LAST_CALL = timedelta(hours=1)
"""How long before its system refuses it a credential is called due."""
OVERDUE_AFTER = DAY
"""How long after the end of its cadence a credential counts as left alone: the tier `expired` of a date that its system
does not know."""
LOOK_AGAIN = timedelta(hours=12)
"""While a rotation is open nobody else is called, until the last call; so often it is looked whether it still is."""
AGAIN = 7 * DAY
"""How often its owner hears again of what has ended."""
LONGEST_SNOOZE = 14 * DAY
WARN_BEFORE = DAY
"""How long before a grace ends its owner hears that the old credential is still in use."""
_WORKDAYS = frozenset(range(5))
_UTC = ZoneInfo("UTC")
_DAYS_AHEAD = 15
STAGE = "escalation-"
"""What the names of escalations begin with."""


@dataclass(frozen=True, slots=True)
class Tiers:
    """How long before a date its owner is reminded; of several that fit a credential the first holds."""

    before: tuple[timedelta, ...] = TIERS
    environments: frozenset[str] = frozenset()
    classes: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Stage:
    """Who else hears of it when so little time is left and nobody acts."""

    within: timedelta
    to: tuple[str, ...]
    """`channel`, people, groups or the ids of channels."""
    page: bool = False
    environments: frozenset[str] = frozenset()
    classes: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Rules:
    """What settings say of reminders."""

    tiers: tuple[Tiers, ...] = ()
    escalation: tuple[Stage, ...] = (Stage(7 * DAY, ("channel",)), Stage(DAY, ("channel",)))
    opens: time = time(9)
    closes: time = time(17)
    days: frozenset[int] = _WORKDAYS
    zone: ZoneInfo = _UTC
    zones: Mapping[str, ZoneInfo] = field(default_factory=dict)
    """Owner -> the place whose clock they go by."""
    route: tuple[str, ...] = ("channel",)
    """Who hears instead of an owner who cannot be reached: the first of them who can be, the next as well at the next
    message if nothing was done, and so on."""
    digest: bool = True
    """Whether owners get a digest every month."""
    again: timedelta = AGAIN
    """How often its owner hears again of what has ended, until it is replaced or gone; above zero."""

    def before(self, target: Target) -> tuple[timedelta, ...]:
        """The tiers of a credential, the longest first."""
        found = next((one.before for one in self.tiers if fits(one, target)), TIERS)
        return tuple(sorted(set(found), reverse=True))

    def stages(self, target: Target) -> tuple[Stage, ...]:
        """The escalation of a credential, in its order."""
        return tuple(one for one in self.escalation if fits(one, target))

    def hours(self, owner: str) -> Window:
        """The working hours of an owner."""
        return Window("working hours", self.opens, self.closes, self.zones.get(owner, self.zone), self.days)

    def warn(self, target: Target) -> timedelta:
        """From when on a credential is shown as due soon."""
        return next(iter(self.before(target)), DAY)


@dataclass(frozen=True, slots=True, order=True)
class Tier:
    """One reminder that an expiry wants."""

    at: datetime
    expiry: datetime
    name: str
    urgent: bool = False
    """Whether it does not wait for working hours."""
    stage: int | None = None
    """Number of the escalation, where it is one."""
    repeated: bool = False
    """Whether it only says again what was said: it hurries nothing."""
    anyway: datetime | None = field(default=None, compare=False)
    """From when on it does not wait for the end of a rotation; None: as long as one is open."""

    @property
    def key(self) -> tuple[datetime, str]:
        """What makes it one and the same."""
        return self.expiry, self.name


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at a credential gives."""

    tell: tuple[Tier, ...] = ()
    """What has to be told now, all in one message."""
    next_at: datetime | None = None
    """When to look again; None when nothing will come by itself."""


def tiers(dates: Dates, before: Sequence[timedelta], stages: Sequence[Stage], hours: Window) -> tuple[Tier, ...]:
    """Everything that is to be told of a credential until it has ended, in order of time; `again` gives what follows.

    A date of its cadence and its real expiry are counted down one after the other: of the later one only what lies
    behind the first.
    """
    found: list[Tier] = []
    due = dates.due
    if due is None:
        return ()
    for end in _counted(dates):
        hard = end == dates.expires_at
        mine = [*_countdown(dates, end, before, hours), *_ends(dates, end, hours, hard=hard)]
        mine += _escalations(dates, end, stages, hours, hard=hard)
        found += [tier for tier in mine if end == due or tier.at > due]
    unique = {tier.key: tier for tier in found}
    return tuple(sorted(unique.values(), key=lambda tier: (tier.at, tier.expiry, tier.name)))


def again(
    dates: Dates, every: timedelta, hours: Window, now: datetime, told: Collection[tuple[datetime, str]]
) -> tuple[Tier, ...]:
    """What is said again and again of a credential that has ended: the last that was due, and the next.

    Of several that nobody could send meanwhile the last is enough. There is a next before the end as well: everything
    else may have been told by a clock that was set back since.
    """
    ends = _counted(dates)
    end = max((one for one in ends if one <= now), default=min(ends, default=None))
    if end is None:
        return ()
    late: tuple[Tier, ...] = ()
    for number in count(max((now - end) // every, 1)):
        at = _morning(end + number * every, hours, end)
        tier = Tier(at, end, f"{EXPIRED}+{duration.show(number * every)}", repeated=True)
        if at <= now:
            late = (tier,)
        elif tier.key not in told:  # told before its time: the clock was set back
            return (*late, tier)
    raise AssertionError("unreachable")


def look(
    planned: Sequence[Tier],
    told: Collection[tuple[datetime, str]],
    now: datetime,
    hours: Window,
    *,
    snoozed_until: datetime | None = None,
    acted: bool = False,
) -> Look:
    """What of it is to be told now, and when to look again. `acted`: a rotation is open, so that nobody else is called;
    but the pager is, once what its system ends is about to end.

    Everything that is late is told in one message: in working hours where they begin before the next tier, else now.
    A snooze quiets the tiers of the owner who asked for it; whoever is called beside them is called in time.
    """
    pending = [tier for tier in planned if tier.key not in told]
    held = [tier for tier in pending if acted and tier.stage is not None and tier.at <= now and not _called(tier, now)]
    late = [tier for tier in pending if tier.at <= now and tier not in held]
    coming = min((tier.at for tier in pending if tier.at > now and not tier.repeated), default=None)
    following = [tier.at for tier in pending if tier.at > now] + ([now + LOOK_AGAIN] if held else [])
    following += [tier.anyway for tier in held if tier.anyway is not None]
    if snoozed_until is not None and snoozed_until > now and any(tier.stage is None for tier in late):
        wake = working(snoozed_until, hours)
        following.append(snoozed_until if coming is not None and wake >= coming else wake)
        late = [tier for tier in late if tier.stage is not None]
    if not late:
        return Look((), min(following, default=None))
    wait = working(now, hours)
    if any(tier.urgent for tier in late) or (coming is not None and wait >= coming):
        wait = now
    if wait <= now:
        return Look(tuple(late), min(following, default=None))
    return Look((), min([wait, *following]))


def _called(tier: Tier, now: datetime) -> bool:
    """Whether it is called although a rotation is open: one that nobody approves, or that is held, must not hide it."""
    return tier.anyway is not None and tier.anyway <= now


def working(at: datetime, hours: Window) -> datetime:
    """The first moment of working hours from a moment on; that moment itself where there are none."""
    today = at.astimezone(hours.zone).date()
    for number in range(-1, _DAYS_AHEAD):
        opening = _opening(hours, today + number * DAY)
        if opening is not None and opening[1] > at:
            return max(at, opening[0])
    return at


def snooze_budget(dates: Dates, now: datetime, used: timedelta = timedelta(0)) -> datetime | None:
    """Until when it may be snoozed at most; `used`: how long it was snoozed before the same date already.

    When a snooze ends, at least as much time is left as was snoozed in all, and that is two weeks at most: snoozing
    again and again reaches no further than once. Nothing in the last hours.
    """
    due = dates.due
    if due is None or due - now < 2 * LAST_CALL:
        return None
    left = min((due - now - used) / 2, LONGEST_SNOOZE - used)
    return now + left if left > timedelta(0) else None


def snooze_used(snoozes: Iterable[tuple[datetime, datetime]], now: datetime) -> timedelta:
    """How long these (asked at, until) were in force before now; each ends at the latest when the next is asked for."""
    used, end = timedelta(0), now
    for asked, until in sorted(snoozes, reverse=True):
        used += max(min(until, end) - asked, timedelta(0))
        end = min(end, asked)
    return used


def snoozed(until: datetime | None, dates: Dates, now: datetime) -> datetime | None:
    """How far a snooze holds now: a date that moved nearer cuts it, so that it never reaches an expiry."""
    if until is None or until <= now:
        return None
    due = dates.due
    return until if due is None or due - until >= LAST_CALL else (due - LAST_CALL if due - LAST_CALL > now else None)


def grace_warning(opened_at: datetime, deadline: datetime, wanted: timedelta = WARN_BEFORE) -> datetime:
    """When the owner hears that the old credential is still in use: a day before the grace ends, at most half of it."""
    return deadline - min(wanted, (deadline - opened_at) / 2)


def stage_name(number: int) -> str:
    """Under which tier an escalation is kept."""
    return f"{STAGE}{number}"


def most_pressing(found: Iterable[Tier]) -> Tier:
    """The one that a message with several is about: of the nearest expiry, the last in time."""
    return max(found, key=lambda tier: (-tier.expiry.timestamp(), tier.stage is None, tier.at))


def _counted(dates: Dates) -> tuple[datetime, ...]:
    """The ends that count. What its system ends sooner is not due later, by its cadence, as well."""
    ends = (dates.by_cadence if dates.by_cadence == dates.due else None, dates.expires_at)
    return tuple(end for end in ends if end is not None)


def _countdown(dates: Dates, end: datetime, before: Sequence[timedelta], hours: Window) -> Iterable[Tier]:
    """Tiers longer than half the life are left out: what lives for a week is not reminded of a month ahead."""
    half = life(dates, end) / 2
    for span in before:
        if span < half:
            at = end - span
            yield Tier(_morning(at, hours, end - half) if span >= DAY else at, end, duration.show(span))


def _ends(dates: Dates, end: datetime, hours: Window, *, hard: bool) -> Iterable[Tier]:
    lives = life(dates, end)
    if hard:
        yield Tier(_last_call(end, lives), end, DUE, urgent=True)
        yield Tier(end, end, EXPIRED, urgent=True)
    else:
        yield Tier(_morning(end, hours, end - lives / 2), end, DUE)
        yield Tier(end + min(OVERDUE_AFTER, lives / 4), end, EXPIRED)
    if end == dates.by_cadence and dates.begins is not None and dates.cadence is not None:
        yield Tier(dates.begins + dates.cadence * WARN_AT, end, AGED)


def _last_call(end: datetime, lives: timedelta) -> datetime:
    return end - min(LAST_CALL, lives / 4)


def _escalations(dates: Dates, end: datetime, stages: Sequence[Stage], hours: Window, *, hard: bool) -> Iterable[Tier]:
    lives = life(dates, end)
    half = lives / 2
    for number, stage in enumerate(stages, 1):
        at = end - min(stage.within, half)
        at = at if stage.page or stage.within < DAY else _morning(at, hours, end - half)
        anyway = _last_call(end, lives) if stage.page and hard else None
        yield Tier(at, end, stage_name(number), urgent=stage.page, stage=number - 1, anyway=anyway)


def _morning(at: datetime, hours: Window, earliest: datetime) -> datetime:
    """The opening of that day where it has one before it: what falls on one day is told in one message."""
    opening = _opening(hours, at.astimezone(hours.zone).date())
    return opening[0] if opening is not None and earliest <= opening[0] < at else at


@lru_cache(maxsize=4096)
def _opening(hours: Window, day: date) -> tuple[datetime, datetime] | None:
    """Thousands of credentials share the working hours of a few places."""
    return hours.opening(day)
