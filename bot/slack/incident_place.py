"""Where an incident is followed: the name of its channel, and the thread of the card where it has none."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import replace

from bot.core.decide import Stale
from bot.core.events import Entry, Event
from bot.core.incident import BOT, Incident
from bot.slack.threads import main_card
from bot.store.database import Database
from bot.store.records import DrawingRow
from bot.store.writing import Transaction

MOST_NAME = 80


def follow_in_thread(tx: Transaction, incident: Incident, drawings: list[DrawingRow], why: str) -> None:
    """From now on the incident is followed in the thread of the card, with a note why."""
    note = f"There is no channel of its own: {why}. It is followed here."
    detail = {"place": "the card's thread", "why": why}
    entry = Entry(Event.INCIDENT_PLACE, BOT, incident.id, incident.credential, detail)
    card = main_card(drawings)
    if card is not None:
        tx.add_drawing(incident.number, "status", card.place, 1, urgent=True)
    tx.save_incident(incident, replace(incident, place="", place_note=note), entry)


def lose_channel(database: Database, number: int, why: str) -> None:
    """A message found the incident's channel closed. Harmless when somebody else has seen to it."""
    try:
        with database.begin() as tx:
            incident = tx.incident(number)
            if incident is not None and incident.place:
                follow_in_thread(tx, incident, tx.drawings(number), f"its channel is closed ({why})")
    except Stale:
        return


def channel_name(prefix: str, incident: Incident, attempt: int = 1) -> str:
    """`inc-2026-11-21-identity-signing-r9`: lower case, and within Slack's 80 characters."""
    plain = unicodedata.normalize("NFKD", incident.credential).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", plain).strip("-") or "credential"
    head = re.sub(r"[^a-z0-9_-]+", "-", prefix.lower()).strip("-") or "inc"
    tail = f"-r{incident.number}" + (f"-{attempt}" if attempt > 1 else "")
    start = f"{head[:20]}-{incident.opened_at:%Y-%m-%d}-"
    return start + slug[: MOST_NAME - len(start) - len(tail)].strip("-") + tail
