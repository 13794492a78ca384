"""Secret files as kubelet lays them out: `<name>/versions/<version>/value`, and a link `current` that moves at once."""

import os
from pathlib import Path
from typing import NamedTuple


class SecretFile(NamedTuple):
    """One version of a secret as a client reads it."""

    version: str
    id: str
    value: str

    def __repr__(self) -> str:
        return f"SecretFile(version={self.version!r}, id={self.id!r}, value=***)"


def write_version(directory: Path, version: str, identity: str, value: str) -> None:
    """Write a version beside the others; who reads `current` sees nothing of it."""
    folder = directory / "versions" / version
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name, text in (("value", value), ("id", identity)):
        handle = os.open(folder / f".{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(text)
        (folder / f".{name}").replace(folder / name)


def point(directory: Path, version: str) -> None:
    """Move `current` to a version in one step."""
    fresh = directory / ".current"
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(Path("versions") / version)
    fresh.replace(directory / "current")


def current_version(directory: Path) -> str | None:
    """The version `current` points to, None when there is none."""
    try:
        return os.readlink(directory / "current").rpartition("/")[2] or None
    except OSError:
        return None


def read_current(directory: Path) -> SecretFile | None:
    """The current version, None when there is none. The link is followed once, so value and id belong together."""
    version = current_version(directory)
    if version is None:
        return None
    folder = directory / "versions" / version
    try:
        return SecretFile(version, (folder / "id").read_text().strip(), (folder / "value").read_text().strip())
    except OSError:
        return None
