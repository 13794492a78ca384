"""The identity service's admin API: every network call of this adapter is made here."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any, Literal
from urllib.parse import quote

from pydantic import Field, SecretStr

from adapters._fields import Address, Reference
from adapters._web import Answer, Shape, Web
from bot.contracts.adapter import Model, Run, Secrets
from bot.core.errors import Permanent
from bot.core.secret import Secret, SecretReference

HINT = "check admin_token under adapters.identity.services, and that the token is an admin's"


class Service(Model):
    """One identity service."""

    admin_token: Reference


class Config(Model):
    """Identity services by address; no other address is ever contacted."""

    services: dict[Address, Service] = Field(default_factory=dict)


class SigningKey(Shape):
    """A signing key as the service lists it; times are UTC."""

    kid: str
    state: Literal["next", "current", "previous", "disabled"]
    marker: str | None = None
    promoted_at: datetime | None = None
    last_signed_at: datetime | None = None


class ApiKey(Shape):
    """An API key as the service lists it; times are UTC."""

    id: str
    client: str
    enabled: bool
    created_at: datetime
    marker: str | None = None
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    last_refused_at: datetime | None = None


class Settings(Shape):
    """What the service is set to."""

    token_life_seconds: float
    jwks_max_age_seconds: float


class Health(Shape):
    """Whether the service reaches what it needs."""

    database: bool
    key_encryption: bool


class _Keys(Shape):
    keys: list[SigningKey]


class _ApiKeys(Shape):
    api_keys: list[ApiKey]


class _Created(Shape):
    id: str
    value: SecretStr


class _Me(Shape):
    role: Literal["admin", "viewer"]


class Client:
    """Speaks to the configured services as their admin."""

    def __init__(self, config: Config, secrets: Secrets) -> None:
        self._services, self._secrets = config.services, secrets
        self._web = Web("the identity service", HINT)

    def access(self, permissions: Collection[str], run: Run) -> Collection[str]:
        """Which permissions are missing at any of the services; a viewer may read only."""
        if not self._services:
            raise Permanent("no identity service is configured", "list it under adapters.identity.services")
        missing: set[str] = set()
        for service in self._services:
            try:
                role = self.role(run, service)
            except Permanent:
                return tuple(permissions)
            if role != "admin":
                missing.update(name for name in permissions if not name.endswith(": read"))
        return tuple(sorted(missing))

    def role(self, run: Run, service: str) -> str:
        """`admin` or `viewer`."""
        return self._admin(run, service, "GET", "whoami").read(_Me).role

    def health(self, run: Run, service: str) -> Health:
        """What the service says about itself, healthy or not."""
        return self._admin(run, service, "GET", "health", expect=(503,)).read(Health)

    def settings(self, run: Run, service: str) -> Settings:
        """Life of tokens and of the published key set."""
        return self._admin(run, service, "GET", "settings").read(Settings)

    # --- signing keys -------------------------------------------------------------------------------------------------

    def signing_keys(self, run: Run, service: str) -> list[SigningKey]:
        """All signing keys, disabled ones included."""
        return self._admin(run, service, "GET", "keys").read(_Keys).keys

    def signing_key(self, run: Run, service: str, kid: str) -> SigningKey | None:
        """One signing key, None when it is gone."""
        return next((key for key in self.signing_keys(run, service) if key.kid == kid), None)

    def publish(self, run: Run, service: str) -> SigningKey:
        """A new key that does not sign yet; the same marker gives the same key."""
        return self._admin(run, service, "POST", "keys/rotate", {"marker": run.token}).read(SigningKey)

    def bootstrap(self, run: Run, service: str) -> SigningKey:
        """A first key; the same marker gives the same key, and the service refuses where another one exists."""
        answer = self._admin(run, service, "POST", "keys/bootstrap", {"marker": run.token}, expect=(409,))
        if answer.status == 409:
            raise Permanent("the service has a signing key already", "nothing to repair; rotate instead")
        return answer.read(SigningKey)

    def change_key(
        self,
        run: Run,
        service: str,
        kid: str,
        word: Literal["promote", "disable", "enable"],
        *,
        even_current: bool = False,
    ) -> SigningKey:
        """Change a key's state; repeating it changes nothing. `even_current` disables also the key that signs."""
        body = {"even_current": True} if even_current else {}
        answer = self._admin(run, service, "POST", f"keys/{quote(kid, safe='')}/{word}", body, expect=(404, 409))
        if answer.status == 404:
            raise Permanent(f"the service has no key {kid}", "look at its list of keys; somebody deleted it")
        if answer.status == 409:
            raise Permanent(f"the service will not {word} {kid} ({answer.code})", "look at its list of keys")
        return answer.read(SigningKey)

    def delete_key(self, run: Run, service: str, kid: str) -> None:
        """Delete a key that has no tokens; quiet when it is gone."""
        self._delete(run, service, f"keys/{quote(kid, safe='')}", kid)

    # --- API keys -----------------------------------------------------------------------------------------------------

    def api_keys(self, run: Run, service: str) -> list[ApiKey]:
        """All API keys, without their values."""
        return self._admin(run, service, "GET", "api-keys").read(_ApiKeys).api_keys

    def api_key(self, run: Run, service: str, key_id: str) -> ApiKey | None:
        """One API key, None when it is gone."""
        return next((key for key in self.api_keys(run, service) if key.id == key_id), None)

    def create_api_key(
        self, run: Run, service: str, client: str, scope: str, expires_in: float | None
    ) -> tuple[str, Secret]:
        """A new key's id and value. Sent once: when the answer is lost, a key is left that only its marker tells."""
        body = {"client": client, "marker": run.token, "scope": scope, "expires_in": expires_in}
        created = self._admin(run, service, "POST", "api-keys", body).read(_Created)
        return created.id, Secret(created.value.get_secret_value())

    def switch_api_key(self, run: Run, service: str, key_id: str, *, enabled: bool) -> None:
        """Enable or disable a key; repeating it changes nothing."""
        word = "enable" if enabled else "disable"
        answer = self._admin(run, service, "POST", f"api-keys/{quote(key_id, safe='')}/{word}", {}, expect=(404,))
        if answer.status == 404:
            raise Permanent(f"the service has no API key {key_id}", "look at its list of keys; somebody deleted it")

    def delete_api_key(self, run: Run, service: str, key_id: str) -> None:
        """Delete a key; quiet when it is gone."""
        self._delete(run, service, f"api-keys/{quote(key_id, safe='')}", key_id)

    def admits(self, run: Run, service: str, client: str, value: Secret) -> bool:
        """Whether a client gets a token with this API key; the token is thrown away."""
        answer = self._web.call(
            run,
            "POST",
            f"{self._known(service)}/oauth2/token",
            basic=(client, value),
            form={"grant_type": "client_credentials"},
            expect=(401,),
        )
        if answer.status == 401 and answer.code != "invalid_client":
            raise Permanent(f"{answer.place} refused without saying that it is the key", "try the login by hand")
        return answer.status != 401

    def _delete(self, run: Run, service: str, path: str, name: str) -> None:
        answer = self._admin(run, service, "DELETE", path, expect=(404, 409))
        if answer.status == 409:
            raise Permanent(f"the service will not delete {name} ({answer.code})", "look at its list of keys")

    def _admin(
        self,
        run: Run,
        service: str,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        expect: Collection[int] = (),
    ) -> Answer:
        address = self._known(service)
        token = self._secrets.read(SecretReference.parse(self._services[address].admin_token))
        return self._web.call(run, method, f"{address}/api/v1/admin/{path}", token=token, body=body, expect=expect)

    def _known(self, service: str) -> str:
        if service not in self._services:
            raise Permanent("this identity service is not configured", "list it under adapters.identity.services")
        return service
