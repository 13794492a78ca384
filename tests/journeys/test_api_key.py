"""The API key: created beside the old one, written into its store by the issuer's own answer, the client moved."""

from __future__ import annotations

import pytest

from bot.core.rotation import Overlap
from playground.estate.secret_files import current_version
from tests.journeys.conftest import TownOpener
from tests.journeys.town import held

pytestmark = pytest.mark.journey


@pytest.mark.timeout(120)
def test_a_key_goes_from_its_issuer_to_its_store_and_the_old_one_dies(open_town: TownOpener) -> None:
    town = open_town(estate={"rate": 1440.0, "clients": 6}, watched="2h")
    folder = town.estate.secrets_directory / "billing"
    first = current_version(folder)
    old = next(key["id"] for key in town.estate.identity.api_keys.all("billing"))
    value = (folder / "versions" / str(first) / "value").read_text().strip()

    number = town.start("dave", "billing-api-key")
    town.approve(number, "alice")
    done = town.wait(number, lambda r: r.is_over or held(r), 90)
    assert done.overlap is Overlap.RETIRED, town.tell(number)

    keys = town.estate.identity.api_keys.all("billing")
    assert [key["id"] for key in keys] != [old]
    assert len(keys) == 1
    assert current_version(folder) != first
    assert [path.name for path in (folder / "versions").iterdir() if not path.name.startswith(".")] == [
        current_version(folder)
    ]
    assert town.failures() == 0
    card = town.shows(number, "the old one is retired", f"`{old}` by `{keys[0]['id']}`", "Due again")
    assert "<@U0DAVE>" in card.words
    assert value not in card.words
    story = town.ask("dave", f"history R-{number}", "The audit tells this").words
    assert f"create is done (key_id {keys[0]['id']}" in story
    assert "remove is done" in story
