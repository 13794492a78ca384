"""Whether Helm manages a Secret: its next upgrade may turn back what is rotated there in place."""

from __future__ import annotations

from adapters.kubernetes.client import Client
from adapters.kubernetes.names import InNamespace, ObjectName
from adapters.kubernetes.permissions import ON_SECRET, Placed
from adapters.kubernetes.places import secret
from adapters.kubernetes.said import said
from bot.contracts.adapter import Fact, Known, Run

MANAGED, RELEASE, POLICY = "app.kubernetes.io/managed-by", "meta.helm.sh/release-name", "helm.sh/resource-policy"


class ManagedBy(Placed, Fact):
    """Who manages a Secret besides keyturn, by its labels, and what that means for what is rotated in place.

    Where Helm does: `helm.sh/resource-policy: keep` has it never delete the Secret, and no more. What its chart still
    renders, each `helm upgrade` writes over what is there.
    """

    permissions = ("secrets: get",)
    named = ON_SECRET

    class Params(InNamespace):
        secret: ObjectName

    client: Client

    def read(self, p: Params, run: Run) -> Known:
        place = secret(p.cluster, p.namespace, p.secret)
        about = self.client.get(run, place)["metadata"]
        labels, notes = about.get("labels") or {}, about.get("annotations") or {}
        source = f"labels of {place}"
        if RELEASE not in notes and labels.get(MANAGED) != "Helm":
            return Known(said(labels[MANAGED], 60) if labels.get(MANAGED) else "nobody else", source)
        told = f"Helm's release {said(notes[RELEASE], 60)}" if RELEASE in notes else "Helm"
        told += "; if its chart still renders this Secret, the next helm upgrade turns the rotation back"
        if notes.get(POLICY) != "keep":
            told += ", and if it does not, it deletes the Secret, which has no helm.sh/resource-policy: keep"
        return Known(told, source)
