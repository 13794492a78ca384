"""Targets of a step that finish one by one are counted on the card while it runs, without an edit for nothing."""

from __future__ import annotations

from bot.core.decide import decide
from bot.core.rotation import Began, Opened, Rotation, Voted
from bot.slack.api import SlackApi
from bot.slack.budget import Budget
from bot.slack.completion import StepEnder
from bot.slack.drawings import Drawer
from bot.slack.identity import Identity
from bot.slack.incident_room import IncidentRoom
from bot.slack.names import Roster
from bot.slack.outcomes import Later, Outcome, Shown
from bot.store.records import DrawingRow, TargetWrite
from tests.slack.conftest import House, Opener
from tests.slack.test_slack_emergency import STEPS, emergency


class Hands:
    """Draws the one card when told, on a clock of its own."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.now = 100.0
        api, settings = SlackApi(house.workspace.bot_token, house.workspace.api_url), house.settings
        identity = Identity(api)
        identity.learn()
        names, budget = Roster(settings.policy.people), Budget(monotonic=lambda: self.now)
        database, people = house.bot.database, house.bot.engine.people
        room = IncidentRoom(database, api, identity, budget, names, people, settings.incidents, ())
        self.drawer = Drawer(database, api, identity, budget, names, room, StepEnder(database, api, budget))

    def row(self) -> DrawingRow:
        with self.house.bot.database.read() as reader:
            return next(one for one in reader.drawings(1) if one.form == "card")

    def draw(self) -> Outcome:
        """One turn, settled as the messenger settles it."""
        self.now += 5.0
        outcome = self.drawer.draw(self.row())
        if isinstance(outcome, Shown):
            with self.house.bot.database.begin() as tx:
                tx.drawn(self.row().id, outcome.ts, outcome.version)
        return outcome

    def finish(self, rotation: Rotation, *numbers: int) -> None:
        with self.house.bot.database.begin() as tx:
            attempt = rotation.steps[0].attempt
            tx.put_targets([TargetWrite(1, 0, f"gw-{i}", attempt, "done", {}, "done") for i in numbers])


def running(house: House) -> Rotation:
    """A revocation whose only step restarts fifty gateways, and is under way."""
    with house.bot.database.begin() as tx:
        opened = Opened(tx.next_number(), emergency(steps=(STEPS[2],), contained=0), "nonce-of-1", "C0OPS", ())
        rotation = tx.save(None, decide(None, opened, tx.now))
        tx.add_drawing(rotation.number, "card", "C0OPS", rotation.version, urgent=True)
        voted = Voted("bob", True, "member", rotation.plan.digest, rotation.nonce, key="SHA256:a", signature="s")
        rotation = tx.save(rotation, decide(rotation, voted, tx.now))
        return tx.save(rotation, decide(rotation, Began(0, 1, "w1"), tx.now))


def test_a_running_fan_out_is_counted_and_edited_only_when_a_target_finished(open_house: Opener) -> None:
    house = open_house(start=False)
    rotation, hands = running(house), Hands(house)
    hands.finish(rotation, *range(37))
    assert isinstance(hands.draw(), Shown)
    card = house.card()
    assert card is not None
    assert "*37 of 50 done*" in card.words
    assert hands.row().drawn < hands.row().wanted, "it is drawn again, though no version follows"
    hands.draw()
    edits = len(house.workspace.calls_to("chat.update"))
    assert hands.draw() == Later(1.0)
    assert len(house.workspace.calls_to("chat.update")) == edits
    hands.finish(rotation, 37)
    assert isinstance(hands.draw(), Shown)
    card = house.card()
    assert card is not None
    assert "*38 of 50 done*" in card.words
