"""Every kind of tampering that an administrator of the database can think of is noticed, and by what."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bot.core.plan import canonical
from bot.store.audit import GENESIS, frame
from bot.store.database import Database
from bot.store.records import Head
from bot.store.seal import FileWitness, Sealer, SignedHead, fingerprint, head_of
from bot.store.verify import Report, behind, verify
from tests.store import samples
from tests.store.samples import KEY, examine

Tamper = Callable[[sqlite3.Connection], None]


def relink(connection: sqlite3.Connection, key: Ed25519PrivateKey | None = None) -> None:
    """Number, link and hash all rows anew, as somebody who knows the format would; sign again if they hold a key."""
    rows = connection.execute("SELECT rowid, * FROM audit ORDER BY seq").fetchall()
    connection.execute("DELETE FROM audit")
    previous = GENESIS.hash
    signed = [row[0] for row in connection.execute("SELECT seq FROM audit_signature")]
    for seq, (_, _, at, event, actor, rotation, credential, body, _, _) in enumerate(rows, 1):
        before, after = frame(at, event, actor, rotation, credential, seq, previous)
        new = before.encode() + canonical(json.loads(body)["detail"]) + after.encode()
        digest = hashlib.sha256(new).hexdigest()
        connection.execute(
            "INSERT INTO audit VALUES (?,?,?,?,?,?,?,?,?)",
            (seq, at, event, actor, rotation, credential, new, digest, previous),
        )
        if key is not None and seq in signed:
            head = SignedHead(seq, at, digest, fingerprint(key.public_key()), b"")
            values = (at, digest, head.key, key.sign(head.payload()), seq)
            connection.execute("UPDATE audit_signature SET at=?, hash=?, key=?, signature=? WHERE seq=?", values)
        previous = digest
    connection.execute("UPDATE audit_head SET seq = ?, hash = ?", (len(rows), previous))


def cut(connection: sqlite3.Connection, rows: int) -> None:
    """Remove the last rows with all traces inside the database."""
    (last,) = connection.execute("SELECT max(seq) FROM audit").fetchone()
    connection.execute("DELETE FROM audit WHERE seq > ?", (last - rows,))
    connection.execute("DELETE FROM audit_signature WHERE seq > ?", (last - rows,))
    found = connection.execute("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1").fetchone()
    connection.execute("UPDATE audit_head SET seq = ?, hash = ?", found or (0, GENESIS.hash))


def sql(*statements: str) -> Tamper:
    return lambda connection: [connection.execute(statement) for statement in statements] and None


def rehashed(connection: sqlite3.Connection) -> None:
    (body,) = connection.execute("SELECT body FROM audit WHERE seq = 20").fetchone()
    body = body.replace(b'"publish"', b'"nothing"')
    connection.execute("UPDATE audit SET body = ?, hash = ? WHERE seq = 20", (body, hashlib.sha256(body).hexdigest()))


def swapped(connection: sqlite3.Connection) -> None:
    connection.execute("UPDATE audit SET seq = -1 WHERE seq = 20")
    connection.execute("UPDATE audit SET seq = 20 WHERE seq = 21")
    connection.execute("UPDATE audit SET seq = 21 WHERE seq = -1")


def replayed(connection: sqlite3.Connection) -> None:
    connection.execute(
        "INSERT INTO audit SELECT (SELECT max(seq) + 1 FROM audit), at, event, actor, rotation, credential, body, "
        "hash, prev FROM audit WHERE seq = 20"
    )
    connection.execute("UPDATE audit_head SET seq = seq + 1")


def deleted_and_relinked(connection: sqlite3.Connection) -> None:
    connection.execute("DELETE FROM audit WHERE seq = 20")
    relink(connection)


def reordered_and_relinked(connection: sqlite3.Connection) -> None:
    swapped(connection)
    relink(connection)


def inserted_and_relinked(connection: sqlite3.Connection) -> None:
    connection.execute("UPDATE audit SET seq = seq + 1000 WHERE seq > 20")
    connection.execute(
        "INSERT INTO audit SELECT 21, at, event, 'mallory', rotation, credential, body, hash, prev FROM audit "
        "WHERE seq = 20"
    )
    relink(connection)


def rewritten(connection: sqlite3.Connection) -> None:
    connection.execute("UPDATE audit SET actor = 'mallory'")
    relink(connection)


def rewritten_with_the_key(connection: sqlite3.Connection) -> None:
    connection.execute("UPDATE audit SET actor = 'mallory'")
    relink(connection, KEY)


BY_CHAIN: dict[str, Tamper] = {
    "edit a field": sql("UPDATE audit SET body = replace(CAST(body AS TEXT), 'publish', 'nothing') WHERE seq = 20"),
    "edit the bytes": sql(
        "UPDATE audit SET body = CAST(replace(CAST(body AS TEXT), 'publish', 'nothing') AS BLOB) WHERE seq = 20"
    ),
    "edit and rehash": rehashed,
    "edit a column": sql("UPDATE audit SET credential = 'other' WHERE seq = 20"),
    "edit the actor": sql("UPDATE audit SET actor = 'mallory' WHERE seq = 20"),
    "edit the time": sql("UPDATE audit SET at = at + 1 WHERE seq = 20"),
    "put another type": sql("UPDATE audit SET actor = 7 WHERE seq = 20"),
    "delete a row": sql("DELETE FROM audit WHERE seq = 20"),
    "swap rows": swapped,
    "replay a row": replayed,
    "cut the last row only": sql("DELETE FROM audit WHERE seq = (SELECT max(seq) FROM audit)"),
    "empty the table": sql("DELETE FROM audit"),
}
BY_SIGNATURES: dict[str, Tamper] = {
    "delete and relink": deleted_and_relinked,
    "reorder and relink": reordered_and_relinked,
    "insert and relink": inserted_and_relinked,
    "rewrite all": rewritten,
    "forge a signature": sql("UPDATE audit_signature SET signature = zeroblob(64)"),
    "sign with another key": lambda connection: relink(connection, Ed25519PrivateKey.generate()),
}
BY_WITNESS: dict[str, Tamper] = {
    "delete a signed head": sql("DELETE FROM audit_signature WHERE seq = (SELECT min(seq) FROM audit_signature)"),
    "cut 30 rows": lambda connection: cut(connection, 30),
    "empty everything": lambda connection: cut(connection, 10**6),
    "rewrite all with the key": rewritten_with_the_key,
}


@pytest.fixture
def sealed(sqlite_database: Database, tmp_path: Path) -> tuple[Database, FileWitness, tuple[Head, ...]]:
    """51 rows; heads signed at rows 1, 21 and 41; the last head stands on a card."""
    witness = FileWitness(tmp_path / "witness.ndjson")
    sealer = Sealer(sqlite_database, KEY, witness)
    sealer.seal(force=True)
    for start in (0, 20):
        samples.write(sqlite_database, 20, start)
        sealer.seal(force=True)
    samples.write(sqlite_database, 10, 40)
    assert sqlite_database.head is not None
    return sqlite_database, witness, (head_of(sqlite_database.head.short),)


def tamper(database: Database, action: Tamper) -> None:
    """As the administrator: triggers off, then the action, and all written back."""
    assert database.path is not None
    connection = sqlite3.connect(database.path)
    for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        connection.execute(f"DROP TRIGGER {name}")
    action(connection)
    connection.commit()
    connection.close()


Sealed = tuple[Database, FileWitness, tuple[Head, ...]]


def test_a_clean_log_raises_no_alarm(sealed: Sealed) -> None:
    database, witness, cards = sealed
    report = examine(database, witness, cards)
    assert report.is_sound, report.problems
    assert (report.rows, report.signatures, report.unsigned) == (51, 3, 10)
    assert behind(database, witness) is None


@pytest.mark.parametrize("kind", BY_CHAIN)
def test_the_chain_notices(sealed: Sealed, kind: str) -> None:
    tamper(sealed[0], BY_CHAIN[kind])
    assert not verify(sealed[0], [KEY.public_key()]).is_sound


@pytest.mark.parametrize("kind", BY_SIGNATURES)
def test_the_signed_heads_notice(sealed: Sealed, kind: str) -> None:
    tamper(sealed[0], BY_SIGNATURES[kind])
    assert not verify(sealed[0], [KEY.public_key()]).is_sound


@pytest.mark.parametrize("kind", BY_WITNESS)
def test_only_the_witness_notices(sealed: Sealed, kind: str) -> None:
    database, witness, _ = sealed
    tamper(database, BY_WITNESS[kind])
    assert verify(database, [KEY.public_key()]).is_sound
    assert not examine(database, witness).is_sound
    assert (behind(database, witness) is not None) is (kind != "delete a signed head")


def test_only_a_card_notices_a_row_newer_than_the_last_signed_head(sealed: Sealed) -> None:
    database, witness, cards = sealed
    tamper(database, lambda connection: cut(connection, 1))
    assert examine(database, witness).is_sound
    assert [problem.kind for problem in examine(database, witness, cards).problems] == ["cut"]


@pytest.mark.parametrize("going_on", [False, True])
def test_the_witness_notices_a_restored_backup(sealed: Sealed, tmp_path: Path, going_on: bool) -> None:
    database, witness, _ = sealed
    assert database.path is not None
    with database.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    backup = tmp_path / "backup.db"
    shutil.copyfile(database.path, backup)
    samples.write(database, 20, 60)
    Sealer(database, KEY, witness).seal(force=True)
    restored = Database.open(f"sqlite:///{backup}")
    try:
        if going_on:
            samples.write(restored, 60, 100)
            Sealer(restored, KEY).seal(force=True)
        assert verify(restored, [KEY.public_key()]).is_sound
        assert not examine(restored, witness).is_sound
        problem = behind(restored, witness)
        assert problem is not None
        assert problem.kind == ("rewritten" if going_on else "cut")
    finally:
        restored.close()


def test_a_forged_witness_is_noticed(sealed: Sealed) -> None:
    database, witness, _ = sealed
    other = Ed25519PrivateKey.generate()
    for key, name in ((other, fingerprint(KEY.public_key())), (other, fingerprint(other.public_key()))):
        head = SignedHead(5, 1, "0" * 64, name, b"")
        witness.append([SignedHead(5, 1, "0" * 64, name, key.sign(head.payload()))])
    assert [problem.kind for problem in examine(database, witness).problems] == ["witness", "witness"]


def test_a_report_names_so_many_problems_and_counts_the_rest() -> None:
    report = Report()
    for i in range(150):
        report.add("gap", i, "missing")
    assert (len(report.problems), report.more) == (100, 50)
    assert not report.is_sound
