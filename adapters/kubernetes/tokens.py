"""Tokens of service accounts: requested for a time, bound to an object so that they can be revoked, and reviewed.

A bound token dies with the Secret that it is bound to, its anchor: an empty one, of a name that roles can list.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from adapters._fields import Reference
from adapters.kubernetes.claims import claims_of
from adapters.kubernetes.client import Client, Exists, Found
from adapters.kubernetes.names import OBJECT, InCluster, InNamespace, ObjectName
from adapters.kubernetes.permissions import ON_SECRET, Placed, known_text, narrowed
from adapters.kubernetes.places import Place, secret
from adapters.kubernetes.store import located
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
    Sensor,
    Sighting,
)
from bot.core.errors import KeyturnError, Permanent, Transient
from bot.core.secret import Secret, SecretReference

ANCHORS = 3
"""How many tokens of one account may live at once: the old one, the new one, and one that is being revoked."""

MANAGED, BY = "app.kubernetes.io/managed-by", "keyturn"
CREATED, EXPIRES, LIFE = "keyturn.dev/created-by", "keyturn.dev/expires-at", "keyturn.dev/life"
ACCOUNT = "keyturn.dev/service-account"


def _in_cluster(text: str) -> str:
    found = SecretReference.parse(text)
    if found.store != "kubernetes":
        raise ValueError("write kubernetes:<cluster>/<namespace>/<secret>/<prefix>")
    try:
        located(found.path)
    except KeyturnError as error:
        raise ValueError(str(error)) from None
    return text


InSecret = Annotated[Reference, AfterValidator(_in_cluster)]
"""A reference to a version in a Kubernetes Secret."""

Audience = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,252}$")]


def anchor_names(account: str) -> list[str]:
    """The names that anchors of this account may have."""
    return [f"keyturn-token-{account[:200].rstrip('-.')}-{i}" for i in range(1, ANCHORS + 1)]


class IssueToken(Placed, Operation):
    """Request a token of a service account for a time, bound to an anchor of its own, straight into a Secret.

    The token is pending there beside the others. The server may grant less time than asked: what counts is read back.
    Undoing revokes it, unless a later step has done something: pods that are being replaced may hold it by then.
    """

    effect = Effect.CREATES
    permissions = ("secrets: get, create, delete, patch", "serviceaccounts/token: create")
    outputs = ("token_id", "expires_at", "life", "secret", "version")

    class Params(InNamespace):
        service_account: ObjectName
        audiences: tuple[Audience, ...] = ()
        """Whom the token is for; the API server when empty."""
        expires_in: Annotated[float, Field(ge=600, le=366 * 86400)]
        """Seconds."""
        to: InSecret
        """Where the token goes."""

    client: Client

    @classmethod
    def needs(cls, known: Mapping[str, Any]) -> tuple[str, ...]:
        cluster, namespace = known_text(known, "cluster", "default"), known_text(known, "namespace")
        account = known_text(known, "service_account")
        anchors = anchor_names(account) if account else [""]
        return (
            narrowed("secrets: create", cluster, namespace),
            *(narrowed("secrets: get, patch, delete", cluster, namespace, name) for name in anchors),
            narrowed("serviceaccounts/token: create", cluster, namespace, account),
        )  # what `to` needs says its store

    def observe(self, p: Params, run: Run) -> Observed:
        anchor = self._anchor(p, run)
        there = run.secrets.find(SecretReference.parse(p.to), run.token)
        if anchor is None or there is None:
            return Absent()
        return Present(_outputs(anchor, there))

    def ensure(self, p: Params, run: Run) -> Outputs:
        to = SecretReference.parse(p.to)
        anchor, there = self._anchor(p, run), run.secrets.find(to, run.token)
        if anchor is not None and there is not None:
            return _outputs(anchor, there)
        # A token that was issued and not stored is nobody's: it dies with its anchor before another one is made.
        if anchor is not None:
            self.client.delete(run, _place(p, anchor), _uid(anchor))
        if there is not None:
            run.secrets.discard(there)
        anchor = self._make_anchor(p, run)
        value = self._request(p, run, anchor)
        claims = claims_of(value)
        life = int(claims["exp"]) - int(claims.get("iat", run.now.timestamp()))
        expires = datetime.fromtimestamp(claims["exp"], UTC)
        notes = {EXPIRES: expires.isoformat(), LIFE: str(life)}
        anchor = self.client.patch(run, _place(p, anchor), {"metadata": {"annotations": notes}})
        return _outputs(anchor, run.secrets.put(to, value, marker=run.token, label=_name(anchor)))

    def undo(self, p: Params, run: Run, outputs: Outputs) -> str | None:
        there = run.secrets.find(SecretReference.parse(p.to), run.token)
        anchor = self._anchor(p, run)
        if run.relied_on and there is not None and anchor is not None:
            left = f"the token {_name(anchor)} stays valid until {_notes(anchor).get(EXPIRES)}: pods may still hold it"
            run.log.warning(left)
            return f"{left}; revoke it when none does"
        if there is not None:
            run.secrets.discard(there)
        if anchor is not None:
            self.client.delete(run, _place(p, anchor), _uid(anchor))
        return None

    def _anchor(self, p: Params, run: Run) -> Found | None:
        """The anchor that the step of this token has made."""
        for name in anchor_names(p.service_account):
            found = self.client.look(run, secret(p.cluster, p.namespace, name))
            if found is not None and _notes(found).get(CREATED) == run.token:
                return found
        return None

    def _make_anchor(self, p: Params, run: Run) -> Found:
        place = Place(p.cluster, "secrets", p.namespace)
        for name in anchor_names(p.service_account):
            about = {
                "name": name,
                "labels": {MANAGED: BY},
                "annotations": {CREATED: run.token, ACCOUNT: p.service_account},
            }
            body = {"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": about}
            try:
                return self.client.create(run, place, body, f"Secret {name}")
            except Exists:
                continue
        raise Permanent(
            f"{ANCHORS} tokens of {p.service_account} are alive in {p.namespace}", "revoke those that nobody uses"
        )

    def _request(self, p: Params, run: Run, anchor: Found) -> Secret:
        bound = {"apiVersion": "v1", "kind": "Secret", "name": _name(anchor), "uid": _uid(anchor)}
        spec: dict[str, Any] = {"expirationSeconds": int(p.expires_in), "boundObjectRef": bound}
        if p.audiences:
            spec["audiences"] = list(p.audiences)
        asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        place = Place(p.cluster, "serviceaccounts", p.namespace, p.service_account, "token")
        token = (self.client.create(run, place, asked).get("status") or {}).get("token")
        if not isinstance(token, str) or not token:
            raise Transient(f"cluster {p.cluster} gave an answer that cannot be understood")
        return Secret(token)


def _notes(found: Found) -> Mapping[str, Any]:
    return found["metadata"].get("annotations") or {}


def _name(found: Found) -> str:
    return str(found["metadata"].get("name"))


def _uid(found: Found) -> str:
    return str(found["metadata"].get("uid"))


def _place(p: InNamespace, anchor: Found) -> Place:
    return secret(p.cluster, p.namespace, _name(anchor))


def _outputs(anchor: Found, there: SecretReference) -> Outputs:
    notes = _notes(anchor)
    return {
        "token_id": _name(anchor),
        "expires_at": notes.get(EXPIRES),
        "life": int(notes.get(LIFE, 0)),
        "secret": str(there),
        "version": there.version,
    }


class RevokeToken(Placed, Operation):
    """Revoke a token by erasing its anchor. The API server may accept it for some seconds more, from its cache.

    A token without an anchor cannot be revoked, and nothing is done; `token_refused` tells whether it has ended.
    """

    effect = Effect.DESTROYS
    permissions = ("secrets: get, delete",)
    outputs = ("token_id",)

    class Params(InNamespace):
        service_account: ObjectName
        token_id: ObjectName | Literal[""]
        """The name of its anchor; empty for a token that has none."""

    client: Client

    @classmethod
    def needs(cls, known: Mapping[str, Any]) -> tuple[str, ...]:
        cluster, namespace = known_text(known, "cluster", "default"), known_text(known, "namespace")
        if known.get("token_id") == "":
            return ()
        name, account = known_text(known, "token_id"), known_text(known, "service_account")
        names = [name] if name or not account else anchor_names(account)  # before the token was read, any of its own
        return tuple(narrowed("secrets: get, delete", cluster, namespace, one) for one in names)

    def observe(self, p: Params, run: Run) -> Observed:
        return Present({"token_id": p.token_id}) if self._found(p, run) is None else Absent()

    def ensure(self, p: Params, run: Run) -> Outputs:
        found = self._found(p, run)
        if found is not None:
            labels = found["metadata"].get("labels") or {}
            of = _notes(found).get(ACCOUNT, p.service_account)  # anchors made by hand may not say whose they are
            if (
                labels.get(MANAGED) != BY
                or CREATED not in _notes(found)
                or found.get("data")
                or of != p.service_account
            ):
                told = f"the Secret {p.token_id} is no anchor of a token of {p.service_account}"
                raise Permanent(told, "name the token_id of issue_token")
            self.client.delete(run, secret(p.cluster, p.namespace, p.token_id), _uid(found))
        return {"token_id": p.token_id}

    def undo(self, p: Params, run: Run, outputs: Outputs) -> None:
        if p.token_id and self._found(p, run) is None:
            raise Permanent(f"the token {p.token_id} is revoked", "it cannot be brought back; issue another one")

    def _found(self, p: Params, run: Run) -> Found | None:
        return self.client.look(run, secret(p.cluster, p.namespace, p.token_id)) if p.token_id else None


# --- proof ------------------------------------------------------------------------------------------------------------


class Reviewed(InCluster):
    """A token in a Secret."""

    secret: InSecret
    """Where it is: `kubernetes:<cluster>/<namespace>/<secret>/<prefix>#v2`."""
    audiences: tuple[Audience, ...] = ()
    """Whom it is for; the API server when empty."""


class OnToken(Placed):
    """Needs to have the token reviewed. What reading it needs says its store, as of every reference."""

    permissions = ("secrets: get", "tokenreviews.authentication.k8s.io: create")

    @classmethod
    def needs(cls, known: Mapping[str, Any]) -> tuple[str, ...]:
        return (narrowed(cls.permissions[1], known_text(known, "cluster", "default")),)


def _review(client: Client, run: Run, p: Reviewed) -> Mapping[str, Any]:
    value = run.secrets.read(SecretReference.parse(p.secret))
    claims_of(value)
    spec: dict[str, Any] = {"token": value.reveal().decode("ascii", "replace")}
    if p.audiences:
        spec["audiences"] = list(p.audiences)
    asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec}
    status = client.create(run, Place(p.cluster, "tokenreviews.authentication.k8s.io"), asked).get("status")
    if not isinstance(status, dict):
        raise Transient(f"cluster {p.cluster} did not say whether it accepts the token")
    return status


class TokenWorks(OnToken, Probe):
    """The cluster accepts the token, as that of the service account."""

    class Params(Reviewed):
        namespace: ObjectName
        service_account: ObjectName

    client: Client

    def measure(self, p: Params, run: Run) -> Reading:
        status = _review(self.client, run, p)
        wanted = f"system:serviceaccount:{p.namespace}:{p.service_account}"
        name = (status.get("user") or {}).get("username")
        if status.get("authenticated") is not True:
            return Reading(f"cluster {p.cluster} refuses the token", passed=False)
        if name != wanted:
            return Reading(f"cluster {p.cluster} takes the token for somebody else than {wanted}", passed=False)
        return Reading(f"cluster {p.cluster} takes the token for {wanted}", passed=True)


class TokenRefused(OnToken, Probe):
    """The cluster refuses the token."""

    class Params(Reviewed):
        """The token that was revoked."""

    client: Client

    def measure(self, p: Params, run: Run) -> Reading:
        accepted = _review(self.client, run, p).get("authenticated") is True
        told = "still accepts" if accepted else "refuses"
        return Reading(f"cluster {p.cluster} {told} the token", passed=not accepted)


class TokenExpiry(Placed, Fact):
    """The moment at which a token ends, by its own `exp`."""

    permissions = ("secrets: get",)

    class Params(InCluster):
        secret: InSecret

    client: Client

    @classmethod
    def needs(cls, known: Mapping[str, Any]) -> tuple[str, ...]:
        return ()  # the store of the reference says it

    def read(self, p: Params, run: Run) -> Known:
        end = datetime.fromtimestamp(claims_of(run.secrets.read(SecretReference.parse(p.secret)))["exp"], UTC)
        return Known(end.isoformat(), f"exp {end:%Y-%m-%d %H:%M} UTC of the token")


class TokenId(Placed, Fact):
    """The anchor of a token, by which it can be revoked; empty for a token that is bound to none."""

    permissions = ("secrets: get",)

    class Params(InCluster):
        secret: InSecret

    client: Client

    @classmethod
    def needs(cls, known: Mapping[str, Any]) -> tuple[str, ...]:
        return TokenExpiry.needs(known)

    def read(self, p: Params, run: Run) -> Known:
        own = claims_of(run.secrets.read(SecretReference.parse(p.secret))).get("kubernetes.io")
        bound = own.get("secret") if isinstance(own, dict) else None
        name = bound.get("name") if isinstance(bound, dict) else None
        if not isinstance(name, str) or not re.fullmatch(OBJECT, name):
            return Known("", "the token is bound to no Secret, so nothing revokes it before its end")
        return Known(name, "the token's own claims")


# --- last use ---------------------------------------------------------------------------------------------------------

LAST_USED = "kubernetes.io/legacy-token-last-used"
TRACKING = ("kube-system", "kube-apiserver-legacy-service-account-token-tracking")


class TokenLastUsed(Placed, Sensor):
    """When the token of a token Secret was last used, by the day.

    The API server notes it on the Secret. Of bound tokens it notes nothing; only its audit log shows their use.
    """

    permissions = ("secrets: get", "configmaps: get")
    named = ON_SECRET

    class Params(InNamespace):
        secret: ObjectName

    client: Client

    @classmethod
    def needs(cls, known: Mapping[str, Any]) -> tuple[str, ...]:
        cluster = known_text(known, "cluster", "default")
        at = (known_text(known, "namespace"), known_text(known, "secret"))
        return narrowed("secrets: get", cluster, *at), narrowed("configmaps: get", cluster, *TRACKING)

    def last_seen(self, p: Params, run: Run) -> Sighting:
        place = secret(p.cluster, p.namespace, p.secret)
        found = self.client.get(run, place)
        if found.get("type") != "kubernetes.io/service-account-token":
            raise Permanent(
                f"the cluster does not say when {place} was last used",
                "use metrics or logs of whoever accepts it; of bound tokens only the API server's audit log tells",
            )
        tracking = self.client.get(run, Place(p.cluster, "configmaps", *TRACKING))
        since = max(_day((tracking.get("data") or {}).get("since")), _day(found["metadata"].get("creationTimestamp")))
        label = (found["metadata"].get("labels") or {}).get(LAST_USED)
        told = f"{p.secret}: the cluster notes the day of use since {since:%Y-%m-%d}"
        if label is None:
            return Sighting(since, f"{told}, none yet")
        at = min(_day(label) + timedelta(days=1), run.now)
        return Sighting(since, f"{told}, last on {_day(label):%Y-%m-%d}", at=max(at, since))


def _day(text: Any) -> datetime:
    try:
        day = datetime.fromisoformat(str(text))
    except ValueError:
        raise Transient("the cluster does not say since when it notes the use of tokens") from None
    return day.replace(tzinfo=UTC) if day.tzinfo is None else day
