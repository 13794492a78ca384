"""The database under the killer: laid out fresh or as it was kept, always under the same URL."""

from __future__ import annotations

import os
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests import postgres


class Bench(ABC):
    """One database. What is kept is numbered from 1; number 0 is an empty, migrated one."""

    url: str

    def __init__(self) -> None:
        self.kept = 0

    @abstractmethod
    def lay(self, number: int) -> None:
        """Make it as it was kept, whoever still holds the one before."""

    @abstractmethod
    def keep(self) -> int:
        """Keep it as it is, while nobody is connected; the number under which it is kept."""

    @abstractmethod
    def clear(self) -> None:
        """Throw away all that was kept."""


class SqliteBench(Bench):
    """A file and its copies."""

    def __init__(self, template: Path, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self._file = folder / "k.db"
        self.url = f"sqlite:///{self._file}"
        shutil.copyfile(template, self._place(0))

    def lay(self, number: int) -> None:
        for file in self._folder.glob("k.db*"):
            file.unlink()
        shutil.copyfile(self._place(number), self._file)

    def keep(self) -> int:
        if self._file.with_name("k.db-wal").exists():
            raise AssertionError("a connection is still open")
        self.kept += 1
        shutil.copyfile(self._file, self._place(self.kept))
        return self.kept

    def clear(self) -> None:
        for number in range(1, self.kept + 1):
            self._place(number).unlink()
        self.kept = 0

    def _place(self, number: int) -> Path:
        return self._folder / f"kept-{number}.db"


class PostgresBench(Bench):
    """A database and the templates that were made of it."""

    def __init__(self, server: postgres.Server, name: str) -> None:
        super().__init__()
        self._server = server
        self._name = name
        self.url = server.url(name)

    def lay(self, number: int) -> None:
        self._server.drop(self._name)
        self._server.create(self._name, self._place(number))

    def keep(self) -> int:
        self.kept += 1
        self._server.create(self._place(self.kept), self._name)
        return self.kept

    def clear(self) -> None:
        self._server.drop(self._name)
        for number in range(1, self.kept + 1):
            self._server.drop(self._place(number))
        self.kept = 0

    def _place(self, number: int) -> str:
        return f"{self._name}_{number}" if number else postgres.TEMPLATE


@contextmanager
def workplace() -> Iterator[Path]:
    """A folder, in memory where that exists: a killed process loses nothing that a disk would have kept for it."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="kill-", dir=memory if os.access(memory, os.W_OK) else None) as name:
        yield Path(name)
