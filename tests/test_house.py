"""Rules of the house that no linter knows: where time and variables are read, what files say, what locks hold."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PRODUCT = ("bot", "commands", "adapters", "playground")
ENVIRONMENT = {
    "bot/__main__.py": "hands the variables to the settings",
    "bot/engine/secrets.py": "reads the variable that a secret reference `env:NAME` points to",
    "playground/cluster/build.py": "hands its own variables to Go, and looks where caches go",
    "playground/launch.py": "gives its own variables to the bot's process",
    "playground/workspace/__main__.py": "is a program of its own, started with tokens in its variables",
}
"""Files that may look at the process's variables, and why."""
CLOCKS = {
    ("datetime", "now"),
    ("datetime", "utcnow"),
    ("datetime", "today"),
    ("date", "today"),
    ("time", "time"),
    ("time", "monotonic"),
    ("time", "sleep"),
    ("time", "perf_counter"),
}
VAGUE = {"utils", "util", "helpers", "helper", "manager", "base", "common", "misc"}


def sources(*packages: str) -> Iterator[Path]:
    for package in packages:
        yield from sorted((ROOT / package).rglob("*.py"))


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def attributes(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Every `name.attribute` of a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name | ast.Attribute):
            value = node.value
            yield (value.id if isinstance(value, ast.Name) else value.attr), node.attr


def test_the_core_reads_no_clock() -> None:
    found = {named(path): sorted(CLOCKS & set(attributes(ast.parse(path.read_text())))) for path in sources("bot/core")}
    assert len(found) > 15
    assert not {path: calls for path, calls in found.items() if calls}


def test_only_the_command_line_looks_at_variables() -> None:
    readers = {
        named(path)
        for path in sources(*PRODUCT)
        if {("os", "environ"), ("os", "getenv")} & set(attributes(ast.parse(path.read_text())))
    }
    assert readers <= set(ENVIRONMENT)


@pytest.mark.parametrize("package", [*PRODUCT, "runbooks", "tests"])
def test_every_file_says_in_its_first_line_what_lives_there(package: str) -> None:
    for path in sources(package):
        text = path.read_text()
        assert not text or ast.get_docstring(ast.parse(text)), f"{named(path)} has no docstring"
        assert path.stem not in VAGUE, f"{named(path)} has a name that says nothing"


def test_files_and_functions_stay_small() -> None:
    """Some 400 lines and 50 lines are the habit; these are the ends of the rope."""
    for path in sources(*PRODUCT):
        text = path.read_text()
        assert text.count("\n") <= 450, f"{named(path)} holds two ideas"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno
                assert length <= 80, f"{named(path)}: {node.name} holds two steps ({length} lines)"


def test_nothing_shipped_sleeps_in_a_worker() -> None:
    """Waits are rows."""
    allowed = {
        "bot/terminal.py",  # polls for an answer that another process writes
        "bot/store/database.py",  # at the start, while another process switches the same file to its log
    }
    sleepers = {
        named(path)
        for path in sources("bot", "commands", "adapters")
        if ("time", "sleep") in set(attributes(ast.parse(path.read_text())))
    }
    assert sleepers <= allowed


def test_nothing_committed_names_this_machine_or_a_registry() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    hosts = ("pypi" + ".org", "python" + "hosted.org", "registry." + "npmjs", "deb." + "debian.org")
    for name in listed.stdout.decode().split("\0"):
        path = ROOT / name
        if not name or not path.is_file() or path.suffix in (".png", ".svg", ".ico"):
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        for host in hosts:
            assert host not in text, f"{name} names {host}"


def test_the_version_stands_once() -> None:
    import bot

    with (ROOT / "pyproject.toml").open("rb") as file:
        assert tomllib.load(file)["project"]["version"] == bot.__version__
    assert f"## {bot.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_every_lock_has_hashes_and_no_addresses() -> None:
    for name in (
        "requirements.lock",
        "requirements-dev.lock",
        "requirements-build.lock",
        "tests/image/requirements.lock",
    ):
        text = (ROOT / name).read_text()
        pins = re.findall(r"^[a-z0-9][\w.\-\[\],]*==", text, re.MULTILINE | re.IGNORECASE)
        assert pins, name
        assert "://" not in text, name
        for block in re.split(r"^(?=[a-zA-Z0-9])", text, flags=re.MULTILINE):
            assert not block.strip() or "--hash=sha256:" in block, f"{name}: {block[:60]}"


def test_imports_keep_the_contracts() -> None:
    command = Path(sys.executable).with_name("lint-imports")
    if not command.exists():
        pytest.skip("import-linter is not in this environment")
    done = subprocess.run([command, "--no-cache"], cwd=ROOT, capture_output=True, text=True, env={**os.environ})
    assert done.returncode == 0, done.stdout[-3000:]
