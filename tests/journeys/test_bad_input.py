"""What must not happen: each gets one clear sentence with the way out, and changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bot.core.rotation import State
from playground.estate import Estate
from playground.workspace.seed import User, default_seed
from playground.workspace.workspace import NotVisible, Workspace
from tests.journeys.conftest import TownOpener
from tests.journeys.town import ROOT, Town

pytestmark = pytest.mark.journey
TYPED = [
    ("strat identity-signing", "There is no word “strat”. Did you mean start"),
    ("start identity-singing --reason x", "Did you mean identity-signing?"),
    ("plan payments", "See what there is with: list."),
    ("status R-999", "There is no rotation R-999; see which there are with: list."),
    ("start", "Say which credential to rotate: start"),
    ("start identity-signing billing-api-key", "Say which credential to rotate"),
    ("start identity-signing --raeson weekly", "Did you mean --reason?"),
    ("start identity-signing --reason", '--reason needs a value; write --reason "…".'),
    ("start identity-signing --reason a --reason b", "--reason stands there twice; give it once."),
    ('start identity-signing --reason "never closed', "is never closed; close it, or leave it out."),
    ("start identity-signing -r weekly", "flags begin with two dashes"),
    ("start identity-signing --yes", "A start needs a reason"),
    ("start identity-signing@staging --reason x", "There is no credential"),
    ("approve", "Say which rotation you approve: approve R-7"),
    ("list --page zero", "A page is a number from 1 to"),
    ("help strat", "did you mean start?"),
    ("history nothing-like-it", "There is no credential"),
    ("rollback R-999 --reason x", "There is no rotation R-999"),
    ("x" * 2500, "longer than 2000 characters"),
]
PEOPLE = ("alice", "dave", "erin")
"""They may all start; nobody alone may type as fast as a test does."""
SECRETS = [
    "start identity-signing --reason 'token xoxb-" + "1234567890-1234567890-AbCdEfGhIjKlMnOpQrStUvWx'",
    "start identity-signing --reason ghp_" + "aB3dE5fG7hI9jK1lM3nO5pQ7rS9tU1vW3xY5",
    "tick R-1 notified --evidence AKIA" + "IOSFODNN7EXAMPLQ",
    "start eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJjYW5hcnkifQ." + "c2lnbmF0dXJlLXRoYXQtaXMtbG9uZy1lbm91Z2g",
]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Iterator[Town]:
    """One town for everything that changes nothing."""
    folder = tmp_path_factory.mktemp("town")
    url = f"sqlite:///{folder}/keyturn.db"
    (folder / "keyturn.db").write_bytes(sqlite_template.read_bytes())
    with (
        Estate.start(rate=1.0, clients=0) as estate,
        Workspace.start(manifest=ROOT / "manifest.yml", rate_factor=0.0) as workspace,
    ):
        town = Town(folder, workspace, estate, url)
        town.begin()
        yield town
        town.close()


def untouched(town: Town) -> tuple[Any, ...]:
    """Everything that bad input must leave as it is."""
    with town.database.read() as reader:
        rotations = [(row.number, row.state) for row in reader.rotations(limit=100)]
        due = [(row.name, row.next_due) for row in reader.credentials()]
    return rotations, due, town.estate.identity.keys.all(), town.estate.identity.api_keys.all()


@pytest.mark.parametrize(("words", "told"), TYPED, ids=[words[:40] for words, _ in TYPED])
def test_wrong_words_get_the_way_out(shared: Town, words: str, told: str) -> None:
    before, user = untouched(shared), PEOPLE[len(words) % len(PEOPLE)]
    seen = len(shared.workspace.ephemerals(user))
    shared.type(user, words)

    def said() -> str:
        """In the form that was opened for the plan, or to the person alone."""
        view = shared.workspace.view(user)
        if view is not None and view.title == "No plan":
            assert "Nothing was started." in view.words
            return view.words
        return "".join(one.text for one in shared.workspace.ephemerals(user)[seen:])

    shared.until(lambda: told in said(), lambda: f"{told!r} in {said()!r}", 10)
    assert len(said()) < 400
    if shared.workspace.view(user) is not None:
        shared.workspace.close_view(user)
    assert untouched(shared) == before


@pytest.mark.parametrize("words", SECRETS, ids=["slack", "github", "aws", "jwt"])
def test_a_secret_that_is_typed_is_not_kept(shared: Town, words: str) -> None:
    before = untouched(shared)
    seen = len(shared.workspace.ephemerals("alice"))
    shared.type("alice", words)
    said = shared.told("alice", "so I did not keep it", seen)
    assert "Values go in on a terminal, never in Slack" in said.words
    piece = max(words.replace("'", " ").split(), key=len)
    assert piece not in said.words
    assert piece not in str([(row.actor, row.detail) for row in shared.audit()])
    refused = shared.audit()[-1]
    assert (refused.event, refused.detail["code"]) == ("intent.refused", "secret-typed")
    assert untouched(shared) == before


def test_a_secret_in_the_form_is_refused_in_the_form(shared: Town) -> None:
    shared.type("alice", "start identity-signing")
    shared.modal("alice", "Rotate identity-signing")
    secret = "ghp_" + "aB3dE5fG7hI9jK1lM3nO5pQ7rS9tU1vW3xY5"
    delivery = shared.workspace.submit("alice", {"reason": f"it is {secret}"})
    assert "did not keep it" in str(delivery.answer)
    view = shared.workspace.view("alice")
    assert view is not None
    assert "did not keep it" in view.errors["reason"]
    shared.workspace.close_view("alice")
    assert secret not in str([row.detail for row in shared.audit()])
    assert untouched(shared)[0] == []


def test_a_second_start_is_told_which_one_is_open(open_town: TownOpener) -> None:
    town = open_town(estate={"rate": 1.0, "clients": 0})
    number = town.start()
    town.type("dave", "start identity-signing --reason again")
    view = town.modal("dave", "No plan")
    assert f"R-{number} is already rotating identity-signing; follow it with: status R-{number}." in view.words
    town.ask("dave", "start identity-signing --reason again --yes", f"R-{number} is already rotating")
    with town.database.read() as reader:
        assert len(reader.rotations(limit=10)) == 1


def test_a_click_on_the_card_of_a_finished_rotation_comes_too_late(open_town: TownOpener) -> None:
    town = open_town(estate={"rate": 1.0, "clients": 0})
    number = town.start()
    stale = town.shows(number, "asks to rotate")
    town.ask("bob", f'reject R-{number} --reason "not now"', "is counted")
    town.shows(number, "Rejected by bob")
    before = untouched(town)
    for user, action in (("carol", "approve"), ("erin", "tick:notified")):
        if f"rotate:{action}" not in stale.buttons:
            continue
        seen = len(town.workspace.ephemerals(user))
        town.workspace.click(user, stale, f"rotate:{action}", force=True)
        town.told(user, f"R-{number} was cancelled", seen)
    town.ask("carol", f"approve R-{number}", "your vote changed nothing")
    for words in (f"advance R-{number}", f"retry R-{number}", f"skip R-{number} --reason x"):
        town.ask("erin", words, "was cancelled")
    town.ask("erin", f"rollback R-{number} --reason x", "there is nothing to roll back")
    town.ask("erin", f"cancel R-{number} --reason x", "there is nothing to cancel")
    assert untouched(town) == before


def test_the_requester_cannot_approve_under_any_spelling_or_account(open_town: TownOpener) -> None:
    """Alice has two accounts: the settings bind both to the same person, and both are in the approvers' group."""
    seed = default_seed()
    seed.users.append(User("alice2", "Alice at Work"))
    next(group for group in seed.groups if group.handle == "sec-oncall").members += ["alice", "alice2"]
    next(channel for channel in seed.channels if channel.name == "ops").members.append("alice2")

    def two_accounts(settings: dict[str, Any]) -> None:
        settings["people"]["alice"]["slack"].append("U0ALICE2")

    town = open_town(estate={"rate": 1.0, "clients": 0}, workspace={"seed": seed}, change=two_accounts)
    number = town.start()
    for user in ("alice", "alice2"):
        for spelling in (f"R-{number}", f"r-{number}", f"R{number}", f"#{number}", f"{number}", "identity-signing"):
            town.ask(user, f"approve {spelling}", "You asked for this yourself")
        card = town.shows(number, "asks to rotate")
        seen = len(town.workspace.ephemerals(user))
        town.workspace.click(user, card, "rotate:approve")
        town.told(user, "You asked for this yourself", seen)
    rotation = town.rotation(number)
    assert (rotation.state, rotation.votes) == (State.REQUESTED, ())
    refusals = [row for row in town.audit(number) if row.event == "vote.refused"]
    assert {row.actor for row in refusals} == {"alice"}
    assert len(refusals) == 14
    town.approve(number, "carol")


def test_only_full_members_of_the_group_may_approve(open_town: TownOpener) -> None:
    seed = default_seed()
    outsiders = {
        "gus": "Guests cannot use keyturn",
        "una": "Guests cannot use keyturn",
        "pagerbot": "",
        "sam": "",
        "otto": "",
        "mia": "You are not an approver",
    }
    seed.users.append(User("mia", "Mia Mora"))
    for group in seed.groups:
        group.members += [name for name in outsiders if name != "mia"]
    next(channel for channel in seed.channels if channel.name == "ops").members += ["una", "mia", "sam", "otto"]
    town = open_town(estate={"rate": 1.0, "clients": 0}, workspace={"seed": seed})
    number = town.start()
    card = town.shows(number, "asks to rotate")
    for user, told in outsiders.items():
        try:
            delivery = town.workspace.click(user, card, "rotate:approve", force=True)
        except NotVisible:  # Slack itself shows a leaver nothing to click
            continue
        if told:
            town.told(user, told)
        assert delivery.acked
    refused = {row.actor: row.detail["code"] for row in town.audit(number) if row.event == "vote.refused"}
    assert refused["slack:U0GUS"] == refused["slack:U0UNA"] == "kind-guest"
    assert refused["slack:U0PAGERBOT"] == "kind-bot"
    rotation = town.rotation(number)
    assert (rotation.state, rotation.votes) == (State.REQUESTED, ())


def test_unknown_membership_is_no_membership(open_town: TownOpener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bot.slack.people.COALESCED_SECONDS", 0.0)
    town = open_town(estate={"rate": 1.0, "clients": 0})
    number = town.start()
    town.workspace.faults.web("usergroups.users.list", times=50, error="internal_error")
    town.ask("bob", f"approve R-{number}", "Slack did not say who is in")
    assert town.rotation(number).votes == ()
    town.workspace.faults.clear()
    town.workspace.faults.web("users.info", times=50, status=500)
    town.ask("bob", f"approve R-{number}", "Slack did not say who you are")
    assert town.rotation(number).votes == ()
    town.workspace.faults.clear()
    town.until(lambda: _approves(town, number), "an approval once Slack answers", 20, every=1.0)


def _approves(town: Town, number: int) -> bool:
    seen = len(town.workspace.ephemerals("bob"))
    town.type("bob", f"approve R-{number}")
    town.told("bob", f"R-{number}", seen)
    return bool(town.rotation(number).votes)


def test_membership_is_read_at_the_click_not_at_the_request(
    open_town: TownOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.slack.people.COALESCED_SECONDS", 0.0)
    town = open_town(estate={"rate": 1.0, "clients": 0})
    number = town.start()
    card = town.shows(number, "asks to rotate")
    town.workspace.set_group("sec-oncall", ["carol"])
    town.workspace.click("bob", card, "rotate:approve")
    town.told("bob", "Your vote on R-1 was not counted")
    assert town.rotation(number).votes == ()
    town.approve(number, "carol")
