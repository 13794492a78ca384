"""The signing key from `/rotate start` to its due date: what people see, what the audit says, and no failed login."""

from __future__ import annotations

import pytest

from bot.core.rotation import Overlap, State
from tests.journeys.conftest import TownOpener
from tests.journeys.town import Town, held

pytestmark = pytest.mark.journey
TOLD = [
    "rotation.requested",
    "vote.counted",
    "rotation.approved",
    "rotation.started",
    "rotation.promoted",
    "credential.next-due",
    "overlap.opened",
    "overlap.retired",
]


@pytest.mark.timeout(180)
def test_nobody_fails_to_log_in_while_the_key_is_rotated(open_town: TownOpener) -> None:
    town = open_town(estate={"rate": 1440.0, "clients": 6}, watched="2h")
    old = town.estate.signing_kid()

    town.type("alice", 'start identity-signing --reason "weekly"')
    form = town.modal("alice", "Rotate identity-signing")
    assert "Publish a new key beside the old one" in form.words
    assert "sha256:" in form.words
    assert "must approve it" in form.words
    town.workspace.close_view("alice")
    number = town.start()

    asked = town.shows(number, "asks to rotate", "1 more approval is needed", "Who may approve")
    assert "rotate:approve" in asked.buttons
    assert len(town.estate.identity.keys.all()) == 1, "something was done before the approval"
    town.approve(number)
    promoted = town.wait(number, lambda r: r.state is State.PROMOTED or held(r), 60)
    assert promoted.state is State.PROMOTED, town.tell(number)
    new = town.estate.signing_kid()
    assert new != old
    town.shows(number, "the old one is being retired", old, new)
    done = town.wait(number, lambda r: r.is_over or held(r), 90)
    assert done.overlap is Overlap.RETIRED, town.tell(number)
    assert town.failures() == 0

    card = town.shows(number, "is rotated since", "the old one is retired", f"`{old}` by `{new}`", "Due again")
    assert card.buttons == []
    assert "<@U0ALICE>" in card.words
    assert "*Approved* by <@U0BOB> (member of sec-oncall)" in card.words
    assert [event for event in town.events(number) if event in TOLD] == TOLD
    states = {key["kid"]: key["state"] for key in town.estate.identity.keys.all()}
    assert states == {old: "disabled", new: "current"}
    _history_tells(town, number, old, new)


def _history_tells(town: Town, number: int, old: str, new: str) -> None:
    said = town.ask("erin", "history identity-signing", "The audit tells this about identity-signing").words
    for line in (
        "alice asked for this rotation",
        "bob approved it (member of sec-oncall)",
        "keyturn began to do publish",
        f"publish is done (kid {new})",
        "The new credential is in use",
        "promote is done: watched",
        "The old credential is retired",
        "It is due again on",
    ):
        assert line in said, f"{line!r} is not in:\n{said}"
    assert old in said
    town.until(lambda: "The old credential is retired" in town.log(number), lambda: town.log(number))
    assert "is done: the old credential is retired and refused everywhere" in town.log(number)
