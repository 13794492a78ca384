"""Slack goes away in the middle: the rotation goes on, and its card is right afterwards."""

from __future__ import annotations

import pytest

from bot.core.rotation import Overlap, Stage
from tests.journeys.conftest import TownOpener
from tests.journeys.town import BRISK, Town

pytestmark = [pytest.mark.journey, pytest.mark.timeout(120)]


def test_a_rotation_ends_while_slack_is_down(open_town: TownOpener) -> None:
    town = open_town(estate={**BRISK, "rate": 1440.0})
    number = town.start()
    town.approve(number)
    town.wait(number, lambda r: town.stage(number, "healthy") is Stage.WAITING)
    town.workspace.faults.down("cut")
    town.wait(number, lambda r: r.overlap is Overlap.RETIRED, 60)
    stale = town.card(number)
    assert stale is not None
    assert "the old one is retired" not in stale.words, "Slack was not down"
    town.workspace.faults.up()
    card = town.shows(number, "the old one is retired", "Due again", timeout=60)
    assert card.buttons == []
    assert card.ts == stale.ts
    town.until(lambda: "The old credential is retired" in town.log(number), lambda: town.log(number), 60)
    texts = [one.text for one in town.workspace.thread("ops", card.ts)]
    assert len(texts) == len(set(texts)), f"something was posted twice: {texts}"
    town.workspace.wait_connected(timeout=40)
    town.ask("dave", f"status R-{number}", "It is done")


def test_lost_answers_double_neither_card_nor_notice(town: Town) -> None:
    for method in ("chat.postMessage", "chat.update", "chat.postEphemeral"):
        town.workspace.faults.web(method, times=2, cut="after")
    number = town.start()
    town.approve(number)
    town.wait(number, lambda r: r.overlap is Overlap.RETIRED, 60)
    card = town.shows(number, "the old one is retired", timeout=60)
    assert len(town.cards(number)) == 1
    town.until(lambda: "is done: the old credential is retired" in town.log(number), lambda: town.log(number), 30)
    done = [one for one in town.workspace.thread("ops", card.ts) if "is done: the old credential" in one.text]
    assert len(done) == 1


def test_a_deleted_card_is_drawn_again(town: Town) -> None:
    number = town.start()
    card = town.shows(number, "asks to rotate")
    town.workspace.delete_message(card)
    town.ask("bob", f"approve R-{number}", "is counted")
    again = town.shows(number, "*Approved* by <@U0BOB>")
    assert again.ts != card.ts


def test_slack_says_slow_down(town: Town) -> None:
    town.workspace.faults.web("chat.update", times=3, status=429, retry_after=1)
    number = town.start()
    town.approve(number)
    town.wait(number, lambda r: r.overlap is Overlap.RETIRED, 60)
    town.shows(number, "the old one is retired", timeout=60)
