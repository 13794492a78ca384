"""One stack for all stories: towns are opened on demand, with a copy of a migrated database, and closed at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from playground.estate import Estate
from playground.workspace.workspace import Workspace
from tests.journeys.siege import OUTSIDERS, Siege, Standing, besieged
from tests.journeys.town import BRISK, ROOT, Town
from tests.pace import hurry

TownOpener = Callable[..., Town]


@pytest.fixture
def open_town(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[TownOpener]:
    """Opens towns: `open_town(estate={…}, database_url=…, workspace={…}, change=…)`; `begin=False` starts no bot."""
    with ExitStack() as opened:

        def open_one(
            *,
            estate: dict[str, Any] | None = None,
            workspace: dict[str, Any] | None = None,
            database_url: str = "",
            begin: bool = True,
            **more: Any,
        ) -> Town:
            url = database_url or request.getfixturevalue("sqlite_url")
            programs = opened.enter_context(Estate.start(**(dict(BRISK) if estate is None else estate)))
            manifest = ROOT / "manifest.yml"
            given = {"manifest": manifest, "rate_factor": 0.0} | (workspace or {})
            if not given["rate_factor"]:
                hurry(monkeypatch)
            place = opened.enter_context(Workspace.start(**given))
            town = Town(tmp_path, place, programs, url, **more)
            opened.callback(town.close)
            if begin:
                town.begin()
            return town

        yield open_one


@pytest.fixture
def town(open_town: TownOpener) -> Town:
    """A town in which a whole rotation takes some four seconds."""
    return open_town()


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Iterator[Standing]:
    """One town under siege for all attacks of a file that are refused."""
    with pytest.MonkeyPatch.context() as patch, besieged(tmp_path_factory.mktemp("siege"), sqlite_template) as town:
        hurry(patch)
        patch.setattr("bot.slack.people.COALESCED_SECONDS", 0.0)
        for kind in OUTSIDERS:
            town.workspace.admit(kind, channels=["ops"], groups=["sec-oncall"])
        yield Standing(town, town.request(), town.revoke())


@pytest.fixture
def siege(tmp_path: Path, sqlite_template: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Siege]:
    """A town under siege of one's own, for attacks after which something has changed."""
    hurry(monkeypatch)
    with besieged(tmp_path, sqlite_template) as town:
        yield town
