"""A rotation of a versioned Secret while its cluster misbehaves: what people see, what is left, and that it goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bot.core.rotation import Overlap, Stage, State
from playground.cluster.api import Manifest
from playground.cluster.cluster import Cluster
from tests.real.control_plane.proxies import FaultProxy, TcpProxy
from tests.real.counters import Counters
from tests.real.rights import rules
from tests.real.rotating import Rotating, rotating
from tests.real.shop import OTHER, SECRET, SIGNER, VERIFIER, Shop

pytestmark = pytest.mark.timeout(300)

Starter = Callable[..., Rotating]
MIDDLE = "known"
"""The step at which most strikes: the new version is added, and replicas are just learning it."""
WATCHED, AFTER = "flip", "signing"
"""The step after which slow faults strike: it is watched for minutes. And the next one that asks the cluster."""


@pytest.fixture
def begin(sqlite_url: str, tmp_path: Path) -> Iterator[Starter]:
    """`begin(shop, server=…, ca=…)`: a bot that may do what it needs to and no more, on a way to the cluster.

    Its account lives in the shop's namespace, or in `home` as that of an installed chart does.
    """
    with ExitStack() as stack:

        def start(shop: Shop, *, home: str = "", server: str = "", ca: Path | None = None) -> Rotating:
            shop.lay_out()
            cluster = shop.cluster
            counters = stack.enter_context(Counters())
            allowed = rules(shop.namespace, shop.credential(counters))
            name = cluster.account(home or shop.namespace, "keyturn", [] if home else allowed)
            if home:
                cluster.apply(*role_of(shop, home, allowed))
            file = cluster.kubeconfig(tmp_path / "kubeconfig", name, server=server, ca=ca)
            return stack.enter_context(rotating(shop, sqlite_url, tmp_path, file, counters))

        yield start


ROLE = "keyturn-rotation"


def role_of(shop: Shop, home: str, allowed: list[dict[str, Any]]) -> list[Manifest]:
    """What the chart grants in the shop's namespace to the account of another one."""
    rbac, about = "rbac.authorization.k8s.io", {"name": ROLE, "namespace": shop.namespace}
    return [
        {"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": about, "rules": allowed},
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "RoleBinding",
            "metadata": about,
            "roleRef": {"apiGroup": rbac, "kind": "Role", "name": ROLE},
            "subjects": [{"kind": "ServiceAccount", "name": "keyturn", "namespace": home}],
        },
    ]


@pytest.fixture
def shop(cluster: Cluster, namespace: str) -> Shop:
    return Shop(cluster, namespace)


def whole(shop: Shop, *versions: str, active: str) -> None:
    """Nothing of the Secret is lost: these versions, this one in use, and the entry that is no key."""
    data = shop.data()
    assert set(data) == {*(f"key.{version}" for version in versions), "active", OTHER}
    assert data["active"].decode() == active
    assert data[OTHER] == b"info"
    assert len(set(data.values())) == len(data)


def rolled_once_each(shop: Shop, before: dict[str, int], **times: int) -> None:
    """No restart was doubled."""
    assert {name: made - before[name] for name, made in shop.generations().items()} == times


RESTARTS = {SIGNER: 3, VERIFIER: 2}
"""How often an undisturbed rotation rolls each of them out: learn, sign, forget."""


# --- the API server ---------------------------------------------------------------------------------------------------


@contextmanager
def away(cluster: Cluster, *, hard: bool = False) -> Iterator[None]:
    """Without its API server; with it again afterwards, whatever happened."""
    cluster.stop_api_server(hard=hard)
    try:
        yield
    finally:
        cluster.start_api_server()


@pytest.mark.parametrize("hard", [False, True])
def test_an_api_server_that_comes_back_is_waited_for(own_cluster: Cluster, begin: Starter, hard: bool) -> None:
    with own_cluster.namespace() as namespace:
        shop = Shop(own_cluster, namespace)
        bot = begin(shop)
        before = shop.generations()
        number = bot.start()
        bot.reach(number, WATCHED)
        with away(own_cluster, hard=hard):
            run = bot.fail(number, AFTER, 2)
            assert "cluster default" in run.problem
            assert "Use the troubleshooting buttons, retry, or roll back." in run.hint
            assert bot.world.rotation(number).state is State.WAITING
        whole(shop, "v1", "v2", active="v2")
        bot.finish(number)
        whole(shop, "v2", active="v2")
        rolled_once_each(shop, before, **RESTARTS)


def test_an_api_server_that_stays_away_holds_the_step_until_somebody_retries(
    own_cluster: Cluster, begin: Starter
) -> None:
    with own_cluster.namespace() as namespace:
        shop = Shop(own_cluster, namespace)
        bot = begin(shop)
        before = shop.generations()
        number = bot.start()
        bot.reach(number, WATCHED)
        with away(own_cluster):
            run = bot.hold(number, AFTER)
            assert "cannot be reached" in run.problem
            assert "retry" in run.hint
        bot.retry(number)
        bot.finish(number)
        whole(shop, "v2", active="v2")
        rolled_once_each(shop, before, **RESTARTS)


def test_half_a_second_of_latency_only_takes_longer(shop: Shop, begin: Starter, tcp_proxy: TcpProxy) -> None:
    bot = begin(shop, server=tcp_proxy.url)
    before = shop.generations()
    number = bot.start()
    bot.reach(number, MIDDLE)
    tcp_proxy.delay = 0.25  # a request's bytes and its answer's
    bot.finish(number)
    assert bot.problems(number) == []
    whole(shop, "v2", active="v2")
    rolled_once_each(shop, before, **RESTARTS)


# --- answers ----------------------------------------------------------------------------------------------------------


def test_a_throttled_call_is_repeated_when_the_server_says(shop: Shop, begin: Starter, fault_proxy: FaultProxy) -> None:
    bot = begin(shop, server=fault_proxy.url, ca=fault_proxy.ca)
    before = shop.generations()
    number = bot.start()
    bot.reach(number, MIDDLE)
    throttled = fault_proxy.answer(429, "PATCH", f"secrets/{SECRET}", times=3, retry_after=40)
    asked = bot.world.database.now()
    run = bot.fail(number, "flip")
    assert "answered 429 (TooManyRequests)" in run.problem
    assert run.due_at is not None
    assert run.due_at - asked >= timedelta(seconds=40)
    bot.finish(number)
    assert throttled.given == 3
    whole(shop, "v2", active="v2")
    rolled_once_each(shop, before, **RESTARTS)


def test_conflicts_are_read_again_and_decided_anew(shop: Shop, begin: Starter, fault_proxy: FaultProxy) -> None:
    bot = begin(shop, server=fault_proxy.url, ca=fault_proxy.ca)
    before = shop.generations()
    number = bot.start()
    bot.reach(number, MIDDLE)
    few = fault_proxy.answer(409, "PATCH", f"secrets/{SECRET}", times=2)
    bot.reach(number, WATCHED)
    assert few.given == 2
    assert bot.problems(number) == []
    many = fault_proxy.answer(409, "PATCH", f"secrets/{SECRET}", times=7)
    run = bot.fail(number, "remove")
    assert "others change Secret" in run.problem
    assert "nothing was done to it" in run.problem
    bot.finish(number)
    assert many.given == 7
    whole(shop, "v2", active="v2")
    rolled_once_each(shop, before, **RESTARTS)


def test_a_lost_answer_is_settled_by_looking(shop: Shop, begin: Starter, fault_proxy: FaultProxy) -> None:
    bot = begin(shop, server=fault_proxy.url, ca=fault_proxy.ca)
    before = shop.generations()
    number = bot.start()
    bot.reach(number, MIDDLE)
    lost = [fault_proxy.answer(500, "PATCH", path, after=True, cut=True) for path in (SECRET, SIGNER)]
    bot.finish(number)
    assert [each.given for each in lost] == [1, 1]
    whole(shop, "v2", active="v2")
    rolled_once_each(shop, before, **RESTARTS)


def test_somebody_who_moves_the_pointer_meanwhile_is_told_to_people(shop: Shop, begin: Starter) -> None:
    bot = begin(shop)
    number = bot.start()
    bot.reach(number, MIDDLE)
    shop.write(active=b"v2")
    shop.write(active=b"v1", **{"key.v7": b"by hand"})
    shop.write(active=b"v7")
    run = bot.hold(number, "flip")
    assert "names v7, not v1: it was moved" in run.problem
    assert "plan again" in run.hint
    shop.write(active=b"v1", **{"key.v7": None})
    bot.retry(number)
    bot.finish(number)
    whole(shop, "v2", active="v2")


def test_credentials_that_expired_are_renewed_on_disk_and_it_goes_on(
    shop: Shop, begin: Starter, tmp_path: Path
) -> None:
    bot = begin(shop)
    before = shop.generations()
    number = bot.start()
    bot.reach(number, MIDDLE)
    shop.cluster.kubeconfig(tmp_path / "kubeconfig", token="expired")
    run = bot.hold(number, MIDDLE)
    assert "our credentials were refused" in run.problem
    assert "renew the credentials under adapters.kubernetes.clusters.default" in run.hint
    whole(shop, "v1", "v2", active="v1")
    shop.cluster.kubeconfig(tmp_path / "kubeconfig", f"{shop.namespace}/keyturn")
    bot.retry(number)
    bot.finish(number)
    whole(shop, "v2", active="v2")
    rolled_once_each(shop, before, **RESTARTS)


# --- what is deleted under us -----------------------------------------------------------------------------------------


def backup(shop: Shop) -> list[Manifest]:
    """The namespace's objects as a backup has them."""
    found = [shop.cluster.api.get(shop.secret_path), *shop.deployments()]
    for each, kind in zip(found, ("Secret", "Deployment", "Deployment"), strict=True):
        about = each["metadata"]
        each.pop("status", None)
        each |= {"kind": kind, "apiVersion": "v1" if kind == "Secret" else "apps/v1"}
        each["metadata"] = {name: about[name] for name in ("name", "namespace", "annotations") if name in about}
    return found


def granted(shop: Shop) -> list[Manifest]:
    """The Role and its binding, as a backup has them."""
    path = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{shop.namespace}"
    found: list[Manifest] = [shop.cluster.api.get(f"{path}/{kind}/{ROLE}") for kind in ("roles", "rolebindings")]
    return [each | {"metadata": {"name": ROLE, "namespace": shop.namespace}} for each in found]


def test_a_deleted_secret_is_held_and_its_restored_backup_goes_on(shop: Shop, begin: Starter) -> None:
    bot = begin(shop)
    before = shop.generations()
    number = bot.start()
    bot.reach(number, MIDDLE)
    secret, *_ = backup(shop)
    shop.cluster.api.delete(shop.secret_path)
    run = bot.hold(number, "flip")
    assert f"there is no Secret {SECRET}" in run.problem
    assert "restore it, then retry" in run.hint
    shop.cluster.api.create(secret)
    bot.retry(number)
    bot.finish(number)
    whole(shop, "v2", active="v2")
    rolled_once_each(shop, before, **RESTARTS)


def test_a_backup_from_before_the_rotation_is_noticed_and_rolled_back_to(shop: Shop, begin: Starter) -> None:
    bot = begin(shop)
    secret, *_ = backup(shop)
    number = bot.start()
    bot.reach(number, MIDDLE)
    shop.cluster.api.delete(shop.secret_path)
    shop.cluster.api.create(secret)
    run = bot.hold(number, "flip")
    assert "has no key.v2; it holds v1" in run.problem
    assert "restore it, or plan again" in run.hint
    answer = bot.world.say("bob", f'rollback R-{number} --reason "an old backup"')
    assert answer.good, answer.text
    done = bot.go_on(number, lambda rotation: rotation.is_over, mercy=True)
    assert done.state is State.ROLLED_BACK
    whole(shop, "v1", active="v1")
    again = bot.start()
    bot.finish(again)
    data = shop.data()
    assert data["active"] == b"v2"
    assert "key.v1" not in data


def test_a_deleted_namespace_is_held_and_goes_on_when_it_is_back(shop: Shop, begin: Starter) -> None:
    """The Role is gone with it, so the API server refuses to say whether anything is there."""
    with shop.cluster.namespace("home") as home:
        bot = begin(shop, home=home)
        number = bot.start()
        bot.reach(number, WATCHED)
        kept, role = backup(shop), granted(shop)
        shop.cluster.api.delete(f"/api/v1/namespaces/{shop.namespace}")
        shop.cluster.wait(shop.gone, "the namespace is gone")
        run = bot.hold(number, AFTER)
        assert f"keyturn may not get Deployment {SIGNER} in namespace {shop.namespace}" in run.problem
        assert "if it was granted before, the namespace or its Role is gone: bring both back, then retry" in run.hint
        shop.cluster.api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": shop.namespace}})
        shop.cluster.wait(shop.has_account, "pods can be made in it")
        shop.cluster.apply(*role, *kept)
        bot.retry(number)
        done = bot.finish(number)
        assert done.overlap is Overlap.RETIRED
        whole(shop, "v2", active="v2")


def test_a_deleted_workload_is_held_by_name(shop: Shop, begin: Starter) -> None:
    bot = begin(shop)
    number = bot.start()
    bot.reach(number, MIDDLE)
    _, *workloads = backup(shop)
    gone = next(each for each in workloads if each["metadata"]["name"] == VERIFIER)
    shop.cluster.api.delete(f"{shop.deployments_path}/{VERIFIER}")
    run = bot.hold(number, MIDDLE)
    assert f"there is no Deployment {VERIFIER}" in run.problem
    shop.cluster.apply(gone)
    bot.retry(number)
    bot.finish(number)
    whole(shop, "v2", active="v2")


def test_nothing_secret_is_told(shop: Shop, begin: Starter, caplog: pytest.LogCaptureFixture) -> None:
    bot = begin(shop)
    number = bot.start()
    bot.reach(number, MIDDLE)
    keys = [value for name, value in shop.data().items() if name.startswith("key.")]
    bot.finish(number)
    told: list[Any] = [row.detail for row in bot.world.audit(number)]
    for text in (caplog.text, repr(told), repr(bot.world.rotation(number))):
        assert not any(key.decode("latin-1") in text for key in keys)
    assert bot.step(number, "add").stage is Stage.DONE
