"""The estate as it stood at a moment: what its programs hold in memory, in their database and in files."""

from __future__ import annotations

import io
import pickle
import shutil
import threading
from pathlib import Path
from typing import Any

import httpx
from joserfc.jwk import ECKey

from playground.estate import Estate
from playground.estate.clock import VirtualClock
from playground.estate.faults import Faults

SHARED = (VirtualClock, Faults, httpx.Client, ECKey, type(threading.Lock()))
"""What stays the same thing when time is turned back."""
TABLES = ("signing_keys", "api_keys")
GATEWAY = ("_boot", "_marker", "restarts", "_refreshed_at")
CLIENTS = (
    "_population",
    "_logins",
    "_failures",
    "_unauthorized",
    "_token_failures",
    "_moments",
    "_signing",
    "_window",
    "_by_kid",
    "_by_api_key",
)


class Scene:
    """Taken when it is made, while no program of the bot is at work; set as often as one likes."""

    def __init__(self, estate: Estate, folder: Path) -> None:
        self._estate = estate
        self._files = folder
        self._at = estate.clock.now()
        identity = estate.identity
        with identity._lock:
            self._rows = {table: _rows(identity._db.execute(f"SELECT * FROM {table}")) for table in TABLES}
        self._memory = [(program, *_freeze(program, names)) for program, names in self._programs()]
        shutil.copytree(estate.secrets_directory, folder, symlinks=True)

    def set(self) -> float:
        """Make the estate as it was; the time that it was then."""
        identity = self._estate.identity
        with identity._lock, identity._db:
            for table, rows in self._rows.items():
                identity._db.execute(f"DELETE FROM {table}")
                for row in rows:
                    identity._db.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", row)
        for program, frozen, shared in self._memory:
            vars(program).update(_Thaw(io.BytesIO(frozen), shared).load())
        shutil.rmtree(self._estate.secrets_directory)
        shutil.copytree(self._files, self._estate.secrets_directory, symlinks=True)
        return self._at

    def _programs(self) -> list[tuple[Any, tuple[str, ...]]]:
        clients = [(self._estate.clients, CLIENTS)] if self._estate.clients else []
        return [*clients, *((gateway, GATEWAY) for gateway in self._estate.gateways)]


def _rows(found: Any) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in found]


def _freeze(program: Any, names: tuple[str, ...]) -> tuple[bytes, list[Any]]:
    file = io.BytesIO()
    freezer = _Freeze(file)
    freezer.dump({name: getattr(program, name) for name in names})
    return file.getvalue(), freezer.shared


class _Freeze(pickle.Pickler):
    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.shared: list[Any] = []

    def persistent_id(self, thing: Any) -> int | None:
        if not isinstance(thing, SHARED):
            return None
        self.shared.append(thing)
        return len(self.shared) - 1


class _Thaw(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, shared: list[Any]) -> None:
        super().__init__(file)
        self._shared = shared

    def persistent_load(self, number: Any) -> Any:
        return self._shared[number]
