"""The image: linted, built step by step in a scratch folder, and tried out as an image would run."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.image.dockerfile import DOCKERFILE, ROOT, command, read

FINAL = read()[1][-1]
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith(("KEYTURN_", "SLACK_", "PYTHON"))}


def test_the_image_runs_as_nobody_special() -> None:
    assert FINAL.all("USER")[-1] == "10001:10001"
    order = [word for word, _ in FINAL.instructions]
    assert order.index("USER") < order.index("ENTRYPOINT")
    assert not FINAL.all("ADD")


def test_one_image_serves_and_works_and_is_asked_for_its_health() -> None:
    assert command(FINAL.all("ENTRYPOINT")[0]) == ["keyturn"]
    assert command(FINAL.all("CMD")[0]) == ["serve"]
    health = FINAL.all("HEALTHCHECK")[0]
    assert command(health.partition("CMD ")[2])[0] == "python"
    port = FINAL.all("EXPOSE")[0]
    assert f":{port}/healthz" in health
    assert FINAL.pairs("ENV")["KEYTURN_HTTP"] == f"0.0.0.0:{port}"


def test_everything_is_pinned_and_nothing_secret_is_built_in() -> None:
    _, stages = read()
    for stage in stages:
        for line in stage.all("RUN"):
            assert "pip install" not in line or "--require-hashes" in line or "--no-index" in line, line
            assert "curl" not in line
            assert "wget" not in line
        for line in (*stage.all("ENV"), *stage.all("ARG")):
            assert not re.search(r"TOKEN|SECRET|PASSWORD", line), line


def test_what_is_written_goes_into_the_volume() -> None:
    (volume,) = command(FINAL.all("VOLUME")[0])
    variables = FINAL.pairs("ENV")
    assert variables["KEYTURN_KEYS"].startswith(volume)
    assert variables["KEYTURN_DATABASE_URL"].removeprefix("sqlite:///").startswith(volume)
    assert FINAL.all("WORKDIR")[-1] == volume


def test_the_build_context_holds_what_the_steps_copy_and_no_more() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {name for rest in read()[1][0].all("COPY") for name in rest.split()[:-1]}
    assert copied == allowed
    assert all((ROOT / name).exists() for name in copied)


# --- with a package registry ------------------------------------------------------------------------------------------


@pytest.mark.image
def test_the_dockerfile_passes_its_linter(tmp_path: Path) -> None:
    lock = Path(__file__).with_name("requirements.lock")
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "tools"], check=True)
    python = tmp_path / "tools/bin/python"
    subprocess.run([python, "-m", "pip", "install", "-q", "--require-hashes", "-r", lock], check=True)
    done = subprocess.run(
        [tmp_path / "tools/bin/hadolint", "--failure-threshold", "style", DOCKERFILE], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the build stage installs to, after each of its steps ran as it stands in the Dockerfile."""
    stage = read()[1][0]
    assert stage.name == "build"
    source, target = tmp_path_factory.mktemp("src"), tmp_path_factory.mktemp("opt") / "keyturn"
    variables = CLEAN | stage.pairs("ENV") | stage.pairs("ARG") | {"TARGET": str(target)}
    for word, rest in stage.instructions:
        if word == "COPY":
            _copy(rest, source)
        elif word == "RUN":
            subprocess.run(["/bin/sh", "-c", rest], cwd=source, env=variables, check=True, timeout=600)
    yield target
    shutil.rmtree(target)
    shutil.rmtree(source)


def _copy(rest: str, target: Path) -> None:
    *names, where = rest.split()
    for name in names:
        origin = ROOT / name
        if origin.is_dir():
            shutil.copytree(origin, target / where, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(origin, target / where)


def _run(
    built: Path, *words: str, folder: Path, more: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    variables = {"PATH": f"{built}/bin:{os.environ['PATH']}", "PYTHONDONTWRITEBYTECODE": "1", "HOME": str(folder)}
    return subprocess.run(
        words, cwd=folder, env=variables | dict(more or {}), capture_output=True, text=True, timeout=120
    )


@pytest.mark.image
@pytest.mark.timeout(900)
def test_the_steps_make_a_bot_that_runs(built: Path, tmp_path: Path) -> None:
    done = _run(built, "keyturn", "init", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert _run(built, "keyturn", "lint", folder=tmp_path).returncode == 0
    assert "Applied" in _run(built, "keyturn", "migrate", folder=tmp_path).stdout
    done = _run(built, "keyturn", "run", "status", "--json", folder=tmp_path)
    assert "good" in json.loads(done.stdout)
    done = _run(built, "keyturn", "serve", folder=tmp_path)
    assert "SLACK_BOT_TOKEN is not set" in done.stderr


@pytest.mark.image
@pytest.mark.timeout(900)
def test_all_byte_code_is_there_and_is_not_written_again(built: Path, tmp_path: Path) -> None:
    packages = next(built.glob("lib/python*/site-packages"))
    for name in ("bot", "commands", "adapters", "runbooks", "sqlalchemy", "slack_bolt"):
        for source in (packages / name).rglob("*.py"):
            assert list(source.parent.glob(f"__pycache__/{source.stem}.*.pyc")), f"{source} has no byte code"
    before = {path: path.stat().st_mtime_ns for path in built.rglob("*")}
    for path in sorted(before, reverse=True):
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o555)  # a read-only root file system, as far as a folder can be one
    done = _run(built, "keyturn", "--help", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert {path: path.stat().st_mtime_ns for path in built.rglob("*")} == before


@pytest.mark.image
@pytest.mark.timeout(900)
def test_the_image_holds_no_installer_and_no_tests(built: Path) -> None:
    packages = next(built.glob("lib/python*/site-packages"))
    assert not (packages / "pip").exists()
    assert not (packages / "tests").exists()
    assert not (packages / "pytest").exists()
    for name in ("keyturn.yml",):
        assert (packages / "bot/setup" / name).is_file()
    assert (packages / "bot/store/migrations/versions/0001_first.py").is_file()
    assert list((packages / "runbooks").glob("*.yaml"))
    assert (packages / "playground/workspace/page/index.html").is_file()
