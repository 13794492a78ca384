"""Looks all the time whether callers of a credential are let in, and says so where they are not.

Where it is past its date as well, the incident of its expiry is opened: the inventory need not know the right date.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from functools import partial

from bot.contracts.adapter import Run, Secrets
from bot.contracts.registry import Registry
from bot.core import duration
from bot.core.alarm import UNSEEN, Alarm, Failing, followed
from bot.core.errors import KeyturnError, Permanent
from bot.core.events import Entry, Event
from bot.core.reminders import LAST_CALL
from bot.engine.arrivals import Concerns, tell
from bot.engine.recipients import Recipient, Recipients
from bot.engine.scope import parameters
from bot.store.database import Database
from bot.store.reading import Reader
from bot.store.records import CredentialRow
from bot.store.writing import Transaction

log = logging.getLogger(__name__)
EVERY = 30.0
"""Real seconds between two rounds."""
ALLOWED = 15.0
AT_ONCE = 8
KEY, UNSEEN_KEY = "alarm", "alarm-unseen"
"""Under which is kept that callers are refused, and that this cannot be looked at."""
MOST_EVIDENCE = 300
Measure = Callable[[Alarm, datetime], tuple[bool, str]]
"""`measured`, for the systems that there are."""
Open = Callable[[CredentialRow, str], bool]
"""Opens the incident of an expiry for a reason; False where there is one, or a revocation."""


def measured(registry: Registry, secrets: Secrets, alarm: Alarm, now: datetime) -> tuple[bool, str]:
    """Whether the check holds, and what it saw. Raises `KeyturnError` where that cannot be told."""
    told = logging.LoggerAdapter(log, {"credential": alarm.credential})
    run = Run("alarm", "keyturn-alarm", "keyturn", secrets, now, told, time.monotonic() + ALLOWED)
    try:
        probe = registry.probe(alarm.check)
        reading = probe.measure(parameters(probe.Params, {}, alarm.arguments, {}), run)
    except KeyturnError:
        raise
    except Exception as error:  # noqa: BLE001 - an adapter's mistake, whose text may hold anything
        raise Permanent(type(error).__name__, f"it is a mistake of the adapter of {alarm.check}; report it") from None
    if reading.passed is None:
        raise Permanent(f"{alarm.check} only measures", "give it a bound, such as below: 5")
    return reading.passed, reading.evidence.split("\n", 1)[0][:MOST_EVIDENCE]


class Alarms:
    """`turn` is what a lane runs; it waits for the systems that are asked."""

    def __init__(
        self,
        database: Database,
        alarms: Sequence[Alarm],
        measure: Measure,
        open_expiry: Open,
        recipients: Callable[[], Recipients],
        channel: Callable[[CredentialRow], str],
    ) -> None:
        self._database = database
        self.declared = tuple(alarms)
        self._measure = measure
        self._open = open_expiry
        self._recipients = recipients
        self._channel = channel
        self._round = 0.0
        """How many real seconds the last round took."""
        self._blind: dict[tuple[str, str], str] = {}

    def turn(self) -> float:
        """One round; returns in how many real seconds to begin the next."""
        begun = time.monotonic()
        now = self._database.now()
        with ThreadPoolExecutor(AT_ONCE, "alarm") as pool:
            looks = pool.map(partial(self._look, now), self.declared)
            for alarm, (holds, evidence) in zip(self.declared, looks, strict=True):
                pause = EVERY + max(self._round, time.monotonic() - begun)
                gap = timedelta(seconds=2 * pause * self._database.clock.rate)
                try:
                    self._follow(UNSEEN_KEY, alarm, holds is not None, evidence, UNSEEN, gap)
                    if holds is not None:
                        self._follow(KEY, alarm, holds, evidence, alarm.lasts, gap)
                except KeyturnError as error:  # the others are looked at all the same
                    log.warning("the alarm of %s (%s) waits: %s", alarm.credential, alarm.environment, error)
        self._round = time.monotonic() - begun
        return EVERY

    def _look(self, now: datetime, alarm: Alarm) -> tuple[bool | None, str]:
        """Whether the check holds, and what it saw; None where that cannot be told, and why."""
        key = alarm.credential, alarm.environment
        try:
            found = self._measure(alarm, now)
        except Permanent as error:
            why = f"{error}; {error.hint}".rstrip("; ")
        except KeyturnError as error:
            why = str(error).split("\n", 1)[0]
        else:
            self._blind.pop(key, None)
            return found
        if self._blind.get(key) != why:
            log.warning("the alarm of %s (%s) cannot be looked at: %s", *key, why)
        self._blind[key] = why
        return None, why[:MOST_EVIDENCE]

    def _follow(self, kind: str, alarm: Alarm, holds: bool, evidence: str, lasts: timedelta, gap: timedelta) -> None:
        """Keep what is known of one check, and tell what is news."""
        key = f"{kind}.{alarm.environment}/{alarm.credential}"
        with self._database.read() as reader:
            known, now = _read(reader.setting(key)), reader.now
            found = reader.credential(alarm.credential, alarm.environment)
        after, news = followed(known, holds, lasts, now, gap)
        if after == known or not found:
            return
        row = found[0]
        to = self._hear(row) if news else ()
        if news and not holds and kind == KEY:
            self._open_where_past(row, evidence, now)
        if after is not None and news and not to:
            after, news = replace(after, told=False), False  # it is news at the next look as well
        with self._database.begin() as tx:
            if _read(tx.setting(key)) != known:
                return  # another replica has looked meanwhile
            tx.record_setting(key, _written(after))
            if news and not (holds and kind == UNSEEN_KEY):
                since = (after or known or Failing(now, now)).since
                self._tell(tx, kind, row, to, since, evidence, lasts, holds)

    def _hear(self, row: CredentialRow) -> tuple[Recipient, ...]:
        """The owner, or everybody on the route at once, and the channel of its cards."""
        place = self._channel(row)
        reached = self._recipients().owner(row.owner, place)
        also = (Recipient(channel=place),) if place else ()
        return tuple(dict.fromkeys((*reached.after(len(reached.later)), *also)))

    def _open_where_past(self, row: CredentialRow, evidence: str, now: datetime) -> None:
        """Whatever comes of it, those concerned hear of the refusals."""
        try:
            with self._database.read() as reader:
                past = _past(reader, row, now)
            if past:
                self._open(row, f"its callers are refused: {evidence}"[:MOST_EVIDENCE])
        except KeyturnError as error:
            log.error("the incident of %s (%s) could not be opened: %s", row.name, row.environment, error)

    def _tell(
        self,
        tx: Transaction,
        kind: str,
        row: CredentialRow,
        to: tuple[Recipient, ...],
        since: datetime,
        evidence: str,
        lasts: timedelta,
        holds: bool,
    ) -> None:
        if kind == UNSEEN_KEY:
            event, text = Event.ALARM_UNSEEN, _unseen(row, evidence, lasts)
        elif holds:
            event, text = Event.CALLS_ACCEPTED, _over(row, since, tx.now)
        else:
            event, text = Event.CALLS_REFUSED, _refused(tx, row, evidence, lasts)
        payload = {"alert": {"credential": row.name, "environment": row.environment, "what": "alarm"}}
        key = f"{kind}-{row.name}@{row.environment}-{since:%Y%m%d%H%M%S}{'-over' if holds else ''}"
        concerns = Concerns(row.owner, row.name, row.environment, self._channel(row))
        refused = event is Event.CALLS_REFUSED
        if tell(tx, key, to, text, concerns, payload if refused else {}, urgent=refused):
            detail = {"environment": row.environment, "told": [one.name for one in to]}
            detail |= {"since": since.isoformat(), "evidence": evidence}
            tx.audit(Entry(event, "keyturn", credential=row.name, detail=detail))


def _past(reader: Reader, row: CredentialRow, now: datetime) -> bool:
    """Whether an expiry may be what its callers meet: by its system's date; where it has none by its cadence, unless a
    rotation is open, which is the likelier cause and has its own ways back."""
    if row.status == "gone":
        return False
    dates = row.dates
    if dates.expires_at is not None:
        return dates.expires_at <= now + LAST_CALL
    overdue = dates.due is not None and dates.due <= now + LAST_CALL
    return overdue and reader.open_rotation(row.name, row.environment) is None


def _refused(reader: Reader, row: CredentialRow, evidence: str, lasts: timedelta) -> str:
    name, said = f"{row.name}@{row.environment}", evidence.rstrip(".")
    parts = [f"Callers of {row.name} ({row.environment}) are refused, for {duration.show(lasts)} now: {said}."]
    for word, doing in (("revoke", "revoking"), ("start", "rotating")):
        rotation = reader.open_rotation(row.name, row.environment, word)
        if rotation is not None:
            parts.append(f"{rotation.id} is {doing} it, and its card has the ways back: status {rotation.id}.")
    incident = reader.open_expiry(row.name, row.environment)
    if incident is not None:
        parts.append(f"R-{incident} is the incident of its expiry: incident R-{incident}.")
    if len(parts) > 1:
        return " ".join(parts)
    due = row.dates.due
    was = "was" if due is not None and due <= reader.now else "is"
    when = f"It {was} due on {due:%Y-%m-%d %H:%M} UTC" if due is not None else "No date of it is known"
    return (
        f"{parts[0]} {when}, and no rotation of it is open. If it has expired or was changed by hand all the same: "
        f'expired {name} --reason "callers are refused". It may be another one: expired "callers are refused".'
    )


def _over(row: CredentialRow, since: datetime, now: datetime) -> str:
    lasted = timedelta(minutes=max(round((now - since).total_seconds() / 60), 1))
    return (
        f"Callers of {row.name} ({row.environment}) are let in again, after {duration.show(lasted)}. "
        f"What was seen: history {row.name}@{row.environment}."
    )


def _unseen(row: CredentialRow, why: str, lasts: timedelta) -> str:
    return (
        f"The alarm of {row.name} ({row.environment}) could not be looked at for {duration.show(lasts)}: "
        f"{why.rstrip('.')}. Until that is mended nobody hears that its callers are refused; "
        "keyturn doctor looks again."
    )


def _written(known: Failing | None) -> str:
    return "" if known is None else json.dumps(asdict(known), default=datetime.isoformat)


def _read(text: str | None) -> Failing | None:
    if not text:
        return None
    found = json.loads(text)
    since, looked = (datetime.fromisoformat(found[name]) for name in ("since", "looked"))
    return Failing(since, looked, bool(found["told"]))
