"""Who may speak with the pods and with whom they may, and what finds and protects them, as the chart renders it."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from docs.manifests import CHART, KUBERNETES
from playground.cluster.api import Manifest
from tests.real.deploy.conftest import FROM_MONITORING, MONITORED, Helm, documents

SLACK, API_SERVER, OUTSIDE_6 = "18.66.1.1", "10.96.0.1", "2001:db8::7"
METADATA = "169.254.169.254"
DATABASE = "10.20.0.5"


@dataclass(frozen=True)
class Peer:
    """Who is at the other end: an address, and the labels of its namespace and pod where it is a pod."""

    address: str
    namespace: Mapping[str, str] = field(default_factory=dict)
    pod: Mapping[str, str] = field(default_factory=dict)


DNS = Peer("10.96.0.10", {"kubernetes.io/metadata.name": "kube-system"}, {"k8s-app": "kube-dns"})
PROMETHEUS = Peer("10.244.0.9", {"kubernetes.io/metadata.name": "monitoring"}, {"app": "prometheus"})


def found(rendered: str, kind: str) -> list[Manifest]:
    return [one for one in documents(rendered) if one["kind"] == kind]


def policy(helm: Helm, folder: Path, **values: Any) -> Any:
    (folder / "values.json").write_text(json.dumps(values))
    (one,) = found(helm.render("--values", folder / "values.json"), "NetworkPolicy")
    return one["spec"]


def selected(selector: Mapping[str, Any] | None, labels: Mapping[str, str]) -> bool:
    assert set(selector or {}) <= {"matchLabels"}, "no other selector is understood here"
    return (selector or {}).get("matchLabels", {}).items() <= labels.items()


def matches(peer: Mapping[str, Any], other: Peer) -> bool:
    """As the documentation of NetworkPolicy says."""
    if block := peer.get("ipBlock"):
        address = ipaddress.ip_address(other.address)
        inside = address in ipaddress.ip_network(block["cidr"])
        return inside and not any(address in ipaddress.ip_network(one) for one in block.get("except", []))
    assert "namespaceSelector" in peer, "without one, pods of the own namespace alone would be meant"
    return selected(peer["namespaceSelector"], other.namespace) and selected(peer.get("podSelector"), other.pod)


def allows(rules: Sequence[Mapping[str, Any]], end: str, other: Peer, port: int | str, protocol: str = "TCP") -> bool:
    for rule in rules:
        ports = {(one.get("protocol", "TCP"), one["port"]) for one in rule.get("ports", [])}
        if (not ports or (protocol, port) in ports) and (
            not rule.get(end) or any(matches(one, other) for one in rule[end])
        ):
            return True
    return False


def out(spec: Mapping[str, Any], other: Peer, port: int, protocol: str = "TCP") -> bool:
    return allows(spec["egress"], "to", other, port, protocol)


def test_pods_reach_slack_the_api_server_the_database_and_dns_and_nothing_else(helm: Helm, tmp_path: Path) -> None:
    spec = policy(helm, tmp_path)
    assert set(spec["policyTypes"]) == {"Ingress", "Egress"}
    for address in (SLACK, API_SERVER, OUTSIDE_6):
        for port in (443, 6443):
            assert out(spec, Peer(address), port), (address, port)
        for port in (22, 80, 8080, 10250, 2379):
            assert not out(spec, Peer(address), port), (address, port)
    assert out(spec, Peer(DATABASE), 5432)
    for protocol in ("TCP", "UDP"):
        assert out(spec, DNS, 53, protocol)
        assert not out(spec, Peer(SLACK), 53, protocol)
    assert not out(spec, Peer(METADATA), 80)
    assert not out(spec, Peer(METADATA), 443), "a cloud's metadata service gives credentials of the machine"
    assert not out(spec, Peer(SLACK), 443, "UDP")


def test_what_is_narrowed_is_narrow(helm: Helm, tmp_path: Path) -> None:
    database = [{"ipBlock": {"cidr": f"{DATABASE}/32"}}]
    web = {"cidrs": ["10.96.0.0/16"], "ports": [443]}
    spec = policy(helm, tmp_path, networkPolicy={"egress": {"database": {"to": database, "ports": [6432]}, "web": web}})
    assert out(spec, Peer(DATABASE), 6432)
    assert not out(spec, Peer(DATABASE), 5432)
    assert not out(spec, Peer(SLACK), 6432)
    assert out(spec, Peer(API_SERVER), 443)
    assert not out(spec, Peer(SLACK), 443)
    assert not out(spec, Peer(API_SERVER), 6443)


def test_on_sqlite_no_database_is_spoken_to(helm: Helm, tmp_path: Path) -> None:
    spec = policy(helm, tmp_path, database={"kind": "sqlite"}, serve={"replicas": 1}, worker={"replicas": 0})
    assert not out(spec, Peer(DATABASE), 5432)


def test_nobody_comes_in_but_who_is_named_and_only_to_the_port_that_there_is(helm: Helm, tmp_path: Path) -> None:
    spec = policy(helm, tmp_path)
    assert "Ingress" in spec["policyTypes"]
    assert "ingress" not in spec, "no rule lets nobody in"
    spec = policy(helm, tmp_path, networkPolicy={"ingressFrom": FROM_MONITORING})
    assert allows(spec["ingress"], "from", PROMETHEUS, "http")
    assert not allows(spec["ingress"], "from", PROMETHEUS, "ssh")
    assert not allows(spec["ingress"], "from", DNS, "http")


@pytest.fixture(params=["main", "keyturn"])
def rendered(helm: Helm, request: pytest.FixtureRequest) -> str:
    """Under two names of the release."""
    done = helm("template", request.param, CHART, "--kube-version", KUBERNETES, *MONITORED)
    assert done.returncode == 0, done.stderr
    return done.stdout


def pods(rendered: str) -> Iterator[tuple[str, Mapping[str, str], set[str]]]:
    """Component, labels and names of ports of each pod."""
    for one in found(rendered, "Deployment"):
        template = one["spec"]["template"]
        labels = template["metadata"]["labels"]
        ports = {port["name"] for box in template["spec"]["containers"] for port in box["ports"]}
        yield labels["app.kubernetes.io/component"], labels, ports


def components(rendered: str, selector: Mapping[str, str]) -> set[str]:
    return {component for component, labels, _ in pods(rendered) if selector.items() <= labels.items()}


def test_the_policy_holds_for_every_pod_of_the_release_and_no_other(rendered: str) -> None:
    (one,) = found(rendered, "NetworkPolicy")
    selector = one["spec"]["podSelector"]["matchLabels"]
    assert components(rendered, selector) == {"serve", "worker"}
    assert "app.kubernetes.io/instance" in selector, "another release in the namespace has its own"


def test_each_service_leads_to_its_pods_by_a_port_that_they_have(rendered: str) -> None:
    services = {
        one["metadata"]["labels"]["app.kubernetes.io/component"]: one["spec"] for one in found(rendered, "Service")
    }
    led = {component: components(rendered, spec["selector"]) for component, spec in services.items()}
    assert led == {"serve": {"serve"}, "metrics": {"serve", "worker"}}
    for spec in services.values():
        (port,) = spec["ports"]
        for _, labels, ports in pods(rendered):
            if spec["selector"].items() <= labels.items():
                assert port["targetPort"] in ports


def test_the_monitor_scrapes_the_service_of_all_pods_once(rendered: str) -> None:
    (monitor,) = found(rendered, "ServiceMonitor")
    wanted = monitor["spec"]["selector"]["matchLabels"]
    (scraped,) = [one for one in found(rendered, "Service") if wanted.items() <= one["metadata"]["labels"].items()]
    assert components(rendered, scraped["spec"]["selector"]) == {"serve", "worker"}
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["port"] in {port["name"] for port in scraped["spec"]["ports"]}
    assert endpoint["path"] == "/metrics"
    assert "namespaceSelector" not in monitor["spec"], "the release's own namespace"


def test_each_budget_protects_one_kind_of_pods(rendered: str) -> None:
    budgets = [one["spec"] for one in found(rendered, "PodDisruptionBudget")]
    assert sorted(tuple(components(rendered, one["selector"]["matchLabels"])) for one in budgets) == [
        ("serve",),
        ("worker",),
    ]
    for one in budgets:
        assert one["maxUnavailable"] == 1
        assert "minAvailable" not in one


def test_one_replica_has_no_budget_which_would_stop_every_drain(helm: Helm) -> None:
    rendered = helm.render("--set", "worker.replicas=1")
    (budget,) = found(rendered, "PodDisruptionBudget")
    assert components(rendered, budget["spec"]["selector"]["matchLabels"]) == {"serve"}
