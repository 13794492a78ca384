"""A pytest plugin: tests against servers that others wrote are counted aloud where they are skipped, or must run."""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest

REQUIRED = "KEYTURN_REQUIRE_REAL_PARTS"
MARKERS = ("realparts", "image", "cluster")


def required() -> bool:
    """Whether an absent part is a failure, as in CI."""
    return os.environ.get(REQUIRED, "") not in ("", "0")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip into a failure where the part is required."""
    report = yield
    if report.skipped and required() and not hasattr(report, "wasxfail") and _needs(item):
        report.outcome = "failed"
        report.longrepr = f"{REQUIRED} is set, and this was skipped: {_why(report)}"
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many tests did not meet a real server, and why."""
    skipped = [
        report
        for report in terminalreporter.stats.get("skipped", [])
        if any(name in report.keywords for name in MARKERS)
    ]
    if skipped:
        terminalreporter.section("NOT RUN against real parts", sep="!")
        for why in sorted({_why(report) for report in skipped}):
            count = sum(_why(report) == why for report in skipped)
            terminalreporter.line(f"{count} tests: {why}")


def _needs(item: pytest.Item) -> bool:
    return any(item.get_closest_marker(name) is not None for name in MARKERS)


def _why(report: pytest.TestReport) -> str:
    where = report.longrepr
    return str(where[2] if isinstance(where, tuple) else where).removeprefix("Skipped: ")
