"""The playground in a real browser: started as `make playground` starts it, and driven as a person would."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

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
BEGIN = [sys.executable, "-m", "bot", "playground", "--port", "0"]


class Play:
    """The playground as `make playground` starts it, in a process of its own."""

    def __init__(self, folder: Path, *more: str, rate: float = 4320) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [*BEGIN, "--folder", str(folder), "--rate", f"{rate:g}", *more],
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
        """End it in good order."""
        os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)


@contextmanager
def playing(folder: Path, *more: str, rate: float = 4320) -> Iterator[Play]:
    """A playground while it is used; skips loudly where there is no browser to look at it."""
    if CHROMIUM is None:
        pytest.skip("NO CHROMIUM on this machine: the page was NOT driven")
    started = Play(folder, *more, rate=rate)
    try:
        yield started
    finally:
        started.stop()


@contextmanager
def looking(play: Play) -> Iterator[Any]:
    """Its page, open in the browser."""
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
    """Type into the composer and send it."""
    page.fill("#composer-text", words)
    page.press("#composer-text", "Enter")


def become(page: Any, name: str) -> None:
    """Act as somebody else from here on."""
    page.click(".acting")
    page.get_by_role("option", name=name).click()
