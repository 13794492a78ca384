"""The cases of Kubernetes: every word against a real control plane, through a proxy that spoils chosen calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from bot.contracts.adapter import Run
from tests.conformance.cluster_stage import World, played, shown, world
from tests.conformance.kit import Case, Stage, run_of
from tests.stand_ins.authority import authority_pem
from tests.stand_ins.kubelet import Kubelet

TOKEN = "keyturn-R-7-step-0a1b2c3d"
FIRST, SECOND = "first-key-value-77aa", "second-key-value-88bb"
LITERAL = "literal-value-5b1d"
MARK = "keyturn.dev/rotation"


def secret_stage(
    w: World, name: str, params: dict[str, Any], effects: Callable[[dict[str, str]], int] = lambda data: 0
) -> Stage:
    """A stage about one Secret."""
    return w.stage(
        {"secret": name, **params},
        lambda: effects(w.data(name)),
        lambda: shown(w.find("secrets", name)),
        lambda: long_values(w, name),
    )


def long_values(w: World, name: str) -> list[str]:
    """The values of a Secret, without names of versions."""
    return [value for value in w.data(name).values() if len(value) > 4]


@contextmanager
def keys(
    params: dict[str, Any], data: dict[str, str], effects: Callable[[dict[str, str]], int] = lambda data: 0
) -> Iterator[Stage]:
    w, name = world(), world().name("keys")
    w.secret(name, data)
    with played(secret_stage(w, name, params, effects)) as stage:
        yield stage


ONE = {"active": "v1", "key.v1": FIRST, "other": "left-alone"}
TWO = {"active": "v2", "key.v1": FIRST, "key.v2": SECOND}
GONE = {"active": "v2", "retired.v1": FIRST, "key.v2": SECOND}


# --- two slots --------------------------------------------------------------------------------------------------------


@contextmanager
def staged(word: str) -> Iterator[Stage]:
    """A Secret with one key, or with one staged beside it, or after the swap."""
    w, name = world(), world().name("slots")
    w.secret(name, {"current": FIRST})
    params: dict[str, Any] = {}
    effects: Callable[[dict[str, str]], int] = lambda data: int(bool(data.get("previous")))  # noqa: E731
    if word != "stage_next":
        from adapters.kubernetes import StageNext, Swap

        run = _run(w, "keyturn-R-7-stage-11111111")
        ids = StageNext(w.client).ensure(StageNext.Params(namespace=w.namespace, secret=name), run)
        params = {"new": ids["new"]}
        before = w.data(name)["previous"]
        effects = lambda data: int(data["current"] == before)  # noqa: E731
        if word != "swap":
            run = _run(w, "keyturn-R-7-swap-11111111")
            Swap(w.client).ensure(Swap.Params(namespace=w.namespace, secret=name, new=str(ids["new"])), run)
            given: dict[str, dict[str, Any]] = {
                "clear_previous": {"old": ids["old"]},
                "set_aside_previous": {"old": ids["old"]},
                "slot_holds": {"slot": "current", "id": ids["new"]},
                "slot_empty": {"slot": "spare"},
            }
            params = given.get(word, {})
            effects = lambda data: int(not data.get("previous"))  # noqa: E731
    with played(secret_stage(w, name, params, effects)) as stage:
        yield stage


def _run(w: World, token: str) -> Run:
    return run_of(Stage(client=w.client, params={}, secrets=w.secrets), token)


# --- workloads --------------------------------------------------------------------------------------------------------


@contextmanager
def workload(word: str) -> Iterator[Stage]:
    w, name = world(), world().name("web")
    w.deployment(name)
    path = w.path("deployments.apps", name)

    def template() -> dict[str, Any]:
        found: dict[str, Any] = w.api.get(path)["spec"]["template"]
        return found

    params: dict[str, Any] = {"workload": f"deployment/{name}"}
    if word == "restart":
        effects = lambda: int((template()["metadata"].get("annotations") or {}) != {})  # noqa: E731
    elif word == "refer":
        params |= {"container": "web", "variable": "TOKEN", "secret": "admin", "key": "key.v2"}
        effects = lambda: int("valueFrom" in template()["spec"]["containers"][0]["env"][0])  # noqa: E731
    else:
        w.api.merge(path, {"spec": {"template": {"metadata": {"annotations": {"is": "second"}}}}})
        w.settled(name)
        effects = lambda: int("annotations" not in template()["metadata"])  # noqa: E731
    stage = w.stage(params, effects, lambda: shown_spec(w, name), lambda: [LITERAL])
    with played(stage):
        # What comes after a change needs the controller to have seen it.
        yield stage


def shown_spec(w: World, name: str) -> str:
    """A workload without what its controller writes."""
    found = w.find("deployments.apps", name) or {}
    annotations = found["metadata"].get("annotations") or {}
    return repr((found["spec"], annotations.get(MARK)))


@contextmanager
def looked(params: dict[str, Any], *, effects: Callable[[], int] = lambda: 0) -> Iterator[Stage]:
    """A stage on what is there for all watchers."""
    w = world()
    w.once("shared", lambda: _shared(w))
    with played(w.stage(params, effects, lambda: shown_spec(w, "shared"), lambda: [LITERAL, FIRST])) as stage:
        yield stage


def _shared(w: World) -> None:
    w.secret("admin", {"active": "v1", "key.v1": FIRST})
    w.deployment("shared", replicas=1)
    made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings", "namespace": w.namespace}}
    w.api.create({**made, "data": {"ttl": "90d"}})
    pair = {"tls.crt": authority_pem("shop"), "tls.key": "key"}
    w.secret("by-hand", pair, type="kubernetes.io/tls")


# --- tokens -----------------------------------------------------------------------------------------------------------


def _account(w: World, name: str) -> None:
    about = {"name": name, "namespace": w.namespace}
    w.api.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": about})


@contextmanager
def issue() -> Iterator[Stage]:
    w, name = world(), world().name("job")
    _account(w, name)
    w.secret(name, {"active": "v1", "token.v1": FIRST})

    def effects() -> int:
        anchors = [found for i in range(1, 4) if (found := w.find("secrets", f"keyturn-token-{name}-{i}"))]
        stored = sum(entry.startswith("token.v") for entry in w.data(name)) - 1
        assert len(anchors) <= 1
        assert stored <= len(anchors), "a token that is stored is alive"
        return stored

    to = f"kubernetes:default/{w.namespace}/{name}/token."
    stage = w.stage(
        {"service_account": name, "expires_in": 3600, "to": to},
        effects,
        lambda: shown(w.find("secrets", name)),
        lambda: long_values(w, name),
    )
    with played(stage):
        yield stage


@contextmanager
def revoke() -> Iterator[Stage]:
    w, name = world(), world().name("anchor")
    w.secret(
        name,
        {},
        metadata={
            "labels": {"app.kubernetes.io/managed-by": "keyturn"},
            "annotations": {"keyturn.dev/created-by": TOKEN, "keyturn.dev/service-account": "job"},
        },
    )
    stage = w.stage(
        {"service_account": "job", "token_id": name},
        lambda: int(w.find("secrets", name) is None),
        lambda: shown(w.find("secrets", name)),
    )
    with played(stage):
        yield stage


@contextmanager
def token(word: str) -> Iterator[Stage]:
    """A Secret with a live token, and one with a token that died with what it was bound to."""
    w = world()
    w.once("tokens", lambda: _tokens(w))
    version = "v2" if word == "token_refused" else "v1"
    params: dict[str, Any] = {"secret": f"kubernetes:default/{w.namespace}/tokens/token.#{version}"}
    if word == "token_works":
        params |= {"service_account": "worker"}
    if word != "token_works":
        params |= {"namespace": None}
    stage = w.stage(params, lambda: 0, lambda: shown(w.find("secrets", "tokens")), lambda: long_values(w, "tokens"))
    stage.params = {name: value for name, value in stage.params.items() if value is not None}
    with played(stage):
        yield stage


def _tokens(w: World) -> None:
    _account(w, "worker")
    w.secret("dying", {})
    anchor = w.find("secrets", "dying")
    assert anchor is not None
    path = w.path("serviceaccounts", "worker/token")
    bound = {"apiVersion": "v1", "kind": "Secret", "name": "dying", "uid": anchor["metadata"]["uid"]}
    asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest"}
    live = w.api.post(path, {**asked, "spec": {"expirationSeconds": 3600}})["status"]["token"]
    dead = w.api.post(path, {**asked, "spec": {"expirationSeconds": 3600, "boundObjectRef": bound}})["status"]["token"]
    w.api.delete(w.path("secrets", "dying"))
    w.secret("tokens", {"active": "v1", "token.v1": live, "token.v2": dead})


@contextmanager
def last_used() -> Iterator[Stage]:
    w = world()
    today = f"{datetime.now(UTC) - timedelta(days=1):%Y-%m-%d}"

    def make() -> None:
        _account(w, "legacy")
        about = {
            "annotations": {"kubernetes.io/service-account.name": "legacy"},
            "labels": {"kubernetes.io/legacy-token-last-used": today},
        }
        w.secret("legacy-token", {}, metadata=about, type="kubernetes.io/service-account-token")
        path = "/api/v1/namespaces/kube-system/configmaps/kube-apiserver-legacy-service-account-token-tracking"
        w.cluster.wait(lambda: w.api.get(path), "the tracking of tokens")

    w.once("legacy", make)
    with played(
        w.stage(
            {"secret": "legacy-token"}, seen=lambda: (w.find("secrets", "legacy-token") or {})["metadata"]["labels"]
        )
    ) as stage:
        yield stage


# --- certificates -----------------------------------------------------------------------------------------------------


def certificate_of(w: World, name: str, *, wait: bool = True) -> None:
    """A certificate of the namespace's own issuer, issued."""
    group = "cert-manager.io/v1"

    def issuer() -> None:
        about = {"name": "own", "namespace": w.namespace}
        w.cluster.apply({"apiVersion": group, "kind": "Issuer", "metadata": about, "spec": {"selfSigned": {}}})

    w.once("issuer", issuer)
    about = {"name": name, "namespace": w.namespace}
    spec = {
        "secretName": name,
        "commonName": name,
        "dnsNames": [name],
        "issuerRef": {"name": "own", "kind": "Issuer"},
        "privateKey": {"rotationPolicy": "Always"},
    }
    w.cluster.apply({"apiVersion": group, "kind": "Certificate", "metadata": about, "spec": spec})
    path = w.path("certificates.cert-manager.io", name)

    def ready() -> bool:  # two controllers say so, in either order
        status = w.api.get(path).get("status") or {}
        told = {one["type"]: one["status"] for one in status.get("conditions") or []}
        return "revision" in status and told.get("Ready") == "True" and told.get("Issuing") != "True"

    if wait:
        w.cluster.wait(ready, f"certificate {name}")


@contextmanager
def certificate(params: dict[str, Any]) -> Iterator[Stage]:
    w = world()
    w.once("certificate", lambda: certificate_of(w, "shared-cert"))
    stage = w.stage(
        {"certificate": "shared-cert", **params},
        seen=lambda: _renewal(w, w.path("certificates.cert-manager.io", "shared-cert")),
    )
    with played(stage):
        yield stage


@contextmanager
def renew() -> Iterator[Stage]:
    w, name = world(), world().name("cert")
    certificate_of(w, name)
    path = w.path("certificates.cert-manager.io", name)

    def effects() -> int:
        status = w.api.get(path)["status"]
        issuing = any(one["type"] == "Issuing" and one["status"] == "True" for one in status["conditions"])
        return int(status["revision"]) - 1 + int(issuing)

    with played(w.stage({"certificate": name}, effects, lambda: _renewal(w, path))) as stage:
        yield stage


def _renewal(w: World, path: str) -> Any:
    return (w.api.get(path)["metadata"].get("annotations") or {}).get(MARK)


@contextmanager
def bundle(word: str, kind: str = "configmap") -> Iterator[Stage]:
    w, name = world(), world().name("bundle")
    old, new = authority_pem("old"), authority_pem("new")
    w.once("authority", lambda: w.secret("authority", {"ca.crt": new, "tls.key": "not looked at"}))
    from adapters.kubernetes.pem import blocks_of

    about = {"name": name, "namespace": w.namespace}
    held = old if word == "trust_ca" else old + new
    w.api.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": about, "data": {"ca.crt": held}})
    fingerprint = next(iter(blocks_of(new if word == "trust_ca" else old)))

    def effects() -> int:
        there = fingerprint in blocks_of(w.api.get(w.path("configmaps", name))["data"]["ca.crt"])
        return int(there == (word == "trust_ca"))

    params = {"bundle": f"{kind}/{name}"}
    params |= {"from_secret": "authority"} if word == "trust_ca" else {"fingerprint": fingerprint}
    with played(w.stage(params, effects, lambda: shown(w.find("configmaps", name)))) as stage:
        yield stage


@contextmanager
def outgoing() -> Iterator[Stage]:
    """A certificate of an authority that its issuer has replaced."""
    w, name = world(), world().name("issued")
    w.once("authority", lambda: w.secret("authority", {"ca.crt": authority_pem("new"), "tls.key": "not looked at"}))
    w.secret(name, {"ca.crt": authority_pem("old"), "tls.key": "not looked at"})
    with played(secret_stage(w, name, {"from_secret": "authority"})) as stage:
        yield stage


@contextmanager
def found(word: str) -> Iterator[Stage]:
    """Everything of a kind in the namespace."""
    w = world()
    w.once("shared", lambda: _shared(w))
    if word == "certificates":
        w.once("certificate", lambda: certificate_of(w, "shared-cert"))
    if word == "service_account_tokens":
        with last_used():
            pass
    with played(w.stage({"namespace": w.namespace}, hidden=lambda: [FIRST])) as stage:
        yield stage


@contextmanager
def logged() -> Iterator[Stage]:
    """A pod whose log the stage has written."""
    w = world()
    node = f"logs-of-{w.namespace}"

    def make() -> None:
        kubelet = Kubelet()
        kubelet.logs["logged/web"] = '{"level": "info", "msg": "fine"}'
        kubelet.join(w.cluster, node)
        about = {"name": "logged", "namespace": w.namespace, "labels": {"app": "logged"}}
        spec = {"nodeName": node, "containers": [{"name": "web", "image": "none"}]}
        w.api.create({"apiVersion": "v1", "kind": "Pod", "metadata": about, "spec": spec})
        path = w.path("pods", "logged")
        w.cluster.wait(lambda: w.api.get(path)["status"].get("containerStatuses"), "the pod runs")

    w.once("logs", make)
    with played(w.stage({"selector": "app=logged", "below": 1})) as stage:
        yield stage


def _erased(name: str) -> Callable[[dict[str, str]], int]:
    return lambda data: int(name not in data)


case = partial(Case, cluster=True)
CASES = [
    case("kubernetes.add_key", partial(keys, {}, ONE, lambda data: sum(k.startswith("key.v") for k in data) - 1)),
    case("kubernetes.point_key", partial(keys, {"version": "v1"}, TWO, lambda data: int(data["active"] == "v1"))),
    case("kubernetes.remove_key", partial(keys, {"version": "v1"}, TWO, _erased("key.v1"))),
    case("kubernetes.purge_key", partial(keys, {"version": "v1"}, GONE, _erased("retired.v1"))),
    case("kubernetes.key_present", partial(keys, {"version": "v2"}, TWO)),
    case("kubernetes.key_absent", partial(keys, {"version": "v1"}, GONE)),
    case("kubernetes.active_version", partial(keys, {}, TWO)),
    case("kubernetes.managed_by", partial(keys, {}, TWO)),
    case("kubernetes.stage_next", partial(staged, "stage_next")),
    case("kubernetes.swap", partial(staged, "swap")),
    case("kubernetes.clear_previous", partial(staged, "clear_previous")),
    case("kubernetes.set_aside_previous", partial(staged, "set_aside_previous")),
    case("kubernetes.slot_ids", partial(staged, "slot_ids")),
    case("kubernetes.slot_holds", partial(staged, "slot_holds")),
    case("kubernetes.slot_empty", partial(staged, "slot_empty")),
    case("kubernetes.restart", partial(workload, "restart"), stays=True),
    case("kubernetes.refer", partial(workload, "refer")),
    case("kubernetes.roll_back", partial(workload, "roll_back")),
    case("kubernetes.rolled_out", partial(looked, {"workload": "deployment/shared"})),
    case("kubernetes.all_ready", partial(looked, {"selector": "app=shared"})),
    case("kubernetes.log_errors", logged),
    case("kubernetes.consumers", partial(looked, {"secret": "admin"})),
    case("kubernetes.restartable", partial(looked, {"selector": "app=shared"})),
    case("kubernetes.setting", partial(looked, {"configmap": "settings", "key": "ttl"})),
    case("kubernetes.issue_token", issue),
    case("kubernetes.revoke_token", revoke),
    case("kubernetes.token_works", partial(token, "token_works")),
    case("kubernetes.token_refused", partial(token, "token_refused")),
    case("kubernetes.token_expiry", partial(token, "token_expiry")),
    case("kubernetes.token_id", partial(token, "token_id")),
    case("kubernetes.token_last_used", last_used),
    case("kubernetes.renew_certificate", renew, stays=True),
    case("kubernetes.certificate_ready", partial(certificate, {})),
    case("kubernetes.certificate", partial(certificate, {})),
    case("kubernetes.trust_ca", partial(bundle, "trust_ca")),
    case("kubernetes.distrust_ca", partial(bundle, "distrust_ca")),
    case("kubernetes.outgoing_ca", outgoing),
    case("kubernetes.secrets", partial(found, "secrets")),
    case("kubernetes.certificates", partial(found, "certificates")),
    case("kubernetes.tls_secrets", partial(found, "tls_secrets")),
    case("kubernetes.service_account_tokens", partial(found, "service_account_tokens")),
]
