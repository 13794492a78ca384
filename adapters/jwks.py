"""The published key set and its verifiers, tested by canary tokens that are signed by exactly the key in question."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Literal
from urllib.parse import quote

from pydantic import Field, SecretStr

from adapters._fields import Address, Name, PublicId, Reference
from adapters._web import Answer, Shape, Web, ask_each
from bot.contracts.adapter import Fact, Known, Model, Probe, Reading, Run, Secrets
from bot.core.errors import Permanent, Transient
from bot.core.secret import Secret, SecretReference

HINT = "check admin_token under adapters.jwks.services, and that the token is an admin's"
SIGNATURE_REFUSED = ("unknown_kid", "bad_signature")

Names = Annotated[list[Name], Field(min_length=1, max_length=1000)]


class Service(Model):
    """One issuer of tokens."""

    admin_token: Reference


class Verifier(Model):
    """One gateway. `audience` is what its canary tokens are made out to, `canary:<name>` unless it says otherwise."""

    url: Address
    audience: str = Field(default="", pattern=r"^[a-z0-9:._-]{0,100}$")


class Config(Model):
    """Issuers by address and verifiers by name; no other address is ever contacted."""

    services: dict[Address, Service] = Field(default_factory=dict)
    gateways: dict[Name, Verifier] = Field(default_factory=dict)


class _Jwk(Shape):
    kid: str
    kty: str
    crv: str = ""
    x: str = ""
    y: str = ""


class _Jwks(Shape):
    keys: list[_Jwk]


class _Key(Shape):
    kid: str
    state: str


class _Keys(Shape):
    keys: list[_Key]


class _Token(Shape):
    token: SecretStr


class _Stats(Shape):
    cache_ttl_seconds: float
    kids: list[str]


class _Accepted(Shape):
    kid: str


class _Me(Shape):
    role: Literal["admin", "viewer"]


class Client:
    """Mints canaries at the issuer and presents them to gateways; a canary opens nothing but a gateway's own test."""

    def __init__(self, config: Config, secrets: Secrets) -> None:
        self._services, self._gateways, self._secrets = config.services, config.gateways, secrets
        self._issuer = Web("the identity service", HINT)
        self._verifier = Web("the gateway", "the gateway refused a canary; look at its own log")

    def access(self, permissions: Collection[str], run: Run) -> Collection[str]:
        """Canaries are minted with the admin's token; everything else is public."""
        if not permissions:
            return ()
        if not self._services:
            raise Permanent("no issuer is configured", "list it under adapters.jwks.services")
        for service in self._services:
            try:
                if self._admin(run, service, "GET", "whoami").read(_Me).role != "admin":
                    return tuple(permissions)
            except Permanent:
                return tuple(permissions)
        return ()

    def served(self, run: Run, service: str) -> list[str]:
        """The kids of the usable P-256 keys that the issuer publishes."""
        answer = self._issuer.get(run, f"{self._known(service)}/.well-known/jwks.json").read(_Jwks)
        return [key.kid for key in answer.keys if key.kty == "EC" and key.crv == "P-256" and key.x and key.y]

    def signing_kid(self, run: Run, service: str) -> str:
        """The kid of the key that signs."""
        keys = self._admin(run, service, "GET", "keys").read(_Keys).keys
        kid = next((key.kid for key in keys if key.state == "current"), None)
        if kid is None:
            raise Permanent("no key signs tokens", "restore the keys from a backup, or make a first one")
        return kid

    def mint(self, run: Run, service: str, kid: str, gateway: str) -> Secret | None:
        """A canary for one gateway, signed by this key even if it is disabled; None when the key is gone."""
        audience = self._verifier_of(gateway).audience or f"canary:{gateway}"
        path = f"keys/{quote(kid, safe='')}/canary"
        answer = self._admin(run, service, "POST", path, {"audience": audience}, expect=(404,))
        return None if answer.status == 404 else Secret(answer.read(_Token).token.get_secret_value())

    def refusal(self, run: Run, gateway: str, canary: Secret, kid: str) -> str:
        """Why the gateway refuses the canary; empty when it accepts it as signed by this key."""
        answer = self._verifier.get(run, f"{self._verifier_of(gateway).url}/canary", token=canary, expect=(401,))
        if answer.status == 401:
            return answer.code or "refused without a reason"
        return "" if answer.read(_Accepted).kid == kid else "taken for a token of another key"

    def stats(self, run: Run, gateway: str) -> _Stats:
        """How long the gateway keeps the key set, and the kids it says it knows."""
        return self._verifier.get(run, f"{self._verifier_of(gateway).url}/stats").read(_Stats)

    def _admin(
        self,
        run: Run,
        service: str,
        method: str,
        path: str,
        body: dict[str, str] | None = None,
        expect: Collection[int] = (),
    ) -> Answer:
        address = self._known(service)
        token = self._secrets.read(SecretReference.parse(self._services[address].admin_token))
        url = f"{address}/api/v1/admin/{path}"
        return self._issuer.call(run, method, url, token=token, body=body, expect=expect)

    def _known(self, service: str) -> str:
        if service not in self._services:
            raise Permanent("this issuer is not configured", "list it under adapters.jwks.services")
        return service

    def _verifier_of(self, gateway: str) -> Verifier:
        if gateway not in self._gateways:
            raise Permanent(f"the gateway {gateway} is not configured", "list it under adapters.jwks.gateways")
        return self._gateways[gateway]


class KeyServed(Probe):
    """The issuer publishes this key."""

    class Params(Model):
        service: Address
        kid: PublicId

    client: Client

    def measure(self, p: Params, run: Run) -> Reading:
        kids = self.client.served(run, p.service)
        told = f"the key set holds {len(kids)} keys, {p.kid} {'among them' if p.kid in kids else 'NOT among them'}"
        return Reading(told, passed=p.kid in kids)


class CanaryAcceptedEverywhere(Probe):
    """Every gateway lets in a token signed by this key, so it may sign for everybody."""

    permissions = ("keys: canary",)

    class Params(Model):
        service: Address
        kid: PublicId
        gateways: Names

    client: Client

    def measure(self, p: Params, run: Run) -> Reading:
        def ask(gateway: str) -> str:
            canary = self.client.mint(run, p.service, p.kid, gateway)
            if canary is None:
                raise Permanent(f"the service has no key {p.kid}", "look at its list of keys; somebody deleted it")
            return self.client.refusal(run, gateway, canary, p.kid)

        refused = [f"{gateway} ({why})" for gateway, why in ask_each(p.gateways, ask) if why]
        told = f"{len(p.gateways) - len(refused)} of {len(p.gateways)} gateways accept {p.kid}"
        return Reading(f"{told}; not {', '.join(refused[:5])}" if refused else told, passed=not refused)


class OldRefusedEverywhere(Probe):
    """The dead check: every gateway refuses a fresh token of the old key, and lets one of the current key in.

    The second half is the control: without it, a gateway that refuses everybody would look like proof. Where the issuer
    has deleted the old key it can mint nothing; then the gateways' own lists of keys have to do.
    """

    permissions = ("keys: canary",)

    class Params(Model):
        service: Address
        kid: PublicId
        """The old one."""
        gateways: Names

    client: Client

    def measure(self, p: Params, run: Run) -> Reading:
        current = self.client.signing_kid(run, p.service)
        if current == p.kid:
            return Reading(f"{p.kid} still signs new tokens", passed=False)
        found = list(ask_each(p.gateways, lambda gateway: self._judge(p, run, gateway, current)))
        problems = [f"{gateway} {problem}" for gateway, (problem, _) in found if problem]
        listed = sum(by_list for _, (_, by_list) in found)
        told = f"{len(p.gateways) - len(problems)} of {len(p.gateways)} gateways refuse {p.kid} and accept {current}"
        told += f" ({listed} judged by their lists of keys only)" if listed else ""
        return Reading(f"{told}; {', '.join(problems[:5])}" if problems else told, passed=not problems)

    def _judge(self, p: Params, run: Run, gateway: str, current: str) -> tuple[str, bool]:
        """What is wrong at one gateway, empty when nothing is, and whether only its list of keys says so."""
        control = self.client.mint(run, p.service, current, gateway)
        why = "the key is gone" if control is None else self.client.refusal(run, gateway, control, current)
        if why:
            raise Transient(f"{gateway} refuses the current key too ({why}), so it proves nothing about the old one")
        old = self.client.mint(run, p.service, p.kid, gateway)
        if old is None:
            return "lists it" if p.kid in self.client.stats(run, gateway).kids else "", True
        return _problem(self.client.refusal(run, gateway, old, p.kid)), False


class CacheTtl(Fact):
    """How long a gateway may go on with an old key set, in seconds: the longest of all."""

    class Params(Model):
        gateways: Names

    client: Client

    def read(self, p: Params, run: Run) -> Known:
        found = dict(ask_each(p.gateways, lambda gateway: self.client.stats(run, gateway).cache_ttl_seconds))
        slowest = max(found, key=lambda gateway: found[gateway])
        if not all(0 < ttl <= 30 * 86400 for ttl in found.values()):
            raise Permanent("a gateway names no believable cache life", "look at its /stats")
        return Known(found[slowest], f"cache_ttl_seconds of {slowest}, the longest of {len(found)} gateways")


def _problem(refusal: str) -> str:
    if not refusal:
        return "STILL accepts it"
    return "" if refusal in SIGNATURE_REFUSED else f"refuses it, but for another reason ({refusal})"
