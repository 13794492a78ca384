"""The chain: what is written is what is hashed, and every kind of tampering is noticed."""

from __future__ import annotations

import hashlib
import io
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from bot.core.events import Entry, Event
from bot.core.plan import canonical
from bot.store import audit
from bot.store.audit import GENESIS, frame
from bot.store.database import Database
from bot.store.records import Head
from bot.store.seal import FileWitness, Sealer, head_of
from tests.store import samples
from tests.store.samples import KEY, examine

words = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\x00"), max_size=12)


def columns(database: Database) -> list[Any]:
    with database.read() as reader:
        return list(reader.connection.exec_driver_sql("SELECT * FROM audit ORDER BY seq"))


def test_the_stored_bytes_are_the_canonical_json_of_the_row(database: Database) -> None:
    samples.write(database, 6)
    previous = GENESIS.hash
    for i, row in enumerate(columns(database), 1):
        data = json.loads(row.body)
        assert bytes(row.body) == canonical(data)
        assert data["format"] == audit.FORMAT
        shown = {name: data[name] for name in ("seq", "at", "event", "actor", "rotation", "credential", "prev")}
        assert shown == {name: getattr(row, name) for name in shown}
        assert row.hash == hashlib.sha256(row.body).hexdigest()
        assert (row.seq, row.prev) == (i, previous)
        previous = row.hash
    with database.read() as reader:
        assert reader.audit_head() == Head(i, previous) == database.head


@given(st.integers(0, 2**50), words, words, words, words, st.integers(1, 2**40), st.dictionaries(words, words))
def test_the_frame_is_canonical_for_any_text(
    at: int, event: str, actor: str, rotation: str, credential: str, seq: int, detail: dict[str, str]
) -> None:
    before, after = frame(at, event, actor, rotation, credential, seq, "p")
    whole = {
        "actor": actor,
        "at": at,
        "credential": credential,
        "detail": detail,
        "event": event,
        "format": audit.FORMAT,
        "prev": "p",
        "rotation": rotation,
        "seq": seq,
    }
    assert before.encode() + canonical(detail) + after.encode() == canonical(whole)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=9), st.text(max_size=9), st.text(max_size=9), st.dictionaries(st.text(max_size=5), st.text()))
def test_any_text_is_chained_and_verified(
    database: Database, actor: str, rotation: str, credential: str, detail: dict[str, str]
) -> None:
    with database.begin() as transaction:
        transaction.audit(Entry(Event.INTENT, actor, rotation, credential, detail))
    assert examine(database).is_sound
    with database.read() as reader:
        assert reader.history(limit=1)[0].detail == detail


def test_rows_of_many_threads_make_one_chain(database: Database) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: samples.write(database, 20, i * 100), range(8)))
    report = examine(database)
    assert report.is_sound
    assert report.rows == 161
    assert report.unsigned == 161


def protected(database: Database) -> None:
    """A row in each table that never changes."""
    samples.request(database)
    Sealer(database, KEY).seal(force=True)


def refused(database: Database, statement: str) -> bool:
    with pytest.raises(DBAPIError) as caught, database.engine.begin() as connection:
        connection.execute(text(statement))
    return "never changed" in str(caught.value) or "added at the end" in str(caught.value)


@pytest.mark.parametrize("table", ["audit", "audit_signature", "plan"])
def test_the_database_refuses_to_change_or_delete_rows(database: Database, table: str) -> None:
    protected(database)
    column = "signature" if table == "audit_signature" else "body"
    assert refused(database, f"UPDATE {table} SET {column} = {column}")
    assert refused(database, f"DELETE FROM {table}")
    if database.dialect == "postgresql":
        assert refused(database, f"TRUNCATE {table} CASCADE")


def test_the_head_of_the_audit_cannot_be_deleted(database: Database) -> None:
    with pytest.raises(DBAPIError, match="head|never changed"), database.engine.begin() as connection:  # noqa: RUF043
        connection.execute(text("DELETE FROM audit_head"))


@pytest.mark.parametrize("table", ["audit", "audit_signature"])
def test_sqlite_cannot_be_made_to_replace_rows(sqlite_database: Database, table: str) -> None:
    protected(sqlite_database)
    assert refused(sqlite_database, f"INSERT OR REPLACE INTO {table} SELECT * FROM {table}")


def test_history_is_newest_first_and_paged(database: Database) -> None:
    samples.write(database, 10)
    with database.read() as reader:
        rows = reader.history(credential="checkout", limit=2)
        assert [row.rotation for row in rows] == ["R-8", "R-6"]
        assert [row.rotation for row in reader.history(credential="checkout", before=rows[-1].seq)] == [
            "R-4",
            "R-2",
            "R-0",
        ]
        assert [row.seq for row in reader.history(rotation="R-4")] == [6]
        assert len(reader.history(event="step.outcome")) == 5
        in_order = list(reader.audit_rows(since=3))
        assert [row.seq for row in in_order] == list(range(4, 12))
        assert list(reader.audit_rows(start=rows[0].at + timedelta(days=1))) == []


def test_an_export_can_be_checked_by_anybody(database: Database) -> None:
    samples.write(database, 4)
    out = io.StringIO()
    with database.read() as reader:
        assert audit.export(reader.audit_rows(), out) == 5
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [line["seq"] for line in lines] == [1, 2, 3, 4, 5]
    assert all(line["prev"] == before["hash"] for before, line in pairwise(lines))


def test_heads_are_signed_when_rows_or_time_are_enough(database: Database, tmp_path: Path) -> None:
    witness = FileWitness(tmp_path / "witness.ndjson")
    sealer = Sealer(database, KEY, witness, rows=5, every=timedelta(hours=1))
    first = sealer.seal()
    assert first is not None  # nothing was signed before
    assert first.is_signed_by(KEY.public_key())
    assert not first.is_signed_by(Ed25519PrivateKey.generate().public_key())
    assert sealer.seal(force=True) is None  # nothing new
    samples.write(database, 4)
    assert sealer.seal() is None
    samples.write(database, 2)
    second = sealer.seal()
    assert second is not None
    samples.write(database, 2)
    assert Sealer(database, KEY, witness, every=timedelta(0)).seal() is not None
    assert [head.seq for head in witness.read()] == [first.seq, second.seq, second.seq + 2]
    report = examine(database, witness)
    assert report.is_sound
    assert (report.signatures, report.witnessed, report.unsigned) == (3, 3, 0)


def test_a_thread_seals_by_itself(database: Database, tmp_path: Path) -> None:
    witness = FileWitness(tmp_path / "witness.ndjson")
    sealer = Sealer(database, KEY, witness, rows=10, every=timedelta(hours=1))
    sealer.start()
    samples.write(database, 40)
    sealer.stop()
    assert witness.last() == database.head.seq  # type: ignore[union-attr]  # rows were written
    report = examine(database, witness)
    assert report.is_sound
    assert report.unsigned == 0


def test_a_failing_witness_holds_nothing_up_and_gets_the_rest_later(database: Database, tmp_path: Path) -> None:
    place = tmp_path / "absent" / "witness.ndjson"
    sealer = Sealer(database, KEY, FileWitness(place), rows=1)
    with pytest.raises(OSError, match="absent"):
        sealer.seal()
    assert sealer.unwitnessed == 1
    samples.write(database, 2)
    place.parent.mkdir()
    sealer.seal()
    assert sealer.unwitnessed == 0
    assert [head.seq for head in FileWitness(place).read()] == [1, 3]
    assert examine(database, FileWitness(place)).is_sound


def test_a_torn_line_of_the_witness_is_no_alarm(database: Database, tmp_path: Path) -> None:
    path = tmp_path / "witness.ndjson"
    sealer = Sealer(database, KEY, FileWitness(path), rows=1)
    sealer.seal()
    path.write_bytes(path.read_bytes()[:-20])
    samples.write(database, 2)
    sealer.seal()
    assert examine(database, FileWitness(path)).is_sound
    assert [head.seq for head in FileWitness(path).read()] == [1, 3]


def test_a_head_as_it_stands_on_a_card_can_be_read() -> None:
    head = Head(1204, "9f2c41d0a7b3" + "0" * 52)
    assert head_of(head.short) == Head(1204, "9f2c41d0a7b3")
    for wrong in ("1204", "x:9f", "12:", "12:XYZ"):
        with pytest.raises(ValueError, match=r"audit head|invalid literal"):
            head_of(wrong)
