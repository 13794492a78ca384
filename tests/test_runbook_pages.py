"""The pages of runbooks, as somebody follows them who has nothing but them: each section in a shell of its own."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "docs" / "RUNBOOKS"
PAGES = sorted(path for path in FOLDER.glob("*.md") if "### In a shell" in path.read_text(encoding="utf-8"))
NAMED = re.compile(r"(?m)^([a-z][a-z_]*)\(\) *[{(]")
BODY = re.compile(r"(?ms)^[a-z][a-z_]*\(\) *(?:[{(][^\n]*[})]$|[{(].*?^[)}]$)")
SET = re.compile(r"\b([A-Z][A-Z0-9_]*)=|\bfor ([A-Z]+) in\b")
USED = re.compile(r"\$\{?([A-Z][A-Z0-9_]*)(?!\w|:-)")


def commands(page: Path, heading: str) -> str:
    """What is typed under a heading, which may be the beginning of one."""
    found = re.search(rf"(?ms)^### {re.escape(heading)}.*?\n(.*?)(?=^##|\Z)", page.read_text(encoding="utf-8"))
    assert found is not None, f"{page.name} has no {heading}"
    return "".join(re.findall(r"(?s)```sh\n(.*?)```", found[1]))


def names_set(text: str) -> set[str]:
    read = {name for names in re.findall(r"\bread [^<\n]*?([A-Z][A-Z0-9_ ]*?) *<", text) for name in names.split()}
    return read | {name for pair in SET.findall(text) for name in pair if name}


def test_there_are_such_pages() -> None:
    assert len(PAGES) == 6


@pytest.mark.parametrize("heading", ["Retire by hand", "Revoke by hand"])
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_section_that_is_begun_in_a_new_shell_says_all_that_it_uses(page: Path, heading: str) -> None:
    first, text = commands(page, "In a shell"), commands(page, heading)
    known = set(NAMED.findall(page.read_text(encoding="utf-8")))
    called = {name for name in known if re.search(rf"(?m)(?:^|[;|&(] *|\bdo |\[ \"\$\(|=\$\(){name}(?=[ )]|$)", text)}
    assert called <= set(NAMED.findall(text))
    assert set(USED.findall(text)) <= names_set(first) | names_set(text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_is_to_be_noted_is_shown(page: Path) -> None:
    (told,) = re.findall(
        r"Note in the ticket as soon as they are shown: (.*?)\. They", page.read_text(encoding="utf-8")
    )
    typed = BODY.sub("", commands(page, "Look it up by hand") + commands(page, "Rotate by hand"))
    assert set(re.findall(r"`(\w+)`", told)) <= names_set(typed)
