"""The user's path in a real browser: ask, approve as somebody else, watch, done; a picture of every state."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.journeys.browser import BOXES, Play, become, looking, playing, take, type_words

pytestmark = [pytest.mark.realparts, pytest.mark.journey, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def play(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Play]:
    with playing(tmp_path_factory.mktemp("play") / "ground") as started:
        yield started


@pytest.fixture(scope="module")
def page(play: Play) -> Iterator[Any]:
    with looking(play) as opened:
        yield opened


def read_history(page: Any) -> None:
    """The whole story of the rotation that has just ended."""
    type_words(page, "/rotate history identity-signing")
    page.wait_for_selector("article.mine-only >> text=/The audit tells this about identity-signing/")
    text = page.locator("article.mine-only").last.inner_text()
    told = ["promote is done", "retired"]
    if "earlier row" not in text:  # a slow machine looks more often, and the message has room for the newest rows only
        told += ["alice asked for", "bob approved", "publish is done"]
    for words in told:
        assert words in text, text
    take(page, "history")


def test_a_rotation_from_asking_to_done(page: Any, play: Play) -> None:
    type_words(page, "/rotate start identity-signing")
    page.wait_for_selector("dialog.modal >> text=/sha256:[0-9a-f]{64}/")
    take(page, "plan", "dialog.modal")
    for label in BOXES:
        page.get_by_label(label).check()
    page.get_by_label("Why is it rotated?").fill("weekly rotation")
    page.get_by_role("button", name="Ask for approval").click()
    page.wait_for_selector("article >> text=R-1")
    page.get_by_role("button", name=re.compile("^Approve")).click()
    page.wait_for_selector("article.mine-only >> text=/somebody else has to approve it/")
    take(page, "own-request")
    become(page, "Bob Berg")
    page.get_by_role("button", name=re.compile("^Approve")).wait_for()
    take(page, "card")
    page.get_by_role("button", name=re.compile("^Approve")).click()
    page.wait_for_selector("article >> text=/Approved by/")
    page.wait_for_selector("article >> text=/old one being retired/", timeout=120_000)
    take(page, "retiring")
    os.kill(play.bot, signal.SIGKILL)  # in the middle; the supervisor starts it again
    page.wait_for_selector("article >> text=/State done/", timeout=180_000)
    take(page, "done")
    text = page.inner_text("article >> nth=0")
    assert re.search(r"Replaced\s+es256-[0-9a-f]+\s+by\s+es256-[0-9a-f]+", text), text
    assert "Due again" in text
    assert page.locator("article >> text=/drawn from version/").count() == 1, "one card, edited in place"
    strip = page.inner_text("#strip")
    assert re.search(r"\b0\s+in total", strip), strip
    read_history(page)


def test_home_and_help(page: Any) -> None:
    type_words(page, "/rotate help")
    page.wait_for_selector("article.mine-only >> text=/approve/")
    take(page, "help")
    page.get_by_role("button", name=re.compile("^keyturn")).first.click()  # with a count where it has written
    page.wait_for_selector(".home >> text=/identity-signing/")
    take(page, "home")


def test_a_typo_is_answered_with_the_way_out(page: Any) -> None:
    page.get_by_role("button", name="ops").first.click()
    type_words(page, "/rotate strat identity-signing")
    page.wait_for_selector("article.mine-only >> text=/start/")
