"""How soon keyturn is there, and what it weighs: `--help`, start to ready, memory when idle."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.figures import Bar, Report, paired, single, timed
from benchmarks.processes import ROOT, environment_of, served
from playground.workspace.workspace import Workspace

EAGER = """
import boto3, cryptography.x509, kubernetes, slack_bolt, sqlmodel
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from slack_bolt import App
from slack_bolt.adapter.socket_mode import SocketModeHandler
App(token="xoxb-1", signing_secret="x", token_verification_enabled=False)
sqlmodel.create_engine("sqlite://").connect()
kubernetes.client.CoreV1Api(), kubernetes.client.AppsV1Api()
session = boto3.session.Session("a", "b", region_name="eu-central-1")
for service in ("iam", "sts", "secretsmanager", "ssm", "kms", "rds"):
    session.client(service)
"""
"""A bot that loads everything and builds a client of each kind before it says that it is ready."""
IDLE_SECONDS = 5.0


def starts(*, quick: bool) -> Report:
    """Bars: help < 0.4 s; ready in half of an eager start; under 110 MB when idle."""
    rounds = 1 if quick else 7
    report = Report("Start (floor: a start that imports everything and builds all clients)")
    helps = [timed(lambda: _run("-m", "bot", "--help")) for _ in range(rounds)]
    report.figures.append(single("keyturn --help", "s", helps, Bar(0.4, of="product")))
    eager, fresh, again, weight = [], [], [], []
    if not quick:
        _run("-c", EAGER)  # byte code
    with Workspace.start(manifest=ROOT / "manifest.yml", rate_factor=0.0) as workspace:
        for _ in range(rounds):
            with tempfile.TemporaryDirectory(prefix="keyturn-bench-") as folder:
                environment = environment_of(workspace, Path(folder))
                with served(environment) as first:
                    fresh.append(first.ready_after)
                eager.append(timed(lambda: _run("-c", EAGER)))
                with served(environment) as bot:
                    again.append(bot.ready_after)
                    time.sleep(0.2 if quick else IDLE_SECONDS)
                    weight.append(bot.status("VmRSS") / 1024)
    report.figures += [
        paired("start to ready", "s", eager, again, Bar(0.5)),
        paired("first start, which makes the database", "s", eager, fresh),
        single("idle", "MB", weight, Bar(110, of="product")),
    ]
    return report


def _run(*words: str) -> None:
    subprocess.run([sys.executable, *words], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
