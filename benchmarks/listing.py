"""Lists an estate in a process of its own: `python -m benchmarks.listing KIND < JSON`.

Prints seconds, growth of the resident memory at its peak (KiB), and how many things were seen, as a line of JSON.
Kinds are at the end of this file.
"""

from __future__ import annotations

import json
import logging
import ssl
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    from adapters.kubernetes.client import Client
    from bot.contracts.adapter import Run

PAGE = "500"
BARE = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"


def floor(given: dict[str, Any]) -> Callable[[], int]:
    """Bare pages of metadata, parsed and thrown away: what the API server and JSON cost by themselves."""
    trust = ssl.create_default_context(cafile=given["ca"])
    headers = {"Authorization": f"Bearer {given['token']}", "Accept": BARE}
    http = httpx.Client(base_url=given["server"], verify=trust, headers=headers, timeout=60, trust_env=False)
    http.get("/version").raise_for_status()

    def count(path: str) -> int:
        seen, query = 0, {"limit": PAGE}
        while True:
            page = http.get(path, params=query).raise_for_status().json()
            seen += len(page["items"])
            if not page["metadata"].get("continue"):
                return seen
            query = {"limit": PAGE, "continue": page["metadata"]["continue"]}

    namespace = given["namespace"]
    paths = (f"/api/v1/namespaces/{namespace}/secrets", f"/apis/apps/v1/namespaces/{namespace}/deployments")
    return lambda: sum(count(path) for path in paths)


def keyturn(given: dict[str, Any]) -> Callable[[], int]:
    """The adapter's discovery of Secrets, and its list of workloads by label."""
    from adapters.kubernetes.consumers import Restartable
    from adapters.kubernetes.discovery import Secrets

    client, run = _client(given)
    namespace = given["namespace"]
    secrets, workloads = Secrets(client), Restartable(client)
    where = Secrets.Params(namespace=namespace)
    labelled = Restartable.Params(namespace=namespace, selector=given["selector"])

    def count() -> int:
        found = sum(len(page) for page in secrets.pages(where, run))
        listed = workloads.read(labelled, run).value
        assert isinstance(listed, list)
        return found + len(listed)

    return count


def consumers(given: dict[str, Any]) -> Callable[[], int]:
    """The adapter's look at who uses one Secret: whole pod templates of every kind, of which names are kept."""
    from adapters.kubernetes.consumers import Consumers

    client, run = _client(given)
    asked = Consumers.Params(namespace=given["namespace"], secret=given["secret"])

    def count() -> int:
        found = Consumers(client).read(asked, run).value
        assert isinstance(found, list)
        return len(found)

    return count


def discovery(given: dict[str, Any]) -> Callable[[], int]:
    """One round of the engine's discovery: listed, checked, kept in the database, and the inventory brought in line."""
    from bot.catalog import Catalog
    from bot.core.discovered import Find
    from bot.core.policy import Policy
    from bot.engine.discoveries import Discoveries
    from bot.engine.secrets import SecretDoor
    from bot.store.database import Database

    folder = TemporaryDirectory()
    database = Database.open(f"sqlite:///{folder.name}/keyturn.db")
    database.migrate()
    catalog = Catalog({"kubernetes": _settings(given)}, lambda: door)
    door = SecretDoor(catalog.store)

    def turn(name: str, namespace: str) -> int:
        find = Find(name, "kubernetes.secrets", "production", {"namespace": namespace})
        lane = Discoveries(database, catalog, door, [find], Policy())
        lane.declare()
        lane.turn()
        with database.read() as reader:
            (row,) = [one for one in reader.discoveries() if one.name == name]
        if row.error:
            raise RuntimeError(row.error)
        return row.found

    def count(kept: TemporaryDirectory[str] = folder) -> int:
        return turn("all", given["namespace"])

    turn("none", "kube-public")  # imports and connections
    return count


def _settings(given: dict[str, Any]) -> dict[str, Any]:
    return {"clusters": {"default": {"kubeconfig": given["kubeconfig"]}}}


def _client(given: dict[str, Any]) -> tuple[Client, Run]:
    """The adapter's client, with its imports and connections made, and a call."""
    from adapters.kubernetes.client import Client, Config
    from adapters.kubernetes.places import Place
    from bot.contracts.adapter import Run

    client = Client(Config.model_validate(_settings(given)), None)  # type: ignore[arg-type]  # reads none
    log = logging.LoggerAdapter(logging.getLogger(__name__), {})
    run = Run("R-1", "benchmark", "alice", None, datetime.now(UTC), log, time.monotonic() + 300)  # type: ignore[arg-type]  # reads none
    client.look(run, Place("default", "configmaps", given["namespace"], "none"))
    return client, run


KINDS = {"floor": floor, "keyturn": keyturn, "consumers": consumers, "discovery": discovery}


def main() -> None:
    """Measure once."""
    count = KINDS[sys.argv[1]](json.load(sys.stdin))
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = _status("VmRSS")
    began = time.perf_counter()
    seen = count()
    seconds = time.perf_counter() - began
    print(json.dumps({"seconds": seconds, "growth": _status("VmHWM") - before, "seen": seen}))


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{name}:")).split()[1])


if __name__ == "__main__":
    main()
