"""The documentation: pages made from declarations are current, links lead somewhere, named tests exist."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from docs.pages import pages

ROOT = Path(__file__).parent.parent
LINK = re.compile(r"!?\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")
TEST = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")


def written() -> Iterator[Path]:
    yield from sorted(ROOT.glob("*.md"))
    yield from sorted((ROOT / "docs").rglob("*.md"))


def test_pages_made_from_declarations_are_current() -> None:
    stale = [name for name, text in pages().items() if (ROOT / name).read_text(encoding="utf-8") != text]
    assert not stale, "run `make docs`"


def test_every_settable_key_and_every_word_has_a_line() -> None:
    made = pages()
    for word in ("start", "approve", "history", "keyturn doctor", "keyturn audit verify"):
        assert f"### {word}" in made["docs/reference/commands.md"]
    assert "### identity.publish_key" in made["docs/reference/adapters.md"]
    assert "`keyturn_audit_rows_unwitnessed`" in made["docs/reference/metrics.md"]


@pytest.mark.parametrize("path", list(written()), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(path: Path) -> None:
    for target in LINK.findall(path.read_text(encoding="utf-8")):
        if target.startswith(("https://", "mailto:")):
            continue
        assert (path.parent / target).exists(), f"{path.name} links to {target}"


@pytest.mark.parametrize("path", list(written()), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_tests_that_are_named_exist(path: Path) -> None:
    for file, name in TEST.findall(path.read_text(encoding="utf-8")):
        assert (ROOT / file).is_file(), f"{path.name} names {file}"
        if name:
            assert f"def {name}(" in (ROOT / file).read_text(), f"{path.name} names {name} of {file}"


def test_the_readme_s_commands_are_targets_of_make() -> None:
    text = (ROOT / "README.md").read_text()
    for target in re.findall(r"^make (\S+)", text, re.MULTILINE):
        done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
