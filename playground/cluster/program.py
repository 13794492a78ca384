"""One server of the control plane as a process of its own, with a log, stopped by its own process id."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

TAIL = 3000


class Program:
    """A process that is started and stopped, any number of times, with the same command."""

    def __init__(self, name: str, command: Sequence[str], folder: Path) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self._command, self._folder = list(command), folder
        self._process: subprocess.Popen[bytes] | None = None
        self._told = False

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def died(self) -> bool:
        """Whether it has ended without having been told to."""
        return self._process is not None and self._process.poll() is not None and not self._told

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return self._process.pid if self._process is not None and self.running else None

    def start(self) -> None:
        """Start it in a session of its own, so that a Ctrl-C at the terminal does not reach it; quiet if it runs."""
        if self.running:
            return
        self._told = False
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - a program that we built
                self._command,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def ask_to_stop(self, *, hard: bool = False) -> None:
        """Tell it to end, in good order or at once."""
        if self._process is not None and self.running:
            self._told = True
            self._process.send_signal(signal.SIGKILL if hard else signal.SIGTERM)

    def stop(self, *, hard: bool = False, patience: float = 20.0) -> None:
        """End it and wait until it is gone: it holds its port till then."""
        self.ask_to_stop(hard=hard)
        if self._process is None:
            return
        try:
            self._process.wait(patience)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def tail(self) -> str:
        """The end of its log."""
        text = self.log.read_bytes()[-TAIL:].decode(errors="replace") if self.log.exists() else ""
        ended = "" if self.running or self._process is None else f" (ended with {self._process.returncode})"
        return f"--- {self.name}{ended}: {self.log}\n{text}"
