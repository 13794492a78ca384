"""The user's path in a real browser: ask, approve as somebody else, watch, done; a picture of every state."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.realparts, pytest.mark.journey, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
PICTURES = Path(__file__).parent / "screenshots"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
BOXES = ("No incident is going on", "The teams concerned are notified", "The dashboard is open")


class Play:
    """The playground as `make playground` starts it, in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bot", "playground", "--port", "0", "--folder", str(folder), "--rate", "4320"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        said = ""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            said += line
            if "Ctrl-C" in line:
                break
        found = re.search(r"Open (http://127\.0\.0\.1:\d+/)", said)
        assert found, said
        self.url = found[1]
        process = re.search(r"The bot is process (\d+)", said)
        assert process, said
        self.bot = int(process[1])

    def stop(self) -> None:
        os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def play(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Play]:
    if CHROMIUM is None:
        pytest.skip("NO CHROMIUM on this machine: the page was NOT driven")
    started = Play(tmp_path_factory.mktemp("play") / "ground")
    yield started
    started.stop()


@pytest.fixture(scope="module")
def page(play: Play) -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: the page was NOT driven")
    PICTURES.mkdir(exist_ok=True)
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        context = browser.new_context(viewport={"width": 1280, "height": 1100}, device_scale_factor=1)
        opened = context.new_page()
        opened.set_default_timeout(30_000)
        opened.goto(play.url)
        opened.wait_for_selector("#composer-text")
        yield opened
        browser.close()


def take(page: Any, name: str, element: str = "") -> None:
    """A picture, when nothing moves any more."""
    page.wait_for_timeout(400)
    cards = page.locator("article >> text=/drawn from version/")
    if not element and cards.count():
        page.locator("article").first.evaluate("card => card.scrollIntoView({block: 'start'})")
    target = page.locator(element).first if element else page
    target.screenshot(path=str(PICTURES / f"{name}.png"), animations="disabled")


def type_words(page: Any, words: str) -> None:
    page.fill("#composer-text", words)
    page.press("#composer-text", "Enter")


def become(page: Any, name: str) -> None:
    page.click(".acting")
    page.get_by_role("option", name=name).click()


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
    started = time.monotonic()
    page.get_by_role("button", name="ops").first.click()
    type_words(page, "/rotate strat identity-signing")
    page.wait_for_selector("article.mine-only >> text=/start/")
    assert time.monotonic() - started < 30
