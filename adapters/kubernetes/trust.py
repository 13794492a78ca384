"""Bundles of certificate authorities: a new one is added beside the others, and an old one taken out again."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import Annotated, Any

from pydantic import Field

from adapters.kubernetes.client import Client, Conflict, Found
from adapters.kubernetes.marks import Marks, annotated, drop, keep, kept, marks_of
from adapters.kubernetes.names import Bundle, DataKey, InNamespace, ObjectName
from adapters.kubernetes.pem import blocks_of, is_ca
from adapters.kubernetes.permissions import Placed, known_text, narrowed
from adapters.kubernetes.places import Place, secret
from adapters.kubernetes.secret import look, look_if_any
from bot.contracts.adapter import Absent, Effect, Fact, Known, Observed, Operation, Outputs, Present, Run
from bot.core.errors import Permanent, Transient

TRIES = 5
TRUSTED, DISTRUSTED = "trusted authorities", "distrusted authorities"
Fingerprint = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""SHA-256 of a certificate, in hex."""


class InBundle(InNamespace):
    """An entry of a ConfigMap or Secret that holds certificates in PEM."""

    bundle: Bundle
    key: DataKey = "ca.crt"

    @property
    def place(self) -> Place:
        """The object that holds the bundle."""
        kind, _, name = self.bundle.partition("/")
        return Place(self.cluster, f"{kind}s", self.namespace, name)


class OnBundle(Placed):
    """Narrows permissions to the bundle's own object."""

    named = {"configmaps": "bundle", "secrets": "bundle"}  # noqa: RUF012
    permissions = ("configmaps: get, patch", "secrets: get, patch")


def _text(p: InBundle, found: Found) -> str:
    held = (found.get("data") or {}).get(p.key)
    if not isinstance(held, str):
        raise Permanent(f"{p.place} has no {p.key}", "correct the name of the entry")
    if p.place.resource == "configmaps":
        return held
    try:
        return base64.b64decode(held, validate=True).decode()
    except (binascii.Error, ValueError):
        raise Permanent(f"{p.key} of {p.place} is no text", "correct the name of the entry") from None


Decide = Callable[[str, Marks], str | None]


def _edit(client: Client, run: Run, p: InBundle, decide: Decide) -> None:
    """Change the bundle by what `decide` makes of it as it is now; others' changes in between are kept."""
    for _ in range(TRIES):
        found = client.get(run, p.place)
        marks = marks_of(found)
        text = decide(_text(p, found), marks)
        if text is None:
            return
        if found.get("immutable") is True:
            raise Permanent(f"{p.place} is immutable", "make it anew without immutable: true")
        held = text if p.place.resource == "configmaps" else base64.b64encode(text.encode()).decode()
        about = {"resourceVersion": found["metadata"].get("resourceVersion"), "annotations": annotated(marks)}
        try:
            client.patch(run, p.place, {"metadata": about, "data": {p.key: held}})
        except Conflict:
            continue
        return
    raise Transient(f"others change {p.place} all the time; nothing was done to it")


def _with(text: str, block: str) -> str:
    return f"{text}{'' if not text or text.endswith(chr(10)) else chr(10)}{block.strip()}\n"


class TrustCa(OnBundle, Operation):
    """Add the certificate authority of a Secret to a bundle, beside those that are trusted already.

    Undoing takes it out again, unless a certificate of it may have been issued meanwhile: servers may present that one.
    """

    effect = Effect.CHANGES
    outputs = ("fingerprint", "bundle")

    class Params(InBundle):
        from_secret: ObjectName
        """The Secret that holds the authority's certificate."""
        from_key: DataKey = "ca.crt"
        secret: ObjectName | None = None
        """The Secret into which certificates are issued; its `ca.crt` says of which authority the present one is."""

    client: Client

    @classmethod
    def needs(cls, known: Mapping[str, Any]) -> tuple[str, ...]:
        cluster, namespace = known_text(known, "cluster", "default"), known_text(known, "namespace")
        names = (known_text(known, name) for name in ("from_secret", *(("secret",) if known.get("secret") else ())))
        return (*super().needs(known), *(narrowed("secrets: get", cluster, namespace, name) for name in names))

    def observe(self, p: Params, run: Run) -> Observed:
        found = self.client.get(run, p.place)
        note = kept(marks_of(found), TRUSTED, run.token)
        if note is None:
            fingerprint, _ = self._authority(p, run)
        else:
            fingerprint = str(note.get("fingerprint"))
        there = fingerprint in blocks_of(_text(p, found))
        return Present({"fingerprint": fingerprint, "bundle": p.bundle}) if there else Absent()

    def ensure(self, p: Params, run: Run) -> Outputs:
        fingerprint, block = self._authority(p, run)

        def decide(text: str, marks: Marks) -> str | None:
            if fingerprint in blocks_of(text):
                return None
            keep(marks, TRUSTED, run.token, {"fingerprint": fingerprint})
            return _with(text, block)

        _edit(self.client, run, p, decide)
        return {"fingerprint": fingerprint, "bundle": p.bundle}

    def undo(self, p: Params, run: Run, outputs: Outputs) -> str | None:
        left: str | None = None

        def decide(text: str, marks: Marks) -> str | None:
            nonlocal left
            note = kept(marks, TRUSTED, run.token)
            fingerprint = str(note.get("fingerprint")) if note else ""
            block = blocks_of(text).get(fingerprint)
            if block is None:
                return None
            if run.relied_on or self._has_issued(p, run, fingerprint):
                left = f"the authority {fingerprint} stays in {p.place}: a certificate of it may be in use"
                return None
            drop(marks, TRUSTED, run.token)
            return text.replace(block, "", 1)

        _edit(self.client, run, p, decide)
        if left:
            run.log.warning(left)
        return left

    def _has_issued(self, p: Params, run: Run, fingerprint: str) -> bool:
        if p.secret is None:
            return False
        view = look_if_any(self.client, run, secret(p.cluster, p.namespace, p.secret))
        value = view.value("ca.crt") if view is not None else None
        return value is None or fingerprint in blocks_of(value.reveal().decode("ascii", "replace"))

    def _authority(self, p: Params, run: Run) -> tuple[str, str]:
        view = look(self.client, run, secret(p.cluster, p.namespace, p.from_secret))
        value = view.value(p.from_key)
        found = {} if value is None else blocks_of(value.reveal().decode("ascii", "replace"))
        for fingerprint, block in found.items():
            if is_ca(block):
                return fingerprint, block
        raise Permanent(f"{p.from_key} of {view.place} holds no certificate authority", "correct the name of the entry")


class OutgoingCa(Placed, Fact):
    """The authority that has issued a certificate, where its issuer has another one by now: a list of one, or none.

    It is read from the certificate's own Secret, so it names no authority that others need in the same bundle.
    """

    permissions = ("secrets: get",)

    class Params(InNamespace):
        secret: ObjectName
        """The Secret into which the certificate is issued."""
        from_secret: ObjectName
        """The Secret that holds the certificate of the issuer's present authority."""
        from_key: DataKey = "ca.crt"

    client: Client

    @classmethod
    def needs(cls, known: Mapping[str, Any]) -> tuple[str, ...]:
        at = known_text(known, "cluster", "default"), known_text(known, "namespace")
        return tuple(narrowed("secrets: get", *at, known_text(known, name)) for name in ("secret", "from_secret"))

    def read(self, p: Params, run: Run) -> Known:
        held = _certificates(self.client, run, secret(p.cluster, p.namespace, p.secret), "ca.crt")
        present = _certificates(self.client, run, secret(p.cluster, p.namespace, p.from_secret), p.from_key)
        if not present:
            raise Permanent(f"{p.from_key} of {p.from_secret} holds no certificate", "correct the name of the entry")
        outgoing = sorted(set(held) - set(present))
        told = "is not the issuer's any more" if outgoing else "is the issuer's" if held else "is not kept there"
        return Known([*outgoing], f"ca.crt of Secret {p.namespace}/{p.secret}, which {told}")


def _certificates(client: Client, run: Run, place: Place, key: str) -> dict[str, str]:
    value = look(client, run, place).value(key)
    return {} if value is None else blocks_of(value.reveal().decode("ascii", "replace"))


class DistrustCa(OnBundle, Operation):
    """Take a certificate authority out of a bundle; never the last one. It can be brought back."""

    effect = Effect.CHANGES
    outputs = ("fingerprint", "bundle")

    class Params(InBundle):
        fingerprint: Fingerprint

    client: Client

    def observe(self, p: Params, run: Run) -> Observed:
        there = p.fingerprint in blocks_of(_text(p, self.client.get(run, p.place)))
        return Absent() if there else Present({"fingerprint": p.fingerprint, "bundle": p.bundle})

    def ensure(self, p: Params, run: Run) -> Outputs:
        def decide(text: str, marks: Marks) -> str | None:
            found = blocks_of(text)
            if p.fingerprint not in found:
                return None
            if len(found) == 1:
                raise Permanent(f"it is the only authority in {p.key} of {p.place}", "add the new one first")
            keep(marks, DISTRUSTED, run.token, {"fingerprint": p.fingerprint, "pem": found[p.fingerprint]})
            return text.replace(found[p.fingerprint], "", 1)

        _edit(self.client, run, p, decide)
        return {"fingerprint": p.fingerprint, "bundle": p.bundle}

    def undo(self, p: Params, run: Run, outputs: Outputs) -> None:
        def decide(text: str, marks: Marks) -> str | None:
            note = kept(marks, DISTRUSTED, run.token)
            if note is None or p.fingerprint in blocks_of(text):
                return None
            block = str(note.get("pem"))
            if p.fingerprint not in blocks_of(block):
                raise Permanent(f"the note on {p.place} was changed", "add the authority by hand")
            drop(marks, DISTRUSTED, run.token)
            return _with(text, block)

        _edit(self.client, run, p, decide)
