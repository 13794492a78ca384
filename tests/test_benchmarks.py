"""Every benchmark runs; what it measures depends on the machine, and is judged by nobody here."""

from __future__ import annotations

import json
import math

import pytest

from benchmarks.__main__ import PARTS, main

ON_A_CLUSTER = {"estate", "rollouts"}
"""Those that need the control plane, which may not be built yet."""


@pytest.mark.parametrize(
    "part", [pytest.param(part, marks=pytest.mark.cluster) if part in ON_A_CLUSTER else part for part in PARTS]
)
def test_each_part_runs(part: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([part, "--quick", "--json"]) == 0
    (report,) = json.loads(capsys.readouterr().out)
    assert report["figures"]
    assert all(math.isfinite(one["product"]) for one in report["figures"])


def test_a_part_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["ack", "akc"])
    assert "akc" in capsys.readouterr().err
