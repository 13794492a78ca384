"""The playground's cluster: what keyturn is told about it is true, and its account may do that and no more."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from playground.cluster import site
from playground.cluster.api import Api, ApiError
from playground.cluster.build import Missing, Parts
from playground.cluster.consumer import VERIFIER
from playground.estate import Estate
from playground.estate.clock import VirtualClock
from playground.installation import settings_of


def test_keyturn_can_reach_what_its_settings_name(control_plane_parts: Parts, tmp_path: Path) -> None:
    if (lacking := site.lacking()) is not None:
        pytest.skip(lacking)
    with site.started(VirtualClock(1440), tmp_path / "cluster") as here, Estate.start(clients=0) as estate:
        settings = here.extend(settings_of(estate))
        (credential,) = [each for each in settings["credentials"] if each["name"] == "requests-proxy-key"]
        inputs, adapters = credential["inputs"], settings["adapters"]
        file = json.loads(Path(adapters["kubernetes"]["clusters"]["default"]["kubeconfig"]).read_text())
        api = Api(here.cluster.server, here.cluster.ca, file["users"][0]["user"]["token"])
        root = f"/api/v1/namespaces/{inputs['namespace']}"
        assert "key.v1" in api.get(f"{root}/secrets/{inputs['secret_name']}")["data"]
        with pytest.raises(ApiError, match="forbidden"):
            api.get(f"{root}/secrets")
        for workload in inputs["workloads"]:
            name = workload.removeprefix("deployment/")
            api.get(f"/apis/apps/v1/namespaces/{inputs['namespace']}/deployments/{name}")
        here.cluster.wait(lambda: len(here.consumers.pods.ready(VERIFIER)) == 3, "the verifiers are up")
        here.cluster.wait(lambda: here.consumers.stats()["rounds"] > 3, "tokens are presented")
        pods = api.get(f"{root}/pods", labelSelector=inputs["selector"])["items"]
        assert len(pods) == 4
        (verifiers,) = inputs["verifiers"]
        counted = httpx.get(f"{adapters['gateways']['gateways'][verifiers]['url']}/stats").json()
        assert list(counted["by_kid"]) == ["v1"]
        assert httpx.get(inputs["dependants"][0]).status_code == 200
        server = adapters["prometheus"]["servers"]["main"]["url"]

        def scraped() -> bool:
            try:
                answer = httpx.get(f"{server}/api/v1/query", params={"query": inputs["good"]}).json()
            except httpx.HTTPError:
                return False  # it is still starting
            return bool(answer["data"]["result"])

        here.cluster.wait(scraped, "Prometheus has counted")
        process = here.consumers.pods.ready(VERIFIER)[0].process
        assert process is not None
    assert process.poll() is not None
    assert not here.cluster.folder.exists()


def test_what_is_lacking_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Missing, match="Prometheus, which is not installed"), site.started(VirtualClock(), tmp_path):
        pass
