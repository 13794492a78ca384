"""keyturn as a process of its own beside a workspace: started, waited for, looked at from outside."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.subjects import RUNBOOK, SETTINGS
from playground.launch import free_port
from playground.workspace.workspace import Workspace

ROOT = Path(__file__).parent.parent
PATIENCE = 60.0


@dataclass
class Served:
    """`keyturn serve`, ready."""

    process: subprocess.Popen[bytes]
    ready_after: float
    """Seconds from its start."""

    def status(self, name: str) -> int:
        """A number from the process's status, such as VmRSS (KiB) or Threads."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1])
        raise KeyError(name)

    def spent(self) -> float:
        """Seconds of processor time so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def environment_of(workspace: Workspace, folder: Path) -> dict[str, str]:
    """The variables of an installation in the folder."""
    (folder / "runbooks").mkdir(exist_ok=True)
    (folder / "runbooks" / "by-hand.yaml").write_text(RUNBOOK)
    (folder / "keyturn.yml").write_text(SETTINGS)
    return {
        **os.environ,
        **workspace.environment(),
        "KEYTURN_DATABASE_URL": f"sqlite:///{folder / 'keyturn.db'}",
        "KEYTURN_CONFIG": str(folder / "keyturn.yml"),
        "KEYTURN_KEYS": str(folder / "keys"),
    }


@contextmanager
def served(environment: dict[str, str]) -> Iterator[Served]:
    """Start it, wait until it says that it is ready, and end it."""
    address = f"127.0.0.1:{free_port()}"
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "bot", "serve"],
        cwd=ROOT,
        env={**environment, "KEYTURN_HTTP": address},
        stderr=subprocess.DEVNULL,
    )
    try:
        while not _is_ready(address):
            if process.poll() is not None or time.perf_counter() - began > PATIENCE:
                raise RuntimeError(f"keyturn did not become ready ({process.poll()})")
            time.sleep(0.01)
        yield Served(process, time.perf_counter() - began)
    finally:
        process.terminate()
        process.wait(20)


def _is_ready(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://{address}/readyz", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
