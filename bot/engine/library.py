"""The runbooks of this installation, loaded and linted once at start; a wrong one is named and not used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from bot.contracts.command import RunbookView
from bot.core.errors import Invalid, Refused
from bot.core.runbook import Runbook
from bot.core.runbook_file import LoadedRunbook, load
from bot.core.words import close_to


class Library:
    """Implements `Runbooks`. Later folders override earlier ones, so that a shipped runbook can be adapted."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._loaded: dict[str, LoadedRunbook] = {}
        self.problems: dict[str, tuple[str, ...]] = {}
        """File -> mistakes, each with its line."""
        for folder in folders:
            for path in sorted(folder.glob("*.yaml")) + sorted(folder.glob("*.yml")):
                self._load(path)

    def _load(self, path: Path) -> None:
        try:
            loaded = load(path)
        except Invalid as error:
            self.problems[str(path)] = error.problems
        else:
            self._loaded[loaded.runbook.runbook] = loaded

    def get(self, name: str) -> tuple[Runbook, str]:
        """The runbook and its content hash."""
        loaded = self._loaded.get(name)
        if loaded is None:
            broken = next((path for path in self.problems if Path(path).stem == name), None)
            if broken:
                raise Refused(f"The runbook {name} has mistakes and is not used; see: keyturn lint {broken}", "runbook")
            near = close_to(name, list(self._loaded))
            raise Refused(f"There is no runbook {name}.{' Did you mean ' + near[0] + '?' if near else ''}", "runbook")
        return loaded.runbook, loaded.sha256

    def all(self) -> Mapping[str, LoadedRunbook]:
        """Every usable runbook by name."""
        return self._loaded

    def views(self, uses: Mapping[str, Sequence[str]]) -> list[RunbookView]:
        """For the word `runbooks`; `uses` maps a runbook to the credentials that follow it."""
        good = [
            RunbookView(name, loaded.runbook.summary, tuple(uses.get(name, ())), 0)
            for name, loaded in sorted(self._loaded.items())
        ]
        return good + [
            RunbookView(Path(path).stem, f"not usable: {problems[0]}", (), len(problems))
            for path, problems in sorted(self.problems.items())
        ]
