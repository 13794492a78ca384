"""Where an object lives: its cluster, kind, namespace and name, as a path of the API and as words for people."""

from __future__ import annotations

from dataclasses import dataclass, replace

from bot.core.errors import Permanent

VERSIONS = {
    "": "v1",
    "apps": "v1",
    "batch": "v1",
    "networking.k8s.io": "v1",
    "authorization.k8s.io": "v1",
    "authentication.k8s.io": "v1",
    "cert-manager.io": "v1",
}
"""The API groups that keyturn speaks to, each in the version that it speaks."""

_KINDS = {
    "secrets": "Secret",
    "configmaps": "ConfigMap",
    "deployments.apps": "Deployment",
    "statefulsets.apps": "StatefulSet",
    "daemonsets.apps": "DaemonSet",
    "serviceaccounts": "ServiceAccount",
    "certificates.cert-manager.io": "Certificate",
}


@dataclass(frozen=True, slots=True)
class Place:
    """An object, or all of a kind when it has no name; `resource` is written `deployments.apps`."""

    cluster: str
    resource: str
    namespace: str = ""
    name: str = ""
    subresource: str = ""

    @property
    def group(self) -> str:
        """The API group; empty for the core."""
        return self.resource.partition(".")[2]

    @property
    def path(self) -> str:
        """Its path at the API server."""
        if self.group not in VERSIONS:
            raise Permanent(f"keyturn does not know the API group {self.group}", "correct the kind")
        version = VERSIONS[self.group]
        parts = ["apis", self.group, version] if self.group else ["api", version]
        parts += ["namespaces", self.namespace] if self.namespace else []
        parts += [part for part in (self.resource.partition(".")[0], self.name, self.subresource) if part]
        return "/" + "/".join(parts)

    def part(self, subresource: str) -> Place:
        """A subresource of it, such as `status`."""
        return replace(self, subresource=subresource)

    def __str__(self) -> str:
        kind = _KINDS.get(self.resource, self.resource)
        where = f"namespace {self.namespace} of " if self.namespace else ""
        what = f"{kind} {self.name}" if self.name else self.resource
        return f"{what}{f' ({self.subresource})' if self.subresource else ''} in {where}cluster {self.cluster}"


def secret(cluster: str, namespace: str, name: str) -> Place:
    """A Secret."""
    return Place(cluster, "secrets", namespace, name)


WORKLOADS = {"deployment": "deployments.apps", "statefulset": "statefulsets.apps", "daemonset": "daemonsets.apps"}
"""How workloads are written in runbooks, `deployment/name`, and what the API calls them."""


def workload(cluster: str, namespace: str, text: str) -> Place:
    """The workload that is written `deployment/name`."""
    kind, _, name = text.partition("/")
    return Place(cluster, WORKLOADS[kind], namespace, name)
