"""The same programs as processes: one line when ready, tokens by file, an end by signal, state that stays."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

WEB = httpx.Client(trust_env=False, timeout=5, limits=httpx.Limits(max_keepalive_connections=0))

Until = Callable[..., None]
Spawn = Callable[..., tuple[subprocess.Popen[str], dict[str, Any]]]


@pytest.fixture
def spawn() -> Iterator[Spawn]:
    running: list[subprocess.Popen[str]] = []

    def launch(*arguments: str) -> tuple[subprocess.Popen[str], dict[str, Any]]:
        process = subprocess.Popen(
            [sys.executable, "-m", "playground.estate", *arguments],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        )
        running.append(process)
        assert process.stdout is not None
        return process, json.loads(process.stdout.readline())

    yield launch
    for process in running:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


def test_separate_processes_make_an_estate(tmp_path: Path, spawn: Spawn, until: Until) -> None:
    common = ["--directory", str(tmp_path), "--rate", "1440", "--anchor", str(time.time()), "--faults"]
    identity, at = spawn("identity", *common)
    gateways = [spawn("gateway", *common, "--name", f"gateway-{n}", "--identity", at["address"]) for n in (1, 2)]
    addresses = ",".join(ready["address"] for _, ready in gateways)
    _, clients = spawn("clients", *common, "--identity", at["address"], "--gateways", addresses)

    def stats() -> dict[str, Any]:
        return dict(WEB.get(f"{clients['address']}/stats").json())

    until(lambda: stats()["logins_total"] > 5)
    kids = WEB.get(f"{at['address']}/.well-known/jwks.json").json()
    identity.send_signal(signal.SIGTERM)
    assert identity.wait(timeout=10) == 0
    port = at["address"].rpartition(":")[2]
    _, again = spawn("identity", *common, "--port", port)
    assert again["address"] == at["address"]
    assert WEB.get(f"{at['address']}/.well-known/jwks.json").json() == kids
    assert WEB.get(f"{at['address']}/faults").status_code == 200
    token = (tmp_path / "admin-token").read_text()
    listed = WEB.get(f"{at['address']}/api/v1/admin/keys", headers={"Authorization": f"Bearer {token}"})
    assert [key["state"] for key in listed.json()["keys"]] == ["current"]


def test_all_in_one_process(tmp_path: Path, spawn: Spawn, until: Until) -> None:
    process, ready = spawn("all", "--directory", str(tmp_path), "--gateways", "2", "--count", "3")
    assert ready["ready"] is True
    assert sorted(ready["gateways"]) == ["gateway-1", "gateway-2"]
    until(lambda: WEB.get(f"{ready['clients']}/stats").json()["logins_total"] > 3)
    assert (tmp_path / "admin-token").read_text() not in json.dumps(ready)
    assert WEB.get(f"{ready['identity']}/faults").status_code == 404
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=10) == 0
