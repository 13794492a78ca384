"""The key of the requests proxy rotated by the shipped runbook while real processes sign and verify: nobody is refused.

Nor is anybody when it is put back. A revocation refuses what the suspected key has signed. Two controls show that the
count would notice: a runbook that removes the old key while its tokens live, and one that signs before every replica
knows the new key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from bot.core.rotation import Overlap, Stage, State
from playground.cluster import stateless
from playground.cluster.api import Api
from playground.cluster.cluster import Cluster
from playground.cluster.consumer import SIGNER, VERIFIER
from playground.cluster.consumers import Consumers
from playground.cluster.requests_proxy import SIGNS, VERIFIES, release, secret_name
from playground.estate import Estate
from playground.estate.clock import VirtualClock
from tests.real.counters import Counters
from tests.real.rights import rules
from tests.real.rotating import step
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
        self.approve(number)
        done = self.world.wait(number, lambda rotation: rotation.is_over or held(rotation), PATIENCE)
        assert done.overlap is Overlap.RETIRED, describe(done)

    def revoke(self, order: str) -> None:
        """From the suspicion to its end."""
        words = f'revoke {CREDENTIAL} --reason "seen in a log" --order {order}'
        number = self.world.say("alice", words, confirmed=True).rotation
        assert number is not None
        self.approve(number)
        done = self.world.wait(number, lambda rotation: rotation.is_over or held(rotation), PATIENCE)
        assert (done.state, done.plan.order) == (State.PROMOTED, order), describe(done)
        assert not held(done), describe(done)

    def approve(self, number: int) -> None:
        """Have somebody else agree."""
        answer = self.world.say("bob", f"approve R-{number}")
        assert answer.good, answer.text

    def kids(self) -> set[str]:
        """The keys that have signed what devices hold."""
        return {each["kid"] for each in self.consumers.stats()["clients"].values()}

    def until_signed_by(self, kid: str) -> None:
        """Until every device has a token of this key alone."""
        self.shop.cluster.wait(lambda: self.kids() == {kid}, f"every device has a token of {kid}")

    def present(self, token: str) -> set[str]:
        """What the verifiers say to a token."""
        found = set()
        for pod in self.consumers.pods.ready(VERIFIER):
            answer = httpx.post(f"{pod.address}/verify", json={"tokens": [token]}, trust_env=False)
            found.update(answer.raise_for_status().json()["verdicts"])
        return found

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


def test_a_rollback_while_tokens_of_the_new_key_live_refuses_nobody(install: Install) -> None:
    with install() as installation:
        world, consumers = installation.world, installation.consumers
        number = world.start("alice", CREDENTIAL).number
        installation.approve(number)
        world.wait(number, lambda one: step(one, "healthy").stage is Stage.WAITING or held(one), PATIENCE)
        installation.until_signed_by("v2")
        answer = world.say("carol", f'rollback R-{number} --reason "slow"')
        assert answer.good, answer.text
        done = world.wait(number, lambda one: one.is_over, PATIENCE)
        assert done.state is State.ROLLED_BACK, describe(done)
        installation.shop.settle()
        (asked,) = [row for row in world.audit(number) if row.event == "rotation.rolling-back"]
        took = (world.database.now() - asked.at) / RATE  # pods take their real time, however fast the clock runs
        assert took < done.plan.rollback_within
        installation.until_signed_by("v1")
        installation.rounds()
        stats = consumers.stats()
        assert stats["refusals"] == {}
        assert stats["failures_total"] == 0
        assert set(stats["by_kid"]) == {"v1", "v2"}
        assert installation.shop.data().keys() == {"key.v1", "key.v2", "active"}
        assert installation.shop.data()["active"] == b"v1"


def test_a_rollback_after_the_old_key_was_removed_refuses_nobody(install: Install) -> None:
    with install() as installation:
        world, consumers, shop = installation.world, installation.consumers, installation.shop
        slow = '{"spec":{"minReadySeconds":2}}'  # the signer is through long before the verifiers
        shop.cluster.kubectl("-n", shop.namespace, "patch", shop.workloads[1], "-p", slow)
        number = world.start("alice", CREDENTIAL).number
        installation.approve(number)
        world.wait(number, lambda one: step(one, "remove").stage is Stage.WAITING or held(one), PATIENCE)
        shop.settle()
        answer = world.say("carol", f'rollback R-{number} --reason "slow"')
        assert answer.good, answer.text
        done = world.wait(number, lambda one: one.is_over or held(one), PATIENCE)
        assert done.state is State.ROLLED_BACK, describe(done)
        assert all("v1" in pod.keys for pod in consumers.pods.ready(VERIFIER)), "and not before"
        installation.until_signed_by("v1")
        installation.rounds()
        assert consumers.stats()["refusals"] == {}


@pytest.mark.parametrize("order", ["replace-first", "contain-first"])
def test_a_revocation_refuses_what_the_suspected_key_has_signed(install: Install, order: str) -> None:
    with install() as installation:
        consumers: Consumers = installation.consumers
        stolen = installation.shop.data()["key.v1"]
        forged = stateless.sign("v1", stolen, "thief", consumers.clock.now(), 1000 * LIFE)
        assert installation.present(forged) == {stateless.VALID}
        installation.revoke(order)
        assert installation.present(forged) == {stateless.UNKNOWN_KID}
        installation.until_signed_by("v2")
        before = consumers.refused
        installation.rounds()
        assert consumers.refused == before, "everybody is let in again"
        refused = consumers.stats()["refusals"].get("unknown_kid", {})
        assert "v1" in refused
        if order == "replace-first":
            assert "v2" not in refused, "every replica knows the new key before it signs"
        data = installation.shop.data()
        assert data.keys() == {"key.v2", "retired.v1", "active"}
        assert (data["active"], data["retired.v1"]) == (b"v2", stolen)


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
        installation.approve(installation.world.start("alice", CREDENTIAL).number)
        _refused(installation, "v2")
        assert "v1" not in installation.consumers.stats()["refusals"]["unknown_kid"]


def _refused(installation: Installation, kid: str) -> None:
    consumers = installation.consumers
    installation.shop.cluster.wait(
        lambda: consumers.stats()["refusals"].get("unknown_kid", {}).get(kid), f"tokens of {kid} are refused"
    )


def hasty(folder: Path, *left_out: str) -> dict[str, Any]:
    """The shipped runbook without these steps, and without what would notice that and take it back."""
    runbook = yaml.safe_load(SHIPPED.read_text())
    left_out = (*left_out, "healthy", "errors", "dependants")
    for part in ("steps", "retire"):
        runbook[part] = [one for one in runbook[part] if one["id"] not in left_out]
        for one in runbook[part]:
            one.pop("watch", None)
    for name in ("emergency", "trouble", "reviewed"):
        runbook.pop(name, None)
    runbook["runbook"] = "hasty"
    place = folder / "runbooks"
    place.mkdir()
    (place / "hasty.yaml").write_text(yaml.safe_dump(runbook))
    return {"runbook": "hasty", "runbooks": [str(place)]}
