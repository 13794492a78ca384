"""Certificates of cert-manager: renewed on request, followed by their own conditions; their serial numbers."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any

from pydantic import Field

from adapters.kubernetes.client import Client, Conflict, Found
from adapters.kubernetes.marks import Marks, annotated, keep, kept, marks_of
from adapters.kubernetes.names import InNamespace, ObjectName
from adapters.kubernetes.pem import serial_of
from adapters.kubernetes.permissions import Placed
from adapters.kubernetes.places import Place
from adapters.kubernetes.said import said
from bot.contracts.adapter import (
    Absent,
    Effect,
    Fact,
    Known,
    Observed,
    Operation,
    Outputs,
    Present,
    Probe,
    Reading,
    Run,
)
from bot.core.errors import Permanent, Transient

RESOURCE, REQUESTS = "certificates.cert-manager.io", "certificaterequests.cert-manager.io"
REVISION = "cert-manager.io/certificate-revision"
RENEWALS = "renewals"
TRIES = 5
ON_CERTIFICATE = {RESOURCE: "certificate"}


class OneCertificate(InNamespace):
    """A Certificate of cert-manager."""

    certificate: ObjectName

    @property
    def place(self) -> Place:
        """The Certificate."""
        return Place(self.cluster, RESOURCE, self.namespace, self.certificate)


def revision_of(found: Found) -> int:
    """How often it was issued; 0 when never."""
    revision = (found.get("status") or {}).get("revision")
    return revision if isinstance(revision, int) else 0


def condition(found: Found, kind: str) -> Mapping[str, Any]:
    """A condition, empty when it is not there."""
    for one in (found.get("status") or {}).get("conditions") or []:
        if isinstance(one, dict) and one.get("type") == kind:
            return one
    return {}


def serial(client: Client, run: Run, p: OneCertificate, found: Found) -> str:
    """The serial number of what was issued last, from its request: that holds no private key. Empty when unknown."""
    uid, wanted = found["metadata"].get("uid"), str(revision_of(found))
    for page in client.pages(run, replace(p.place, resource=REQUESTS, name="")):
        for one in page:
            about = one.get("metadata") or {}
            owned = any(owner.get("uid") == uid for owner in about.get("ownerReferences") or [])
            if owned and (about.get("annotations") or {}).get(REVISION) == wanted:
                return serial_of(_issued(one))
    return ""


def _issued(request: Found) -> str:
    """The certificate in PEM that a request has led to; empty when there is none yet."""
    try:
        return base64.b64decode(str((request.get("status") or {}).get("certificate") or "")).decode("ascii", "replace")
    except (binascii.Error, ValueError):
        return ""


def _check_key_changes(p: OneCertificate, found: Found) -> None:
    policy = ((found.get("spec") or {}).get("privateKey") or {}).get("rotationPolicy")
    if policy != "Always":
        raise Permanent(
            f"{p.certificate} may keep its private key when it is renewed (rotationPolicy {said(str(policy), 20)})",
            "set spec.privateKey.rotationPolicy of the Certificate to Always, then retry",
        )


class RenewCertificate(Placed, Operation):
    """Have a certificate issued anew now, as `cmctl renew` does. What is served changes when its consumers take it.

    It makes a new certificate beside the one before, which stays valid to its end; so undoing does nothing, for an
    issuance cannot be taken back. Refused where the private key would stay the same: cert-manager before 1.18 keeps it
    unless the Certificate says `privateKey: {rotationPolicy: Always}`, and nobody can tell from outside.
    """

    effect = Effect.CREATES
    permissions = (
        "certificates.cert-manager.io: get, patch",
        "certificates.cert-manager.io/status: patch",
        "certificaterequests.cert-manager.io: list",
    )
    named = ON_CERTIFICATE
    outputs = ("certificate", "previous_serial", "previous_revision")

    class Params(OneCertificate):
        """The certificate."""

    client: Client

    def observe(self, p: Params, run: Run) -> Observed:
        found = self.client.get(run, p.place)
        note = kept(marks_of(found), RENEWALS, run.token)
        return Present(_outputs(p, note)) if note is not None and _under_way(found, note) else Absent()

    def ensure(self, p: Params, run: Run) -> Outputs:
        for _ in range(TRIES):
            found = self.client.get(run, p.place)
            marks = marks_of(found)
            note = kept(marks, RENEWALS, run.token)
            _check_key_changes(p, found)
            try:
                if note is None:
                    note = {"serial": serial(self.client, run, p, found), "revision": revision_of(found)}
                    found = self._note(p, run, found, marks, note)
                if not _under_way(found, note):
                    self._issue(p, run, found)
            except Conflict:
                continue
            return _outputs(p, note)
        raise Transient(f"others change {p.place} all the time; nothing was done to it")

    def undo(self, p: Params, run: Run, outputs: Outputs) -> str | None:
        note = kept(marks_of(self.client.get(run, p.place)), RENEWALS, run.token)
        return None if note is None else f"{p.certificate} stays renewed; the certificate before is valid to its end"

    def _note(self, p: Params, run: Run, found: Found, marks: Marks, note: Mapping[str, Any]) -> Found:
        keep(marks, RENEWALS, run.token, note)
        version = found["metadata"].get("resourceVersion")
        about = {"resourceVersion": version, "annotations": annotated(marks)}
        return self.client.patch(run, p.place, {"metadata": about})

    def _issue(self, p: Params, run: Run, found: Found) -> None:
        others = [one for one in (found.get("status") or {}).get("conditions") or [] if one.get("type") != "Issuing"]
        mine = {
            "type": "Issuing",
            "status": "True",
            "reason": "ManuallyTriggered",
            "message": "Certificate re-issuance triggered by keyturn",
            "lastTransitionTime": run.now.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "observedGeneration": found["metadata"].get("generation"),
        }
        body = {
            "metadata": {"resourceVersion": found["metadata"].get("resourceVersion")},
            "status": {"conditions": [*others, mine]},
        }
        self.client.patch(run, p.place.part("status"), body)


def _under_way(found: Found, note: Mapping[str, Any]) -> bool:
    before = note.get("revision")
    done = isinstance(before, int) and revision_of(found) > before
    return done or condition(found, "Issuing").get("status") == "True"


def _outputs(p: OneCertificate, note: Mapping[str, Any]) -> Outputs:
    return {
        "certificate": p.certificate,
        "previous_serial": note.get("serial"),
        "previous_revision": note.get("revision"),
    }


class CertificateReady(Placed, Probe):
    """A certificate is Ready by cert-manager's own condition, and issued later than `after_revision`."""

    permissions = ("certificates.cert-manager.io: get",)
    named = ON_CERTIFICATE

    class Params(OneCertificate):
        after_revision: Annotated[int, Field(ge=0)] = 0

    client: Client

    def measure(self, p: Params, run: Run) -> Reading:
        found = self.client.get(run, p.place)
        revision, ready, issuing = revision_of(found), condition(found, "Ready"), condition(found, "Issuing")
        late = revision <= p.after_revision
        if (
            late
            and issuing.get("status") == "False"
            and issuing.get("reason") in ("Failed", "Denied", "InvalidRequest")
        ):
            raise Permanent(
                f"{p.certificate} could not be issued: {said(issuing.get('message'))}",
                "look at its CertificateRequest and its issuer, then retry",
            )
        told = f"{p.certificate} revision {revision}, Ready {said(ready.get('status') or 'unknown', 20)}"
        if ready.get("status") != "True":
            return Reading(f"{told}: {said(ready.get('message') or 'no condition yet')}", passed=False)
        return Reading(f"{told}, later than {p.after_revision} is needed" if late else told, passed=not late)


class Certificate(Placed, Fact):
    """The serial number of a certificate, as it was issued last."""

    permissions = ("certificates.cert-manager.io: get", "certificaterequests.cert-manager.io: list")
    named = ON_CERTIFICATE

    class Params(OneCertificate):
        """The certificate."""

    client: Client

    def read(self, p: Params, run: Run) -> Known:
        found = self.client.get(run, p.place)
        number = serial(self.client, run, p, found)
        if not number:
            raise Permanent(
                f"the request of revision {revision_of(found)} of {p.place} is not kept",
                "raise revisionHistoryLimit of the Certificate, or read what is served with tls.served_serial",
            )
        return Known(number, f"revision {revision_of(found)} of {p.place}")
