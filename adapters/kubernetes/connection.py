"""One cluster's official API client: built when first needed, and anew when the credentials on disk have changed."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

from adapters.kubernetes.said import said
from bot.contracts.adapter import Model
from bot.core.errors import Permanent

AT_ONCE = 50
"""Connections kept per cluster: a fan-out touches up to 50 workloads at once."""


class Cluster(Model):
    """How to reach a cluster: by a kubeconfig and one of its contexts, or without one as a pod of the cluster."""

    kubeconfig: Path | None = None
    context: str | None = None
    """A context of the kubeconfig; its current one when nothing is said."""
    timeout: float = 10.0
    """Seconds for one call."""


class Connection:
    """Keeps the API client of a cluster. Safe from many threads."""

    def __init__(self, name: str, cluster: Cluster) -> None:
        self.name, self.timeout = name, cluster.timeout
        self._cluster = cluster
        self._lock = threading.Lock()
        self._api: Any = None
        self._stamp: tuple[int, int, int] | None = None

    def api(self, *, unless: Any = None) -> Any:
        """The API client; another than `unless`, with whose credentials a call was refused."""
        with self._lock:
            stamp = self._look()
            if self._api is None or stamp != self._stamp or (unless is not None and self._api is unless):
                self._api, self._stamp = self._build(), stamp
            return self._api

    def _look(self) -> tuple[int, int, int] | None:
        path = self._cluster.kubeconfig
        if path is None:
            return None
        try:
            status = os.stat(path)
        except OSError as error:
            raise Permanent(
                f"the kubeconfig of cluster {self.name} cannot be read ({error.strerror})",
                f"check the path adapters.kubernetes.clusters.{self.name}.kubeconfig and who may read it",
            ) from None
        return status.st_mtime_ns, status.st_size, status.st_ino

    def _build(self) -> Any:
        # Imported here: it takes half a second, which no command that does not need it should pay.
        from kubernetes import client, config

        load_pod: Any = config.load_incluster_config
        load_file: Any = config.load_kube_config

        settings = client.Configuration()
        settings.retries = False  # the engine repeats, after looking
        settings.connection_pool_maxsize = AT_ONCE
        try:
            if self._cluster.kubeconfig is None:
                load_pod(client_configuration=settings)
            else:
                load_file(str(self._cluster.kubeconfig), self._cluster.context, settings, persist_config=False)
        except Exception:  # noqa: BLE001 - a loader's error quotes the file, and an exec plugin's what it printed
            self._check_context()
            raise Permanent(
                f"the credentials for cluster {self.name} cannot be loaded",
                f"check the file and context under adapters.kubernetes.clusters.{self.name}; "
                "without a kubeconfig keyturn must run in a pod with a service account",
            ) from None
        made = client.ApiClient(settings)
        made.user_agent = "keyturn"
        return made

    def _check_context(self) -> None:
        """Raise `Permanent` when the kubeconfig can be read and has no context of the name that is configured."""
        import yaml

        path, wanted = self._cluster.kubeconfig, self._cluster.context
        if path is None or wanted is None:
            return
        try:
            names = [str(one["name"]) for one in yaml.safe_load(path.read_text())["contexts"]]
        except Exception:  # noqa: BLE001 - it is no kubeconfig, which is told without quoting it
            return
        if wanted not in names:
            raise Permanent(
                f"the kubeconfig of cluster {self.name} has no context {said(wanted, 100)}",
                f"correct adapters.kubernetes.clusters.{self.name}.context; "
                f"it has {', '.join(said(name, 100) for name in names[:20]) or 'none'}",
            ) from None
