"""A small client of the Kubernetes API: objects as dictionaries, paths found by discovery."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx

Manifest = dict[str, Any]

MANAGER = "tests"
MERGE, APPLY = "application/merge-patch+json", "application/apply-patch+yaml"


class ApiError(Exception):
    """The API server refused; `status` is HTTP's, `reason` is Kubernetes'."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status, self.reason = status, reason


class Unreachable(Exception):
    """No answer came from the API server."""


class Api:
    """Calls with one token. Threads may share it."""

    def __init__(self, server: str, ca: Path, token: str) -> None:
        trust = ssl.create_default_context(cafile=str(ca))
        self._http = httpx.Client(
            base_url=server, verify=trust, headers={"Authorization": f"Bearer {token}"}, timeout=30, trust_env=False
        )
        self._kinds: dict[tuple[str, str], tuple[str, bool]] = {}
        self._lock = threading.Lock()
        self._watched: set[socket.socket] = set()

    def close(self) -> None:
        """Close its connections; a watch in another thread ends as if the server had gone."""
        with self._lock:
            for each in self._watched:
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
        self._http.close()

    def get(self, path: str, **query: str) -> Any:
        """One object, or a list of them; the text of an answer that is no JSON."""
        return self._call("GET", path, query=query)

    def create(self, manifest: Manifest) -> Manifest:
        """Create an object; a name that is taken is an `ApiError` with 409."""
        path, _, _ = self.path_of(manifest).rpartition("/")
        made: Manifest = self._call("POST", path, manifest)
        return made

    def apply(self, manifest: Manifest, manager: str = MANAGER) -> Manifest:
        """Create or change an object by server-side apply."""
        query = {"fieldManager": manager, "force": "true"}
        applied: Manifest = self._call("PATCH", self.path_of(manifest), manifest, query, APPLY)
        return applied

    def merge(self, path: str, change: Manifest, **query: str) -> Manifest:
        """Change the fields that are named; None removes one."""
        changed: Manifest = self._call("PATCH", path, change, query, MERGE)
        return changed

    def replace(self, manifest: Manifest) -> Manifest:
        """Put an object in the place of the one that is there, whatever that is."""
        put: Manifest = self._call("PUT", self.path_of(manifest), manifest)
        return put

    def post(self, path: str, body: Manifest) -> Manifest:
        """Call a subresource, such as `…/token`."""
        made: Manifest = self._call("POST", path, body)
        return made

    def delete(self, path: str, **query: str) -> None:
        """Delete an object; quiet when it is not there."""
        try:
            self._call("DELETE", path, query=query)
        except ApiError as error:
            if error.status != 404:
                raise

    def watch(self, path: str, seconds: int = 300, **query: str) -> Iterator[tuple[str, Manifest]]:
        """The changes of a list as they come, until the server ends the watch."""
        asked = {"watch": "true", "timeoutSeconds": str(seconds), **query}
        patience = httpx.Timeout(30, read=seconds + 10)
        try:
            with self._http.stream("GET", path, params=asked, timeout=patience) as answer, self._watching(answer):
                if answer.status_code >= 400:
                    answer.read()
                    raise _refused(answer)
                for line in answer.iter_lines():
                    event = json.loads(line)
                    yield event["type"], event["object"]
        except (httpx.HTTPError, RuntimeError) as error:  # httpx says RuntimeError where it was closed meanwhile
            raise Unreachable(f"{type(error).__name__} at {path}") from None

    @contextmanager
    def _watching(self, answer: httpx.Response) -> Iterator[None]:
        connection: socket.socket = answer.extensions["network_stream"].get_extra_info("socket")
        with self._lock:
            self._watched.add(connection)
        try:
            yield
        finally:
            with self._lock:
                self._watched.discard(connection)

    def path_of(self, manifest: Manifest) -> str:
        """Where the object lives."""
        version, kind, about = manifest["apiVersion"], manifest["kind"], manifest["metadata"]
        plural, in_namespace = self._kind(version, kind)
        root = f"/apis/{version}" if "/" in version else f"/api/{version}"
        within = f"/namespaces/{about.get('namespace', 'default')}" if in_namespace else ""
        return f"{root}{within}/{plural}/{about['name']}"

    def _kind(self, version: str, kind: str) -> tuple[str, bool]:
        with self._lock:
            if (version, kind) not in self._kinds:
                root = f"/apis/{version}" if "/" in version else f"/api/{version}"
                for each in self._call("GET", root)["resources"]:
                    if "/" not in each["name"]:
                        self._kinds[version, each["kind"]] = each["name"], each["namespaced"]
            if (version, kind) not in self._kinds:
                raise ApiError(404, "NoKind", f"the server has no {kind} in {version}")
            return self._kinds[version, kind]

    def _call(
        self,
        method: str,
        path: str,
        body: Manifest | None = None,
        query: Mapping[str, str] | None = None,
        kind: str = "application/json",
    ) -> Any:
        content = None if body is None else json.dumps(body)
        headers = {} if body is None else {"Content-Type": kind}
        try:
            answer = self._http.request(method, path, params=query, content=content, headers=headers)
        except httpx.HTTPError as error:
            raise Unreachable(f"{type(error).__name__} at {method} {path}") from None
        if answer.status_code >= 400:
            raise _refused(answer)
        return answer.json() if "json" in answer.headers.get("Content-Type", "") else answer.text


def _refused(answer: httpx.Response) -> ApiError:
    try:
        told = answer.json()
        return ApiError(answer.status_code, str(told.get("reason", "")), str(told.get("message", ""))[:500])
    except (ValueError, AttributeError):
        return ApiError(answer.status_code, "", answer.text[:200])
