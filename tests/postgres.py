"""A throw-away PostgreSQL server for a test run, shared by all its processes, on a socket in a temporary folder."""

from __future__ import annotations

import fcntl
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

TEMPLATE = "keyturn_template"
_USER = "keyturn"
ROOM = 2 * 1024**3


def found() -> Path | None:
    """The folder of PostgreSQL's binaries, or None."""
    places = [Path(place) for place in os.environ.get("PATH", "").split(os.pathsep) if place]
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for place in places:
        if all((place / name).exists() for name in ("initdb", "postgres", "pg_ctl")):
            return place.resolve() if not (place / "initdb").is_symlink() else (place / "initdb").resolve().parent
    return None


@dataclass(frozen=True)
class Server:
    """A running server, reached through its socket."""

    folder: Path

    def url(self, name: str) -> str:
        """Where a database of this server is."""
        return f"postgresql://{_USER}@/{name}?host={self.folder}&port=5432"

    def create(self, name: str, template: str = TEMPLATE) -> str:
        """Make a database, a copy of the migrated template unless told otherwise."""
        self.run(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return self.url(name)

    def drop(self, name: str) -> None:
        """Throw a database away, whoever is still connected."""
        self.run(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def run(self, statement: str) -> None:
        """Run one statement outside any transaction."""
        import psycopg

        with psycopg.connect(host=str(self.folder), user=_USER, dbname="postgres", autocommit=True) as connection:
            connection.execute(statement.encode())

    def control(self, *words: str) -> None:
        """Run pg_ctl, such as `control("restart", "-m", "immediate")`."""
        _pg("pg_ctl", "-D", str(self.folder / "data"), "-s", "-w", *words, folder=self.folder)


@contextmanager
def shared(root: Path) -> Iterator[Server]:
    """The server of this test run: the first process starts it, the last one stops it."""
    note = root / "postgres.txt"
    with _locked(root / "postgres.lock"):
        folder, users = _read(note)
        if not users:
            folder = _start()
        _write(note, folder, users + 1)
    try:
        yield Server(folder)
    finally:
        with _locked(root / "postgres.lock"):
            folder, users = _read(note)
            _write(note, folder, users - 1)
            if users == 1:
                Server(folder).control("stop", "-m", "immediate")
                shutil.rmtree(folder, ignore_errors=True)


def _start() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="keyturn-pg-", dir=_memory()))  # short: a socket's path has at most 107 bytes
    if os.geteuid() == 0:
        os.chown(folder, _owner().pw_uid, _owner().pw_gid)
    _pg("initdb", "-D", str(folder / "data"), "-U", _USER, "-A", "trust", "-E", "UTF8", "--no-sync", folder=folder)
    options = [
        "listen_addresses=''",
        f"unix_socket_directories='{folder}'",
        "max_connections=300",
        "shared_buffers=64MB",
        "autovacuum_naptime=1h",
        "fsync=off",  # a killed process, PostgreSQL's own included, loses nothing that the kernel has
        "full_page_writes=off",
        "max_wal_size=256MB",
    ]
    with (folder / "data" / "postgresql.conf").open("a") as file:
        file.write("\n".join(options) + "\n")
    server = Server(folder)
    server.control("-l", str(folder / "log"), "start")
    server.create(TEMPLATE, "template1")
    from bot.store.database import Database

    database = Database.open(server.url(TEMPLATE))
    database.migrate()
    database.close()
    return folder


def _memory() -> Path | None:
    """A folder in memory, where there is one with room: a copy of a template takes a tenth of the time there."""
    place = Path("/dev/shm")
    return place if os.access(place, os.W_OK) and shutil.disk_usage(place).free > ROOM else None


def _pg(program: str, *words: str, folder: Path) -> None:
    """Run one of PostgreSQL's programs; root runs it as another user, since PostgreSQL refuses root."""
    binaries = found()
    assert binaries is not None
    command = [str(binaries / program), *words]
    if os.geteuid() == 0:
        owner = _owner()
        command = ["setpriv", f"--reuid={owner.pw_uid}", f"--regid={owner.pw_gid}", "--clear-groups", *command]
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, "LC_ALL": "C"}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    if done.returncode:
        raise RuntimeError(f"{program} failed: {done.stderr.decode(errors='replace')[-2000:]}")


def _owner() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise RuntimeError("PostgreSQL does not run as root, and there is no other user")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _read(note: Path) -> tuple[Path, int]:
    if not note.exists():
        return Path(), 0
    folder, users = note.read_text().split("\n")
    return Path(folder), int(users)


def _write(note: Path, folder: Path, users: int) -> None:
    note.write_text(f"{folder}\n{users}")
