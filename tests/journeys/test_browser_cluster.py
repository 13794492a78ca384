"""The playground with a Kubernetes cluster: its key is rotated in the browser while real consumers sign and verify."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from playground.cluster import site
from playground.cluster.build import Parts
from tests.journeys.browser import BOXES, Play, become, looking, playing, take, type_words

pytestmark = [pytest.mark.cluster, pytest.mark.realparts, pytest.mark.journey, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def play(control_plane_parts: Parts, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Play]:
    if (lacking := site.lacking()) is not None:
        pytest.skip(lacking)
    with playing(tmp_path_factory.mktemp("play") / "ground", "--estate", "kubernetes", rate=120) as started:
        yield started


@pytest.fixture(scope="module")
def page(play: Play) -> Iterator[Any]:
    with looking(play) as opened:
        yield opened


def until(page: Any, words: str) -> None:
    """Wait for the card to say this. A rollout that a busy machine makes too slow is tried again, as people would."""
    card, again = page.locator("article").first, page.get_by_role("button", name="Try again")
    for _ in range(60):
        text = card.inner_text().replace("\n", " ")
        if words in text:
            return
        if "older template" in text and again.count():
            again.first.click()
        page.wait_for_timeout(3_000)
    raise AssertionError(f"{words!r} is not on the card:\n{card.inner_text()}")


def test_a_key_in_a_secret_from_asking_to_done(page: Any, play: Play) -> None:
    type_words(page, "/rotate start requests-proxy-key")
    page.wait_for_selector("dialog.modal >> text=/sha256:[0-9a-f]{64}/")
    take(page, "cluster-plan", "dialog.modal")
    for label in BOXES:
        page.get_by_label(label).check()
    page.get_by_label("Why is it rotated?").fill("yearly rotation")
    page.get_by_role("button", name="Ask for approval").click()
    page.wait_for_selector("article >> text=R-1")
    become(page, "Bob Berg")
    page.get_by_role("button", name=re.compile("^Approve")).click()
    page.wait_for_selector("article >> text=/Approved by/")
    until(page, "old one being retired")
    take(page, "cluster-retiring")
    until(page, "State done")
    take(page, "cluster-done")
    text = page.inner_text("article >> nth=0")
    assert re.search(r"Replaced\s+v1\s+by\s+v2", text), text
    assert "Due again" in text
