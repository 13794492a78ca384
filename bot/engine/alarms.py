"""Looks all the time whether callers of a credential are let in, and says so where they are not.

Where it is past its date as well, the incident of its expiry is opened: the inventory need not know the right date.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta

from bot.contracts.adapter import Run, Secrets
from bot.contracts.registry import Registry
from bot.core import duration
from bot.core.alarm import Alarm, Refusals, followed
from bot.core.errors import KeyturnError, Permanent
from bot.core.events import Entry, Event
from bot.core.reminders import LAST_CALL
from bot.engine.arrivals import Concerns, tell
from bot.engine.recipients import Recipient, Recipients
from bot.engine.scope import parameters
from bot.store.database import Database
from bot.store.reading import Reader
from bot.store.records import CredentialRow

log = logging.getLogger(__name__)
EVERY = 30.0
"""Real seconds between two rounds."""
ALLOWED = 15.0
MOST_EVIDENCE = 300
Open = Callable[[CredentialRow, str], bool]
"""Opens the incident of an expiry for a reason; False where there is one, or a revocation."""


def measured(registry: Registry, secrets: Secrets, alarm: Alarm, now: datetime) -> tuple[bool, str]:
    """Whether the check holds, and what it saw. Raises `KeyturnError` where that cannot be told."""
    probe = registry.probe(alarm.check)
    p = parameters(probe.Params, {}, alarm.arguments, {})
    told = logging.LoggerAdapter(log, {"credential": alarm.credential})
    run = Run("alarm", "keyturn-alarm", "keyturn", secrets, now, told, time.monotonic() + ALLOWED)
    reading = probe.measure(p, run)
    if reading.passed is None:
        raise Permanent(f"{alarm.check} only measures", "give it a bound, such as below: 5")
    return reading.passed, reading.evidence.split("\n", 1)[0][:MOST_EVIDENCE]


class Alarms:
    """`turn` is what a lane runs; it waits for the systems that are asked."""

    def __init__(
        self,
        database: Database,
        registry: Registry,
        secrets: Secrets,
        alarms: Sequence[Alarm],
        recipients: Callable[[], Recipients],
        channel: Callable[[CredentialRow], str],
        open_expiry: Open,
    ) -> None:
        self._database = database
        self._registry = registry
        self._secrets = secrets
        self.declared = tuple(alarms)
        self._recipients = recipients
        self._channel = channel
        self._open = open_expiry
        self._round = 0.0
        """How many real seconds the last round took."""
        self._blind: dict[tuple[str, str], str] = {}

    def turn(self) -> float:
        """One round; returns in how many real seconds to begin the next."""
        begun = time.monotonic()
        for alarm in self.declared:
            self._look(alarm)
        self._round = time.monotonic() - begun
        return EVERY

    def _look(self, alarm: Alarm) -> None:
        try:
            holds, evidence = measured(self._registry, self._secrets, alarm, self._database.now())
        except KeyturnError as error:
            self._unseen(alarm, str(error).split("\n", 1)[0])
        except Exception as error:  # noqa: BLE001 - an adapter's mistake must not end the lane; its text may hold anything
            self._unseen(alarm, type(error).__name__)
        else:
            self._blind.pop((alarm.credential, alarm.environment), None)
            self._follow(alarm, holds, evidence)

    def _unseen(self, alarm: Alarm, why: str) -> None:
        """Nothing is concluded. The log says it once; `doctor` looks as well."""
        key = alarm.credential, alarm.environment
        if self._blind.get(key) != why:
            log.warning("the alarm of %s (%s) cannot be looked at: %s", *key, why)
        self._blind[key] = why

    def _follow(self, alarm: Alarm, holds: bool, evidence: str) -> None:
        key = f"alarm.{alarm.environment}/{alarm.credential}"
        with self._database.read() as reader:
            known, now = _read(reader.setting(key)), reader.now
            found = reader.credential(alarm.credential, alarm.environment)
        gap = timedelta(seconds=2 * (EVERY + self._round) * self._database.clock.rate)
        after, news = followed(known, holds, alarm.lasts, now, gap)
        if after == known or not found:
            return
        row = found[0]
        to: tuple[Recipient, ...] = ()
        if news:
            if not holds and _past(row, now):
                self._open(row, f"its callers are refused: {evidence}"[:MOST_EVIDENCE])
            place = self._channel(row)
            also = (Recipient(channel=place),) if place else ()
            to = tuple(dict.fromkeys((*self._recipients().owner(row.owner, place).to, *also)))
        with self._database.begin() as tx:
            if _read(tx.setting(key)) != known:
                return  # another replica has looked meanwhile
            tx.record_setting(key, _written(after))
            if not news:
                return
            since = (after or known or Refusals(now, now)).since
            text = _over(row, since, now) if holds else _refused(tx, row, alarm, evidence)
            payload = {"alert": {"credential": row.name, "environment": row.environment, "what": "alarm"}}
            told = f"alarm-{row.environment}-{row.name}-{since:%Y%m%d%H%M%S}{'-over' if holds else ''}"
            concerns = Concerns(row.owner, row.name, row.environment, self._channel(row))
            tell(tx, told, to, text, concerns, {} if holds else payload, urgent=not holds)
            event = Event.CALLS_ACCEPTED if holds else Event.CALLS_REFUSED
            detail = {"environment": row.environment, "told": [one.name for one in to]}
            detail |= {"since": since.isoformat(), "evidence": evidence}
            tx.audit(Entry(event, "keyturn", credential=row.name, detail=detail))


def _past(row: CredentialRow, now: datetime) -> bool:
    """Whether an expiry may be what its callers meet: by its system's date, or by its cadence where there is none."""
    ends = row.dates.expires_at or row.dates.due
    return row.status != "gone" and ends is not None and ends <= now + LAST_CALL


def _refused(reader: Reader, row: CredentialRow, alarm: Alarm, evidence: str) -> str:
    name, said = row.name, evidence.rstrip(".")
    begin = f"Callers of {name} ({row.environment}) are refused, for {duration.show(alarm.lasts)} now: {said}. "
    incident = reader.open_expiry(name, row.environment)
    if incident is not None:
        return f"{begin}R-{incident} is the incident of its expiry: incident R-{incident}."
    revocation = reader.open_rotation(name, row.environment, "revoke")
    rotation = revocation or reader.open_rotation(name, row.environment)
    if rotation is not None:
        doing = "revoking" if revocation is not None else "rotating"
        return f"{begin}{rotation.id} is {doing} it, and its card has the ways back: status {rotation.id}."
    due = row.dates.due
    when = f"It is due on {due:%Y-%m-%d %H:%M} UTC" if due is not None else "No date of it is known"
    return (
        f"{begin}{when}, and no rotation of it is open. If it has expired or was changed by hand all the same: "
        f'expired {name} --reason "callers are refused". It may be another one: expired "callers are refused".'
    )


def _over(row: CredentialRow, since: datetime, now: datetime) -> str:
    return (
        f"Callers of {row.name} ({row.environment}) are let in again, after {duration.show(_whole(since, now))}. "
        f"What was seen: history {row.name}."
    )


def _whole(since: datetime, now: datetime) -> timedelta:
    return timedelta(minutes=max(round((now - since).total_seconds() / 60), 1))


def _written(known: Refusals | None) -> str:
    if known is None:
        return ""
    return json.dumps(asdict(known), default=datetime.isoformat)


def _read(text: str | None) -> Refusals | None:
    if not text:
        return None
    found = json.loads(text)
    since, looked = (datetime.fromisoformat(found[name]) for name in ("since", "looked"))
    return Refusals(since, looked, bool(found["told"]))
