"""Brings what `keyturn.yml` declares into the tables; its hash goes into the audit."""

from __future__ import annotations

from collections.abc import Iterable

from bot.core.events import Entry, Event
from bot.store.database import Database
from bot.store.records import Applied, Declared

HASH = "settings.hash"


class _TakenBack(Exception):
    """Ends the transaction of `difference` without a commit."""


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


def difference(database: Database, rows: Iterable[Declared]) -> Applied:
    """What `apply` would change in the inventory: done in a transaction that is taken back."""
    try:
        with database.begin() as tx:
            applied = tx.apply_credentials(list(rows))
            raise _TakenBack
    except _TakenBack:
        return applied
