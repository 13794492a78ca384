"""The identity service: signs tokens for clients, publishes its keys, and lets an admin rotate keys and API keys."""

import base64
import re
import secrets
import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from playground.estate.api_keys import ApiKeys
from playground.estate.clock import VirtualClock
from playground.estate.faults import Faults
from playground.estate.keys import SigningKeys, Vault
from playground.estate.server import Problem, Reply, Request, Route
from playground.estate.service import Admission, Service

ISSUER = "identity.playground"
AUDIENCE = "findings-api"
SCOPES = frozenset({"read", "write"})
SWITCHES = {"key_store_down": False, "database_down": False, "reject_admin": False, "promote_fails": False}

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
MARKER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/#-]{0,127}")
CANARY_AUDIENCE = re.compile(r"canary:[a-z0-9][a-z0-9-]{0,62}")
KEYS = "/api/v1/admin/keys"
API_KEYS = "/api/v1/admin/api-keys"


class Identity(Service):
    """Switches: key_store_down, database_down, reject_admin (the admin token is wrong), promote_fails.

    Keys and API keys live in `directory/identity.db` and survive a restart; `kek_file` holds the key-encryption key.
    """

    def __init__(
        self,
        clock: VirtualClock,
        directory: Path,
        kek_file: Path,
        admission: Admission,
        *,
        port: int = 0,
        token_life: float = 3600,
        jwks_max_age: float = 900,
        expose_faults: bool = False,
    ) -> None:
        super().__init__("identity", clock, Faults(SWITCHES), port, expose_faults=expose_faults)
        self._directory, self._kek_file, self._admission = directory, kek_file, admission
        self.token_life, self.jwks_max_age = token_life, jwks_max_age
        self._lock = threading.RLock()

    def prepare(self) -> None:
        self._db = sqlite3.connect(self._directory / "identity.db", check_same_thread=False)
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._vault = Vault(self._kek_file, lambda: not self.faults.value("key_store_down"))
        self.keys = SigningKeys(self._db, self._lock, self.clock, self._vault)
        self.api_keys = ApiKeys(self._db, self._lock, self.clock)

    def release(self) -> None:
        with self._lock:
            self._db.close()

    def routes(self) -> Sequence[Route]:
        open_routes = [
            Route("GET", "/.well-known/jwks.json", self._jwks),
            Route("POST", "/oauth2/token", self._token),
            Route("GET", "/healthz", lambda _: Reply(200, {"status": "ok"})),
        ]
        admin = [
            Route("GET", "/api/v1/admin/whoami", self._whoami),
            Route("GET", "/api/v1/admin/health", self._health),
            Route("GET", "/api/v1/admin/settings", self._settings),
            Route("GET", KEYS, lambda _: Reply(200, {"keys": self.keys.all()})),
            Route("POST", f"{KEYS}/rotate", self._rotate),
            Route("POST", f"{KEYS}/bootstrap", self._bootstrap),
            Route("GET", f"{KEYS}/{{kid}}", lambda request: Reply(200, self.keys.get(request.parts["kid"]))),
            Route("DELETE", f"{KEYS}/{{kid}}", self._delete_key),
            Route("POST", f"{KEYS}/{{kid}}/promote", self._promote),
            Route("POST", f"{KEYS}/{{kid}}/disable", self._disable),
            Route("POST", f"{KEYS}/{{kid}}/enable", lambda request: Reply(200, self.keys.enable(request.parts["kid"]))),
            Route("POST", f"{KEYS}/{{kid}}/canary", self._canary),
            Route(
                "GET",
                API_KEYS,
                lambda request: Reply(200, {"api_keys": self.api_keys.all(request.query.get("client"))}),
            ),
            Route("POST", API_KEYS, self._create_api_key),
            Route("GET", f"{API_KEYS}/{{id}}", lambda request: Reply(200, self.api_keys.get(request.parts["id"]))),
            Route("DELETE", f"{API_KEYS}/{{id}}", self._delete_api_key),
            Route("POST", f"{API_KEYS}/{{id}}/disable", lambda request: self._switch(request, False)),
            Route("POST", f"{API_KEYS}/{{id}}/enable", lambda request: self._switch(request, True)),
        ]
        return [self._guarded(route, admin=False) for route in open_routes] + [
            self._guarded(route, admin=True) for route in admin
        ]

    def _guarded(self, route: Route, *, admin: bool) -> Route:
        """The same route behind the admin token, and out of order while the database is."""

        def handle(request: Request) -> Reply:
            if admin:
                refuse_all = self.faults.value("reject_admin")
                self._admission.check(request, changes=route.method != "GET", refuse_all=refuse_all)
            if self.faults.value("database_down") and not route.path.endswith("/health"):
                raise Problem(503, "database_unavailable", "the database cannot be reached")
            return route.handler(request)

        return Route(route.method, route.path, handle)

    def _jwks(self, _: Request) -> Reply:
        return Reply(200, self.keys.jwks(), {"Cache-Control": f"public, max-age={self.jwks_max_age:g}"})

    def _token(self, request: Request) -> Reply:
        form = request.form()
        if form.get("grant_type") != "client_credentials":
            raise Problem(422, "unsupported_grant_type", "only client_credentials is supported")
        key = self.api_keys.admit(*_basic(request))
        granted = _scopes(key["scope"])
        asked = _scopes(form.get("scope", "")) or granted
        if not asked <= granted:
            raise Problem(403, "invalid_scope", "the API key does not carry this scope")
        scope = " ".join(sorted(asked))
        claims = {**self._claims(AUDIENCE, self.token_life), "sub": key["client"], "scope": scope}
        token, _ = self.keys.sign(claims)
        body = {"access_token": token, "token_type": "Bearer", "expires_in": self.token_life, "scope": scope}
        return Reply(200, body, {"Cache-Control": "no-store"})

    def _claims(self, audience: str, life: float) -> dict[str, Any]:
        now = int(self.clock.now())
        return {"iss": ISSUER, "aud": audience, "iat": now, "exp": now + max(1, int(life)), "jti": secrets.token_hex(8)}

    def _whoami(self, request: Request) -> Reply:
        admin = self._admission.check(request, changes=False)
        return Reply(200, {"role": "admin" if admin else "viewer"})

    def _health(self, _: Request) -> Reply:
        parts = {
            "database": not self.faults.value("database_down"),
            "key_encryption": not self.faults.value("key_store_down"),
        }
        return Reply(200 if all(parts.values()) else 503, {"healthy": all(parts.values()), **parts})

    def _settings(self, _: Request) -> Reply:
        return Reply(200, {"token_life_seconds": self.token_life, "jwks_max_age_seconds": self.jwks_max_age})

    def _rotate(self, request: Request) -> Reply:
        key, new = self.keys.rotate(_marker(request.json()))
        return Reply(201 if new else 200, key)

    def _bootstrap(self, request: Request) -> Reply:
        key, new = self.keys.bootstrap(_marker(request.json()))
        return Reply(201 if new else 200, key)

    def _promote(self, request: Request) -> Reply:
        if self.faults.value("promote_fails"):
            raise Problem(500, "internal", "the key could not be promoted")
        return Reply(200, self.keys.promote(request.parts["kid"]))

    def _disable(self, request: Request) -> Reply:
        even_current = request.json().get("even_current", False)
        if not isinstance(even_current, bool):
            raise Problem(422, "invalid_even_current", "even_current is true or false")
        return Reply(200, self.keys.disable(request.parts["kid"], even_current=even_current))

    def _delete_key(self, request: Request) -> Reply:
        self.keys.delete(request.parts["kid"])
        return Reply(204, None)

    def _canary(self, request: Request) -> Reply:
        audience = request.json().get("audience")
        # The admin API must never be a way to a token that opens anything, so the audience is a canary's or nothing.
        if not isinstance(audience, str) or not CANARY_AUDIENCE.fullmatch(audience):
            raise Problem(422, "invalid_audience", "the audience must be canary:<gateway>")
        # Five virtual minutes would be gone before they arrive when time runs fast.
        life = max(300.0, 5 * self.clock.rate)
        claims = {**self._claims(audience, life), "sub": "canary", "scope": "canary"}
        token = self.keys.sign_canary(request.parts["kid"], claims)
        return Reply(200, {"token": token, "expires_in": life}, {"Cache-Control": "no-store"})

    def _create_api_key(self, request: Request) -> Reply:
        body = request.json()
        client, scope, life = body.get("client"), body.get("scope", "read"), body.get("expires_in")
        if not isinstance(client, str) or not NAME.fullmatch(client):
            raise Problem(422, "invalid_client_name", "client must be a short name of a-z, 0-9 and -")
        if not isinstance(scope, str) or not _scopes(scope) or not _scopes(scope) <= SCOPES:
            raise Problem(422, "invalid_scope", "scope may hold read and write")
        if life is not None and (isinstance(life, bool) or not isinstance(life, int | float) or not 0 < life < 4e9):
            raise Problem(422, "invalid_expiry", "expires_in must be a positive number of seconds")
        key, value = self.api_keys.create(client, _marker(body), " ".join(sorted(_scopes(scope))), life)
        return Reply(201, {**key, "value": value}, {"Cache-Control": "no-store"})

    def _delete_api_key(self, request: Request) -> Reply:
        self.api_keys.delete(request.parts["id"])
        return Reply(204, None)

    def _switch(self, request: Request, enabled: bool) -> Reply:
        return Reply(200, self.api_keys.switch(request.parts["id"], enabled))


def _marker(body: dict[str, Any]) -> str | None:
    marker = body.get("marker")
    if marker is not None and (not isinstance(marker, str) or not MARKER.fullmatch(marker)):
        raise Problem(422, "invalid_marker", "a marker is up to 128 letters, digits and . _ : / # -")
    return marker


def _scopes(text: str) -> set[str]:
    return set(text.replace(",", " ").split())


def _basic(request: Request) -> tuple[str, str]:
    scheme, _, coded = request.headers.get("Authorization", "").partition(" ")
    try:
        client, separator, value = base64.b64decode(coded.strip(), validate=True).decode().partition(":")
    except ValueError:
        separator = ""
    if scheme.lower() != "basic" or not separator:
        raise Problem(401, "invalid_client", "send client and API key as Basic", {"WWW-Authenticate": "Basic"})
    return client, value
