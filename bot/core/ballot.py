"""The ballot: what an approver signs with an SSH key, and the strict reader of what they hand over."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import shlex
from dataclasses import dataclass

from bot.core.errors import Refused
from bot.core.words import rotation_number, visible

NAMESPACE = "rotation@keyturn"
"""What the signature is for; one made for git or a file has another and does not count."""
LONGEST = 16_384
"""Characters of a signature that is handed over; the largest RSA keys make some 6,000."""
KEY_TYPES = (
    "ssh-ed25519",
    "sk-ssh-ed25519@openssh.com",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ecdsa-sha2-nistp256@openssh.com",
    "ssh-rsa",
)
"""Plain keys and security keys. No certificates, whose authority would be another party to trust, and no DSA."""

_BEGIN, _END = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"
_LINE = 70
_MAGIC, _VERSION, _TOUCHED = b"SSHSIG", 1, 0x01

_PLAN = re.compile(r"sha256:[0-9a-f]{64}")
_NONCE = re.compile(r"[A-Za-z0-9_-]{8,128}")
_VOTE = re.compile(r"[a-z]{1,20}(?:-[a-z]{1,20}){0,3}")

_PLAIN: dict[int, str | None] = {
    **dict.fromkeys(map(ord, "\u00ad\u200b\u200c\u200d\u2060\ufeff")),
    **dict.fromkeys(map(ord, "\u00a0\u2007\u202f"), " "),
    **dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2014\u2015\u2212"), "-"),
}
"""What is not seen goes; hard spaces and long dashes become what was typed."""
_QUOTED = re.compile(r"^[ \t]*(?:>|&gt;)[ \t]?", re.MULTILINE)
_BLOCK = re.compile(
    r"(?:`{1,3}\s*)?-{1,10}\s?BEGIN SSH SIGNATURE\s?-{1,10}"
    r"(?P<body>[A-Za-z0-9+/=\s]+)"
    r"-{1,10}\s?END SSH SIGNATURE\s?-{1,10}(?:\s*`{1,3})?"
)
_PRIVATE = re.compile(r"PRIVATE\s+KEY|PuTTY-User-Key-File|b3BlbnNzaC1rZXktdjE", re.IGNORECASE)
_PUBLIC = re.compile(r"\s*(?:sk-)?(?:ssh-|ecdsa-sha2-)[a-z0-9@.-]+\s+AAAA")


@dataclass(frozen=True, slots=True)
class Ballot:
    """One vote on one plan. Its text is what is signed, so that everything in it is bound by the signature.

    Raises `Refused` for a field that is empty, not of its form, or could be read as something else.
    """

    rotation: str
    """`R-7`."""
    credential: str
    environment: str
    plan: str
    """The digest, `sha256:…`: of the plan, or of the change to it that is asked for."""
    nonce: str
    vote: str = "approve"

    def __post_init__(self) -> None:
        number = rotation_number(self.rotation)
        if number is None or self.rotation != f"R-{number}":
            raise _unfit("rotation", "write it as R-7")
        for name, value in (("credential", self.credential), ("environment", self.environment)):
            if not value.strip() or value != visible(value).strip() or len(value) > 200:
                raise _unfit(name, "copy it from the card, in one line")
        if not _PLAN.fullmatch(self.plan):
            raise _unfit("plan", "copy all of it from the card: sha256: and 64 characters")
        if not _NONCE.fullmatch(self.nonce):
            raise _unfit("nonce", "copy all of it from the card")
        if not _VOTE.fullmatch(self.vote):
            raise _unfit("vote", "it is a word such as approve")

    @property
    def lines(self) -> tuple[tuple[str, str], ...]:
        """Label and value of everything that is bound, in the order in which people should read it."""
        return (
            ("vote", self.vote),
            ("rotation", self.rotation),
            ("credential", self.credential),
            ("environment", self.environment),
            ("plan", self.plan),
            ("nonce", self.nonce),
        )

    def text(self) -> bytes:
        """The message that is signed: a heading, then one line for each field."""
        return "".join(("keyturn ballot 1\n", *(f"{label}: {value}\n" for label, value in self.lines))).encode()

    def command(self) -> str:
        """What an approver types on their own machine; everything that is signed can be read in it."""
        words = ["keyturn", "approve", self.rotation, "--credential", self.credential]
        words += ["--environment", self.environment, "--plan", self.plan, "--nonce", self.nonce]
        if self.vote != "approve":
            words += ["--vote", self.vote]
        return shlex.join(words)


@dataclass(frozen=True, slots=True)
class Made:
    """What a signature says about how it was made; nothing of it is verified yet."""

    kind: str
    """Type of the key, one of `KEY_TYPES`."""
    fingerprint: str
    """`SHA256:…`, as ssh-keygen writes it."""
    namespace: str
    touched: bool
    """Whether somebody touched the security key; true for keys that have nothing to touch."""


def parse_signature(text: str) -> str:
    """The signature in its one canonical armor, out of what was pasted, piped or typed.

    Takes what Slack and phones do to it: hard spaces, long dashes, a code fence, a quote, a single line, CRLF. Raises
    `Refused` with one sentence: `unsigned` for nothing at all, `secret-typed` for a private key, else `bad-signature`.
    """
    if not text.strip():
        raise Refused(
            "There is no signature; sign with `keyturn approve` on your own machine and paste it.", "unsigned"
        )
    if _PRIVATE.search(text):
        raise Refused(
            "That is a private key, so I did not keep it. Treat it as leaked: delete your message and replace the key. "
            "What I need is the SSH SIGNATURE that `keyturn approve` prints.",
            "secret-typed",
        )
    if len(text) > LONGEST:
        raise _bad(f"That is longer than {LONGEST} characters")
    plain = _QUOTED.sub("", text.translate(_PLAIN)).strip()
    match = _BLOCK.fullmatch(plain)
    if match is None:
        raise _bad(_why_not(plain))
    try:
        blob = base64.b64decode("".join(match["body"].split()), validate=True)
    except binascii.Error:
        raise _bad("The signature is cut off or damaged") from None
    _read(blob)
    return _armored(blob)


def look_at(signature: str) -> Made:
    """How a signature that `parse_signature` returned was made."""
    return _read(base64.b64decode("".join(signature.splitlines()[1:-1])))


def fingerprint(key: bytes) -> str:
    """The name of a public key in its binary form, as ssh-keygen writes it: `SHA256:…`."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")


def _read(blob: bytes) -> Made:
    if not blob.startswith(_MAGIC):
        raise _bad("That is no SSH signature")
    if int.from_bytes(blob[6:10]) != _VERSION or len(blob) < 10:
        raise _bad("That is a kind of SSH signature that I do not know")
    key, namespace, _reserved, _hash, signed = _strings(blob[10:], 5)
    kind = _text(_strings(key, 1, whole=False)[0])
    if kind not in KEY_TYPES:
        raise _bad("Signatures of certificates, and of this type of key, do not count; sign with a plain key")
    touched = True
    if kind.startswith("sk-"):
        tail = signed[sum(4 + len(part) for part in _strings(signed, 2, whole=False)) :]
        if len(tail) != 5:  # a byte of flags, and a counter of four
            raise _bad("The signature is cut off or damaged")
        touched = bool(tail[0] & _TOUCHED)
    return Made(kind, fingerprint(key), _text(namespace), touched)


def _strings(data: bytes, count: int, *, whole: bool = True) -> list[bytes]:
    """The first strings of SSH's binary form: a length of four bytes, then as many bytes."""
    found: list[bytes] = []
    for _ in range(count):
        end = 4 + int.from_bytes(data[:4])
        if len(data) < 4 or len(data) < end:
            raise _bad("The signature is cut off or damaged")
        found.append(data[4:end])
        data = data[end:]
    if whole and data:
        raise _bad("There is more in it than a signature")
    return found


def _text(data: bytes) -> str:
    return data.decode("ascii", "replace")


def _armored(blob: bytes) -> str:
    body = base64.b64encode(blob).decode()
    return "\n".join((_BEGIN, *(body[i : i + _LINE] for i in range(0, len(body), _LINE)), _END, ""))


def _why_not(text: str) -> str:
    if _PUBLIC.match(text):
        return "That is a public key and no signature"
    if text.count("BEGIN SSH SIGNATURE") > 1:
        return "There is more than one signature in it"
    if "BEGIN SSH SIGNATURE" in text:
        what = (
            "has characters around or in it that do not belong there" if "END SSH SIGNATURE" in text else "is cut off"
        )
        return f"The signature {what}"
    return "That is no SSH signature"


def _bad(what: str) -> Refused:
    advice = f"paste all that `keyturn approve` printed, from {_BEGIN} to {_END}."
    return Refused(f"{what}; {advice}", "bad-signature")


def _unfit(name: str, advice: str) -> Refused:
    return Refused(f"The ballot's {name} is not of its form; {advice}.", "bad-ballot")
