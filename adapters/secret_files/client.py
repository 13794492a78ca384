"""The files themselves. Nothing outside of the root is ever touched, and a crash leaves either all of a change or none.

<root>/<path>/versions/<version>/value    the secret, 0600
<root>/<path>/versions/<version>/id       its public name, such as the id of an API key
<root>/<path>/current -> versions/<version>
<root>/<path>/moves/<token>               where `current` pointed before the step of this token moved it
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Collection, Iterator
from pathlib import Path

from adapters.secret_files import disk
from bot.contracts.adapter import Model, Run, Secrets
from bot.core.errors import Permanent
from bot.core.secret import Secret

DEEPEST = 8
_SEGMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@=+-]{0,127}")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_RESERVED = frozenset({"versions", "current", "moves"})


class Config(Model):
    """The folder below which every secret lies; it must exist."""

    root: Path


class Client:
    """Reads and writes below the root. Every path is walked one folder at a time, and no link is followed."""

    def __init__(self, config: Config, secrets: Secrets) -> None:
        self._root = config.root

    def access(self, permissions: Collection[str], run: Run) -> Collection[str]:
        """Which of `files: read` and `files: write` the operating system does not grant."""
        wanted = {"files: read": os.R_OK | os.X_OK, "files: write": os.W_OK | os.X_OK}
        return tuple(name for name in permissions if not os.access(self._root, wanted.get(name, 0)))

    def read(self, path: str, version: str) -> Secret:
        """A version's value, the current one's when none is named."""
        with self._folder(path) as folder:
            name = check_version(version) if version else self._pointed(folder, path)
            if name is None:
                raise Permanent(f"{path} has no current version", "name a version, or point it at one")
            with disk.inside(folder, "versions", name) as inside:
                value = disk.read(inside, "value") if inside is not None else None
        if value is None:
            raise Permanent(f"{path} has no version {name}", "list the folder's versions")
        return Secret(value)

    def has(self, path: str, version: str) -> bool:
        """Whether this version is complete."""
        with (
            self._folder_if_any(path) as folder,
            disk.inside(folder, "versions", check_version(version)) as inside,
        ):
            return inside is not None and disk.exists(inside, "value")

    def current(self, path: str) -> str | None:
        """The version that clients read, None when there is none yet."""
        with self._folder_if_any(path) as folder:
            return None if folder is None else self._pointed(folder, path)

    def label(self, path: str, version: str) -> str:
        """What was kept as the public name of a version, of the current one when none is named."""
        version = version or self.current(path) or ""
        if not version:
            return ""
        with (
            self._folder_if_any(path) as folder,
            disk.inside(folder, "versions", check_version(version)) as inside,
        ):
            found = None if inside is None else disk.read(inside, "id")
        return found.decode("utf-8", "replace").strip() if found else ""

    def put(self, path: str, value: Secret, marker: str, label: str) -> str:
        """Add a version named after the marker; there already: it is left as it is."""
        version = version_named(marker)
        with self._folder(path, create=True) as folder, disk.locked(folder), disk.made(folder, "versions") as versions:
            disk.sweep(versions)
            if not disk.exists(versions, version):
                fresh = f".new-{version}"
                with disk.made(versions, fresh) as inside:
                    disk.write(inside, "value", value.reveal())
                    disk.write(inside, "id", label.encode())
                    os.fsync(inside)
                os.rename(fresh, version, src_dir_fd=versions, dst_dir_fd=versions)
                os.fsync(versions)
        return version

    def point(self, path: str, version: str, token: str, expected: str | None) -> str | None:
        """Move `current` to a version. Returns where it pointed before this token moved it, None if it moved nothing.

        Raises `Permanent` when the version is not there, or when `current` is neither that nor what was expected.
        """
        with self._folder(path) as folder, disk.locked(folder):
            now = self._pointed(folder, path)
            recorded = self._moved(folder, token)
            if now == check_version(version):
                return recorded
            before = expected if expected is not None else recorded
            if before is not None and (now or "") != before:
                raise Permanent(f"{path} points to {now}, not to {before}", "somebody moved it; plan again")
            with disk.inside(folder, "versions", version) as inside:
                if inside is None or not disk.exists(inside, "value"):
                    raise Permanent(f"{path} has no version {version}", "list the folder's versions")
            if recorded is None:
                with disk.made(folder, "moves") as moves:
                    disk.replace(moves, _slug(token), (now or "").encode())
            disk.link(folder, "current", f"versions/{version}")
            return now or ""

    def put_back(self, path: str, version: str, token: str, previous: str | None) -> None:
        """Undo this token's move, if `current` still points where it put it; quiet otherwise."""
        with self._folder_if_any(path) as folder, disk.locked(folder):
            if folder is None or self._pointed(folder, path) != check_version(version):
                return
            before = previous if previous is not None else self._moved(folder, token)
            if before is None:
                return
            if not before:
                os.unlink("current", dir_fd=folder)
                os.fsync(folder)
                return
            if not self.has(path, before):
                raise Permanent(f"{path} has no version {before} any more", "point it by hand at a version that works")
            disk.link(folder, "current", f"versions/{before}")

    def moved(self, path: str, token: str) -> str | None:
        """Where `current` pointed before this token's step moved it; "" for nowhere, None if it did not."""
        with self._folder_if_any(path) as folder:
            return None if folder is None else self._moved(folder, token)

    def remove(self, path: str, version: str) -> None:
        """Erase a version; quiet when it is gone. Raises `Permanent` for the current one."""
        name = check_version(version)
        with self._folder_if_any(path) as folder, disk.locked(folder):
            if folder is None:
                return
            if self._pointed(folder, path) == name:
                raise Permanent(f"{name} is the version that clients of {path} read", "point them at another one first")
            with disk.inside(folder, "versions") as versions:
                if versions is None:
                    return
                if disk.exists(versions, name):
                    os.rename(name, f".gone-{name}", src_dir_fd=versions, dst_dir_fd=versions)
                    os.fsync(versions)
                disk.sweep(versions)

    def erased(self, path: str, version: str) -> bool:
        """Whether nothing is left of this version."""
        with self._folder_if_any(path) as folder, disk.inside(folder, "versions") as versions:
            name = check_version(version)
            return versions is None or not (disk.exists(versions, name) or disk.exists(versions, f".gone-{name}"))

    def walk(self) -> Iterator[tuple[str, list[tuple[str, float]]]]:
        """Every secret below the root with its complete versions and when each was written; values are not read."""
        with disk.told("the root"):
            root = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield from self._below(root, ())
        finally:
            os.close(root)

    def _below(self, folder: int, path: tuple[str, ...]) -> Iterator[tuple[str, list[tuple[str, float]]]]:
        said = "/".join(path) or "the root"
        with disk.told(said):
            names = sorted(os.listdir(folder))
        if path and "versions" in names:
            with disk.told(said), disk.inside(folder, "versions") as versions:
                yield "/".join(path), disk.written(versions, _VERSION) if versions is not None else []
        for name in names:
            if len(path) < DEEPEST and _SEGMENT.fullmatch(name) and name not in _RESERVED:
                with disk.told(f"{said}/{name}"):
                    below = disk.folder(folder, name)
                if below is not None:
                    try:
                        yield from self._below(below, (*path, name))
                    finally:
                        os.close(below)

    def _pointed(self, folder: int, path: str) -> str | None:
        try:
            target = os.readlink("current", dir_fd=folder)
        except FileNotFoundError:
            return None
        except OSError:
            raise Permanent(f"current of {path} is no link", "make it a link to versions/<version>") from None
        name = target.removeprefix("versions/")
        if target == name or not _VERSION.fullmatch(name):
            raise Permanent(f"current of {path} does not point to a version", "make it a link to versions/<version>")
        return name

    def _moved(self, folder: int, token: str) -> str | None:
        with disk.inside(folder, "moves") as moves:
            raw = None if moves is None else disk.read(moves, _slug(token))
        return None if raw is None else raw.decode()

    @contextlib.contextmanager
    def _folder(self, path: str, *, create: bool = False) -> Iterator[int]:
        with self._folder_if_any(path, create=create) as folder:
            if folder is None:
                raise Permanent(f"there is no secret {path}", "check the path; versions are made by writing one")
            yield folder

    @contextlib.contextmanager
    def _folder_if_any(self, path: str, *, create: bool = False) -> Iterator[int | None]:
        segments = path.split("/")
        if len(segments) > DEEPEST or not all(_SEGMENT.fullmatch(part) and part not in _RESERVED for part in segments):
            raise Permanent("this is no path of a secret", "write folders of letters, digits and . _ @ = + -")
        with disk.told(path), contextlib.ExitStack() as stack:
            here = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            stack.callback(os.close, here)
            for part in segments:
                if not disk.exists(here, part):
                    if not create:
                        yield None
                        return
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(part, 0o700, dir_fd=here)
                    os.fsync(here)
                here = os.open(part, disk.FOLDER, dir_fd=here)
                stack.callback(os.close, here)
            yield here


def check_version(version: str) -> str:
    """The version itself, if it can be a folder's name."""
    if not _VERSION.fullmatch(version):
        raise Permanent("this is no version", "write letters, digits and . _ -")
    return version


def version_named(marker: str) -> str:
    """The version that a marker stands for: the marker itself where it can be a folder's name."""
    return marker if _VERSION.fullmatch(marker) else f"v-{_slug(marker)}"


def _slug(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:24]
