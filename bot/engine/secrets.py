"""One door to every secret store: the adapters' own, and files and variables for the bot's configuration."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

from bot.contracts.adapter import Store
from bot.core.errors import Permanent
from bot.core.secret import Secret, SecretReference

LARGEST = 64 * 1024


class SecretDoor:
    """Implements `Secrets`. `store` looks an adapter's store up by name."""

    def __init__(self, store: Callable[[str], Store]) -> None:
        self._store = store

    def read(self, reference: SecretReference) -> Secret:
        """The value at the reference; raises `Permanent` that names the place and never the value."""
        if reference.store == "env":
            value = os.environ.get(reference.path)
            if not value:
                raise Permanent(f"the variable {reference.path} is not set", "set it, or change the reference")
            return Secret(value)
        if reference.store == "file":
            return _read_file(Path("/" + reference.path.lstrip("/")))
        return self._store(reference.store).read(reference.path, reference.version)

    def find(self, reference: SecretReference, marker: str) -> SecretReference | None:
        """The version written under this marker, or None."""
        version = self._store(reference.store).find(reference.path, marker)
        return None if version is None else reference.at(version)

    def put(self, reference: SecretReference, value: Secret, *, marker: str, label: str = "") -> SecretReference:
        """Add a pending version; the same marker gives the same version."""
        if reference.store in ("env", "file"):
            raise Permanent(f"{reference} cannot be written", "name a secret store, such as secret_files:team/name")
        version = self._store(reference.store).put(reference.path, value, marker=marker, label=label)
        return reference.at(version)

    def discard(self, reference: SecretReference) -> None:
        """Erase a version that nobody reads."""
        if not reference.version:
            raise Permanent(f"{reference} names no version", "only a named version can be erased")
        self._store(reference.store).discard(reference.path, reference.version)

    def label(self, reference: SecretReference) -> str:
        """The public name beside a version; empty for stores that keep none."""
        if reference.store in ("env", "file"):
            return ""
        return self._store(reference.store).label(reference.path, reference.version)


def _read_file(path: Path) -> Secret:
    try:
        status = path.stat()
        if status.st_size > LARGEST:
            raise Permanent(f"{path} is too large for a secret", "name the file that holds the value alone")
        if stat.S_IMODE(status.st_mode) & stat.S_IWOTH:
            raise Permanent(f"{path} can be written by everybody", f"chmod 600 {path}")
        return Secret(path.read_bytes().rstrip(b"\r\n"))
    except OSError as error:
        raise Permanent(
            f"{path} cannot be read ({error.strerror})", "check that it exists and who may read it"
        ) from None
