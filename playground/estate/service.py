"""What every program of the estate is: a named server that starts, stops and starts again on its port."""

import hmac
import secrets
import ssl
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import httpx

from playground.estate.clock import VirtualClock
from playground.estate.faults import Faults
from playground.estate.server import Problem, Reply, Request, Route, Server


class Service(ABC):
    """A program on loopback. `faults` is always there in process; over HTTP only with `expose_faults`."""

    def __init__(self, name: str, clock: VirtualClock, faults: Faults, port: int = 0, *, expose_faults: bool) -> None:
        self.name = name
        self.clock = clock
        self.faults = faults
        self.port = port
        self._expose_faults = expose_faults
        self._server: Server | None = None

    @abstractmethod
    def routes(self) -> Sequence[Route]:
        """What it serves."""

    @abstractmethod
    def prepare(self) -> None:
        """Make what a fresh process would have in memory; called before the port opens."""

    @abstractmethod
    def release(self) -> None:
        """Let go of what `prepare` made; called after the port has closed."""

    @property
    def address(self) -> str:
        """`http://127.0.0.1:port`; the port is known once it has started."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def calls(self) -> Counter[str]:
        """How often each "METHOD /route/{x}" was reached since the start."""
        return Counter() if self._server is None else Counter(self._server.calls)

    @property
    def running(self) -> bool:
        """Whether the port is open."""
        return self._server is not None

    def start(self) -> Self:
        """Open the port: the same one as before, if there was one."""
        if self._server is None:
            self.prepare()
            routes = [*self.routes(), *(self._fault_routes() if self._expose_faults else ())]
            self._server = Server(routes, self.faults, self.port)
            self.port = self._server.port
        return self

    def stop(self) -> None:
        """Close the port and forget what was in memory; quiet when it was not running."""
        if self._server is not None:
            self._server.stop()
            self._server = None
            self.release()

    def restart(self) -> None:
        """As if the process had been killed and started again."""
        self.stop()
        self.start()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _fault_routes(self) -> Sequence[Route]:
        return (
            Route("GET", "/faults", lambda _: Reply(200, self.faults.describe())),
            Route("POST", "/faults", self._spoil),
            Route("DELETE", "/faults", self._heal),
        )

    def _spoil(self, request: Request) -> Reply:
        # A foreign web page can post to loopback, but not with this type unless it is allowed to, and it is not.
        if request.headers.get("Content-Type", "").split(";")[0].strip() != "application/json":
            raise Problem(415, "unsupported_media_type", "send application/json")
        try:
            self.faults.apply(request.json())
        except (ValueError, TypeError) as error:
            raise Problem(422, "invalid_fault", str(error)) from None
        return Reply(200, self.faults.describe())

    def _heal(self, _: Request) -> Reply:
        self.faults.clear()
        return Reply(200, self.faults.describe())


def open_http() -> httpx.Client:
    """A client for loopback. It trusts no authority: loading the usual ones takes longer than starting the estate."""
    limits = httpx.Limits(max_keepalive_connections=16)
    return httpx.Client(timeout=5, trust_env=False, limits=limits, verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))


class Admission:
    """Who may use an admin API: the admin token may change things, the viewer token may only look."""

    def __init__(self, admin_file: Path, viewer_file: Path | None = None) -> None:
        self._admin = admin_file.read_text().strip()
        self._viewer = viewer_file.read_text().strip() if viewer_file else secrets.token_urlsafe(32)
        if len(self._admin) < 16:
            raise ValueError("the admin token is too short to be one")

    def check(self, request: Request, *, changes: bool, refuse_all: bool = False) -> bool:
        """Whether the bearer may change things; raises 401 or 403."""
        token = (request.bearer() or "").encode()
        admin = hmac.compare_digest(token, self._admin.encode())
        viewer = hmac.compare_digest(token, self._viewer.encode())
        if refuse_all or not (admin or viewer):
            raise Problem(401, "unauthorized", "the admin token is missing or wrong", {"WWW-Authenticate": "Bearer"})
        if changes and not admin:
            raise Problem(403, "forbidden", "this token may look but not change")
        return admin
