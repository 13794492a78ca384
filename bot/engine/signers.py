"""Verifies SSH signatures on votes: ssh-keygen decides, against the allowed_signers file as it stands then."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from bot.core.allowed_signers import PRINCIPAL, Contents, read
from bot.core.ballot import NAMESPACE, Ballot, Made, look_at, parse_signature
from bot.core.errors import Refused
from bot.core.events import Entry, Event
from bot.core.words import shown
from bot.store.writing import Transaction

HASH = "signers"
"""Key of the setting that remembers the file's hash."""
LARGEST = 1_048_576
"""Bytes of the file; some ten thousand keys."""
SECONDS = 10.0
PROGRAM = "ssh-keygen"

_UNREADABLE = "signers-unreadable"
_ENVIRONMENT = {"LC_ALL": "C", "TZ": "UTC"}
"""All that ssh-keygen is given: dates in the file mean UTC wherever the bot runs."""
_SAMPLE = """\
-----BEGIN SSH SIGNATURE-----
U1NIU0lHAAAAAQAAADMAAAALc3NoLWVkMjU1MTkAAAAgt7UzKeUcoa6nJPjITajt8SPtr3
VhKltCdR/caYjXOD4AAAAQcm90YXRpb25Aa2V5dHVybgAAAAAAAAAGc2hhNTEyAAAAUwAA
AAtzc2gtZWQyNTUxOQAAAECvTS6fik+kwM0HQuTCLh3Ck/NeEL5CJ51EfjnDs6T/5ONNLC
qYhz3TOYpPswiqUWsumJVW4nptphMPZy+oCZAP
-----END SSH SIGNATURE-----
"""
"""Over `hello`, by a key that was thrown away: shows whether ssh-keygen works here at all."""


@dataclass(frozen=True, slots=True)
class Signed:
    """A signature that holds. The vote keeps the fingerprint, the audit the signature and the file's hash."""

    fingerprint: str
    principal: str
    """The person whose key it is."""
    signature: str
    """In its canonical armor."""
    file: str
    """Hash of the allowed_signers file against which it was verified."""


class Signers:
    """Opens the file at each use, so that what git brings counts at once.

    `people` are those that the settings declare; a key that several of them share counts for none of them.
    """

    def __init__(self, path: Path | None, people: Collection[str] = (), program: str = PROGRAM) -> None:
        self.path = path
        self._people = frozenset(people)
        self._program = program

    def verify(self, ballot: Ballot, signature: str, person: str) -> Signed:
        """Whether the person signed exactly this ballot, with a key that is theirs now.

        Raises `Refused`: `unsigned`, `secret-typed`, `bad-signature` (not of this ballot, namespace or form),
        `unknown-signer` (sound, but not by a key of this person), `signers-unreadable` (nobody can tell).
        """
        armored = parse_signature(signature)
        made = look_at(armored)
        if made.namespace != NAMESPACE:
            raise Refused(
                f"The signature is for {shown(made.namespace)} and not for {NAMESPACE}; sign with `keyturn approve`.",
                "bad-signature",
            )
        if not made.touched:
            raise Refused(
                "The security key was not touched for this signature; sign again and touch it.", "bad-signature"
            )
        content = self._content()
        contents = read(content.decode(errors="replace"))
        if not PRINCIPAL.fullmatch(person) or not self._verifies(ballot, armored, person, contents):
            raise self._refusal(ballot, armored, made, person, contents)
        return Signed(made.fingerprint, person, armored, _hash(content))

    def content_hash(self) -> str:
        """`sha256:…` of the file as it is now. Raises `Refused` (`signers-unreadable`)."""
        return _hash(self._content())

    def note_change(self, tx: Transaction, found: str) -> bool:
        """Write into the audit that the file's hash is another one than was noted last, and remember it.

        `found` is a `content_hash()` or the `file` of a `Signed`. Returns whether it had changed.
        """
        before = tx.setting(HASH)
        if before == found:
            return False
        tx.record_setting(HASH, found)
        name = self.path.name if self.path else ""
        tx.audit(Entry(Event.SIGNERS_CHANGED, "keyturn", detail={"file": name, "hash": found, "before": before or ""}))
        return True

    def problem(self) -> str:
        """Why ssh-keygen cannot verify anything here, for the doctor; empty when it can."""
        if shutil.which(self._program) is None:
            return f"{self._program} is not installed; install OpenSSH's client (the package openssh-client)"
        try:
            with _folder() as folder:
                sample = _put(Path(folder) / "signature", _SAMPLE)
                if self._run(["check-novalidate", "-n", NAMESPACE, "-s", str(sample)], b"hello\n"):
                    return ""
        except Refused as error:
            return str(error).rstrip(".")
        return (
            f"{self._program} does not verify a sound signature; it has to be 8.2 or newer, run by a user with a name"
        )

    def _verifies(self, ballot: Ballot, armored: str, person: str, contents: Contents) -> bool:
        with _folder() as folder:
            signature = _put(Path(folder) / "signature", armored)
            lines = "".join(f"{line.text()}\n" for line in contents.usable(self._people))
            allowed = _put(Path(folder) / "allowed", lines)
            words = ["verify", "-f", str(allowed), "-I", person, "-n", NAMESPACE, "-s", str(signature)]
            return self._run(words, ballot.text())

    def _refusal(self, ballot: Ballot, armored: str, made: Made, person: str, contents: Contents) -> Refused:
        """Why it does not count: asked only after it was found not to."""
        with _folder() as folder:
            signature = _put(Path(folder) / "signature", armored)
            sound = self._run(["check-novalidate", "-n", NAMESPACE, "-s", str(signature)], ballot.text())
        if not sound:
            broken = self.problem()
            if broken:
                return Refused(f"No signature can be verified: {broken}.", _UNREADABLE)
            return Refused(
                f"The signature is not of this vote on {ballot.rotation} with the plan that its card shows now; "
                f"copy the command from the card and sign again.",
                "bad-signature",
            )
        where = self.path.name if self.path else ""
        if any(line.fingerprint == made.fingerprint for line in contents.revoked):
            why = f"is revoked in {where}"
        elif any(
            line.fingerprint == made.fingerprint and person in line.principals for line in contents.usable(self._people)
        ):
            why = f"is {person}'s, but {where} does not let it sign this now; look at its dates and namespaces"
        else:
            why = f"is not one of {shown(person)} in {where}; sign with your own, or have it added there"
        return Refused(f"The signature is sound, but the key {made.fingerprint} {why}.", "unknown-signer")

    def _run(self, words: list[str], message: bytes) -> bool:
        program = shutil.which(self._program)
        if program is None:
            raise Refused(f"No signature can be verified: {self.problem()}.", _UNREADABLE)
        try:
            done = subprocess.run(  # noqa: S603 - a fixed program; what is hostile goes in as files, stdin and checked words
                [program, "-Y", *words],
                input=message,
                env=_ENVIRONMENT,
                capture_output=True,
                timeout=SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise Refused(f"{self._program} did not answer within {SECONDS:g} s; vote again.", _UNREADABLE) from None
        except OSError as error:
            raise Refused(f"{self._program} cannot be run: {error.strerror}.", _UNREADABLE) from None
        return done.returncode == 0

    def _content(self) -> bytes:
        if self.path is None:
            raise Refused("keyturn.yml names no file of signers; add `signers: allowed_signers`.", _UNREADABLE)
        return _read_safely(self.path)


def problems(path: Path, people: Collection[str], needed: Iterable[str] = (), now: datetime | None = None) -> list[str]:
    """What is wrong with a file of signers, for lint and the start; empty when all is well.

    `people` are the declared names, those `needed` must be able to sign; with `now`, keys whose time is over are named.
    """
    try:
        content = _read_safely(path)
    except Refused as error:
        return [str(error).rstrip(".")]
    return [f"{path.name}: {problem}" for problem in read(content.decode(errors="replace")).look(people, needed, now)]


def _read_safely(path: Path) -> bytes:
    """The file's bytes, if nobody but its owner can have changed them. Raises `Refused` (`signers-unreadable`)."""
    try:
        opened = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe must not hold us up
        with os.fdopen(opened, "rb") as file:
            status = os.fstat(opened)
            if not stat.S_ISREG(status.st_mode):
                raise Refused(f"{path.name} is no file of signers.", _UNREADABLE)
            if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                raise Refused(f"Others may write to {path.name}, so it proves nothing; run: chmod go-w.", _UNREADABLE)
            content = file.read(LARGEST + 1)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "its name has a null byte"
        raise Refused(f"{path.name} cannot be read: {why}.", _UNREADABLE) from None
    if len(content) > LARGEST:
        raise Refused(f"{path.name} is larger than {LARGEST} bytes.", _UNREADABLE)
    return content


def _folder() -> tempfile.TemporaryDirectory[str]:
    """A folder that only we can look into. Raises `Refused` where none can be made."""
    try:
        return tempfile.TemporaryDirectory(prefix="keyturn-")
    except OSError as error:
        raise Refused(
            f"No signature can be verified: there is no room for a file ({error.strerror}).", _UNREADABLE
        ) from None


def _put(path: Path, text: str) -> Path:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w") as file:
        file.write(text)
    return path


def _hash(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()
