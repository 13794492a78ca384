"""API keys: create straight into a store, prove, disable, delete, and see the old one refused."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import Field

from adapters._fields import Address, Name, PublicId, Reference
from adapters.identity.client import ApiKey, Client
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
    Probe,
    Reading,
    Run,
    Sensor,
    Sighting,
    Unclear,
)
from bot.core.errors import Ambiguous, KeyturnError, Permanent, Transient
from bot.core.secret import Secret, SecretReference


class CreateApiKey(Operation):
    """Create an API key and write its value straight into a store, as a version that is not yet the current one.

    Only the service knows the value, and shows it once. A crash before it is stored leaves a key with our marker that
    nobody can use; `ensure` deletes it before it creates another. The version is stored under the marker and the key's
    id, so that what is found in the store is known to belong to the key that is found at the service. Where the store
    does not say whether it was stored, the key stays until the next attempt, or the undoing, has looked.

    Undoing deletes it, unless a later step has done something: consumers may have taken it by then.
    """

    effect = Effect.CREATES
    permissions = ("api-keys: read", "api-keys: write")
    outputs = ("key_id", "secret", "version")

    class Params(Model):
        service: Address
        client: Name
        to: Reference
        """Where the value goes: a place, without a version."""
        scope: Annotated[str, Field(pattern=r"^[a-z0-9:._, -]{1,200}$")]
        expires_in: Annotated[float, Field(gt=0, le=4e9)] | None = None
        """Seconds; None: the key does not expire."""

    client: Client

    def observe(self, p: Params, run: Run) -> Observed:
        stored = [outputs for key in self._marked(p, run) if (outputs := self._stored(p, run, key)) is not None]
        if len(stored) > 1:
            return Unclear(f"this step has made {len(stored)} keys and stored them all: {_names(stored)}")
        return Present(stored[0]) if stored else Absent()

    def ensure(self, p: Params, run: Run) -> Outputs:
        found = self.observe(p, run)
        if isinstance(found, Present):
            return found.outputs
        if isinstance(found, Unclear):
            raise Ambiguous("it cannot be told which key is the right one", found.why)
        for orphan in self._marked(p, run):
            self.client.delete_api_key(run, p.service, orphan.id)
        key_id, value = self.client.create_api_key(run, p.service, p.client, p.scope, p.expires_in)
        try:
            place = run.secrets.put(_place(p.to), value, marker=_marker(run, key_id), label=key_id)
            kept = run.secrets.read(place) == value
        except (Transient, Ambiguous):
            raise  # it may be stored: deleted now, its entry would stay, and be found by nobody
        except Exception:
            self._discard(p, run, key_id)
            raise
        if not kept:
            self._discard(p, run, key_id)
            raise Ambiguous(f"{place} does not hold what was written", "the new key was deleted; look at the store")
        return _outputs(key_id, place)

    def undo(self, p: Params, run: Run, outputs: Outputs) -> str | None:
        if run.relied_on and (left := self._marked(p, run)):
            told = f"{', '.join(key.id for key in left)} stays enabled and stored: whoever took it may still present it"
            run.log.warning(told)
            return f"{told}; disable and delete it when nobody does"
        # The stored value goes first: without its key it could not be found again. The current one is never erased.
        for key in self._marked(p, run):
            place = run.secrets.find(_place(p.to), _marker(run, key.id))
            if place is not None:
                run.secrets.discard(place)
            self.client.delete_api_key(run, p.service, key.id)
        if outputs.get("secret"):
            run.secrets.discard(SecretReference.parse(str(outputs["secret"])))
        return None

    def _marked(self, p: Params, run: Run) -> list[ApiKey]:
        return [key for key in self.client.api_keys(run, p.service) if key.marker == run.token]

    def _stored(self, p: Params, run: Run, key: ApiKey) -> Outputs | None:
        place = run.secrets.find(_place(p.to), _marker(run, key.id))
        return None if place is None else _outputs(key.id, place)

    def _discard(self, p: Params, run: Run, key_id: str) -> None:
        try:
            self.client.delete_api_key(run, p.service, key_id)
        except KeyturnError:
            run.log.warning("%s could not be stored nor deleted; its marker tells the next attempt", key_id)


class DisableApiKey(Operation):
    """Disable an API key; it can be enabled again.

    `changed` is false where it was disabled before: undoing then leaves it so, for somebody had a reason.
    """

    effect = Effect.CHANGES
    permissions = ("api-keys: read", "api-keys: write")
    outputs = ("key_id", "changed")

    class Params(Model):
        service: Address
        key_id: PublicId

    client: Client

    def observe(self, p: Params, run: Run) -> Observed:
        key = self.client.api_key(run, p.service, p.key_id)
        if key is None:
            return Unclear(f"the service has no API key {p.key_id} any more")
        return Present({"key_id": p.key_id, "changed": True}) if not key.enabled else Absent()

    def ensure(self, p: Params, run: Run) -> Outputs:
        key = self.client.api_key(run, p.service, p.key_id)
        changed = key is None or key.enabled
        if changed:
            self.client.switch_api_key(run, p.service, p.key_id, enabled=False)
        return {"key_id": p.key_id, "changed": changed}

    def undo(self, p: Params, run: Run, outputs: Outputs) -> None:
        if outputs.get("changed", True):
            self.client.switch_api_key(run, p.service, p.key_id, enabled=True)


class DeleteApiKey(Operation):
    """Delete a disabled API key for good."""

    effect = Effect.DESTROYS
    permissions = ("api-keys: read", "api-keys: write")
    outputs = ("key_id",)

    class Params(Model):
        service: Address
        key_id: PublicId

    client: Client

    def observe(self, p: Params, run: Run) -> Observed:
        key = self.client.api_key(run, p.service, p.key_id)
        return Present({"key_id": p.key_id}) if key is None else Absent()

    def ensure(self, p: Params, run: Run) -> Outputs:
        key = self.client.api_key(run, p.service, p.key_id)
        if key is not None and key.enabled:
            raise Permanent(f"{p.key_id} is enabled", "disable it first, and see that nobody misses it")
        self.client.delete_api_key(run, p.service, p.key_id)
        return {"key_id": p.key_id}

    def undo(self, p: Params, run: Run, outputs: Outputs) -> None:
        if self.client.api_key(run, p.service, p.key_id) is None:
            raise Permanent(f"{p.key_id} is deleted and cannot be brought back", "create another key")


class ApiKeyWorks(Probe):
    """A client can log in with the API key at `secret`."""

    class Params(Model):
        service: Address
        client: Name
        secret: Reference

    client: Client

    def measure(self, p: Params, run: Run) -> Reading:
        good = self.client.admits(run, p.service, p.client, _value(run, p.secret))
        return Reading(f"the key at {p.secret} is {'accepted' if good else 'refused'}", passed=good)


class ApiKeyRefused(Probe):
    """The dead check: the service refuses the API key at `secret`."""

    class Params(Model):
        service: Address
        client: Name
        secret: Reference

    client: Client

    def measure(self, p: Params, run: Run) -> Reading:
        good = self.client.admits(run, p.service, p.client, _value(run, p.secret))
        return Reading(f"the key at {p.secret} is {'STILL accepted' if good else 'refused'}", passed=not good)


class ApiKeyLastUsed(Sensor):
    """When somebody last presented an API key to the service, accepted or not."""

    permissions = ("api-keys: read",)

    class Params(Model):
        service: Address
        key_id: PublicId

    client: Client

    def last_seen(self, p: Params, run: Run) -> Sighting:
        key = self.client.api_key(run, p.service, p.key_id)
        if key is None:
            raise Permanent(f"the service has no API key {p.key_id}", "look at its list of keys")
        uses = [moment for moment in (key.last_used_at, key.last_refused_at) if moment is not None]
        evidence = f"the service has counted {p.key_id} since it was created"
        return Sighting(key.created_at, evidence, at=max(uses, default=None), by=(key.client,) if uses else ())


class CurrentApiKey(Fact):
    """The id of the API key that a client uses: the one whose value is current in its store, as the store's label says.

    Where no label says so, for a key that was put there by hand, it is the enabled one that was used last. Keys that
    the calling rotation has made do not count, so the fact does not move while the new key is being tried.
    """

    permissions = ("api-keys: read",)

    class Params(Model):
        service: Address
        client: Name
        at: Reference | None = None
        """Where its value is kept: a place, without a version."""

    client: Client

    def read(self, p: Params, run: Run) -> Known:
        keys = [
            key
            for key in self.client.api_keys(run, p.service)
            if key.client == p.client and key.enabled and not _made_by(key, run.rotation)
        ]
        label = run.secrets.label(_place(p.at)) if p.at is not None else ""
        if any(key.id == label for key in keys):
            return Known(label, f"the key whose value is current at {p.at}")
        used = [key for key in keys if key.last_used_at is not None] or (keys if len(keys) == 1 else [])
        if not used:
            told = f"{len(keys)} enabled keys, none of them used" if keys else "no enabled key"
            raise Permanent(f"{p.client} has {told}", "say which key it uses, or create one by hand first")
        return Known(max(used, key=_last_used).id, "the enabled key that was used last")


def _last_used(key: ApiKey) -> tuple[datetime, datetime]:
    return key.last_used_at or key.created_at, key.created_at


def _made_by(key: ApiKey, rotation: str) -> bool:
    return bool(rotation) and f"-{rotation}-" in f"-{key.marker or ''}-"


def _marker(run: Run, key_id: str) -> str:
    return f"{run.token}-{key_id}"


def _place(to: str) -> SecretReference:
    place = SecretReference.parse(to)
    if place.version:
        raise Permanent("the destination names a version", "write store:path; the version is chosen when it is written")
    return place


def _value(run: Run, reference: str) -> Secret:
    return run.secrets.read(SecretReference.parse(reference))


def _outputs(key_id: str, place: SecretReference) -> Outputs:
    return {"key_id": key_id, "secret": str(place), "version": place.version}


def _names(found: list[Outputs]) -> str:
    return ", ".join(str(outputs["key_id"]) for outputs in found)
