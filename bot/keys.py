"""The bot's own keys: a folder with the key that signs the audit's heads, and every public key that ever did."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from bot.core.errors import Permanent

PRIVATE = "audit-signing.pem"
PUBLIC = "audit-signing.pub"
WITNESS = "audit-heads.ndjson"


@dataclass(frozen=True)
class Keys:
    """The keys of one installation. Other public keys in the folder are those of earlier signing keys."""

    folder: Path
    signing: Ed25519PrivateKey = field(repr=False)
    public: tuple[Ed25519PublicKey, ...]


def open_keys(folder: Path) -> Keys:
    """Read the folder. Raises `Permanent` when the key is missing, unreadable, or readable by others."""
    private = folder / PRIVATE
    try:
        if stat.S_IMODE(private.stat().st_mode) & 0o037:
            raise Permanent(f"The key {private} is open to other users.", f"Run: chmod 600 {private}")
        key = load_pem_private_key(private.read_bytes(), None)
    except FileNotFoundError:
        raise Permanent(
            f"The bot's own keys are not in {folder}.",
            "Make them with `keyturn init`, or name the folder in KEYTURN_KEYS.",
        ) from None
    except OSError as error:
        raise Permanent(
            f"The key {private} cannot be read ({error.strerror}).", "Let keyturn's user read it."
        ) from None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise _no_key(private) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise _no_key(private)
    return Keys(folder, key, (key.public_key(), *_others(folder)))


def has_keys(folder: Path) -> bool:
    """Whether there is a signing key."""
    return (folder / PRIVATE).exists()


def open_public(folder: Path) -> tuple[Ed25519PublicKey, ...]:
    """The public keys alone, for an auditor who has no private one. Raises `Permanent` when there are none."""
    found = tuple(_read_public(path) for path in sorted(folder.glob("*.pub")))
    if not found:
        raise Permanent(f"There is no public key in {folder}.", "Name the folder of the bot's keys in KEYTURN_KEYS.")
    return found


def make_keys(folder: Path) -> Keys:
    """Make the folder (0700) and the keys (0600). Raises `Permanent` rather than overwrite anything."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        key = Ed25519PrivateKey.generate()
        _write(folder / PRIVATE, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), 0o600)
        _write(folder / PUBLIC, key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), 0o644)
    except FileExistsError as error:
        raise Permanent(
            f"{error.filename} is already there.", "Keys are never overwritten; move it away first."
        ) from None
    except OSError as error:
        raise Permanent(
            f"The keys cannot be written to {folder} ({error.strerror}).", "Name another folder in KEYTURN_KEYS."
        ) from None
    return Keys(folder, key, (key.public_key(),))


def _others(folder: Path) -> tuple[Ed25519PublicKey, ...]:
    return tuple(_read_public(path) for path in sorted(folder.glob("*.pub")) if path.name != PUBLIC)


def _read_public(path: Path) -> Ed25519PublicKey:
    try:
        key = load_pem_public_key(path.read_bytes())
    except OSError as error:
        raise Permanent(f"The key {path} cannot be read ({error.strerror}).", "Let keyturn's user read it.") from None
    except (ValueError, UnsupportedAlgorithm):
        raise _no_key(path) from None
    if not isinstance(key, Ed25519PublicKey):
        raise _no_key(path)
    return key


def _write(path: Path, content: bytes, mode: int) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        os.write(file, content)
        os.fsync(file)
    finally:
        os.close(file)


def _no_key(path: Path) -> Permanent:
    return Permanent(f"{path} is not an Ed25519 key in PEM form.", "Restore it from a backup.")
