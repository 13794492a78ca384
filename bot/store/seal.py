"""Signed heads of the audit chain, and the witness that keeps them where the bot's database user cannot edit."""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sqlalchemy import Connection, Row, insert, select

from bot.core.errors import KeyturnError
from bot.store import audit
from bot.store.columns import json_bytes, micros, moment
from bot.store.records import Head
from bot.store.tables import AUDIT_SIGNATURE

if TYPE_CHECKING:
    from bot.store.database import Database

log = logging.getLogger(__name__)
ROWS = 50
EVERY = timedelta(seconds=60)
_last = select(AUDIT_SIGNATURE).order_by(AUDIT_SIGNATURE.c.seq.desc()).limit(1)


@dataclass(frozen=True, slots=True)
class SignedHead:
    """An end of the chain that the bot's key has signed; `at` is in microseconds since 1970."""

    seq: int
    at: int
    hash: str
    key: str
    """Fingerprint of the public key."""
    signature: bytes

    def payload(self) -> bytes:
        """The bytes that are signed."""
        return _payload(self.seq, self.at, self.hash, self.key)

    def is_signed_by(self, key: Ed25519PublicKey) -> bool:
        """Whether the signature holds."""
        try:
            key.verify(self.signature, self.payload())
        except InvalidSignature:
            return False
        return True

    def line(self) -> bytes:
        """One line of the witness."""
        values = {"seq": self.seq, "at": self.at, "hash": self.hash, "key": self.key, "signature": self.signature.hex()}
        return json_bytes(values) + b"\n"

    @classmethod
    def of_line(cls, line: bytes) -> SignedHead | None:
        """Read a line; None for one that was torn by a crash."""
        try:
            data = json.loads(line)
            return cls(
                int(data["seq"]),
                int(data["at"]),
                str(data["hash"]),
                str(data["key"]),
                bytes.fromhex(data["signature"]),
            )
        except (ValueError, KeyError, TypeError):
            return None


def fingerprint(key: Ed25519PublicKey) -> str:
    """A short name for a public key."""
    return hashlib.sha256(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()[:16]


def _payload(seq: int, at: int, digest: str, key: str) -> bytes:
    return json_bytes({"what": "keyturn audit head", "format": 1, "seq": seq, "at": at, "hash": digest, "key": key})


class Witness(Protocol):
    """Keeps signed heads outside the database. What it was given is never taken back."""

    def append(self, heads: Iterable[SignedHead]) -> None:
        """Keep them for good; raises `OSError` or a `KeyturnError` when it cannot."""
        ...

    def read(self) -> Iterator[SignedHead]:
        """All heads, in the order in which they came."""
        ...

    def last(self) -> int:
        """Number of the newest row that it has seen; 0 for none."""
        ...


class FileWitness:
    """A file of lines that is only appended to; put it on a disk of another machine, or ship it by a log agent."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def append(self, heads: Iterable[SignedHead]) -> None:
        """Append and wait for the disk."""
        lines = b"".join(head.line() for head in heads)
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            size = os.fstat(file).st_size
            if size and os.pread(file, 1, size - 1) != b"\n":
                lines = b"\n" + lines  # a crash tore the last line
            while lines:
                lines = lines[os.write(file, lines) :]
            os.fsync(file)
        finally:
            os.close(file)

    def read(self) -> Iterator[SignedHead]:
        """All whole lines."""
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            for line in file:
                head = SignedHead.of_line(line)
                if head is not None:
                    yield head

    def last(self) -> int:
        """The newest row among the last lines."""
        if not self._path.exists():
            return 0
        with self._path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 65536))
            heads = [head for line in file if (head := SignedHead.of_line(line))]
        return max((head.seq for head in heads), default=0)


class Sealer:
    """Signs the head every 50 rows or 60 seconds and hands it to the witness.

    A witness that fails holds nothing up: `unwitnessed` grows, and it gets what it missed as soon as it works again.
    """

    def __init__(
        self,
        database: Database,
        key: Ed25519PrivateKey,
        witness: Witness | None = None,
        *,
        rows: int = ROWS,
        every: timedelta = EVERY,
    ) -> None:
        self._database = database
        self._key = key
        self._name = fingerprint(key.public_key())
        self._witness = witness
        self._rows = rows
        self._every = every
        self._wake = Event()
        self._stopping = False
        self._thread: Thread | None = None
        self._signed = 0
        self.unwitnessed = 0
        """Rows that are signed but not yet with the witness; a metric."""

    def start(self) -> None:
        """Seal in a thread of its own."""
        self._thread = Thread(target=self._run, name="sealer", daemon=True)
        self._database.after_commit.append(self._notice)
        self._thread.start()

    def stop(self) -> None:
        """Seal a last time, and stop."""
        if self._thread is not None:
            self._stopping = True
            self._wake.set()
            self._thread.join(10)
            self._database.after_commit.remove(self._notice)
            self._thread = None
        self._try(force=True)

    def seal(self, *, force: bool = False) -> SignedHead | None:
        """Sign the head if enough rows or time have passed, or `force`; then bring the witness up to date."""
        with self._database.begin() as transaction:
            signed = self._sign(transaction.connection, micros(transaction.database_now), force)
        self._inform()
        return signed

    def _sign(self, connection: Connection, at: int, force: bool) -> SignedHead | None:
        last = connection.execute(_last).one_or_none()
        head = audit.head(connection)
        self._signed = last.seq if last else 0
        new = head.seq - self._signed
        old = last is None or moment(at) - moment(last.at) >= self._every
        if new <= 0 or not (force or new >= self._rows or old):
            return None
        signature = self._key.sign(_payload(head.seq, at, head.hash, self._name))
        signed = SignedHead(head.seq, at, head.hash, self._name, signature)
        connection.execute(
            insert(AUDIT_SIGNATURE),
            {"seq": signed.seq, "at": at, "hash": signed.hash, "key": signed.key, "signature": signature},
        )
        self._signed = head.seq
        return signed

    def _inform(self) -> None:
        if self._witness is None:
            return
        seen = self._witness.last()
        self.unwitnessed = max(0, self._signed - seen)
        with self._database.read() as reader:
            query = select(AUDIT_SIGNATURE).where(AUDIT_SIGNATURE.c.seq > seen).order_by(AUDIT_SIGNATURE.c.seq)
            heads = [signed_head(row) for row in reader.connection.execute(query)]
        if heads:
            self._witness.append(heads)
        self.unwitnessed = 0

    def _notice(self) -> None:
        head = self._database.head
        if head is not None and head.seq - self._signed >= self._rows:
            self._wake.set()

    def _run(self) -> None:
        while not self._stopping:
            self._wake.wait(self._every.total_seconds() / 2)
            self._wake.clear()
            self._try(force=False)

    def _try(self, *, force: bool) -> None:
        try:
            self.seal(force=force)
        except (KeyturnError, OSError) as error:
            log.warning("the head of the audit could not be sealed (%s); it is tried again", type(error).__name__)


def signed_head(row: Row[Any]) -> SignedHead:
    """A head from a row of `audit_signature`."""
    return SignedHead(row.seq, row.at, row.hash, row.key, bytes(row.signature))


def signers(database: Database) -> frozenset[str]:
    """Fingerprints of every key that has signed a head of this audit."""
    with database.read() as reader:
        return frozenset(reader.connection.execute(select(AUDIT_SIGNATURE.c.key).distinct()).scalars())


def head_of(text: str) -> Head:
    """Read `1204:9f2c41d0a7b3`, as it stands on a card; raises `ValueError`."""
    seq, _, digest = text.partition(":")
    if not digest or any(letter not in "0123456789abcdef" for letter in digest):
        raise ValueError("an audit head looks like 1204:9f2c41d0a7b3")
    return Head(int(seq), digest)
