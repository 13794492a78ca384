"""A wait for tokens to end is believed to be over by what the cluster says then, and not by what it said before."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bot.core.rotation import Rotation, Stage
from playground.cluster.cluster import Cluster
from tests.real.counters import Counters
from tests.real.rights import account
from tests.real.rotating import Rotating, rotating, step
from tests.real.shop import SIGNER, Shop

pytestmark = pytest.mark.timeout(300)
DAY = timedelta(days=1)


class Patient(Shop):
    """Its tokens may live for 92 days; they live for 90."""

    def inputs(self, counters: Counters, watched: str = "2h") -> dict[str, Any]:
        return super().inputs(counters, watched) | {"longest_token": "92d"}

    def let_tokens_live(self, life: timedelta) -> None:
        """Set it on the signer, which restarts."""
        told = f"tokenTtlSeconds={life.total_seconds():.0f}"
        self.cluster.kubectl("-n", self.namespace, "set", "env", f"deployment/{SIGNER}", told)
        self.settle()


@pytest.fixture
def shop(cluster: Cluster, namespace: str) -> Patient:
    made = Patient(cluster, namespace)
    made.lay_out()
    return made


@pytest.fixture
def bot(shop: Patient, sqlite_url: str, tmp_path: Path) -> Iterator[Rotating]:
    with Counters() as counters, account(shop.cluster, shop.namespace, shop.credential(counters)) as name:
        file = shop.cluster.kubeconfig(tmp_path / "kubeconfig", name)
        with rotating(shop, sqlite_url, tmp_path, file, counters) as started:
            yield started


def test_the_life_of_tokens_is_read_again_at_the_end_of_the_wait_for_them(shop: Patient, bot: Rotating) -> None:
    number = bot.start()
    began = bot.reach(number, "outlive").began_at
    assert began is not None

    def looked_again(rotation: Rotation) -> bool:
        run = step(rotation, "outlive")
        later = run.stage is Stage.WAITING and run.due_at is not None and run.due_at > began + 90 * DAY
        return later or run.stage is Stage.DONE

    shop.let_tokens_live(91 * DAY)
    run = step(bot.go_on(number, looked_again), "outlive")
    assert (run.stage, run.due_at) == (Stage.WAITING, began + 91 * DAY)
    assert set(shop.data()) >= {"key.v1", "key.v2"}
    shop.let_tokens_live(93 * DAY)
    run = bot.hold(number, "outlive")
    life = (93 * DAY).total_seconds()
    assert f"token_ttl is now {life:.0f}" in run.problem
    assert "outside of what the plan allows" in run.problem
    assert "retry if it is back in bounds" in run.hint
    assert set(shop.data()) >= {"key.v1", "key.v2"}
    shop.let_tokens_live(91 * DAY)
    bot.retry(number)
    bot.finish(number)
    assert "key.v1" not in shop.data()
