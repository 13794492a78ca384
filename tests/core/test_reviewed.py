"""A review is of what stood there, by somebody else; the next edit makes it void."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.core.errors import Refused
from bot.core.policy import Person, Policy
from bot.core.reviewed import same_spelling, why_unreviewed
from bot.core.runbook_file import LoadedRunbook, load
from bot.reviewing import review

TEXT = """\
# A comment that stays.
runbook: door
summary: Change the key of the door, for the tests of reviews.
author: alice
rollback_within: 10m
steps:
  - {id: turn, ask: Turn the new key}  # and this one
"""
POLICY = Policy((Person("alice", slack_ids=frozenset({"U0ALICE"}), os_user="al"), Person("bob")))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "door.yaml"
    path.write_text(TEXT)
    return path


def rule(loaded: LoadedRunbook) -> str:
    why = why_unreviewed(loaded, POLICY.same_name)
    return why.rule if why else ""


def test_a_review_is_written_once_and_leaves_the_rest_as_it_is(file: Path) -> None:
    assert rule(load(file)) == "no-review"
    mode = file.stat().st_mode
    review(file, "bob", POLICY.same_name)
    review(file, "carol", POLICY.same_name)
    lines = file.read_text().splitlines()
    assert [line for line in lines if not line.startswith("reviewed:")] == TEXT.splitlines()
    assert sum(line.startswith("reviewed:") for line in lines) == 1
    found = load(file)
    assert found.runbook.reviewed is not None
    assert found.runbook.reviewed.by == "carol"
    assert rule(found) == ""
    assert file.stat().st_mode == mode
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("rollback_within: 10m", "rollback_within: 11m"),
        ("ask: Turn the new key", "ask: Turn the old key"),
        ("author: alice", "author: dave"),
        ("steps:\n", "steps:\n  - {id: more, ask: And something else}\n"),
        ("rollback_within: 10m", "rollback_within: 10m\nnotes: [Leave the door open meanwhile]"),
    ],
)
def test_an_edit_makes_it_void(file: Path, old: str, new: str) -> None:
    review(file, "bob", POLICY.same_name)
    file.write_text(file.read_text().replace(old, new))
    assert rule(load(file)) == "review-void"


def test_the_layout_and_comments_are_not_what_was_reviewed(file: Path) -> None:
    review(file, "bob", POLICY.same_name)
    file.write_text(file.read_text().replace("# and this one", "# another").replace("{id: turn, ", "{id:   turn,  "))
    assert rule(load(file)) == ""


@pytest.mark.parametrize("name", ["alice", "Alice ", "U0ALICE", "slack:T1/U0ALICE", "os:al"])
def test_nobody_reviews_what_they_wrote_under_no_name_of_theirs(file: Path, name: str) -> None:
    with pytest.raises(Refused, match="author and reviewer are"):
        review(file, name, POLICY.same_name)
    assert file.read_text() == TEXT
    forged = f'reviewed: {{by: "{name}", digest: "{load(file).content}"}}\n'
    file.write_text(TEXT.replace("author: alice\n", f"author: alice\n{forged}"))
    assert rule(load(file)) == "own-review"


def test_without_settings_only_the_spelling_tells(file: Path) -> None:
    with pytest.raises(Refused, match="both 'alice'"):
        review(file, "ALICE", same_spelling)
    assert why_unreviewed(review(file, "os:al", same_spelling), same_spelling) is None


@pytest.mark.parametrize("name", ["", "  ", 'bo"b', "bo\\b", "bo\nb"])
def test_what_is_no_name_is_refused(file: Path, name: str) -> None:
    with pytest.raises(Refused, match="was not changed"):
        review(file, name, same_spelling)
    assert file.read_text() == TEXT


def test_without_an_author_nobody_can_be_another(file: Path) -> None:
    file.write_text(TEXT.replace("author: alice\n", ""))
    with pytest.raises(Refused, match="names no author"):
        review(file, "bob", same_spelling)
    assert rule(load(file)) == "no-review"


def test_a_longer_review_of_several_lines_is_replaced_as_a_whole(file: Path) -> None:
    file.write_text(TEXT + f'reviewed:\n  by: bob\n  digest: "sha256:{"0" * 64}"\n')
    assert rule(load(file)) == "review-void"
    review(file, "bob", POLICY.same_name)
    assert file.read_text().count("digest") == 1
    assert rule(load(file)) == ""
