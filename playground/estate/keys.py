"""The identity service's signing keys: ES256, in SQLite, private halves sealed under a key-encryption key."""

import base64
import json
import secrets
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from joserfc import jwt
from joserfc.jwk import ECKey

from playground.estate.clock import VirtualClock
from playground.estate.server import Problem

STATES = ("next", "current", "previous", "disabled")

SCHEMA = """
CREATE TABLE IF NOT EXISTS signing_keys (
    kid TEXT PRIMARY KEY, state TEXT NOT NULL, marker TEXT UNIQUE, public TEXT NOT NULL, sealed BLOB NOT NULL,
    created_at REAL NOT NULL, promoted_at REAL, disabled_at REAL, last_signed_at REAL
);
CREATE UNIQUE INDEX IF NOT EXISTS one_current ON signing_keys (state) WHERE state = 'current';
"""


class Vault:
    """Seals and opens private keys with AES-GCM under a key from a file. `reachable` is asked on every use."""

    def __init__(self, file: Path, reachable: Callable[[], bool]) -> None:
        self._cipher = AESGCM(base64.b64decode(file.read_text().strip(), validate=True))
        self._reachable = reachable

    def check(self) -> None:
        """Raise 503 when the key store cannot be reached."""
        if not self._reachable():
            raise Problem(503, "key_store_unavailable", "the key-encryption key cannot be reached")

    def seal(self, kid: str, private: bytes) -> bytes:
        """Encrypt, bound to the kid."""
        self.check()
        nonce = secrets.token_bytes(12)
        return nonce + self._cipher.encrypt(nonce, private, kid.encode())

    def open(self, kid: str, sealed: bytes) -> bytes:
        """Decrypt what `seal` made for this kid; 503 when it was sealed under another key."""
        self.check()
        try:
            return self._cipher.decrypt(sealed[:12], sealed[12:], kid.encode())
        except InvalidTag:
            raise Problem(503, "key_store_mismatch", "the private key does not open with this encryption key") from None


class SigningKeys:
    """The keys and their states: next (published, not signing), current, previous, disabled (not published)."""

    def __init__(self, db: sqlite3.Connection, lock: threading.RLock, clock: VirtualClock, vault: Vault) -> None:
        self._db, self._lock, self._clock, self._vault = db, lock, clock, vault
        with self._lock:
            self._db.executescript(SCHEMA)

    def all(self) -> list[dict[str, Any]]:
        """All keys, oldest first, without anything private."""
        rows = self._query("SELECT * FROM signing_keys ORDER BY created_at, kid")
        return [_show(row) for row in rows]

    def get(self, kid: str) -> dict[str, Any]:
        """One key; 404 when there is none."""
        return _show(self._row(kid))

    def jwks(self) -> dict[str, Any]:
        """The public halves of all keys that are not disabled."""
        rows = self._query("SELECT public FROM signing_keys WHERE state != 'disabled' ORDER BY created_at, kid")
        return {"keys": [json.loads(row["public"]) for row in rows]}

    def rotate(self, marker: str | None) -> tuple[dict[str, Any], bool]:
        """Publish a key that does not sign yet, and say whether it is new; a marker seen before gives its key again."""
        with self._lock:
            if marker is not None:
                known = self._query("SELECT * FROM signing_keys WHERE marker = ?", marker)
                if known:
                    return _show(known[0]), False
            return self._create("next", marker), True

    def bootstrap(self, marker: str | None = None) -> tuple[dict[str, Any], bool]:
        """The first key, current at once; 409 when any enabled key exists that this marker did not make."""
        with self._lock:
            known = self._query("SELECT * FROM signing_keys WHERE marker = ? AND state != 'disabled'", marker)
            if known:
                return _show(known[0]), False
            if self._query("SELECT 1 FROM signing_keys WHERE state != 'disabled'"):
                raise Problem(409, "keys_exist", "an enabled key exists; rotate instead")
            return self._create("current", marker), True

    def promote(self, kid: str) -> dict[str, Any]:
        """Make a key the one that signs; the one before becomes previous. Quiet when it signs already."""
        with self._lock, self._db:
            row = self._row(kid)
            if row["state"] == "disabled":
                raise Problem(409, "key_disabled", "a disabled key cannot sign; enable it first")
            if row["state"] != "current":
                self._vault.open(kid, row["sealed"])
                self._db.execute("UPDATE signing_keys SET state = 'previous' WHERE state = 'current'")
                self._db.execute(
                    "UPDATE signing_keys SET state = 'current', promoted_at = ? WHERE kid = ?", (self._clock.now(), kid)
                )
            return self.get(kid)

    def disable(self, kid: str, *, even_current: bool = False) -> dict[str, Any]:
        """Take a key out of the JWKS; 409 for the one that signs, unless that is wanted. Quiet when it is so already.

        Without a current key nobody gets a token until another key is promoted.
        """
        with self._lock, self._db:
            row = self._row(kid)
            if row["state"] == "current" and not even_current:
                raise Problem(409, "key_is_current", "the key signs; promote another one first, or say even_current")
            if row["state"] != "disabled":
                self._db.execute(
                    "UPDATE signing_keys SET state = 'disabled', disabled_at = ? WHERE kid = ?",
                    (self._clock.now(), kid),
                )
            return self.get(kid)

    def enable(self, kid: str) -> dict[str, Any]:
        """Publish a disabled key again: as previous if it has ever signed, else as next. Quiet when it is enabled."""
        with self._lock, self._db:
            row = self._row(kid)
            if row["state"] == "disabled":
                state = "next" if row["promoted_at"] is None else "previous"
                self._db.execute("UPDATE signing_keys SET state = ?, disabled_at = NULL WHERE kid = ?", (state, kid))
            return self.get(kid)

    def delete(self, kid: str) -> None:
        """Delete a key that is only published or disabled; 409 while its tokens may still be about."""
        with self._lock, self._db:
            if self._row(kid)["state"] in ("current", "previous"):
                raise Problem(409, "key_in_use", "only a next or a disabled key can be deleted")
            self._db.execute("DELETE FROM signing_keys WHERE kid = ?", (kid,))

    def sign(self, claims: dict[str, Any]) -> tuple[str, str]:
        """A token signed by the current key, and its kid; 503 when there is none."""
        with self._lock, self._db:
            rows = self._query("SELECT * FROM signing_keys WHERE state = 'current'")
            if not rows:
                raise Problem(503, "no_signing_key", "no key signs tokens until one is promoted", {"Retry-After": "1"})
            kid = rows[0]["kid"]
            token = self._encode(rows[0], claims)
            self._db.execute("UPDATE signing_keys SET last_signed_at = ? WHERE kid = ?", (self._clock.now(), kid))
            return token, kid

    def sign_canary(self, kid: str, claims: dict[str, Any]) -> str:
        """A token signed by exactly this key, disabled ones included; it does not count as a use of the key."""
        with self._lock:
            return self._encode(self._row(kid), claims)

    def _encode(self, row: sqlite3.Row, claims: dict[str, Any]) -> str:
        key = ECKey.import_key(json.loads(self._vault.open(row["kid"], row["sealed"])))
        return jwt.encode({"alg": "ES256", "typ": "JWT", "kid": row["kid"]}, claims, key, algorithms=["ES256"])

    def _create(self, state: str, marker: str | None) -> dict[str, Any]:
        kid = f"es256-{secrets.token_hex(6)}"
        key = ECKey.generate_key("P-256")
        public = {**key.as_dict(private=False), "kid": kid, "use": "sig", "alg": "ES256"}
        sealed = self._vault.seal(kid, json.dumps(key.as_dict(private=True)).encode())
        now = self._clock.now()
        with self._db:
            self._db.execute(
                "INSERT INTO signing_keys VALUES (?, ?, ?, ?, ?, ?, ?, NULL, NULL)",
                (kid, state, marker, json.dumps(public), sealed, now, now if state == "current" else None),
            )
        return self.get(kid)

    def _row(self, kid: str) -> sqlite3.Row:
        rows = self._query("SELECT * FROM signing_keys WHERE kid = ?", kid)
        if not rows:
            raise Problem(404, "no_such_key", "no key has this kid")
        return rows[0]

    def _query(self, sql: str, *values: Any) -> list[sqlite3.Row]:
        with self._lock:
            return self._db.execute(sql, values).fetchall()


def _show(row: sqlite3.Row) -> dict[str, Any]:
    shown = ("kid", "state", "marker", "created_at", "promoted_at", "disabled_at", "last_signed_at")
    return {name: row[name] for name in shown}
