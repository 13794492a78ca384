"""Whether somebody who did not write a runbook has read it as it stands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bot.core.runbook_file import LoadedRunbook

Same = Callable[[str, str], bool]
"""Whether two names mean one person; settings know people under several."""


@dataclass(frozen=True, slots=True)
class Unreviewed:
    """Why a review does not count, for people and for the linter."""

    rule: str
    message: str
    hint: str


def same_spelling(one: str, other: str) -> bool:
    """Where no settings tell who people are."""
    return one.strip().casefold() == other.strip().casefold()


def why_unreviewed(loaded: LoadedRunbook, same: Same) -> Unreviewed | None:
    """Why nobody else has reviewed this content; None when somebody has."""
    author, reviewed = loaded.runbook.author.strip(), loaded.runbook.reviewed
    again = f"have somebody else read it, who then runs: keyturn review {loaded.path} --by THEIR-NAME"
    if not author:
        return Unreviewed("no-review", "nobody says who wrote it, so nobody can tell a reviewer from the author", again)
    if reviewed is None:
        return Unreviewed("no-review", "nobody has reviewed it", again)
    if same(author, reviewed.by):
        told = f"{author!r}" if same_spelling(author, reviewed.by) else f"one person, {author!r} and {reviewed.by!r}"
        return Unreviewed("own-review", f"author and reviewer are both {told}", again)
    if loaded.review_is_void:
        return Unreviewed("review-void", f"it has been changed since {reviewed.by} reviewed it", again)
    return None
