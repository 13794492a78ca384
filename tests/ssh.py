"""SSH keys for tests: made and used by the real ssh-keygen, and security keys made of software."""

from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from bot.core.ballot import NAMESPACE, Ballot, fingerprint

BALLOT = Ballot("R-7", "identity-signing", "production", "sha256:" + "5a" * 32, "n0nce-of-seven")
APPLICATION = b"ssh:"


def need_ssh_keygen() -> None:
    """Skip the test where OpenSSH's client is absent."""
    if shutil.which("ssh-keygen") is None:
        pytest.skip("OpenSSH's client is not installed: no SSH signature is made or verified")


@dataclass(frozen=True)
class Key:
    """A key pair in files, made by ssh-keygen."""

    path: Path

    @classmethod
    def make(cls, folder: Path, name: str, kind: str = "ed25519", *more: str) -> Key:
        """A new key pair without a passphrase."""
        path = folder / name
        words = ["ssh-keygen", "-q", "-t", kind, *more, "-N", "", "-C", f"{name}@laptop", "-f", str(path)]
        subprocess.run(words, check=True, capture_output=True)
        return cls(path)

    @property
    def public(self) -> str:
        """Type and key."""
        return " ".join(self.path.with_name(self.path.name + ".pub").read_text().split()[:2])

    @property
    def fingerprint(self) -> str:
        return fingerprint(base64.b64decode(self.public.split()[1]))

    def sign(self, message: Ballot | bytes = BALLOT, namespace: str = NAMESPACE) -> str:
        """The armored signature."""
        text = message.text() if isinstance(message, Ballot) else message
        words = ["ssh-keygen", "-Y", "sign", "-f", str(self.path), "-n", namespace]
        return subprocess.run(words, input=text, check=True, capture_output=True).stdout.decode()


class SoftwareToken:
    """A security key of ours: signs as a FIDO token does, over application, flags and counter. ed25519 or ecdsa."""

    def __init__(self, kind: str) -> None:
        self.name = {"ed25519": "sk-ssh-ed25519@openssh.com", "ecdsa": "sk-ecdsa-sha2-nistp256@openssh.com"}[kind]
        self._ed = ed25519.Ed25519PrivateKey.generate() if kind == "ed25519" else None
        self._ec = ec.generate_private_key(ec.SECP256R1()) if kind == "ecdsa" else None

    @property
    def blob(self) -> bytes:
        """The public key in binary form."""
        if self._ed is not None:
            point = self._ed.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
            return string(self.name.encode()) + string(point) + string(APPLICATION)
        assert self._ec is not None
        point = self._ec.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        return string(self.name.encode()) + string(b"nistp256") + string(point) + string(APPLICATION)

    @property
    def public(self) -> str:
        return f"{self.name} {base64.b64encode(self.blob).decode()}"

    def sign(self, message: Ballot = BALLOT, namespace: str = NAMESPACE, flags: int = 0x01) -> str:
        """The armored signature; flags 0x01 say that somebody touched the token."""
        head = string(namespace.encode()) + string(b"") + string(b"sha512")
        wanted = b"SSHSIG" + head + string(hashlib.sha512(message.text()).digest())
        tail = bytes([flags]) + (42).to_bytes(4)
        data = hashlib.sha256(APPLICATION).digest() + tail + hashlib.sha256(wanted).digest()
        if self._ed is not None:
            made = self._ed.sign(data)
        else:
            assert self._ec is not None
            r, s = decode_dss_signature(self._ec.sign(data, ec.ECDSA(hashes.SHA256())))
            made = number(r) + number(s)
        signature = string(self.name.encode()) + string(made) + tail
        return armored(b"SSHSIG" + (1).to_bytes(4) + string(self.blob) + head + string(signature))


def string(data: bytes) -> bytes:
    """SSH's string: four bytes of length, and the bytes."""
    return len(data).to_bytes(4) + data


def number(value: int) -> bytes:
    """SSH's mpint of a positive number."""
    return string(value.to_bytes(value.bit_length() // 8 + 1))


def armored(blob: bytes) -> str:
    """As ssh-keygen prints it."""
    body = base64.b64encode(blob).decode()
    lines = [body[i : i + 70] for i in range(0, len(body), 70)]
    return "\n".join(["-----BEGIN SSH SIGNATURE-----", *lines, "-----END SSH SIGNATURE-----", ""])
