"""One person contains alone, by Slack; and nobody answers: reminders, the next group, pages, the end of the time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bot.core.ballot import Ballot
from bot.core.incident import Incident
from bot.core.review import QUESTIONS
from bot.core.rotation import FINISHED, Rotation, State
from bot.slack.buttons import bound_to
from playground.estate import Estate
from playground.workspace import Workspace
from playground.workspace.records import Message
from tests.journeys.town import BRISK, ROOT, Town, held
from tests.pace import hurry
from tests.ssh import SoftwareToken, need_ssh_keygen
from tests.stand_ins.pagerduty import PagerDuty

pytestmark = [pytest.mark.journey, pytest.mark.timeout(120)]
KEY = "0123456789abcdef0123456789abcdee"
HOUR = timedelta(hours=1)
ASKED = "seen in a log"
ALONE = "nobody answers"


class City(Town):
    """A town in which policy lets one person contain in production, for a day; its other environments have no glass."""

    def __init__(
        self, folder: Path, workspace: Workspace, estate: Estate, database_url: str, *, pager: PagerDuty
    ) -> None:
        self.pager = pager
        self.tokens = {name: SoftwareToken("ed25519") for name in ("alice", "bob", "carol", "mallory")}
        signers = folder / "allowed_signers"
        signers.write_text("".join(f"{name} {self.tokens[name].public}\n" for name in ("alice", "bob", "carol")))
        signers.chmod(0o644)
        (folder / "pager").write_text(KEY)
        (folder / "pager").chmod(0o600)
        super().__init__(folder, workspace, estate, database_url, change=self._arm)

    def _arm(self, settings: dict[str, Any]) -> None:
        settings["signers"] = "allowed_signers"
        asked = {"words": ["revoke"], "from": ["sec-oncall"]}
        escalated = {"remind": "24h", "escalate": [{"after": "48h", "to": ["platform"], "page": True}]}
        settings["policies"][:0] = [
            asked | {"environments": ["production"], "expires": "20d", "signature": "required", "break_glass": "24h"},
            asked | {"environments": ["staging"], "expires": "20d", "signature": "required"},
            asked | {"environments": ["development"], "expires": "96h"} | escalated,
        ]
        settings["policies"].append({"approvers": 1, "from": ["sec-oncall", "platform"]})
        settings["incidents"]["page"] = {"do": "pagerduty.trigger", "with": {"integration": "oncall"}}
        paging = {"api": self.pager.address, "routing_key": f"file:{self.folder}/pager"}
        settings["adapters"]["pagerduty"] = {"integrations": {"oncall": paging}}
        (billing,) = [one for one in settings["credentials"] if one["name"] == "billing-api-key"]
        for environment in ("staging", "development"):
            settings["credentials"].append(billing | {"name": f"{environment}-key", "environment": environment})

    # --- what people do -----------------------------------------------------------------------------------------------

    def revoke(self, credential: str) -> int:
        """Alice asks to contain first; the rotation's number when its card is known."""
        with self.database.read() as reader:
            known = {row.number for row in reader.rotations(limit=100)}
        self.type("alice", f'revoke {credential} --order contain-first --reason "{ASKED}" --yes')

        def look() -> int | None:
            with self.database.read() as reader:
                return next((row.number for row in reader.rotations(limit=100) if row.number not in known), None)

        number = self.until(look, lambda: str([one.words for one in self.workspace.ephemerals("alice")]), 15)
        self.shows(number, "asks to revoke")
        return number

    def signature(self, person: str, number: int, vote: str) -> str:
        """Somebody's signature of a vote on what the card shows now."""
        plan, bound = self.rotation(number).plan, bound_to(self.rotation(number))
        ballot = Ballot(f"R-{number}", plan.credential, plan.environment, bound.digest, bound.nonce, vote)
        return self.tokens[person].sign(ballot)

    def contain(self, credential: str) -> int:
        """Alice asks and Bob breaks the glass, as the card's button has it; the number once all of it is contained."""
        number = self.revoke(credential)
        self.click("bob", number, "contain")
        form = self.modal("bob", "*alone*")
        plan, nonce = self.rotation(number).plan, self.rotation(number).nonce
        assert f"--plan {plan.digest} --nonce {nonce} --vote break-glass" in form.words
        made = self.signature("bob", number, "break-glass")
        self.workspace.submit("bob", {"reason": ALONE, "signature": made})
        self.wait(number, lambda r: r.glass and all(run.stage in FINISHED for run in r.steps[: r.plan.contained]))
        return number

    def sign(self, person: str, number: int, vote: str = "approve", by: str = "") -> None:
        """Press Approve, and hand over a signature of one's own, or by somebody else's key."""
        self.click(person, number, "approve")
        self.modal(person, "You are about to approve")
        self.workspace.submit(person, {"signature": self.signature(by or person, number, vote)})

    def jump(self, by: timedelta) -> None:
        """Let the bot's clock, and no other, run ahead."""
        self.database.clock.advance(by)
        assert self.bot is not None
        self.bot.engine.timers.wake()

    # --- what is there ------------------------------------------------------------------------------------------------

    def incident(self, number: int) -> Incident | None:
        with self.database.read() as reader:
            return reader.incident(number)

    def said(self, number: int, text: str) -> Message:
        """Wait until the incident's channel says this."""

        def look() -> Message | None:
            incident = self.incident(number)
            place = incident.place if incident is not None else ""
            kept = self.workspace.state.messages.get(place, {}).values() if place else ()
            return next((one for one in list(kept) if text in one.words), None)

        return self.until(look, lambda: f"{text!r}\n{self.tell(number)}", 20)

    def stands_contained(self, number: int) -> Rotation:
        """Contained by one person and nothing more: everybody sees who, until when, and that the rest waits."""
        rotation = self.rotation(number)
        assert rotation.glass is not None
        assert rotation.state is State.REQUESTED
        assert rotation.glass.until - rotation.glass.at == 24 * HOUR == rotation.plan.break_glass
        assert not any(run.touched for run in rotation.steps[rotation.plan.contained :])
        until = f"{rotation.glass.until:%Y-%m-%d %H:%M} UTC"
        loud = self.said(number, f"bob contains {rotation.plan.credential} in production (R-{number}, contain-first)")
        assert f"alone: {ALONE}. It is put back at {until} unless a second person approves it" in loud.text
        card = self.shows(number, "Glass broken", ALONE, "It is put back at", "Somebody else has to close the review")
        assert card.text.startswith("EMERGENCY: bob contains")
        assert {"rotate:approve", "rotate:reject"} <= set(card.buttons)
        return rotation

    def paged(self, number: int) -> list[str]:
        """What the pager was sent about an emergency, in order: what for, or `resolve`."""
        key = next((one["dedup_key"] for one in self.pager.events if f"R-{number}-" in one["dedup_key"]), "")
        sent = [one for one in self.pager.events if one["dedup_key"] == key]
        return [one["payload"]["summary"].partition(", ")[2] if "payload" in one else "resolve" for one in sent]

    def alert(self, number: int) -> str:
        """Where the one alert of an emergency stands."""
        (state,) = [state for key, state in self.pager.alerts.items() if f"R-{number}-" in key]
        return state


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Iterator[City]:
    """One city for all stories; each has rotations of its own, and ends them."""
    need_ssh_keygen()
    folder = tmp_path_factory.mktemp("city")
    (folder / "keyturn.db").write_bytes(sqlite_template.read_bytes())
    with ExitStack() as opened, pytest.MonkeyPatch.context() as patch:
        hurry(patch)
        patch.setattr("bot.slack.people.COALESCED_SECONDS", 0.0)
        pager = opened.enter_context(PagerDuty(KEY))
        estate = opened.enter_context(Estate.start(**{**BRISK, "rate": 600.0}))
        workspace = opened.enter_context(Workspace.start(manifest=ROOT / "manifest.yml", rate_factor=0.0))
        city = City(folder, workspace, estate, f"sqlite:///{folder / 'keyturn.db'}", pager=pager)
        opened.callback(city.close)
        city.begin()
        yield city


def keys(city: City) -> dict[str, str]:
    return {key["kid"]: key["state"] for key in city.estate.identity.keys.all()}


# --- the glass --------------------------------------------------------------------------------------------------------


def test_a_second_person_approves_and_somebody_else_closes_the_review(city: City) -> None:
    old = city.estate.signing_kid()
    number = city.contain("identity-signing")
    rotation = city.stands_contained(number)
    assert keys(city)[old] == "disabled"
    city.until(lambda: city.paged(number) == ["an incident was opened"], lambda: str(city.pager.events), 10)

    before = len(city.workspace.ephemerals("bob"))
    city.sign("bob", number)
    city.told("bob", "You contained", before)
    city.sign("carol", number, by="mallory")
    city.told("carol", "is not one of “carol”")
    assert city.rotation(number) == rotation
    city.sign("carol", number)
    city.said(number, "carol approved what bob began alone; it goes on.")
    done = city.wait(number, lambda r: r.is_over or held(r), 60)
    assert done.state is State.PROMOTED, city.tell(number)
    assert (keys(city)[old], keys(city)[city.estate.signing_kid()]) == ("disabled", "current")
    city.until(lambda: city.paged(number)[-1] == "resolve", lambda: str(city.pager.events), 10)

    for question in QUESTIONS:
        city.type("carol", f'incident R-{number} --answer {question} --text "nobody had looked"')
    incident = city.until(
        lambda: (one := city.incident(number)) and (one if len(one.review) == len(QUESTIONS) else None), "a review", 15
    )
    if incident.late:  # the clock ran ahead in another story
        city.ask("carol", f'incident R-{number} --fixed "its date is watched"', f"R-{number}")
    for person in ("bob", "alice"):
        city.ask(person, f"incident R-{number} --close", "somebody who neither did that nor asked for it")
    found = city.incident(number)
    assert found is not None
    assert found.is_open
    city.ask("carol", f"incident R-{number} --close", "closed")
    found = city.incident(number)
    assert found is not None
    assert (found.solo, found.closed_by) == ("bob", "carol")


def test_a_second_person_rejects_and_it_is_put_back(city: City) -> None:
    old = city.estate.signing_kid()
    number = city.contain("identity-signing")
    city.stands_contained(number)
    assert keys(city)[old] == "disabled"
    city.give_reason("carol", number, "reject", "a false alarm")
    done = city.wait(number, lambda r: r.is_over or held(r))
    assert (done.state, done.outcome) == (State.ROLLED_BACK, "Rejected by carol: a false alarm")
    assert city.estate.signing_kid() == old
    city.said(number, "What one person contained alone is put back. Rejected by carol: a false alarm")
    city.shows(number, "was rolled back")
    city.until(lambda: city.alert(number) == "resolved", lambda: str(city.pager.events), 10)
    assert city.events(number).count("incident.opened") == 1


def test_nobody_approves_and_it_is_put_back_when_the_time_is_over(city: City) -> None:
    enabled = {key["id"]: key["enabled"] for key in city.estate.identity.api_keys.all("billing")}
    number = city.contain("billing-api-key")
    rotation = city.stands_contained(number)
    assert rotation.glass is not None
    assert {key["id"]: key["enabled"] for key in city.estate.identity.api_keys.all("billing")} != enabled
    city.until(lambda: city.paged(number), "a page", 10)
    city.jump(rotation.glass.until - city.database.now() - 6 * HOUR)
    assert city.rotation(number).state is State.REQUESTED
    city.jump(6 * HOUR)
    done = city.wait(number, lambda r: r.is_over or held(r))
    assert done.state is State.ROLLED_BACK
    assert {key["id"]: key["enabled"] for key in city.estate.identity.api_keys.all("billing")} == enabled
    assert not any(run.touched for run in done.steps[done.plan.contained :])
    city.said(number, "What one person contained alone is put back. Nobody else approved")
    wanted = ["an incident was opened", "the containment is put back"]
    city.until(lambda: city.paged(number) == wanted, lambda: str(city.pager.events), 10)
    assert city.alert(number) == "triggered", "it works again, and nobody has looked at it"
    before = len(city.workspace.ephemerals("carol"))
    city.type("carol", f"approve R-{number}")
    city.told("carol", f"R-{number}", before)
    assert city.rotation(number).state is State.ROLLED_BACK


def test_without_break_glass_in_the_policy_nobody_contains_alone(city: City) -> None:
    number = city.revoke("staging-key")
    card = city.card(number)
    assert card is not None
    assert "rotate:contain" not in card.buttons
    made = " ".join(city.signature("bob", number, "break-glass").split("\n"))
    before = city.rotation(number)
    words = f'contain R-{number} --reason "{ALONE}" --signature "{made}"'
    city.ask("bob", words, "Policy does not let one person contain staging-key alone")
    assert city.rotation(number) == before
    assert city.incident(number) is None
    city.ask("alice", f'cancel R-{number} --reason "it was a test"', f"R-{number}")


# --- nobody answers ---------------------------------------------------------------------------------------------------


def copies(city: City, number: int, person: str) -> list[Message]:
    """Cards of a rotation in a person's direct messages."""
    wanted = {"rotation": f"R-{number}", "form": "card"}
    found = city.workspace.direct_messages(person)
    return [one for one in found if (one.metadata or {}).get("event_payload") == wanted]


def copied(city: City, number: int, person: str) -> Message:
    """Wait for the one copy of the card that a person gets."""
    city.until(lambda: copies(city, number, person), f"a copy for {person}", 15)
    (copy,) = copies(city, number, person)
    return copy


def letters(city: City, number: int, person: str) -> list[str]:
    """What a person was written about a rotation, beside the card."""
    told = [one.text for one in city.workspace.direct_messages(person) if f"R-{number}" in one.text]
    return [text for text in told if "approve it" in text]


def asked(city: City) -> int:
    """A request whose approvers have their copies, and the next group has none."""
    number = city.revoke("development-key")
    for person in ("bob", "carol"):
        copied(city, number, person)
    assert not copies(city, number, "erin")
    return number


def test_who_is_called_next_may_approve_only_from_then_on(city: City) -> None:
    number = asked(city)
    city.ask("erin", f"approve R-{number}", "You are not an approver")
    city.jump(25 * HOUR)
    city.until(lambda: len(letters(city, number, "bob")) == 1, lambda: city.tell(number), 15)
    assert "waits for 1 approval" in letters(city, number, "bob")[0]
    assert not letters(city, number, "erin")
    before = len(city.workspace.ephemerals("erin"))
    city.type("erin", f"approve R-{number}")
    city.told("erin", "You are not an approver", before)
    assert not city.pager.events or not city.paged(number)

    city.jump(24 * HOUR)
    city.wait(number, lambda r: r.escalated == 1)
    for person in ("dave", "erin"):
        copied(city, number, person)
    assert not copies(city, number, "alice"), "she has asked for it herself"
    city.until(lambda: "You are one of those who may." in "".join(letters(city, number, "erin")), "a letter", 15)
    city.until(lambda: city.paged(number) == ["platform have to approve"], lambda: str(city.pager.events), 10)
    before = len(city.workspace.ephemerals("alice"))
    city.type("alice", f"approve R-{number}")
    city.told("alice", "You asked for this yourself", before)
    copy = copied(city, number, "erin")
    city.until(lambda: _known(city, copy), "the bot to know its message", 15)
    assert city.workspace.click("erin", copy, "rotate:approve").acked
    done = city.wait(number, lambda r: r.is_over or held(r), 60)
    assert [vote.person for vote in done.votes] == ["erin"]
    assert done.state is State.PROMOTED, city.tell(number)
    city.until(lambda: city.alert(number) == "resolved", lambda: str(city.pager.events), 10)
    assert len(copies(city, number, "bob")) == len(copies(city, number, "erin")) == 1


def test_when_nobody_approves_it_pages_and_changes_nothing(city: City) -> None:

    def keys() -> list[tuple[str, Any]]:
        """Without when they were last used: the estate's gateways and clients go on working."""
        identity = city.estate.identity
        return [(key["kid"], key["state"]) for key in identity.keys.all()] + [
            (key["id"], key["enabled"]) for key in identity.api_keys.all()
        ]

    everything = keys()
    number = asked(city)
    for _ in range(3):
        city.jump(25 * HOUR)
        city.wait(number, lambda r: r.calls_at is None or r.calls_at > city.database.now())
    assert city.rotation(number).escalated == 1
    city.until(lambda: city.paged(number) == ["platform have to approve"], lambda: str(city.pager.events), 10)
    city.jump(25 * HOUR)
    done = city.wait(number, lambda r: r.is_over)
    assert done.state is State.ABANDONED
    assert not any(run.touched for run in done.steps)
    wanted = ["platform have to approve", "nobody approved in time"]
    city.until(lambda: city.paged(number) == wanted, lambda: str(city.pager.events), 10)
    assert city.alert(number) == "triggered", "one alert, and nobody has looked at it"
    city.until(lambda: "was abandoned: Nobody approved in time" in city.log(number), lambda: city.log(number), 15)
    assert city.incident(number) is None
    assert keys() == everything
    city.until(lambda: len(letters(city, number, "bob")) >= 3, lambda: str(letters(city, number, "bob")), 15)
    assert len(letters(city, number, "bob")) == 3, "reminded, told of the next group, reminded"
    events = city.events(number)
    assert (events.count("approval.reminded"), events.count("approval.escalated")) == (2, 1)
    city.ask("bob", f"approve R-{number}", f"R-{number}")
    assert city.rotation(number) == done


def _known(city: City, message: Message) -> bool:
    """Whether the bot knows its message: before that, no click on it counts."""
    with city.database.read() as reader:
        return reader.drawing_at(message.channel, message.ts) is not None
