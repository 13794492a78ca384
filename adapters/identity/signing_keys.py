"""Signing keys: publish beside the old one, promote, disable; and a first key where there is none."""

from __future__ import annotations

from adapters._fields import Address, PublicId
from adapters.identity.client import Client, SigningKey
from bot.contracts.adapter import (
    Absent,
    Effect,
    Fact,
    Known,
    Model,
    Observed,
    Operation,
    Outputs,
    Present,
    Run,
    Unclear,
)
from bot.core.errors import Permanent


class PublishKey(Operation):
    """Publish a new ES256 key in the JWKS; the old one goes on signing.

    Undone, the key is deleted. A key that has signed meanwhile cannot be: it stays published, so that its tokens live
    to their end, but it does not sign.
    """

    effect = Effect.CREATES
    permissions = ("keys: read", "keys: write")
    outputs = ("kid",)

    class Params(Model):
        service: Address

    client: Client

    def observe(self, p: Params, run: Run) -> Observed:
        key = self._marked(p, run)
        if key is None:
            return Absent()
        if key.state == "disabled":
            return Unclear(f"{key.kid} was published by this step, and somebody has disabled it")
        return Present({"kid": key.kid})

    def ensure(self, p: Params, run: Run) -> Outputs:
        key = self.client.publish(run, p.service)
        if key.state == "disabled":
            raise Permanent(f"{key.kid} was published by this step, and somebody has disabled it", "find out why")
        return {"kid": key.kid}

    def undo(self, p: Params, run: Run, outputs: Outputs) -> None:
        key = self._marked(p, run)
        if key is None:
            return
        if key.state == "current":
            raise Permanent(f"{key.kid} signs tokens", "promote the key from before first")
        if key.state == "previous" and key.last_signed_at is not None:
            run.log.warning("%s has signed tokens and stays published until they have run out", key.kid)
            return
        if key.state == "previous":
            self.client.change_key(run, p.service, key.kid, "disable")
        self.client.delete_key(run, p.service, key.kid)

    def _marked(self, p: Params, run: Run) -> SigningKey | None:
        return next((key for key in self.client.signing_keys(run, p.service) if key.marker == run.token), None)


class PromoteKey(Operation):
    """Make a published key the one that signs new tokens, in place of `old`."""

    effect = Effect.CHANGES
    permissions = ("keys: read", "keys: write")
    outputs = ("kid", "previous")

    class Params(Model):
        service: Address
        kid: PublicId
        old: PublicId
        """The kid that signs until then."""
        emergency: bool = False
        """Whether the old key may have been disabled before; undone, it is enabled again so that it can sign."""

    client: Client

    def observe(self, p: Params, run: Run) -> Observed:
        key = self.client.signing_key(run, p.service, p.kid)
        if key is None:
            return Unclear(f"the key {p.kid} is gone")
        if key.state == "current":
            return Present({"kid": p.kid, "previous": p.old})
        if key.state == "disabled":
            return Unclear(f"the key {p.kid} is disabled")
        return Absent()

    def ensure(self, p: Params, run: Run) -> Outputs:
        signing = _signing(self.client.signing_keys(run, p.service))
        expected = (p.kid, p.old, None) if p.emergency else (p.kid, p.old)
        if signing not in expected:
            raise Permanent(f"{signing or 'no key'} signs, not {p.old}", "somebody changed the keys; plan again")
        if signing != p.kid:
            self.client.change_key(run, p.service, p.kid, "promote")
        return {"kid": p.kid, "previous": p.old}

    def undo(self, p: Params, run: Run, outputs: Outputs) -> None:
        keys = self.client.signing_keys(run, p.service)
        signing = _signing(keys)
        if signing == p.kid:
            if p.emergency and any(key.kid == p.old and key.state == "disabled" for key in keys):
                self.client.change_key(run, p.service, p.old, "enable")
            self.client.change_key(run, p.service, p.old, "promote")
        elif signing != p.old:
            raise Permanent(f"{signing or 'no key'} signs, neither {p.kid} nor {p.old}", "somebody changed the keys")


class DisableKey(Operation):
    """Take a key that no longer signs out of the JWKS; it can be enabled again.

    In an emergency also one that does sign: then nobody gets a token until another key is promoted, and undoing makes
    it sign again unless another one does by then. `changed` is false where it was disabled before: undoing then leaves
    it so, for somebody had a reason.
    """

    effect = Effect.CHANGES
    permissions = ("keys: read", "keys: write")
    outputs = ("kid", "changed")

    class Params(Model):
        service: Address
        kid: PublicId
        emergency: bool = False
        """Whether it may be the key that signs."""

    client: Client

    def observe(self, p: Params, run: Run) -> Observed:
        key = self.client.signing_key(run, p.service, p.kid)
        if key is None:
            return Unclear(f"the service has no key {p.kid} any more")
        return Present({"kid": p.kid, "changed": True}) if key.state == "disabled" else Absent()

    def ensure(self, p: Params, run: Run) -> Outputs:
        key = self.client.signing_key(run, p.service, p.kid)
        changed = key is None or key.state != "disabled"
        if changed:
            self.client.change_key(run, p.service, p.kid, "disable", even_current=p.emergency)
        return {"kid": p.kid, "changed": changed}

    def undo(self, p: Params, run: Run, outputs: Outputs) -> None:
        if not outputs.get("changed", True):
            return
        self.client.change_key(run, p.service, p.kid, "enable")
        if p.emergency and _signing(self.client.signing_keys(run, p.service)) is None:
            self.client.change_key(run, p.service, p.kid, "promote")


class BootstrapKey(Operation):
    """Make a first signing key for a service that has none; it signs at once."""

    effect = Effect.CREATES
    permissions = ("keys: read", "keys: write")
    outputs = ("kid",)

    class Params(Model):
        service: Address

    client: Client

    def observe(self, p: Params, run: Run) -> Observed:
        for key in self.client.signing_keys(run, p.service):
            if key.marker == run.token and key.state != "disabled":
                return Present({"kid": key.kid})
        return Absent()

    def ensure(self, p: Params, run: Run) -> Outputs:
        return {"kid": self.client.bootstrap(run, p.service).kid}

    def undo(self, p: Params, run: Run, outputs: Outputs) -> None:
        """Leave it: a service without a key is what was repaired."""


class SigningKid(Fact):
    """The kid of the key that signs new tokens."""

    permissions = ("keys: read",)

    class Params(Model):
        service: Address

    client: Client

    def read(self, p: Params, run: Run) -> Known:
        kid = _signing(self.client.signing_keys(run, p.service))
        if kid is None:
            raise Permanent("no key signs tokens", "restore the keys from a backup, or make a first one")
        return Known(kid, "the key in state current at the service")


def _signing(keys: list[SigningKey]) -> str | None:
    return next((key.kid for key in keys if key.state == "current"), None)
