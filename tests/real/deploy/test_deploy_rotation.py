"""A whole rotation as the service account of the installed chart: it is enough, and all of it is used."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bot.app import build_engine, declared_rows
from bot.core.rotation import Overlap
from bot.engine.apply import apply
from bot.settings import Settings, read_environment, read_settings
from bot.store.clock import Clock
from bot.store.database import Database
from playground.cluster.cluster import Cluster
from playground.installation import TEAM
from tests.real.deploy.conftest import Release
from tests.real.rights import Rule, flat
from tests.world import Colleagues, World, describe, held

RATE = 60.0
UNUSED = {("apps", "replicasets", "list"), ("apps", "controllerrevisions", "list")}
"""What only a rollback looks at: the revisions to go back to."""


@pytest.fixture
def world(cluster: Cluster, release: Release, settings: Settings, sqlite_url: str, tmp_path: Path) -> Iterator[World]:
    """The bot in this process, with the credentials that its pods have in the cluster."""
    kubeconfig = cluster.kubeconfig(tmp_path / "kubeconfig", release.account)
    written = settings.environment.config.read_text()
    reach = json.dumps({"kubernetes": {"clusters": {"default": {"kubeconfig": str(kubeconfig)}}}})
    anchor = time.time()
    text = written.replace("adapters: {kubernetes: {clusters: {default: {}}}}", f"adapters: {reach}")
    assert text != written
    text += f"clock: {{rate: {RATE}, anchor: {anchor}}}\nslack: {{team: {TEAM}}}\n"
    text = text.replace("U0ALICE00", "U0ALICE").replace("U0BOB0000", "U0BOB")
    read = read_settings(
        text,
        read_environment({"KEYTURN_DATABASE_URL": sqlite_url, "KEYTURN_KEYS": str(tmp_path / "keys")}),
        file="keyturn.yml",
        folder=settings.environment.config.parent,
    )
    from datetime import UTC, datetime

    database = Database.open(sqlite_url, Clock(RATE, datetime.fromtimestamp(anchor, UTC)))
    database.migrate()
    apply(database, declared_rows(read), read.config_hash)
    people = Colleagues(read.policy, {"platform": frozenset({"alice", "bob"})})
    engine = build_engine(read, database, people)
    engine.start(workers=4)
    try:
        yield World(engine, None, people)  # type: ignore[arg-type]  # the cluster is all there is
    finally:
        engine.stop()


def used(cluster: Cluster, account: str, namespace: str) -> set[Rule]:
    """What the account has done in the namespace by the API server's own audit."""
    user = f"system:serviceaccount:{account.replace('/', ':')}"
    found: set[Rule] = set()
    for line in (cluster.folder / "audit.jsonl").read_text().splitlines():
        event: dict[str, Any] = json.loads(line)
        about = event.get("objectRef", {})
        if event["user"].get("username") == user and about.get("namespace") == namespace:
            resource = "/".join(part for part in (about["resource"], about.get("subresource")) if part)
            assert event["responseStatus"]["code"] < 400, event
            found.add((about.get("apiGroup", ""), resource, event["verb"], (about.get("name", ""),)))
    return found


@pytest.mark.timeout(180)
def test_a_whole_rotation_uses_what_is_granted_and_needs_no_more(
    world: World, cluster: Cluster, release: Release, shop: str
) -> None:
    if not cluster.ours:
        pytest.skip("the audit of somebody's own cluster is not ours to read")
    number = world.start("alice", "shop-admin").number
    assert world.say("bob", f"approve R-{number}").good
    done = world.wait(number, lambda r: r.is_over or held(r), timeout=120)
    assert done.overlap is Overlap.RETIRED, describe(done)
    secret = cluster.api.get(f"/api/v1/namespaces/{shop}/secrets/admin")
    assert "key.v2" in secret["data"]
    assert "key.v1" not in secret["data"]

    seen = used(cluster, release.account, shop)
    granted = {
        (group, resource, verb, (name,))
        for group, resource, verb, names in flat(release.values["namespaces"][shop])
        for name in names or ("",)
    }
    assert seen <= granted
    assert {one[:3] for one in granted - seen} <= UNUSED
