"""The shipped runbooks for Kubernetes on a cluster, each to its end and back from behind its promotion.

keyturn acts as an account that may do what `keyturn permissions` says of the credential, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bot.core.rotation import State
from playground.cluster.cluster import Cluster
from tests.real.counters import Counters
from tests.real.grounds import GROUNDS, CapabilityToken, Certificate, Ground, SigningKey
from tests.real.rights import account
from tests.real.rotating import Rotating, rotating
from tests.world import describe

pytestmark = pytest.mark.timeout(400)

Begin = Callable[[Ground], Rotating]


@pytest.fixture(params=GROUNDS, ids=[made.runbook for made in GROUNDS])
def ground(request: pytest.FixtureRequest, cluster: Cluster, namespace: str, tmp_path: Path) -> Iterator[Ground]:
    if issubclass(request.param, Certificate):
        request.getfixturevalue("cert_manager")
    made: Ground = request.param(cluster, namespace, tmp_path)
    with made.stack:
        made.lay_out()
        yield made


@pytest.fixture
def begin(sqlite_url: str, tmp_path: Path) -> Iterator[Begin]:
    """`begin(ground)`: a bot for its credential."""
    with ExitStack() as stack:

        def start(ground: Ground, **rights: Any) -> Rotating:
            counters = stack.enter_context(Counters())
            name = stack.enter_context(account(ground.cluster, ground.namespace, ground.credential(counters), **rights))
            file = ground.cluster.kubeconfig(tmp_path / "kubeconfig", name)
            return stack.enter_context(rotating(ground, sqlite_url, tmp_path, file, counters))

        yield start


def test_it_is_rotated_to_its_end(ground: Ground, begin: Begin) -> None:
    bot, before = begin(ground), ground.generations()
    number = bot.start(ground.runbook)
    (access,) = [box for box in bot.world.rotation(number).boxes if box.name == "access"]
    assert access.by == "keyturn", f"its account may do all of it: {access.evidence}"
    ground.in_use(bot.reach(number, ground.retiring))
    bot.finish(number)
    assert bot.problems(number) == []
    ground.replaced()
    assert ground.generations() == {name: made + ground.restarts for name, made in before.items()}


def test_it_is_put_back_after_the_new_one_was_in_use(ground: Ground, begin: Begin) -> None:
    bot, before = begin(ground), ground.generations()
    number = bot.start(ground.runbook)
    bot.reach(number, ground.retiring)
    bot.put_back(number)
    ground.put_back()
    after = ground.generations()
    assert all(after[name] > before[name] for name in before)


@pytest.mark.parametrize(
    ("ground", "uses", "takes_out"),
    [(CapabilityToken, "use", "revoke"), (SigningKey, "exchange", "clear")],
    ids=["capability-token", "jwt-signing-key"],
    indirect=["ground"],
)
def test_what_was_taken_out_is_known_to_all_pods_before_it_is_used_again(
    ground: Ground, begin: Begin, uses: str, takes_out: str
) -> None:
    for name in ground.users:
        slow = '{"spec":{"minReadySeconds":2}}'
        ground.cluster.kubectl("-n", ground.namespace, "patch", f"deployment/{name}", "-p", slow)
    bot = begin(ground)
    number = bot.start(ground.runbook)
    bot.reach(number, takes_out)
    ground.settle()
    answer = bot.world.say("carol", f'rollback R-{number} --reason "calls fail"')
    assert answer.good, answer.text
    done = bot.world.wait(number, lambda rotation: rotation.is_over, 60.0)
    assert done.state is State.ROLLED_BACK, describe(done)
    begun = {row.detail["step"]: row.at for row in bot.world.audit(number) if row.event == "undo.intent"}
    assert begun[uses] - begun[takes_out] >= timedelta(seconds=2), "pods have come up in between"
    ground.settle()
    ground.put_back()
