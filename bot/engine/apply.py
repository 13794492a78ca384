"""Brings what `keyturn.yml` declares into the tables; its hash goes into the audit."""

from __future__ import annotations

from collections.abc import Iterable

from bot.core.events import Entry, Event
from bot.store.database import Database
from bot.store.records import Applied, Declared

HASH = "settings.hash"


def apply(database: Database, rows: Iterable[Declared], config_hash: str, actor: str = "keyturn") -> Applied:
    """Reconcile the inventory with the declared credentials. Audited when the file or the rows changed."""
    with database.begin() as tx:
        applied = tx.apply_credentials(list(rows))
        changed = any((applied.added, applied.changed, applied.removed))
        if changed or tx.setting(HASH) != config_hash:
            tx.record_setting(HASH, config_hash)
            detail = {
                "hash": config_hash,
                "added": [list(key) for key in applied.added],
                "changed": [list(key) for key in applied.changed],
                "removed": [list(key) for key in applied.removed],
            }
            tx.audit(Entry(Event.SETTINGS_APPLIED, actor, detail=detail))
    return applied
