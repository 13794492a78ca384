"""The process that holds a control plane for as long as somebody is connected to it, and not a moment longer.

Tests, workers of a test run and the playground connect to its socket. A connection ends when its owner says so, or dies
in whatever way; with the last one the servers are stopped and waited for, and their folder goes.
"""

from __future__ import annotations

import json
import shutil
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from playground.cluster.build import Parts
from playground.cluster.plane import ControlPlane, PlaneError

SOCKET = "keeper"
FIRST_SECONDS = 30.0
"""How long it waits for whoever started it."""


class Keeper:
    """Starts the plane when told to, and counts who is connected."""

    def __init__(self, parts: Parts, folder: Path, options: Sequence[str] = ()) -> None:
        self._plane = ControlPlane(parts, folder, options)
        self._folder = folder
        self._lock = threading.Lock()
        self._users = 0
        self._ending = threading.Event()
        self._started = self._failed = False
        self._gone = threading.Event()

    def serve(self) -> int:
        """Serve until the last one has left."""
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(self._folder / SOCKET))
        listener.listen(64)
        threading.Thread(target=self._accept, args=(listener,), name="accept", daemon=True).start()
        patience = threading.Timer(FIRST_SECONDS, self._give_up)
        patience.daemon = True
        patience.start()
        self._ending.wait()
        self._plane.interrupt()
        (self._folder / SOCKET).unlink(missing_ok=True)
        listener.close()
        with self._lock:  # whatever is being done has ended
            self._plane.stop()
        if not self._failed:  # else its logs are what somebody wants to read
            shutil.rmtree(self._folder, ignore_errors=True)
        self._gone.set()
        return int(self._failed)

    def end(self) -> None:
        """End now, whoever is connected."""
        self._ending.set()

    def _give_up(self) -> None:
        with self._lock:
            if not self._started:
                self._ending.set()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with self._lock:
                if self._ending.is_set():
                    connection.close()
                    continue
                self._users += 1
            threading.Thread(target=self._attend, args=(connection,), daemon=True).start()

    def _attend(self, connection: socket.socket) -> None:
        """One user, from the first word to the end of the connection."""
        leaving = False
        with connection, connection.makefile("rw", encoding="utf-8") as stream:
            try:
                while line := stream.readline():
                    asked = json.loads(line)
                    leaving = asked["do"] == "leave"
                    if leaving:
                        break
                    print(json.dumps(self._do(asked)), file=stream, flush=True)
            except (OSError, ValueError):
                leaving = False  # it died
            self._left()
            if leaving:
                if self._ending.is_set():
                    self._gone.wait()
                try:
                    print(json.dumps({"done": True}), file=stream, flush=True)
                except OSError:
                    return

    def _left(self) -> None:
        with self._lock:
            self._users -= 1
            if not self._users:
                self._ending.set()

    def _do(self, asked: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            if self._ending.is_set():
                return {"failed": "the control plane is being stopped"}
            try:
                self._obey(asked)
            except PlaneError as error:
                return {"failed": str(error)}
            return {"done": True, "pids": self._plane.pids()}

    def _obey(self, asked: dict[str, Any]) -> None:
        word = asked["do"]
        if word == "begin" and not self._started:
            self._started = True
            try:
                self._plane.start()
            except PlaneError:
                self._failed = True
                raise
        elif word == "run":
            self._plane.run(asked["server"])
        elif word == "halt":
            self._plane.halt(asked["server"], hard=bool(asked.get("hard")))


def main(arguments: list[str]) -> int:
    """`python -m playground.cluster.keeper PARTS FOLDER [OPTION …]`: what `Cluster.start` runs."""
    parts, folder, *options = arguments
    keeper = Keeper(Parts(Path(parts)), Path(folder), options)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: keeper.end())
    return keeper.serve()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
