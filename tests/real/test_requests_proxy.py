"""The key of the requests proxy rotated by the shipped runbook while real processes sign and verify: nobody is refused.

Two controls show that the count would notice: a runbook that removes the old key while its tokens live, and one that
signs before every replica knows the new key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from bot.core.rotation import Overlap
from playground.cluster.api import Api
from playground.cluster.cluster import Cluster
from playground.cluster.consumer import SIGNER, VERIFIER
from playground.cluster.consumers import Consumers
from playground.cluster.requests_proxy import SIGNS, VERIFIES, release, secret_name
from playground.estate import Estate
from playground.estate.clock import VirtualClock
from tests.real.counters import Counters
from tests.real.rights import rules
from tests.real.shop import CREDENTIAL, Shop
from tests.world import World, describe, held, running

pytestmark = pytest.mark.timeout(400)
SHIPPED = Path(__file__).parents[2] / "runbooks" / "versioned-secret.yaml"
REPLICAS = 3
RATE = 60.0
LIFE = 600.0
"""Virtual seconds that a token lives."""
PATIENCE = 300.0

Install = Callable[..., Any]


class Installation:
    """The two applications, devices that call them, and a bot."""

    def __init__(self, world: World, consumers: Consumers, shop: Shop) -> None:
        self.world, self.consumers, self.shop = world, consumers, shop

    def rotate(self) -> None:
        """From the start to its end; whatever is held fails."""
        number = self.world.start("alice", CREDENTIAL).number
        answer = self.world.say("bob", f"approve R-{number}")
        assert answer.good, answer.text
        done = self.world.wait(number, lambda rotation: rotation.is_over or held(rotation), PATIENCE)
        assert done.overlap is Overlap.RETIRED, describe(done)

    def rounds(self, count: int = 3) -> None:
        """Have every token presented so many times more."""
        until = self.consumers.stats()["rounds"] + count
        self.shop.cluster.wait(lambda: self.consumers.stats()["rounds"] >= until, "the tokens are presented")


@pytest.fixture
def install(cluster: Cluster, namespace: str, sqlite_url: str, tmp_path: Path) -> Install:
    """`with install(life=…, runbook=…) as installation`: everything is up, and devices call."""
    if not cluster.ours:
        pytest.skip("real pods of somebody's own cluster have no process of ours beside them")

    @contextmanager
    def installed(*, life: float = LIFE, **changes: Any) -> Iterator[Installation]:
        clock = VirtualClock(RATE)
        cluster.apply(*release(namespace, "shop", life=life, replicas=REPLICAS))
        shop = Shop(cluster, namespace, secret=secret_name("shop"), signer=f"shop-{SIGNS}", verifier=f"shop-{VERIFIES}")
        api = Api(cluster.server, cluster.ca, cluster.admin_token)
        with (
            Consumers(clock, api, namespace, life=life, devices=24) as consumers,
            Counters() as counters,
            Estate.start(clock=clock, gateways=0, clients=0) as estate,
        ):
            cluster.wait(lambda: len(consumers.pods.ready(VERIFIER)) == REPLICAS, "all verifiers are up")
            cluster.wait(lambda: len(consumers.pods.ready(SIGNER)) == 1, "the signer is up")
            counters.count = lambda: _counted(consumers)
            settings = shop.settings(tmp_path / "kubeconfig", counters, estate)
            settings["adapters"]["gateways"]["gateways"] = {"requests-proxy": {"url": f"{consumers.address}/verifiers"}}
            (credential,) = settings["credentials"]
            credential["inputs"]["watched"] = "10m"
            credential["runbook"] = changes.pop("runbook", "versioned-secret")
            allowed = rules(namespace, credential, files=list((tmp_path / "runbooks").glob("*.yaml")))
            cluster.kubeconfig(tmp_path / "kubeconfig", cluster.account(namespace, "keyturn", allowed))
            with running(sqlite_url, estate, tmp_path, **{**settings, **changes}) as world:
                made = Installation(world, consumers, shop)
                made.rounds()
                yield made

    return installed


def _counted(consumers: Consumers) -> tuple[float, float]:
    window = consumers.stats()["window"]
    return window["logins"], window["logins"] + window["failures"]


def test_a_planned_rotation_refuses_nobody(install: Install) -> None:
    with install() as installation:
        consumers: Consumers = installation.consumers
        installation.rotate()
        installation.rounds()
        assert all(pod.keys == ["v2"] for pod in consumers.pods.ready(VERIFIER))
        stats = consumers.stats()
        assert stats["refusals"] == {}
        assert stats["failures_total"] == 0
        assert stats["logins_total"] > 1000
        assert {each["kid"] for each in stats["clients"].values()} == {"v2"}
        assert set(stats["by_kid"]) == {"v1", "v2"}
        assert set(installation.shop.data()) == {"key.v2", "active"}


def test_a_runbook_that_removes_the_old_key_too_early_refuses_live_tokens(install: Install, tmp_path: Path) -> None:
    broken = hasty(tmp_path, "outlive", "quiet")
    with install(life=90 * 86400.0, **broken) as installation:
        consumers: Consumers = installation.consumers
        installation.rotate()
        _refused(installation, "v1")
        assert "v2" not in consumers.stats()["refusals"]["unknown_kid"]


def test_a_runbook_that_signs_before_all_replicas_know_the_key_refuses_fresh_tokens(
    install: Install, tmp_path: Path
) -> None:
    broken = hasty(tmp_path, "teach", "known", "ready", "outlive", "quiet", "remove", "gone", "dropped", "erase")
    with install(**broken) as installation:
        number = installation.world.start("alice", CREDENTIAL).number
        installation.world.say("bob", f"approve R-{number}")
        _refused(installation, "v2")
        assert "v1" not in installation.consumers.stats()["refusals"]["unknown_kid"]


def _refused(installation: Installation, kid: str) -> None:
    consumers = installation.consumers
    installation.shop.cluster.wait(
        lambda: consumers.stats()["refusals"].get("unknown_kid", {}).get(kid), f"tokens of {kid} are refused"
    )


def hasty(folder: Path, *left_out: str) -> dict[str, Any]:
    """The shipped runbook without these steps, and without what would notice that and take it back."""
    yaml = YAML()
    runbook = yaml.load(SHIPPED.read_text())
    left_out = (*left_out, "healthy", "errors", "dependants")
    for part in ("steps", "retire"):
        runbook[part] = [step for step in runbook[part] if step["id"] not in left_out]
        for step in runbook[part]:
            step.pop("watch", None)
    for name in ("emergency", "trouble", "reviewed"):
        runbook.pop(name, None)
    runbook["runbook"] = "hasty"
    place = folder / "runbooks"
    place.mkdir()
    with (place / "hasty.yaml").open("w") as file:
        yaml.dump(runbook, file)
    return {"runbook": "hasty", "runbooks": [str(place)]}
