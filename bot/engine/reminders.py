"""Sends reminders: looks at what is due, groups it per recipient, and commits messages, tiers and audit together.

A credential is due for a look at its next tier, and whenever something about it changed; a look works out everything
anew. Only one replica sends at a time, so that what falls together is told in one message.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from bot.contracts.people import Directory
from bot.core.automatic import STARTED, Automatic, rule_of, starts_at
from bot.core.events import Entry, Event
from bot.core.policy import Policy
from bot.core.reminders import Look, Rules, Tier, again, look, snoozed, tiers
from bot.core.schedule import Dates
from bot.core.windows import Calendar
from bot.engine.arrivals import recipients
from bot.engine.lane import SHORTEST_NAP, nap_until
from bot.engine.paging import end_pages, page
from bot.engine.recipients import Reached, Recipient, Recipients
from bot.store.database import Database
from bot.store.records import CredentialRow, ReminderRow
from bot.store.reminding import Heard, Message
from bot.store.writing import Transaction

BATCH = 500
LISTED = 30
"""Credentials that one message names; it counts the others."""
NOBODY_AGAIN = timedelta(hours=1)
"""When nobody at all could be told, it is tried again after so long."""
MOMENT = timedelta(seconds=1)
BUSY_NAP = 0.2
Key = tuple[str, str]


@dataclass(frozen=True)
class Setting:
    """What reminders go by."""

    rules: Rules = field(default_factory=Rules)
    automatic: tuple[Automatic, ...] = ()
    calendar: Calendar = field(default_factory=Calendar)
    channels: Mapping[str, str] = field(default_factory=dict)
    """Label -> channel, and group -> its channel."""

    def channel(self, row: CredentialRow | Heard) -> str:
        """Where its cards go: what was only found has no channel of its own."""
        return str(row.detail.get("channel", "")) or self.channels.get("default", "")


@dataclass
class _Draft:
    """What one recipient hears."""

    items: list[dict[str, Any]] = field(default_factory=list)
    urgent: bool = False


class Reminders:
    """`turn` is what a lane runs."""

    def __init__(self, database: Database, policy: Policy, directory: Directory, setting: Setting) -> None:
        self._database = database
        self._policy = policy
        self._directory = directory
        self._setting = setting

    def turn(self) -> float:
        """Look at what is due; returns in how many real seconds there may be something again."""
        with self._database.read() as reader:
            now, due = reader.now, reader.next_remind_at()
            if due is None or due > now:
                return nap_until(self._database, due, now)
            known = self._reach(reader.reminders_for(now, BATCH))
        with self._database.begin() as tx:
            if not tx.alone():
                return BUSY_NAP  # another replica is at it
            rows = tx.claim_reminders(now, BATCH)  # what is due only since then was not looked up
            self._look(tx, rows, known)
        return 0.0 if len(rows) >= BATCH else SHORTEST_NAP

    def recipients(self) -> Recipients:
        """Lookups for one turn."""
        return recipients(
            self._database, self._policy, self._directory, self._setting.channels, self._setting.rules.route
        )

    def _reach(self, rows: Iterable[Heard]) -> _Known:
        """Who hears of each, asked before the transaction, since Slack may take its time."""
        finder = self.recipients()
        known = _Known(finder, self._setting)
        rules = self._setting.rules
        for row in rows:
            place = row.owner, self._setting.channel(row)
            if place not in known.owners:
                known.owners[place] = finder.owner(*place)
            for stage in rules.stages(row):
                if (stage.to, place[1]) not in known.stages:
                    known.stages[(stage.to, place[1])] = finder.instead(stage.to, place[1])
        return known

    # --- in one transaction -------------------------------------------------------------------------------------------

    def _look(self, tx: Transaction, rows: Sequence[CredentialRow], known: _Known) -> None:
        keys = [(row.name, row.environment) for row in rows]
        told, busy = tx.told(keys), tx.being_rotated(keys)
        heard = tx.messages([key for row, key in zip(rows, keys, strict=True) if known.routed(row)])
        messages: dict[Recipient, _Draft] = {}
        kept: list[tuple[CredentialRow, Sequence[Tier], tuple[Recipient, ...]]] = []
        looked: list[tuple[Key, Mapping[str, Any]]] = []
        for row, key in zip(rows, keys, strict=True):
            seen, dates = told.get(key, set()), row.dates
            found = self.look_at(row, dates, seen, tx.now, acted=key in busy)
            values = dict(self.settled(row, dates, found, seen, tx.now, busy=key in busy))
            if found.tell:
                to = known.reached(row, found.tell, heard.get(key, ()))
                if to or (to is not None and self._only_pages(row, found.tell)):
                    kept.append((row, found.tell, to))
                    values["reminded_at"] = tx.now
                    for recipient in to:
                        _add(messages.setdefault(recipient, _Draft()), row, found.tell)
                else:  # nobody could be told, or the owner changed since it was looked up; the pager needs neither
                    page(tx, row, found.tell, self._setting.rules.stages(row))
                    values["remind_at"] = tx.now + (MOMENT if to is None else NOBODY_AGAIN)
            looked.append((key, values))
        notices = {recipient: self._send(tx, recipient, message) for recipient, message in messages.items()}
        self._keep(tx, kept, notices)
        tx.settle(looked)
        end_pages(tx, {key: values["next_due"] for key, values in looked})

    def _only_pages(self, row: CredentialRow, found: Sequence[Tier]) -> bool:
        """Whether all of it is for the pager alone."""
        stages = self._setting.rules.stages(row)
        return all(tier.stage is not None and stages[tier.stage].page and not stages[tier.stage].to for tier in found)

    def look_at(
        self, row: CredentialRow, dates: Dates, told: set[tuple[datetime, str]], now: datetime, *, acted: bool
    ) -> Look:
        """What is to be told of a credential now, and when to look again."""
        if row.status == "gone":
            return Look()
        rules = self._setting.rules
        hours = rules.hours(row.owner)
        planned = (
            *tiers(dates, rules.before(row), rules.stages(row), hours),
            *again(dates, rules.again, hours, now, told),
        )
        until = snoozed(row.snoozed_until, dates, now)
        return look(planned, told, now, hours, snoozed_until=until, acted=acted)

    def settled(
        self,
        row: CredentialRow,
        dates: Dates,
        found: Look,
        told: set[tuple[datetime, str]],
        now: datetime,
        *,
        busy: bool,
    ) -> Mapping[str, Any]:
        """Everything that follows from its dates, as columns."""
        gone = row.status == "gone"
        due = None if gone else dates.due
        following = found.next_at
        return {
            "next_due": due,
            "due_source": "" if gone else dates.source,
            "soon_at": None if gone else dates.soon_at(self._setting.rules.warn(row)),
            "remind_at": max(following, now + MOMENT) if following is not None else None,
            "starts_at": None if due is None or busy else self._starts_at(row, dates, due, told, now),
            "reminded_at": row.reminded_at,
            "snoozed_until": snoozed(row.snoozed_until, dates, now),
        }

    def _starts_at(
        self, row: CredentialRow, dates: Dates, due: datetime, told: set[tuple[datetime, str]], now: datetime
    ) -> datetime | None:
        """When policy starts it: once for each date, and again later where that could not be done."""
        rule = rule_of(self._setting.automatic, row)
        if rule is None or not row.runbook or (due, STARTED) in told:
            return None
        at = starts_at(rule, row, dates, self._setting.calendar)
        retry = row.starts_at if row.next_due == due and row.starts_at is not None else None
        return max((one for one in (at, retry) if one is not None), default=None)

    def _send(self, tx: Transaction, to: Recipient, message: _Draft) -> str:
        """Into the message that waits for the recipient, where there is one, else as a new one; returns its key."""
        waiting = tx.waiting_reminder(to.person, to.channel)
        if waiting is not None:
            before = waiting.payload.get("reminder", {})
            items = [*before.get("items", ()), *message.items]
            count = int(before.get("count", 0)) + len(message.items)
            urgent = waiting.urgent or message.urgent
            tx.say_more(waiting.id, _text(items, count), _payload(items, count, before), urgent=urgent)
            return waiting.key
        count = len(message.items)
        key = f"remind-{to.name}-{_mark(message.items, tx.now)}"
        payload = _payload(message.items, count)
        tx.add_notice(key, to.person, to.channel, _text(message.items, count), payload, urgent=message.urgent)
        return key

    def _keep(
        self,
        tx: Transaction,
        kept: Sequence[tuple[CredentialRow, Sequence[Tier], tuple[Recipient, ...]]],
        notices: Mapping[Recipient, str],
    ) -> None:
        """Which tiers were told, to whom and in which message: in the table, and in the audit."""
        rows = []
        for row, found, to in kept:
            names = [recipient.name for recipient in to]
            rows += [
                ReminderRow(
                    row.name,
                    row.environment,
                    tier.expiry,
                    tier.name,
                    tier.at,
                    tx.now,
                    names or ["the pager"],
                    " ".join(notices[recipient] for recipient in to),
                )
                for tier in found
            ]
            detail = {
                "environment": row.environment,
                "tiers": [tier.name for tier in found],
                "expiries": [tier.expiry.isoformat() for tier in found],
                "told": names or ["the pager"],
                "notices": [notices[recipient] for recipient in to],
            }
            tx.audit(Entry(Event.TOLD, "keyturn", credential=row.name, detail=detail))
            page(tx, row, found, self._setting.rules.stages(row))
        tx.add_reminders(rows)


@dataclass
class _Known:
    """Who was looked up for this turn."""

    finder: Recipients
    setting: Setting
    owners: dict[tuple[str, str], Reached] = field(default_factory=dict)
    stages: dict[tuple[tuple[str, ...], str], tuple[Recipient, ...]] = field(default_factory=dict)

    def routed(self, row: CredentialRow) -> bool:
        """Whether others hear instead of its owner, one after the other."""
        owner = self.owners.get((row.owner, self.setting.channel(row)))
        return owner is not None and bool(owner.later)

    def reached(
        self, row: CredentialRow, found: Sequence[Tier], heard: Iterable[Message]
    ) -> tuple[Recipient, ...] | None:
        """Who hears of these tiers, by what was told of it before; None where that was not looked up yet."""
        channel = self.setting.channel(row)
        owner = self.owners.get((row.owner, channel))
        if owner is None:
            return None
        to: list[Recipient] = []
        if own := [tier for tier in found if tier.stage is None]:
            to += owner.after(_in_vain(owner, own, heard))
        stages = self.setting.rules.stages(row)
        for tier in found:
            if tier.stage is not None and tier.stage < len(stages):
                more = self.stages.get((stages[tier.stage].to, channel))
                if more is None:
                    return None
                to += more
        return tuple(dict.fromkeys(to))


def _in_vain(owner: Reached, found: Sequence[Tier], heard: Iterable[Message]) -> int:
    """How many messages of these expiries the first of the route had already; all of it where hours are left."""
    if any(tier.urgent for tier in found):
        return len(owner.later)
    ends, names = {tier.expiry for tier in found}, {one.name for one in owner.to}
    return len({one.told_at for one in heard if one.expiry in ends and names & set(one.told)})


def _add(message: _Draft, row: CredentialRow, found: Sequence[Tier]) -> None:
    nearest = found[-1]
    message.urgent = message.urgent or nearest.urgent
    message.items.append(
        {
            "credential": row.name,
            "environment": row.environment,
            "owner": row.owner,
            "due": min(tier.expiry for tier in found).isoformat(),
            "tiers": [tier.name for tier in found],
        }
    )


def _payload(items: Sequence[Mapping[str, Any]], count: int, before: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Ids and dates; of one credential only what was told last is listed, and of many the first due.

    Those that are not listed are found by their owners, and by the last of their dates.
    """
    known = before or {}
    latest = {(item["credential"], item["environment"]): item for item in items}
    listed = sorted(latest.values(), key=lambda item: (item["due"], item["credential"], item["environment"]))
    told = {
        "items": listed[:LISTED],
        "count": max(count - (len(items) - len(listed)), len(listed)),
        "owners": sorted({item["owner"] for item in listed} | set(known.get("owners", ()))),
        "until": max([item["due"] for item in listed] + [known.get("until", "")]),
    }
    return {"reminder": told}


def _text(items: Sequence[Mapping[str, Any]], count: int) -> str:
    """The same in plain text, for notifications and for what cannot be drawn."""
    reminder = _payload(items, count)["reminder"]
    named = [f"{one['credential']} ({one['environment']}) is due on {one['due'][:10]}" for one in reminder["items"][:5]]
    more = reminder["count"] - len(named)
    return "; ".join(named) + (f"; and {more} more" if more > 0 else "") + "."


def _mark(items: Sequence[Mapping[str, Any]], now: datetime) -> str:
    """A key for these tiers, told now: what nobody got before is told anew in a message of its own."""
    told = "\n".join(f"{one['credential']}@{one['environment']} {one['due']} {one['tiers']}" for one in items)
    told += f"\n{now.isoformat()}"
    return hashlib.sha256(told.encode()).hexdigest()[:24]
