"""What keyturn's account may not do in the cluster is told before anybody approves, and by the cluster itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from bot.core.rotation import Stage, State
from playground.cluster.cluster import Cluster
from tests.real.counters import Counters
from tests.real.rights import Rule, account, rules
from tests.real.rotating import Rotating, rotating
from tests.real.shop import CREDENTIAL, SECRET, SIGNER, VERIFIER, Shop

pytestmark = pytest.mark.timeout(300)
RESTARTS: Rule = ("apps", "deployments", "patch", (SIGNER, VERIFIER))
READS: Rule = ("", "secrets", "get", (SECRET,))

Begin = Callable[[Rule], Rotating]


@pytest.fixture
def shop(cluster: Cluster, namespace: str) -> Shop:
    made = Shop(cluster, namespace)
    made.lay_out()
    return made


@pytest.fixture
def begin(shop: Shop, sqlite_url: str, tmp_path: Path) -> Iterator[Begin]:
    """`begin(rule)`: a bot whose account lacks one rule."""
    with ExitStack() as stack:

        def start(without: Rule) -> Rotating:
            counters = stack.enter_context(Counters())
            lacking = account(shop.cluster, shop.namespace, shop.credential(counters), without=without)
            file = shop.cluster.kubeconfig(tmp_path / "kubeconfig", stack.enter_context(lacking))
            return stack.enter_context(rotating(shop, sqlite_url, tmp_path, file, counters))

        yield start


def test_a_missing_right_is_told_with_the_plan_and_holds_the_rotation_back(shop: Shop, begin: Begin) -> None:
    bot = begin(RESTARTS)
    world, before = bot.world, shop.generations()
    lacking = [f"deployments.apps: get, patch @ default/{shop.namespace}/{name}" for name in (SIGNER, VERIFIER)]
    told = world.say("alice", f"plan {CREDENTIAL}").text
    assert "kubernetes lacks deployments.apps: " in told
    assert "keyturn permissions prints what to grant" in told
    for one in lacking:
        assert one in told
    assert "secrets: " not in told.partition("kubernetes lacks")[2], "what it may do is not named"
    shown = world.say("alice", f'revoke {CREDENTIAL} --reason "seen in a log"')
    assert shown.draft is not None
    assert any(lacking[0] in warning for warning in shown.draft.warnings)
    boxes = ("incidents", "rollback-plan", "notified", "dashboard", "contacts")
    asked = world.say("alice", f'start {CREDENTIAL} --reason "weekly"', confirmed=True, ticked=boxes)
    assert asked.good, "it may be granted until it begins"
    assert "these boxes are still open: access" in asked.text
    number = asked.rotation
    assert number is not None
    (access,) = [box for box in world.rotation(number).boxes if box.name == "access"]
    assert not access.ticked
    assert lacking[1] in access.evidence
    assert world.say("bob", f"approve R-{number}").good
    assert world.rotation(number).state is State.REQUESTED
    assert shop.data().keys() >= {"key.v1"}
    assert "key.v2" not in shop.data()
    with Counters() as counters:
        shop.cluster.account(shop.namespace, "keyturn", rules(shop.namespace, shop.credential(counters)))
    assert "kubernetes lacks" not in world.say("alice", f"plan {CREDENTIAL}").text
    assert world.say("erin", f'tick R-{number} access --evidence "granted"').good
    bot.reach(number, "teach", Stage.DONE)
    assert all(made > before[name] for name, made in shop.generations().items())


def test_without_what_a_fact_needs_there_is_no_plan(begin: Begin) -> None:
    told = begin(READS).world.say("alice", f"plan {CREDENTIAL}")
    assert not told.good
    assert "old_version cannot be read from kubernetes.active_version" in told.text
    assert SECRET in told.text


def test_a_revocation_goes_on_without_what_its_steps_do_not_use(shop: Shop, sqlite_url: str, tmp_path: Path) -> None:
    """Prometheus is down because of the emergency, and tokens live longer than an ordinary rotation may wait for."""
    shop.cluster.kubectl("-n", shop.namespace, "set", "env", f"deployment/{SIGNER}", "tokenTtlSeconds=8640000")
    shop.settle()
    with ExitStack() as stack:
        counters = stack.enter_context(Counters())
        named = stack.enter_context(account(shop.cluster, shop.namespace, shop.credential(counters)))
        file = shop.cluster.kubeconfig(tmp_path / "kubeconfig", named)
        bot = stack.enter_context(rotating(shop, sqlite_url, tmp_path, file, counters))
        counters.close()
        told = bot.world.say("alice", f"plan {CREDENTIAL}")
        assert (told.good, "token_ttl is 8640000 s" in told.text) == (False, True)
        asked = bot.world.say("alice", f'revoke {CREDENTIAL} --reason "seen in a log"')
        assert asked.draft is not None
        begins = [warning[:22] for warning in asked.draft.warnings]
        assert begins == ["token_ttl is 8640000 s", "prometheus could not b"], asked.draft.warnings
        opened = bot.world.say("alice", f'revoke {CREDENTIAL} --reason "seen in a log"', confirmed=True)
        assert opened.good, opened.text
        number = opened.rotation
        assert number is not None
        assert bot.world.say("bob", f"approve R-{number}").good
        bot.reach(number, "add", Stage.DONE)
    assert "key.v2" in shop.data()
