"""The audit chain: rows whose canonical bytes are stored and hashed, each with the hash of the row before."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from json.encoder import encode_basestring as quote
from typing import Any, TextIO

from sqlalchemy import Connection, select

from bot.core.events import Entry
from bot.store.columns import json_bytes, micros, moment, plain
from bot.store.records import AuditRow, Head
from bot.store.tables import AUDIT_HEAD

FORMAT = 1
GENESIS = Head(0, "0" * 64)

_lock_head = select(AUDIT_HEAD.c.seq, AUDIT_HEAD.c.hash).where(AUDIT_HEAD.c.id == 1).with_for_update()
_read_head = select(AUDIT_HEAD.c.seq, AUDIT_HEAD.c.hash).where(AUDIT_HEAD.c.id == 1)
_INSERT_SQLITE = (
    "INSERT INTO audit (seq, at, event, actor, rotation, credential, body, hash, prev) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_INSERT_POSTGRES = (
    "WITH moved AS (UPDATE audit_head SET seq = %s, hash = %s WHERE id = 1) "
    "INSERT INTO audit (seq, at, event, actor, rotation, credential, body, hash, prev) "
    "SELECT * FROM unnest(%s::bigint[], %s::bigint[], %s::text[], %s::text[], %s::text[], %s::text[], %s::bytea[], "
    "%s::text[], %s::text[])"
)
"""All rows and the head in one round trip, because everybody else waits for the head meanwhile."""
_INSERT_POSTGRES_ONE = (
    "WITH moved AS (UPDATE audit_head SET seq = %s, hash = %s WHERE id = 1) "
    "INSERT INTO audit (seq, at, event, actor, rotation, credential, body, hash, prev) "
    "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)"
)
"""The same for a single row, as most commits have one: nine arrays take psycopg longer than the server."""


def frame(at: int, event: str, actor: str, rotation: str, credential: str, seq: int, prev: str) -> tuple[str, str]:
    """What stands before and after the detail in the bytes of a row.

    The whole is JSON with sorted keys and no spaces, so that it can be checked against the columns without parsing.
    """
    return (
        f'{{"actor":{quote(actor)},"at":{at},"credential":{quote(credential)},"detail":',
        f',"event":{quote(event)},"format":{FORMAT},"prev":"{prev}","rotation":{quote(rotation)},"seq":{seq}}}',
    )


def head(connection: Connection) -> Head:
    """The end of the chain as stored."""
    row = connection.execute(_read_head).one_or_none()
    return GENESIS if row is None else Head(row[0], row[1])


def append(connection: Connection, entries: Sequence[Entry], now: datetime) -> Head:
    """Chain the entries; the caller commits right after, because the head stays locked until then."""
    if connection.dialect.name == "sqlite":
        return _append_raw(connection, entries, now)
    row = connection.execute(_lock_head).one()
    rows = _chained(Head(row[0], row[1]), entries, now)
    end = Head(rows[-1][0], rows[-1][7])
    if len(rows) == 1:
        connection.exec_driver_sql(_INSERT_POSTGRES_ONE, (end.seq, end.hash, *rows[0]))
        return end
    columns = [list(column) for column in zip(*rows, strict=True)]
    connection.exec_driver_sql(_INSERT_POSTGRES, (end.seq, end.hash, *columns))
    return end


def _append_raw(connection: Connection, entries: Sequence[Entry], now: datetime) -> Head:
    """The same straight on SQLite's driver: every click pays for this, and there the layers in between cost most."""
    raw: Any = connection.connection.driver_connection
    seq, previous = raw.execute("SELECT seq, hash FROM audit_head WHERE id = 1").fetchone()
    rows = _chained(Head(seq, previous), entries, now)
    raw.executemany(_INSERT_SQLITE, rows)
    end = Head(rows[-1][0], rows[-1][7])
    raw.execute("UPDATE audit_head SET seq = ?, hash = ? WHERE id = 1", (end.seq, end.hash))
    return end


def _chained(end: Head, entries: Sequence[Entry], now: datetime) -> list[tuple[Any, ...]]:
    """Rows of (seq, at, event, actor, rotation, credential, body, hash, prev), each linked to the one before."""
    seq, previous, at = end.seq, end.hash, micros(now)
    rows = []
    for entry in entries:
        seq += 1
        actor, rotation, credential = plain(entry.actor), plain(entry.rotation), plain(entry.credential)
        before, after = frame(at, entry.event.value, actor, rotation, credential, seq, previous)
        body = before.encode() + json_bytes(entry.detail) + after.encode()
        digest = hashlib.sha256(body).hexdigest()
        rows.append((seq, at, entry.event.value, actor, rotation, credential, body, digest, previous))
        previous = digest
    return rows


def read_row(row: Any) -> AuditRow:
    """A record from a row of (seq, at, event, actor, rotation, credential, body, hash, prev)."""
    detail: Mapping[str, Any] = json.loads(row[6])["detail"]
    return AuditRow(row[0], moment(row[1]), row[2], row[3], row[4], row[5], detail, row[7], row[8])


def export(rows: Iterator[AuditRow], out: TextIO) -> int:
    """Write one JSON object per line, hashes included; returns how many."""
    count = 0
    for row in rows:
        line = {
            "seq": row.seq,
            "time": row.at.isoformat(),
            "event": row.event,
            "actor": row.actor,
            "rotation": row.rotation,
            "credential": row.credential,
            "detail": row.detail,
            "hash": row.hash,
            "prev": row.prev,
        }
        out.write(json_bytes(line).decode() + "\n")
        count += 1
    return count
