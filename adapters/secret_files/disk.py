"""Small steps on a disk that a crash cannot tear: relative to open folders, without following links, synced."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import stat
from collections.abc import Iterator
from datetime import timedelta

from bot.core.errors import Permanent, Transient

LARGEST = 64 * 1024
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
PASSING = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ESTALE)


@contextlib.contextmanager
def told(path: str) -> Iterator[None]:
    """Say what an error of the operating system means for the caller; the text of a value is never part of it."""
    try:
        yield
    except OSError as error:
        said = f"{path}: {os.strerror(error.errno or errno.EIO)}"
        if error.errno in PASSING:
            raise Transient(said, timedelta(seconds=60)) from None
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise Permanent(f"{said}: a link or a file stands where a folder should", "look at the path") from None
        raise Permanent(said, "check that the root and the path exist and who may write there") from None


@contextlib.contextmanager
def locked(folder: int | None) -> Iterator[None]:
    """Keep other writers out while the folder is open; the lock goes with the process. `Transient` when it is taken."""
    if folder is not None:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Transient("somebody else is writing this secret", timedelta(seconds=1)) from None
    yield


@contextlib.contextmanager
def inside(folder: int | None, *names: str) -> Iterator[int | None]:
    """A folder further down, None when it is not there."""
    with contextlib.ExitStack() as stack:
        here = folder
        for name in names:
            if here is None:
                break
            try:
                here = os.open(name, FOLDER, dir_fd=here)
            except FileNotFoundError:
                here = None
            else:
                stack.callback(os.close, here)
        yield here


@contextlib.contextmanager
def made(folder: int, name: str) -> Iterator[int]:
    """A folder inside, made if it is missing."""
    if not exists(folder, name):
        os.mkdir(name, 0o700, dir_fd=folder)
        os.fsync(folder)
    inside = os.open(name, FOLDER, dir_fd=folder)
    try:
        yield inside
    finally:
        os.close(inside)


def exists(folder: int, name: str) -> bool:
    """Whether there is anything of this name, a link included."""
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def folder(above: int, name: str) -> int | None:
    """A folder, opened; None for what is a file or a link, or is gone by now."""
    try:
        return os.open(name, FOLDER, dir_fd=above)
    except OSError as error:
        if error.errno in (errno.ENOTDIR, errno.ELOOP, errno.ENOENT):
            return None
        raise


def written(versions: int, pattern: re.Pattern[str]) -> list[tuple[str, float]]:
    """Complete versions and when their values were written (Unix seconds)."""
    found = []
    for name in sorted(os.listdir(versions)):
        inside_it = folder(versions, name) if pattern.fullmatch(name) else None
        if inside_it is None:
            continue
        try:
            found.append((name, os.stat("value", dir_fd=inside_it, follow_symlinks=False).st_mtime))
        except FileNotFoundError:
            continue  # half written or half removed
        finally:
            os.close(inside_it)
    return found


def read(folder: int, name: str) -> bytes | None:
    """The content of a small ordinary file, None when it is not there."""
    try:
        handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except FileNotFoundError:
        return None
    with os.fdopen(handle, "rb") as file:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode) or status.st_size > LARGEST:
            raise Permanent(f"{name} is no ordinary file of at most {LARGEST} bytes", "look at it")
        return file.read(LARGEST)


def write(folder: int, name: str, content: bytes) -> None:
    """Make a private file that must not be there yet."""
    handle = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(handle)


def replace(folder: int, name: str, content: bytes) -> None:
    """Make or replace a private file in one step."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f".{name}", dir_fd=folder)
    write(folder, f".{name}", content)
    os.rename(f".{name}", name, src_dir_fd=folder, dst_dir_fd=folder)
    os.fsync(folder)


def link(folder: int, name: str, target: str) -> None:
    """Make or move a link in one step."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f".{name}", dir_fd=folder)
    os.symlink(target, f".{name}", dir_fd=folder)
    os.rename(f".{name}", name, src_dir_fd=folder, dst_dir_fd=folder)
    os.fsync(folder)


def sweep(versions: int) -> None:
    """Erase what a crash has left half written or half removed; only the holder of the lock may."""
    for name in os.listdir(versions):
        if name.startswith((".new-", ".gone-")):
            with inside(versions, name) as left:
                for file in os.listdir(left) if left is not None else ():
                    os.unlink(file, dir_fd=left)
            os.rmdir(name, dir_fd=versions)
    os.fsync(versions)
