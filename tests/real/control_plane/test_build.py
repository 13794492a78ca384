"""The cache of built programs: what it depends on, who may build, and what a half-built one is worth."""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from playground.cluster import build as building

GO = """#!/bin/sh
case "$*" in
  "env GOVERSION") echo {version} ;;
  build*)
    while [ "$1" != "-o" ]; do shift; done
    mkdir -p "$(dirname "$2")"; echo program > "$2"; echo one >> "{log}" ;;
  list*) echo v1.2.3 ;;
  *download*) echo '{{"Dir": "{modules}"}}' ;;
esac
"""
FILES = (
    "deploy/crds/one.yaml",
    "example/prometheus-operator-crd/x_servicemonitors.yaml",
    "example/prometheus-operator-crd/x_prometheusrules.yaml",
    "kustomize/stage/node/fast/node-initialize.yaml",
    "kustomize/stage/pod/fast/pod-ready.yaml",
)


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Copies of the modules, an empty cache, and no Go yet."""
    copies = tmp_path / "sources"
    for module in {*building.PROGRAMS, *building.COPIED}:
        shutil.copytree(building.SOURCES / module, copies / module)
    for name in FILES:
        (tmp_path / "modules" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "modules" / name).write_text("kind: Anything")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(building, "_places", lambda: iter([str(tmp_path / "go")]))
    return copies


def have_go(folder: Path, version: str) -> None:
    """A program that answers as Go does, and notes each build: the compiler itself is not what is tested here."""
    program = folder / "go"
    program.write_text(GO.format(version=version, log=folder / "builds", modules=folder / "modules"))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)


def builds(folder: Path) -> int:
    log = folder / "builds"
    return len(log.read_text().splitlines()) if log.exists() else 0


def quiet(text: str) -> None:
    """Say nothing."""


def test_it_is_built_once_and_again_when_a_source_or_go_changes(sources: Path, tmp_path: Path) -> None:
    have_go(tmp_path, "go1.26.8")
    first = building.build(quiet, sources)
    assert builds(tmp_path) == len(building.PROGRAMS)
    assert building.build(quiet, sources) == first
    assert builds(tmp_path) == len(building.PROGRAMS)
    assert first.program("kwok").exists()
    assert [file.name for file in first.definitions("monitoring")] == [
        "x_prometheusrules.yaml",
        "x_servicemonitors.yaml",
    ]
    have_go(tmp_path, "go1.27.0")
    second = building.build(quiet, sources)
    assert second != first
    (sources / "helm" / "go.sum").write_text("changed")
    assert building.build(quiet, sources) not in (first, second)
    assert builds(tmp_path) == 3 * len(building.PROGRAMS)


def test_without_go_an_earlier_build_is_found_and_nothing_else(sources: Path, tmp_path: Path) -> None:
    assert building.find(sources) is None
    assert not building.can_build(sources)
    with pytest.raises(building.Missing, match=r"needs Go 1\.26 or newer"):
        building.build(quiet, sources)
    have_go(tmp_path, "go1.19.8")
    with pytest.raises(building.Missing, match="too old"):
        building.build(quiet, sources)
    have_go(tmp_path, "go1.26.8")
    built = building.build(quiet, sources)
    (tmp_path / "go").unlink()
    assert building.build(quiet, sources) == built


def test_a_half_built_one_is_never_used_and_is_cleared_away(sources: Path, tmp_path: Path) -> None:
    have_go(tmp_path, "go1.26.8")
    (tmp_path / "modules" / FILES[-1]).unlink()
    with pytest.raises(building.Missing, match="its layout has changed"):
        building.build(quiet, sources)
    cache = tmp_path / "cache" / "keyturn" / "control-plane"
    assert list(cache.glob("unfinished-*"))
    assert building.find(sources) is None
    (tmp_path / "modules" / FILES[-1]).write_text("kind: Stage")
    parts = building.build(quiet, sources)
    assert parts.folder.is_dir()
    assert not list(cache.glob("unfinished-*"))


def test_who_comes_second_waits_and_builds_nothing(sources: Path, tmp_path: Path) -> None:
    have_go(tmp_path, "go1.26.8")
    cache = tmp_path / "cache" / "keyturn" / "control-plane"
    cache.mkdir(parents=True)
    program = (
        "import sys; from pathlib import Path; from playground.cluster import build as b\n"
        f"b._places = lambda: iter([{str(tmp_path / 'go')!r}])\n"
        f"b.build(lambda text: print(text, flush=True), Path({str(sources)!r}))"
    )
    with (cache / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        others = [
            subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env={**os.environ})
            for _ in range(2)
        ]
        for other in others:
            assert other.stdout is not None
            assert "waiting for another process" in other.stdout.readline()
        assert builds(tmp_path) == 0
    for other in others:
        other.communicate(timeout=60)
        assert other.returncode == 0
    assert builds(tmp_path) == len(building.PROGRAMS)


def test_a_wheel_has_no_modules_and_says_so(tmp_path: Path) -> None:
    with pytest.raises(building.Missing, match="come with a checkout of keyturn"):
        building.build(quiet, tmp_path / "nowhere")
