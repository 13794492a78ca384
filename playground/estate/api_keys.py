"""The identity service's API keys: the value is shown once, only its hash is kept."""

import hashlib
import hmac
import secrets
import sqlite3
import threading
from typing import Any

from playground.estate.clock import VirtualClock
from playground.estate.server import Problem

SCHEMA = """
CREATE TABLE IF NOT EXISTS api_keys (
    id TEXT PRIMARY KEY, client TEXT NOT NULL, marker TEXT, scope TEXT NOT NULL, hash TEXT NOT NULL UNIQUE,
    created_at REAL NOT NULL, expires_at REAL, last_used_at REAL, last_refused_at REAL, enabled INTEGER NOT NULL
);
"""
SHOWN = ("id", "client", "marker", "scope", "created_at", "expires_at", "last_used_at", "last_refused_at")


class ApiKeys:
    """Keys by which clients get tokens. Creating is not idempotent: a lost answer leaves an orphan."""

    def __init__(self, db: sqlite3.Connection, lock: threading.RLock, clock: VirtualClock) -> None:
        self._db, self._lock, self._clock = db, lock, clock
        with self._lock:
            self._db.executescript(SCHEMA)

    def create(
        self, client: str, marker: str | None, scope: str, expires_in: float | None
    ) -> tuple[dict[str, Any], str]:
        """A new key and its value, which cannot be had again."""
        identity, value = f"ak-{secrets.token_hex(6)}", f"kt_api_{secrets.token_urlsafe(32)}"
        now = self._clock.now()
        expires = None if expires_in is None else now + expires_in
        with self._lock, self._db:
            self._db.execute(
                "INSERT INTO api_keys VALUES (?, ?, ?, ?, ?, ?, ?, NULL, NULL, 1)",
                (identity, client, marker, scope, _hash(value), now, expires),
            )
        return self.get(identity), value

    def all(self, client: str | None = None) -> list[dict[str, Any]]:
        """All keys, or one client's, oldest first."""
        with self._lock:
            rows = self._db.execute("SELECT * FROM api_keys ORDER BY created_at, id").fetchall()
        return [_show(row) for row in rows if client in (None, row["client"])]

    def get(self, identity: str) -> dict[str, Any]:
        """One key; 404 when there is none."""
        return _show(self._row(identity))

    def switch(self, identity: str, enabled: bool) -> dict[str, Any]:
        """Enable or disable a key; quiet when it is so already."""
        with self._lock, self._db:
            self._row(identity)
            self._db.execute("UPDATE api_keys SET enabled = ? WHERE id = ?", (int(enabled), identity))
            return self.get(identity)

    def delete(self, identity: str) -> None:
        """Delete a key; 404 when there is none."""
        with self._lock, self._db:
            self._row(identity)
            self._db.execute("DELETE FROM api_keys WHERE id = ?", (identity,))

    def admit(self, client: str, value: str) -> dict[str, Any]:
        """The key that this client's value belongs to; counts its use. 401 when it is unknown, disabled or expired."""
        refused = Problem(
            401, "invalid_client", "the client or its API key is not accepted", {"WWW-Authenticate": "Basic"}
        )
        now = self._clock.now()
        with self._lock, self._db:
            row = self._db.execute("SELECT * FROM api_keys WHERE hash = ?", (_hash(value),)).fetchone()
            if row is None or not hmac.compare_digest(row["client"].encode(), client.encode()):
                raise refused
            good = row["enabled"] and (row["expires_at"] is None or now < row["expires_at"])
            column = "last_used_at" if good else "last_refused_at"
            self._db.execute(f"UPDATE api_keys SET {column} = ? WHERE id = ?", (now, row["id"]))  # noqa: S608 (two fixed names)
            shown = _show(row)
        if not good:
            raise refused
        return shown

    def _row(self, identity: str) -> sqlite3.Row:
        with self._lock:
            row: sqlite3.Row | None = self._db.execute("SELECT * FROM api_keys WHERE id = ?", (identity,)).fetchone()
        if row is None:
            raise Problem(404, "no_such_api_key", "no API key has this id")
        return row


def _hash(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()


def _show(row: sqlite3.Row) -> dict[str, Any]:
    return {**{name: row[name] for name in SHOWN}, "enabled": bool(row["enabled"])}
