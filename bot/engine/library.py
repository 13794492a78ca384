"""The runbooks of this installation, by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bot.contracts.command import RunbookView
from bot.core.errors import Refused
from bot.core.reviewed import Same, Unreviewed, same_spelling, why_unreviewed
from bot.core.runbook import Runbook
from bot.core.runbook_file import LoadedRunbook
from bot.core.words import close_to


class Library:
    """Implements `Runbooks` over what the settings loaded; runbooks with mistakes never get this far."""

    def __init__(self, loaded: Mapping[str, LoadedRunbook], same: Same = same_spelling) -> None:
        self._loaded = loaded
        self._same = same

    def get(self, name: str) -> tuple[Runbook, str]:
        """The runbook and its content hash; raises `Refused` when there is none of this name."""
        loaded = self._loaded.get(name)
        if not name:
            raise Refused(
                "It has no runbook, so it is rotated by hand: say what was done with the word record, or declare it in "
                "keyturn.yml with a runbook.",
                code="no-runbook",
            )
        if loaded is None:
            near = close_to(name, list(self._loaded))
            advice = f" Did you mean {near[0]}?" if near else " See which there are with: runbooks."
            raise Refused(f"There is no runbook {name[:80]}.{advice}", code="unknown-runbook")
        return loaded.runbook, loaded.sha256

    def why_unreviewed(self, name: str) -> Unreviewed | None:
        """Why nobody but its author has read the runbook as it stands; None when somebody has."""
        return why_unreviewed(self._loaded[name], self._same)

    def troubles(self, name: str) -> list[str]:
        """What a runbook's troubleshooting is for, in its own words; nothing for a runbook that is not there."""
        loaded = self._loaded.get(name)
        return [branch.when for branch in loaded.runbook.trouble] if loaded is not None else []

    def views(self, uses: Mapping[str, Sequence[str]]) -> list[RunbookView]:
        """For the word `runbooks`; `uses` maps a runbook to the credentials that follow it."""
        return [
            RunbookView(name, loaded.runbook.summary, tuple(uses.get(name, ())), 0)
            for name, loaded in sorted(self._loaded.items())
        ]
