"""What is said about tests against the control plane that were not asked for."""

from __future__ import annotations

import subprocess
import sys

import pytest

from playground.cluster.cluster import ROOT

FILE = "tests/real/control_plane/test_cluster.py"


@pytest.mark.parametrize("workers", ["0", "2"])
def test_those_left_out_are_counted_aloud(workers: str) -> None:
    words = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "-n", workers, FILE]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert "NOT RUN against a Kubernetes control plane" in done.stdout
    (line,) = [each for each in done.stdout.splitlines() if "make test-cluster" in each]
    count, _, rest = line.partition(" ")
    assert int(count) >= 10
    assert rest == "tests against a Kubernetes control plane were not asked for: make test-cluster"
