"""An incident that runs itself: the engine pages, files, tells every step, takes words, and ends with its review."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bot.core.rotation import State
from playground.estate import Estate
from playground.installation import settings_of
from tests.stand_ins.github import GitHub
from tests.stand_ins.pagerduty import PagerDuty
from tests.world import World, describe, held, running

pytestmark = pytest.mark.journey
KEY = "0123456789abcdef0123456789abcdee"
TOKEN = "github_pat_incident_5f1e"


@pytest.fixture
def pager() -> Iterator[PagerDuty]:
    with PagerDuty(KEY) as service:
        yield service


@pytest.fixture
def tracker() -> Iterator[GitHub]:
    with GitHub(TOKEN) as service:
        yield service


@pytest.fixture
def world(sqlite_url: str, tmp_path: Path, pager: PagerDuty, tracker: GitHub) -> Iterator[World]:
    """The playground's company with a pager and a tracker."""
    for name, value in (("pager", KEY), ("tracker", TOKEN)):
        (tmp_path / name).write_text(value)
        (tmp_path / name).chmod(0o600)
    with Estate.start(rate=1200.0, clients=6, calls_per_second=40.0) as estate:
        settings = settings_of(estate)
        paging = {"oncall": {"api": pager.address, "routing_key": f"file:{tmp_path}/pager"}}
        filing = {"acme/ops": {"api": tracker.address, "token": f"file:{tmp_path}/tracker"}}
        incidents = {
            **settings["incidents"],
            "page": {"do": "pagerduty.trigger", "with": {"integration": "oncall"}},
            "ticket": {
                "do": "github.open_issue",
                "with": {"repository": "acme/ops", "title": "${{ incident.credential }}: ${{ incident.reason }}"},
            },
        }
        adapters = {
            **settings["adapters"],
            "pagerduty": {"integrations": paging},
            "github": {"repositories": filing},
        }
        with running(sqlite_url, estate, tmp_path, incidents=incidents, adapters=adapters) as started:
            yield started


def test_an_incident_from_the_approval_to_its_end(world: World, pager: PagerDuty, tracker: GitHub) -> None:
    asked = world.say("alice", 'revoke identity-signing --reason "seen in a public log"', confirmed=True)
    assert asked.good, asked.text
    number = asked.rotation
    assert number is not None
    assert not pager.events, "a request pages nobody"
    assert world.say("bob", f"approve R-{number}").good
    assert world.say("carol", f'incident R-{number} --note "callers are told"').good
    assert (
        world.say("alice", f"incident R-{number} --commander @bob").text == f"bob is the commander of R-{number} now."
    )
    done = world.wait(number, lambda one: one.is_over or held(one), 60)
    assert done.state is State.PROMOTED, describe(done)
    world.until(lambda: list(pager.alerts.values()) == ["resolved"], lambda: str(pager.alerts))
    world.until(lambda: len(tracker.issues) == 1, "a ticket")
    (issue,) = tracker.issues.values()
    assert issue["title"] == "identity-signing: seen in a public log"

    shown = world.say("carol", f"incident R-{number}")
    assert issue["html_url"] in shown.text
    assert "The new one (" in shown.text
    told = [line["text"] for line in shown.data["timeline"]]
    assert "carol: callers are told" in told
    assert f"bob is the commander of R-{number} now." not in told
    assert any("approved it" in text for text in told)
    with world.database.read() as reader:
        finished = [row for row in reader.history(rotation=f"R-{number}", event="step.outcome", limit=500)]
    assert len([row for row in finished if row.detail["result"] == "done"]) == len(done.steps)

    for question in shown.data["unanswered"]:
        assert world.say("bob", f'incident R-{number} --answer {question} --text "nobody had looked"').good
    refused = world.say("bob", f"incident R-{number} --close")
    if not refused.good:  # the inventory may hold that it was overdue
        assert "--fixed" in refused.text, refused.text
        assert world.say("bob", f'incident R-{number} --fixed "its date is watched now"').good
        assert world.say("bob", f"incident R-{number} --close").good
    with world.database.read() as reader:
        incident = reader.incident(number)
    assert incident is not None
    assert incident.closed_by == "bob"


def test_programs_that_answer_nothing_delay_nothing(world: World, pager: PagerDuty, tracker: GitHub) -> None:
    pager.faults.add("hang", times=None)
    tracker.faults.add("hang", times=None)
    asked = world.say("alice", 'revoke identity-signing --reason "seen in a public log"', confirmed=True)
    assert asked.rotation is not None
    assert world.say("bob", f"approve R-{asked.rotation}").good
    done = world.wait(asked.rotation, lambda one: one.is_over or held(one), 60)
    assert done.state is State.PROMOTED, describe(done)
    with world.database.read() as reader:
        assert not [row for row in reader.errands(asked.rotation) if row.outputs]
    pager.faults.clear()
    tracker.faults.clear()
