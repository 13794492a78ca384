"""Looks after owners and discoveries: says who cannot be reached and what is not seen any more; sends a digest a month.

A discovery is watched from here, not from its own lane, which may hang in a system that does not answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from bot.core.events import Entry, Event
from bot.core.reminders import Rules, working
from bot.engine.arrivals import CLOSED_FOR, Concerns, tell
from bot.engine.lane import LONGEST_NAP
from bot.engine.recipients import Recipients
from bot.store.database import Database
from bot.store.listing import Wanted
from bot.store.writing import Transaction

CHECKED = "owners.checked"
EVERY = timedelta(days=1)
AHEAD = timedelta(days=45)
LISTED = 30
SOME = 20
"""Owners in one transaction."""


class Owners:
    """`turn` is what a lane runs."""

    def __init__(self, database: Database, rules: Rules, recipients: Callable[[], Recipients], channel: str) -> None:
        self._database = database
        self._rules = rules
        self._recipients = recipients
        self._channel = channel
        """Where cards go by default."""

    def turn(self) -> float:
        """Check owners once a day; send the digest once a month, while its owner works; tell of stale dates at once."""
        with self._database.read() as reader:
            blind = [(row.name, row.completed_at, row.unseen(reader.now)) for row in reader.discoveries()]
            now = reader.now
            checked = reader.setting(CHECKED)
            unsent = [zone for zone in self._at_work(now) if reader.setting(_digest_key(now, zone)) is None]
        if checked is None or _later(checked, now):
            self._check()
        for zone in unsent:
            self._digest(now, zone)
        for name, seen, why in blind:
            if why:
                self._tell_blind(name, f"{seen:%Y%m%d%H%M%S}" if seen else "never", why)
        return LONGEST_NAP

    def _tell_blind(self, name: str, seen: str, why: str) -> None:
        """Once for each time that it stops to work, along the route: whose dates they are nobody knows."""
        key = f"unseen-{name}-{seen}"
        with self._database.read() as reader:
            if reader.setting(key) is not None:
                return
        reached = self._recipients().owner("", self._channel)
        with self._database.begin() as tx:
            if not tx.put_setting_once(key, why[:300]):
                return
            everybody = reached.after(len(reached.later))
            tell(tx, key, everybody, why, Concerns("", "", "", self._channel), urgent=True)
            detail = {"discovery": name, "told": [to.name for to in everybody], "error": why[:300]}
            tx.audit(Entry(Event.DISCOVERY_UNSEEN, "keyturn", detail=detail))

    def _at_work(self, now: datetime) -> list[ZoneInfo]:
        """The places whose owners get a digest, where people work now."""
        if not self._rules.digest:
            return []
        default = self._rules.hours("")
        zones = dict.fromkeys((self._rules.zone, *self._rules.zones.values()))
        return [zone for zone in zones if working(now, replace(default, zone=zone)) <= now]

    def _check(self) -> None:
        """Say of each owner's credentials why nobody could be told."""
        finder = self._recipients()
        for owner in self._owners():
            why = finder.owner(owner, "").finding if owner else ""
            with self._database.begin() as tx:
                if why or f"@{owner}" not in tx.closed_places(tx.now - CLOSED_FOR):  # which may be news by now
                    tx.note_owner(owner, why)
        with self._database.begin() as tx:
            tx.record_setting(CHECKED, tx.now.isoformat())

    def _owners(self) -> list[str]:
        with self._database.read() as reader:
            return list(reader.owners())

    def _digest(self, now: datetime, zone: ZoneInfo) -> None:
        """One message for each owner of a place; a key for each keeps a second life from sending it again."""
        finder = self._recipients()
        month = _month(now, zone)
        told: list[str] = []
        for owner in self._owners():
            if self._rules.hours(owner).zone != zone:
                continue
            reached = finder.owner(owner, self._channel)
            with self._database.begin() as tx:
                payload = self._content(tx, owner, month)
                for to in reached.to:
                    key = f"digest-{month}-{owner}-{to.name}"
                    tx.add_notice(key, to.person, to.channel, _text(payload["digest"]), payload)
                    told.append(to.name)
        with self._database.begin() as tx:
            if tx.put_setting_once(_digest_key(now, zone), str(len(told))) and told:
                detail = {"month": month, "zone": zone.key, "told": told[:100], "count": len(told)}
                tx.audit(Entry(Event.DIGEST, "keyturn", detail=detail))

    def _content(self, tx: Transaction, owner: str, month: str) -> dict[str, Any]:
        """Counts, and what is due next: ids and dates."""
        rows = tx.listed(Wanted(due_before=tx.now + AHEAD, owner=owner), LISTED)
        items = [
            {"credential": row.name, "environment": row.environment, "due": row.next_due.isoformat()}
            for row in rows
            if row.next_due is not None
        ]
        counts = tx.standings(Wanted(owner=owner))
        return {"digest": {"owner": owner, "month": month, "counts": counts, "items": items}}


def _month(now: datetime, zone: ZoneInfo) -> str:
    return f"{now.astimezone(zone):%Y-%m}"


def _digest_key(now: datetime, zone: ZoneInfo) -> str:
    """Under which it is kept that the owners of a place have theirs."""
    return f"digest.{_month(now, zone)}.{zone.key}"


def _later(checked: str, now: datetime) -> bool:
    """Whether a day has passed, or the clock was set back."""
    try:
        at = datetime.fromisoformat(checked)
    except ValueError:
        return True
    return not at <= now < at + EVERY


def _text(digest: Mapping[str, Any]) -> str:
    counts = digest["counts"]
    total = sum(counts.values())
    parts = [f"{counts[name]} {name}" for name in ("expired", "overdue", "soon", "unknown") if counts.get(name)]
    whose = f"of {digest['owner']}" if digest["owner"] else "without an owner"
    what = "credential" if total == 1 else "credentials"
    return f"{total} {what} {whose}{': ' + ', '.join(parts) if parts else ', nothing is due soon'}."
