"""An installation in a folder, and `keyturn` as a process in it."""

from __future__ import annotations

import getpass
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from bot.app import prepare
from bot.settings import load_settings
from bot.setup.begin import begin

ROOT = Path(__file__).parent.parent.parent


@dataclass
class Installation:
    """A folder with an installation. `variables` are those of its process."""

    folder: Path
    variables: dict[str, str] = field(default_factory=dict)

    def environment(self) -> dict[str, str]:
        """The variables of a process: ours without anything of keyturn's or Slack's, then the installation's."""
        ours = {name: value for name, value in os.environ.items() if not name.startswith(("KEYTURN_", "SLACK_"))}
        return ours | {"PYTHONPATH": str(ROOT)} | self.variables

    def keyturn(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run `keyturn` to its end."""
        command = [sys.executable, "-m", "bot", *words]
        return subprocess.run(
            command, cwd=self.folder, env=self.environment(), capture_output=True, text=True, timeout=60
        )

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Run `keyturn` beside the test."""
        command = [sys.executable, "-m", "bot", *words]
        return subprocess.Popen(
            command, cwd=self.folder, env=self.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def rewrite(self, changes: Mapping[str, str]) -> None:
        """Replace texts in keyturn.yml; each has to be there."""
        path = self.folder / "keyturn.yml"
        text = path.read_text()
        for old, new in changes.items():
            assert old in text, old
            text = text.replace(old, new)
        path.write_text(text)


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    """What `keyturn init` makes, with the user of this process as alice."""
    begin(tmp_path)
    made = Installation(tmp_path, {"KEYTURN_HTTP": "127.0.0.1:0"})
    made.rewrite({"os: alice": f"os: {getpass.getuser()}"})
    return made


@pytest.fixture
def migrated(installation: Installation, sqlite_url: str) -> Installation:
    """The same with a database, settings applied."""
    installation.variables["KEYTURN_DATABASE_URL"] = sqlite_url
    settings = load_settings({"KEYTURN_CONFIG": str(installation.folder / "keyturn.yml")} | installation.variables)
    prepare(settings).close()
    return installation
