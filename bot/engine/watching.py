"""Tells owners what discoveries show beside the date that counts: leftovers about to expire, expiries moved by hand.

Each is told once, as rows of `reminder` say; who cannot be told is tried again at the next look.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from bot.core.errors import Refused
from bot.core.events import Entry, Event
from bot.core.incident import BOT, noted
from bot.engine.arrivals import Concerns, tell
from bot.engine.recipients import Recipient, Recipients
from bot.store.database import Database
from bot.store.records import CredentialRow, ReminderRow
from bot.store.watching import MOVED_TIER, Leftover
from bot.store.writing import Transaction

LEFTOVER = (("leftover", timedelta(days=30)), ("leftover-soon", timedelta(days=2)))
"""Tier, with the version a row of `reminder`, and how long before an older version expires it is told."""
EVERY = 30.0
"""Real seconds between two looks."""


class Watch:
    """`turn` is what a lane runs."""

    def __init__(self, database: Database, recipients: Callable[[], Recipients], channel: str) -> None:
        self._database = database
        self._recipients = recipients
        self._channel = channel
        """Where cards go by default."""

    def turn(self) -> float:
        """Tell what nobody was told of; returns in how many real seconds to look again."""
        with self._database.read() as reader:
            leftovers = [(tier, one) for tier, within in LEFTOVER for one in reader.leftovers(tier, within)]
            moved = reader.moved()
        if leftovers or moved:
            finder = self._recipients()
            for tier, one in leftovers:
                self._leftover(finder, tier, one)
            for name, environment in moved:
                self._moved(finder, name, environment)
        return EVERY

    def _leftover(self, finder: Recipients, tier: str, one: Leftover) -> None:
        text = (
            f"{one.version} of {one.name} ({one.environment}) expires on {one.expires_at:%Y-%m-%d %H:%M} UTC, before "
            f"{one.in_use}, which is in use, and no rotation retires it. Whether something still uses it cannot be "
            f"seen from here: move what does, or remove it from its system."
        )
        row, to = self._heard(finder, one.name, one.environment)
        if row is not None and to:
            with self._database.begin() as tx:
                of_it = f"{tier} {one.version}"
                told = ReminderRow(
                    one.name, one.environment, one.expires_at, of_it, tx.now, tx.now, [each.name for each in to], ""
                )
                self._tell(tx, told, row, to, text)

    def _moved(self, finder: Recipients, name: str, environment: str) -> None:
        """To the owner, and into an incident that is open because it expired."""
        row, to = self._heard(finder, name, environment)
        if row is None or row.expires_at is None or not to:
            return
        text = (
            f"{row.finding} ({name}, {environment}). That replaces nothing: whoever has a copy can use it for longer. "
            f"Rotate it with: start {name}. Reminders go on by the new date."
        )
        with self._database.begin() as tx:
            number = tx.open_expiry(name, environment)
            if number is not None:
                tx.rotation(number)  # its row first, in the order of every decision
                incident = tx.incident(number)
                if incident is not None and incident.is_open:
                    try:
                        after, entry = noted(incident, row.finding, BOT, tx.now)
                        tx.save_incident(incident, after, entry)
                    except Refused:  # it has as many notes as it may have; the message and the audit say it
                        pass
            tier = f"{MOVED_TIER}{row.version}"
            told = ReminderRow(name, environment, row.expires_at, tier, tx.now, tx.now, [each.name for each in to], "")
            self._tell(tx, told, row, to, text)

    def _heard(
        self, finder: Recipients, name: str, environment: str
    ) -> tuple[CredentialRow | None, tuple[Recipient, ...]]:
        with self._database.read() as reader:
            found = reader.credential(name, environment)
        if not found:
            return None, ()
        return found[0], finder.owner(found[0].owner, self._place(found[0])).to

    def _place(self, row: CredentialRow) -> str:
        return str(row.detail.get("channel", "")) or self._channel

    def _tell(
        self, tx: Transaction, told: ReminderRow, row: CredentialRow, to: tuple[Recipient, ...], text: str
    ) -> None:
        key = f"{told.tier}-{told.credential}-{told.environment}-{told.expiry:%Y%m%d%H%M%S}"
        if not tx.put_setting_once(f"told.{key}", ""):
            return  # another replica did
        tx.add_reminders([told])
        payload = {"alert": {"credential": told.credential, "environment": told.environment, "what": told.tier}}
        tell(tx, key, to, text, Concerns(row.owner, row.name, row.environment, self._place(row)), payload)
        detail = {
            "environment": told.environment,
            "tiers": [told.tier],
            "expiries": [told.expiry.isoformat()],
            "told": list(told.told),
        }
        tx.audit(Entry(Event.TOLD, "keyturn", credential=told.credential, detail=detail))
