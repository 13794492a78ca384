"""The one seam to clusters: every call goes through here, once, and the API server's errors become ours."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Iterator, Mapping
from datetime import timedelta
from typing import Any, Literal

from pydantic import Field

from adapters._fields import Name
from adapters._web import ask_each
from adapters.kubernetes.connection import Cluster, Connection
from adapters.kubernetes.permissions import CLUSTER_WIDE, Permission, parse
from adapters.kubernetes.places import Place
from bot.contracts.adapter import Model, Run, Secrets
from bot.core.errors import KeyturnError, Permanent, Transient

MANAGER = "keyturn"
"""The name under which the cluster remembers what keyturn has changed (`managedFields`)."""

LARGEST_ANSWER = 32 * 1024 * 1024
LONGEST_DELAY = 3600.0
PAGE = 500
PATCHES = {
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "json": "application/json-patch+json",
}
METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_WORD = re.compile(r"[A-Za-z]{1,60}")
_FIELD = re.compile(r"[A-Za-z0-9_./\[\]-]{1,120}")

Found = Mapping[str, Any]
"""An object, as the API gives it."""


class Conflict(Transient):
    """Somebody changed the object since we read it; nothing was done. Read it again."""


class Exists(Transient):
    """There is an object of this name already; nothing was done."""


class Config(Model):
    """Clusters by name. None at all: the one in which keyturn runs, as `default`."""

    clusters: dict[Name, Cluster] = Field(default_factory=lambda: {"default": Cluster()})


class Client:
    """Talks to the configured clusters. Nothing is sent twice, but for a call whose credentials were out of date."""

    def __init__(self, config: Config, secrets: Secrets) -> None:
        clusters = config.clusters or {"default": Cluster()}
        self._connections = {name: Connection(name, cluster) for name, cluster in clusters.items()}

    # --- objects ------------------------------------------------------------------------------------------------------

    def get(self, run: Run | None, place: Place) -> Found:
        """The object; `Permanent` when it is not there."""
        return self._json(self._call(run, "GET", place), place)

    def look(self, run: Run | None, place: Place) -> Found | None:
        """The object, None when it is not there."""
        answer = self._call(run, "GET", place, absent=True)
        return None if answer is None else self._json(answer, place)

    def pages(
        self,
        run: Run,
        place: Place,
        *,
        labels: str = "",
        fields: str = "",
        metadata_only: bool = False,
        at_once: int | None = None,
    ) -> Iterator[list[Found]]:
        """All objects of a kind, a page at a time; with `metadata_only` what they hold never leaves the server."""
        query = {"limit": str(at_once or PAGE), "labelSelector": labels, "fieldSelector": fields}
        query = {name: value for name, value in query.items() if value}
        while True:
            accept = METADATA_ONLY if metadata_only else "application/json"
            page = self._json(self._call(run, "GET", place, query=query, accept=accept), place)
            if metadata_only and page.get("kind") != "PartialObjectMetadataList":
                raise Permanent(f"the API server does not give bare metadata of {place}", "update the cluster")
            items = page.get("items")
            yield [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []
            onward = page.get("metadata", {}).get("continue")
            if not onward:
                return
            query["continue"] = str(onward)

    def all(self, run: Run, place: Place, *, labels: str = "", fields: str = "") -> list[Found]:
        """The same, all at once: for what is few."""
        return [item for page in self.pages(run, place, labels=labels, fields=fields) for item in page]

    def patch(
        self, run: Run | None, place: Place, change: Any, kind: Literal["merge", "strategic", "json"] = "merge"
    ) -> Found:
        """Change the fields that are named. Raises `Conflict` when a `resourceVersion` among them is out of date."""
        sent = self._call(run, "PATCH", place, query={"fieldManager": MANAGER}, body=change, content=PATCHES[kind])
        return self._json(sent, place)

    def create(self, run: Run | None, place: Place, body: Found, name: str = "") -> Found:
        """Create an object, or call a subresource. Raises `Exists` when the name is taken."""
        query = (
            {} if place.subresource or place.resource.partition(".")[0] in CLUSTER_WIDE else {"fieldManager": MANAGER}
        )
        return self._json(self._call(run, "POST", place, query=query, body=body, called=name), place)

    def delete(self, run: Run | None, place: Place, uid: str) -> None:
        """Delete exactly this object; quiet when it is gone, `Conflict` when another one has taken its name."""
        self._call(run, "DELETE", place, body={"preconditions": {"uid": uid}}, absent=True)

    def text(self, run: Run, place: Place, query: Mapping[str, str]) -> bytes | None:
        """What a subresource writes, such as a pod's log; None when there is nothing of this name."""
        return self._call(run, "GET", place, query=query, accept="*/*", absent=True)

    # --- permissions --------------------------------------------------------------------------------------------------

    def access(self, permissions: Collection[str], run: Run) -> Collection[str]:
        """Which permissions are missing, as each cluster itself says; all of its own where it refuses us."""
        asked = {text: list(self._reviews(text)) for text in permissions}
        reviews = {str(i): one for i, one in enumerate(dict.fromkeys(one for each in asked.values() for one in each))}
        answers = ask_each(reviews, lambda i: self._allowed(run, reviews[i]))
        allowed = {reviews[i] for i, yes in answers if yes}
        return tuple(text for text, each in asked.items() if not allowed.issuperset(each))

    def _reviews(self, text: str) -> Iterator[Permission]:
        """One question for every verb, at the clusters that are meant."""
        permission = parse(text)
        for cluster in [permission.cluster] if permission.cluster else self._connections:
            for verb in permission.verbs:
                yield Permission(
                    permission.resource,
                    permission.group,
                    permission.subresource,
                    (verb,),
                    cluster,
                    permission.namespace,
                    permission.name,
                )

    def _allowed(self, run: Run, asked: Permission) -> bool:
        attributes = {
            "verb": asked.verbs[0],
            "group": asked.group,
            "resource": asked.resource,
            "subresource": asked.subresource,
            "namespace": asked.namespace,
            "name": asked.name,
        }
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {name: value for name, value in attributes.items() if value}},
        }
        try:
            found = self.create(run, Place(asked.cluster, "selfsubjectaccessreviews.authorization.k8s.io"), review)
        except Permanent:
            return False
        status = found.get("status")
        return isinstance(status, dict) and status.get("allowed") is True

    # --- calls --------------------------------------------------------------------------------------------------------

    def _call(
        self,
        run: Run | None,
        method: str,
        place: Place,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        content: str = "application/json",
        accept: str = "application/json",
        absent: bool = False,
        called: str = "",
    ) -> bytes | None:
        """Send one request; None when the object is absent and may be. An answer that is an error is raised as ours."""
        if place.cluster not in self._connections:
            raise Permanent(
                f"the cluster {place.cluster} is not configured", "list it under adapters.kubernetes.clusters"
            )
        connection = self._connections[place.cluster]
        headers = {"Accept": accept} | ({"Content-Type": content} if body is not None else {})
        api = None
        while True:
            again, api = api is not None, connection.api(unless=api)
            status, told, raw = _send(api, run, connection, method, place, dict(query or {}), headers, body)
            if status != 401 or again:
                break
        if 200 <= status < 300:
            return raw
        if status == 404 and absent:
            return None
        raise _refused(method, place, status, told, raw, called)

    def _json(self, raw: bytes | None, place: Place) -> Found:
        try:
            value = json.loads(raw or b"")
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise Transient(f"cluster {place.cluster} gave an answer that cannot be understood")
        return value


def _send(
    api: Any,
    run: Run | None,
    connection: Connection,
    method: str,
    place: Place,
    query: dict[str, str],
    headers: dict[str, str],
    body: Any,
) -> tuple[int, str, bytes]:
    """Status, the header Retry-After, and what was answered. No error quotes anything that was sent or received."""
    import urllib3
    from kubernetes.client import ApiException

    seconds = connection.timeout if run is None else min(connection.timeout, run.remaining())
    who = f"the API server of cluster {connection.name}"
    try:
        sent = api.param_serialize(
            method, place.path, None, list(query.items()), headers, body, auth_settings=["BearerToken"]
        )
        answer = api.call_api(*sent, _request_timeout=(seconds, seconds)).response
        try:
            raw = b""
            for chunk in answer.stream(64 * 1024):
                raw += chunk
                if run is not None:
                    run.remaining()
                if len(raw) > LARGEST_ANSWER:
                    raise Transient(f"{who} gave an answer of more than {LARGEST_ANSWER} bytes")
        except BaseException:
            answer.close()
            raise
        answer.release_conn()
        return int(answer.status), str(answer.headers.get("Retry-After", "")), raw
    except ApiException as error:
        if "CERTIFICATE_VERIFY_FAILED" in str(error.reason):
            raise Permanent(
                f"the certificate of {who} is not trusted",
                "check certificate-authority in its kubeconfig, and that nobody stands in between",
            ) from None
        raise Transient(f"the connection to {who} was lost") from None
    except (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError):
        raise Transient(f"{who} cannot be reached") from None
    except urllib3.exceptions.TimeoutError:
        raise Transient(f"{who} did not answer in time") from None
    except (urllib3.exceptions.HTTPError, OSError):
        raise Transient(f"the answer of {who} was lost") from None
    except KeyturnError:
        raise
    except Exception as error:  # noqa: BLE001 - the SDK's other errors quote the request, and with it credentials
        raise Permanent(
            f"the Kubernetes client failed with {type(error).__name__} at {place}", "look at the cluster's kubeconfig"
        ) from None


_VERBS = {"GET": "get", "PATCH": "patch", "POST": "create", "DELETE": "delete"}


def _refused(method: str, place: Place, status: int, wait: str, raw: bytes, called: str) -> KeyturnError:
    """What an answer means. Of its body only the reason and the names of wrong fields are told, if they are plain."""
    reason, fields = _reason(raw)
    told = f"cluster {place.cluster} answered {status}{f' ({reason})' if reason else ''} for {called or place}"
    if status == 429 or status >= 500:
        return Transient(told, _delay(wait))
    if status == 409:
        if reason == "AlreadyExists":
            return Exists(told, timedelta(seconds=1))
        return Conflict(told, timedelta(seconds=1))
    if status == 410:
        return Transient(f"the listing of {place} took too long and has expired at the server")
    if status == 401:
        hint = f"renew the credentials under adapters.kubernetes.clusters.{place.cluster}; they are read anew each time"
        return Permanent(f"{told}: our credentials were refused", hint)
    if status == 403:
        verb = _VERBS[method] if place.name or method != "GET" else "list"
        what = place.resource + (f"/{place.subresource}" if place.subresource else "")
        hint = f"grant {verb} on {what}{f' {place.name}' if place.name else ''}"
        if place.namespace:  # a Role goes with its namespace, and then nothing says any more that it is not there
            hint += f" in namespace {place.namespace}; if it was granted before, the namespace or its Role is gone: "
            hint += "bring both back, then retry"
        return Permanent(f"keyturn may not {verb} {place}", hint)
    if status == 404:
        return Permanent(
            f"there is no {place}", "check cluster, namespace and name; if it was deleted, restore it, then retry"
        )
    if status in (400, 422):
        wrong = f": {', '.join(fields)}" if fields else ""
        return Permanent(f"{told}{wrong}", "the API server refused the change as invalid; look at the object")
    return Permanent(told, "look at the API server; it refused what the runbook asked for")


def _reason(raw: bytes) -> tuple[str, list[str]]:
    try:
        body = json.loads(raw)
        reason = str(body.get("reason") or "")
        causes = (body.get("details") or {}).get("causes") or []
        fields = [str(cause.get("field") or "") for cause in causes[:5]]
    except (ValueError, RecursionError, AttributeError, TypeError):
        return "", []
    plain = [field for field in fields if _FIELD.fullmatch(field)]
    return reason if _WORD.fullmatch(reason) else "", plain


def _delay(header: str) -> timedelta:
    try:
        seconds = float(header)
    except ValueError:
        seconds = 5.0
    return timedelta(seconds=min(max(seconds, 0.0), LONGEST_DELAY) if math.isfinite(seconds) else 5.0)
