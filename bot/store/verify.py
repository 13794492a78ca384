"""Proof that the audit is what was written: the chain, its columns, its signed heads, the witness, heads on cards."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from json.encoder import encode_basestring as quote
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import Connection, select

from bot.store import audit
from bot.store.audit import frame
from bot.store.records import Head
from bot.store.seal import SignedHead, Witness, fingerprint, signed_head
from bot.store.tables import AUDIT, AUDIT_SIGNATURE

if TYPE_CHECKING:
    from bot.store.database import Database

SHOWN = 100
"""Problems that a report names; the rest are counted."""
_BATCH = 2000
_FRAMES = 5000


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that cannot be as it was written. `kind` is a stable word, `seq` the row."""

    kind: str
    seq: int
    sentence: str


@dataclass(slots=True)
class Report:
    """What verification found."""

    rows: int = 0
    head: Head = audit.GENESIS
    signatures: int = 0
    witnessed: int = 0
    """Heads that the witness knows."""
    unsigned: int = 0
    """Rows after the last signed head; only cards can vouch for those."""
    problems: list[Problem] = field(default_factory=list)
    more: int = 0
    """Problems beyond those listed."""

    @property
    def is_sound(self) -> bool:
        """Whether nothing was found."""
        return not self.problems

    def add(self, kind: str, seq: int, sentence: str) -> None:
        """Note a problem."""
        if len(self.problems) < SHOWN:
            self.problems.append(Problem(kind, seq, sentence))
        else:
            self.more += 1


def verify(
    database: Database,
    keys: Iterable[Ed25519PublicKey],
    witness: Witness | None = None,
    cards: Iterable[Head] = (),
) -> Report:
    """Read the whole audit once, in flat memory.

    `keys` are all public keys that ever signed heads. `cards` are heads seen elsewhere, such as on Slack cards and in
    approvals; their hashes may be cut short (`head_of`).
    """
    report = Report()
    known = {fingerprint(key): key for key in keys}
    with database.read() as reader:
        connection = reader.connection
        signed = _signatures(connection, known, report)
        marks: dict[int, list[tuple[str, str]]] = {}
        _note(marks, ((head.seq, head.hash) for head in signed.values()), "a signed head")
        if witness is not None:
            _note(marks, _witnessed(witness, known, signed, report), "the witness")
        _note(marks, ((head.seq, head.hash) for head in cards), "a card")
        _follow(connection, marks, report)
        stored = audit.head(connection)
    if stored != report.head:
        report.add(
            "head", stored.seq, f"the stored head is row {stored.seq}, the last row of the chain is {report.head.seq}"
        )
    for seq, claims in sorted(marks.items()):
        for _, source in claims:
            report.add("cut", seq, f"row {seq}, which {source} has seen, is missing")
    report.unsigned = report.rows - max((seq for seq in signed if seq <= report.head.seq), default=0)
    return report


def behind(database: Database, witness: Witness) -> Problem | None:
    """A quick look at start: does the database still hold what the witness saw last?

    A restored backup or a cut table does not; keyturn then stays read-only until somebody has looked into it.
    """
    newest: SignedHead | None = None
    for head in witness.read():
        if newest is None or head.seq >= newest.seq:
            newest = head
    if newest is None:
        return None
    with database.read() as reader:
        query = select(AUDIT.c.hash).where(AUDIT.c.seq == newest.seq)
        found = reader.connection.execute(query).scalar_one_or_none()
    if found == newest.hash:
        return None
    if found is None:
        sentence = f"the database ends before row {newest.seq}, which the witness has seen: it is an older copy"
        return Problem("cut", newest.seq, sentence)
    return Problem("rewritten", newest.seq, f"row {newest.seq} is not the one that the witness has seen")


def _signatures(connection: Connection, keys: Mapping[str, Ed25519PublicKey], report: Report) -> dict[int, SignedHead]:
    found = {}
    for row in connection.execute(select(AUDIT_SIGNATURE).order_by(AUDIT_SIGNATURE.c.seq)):
        head = signed_head(row)
        if _is_genuine(head, keys, report, "signature"):
            found[head.seq] = head
    report.signatures = len(found)
    return found


def _witnessed(
    witness: Witness, keys: Mapping[str, Ed25519PublicKey], signed: Mapping[int, SignedHead], report: Report
) -> Iterator[tuple[int, str]]:
    for head in witness.read():
        report.witnessed += 1
        ours = signed.get(head.seq)
        if ours == head:  # already checked
            yield head.seq, head.hash
        elif _is_genuine(head, keys, report, "witness"):
            if ours is None:
                report.add("signature-missing", head.seq, f"the signed head of row {head.seq} was deleted")
            yield head.seq, head.hash


def _is_genuine(head: SignedHead, keys: Mapping[str, Ed25519PublicKey], report: Report, where: str) -> bool:
    key = keys.get(head.key)
    if key is None:
        report.add(where, head.seq, f"the head of row {head.seq} is signed by an unknown key {head.key[:16]!r}")
        return False
    if not head.is_signed_by(key):
        report.add(where, head.seq, f"the signature of the head of row {head.seq} is forged")
        return False
    return True


def _note(marks: dict[int, list[tuple[str, str]]], heads: Iterable[tuple[int, str]], source: str) -> None:
    for seq, digest in heads:
        if seq > 0:
            marks.setdefault(seq, []).append((digest, source))


def _follow(connection: Connection, marks: dict[int, list[tuple[str, str]]], report: Report) -> None:
    """Walk the chain; what is left in `marks` afterwards was never met."""
    expected, previous, count = 1, audit.GENESIS.hash, 0
    frames: dict[tuple[str, str, str, str], tuple[str, str, str, str]] = {}
    for seq, at, event, actor, rotation, credential, body, stored, prev in _rows(connection):
        count += 1
        if seq != expected:
            report.add("gap", seq, f"rows {expected} to {seq - 1} are missing")
        if prev != previous:
            report.add("chain", seq, f"row {seq} does not follow the row before it")
        if type(body) is not bytes or sha256(body).hexdigest() != stored:
            report.add("edited", seq, f"the content of row {seq} was changed")
            body = b""
        key = (event, actor, rotation, credential)
        parts = frames.get(key) or _remember(frames, key)
        if body and not (
            body.startswith(f"{parts[0]}{at}{parts[1]}".encode())
            and body.endswith(f"{parts[2]}{prev}{parts[3]}{seq}}}".encode())
        ):
            report.add("columns", seq, f"the columns of row {seq} do not say what its content says")
        if seq in marks:
            for digest, source in marks.pop(seq):
                if not str(stored).startswith(digest):
                    report.add("rewritten", seq, f"row {seq} is not the one that {source} has seen")
        expected, previous = seq + 1, stored
    report.rows = count
    if count:
        report.head = Head(expected - 1, previous)


def _remember(
    frames: dict[tuple[str, str, str, str], tuple[str, str, str, str]], key: tuple[str, str, str, str]
) -> tuple[str, str, str, str]:
    """What `frame` gives for these columns, cut where the numbers and the hash stand; rows repeat each other a lot."""
    if len(frames) >= _FRAMES:
        frames.clear()
    event, actor, rotation, credential = (str(part) for part in key)  # an edited SQLite column may hold any type
    before, after = frame(0, event, actor, rotation, credential, 0, "")
    at = before.rindex('"at":0,"credential":' + quote(credential)) + 5
    prev = after.index('"prev":"","rotation":') + 8
    frames[key] = parts = (before[:at], before[at + 1 :], after[:prev], after[prev:-2])
    return parts


def _rows(connection: Connection) -> Iterator[Any]:
    """The rows as plain tuples, straight from the driver: a million objects in between would cost the most."""
    statement = "SELECT seq, at, event, actor, rotation, credential, body, hash, prev FROM audit ORDER BY seq"
    raw: Any = connection.connection.driver_connection
    if connection.dialect.name == "sqlite":
        cursor = raw.execute(statement)
    else:
        cursor = raw.cursor(name="audit_verify", binary=True)
        cursor.execute(statement)
    try:
        while rows := cursor.fetchmany(_BATCH):
            yield from rows
    finally:
        cursor.close()
