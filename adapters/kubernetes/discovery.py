"""What a cluster holds that can expire: bare metadata, in pages. Use an account of its own: it has to list Secrets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from adapters.kubernetes.client import Client
from adapters.kubernetes.client import Found as Thing
from adapters.kubernetes.names import InCluster, Namespace
from adapters.kubernetes.pem import end_of
from adapters.kubernetes.permissions import Placed
from adapters.kubernetes.places import Place, secret
from adapters.kubernetes.retired import RETIRED, VERSION
from adapters.kubernetes.secret import look_if_any
from adapters.kubernetes.tokens import ACCOUNT, EXPIRES
from bot.contracts.adapter import Discovery, Found, Run
from bot.core.suspicion import looks_like_secret

OWNERS = ("owner", "team", "app.kubernetes.io/part-of", "app.kubernetes.io/instance", "app.kubernetes.io/name", "app")
"""Labels that may name who owns something; those that mean to do so first."""
NOT_OURS = ("kubernetes.io/tls", "kubernetes.io/service-account-token", "helm.sh/release.v1")
CERTIFICATE_NAME = "cert-manager.io/certificate-name"


class Everywhere(InCluster):
    """One namespace, or all of them."""

    namespace: Namespace | None = None


class Secrets(Placed, Discovery):
    """Secrets that are neither certificates nor tokens of service accounts nor Helm's own, by their metadata alone.

    Each version of a versioned key is one; of other Secrets the time of their last change is the version.
    """

    permissions = ("secrets: list",)

    class Params(Everywhere):
        """Where to look."""

    client: Client

    def pages(self, p: Params, run: Run) -> Iterator[Sequence[Found]]:
        fields = ",".join(f"type!={kind}" for kind in NOT_OURS)
        place = Place(p.cluster, "secrets", p.namespace or "")
        for page in self.client.pages(run, place, fields=fields, metadata_only=True):
            yield [found for one in page for found in _versions(p.cluster, one)]


def _versions(cluster: str, one: Thing) -> Iterator[Found]:
    about = one["metadata"]
    if ACCOUNT in (about.get("annotations") or {}):
        return  # an anchor of a token, which holds nothing
    place, owner = f"kubernetes:{cluster}/{about.get('namespace')}/{about.get('name')}", _owner(about)
    entries = _entries(about)
    versioned = {name: at for name, at in entries.items() if VERSION.fullmatch(name[name.rfind(".") + 1 :])}
    for name, at in sorted(versioned.items()):
        prefix, version = name[: name.rfind(".") + 1], name[name.rfind(".") + 1 :]
        if not prefix.startswith(RETIRED):
            yield Found(f"{place}/{prefix}", version, "secret", created_at=at, owner=owner)
    if not versioned:
        made = _time(about.get("creationTimestamp"))
        at = max([each for each in (*entries.values(), made) if each is not None], default=None)
        version = f"{at:%Y-%m-%dT%H.%M.%SZ}" if at else str(about.get("uid"))
        yield Found(place, version, "secret", created_at=at, owner=owner)


def _entries(about: Mapping[str, Any]) -> dict[str, datetime | None]:
    """The names of a Secret's entries and when each was last written: the cluster notes that beside the metadata."""
    found: dict[str, datetime | None] = {}
    for entry in about.get("managedFields") or []:
        data = (entry.get("fieldsV1") or {}).get("f:data")
        for name in data if isinstance(data, dict) else ():
            if name.startswith("f:"):
                found[name[2:]] = _time(entry.get("time"))
    return found


class Certificates(Placed, Discovery):
    """Certificates of cert-manager, with their ends."""

    permissions = ("certificates.cert-manager.io: list",)

    class Params(Everywhere):
        """Where to look."""

    client: Client

    def pages(self, p: Params, run: Run) -> Iterator[Sequence[Found]]:
        place = Place(p.cluster, "certificates.cert-manager.io", p.namespace or "")
        for page in self.client.pages(run, place):
            yield [_certificate(p.cluster, one) for one in page]


def _certificate(cluster: str, one: Thing) -> Found:
    about, status = one["metadata"], one.get("status") or {}
    return Found(
        f"kubernetes:{cluster}/{about.get('namespace')}/{about.get('name')}/certificate",
        str(status.get("revision") or 0),
        "tls-certificate",
        created_at=_time(status.get("notBefore")),
        expires_at=_time(status.get("notAfter")),
        owner=_owner(about),
    )


class TlsSecrets(Placed, Discovery):
    """TLS Secrets that cert-manager does not renew; with `read` the ends of their certificates, one call for each."""

    permissions = ("secrets: list",)

    class Params(Everywhere):
        read: bool = False
        """Read each certificate for its end; the account must be allowed to get those Secrets."""

    client: Client

    @classmethod
    def needs(cls, known: Mapping[str, Any]) -> tuple[str, ...]:
        found = super().needs(known)
        return (*found, *(text.replace("list", "get", 1) for text in found)) if known.get("read") is True else found

    def pages(self, p: Params, run: Run) -> Iterator[Sequence[Found]]:
        place = Place(p.cluster, "secrets", p.namespace or "")
        for page in self.client.pages(run, place, fields="type=kubernetes.io/tls", metadata_only=True):
            yield [self._found(p, run, one["metadata"]) for one in page if not _renewed(one)]

    def _found(self, p: Params, run: Run, about: Mapping[str, Any]) -> Found:
        namespace, name = str(about.get("namespace")), str(about.get("name"))
        end = None
        if p.read:
            view = look_if_any(self.client, run, secret(p.cluster, namespace, name))
            value = view.value("tls.crt") if view else None
            end = end_of(value.reveal().decode("ascii", "replace")) if value else None
        at = max((each for each in _entries(about).values() if each), default=_time(about.get("creationTimestamp")))
        version = f"{at:%Y-%m-%dT%H.%M.%SZ}" if at else str(about.get("uid"))
        place = f"kubernetes:{p.cluster}/{namespace}/{name}"
        return Found(place, version, "tls-certificate", created_at=at, expires_at=end, owner=_owner(about))


def _renewed(one: Thing) -> bool:
    return CERTIFICATE_NAME in (one["metadata"].get("annotations") or {})


class ServiceAccountTokens(Placed, Discovery):
    """Tokens of service accounts: those in token Secrets, which have no end, and those that keyturn has requested."""

    permissions = ("secrets: list",)

    class Params(Everywhere):
        """Where to look."""

    client: Client

    def pages(self, p: Params, run: Run) -> Iterator[Sequence[Found]]:
        place = Place(p.cluster, "secrets", p.namespace or "")
        legacy = self.client.pages(run, place, fields="type=kubernetes.io/service-account-token", metadata_only=True)
        anchors = self.client.pages(run, place, labels="app.kubernetes.io/managed-by=keyturn", metadata_only=True)
        for page in legacy:
            yield [_token(p.cluster, one["metadata"], "kubernetes.io/service-account.name") for one in page]
        for page in anchors:
            held = [one["metadata"] for one in page if ACCOUNT in (one["metadata"].get("annotations") or {})]
            yield [_token(p.cluster, about, ACCOUNT) for about in held]


def _token(cluster: str, about: Mapping[str, Any], account: str) -> Found:
    notes = about.get("annotations") or {}
    place = f"kubernetes:{cluster}/{about.get('namespace')}/{notes.get(account)}/token"
    return Found(
        place,
        str(about.get("name")),
        "service-account-token",
        created_at=_time(about.get("creationTimestamp")),
        expires_at=_time(notes.get(EXPIRES)),
        owner=_owner(about),
    )


def _owner(about: Mapping[str, Any]) -> str:
    """What labels say about the owner; unchecked, and left out where it does not look like a name."""
    labels = about.get("labels") or {}
    found = next((str(labels[name]) for name in OWNERS if labels.get(name)), "")
    return "" if looks_like_secret(found) else found[:100]


def _time(text: Any) -> datetime | None:
    try:
        at = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)
