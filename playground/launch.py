"""Starts the playground: a workspace, an estate, and the ordinary bot as a process of its own beside them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from types import FrameType

from playground.cluster.build import Missing
from playground.cluster.cluster import ClusterError
from playground.cluster.site import Site, started
from playground.estate import Estate
from playground.installation import settings_of, text_of
from playground.workspace.workspace import Workspace

READY_SECONDS = 60.0
SMALL, KUBERNETES = "small", "kubernetes"
"""What there is to rotate in: the small estate alone, or a Kubernetes cluster beside it."""
RATES = {SMALL: 1440.0, KUBERNETES: 60.0}
"""How much faster the clock runs. The rollouts of a cluster take real seconds, and runbooks give them minutes."""
REST_SECONDS = 2.0


class Bot:
    """The bot's process. It is started again when it dies, as any supervisor would."""

    def __init__(self, folder: Path, environment: dict[str, str], health: str) -> None:
        self._environment = {**os.environ, **environment}
        self._log = folder / "bot.log"
        self._health = health
        self._stopping = threading.Event()
        self.process = self._spawn()

    def _spawn(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "bot", "serve"],
                env=self._environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait_ready(self) -> bool:
        """Whether it became ready in time; a bot that ended says why in its log."""
        until = time.monotonic() + READY_SECONDS
        while time.monotonic() < until and self.process.poll() is None:
            try:
                with urllib.request.urlopen(f"{self._health}/readyz", timeout=2) as answer:  # noqa: S310 - our own loopback
                    if answer.status == 200:
                        return True
            except (urllib.error.URLError, OSError):
                pass
            self._stopping.wait(0.1)
        return False

    def supervise(self) -> None:
        """Start it again whenever it dies, until `stop`."""
        while not self._stopping.is_set():
            code = self.process.wait()
            if self._stopping.is_set():
                return
            print(f"The bot ended (exit {code}); starting it again in {REST_SECONDS:g} s.", flush=True)
            if self._stopping.wait(REST_SECONDS):
                return
            self.process = self._spawn()
            print(f"The bot runs again as process {self.process.pid}.", flush=True)

    def stop(self) -> None:
        """End it in good order."""
        self._stopping.set()
        self.process.terminate()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()


def free_port() -> int:
    """A port that nobody listens on right now."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def play(port: int, folder: Path, rate: float | None = None, estate: str = SMALL) -> int:
    """Run until interrupted. Everything starts anew each time; the last run's state is removed first."""
    folder, rate = folder.resolve(), rate or RATES[estate]
    if folder.exists() and not (folder / "playground").exists() and any(folder.iterdir()):
        print(f"{folder} is not a playground's folder; name an empty one with --folder.", file=sys.stderr)
        return 2
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, mode=0o700)
    (folder / "playground").touch()
    try:
        with ExitStack() as stack:
            small = stack.enter_context(Estate.start(rate=rate, directory=folder / "estate"))
            site = None
            if estate == KUBERNETES:
                site = stack.enter_context(started(small.clock, folder / "cluster"))
            return _open(port, small, site, folder, rate)
    except (Missing, ClusterError) as error:
        print(f"The playground's cluster does not start: {error}", file=sys.stderr)
        return 2


def _open(port: int, estate: Estate, site: Site | None, folder: Path, rate: float) -> int:
    """Open the workspace, and play in it."""
    assert estate.clients is not None
    places = (Path(__file__).with_name("manifest.yml"), Path(__file__).parents[1] / "manifest.yml")
    manifest = next((place for place in places if place.exists()), None)  # in the wheel, in a checkout
    try:
        workspace = Workspace.start(
            manifest=manifest,
            port=port,
            strip_url=f"{estate.clients.address}/strip",
        )
    except OSError as error:
        print(f"Port {port} cannot be used ({error.strerror}); choose another with --port.", file=sys.stderr)
        return 2
    with workspace:
        return _play(workspace, estate, site, folder, rate)


def _play(workspace: Workspace, estate: Estate, site: Site | None, folder: Path, rate: float) -> int:
    config = folder / "keyturn.yml"
    settings = settings_of(estate)
    config.write_text(text_of(site.extend(settings) if site else settings))
    health = f"127.0.0.1:{free_port()}"
    environment = workspace.environment() | {
        "KEYTURN_DATABASE_URL": f"sqlite:///{folder}/keyturn.db",
        "KEYTURN_CONFIG": str(config),
        "KEYTURN_KEYS": str(folder / "keys"),
        "KEYTURN_HTTP": health,
    }
    bot = Bot(folder, environment, f"http://{health}")
    try:
        if not bot.wait_ready():
            print(f"The bot did not become ready; its log is {folder}/bot.log:", file=sys.stderr)
            print((folder / "bot.log").read_text()[-2000:], file=sys.stderr)
            return 1
        print(_welcome(workspace, rate, bot.process.pid, folder, site), flush=True)
        threading.Thread(target=bot.supervise, name="supervisor", daemon=True).start()
        _until_interrupted()
    finally:
        bot.stop()
    return 0


def _welcome(workspace: Workspace, rate: float, pid: int, folder: Path, site: Site | None) -> str:
    inside = (
        f"  In Kubernetes:      /rotate start requests-proxy-key   (kubeconfig: {site.kubeconfig})\n" if site else ""
    )
    return (
        f"\n  Open {workspace.url}\n\n"
        f"  As Alice, in #ops:  /rotate start identity-signing     Then, as Bob: Approve.\n"
        f"  Also there:         /rotate start billing-api-key      /rotate help\n"
        f"{inside}"
        f"  An emergency:       /rotate revoke identity-signing    (Alice asks, Bob or Carol approves)\n"
        f"  Its clock runs {rate:g} times faster: a day takes {86400 / rate:.0f} seconds. Nothing else differs.\n"
        f"  The bot is process {pid}: kill -9 it in the middle; it is started again and goes on.\n"
        f"  Its log: {folder}/bot.log     Stop everything with Ctrl-C.\n"
    )


def _until_interrupted() -> None:
    stop = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    while not stop.wait(1.0):
        pass
