"""The command line is quick to say what it can do, and loads nothing for that."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest
from typer.main import get_command

from bot import __version__
from bot.__main__ import app
from tests.cli.conftest import ROOT

HEAVY = ("kubernetes", "boto3", "botocore", "slack_bolt", "slack_sdk", "sqlalchemy", "sqlmodel", "pydantic", "rich")

LOADED = """
import sys
from bot.__main__ import main
sys.argv = ["keyturn", "--help"]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print("LOADED", *sorted({name.partition(".")[0] for name in sys.modules}))
"""


def test_help_loads_no_client_library() -> None:
    done = subprocess.run([sys.executable, "-c", LOADED], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = done.stdout.splitlines()[-1].split()
    assert loaded[0] == "LOADED"
    assert "typer" in loaded
    assert not set(HEAVY) & set(loaded)


def test_help_takes_less_than_400_ms_of_one_core() -> None:
    """Processor time: the wall clock belongs to whatever else this machine does."""

    def spent() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "bot", "--help"], cwd=ROOT, capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(spent() for _ in range(3)) < 0.4


def test_version_is_the_package_s() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bot", "--version"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == f"keyturn {__version__}"


def test_every_command_of_the_design_is_there() -> None:
    words = {"playground", "serve", "worker", "run", "init", "doctor", "apply", "plan", "lint", "migrate", "audit"}
    assert words <= set(get_command(app).commands)  # type: ignore[attr-defined]  # a group has commands


@pytest.mark.parametrize("words", [["frobnicate"], ["plan"], ["lint", "--yaml"]])
def test_wrong_use_is_exit_code_2(words: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", "bot", *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
