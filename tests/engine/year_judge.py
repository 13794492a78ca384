"""Judges a year: what had to be told by when, worked out from the words of the rules and not from the code that sends.

A tier has to be told once it falls due while its expiry is the one that is known: at once where it is urgent, else when
people begin to work, and before the expiry in any case. Later only where it is snoozed, where nobody looks, or, of what
calls others when nobody acts, where a rotation is open; but the pager is called for what its system is about to end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from bot.core import duration
from bot.core.reminders import Rules
from bot.core.rules import Target
from bot.core.schedule import Dates
from bot.core.windows import Window
from bot.store.database import Database
from bot.store.reading import Reader
from bot.store.records import AuditRow
from bot.store.tables import CREDENTIAL, REMINDER
from tests.engine.year import DAY, Busy, Era, Line, Stretch, Year

HOUR = timedelta(hours=1)
LONG = timedelta(days=1000)
Looked = Callable[[datetime], datetime]
Key = tuple[str, datetime, str]
"""Credential, expiry, tier."""


@dataclass(frozen=True)
class Wanted:
    """A tier, and what the rules say of it."""

    at: datetime
    expiry: datetime
    name: str
    urgent: bool = False
    ahead: bool = True
    """It is worth nothing after the expiry."""
    calls: bool = False
    """It calls others, which waits while a rotation is open."""
    anyway: datetime | None = None
    """From when on even such a call does not wait."""
    until: datetime | None = None
    """What is told then says it as well."""


@dataclass(frozen=True)
class Telling:
    """What the audit says of a tier."""

    at: datetime
    """What the clock showed."""
    lived: datetime


def soon(at: datetime) -> datetime:
    """Where the next look is at once."""
    return at + timedelta(minutes=1)


def judge(database: Database, year: Year, rules: Rules, looked: Looked = soon) -> list[str]:
    """Everything that went wrong. `looked` says by when what is due at a moment was looked at; both are lived."""
    with database.read() as reader:
        now = year.line.lived(reader.now)
        owners = {row.name: row for row in reader.connection.execute(CREDENTIAL.select())}
        kept = {(row.credential, row.expiry, row.tier) for row in reader.connection.execute(REMINDER.select())}
        told, problems = _told(_reminders(reader), year.line, looked)
    problems += [f"{key} is in the audit or in the table only" for key in kept ^ told.keys()]
    allowed: dict[Key, datetime] = {}
    for era in year.everything():
        for one in wanted(era, rules, owners[era.name], now + year.line.offset):
            key = (era.name, one.expiry, one.name)
            allowed[key] = min(allowed.get(key, one.at), one.at)
            if problem := _late(year, era, one, rules.hours(""), told.get(key), now, looked):
                problems.append(f"{era.name}: {one.name} of {one.expiry:%Y-%m-%d %H:%M} {problem}")
    for key, telling in told.items():
        if key not in allowed or telling.at < allowed[key]:
            problems.append(f"{key} was told at {telling.at}, and is due at {allowed.get(key, 'no time')}")
    return problems


def _reminders(reader: Reader) -> Iterator[AuditRow]:
    before: int | None = None
    while page := reader.history(event="credential.reminded", limit=1000, before=before):
        yield from page
        before = page[-1].seq


def _told(rows: Iterable[AuditRow], line: Line, looked: Looked) -> tuple[dict[Key, Telling], list[str]]:
    told: dict[Key, Telling] = {}
    counts: Counter[Key] = Counter()
    for row in rows:
        assert row.detail["told"], "a reminder that nobody heard was kept as told"
        for tier, expiry in zip(row.detail["tiers"], row.detail["expiries"], strict=True):
            key = (row.credential, datetime.fromisoformat(expiry), tier)
            counts[key] += 1
            told[key] = Telling(row.at, _lived(row, line, looked))
    return told, [f"{key} was told {count} times" for key, count in counts.items() if count > 1]


def _lived(row: AuditRow, line: Line, looked: Looked) -> datetime:
    """When it was told; until its next look a replica may go by the clock before a jump."""
    number = max(i for i, stretch in enumerate(line.stretches) if stretch.first < row.seq)
    found = row.at - line.stretches[number].offset
    if number:
        before = row.at - line.stretches[number - 1].offset
        if before <= looked(line.stretches[number].begins):
            found = min(found, before)
    return found


def _late(year: Year, era: Era, one: Wanted, hours: Window, told: Telling | None, now: datetime, looked: Looked) -> str:
    """What is wrong with when it was told; empty where nothing is."""
    found = _deadline(year, era, one, hours, now, looked)
    if found is None:
        return ""
    by, shown = found
    if told is None:
        return f"was not told by {shown:%Y-%m-%d %H:%M}"
    if told.lived <= looked(by):
        return ""
    when = "only after it" if told.at >= one.expiry else "late"
    return f"was told {when}, at {told.at} instead of {shown}"


def _deadline(
    year: Year, era: Era, one: Wanted, hours: Window, now: datetime, looked: Looked
) -> tuple[datetime, datetime] | None:
    """By when it has to be told, as lived and as shown; None where that never was while this era lasted.

    What was put off until people work waits for that moment of the clock, also where the clock is set back meanwhile.
    """
    over = min(era.ends or now, now)
    busy = year.busy.get(era.name, []) if one.calls else None
    put_off = one.at
    for stretch in year.line.stretches:
        if stretch.ends is not None and stretch.ends <= era.begins:
            continue
        at = max(stretch.begins, era.begins, put_off - stretch.offset)
        high = min(stretch.ends or now, over)
        while at < high:
            end = max(at, looked(at))
            held = _held(era, busy, (at, end), stretch, one.anyway)
            if held is not None:
                at = held
                continue
            first, last = (_opens(moment + stretch.offset, hours) for moment in (at, end))
            late = end + stretch.offset
            if one.urgent or last == late or (one.ahead and late < one.expiry <= last):
                if one.until is not None and late >= one.until:
                    return None
                if end < high:
                    return at, at + stretch.offset
                break
            put_off = max(first, last)
            at = put_off - stretch.offset
    return None


def _held(
    era: Era, busy: list[Busy] | None, span: tuple[datetime, datetime], stretch: Stretch, anyway: datetime | None
) -> datetime | None:
    """Until when a snooze keeps it from its owner, or, where others are called, an open rotation from them.

    `span` is from when it falls due to when that was looked at: what began until then counts.
    """
    at, end = span
    for snooze in era.snoozes if busy is None else ():
        until = min(snooze.until - stretch.offset, snooze.ends or snooze.until - stretch.offset)
        if snooze.begins <= end and at < until:
            return until
    last = anyway - stretch.offset if anyway is not None else at + LONG
    for one in busy or () if at < last else ():
        if one.begins <= end and (one.ends is None or at < one.ends):
            return min(one.ends or last, last)
    return None


def _opens(at: datetime, hours: Window) -> datetime:
    """The next moment of working hours."""
    return next(max(at, begins) for begins, ends in hours.around(at, 15) if ends > at)


# --- what the rules say -----------------------------------------------------------------------------------------------


def wanted(era: Era, rules: Rules, target: Target, now: datetime) -> Iterator[Wanted]:
    """Every tier of an era until now."""
    dates = era.dates
    begins, cadence, expires = dates.begins, dates.by_cadence, dates.expires_at
    assert begins is not None
    assert cadence is not None
    hard = expires
    soft = cadence if hard is None or cadence < hard else None
    if soft is not None:
        yield from _soft(dates, soft, rules, target)
        yield from _again(soft, rules, min(now, hard) if hard is not None else now, hard)
    if hard is not None:
        if cadence == hard:
            yield _aged(dates, hard)
        for one in (*_ahead(begins, hard, rules, target, hard=True), *_hard(begins, hard)):
            if soft is None or one.at > soft:
                yield one
        yield from _again(hard, rules, now, None)


def _soft(dates: Dates, end: datetime, rules: Rules, target: Target) -> Iterator[Wanted]:
    """Of a cadence: a date that nothing breaks at."""
    begins, cadence = dates.begins, dates.cadence
    assert begins is not None
    assert cadence is not None
    hours = rules.hours(target.owner)
    yield from _ahead(begins, end, rules, target)
    yield _aged(dates, end)
    yield Wanted(_morning(end, hours, end - cadence / 2), end, "due", ahead=False)
    yield Wanted(end + min(DAY, cadence / 4), end, "expired", ahead=False)


def _aged(dates: Dates, end: datetime) -> Wanted:
    assert dates.begins is not None
    assert dates.cadence is not None
    return Wanted(dates.begins + dates.cadence * 0.9, end, "90%")


def _hard(begins: datetime, end: datetime) -> Iterator[Wanted]:
    yield Wanted(_last_call(begins, end), end, "due", urgent=True)
    yield Wanted(end, end, "expired", urgent=True, ahead=False)


def _last_call(begins: datetime, end: datetime) -> datetime:
    return end - min(HOUR, (end - begins) / 4)


def _ahead(begins: datetime, end: datetime, rules: Rules, target: Target, *, hard: bool = False) -> Iterator[Wanted]:
    half = (end - begins) / 2
    hours = rules.hours(target.owner)
    for span in rules.before(target):
        if span < half:
            at = end - span
            yield Wanted(_morning(at, hours, end - half) if span >= DAY else at, end, duration.show(span))
    for number, stage in enumerate(rules.stages(target), 1):
        at = end - min(stage.within, half)
        if not stage.page and stage.within >= DAY:
            at = _morning(at, hours, end - half)
        name = f"escalation-{number}"
        anyway = _last_call(begins, end) if hard and stage.page else None
        yield Wanted(at, end, name, urgent=stage.page, ahead=at < end, calls=True, anyway=anyway)


def _again(end: datetime, rules: Rules, now: datetime, hard: datetime | None) -> Iterator[Wanted]:
    """Of what has ended, regularly; of several in a row that nobody could tell the last is enough."""
    hours = rules.hours("")
    each = [end + number * rules.again for number in range(1, max(0, (now - end) // rules.again) + 3)]
    at = [_morning(one, hours, end) for one in each]
    for number, begins in enumerate(at[:-1], 1):
        if begins <= now and (hard is None or begins < hard):
            until = at[number] if hard is None else min(at[number], hard)
            name = f"expired+{duration.show(number * rules.again)}"
            yield replace(Wanted(begins, end, name, ahead=False), until=until)


def _morning(at: datetime, hours: Window, earliest: datetime) -> datetime:
    """What falls on a day of work is told when it begins."""
    opening = hours.opening(at.astimezone(hours.zone).date())
    return opening[0] if opening is not None and earliest <= opening[0] < at else at
