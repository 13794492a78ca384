"""The clients: a population that signs in with API keys from secret files, calls gateways, and counts what happens."""

import base64
import json
import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from playground.estate.clock import VirtualClock
from playground.estate.faults import Faults
from playground.estate.secret_files import SecretFile, current_version, read_current
from playground.estate.server import Reply, Request, Route
from playground.estate.service import Service, open_http
from playground.estate.tally import KeyTally, Window, window_asked

SWITCHES = {"stale_reader": "", "paused": False}
RECENT = 3600.0
RATE_OVER = 3.0


@dataclass(slots=True)
class _Client:
    """One instance of an application, with the API key and the token that it holds."""

    name: str
    directory: Path
    secret: SecretFile | None = None
    token: str = field(default="", repr=False)
    kid: str = ""
    refresh_at: float = 0.0
    expires_at: float = 0.0
    logins: int = 0
    failures: int = 0
    unauthorized: int = 0
    last_error: str | None = None

    def show(self) -> dict[str, Any]:
        return {
            "application": self.directory.name,
            "secret_version": self.secret.version if self.secret else None,
            "api_key_id": self.secret.id if self.secret else None,
            "kid": self.kid or None,
            "logins": self.logins,
            "failures": self.failures,
            "unauthorized": self.unauthorized,
            "last_error": self.last_error,
        }


class Clients(Service):
    """`count` clients over the applications found in `secrets_directory`, calling at `calls_per_second` (real) in all.

    A login is one call that presents a token to a gateway: it counts as ok when let in, as failed when there was no
    token to present, when it was refused (401), or when no gateway answered. A gateway that is away is passed over, as
    behind a load balancer.
    Switches: paused, and stale_reader (the name of an application that does not notice new versions of its secret).
    """

    def __init__(
        self,
        clock: VirtualClock,
        identity: str,
        gateways: Sequence[str],
        secrets_directory: Path,
        *,
        count: int = 12,
        calls_per_second: float = 20.0,
        workers: int = 3,
        seed: int = 1,
        port: int = 0,
        expose_faults: bool = False,
    ) -> None:
        super().__init__("clients", clock, Faults(SWITCHES), port, expose_faults=expose_faults)
        self._identity, self._gateways, self._secrets = identity, list(gateways), secrets_directory
        self._count, self._pace, self._workers, self._seed = count, calls_per_second, workers, seed

    def prepare(self) -> None:
        applications = sorted(path for path in self._secrets.iterdir() if current_version(path) is not None)
        if not applications:
            raise ValueError("there is no secret that a client could use")
        self._population = [
            _Client(
                f"{applications[n % len(applications)].name}-{n // len(applications) + 1}",
                applications[n % len(applications)],
            )
            for n in range(self._count)
        ]
        self._since = self.clock.now()
        self._started = time.monotonic()
        self._lock = threading.Lock()
        self._logins = self._failures = self._unauthorized = self._token_failures = 0
        self._moments: list[float] = []
        self._signing: tuple[float, str | None] = (0.0, None)
        self._window = Window(self.clock)
        self._by_kid, self._by_api_key = KeyTally(self.clock), KeyTally(self.clock)
        self._halt = threading.Event()
        self._http = open_http()
        self._threads = [
            threading.Thread(target=self._work, args=(index,), name=f"clients:{index}", daemon=True)
            for index in range(min(self._workers, self._count))
        ]
        for thread in self._threads:
            thread.start()

    def release(self) -> None:
        self._halt.set()
        for thread in self._threads:
            thread.join()
        self._http.close()

    def routes(self) -> Sequence[Route]:
        return [
            Route("GET", "/healthz", lambda _: Reply(200, {"status": "ok"})),
            Route("GET", "/stats", lambda request: Reply(200, self.stats(window_asked(request)))),
            Route("GET", "/strip", self._strip),
        ]

    def stats(self, over: float = RECENT) -> dict[str, Any]:
        """What `GET /stats?over=seconds` answers. Times are virtual, but `logins_per_second` is real."""
        good, bad = self._window.sums(over)
        kids, keys = self._by_kid.show(), self._by_api_key.show()
        with self._lock:
            return {
                "logins_total": self._logins,
                "logins_per_second": self._speed(),
                "failures_total": self._failures,
                "failures_recent": self._window.sums(RECENT)[1],
                "window": {"seconds": over, "logins": good, "failures": bad},
                "unauthorized_total": self._unauthorized,
                "token_failures_total": self._token_failures,
                "by_kid": {kid: _latest(entry) for kid, entry in kids.items()},
                "by_api_key": {identity: _latest(entry) for identity, entry in keys.items()},
                "signing_kid": self._signing[1],
                "counting_since": self._since,
                "clients": {client.name: client.show() for client in self._population},
            }

    def _strip(self, _: Request) -> Reply:
        stats = self.stats()
        shown = {
            name: stats[name] for name in ("logins_per_second", "logins_total", "failures_total", "failures_recent")
        }
        return Reply(
            200,
            {
                **shown,
                "gateways": [self._look(address) for address in self._gateways],
                "clock": {"virtual_iso": self.clock.iso(), "virtual": self.clock.now(), "rate": self.clock.rate},
                "signing_kid": stats["signing_kid"],
            },
        )

    def _look(self, address: str) -> dict[str, Any]:
        try:
            body = self._http.get(f"{address}/stats", timeout=0.5).json()
            return {name: body.get(name) for name in ("name", "kids", "cache_age_seconds", "boot_id")}
        except (httpx.HTTPError, ValueError, AttributeError):
            return {"name": address, "kids": [], "cache_age_seconds": None, "boot_id": None}

    def _speed(self) -> float:
        now = time.monotonic()
        span = max(0.5, min(RATE_OVER, now - self._started))
        return round(sum(moment > now - span for moment in self._moments) / span, 1)

    def _work(self, index: int) -> None:
        share = self._population[index :: self._workers]
        chance = random.Random(self._seed * 1000 + index)  # noqa: S311 (spreads load, guards nothing)
        interval = self._workers / self._pace
        due = time.monotonic() + chance.random() * interval
        while not self._halt.wait(max(0.0, due - time.monotonic())):
            # After a stall it goes on at its pace instead of catching up in a burst.
            due = max(due + interval, time.monotonic())
            if not self.faults.value("paused"):
                self._sign_in(chance.choice(share), chance)

    def _sign_in(self, client: _Client, chance: random.Random) -> None:
        try:
            error = self._call(client, chance) if self._hold_token(client, chance) else client.last_error or "no token"
        except httpx.HTTPError as failure:
            error = type(failure).__name__
        if self._halt.is_set():
            return
        client.last_error = error or client.last_error
        client.logins += error is None
        client.failures += error is not None
        self._window.count(error is None)
        with self._lock:
            self._logins += error is None
            self._failures += error is not None
            if error is None:
                now = time.monotonic()
                self._moments = [moment for moment in self._moments if moment > now - RATE_OVER] + [now]

    def _hold_token(self, client: _Client, chance: random.Random) -> bool:
        """See to it that the client holds a token good for this call; renewed at about half its life."""
        now = self.clock.now()
        if not client.token or now >= client.refresh_at:
            self._fetch(client, chance)
        # What is about to expire is not presented: a stalled thread would see it refused on the way.
        return bool(client.token) and self.clock.now() < client.expires_at

    def _fetch(self, client: _Client, chance: random.Random) -> None:
        secret = self._secret(client)
        if secret is None:
            client.last_error = "no secret"
            return
        asked = self.clock.now()
        try:
            answer = self._http.post(
                f"{self._identity}/oauth2/token",
                data={"grant_type": "client_credentials"},
                auth=(client.directory.name, secret.value),
            )
            accepted = answer.status_code == 200
            error = "" if accepted else f"token: {answer.status_code} {_code(answer)}".rstrip()
        except httpx.HTTPError as failure:
            accepted, error = False, f"token: {type(failure).__name__}"
        self._by_api_key.count(secret.id, accepted)
        if not accepted:
            client.last_error = error
            with self._lock:
                self._token_failures += 1
            return
        body = answer.json()
        client.token, client.kid = body["access_token"], _kid(body["access_token"])
        client.refresh_at = asked + body["expires_in"] * chance.uniform(0.4, 0.6)
        client.expires_at = asked + body["expires_in"] * 0.9
        with self._lock:
            self._signing = max(self._signing, (asked, client.kid))

    def _secret(self, client: _Client) -> SecretFile | None:
        stale = client.directory.name == self.faults.value("stale_reader")
        known = client.secret.version if client.secret else None
        if known is None or (not stale and current_version(client.directory) != known):
            client.secret = read_current(client.directory) or client.secret
        return client.secret

    def _call(self, client: _Client, chance: random.Random) -> str | None:
        error: str | None = "no gateway"
        for address in chance.sample(self._gateways, len(self._gateways)):
            try:
                answer = self._http.get(
                    f"{address}/api/v1/findings", headers={"Authorization": f"Bearer {client.token}"}
                )
            except httpx.HTTPError as failure:
                error = type(failure).__name__
                continue
            if answer.status_code in (502, 503, 504):
                error = f"gateway: {answer.status_code}"
                continue
            self._by_kid.count(client.kid, answer.status_code == 200)
            if answer.status_code == 401:
                client.token = ""
                client.unauthorized += 1
                with self._lock:
                    self._unauthorized += 1
            return None if answer.status_code == 200 else f"gateway: {answer.status_code}"
        return error


def _latest(entry: dict[str, Any]) -> float:
    """When it was last presented, accepted or not: a refused try is a use too."""
    return max(float(entry[name]) for name in ("last_seen", "last_refused") if entry[name] is not None)


def _code(answer: httpx.Response) -> str:
    """Why it was refused, if the service says so."""
    try:
        return str(answer.json()["error"])[:40]
    except (ValueError, TypeError, KeyError):
        return ""


def _kid(token: str) -> str:
    coded = token.split(".")[0]
    header = json.loads(base64.urlsafe_b64decode(coded + "=" * (-len(coded) % 4)))
    return str(header["kid"])
