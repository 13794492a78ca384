"""A gateway: lets requests in whose token a cached public key verifies, counts what it sees, restarts on demand."""

import base64
import json
import re
import secrets
import threading
from collections import Counter
from collections.abc import Sequence
from typing import Any

import httpx
from joserfc import jwt
from joserfc.errors import JoseError

from playground.estate.clock import VirtualClock
from playground.estate.faults import Faults
from playground.estate.identity import AUDIENCE, ISSUER, MARKER
from playground.estate.jwks_cache import JwksCache
from playground.estate.server import Problem, Reply, Request, Route
from playground.estate.service import Admission, Service, open_http
from playground.estate.tally import KeyTally, Window, window_asked

SWITCHES = {"lagging": False, "slow_cache": 1.0, "ignores_removal": False, "reject_admin": False}
TOKEN_LIMIT = 8 * 1024
WAIT = re.compile(r"wait=(\d{1,3})")
REFRESH_EVERY = 1.0


class _Refused(Exception):
    def __init__(self, reason: str, status: int = 401) -> None:
        super().__init__(reason)
        self.reason, self.status = reason, status


class _Boot:
    """What a gateway holds in memory between two starts."""

    def __init__(self, gateway: "Gateway", http: httpx.Client) -> None:
        self.id = secrets.token_hex(6)
        self.started_at = gateway.clock.now()
        self.cache = JwksCache(gateway.clock, f"{gateway.identity}/.well-known/jwks.json", gateway.faults, http)
        self.keys = KeyTally(gateway.clock)
        self.canaries = KeyTally(gateway.clock)
        self.reasons: Counter[str] = Counter()
        self.window = Window(gateway.clock)


class Gateway(Service):
    """Switches: lagging, slow_cache (a factor), ignores_removal, reject_admin.

    A restart asked for over HTTP drops cache and counters and takes `restart_seconds` (real), during which it answers
    503; with `Prefer: wait=5` the answer to the restart itself comes when it is up again, 202 if that takes longer.
    """

    def __init__(
        self,
        name: str,
        clock: VirtualClock,
        identity: str,
        admission: Admission,
        *,
        port: int = 0,
        restart_seconds: float = 0.2,
        expose_faults: bool = False,
    ) -> None:
        super().__init__(name, clock, Faults(SWITCHES), port, expose_faults=expose_faults)
        self.identity = identity
        self.canary_audience = f"canary:{name}"
        self._admission = admission
        self._restart_seconds = restart_seconds
        self._marker: str | None = None
        self.restarts = 0

    def prepare(self) -> None:
        self._http = open_http()
        self._halt = threading.Event()
        self._restarting, self._up = threading.Event(), threading.Event()
        self._up.set()
        self._restart_lock = threading.Lock()
        self._refreshed_at = float("-inf")
        self._boot = _Boot(self, self._http)
        self._boot.cache.refresh_if_due()
        self._threads = [threading.Thread(target=self._keep_fresh, name=f"{self.name}:jwks", daemon=True)]
        self._threads[0].start()

    def release(self) -> None:
        self._halt.set()
        for thread in self._threads:
            thread.join()
        self._http.close()

    def routes(self) -> Sequence[Route]:
        return [
            Route("GET", "/healthz", self._health),
            Route("GET", "/stats", self._stats),
            Route("GET", "/canary", self._canary),
            Route("GET", "/api/v1/findings", self._findings),
            Route("GET", "/api/v1/findings/{id}", self._findings),
            Route("GET", "/admin/whoami", self._whoami),
            Route("POST", "/admin/restart", self._restart),
            Route("POST", "/admin/refresh", self._refresh),
        ]

    def stats(self, over: float = 3600) -> dict[str, Any]:
        """What `GET /stats?over=seconds` answers; all times are virtual unix seconds."""
        boot = self._boot
        good, bad = boot.window.sums(over)
        keys = boot.keys.show()
        return {
            "name": self.name,
            "boot_id": boot.id,
            "counting_since": boot.started_at,
            "last_restart_marker": self._marker,
            "canary_audience": self.canary_audience,
            "cache_age_seconds": boot.cache.age,
            "cache_ttl_seconds": boot.cache.ttl,
            "kids": boot.cache.kids,
            "jwks_fetches": boot.cache.fetches,
            "jwks_fetch_failures": boot.cache.failures,
            "by_kid": keys,
            "canaries": boot.canaries.show(),
            "accepted": sum(entry["accepted"] for entry in keys.values()),
            "refused": sum(boot.reasons.values()),
            "refused_by_reason": dict(boot.reasons),
            "window": {"seconds": over, "accepted": good, "refused": bad},
        }

    def _keep_fresh(self) -> None:
        while not self._halt.wait(max(0.005, min(1.0, self.clock.real(self._boot.cache.ttl) / 20))):
            if not self._restarting.is_set():
                self._boot.cache.refresh_if_due()

    def _health(self, _: Request) -> Reply:
        self._present()
        return Reply(200, {"status": "ok", "boot_id": self._boot.id})

    def _stats(self, request: Request) -> Reply:
        self._present()
        return Reply(200, self.stats(window_asked(request)))

    def _findings(self, request: Request) -> Reply:
        boot = self._present()
        kid = ""
        try:
            token, kid = self._token(request)
            claims = self._verify(boot, token, kid, AUDIENCE)
            if "read" not in str(claims.get("scope", "")).split():
                raise _Refused("insufficient_scope", 403)
        except _Refused as refused:
            boot.reasons[refused.reason] += 1
            # A request without a token says nothing about the keys, and anybody can send one.
            if kid:
                boot.window.count(False)
                boot.keys.count(kid, False)
            raise self._problem(refused) from None
        boot.keys.count(kid, True)
        boot.window.count(True)
        return Reply(200, {"gateway": self.name, "findings": [{"id": "F-1", "severity": "low"}], "total": 1})

    def _canary(self, request: Request) -> Reply:
        boot = self._present()
        kid = ""
        try:
            token, kid = self._token(request)
            self._verify(boot, token, kid, self.canary_audience)
        except _Refused as refused:
            if kid:
                boot.canaries.count(kid, False)
            raise self._problem(refused) from None
        boot.canaries.count(kid, True)
        return Reply(200, {"gateway": self.name, "boot_id": boot.id, "kid": kid})

    def _token(self, request: Request) -> tuple[str, str]:
        token = request.bearer()
        if token is None:
            raise _Refused("missing_token")
        try:
            if len(token) > TOKEN_LIMIT or token.count(".") != 2:
                raise ValueError
            coded = token.split(".")[0]
            header = json.loads(base64.urlsafe_b64decode(coded + "=" * (-len(coded) % 4)))
            kid, algorithm = header["kid"], header["alg"]
        except (ValueError, TypeError, KeyError, RecursionError):
            raise _Refused("malformed") from None
        if not isinstance(kid, str) or not MARKER.fullmatch(kid):
            raise _Refused("malformed")
        if algorithm != "ES256":
            raise _Refused("wrong_algorithm")
        return token, kid

    def _verify(self, boot: _Boot, token: str, kid: str, audience: str) -> dict[str, Any]:
        key = boot.cache.find(kid)
        if key is None:
            if boot.cache.age is None:
                raise _Refused("no_keys", 503)
            raise _Refused("unknown_kid")
        try:
            claims: dict[str, Any] = jwt.decode(token, key, algorithms=["ES256"]).claims
        except (JoseError, ValueError):
            raise _Refused("bad_signature") from None
        if claims.get("iss") != ISSUER:
            raise _Refused("wrong_issuer")
        if claims.get("aud") != audience:
            raise _Refused("wrong_audience")
        # A minute of leeway as everywhere, but never less than a real second, in which threads may stall.
        leeway = max(60.0, self.clock.rate)
        expiry = claims.get("exp")
        if not isinstance(expiry, int | float) or self.clock.now() > expiry + leeway:
            raise _Refused("expired")
        return claims

    def _problem(self, refused: _Refused) -> Problem:
        headers = {401: {"WWW-Authenticate": "Bearer"}, 503: {"Retry-After": "1"}}.get(refused.status)
        return Problem(refused.status, refused.reason, f"the token was refused: {refused.reason}", headers)

    def _present(self) -> _Boot:
        if self._restarting.is_set():
            raise Problem(503, "restarting", "the gateway is restarting", {"Retry-After": "1"})
        return self._boot

    def _restart(self, request: Request) -> Reply:
        self._admit(request)
        marker = request.headers.get("Idempotency-Key")
        if marker is not None and not MARKER.fullmatch(marker):
            raise Problem(422, "invalid_marker", "a marker is up to 128 letters, digits and . _ : / # -")
        with self._restart_lock:
            if marker is None or marker != self._marker:
                if self._restarting.is_set():
                    raise Problem(409, "restarting", "a restart is under way")
                self._marker = marker
                self._restarting.set()
                self._up.clear()
                thread = threading.Thread(target=self._boot_again, name=f"{self.name}:restart", daemon=True)
                self._threads.append(thread)
                thread.start()
        wish = WAIT.fullmatch(request.headers.get("Prefer", ""))
        up = self._up.wait(min(30.0, float(wish.group(1))) if wish else 0)
        return Reply(200 if up else 202, {"restarting": not up, "boot_id": self._boot.id, "marker": marker})

    def _boot_again(self) -> None:
        if not self._halt.wait(self._restart_seconds):
            boot = _Boot(self, self._http)
            boot.cache.refresh_if_due()
            self._boot = boot
            self.restarts += 1
        self._restarting.clear()
        self._up.set()

    def _refresh(self, request: Request) -> Reply:
        self._admit(request)
        boot = self._present()
        wait = self._refreshed_at + REFRESH_EVERY - self.clock.now()
        if wait > 0:
            raise Problem(
                429, "rate_limited", "the cache was refreshed just now", {"Retry-After": f"{self.clock.real(wait):.3f}"}
            )
        self._refreshed_at = self.clock.now()
        if not boot.cache.refresh():
            raise Problem(503, "jwks_unavailable", "the key set could not be fetched", {"Retry-After": "1"})
        return Reply(200, {"kids": boot.cache.kids, "cache_age_seconds": boot.cache.age})

    def _whoami(self, request: Request) -> Reply:
        admin = self._admission.check(request, changes=False, refuse_all=self.faults.value("reject_admin"))
        return Reply(200, {"role": "admin" if admin else "viewer"})

    def _admit(self, request: Request) -> None:
        self._admission.check(request, changes=True, refuse_all=self.faults.value("reject_admin"))
