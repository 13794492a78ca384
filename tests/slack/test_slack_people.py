"""Who somebody is: asked live, joined with settings, and unknown wherever Slack does not say."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bot.core.errors import Permanent
from bot.core.policy import Person, PersonKind, Policy
from bot.engine.directory import DeclaredPeople
from bot.slack.api import SlackApi
from bot.slack.identity import Identity, Workspace
from bot.slack.people import SlackPeople
from playground.workspace.workspace import Workspace as Simulator
from tests.slack.conftest import ROOT

POLICY = Policy(
    people=(
        Person("bob", "Bob", frozenset({"U0BOB", "U0BOBBY"})),
        Person("carol", "Carol", frozenset({"U0CAROL"}), os_user="carol"),
    ),
    groups=frozenset({"sec-oncall", "listed"}),
)


@pytest.fixture
def slack() -> Iterator[Simulator]:
    with Simulator.start(manifest=ROOT / "manifest.yml", rate_factor=0) as simulator:
        yield simulator


@pytest.fixture
def clock() -> list[float]:
    return [1000.0]


@pytest.fixture
def people(slack: Simulator, clock: list[float]) -> SlackPeople:
    api = SlackApi(slack.bot_token, slack.api_url, 2.0)
    identity = Identity(api)
    identity.learn()
    declared = DeclaredPeople(POLICY, {"listed": frozenset({"bob"}), "sec-oncall": None})
    return SlackPeople(api, POLICY, identity, {"sec-oncall": "S0SECONCALL"}, declared, monotonic=lambda: clock[0])


@pytest.mark.parametrize(
    ("user", "kind"),
    [
        ("U0BOB", PersonKind.MEMBER),
        ("U0DAVE", PersonKind.MEMBER),
        ("U0GUS", PersonKind.GUEST),
        ("U0UNA", PersonKind.GUEST),
        ("U0OTTO", PersonKind.DEACTIVATED),
        ("U0PAGERBOT", PersonKind.BOT),
        ("U0KEYTURN", PersonKind.BOT),
        ("U0SAM", PersonKind.STRANGER),
        ("U0NOBODY", PersonKind.UNKNOWN),
    ],
)
def test_the_kind_of_every_account(people: SlackPeople, user: str, kind: PersonKind) -> None:
    assert people.person(f"slack:T0KEYTURN/{user}").kind is kind


@pytest.mark.parametrize(
    "account", ["", "slack:", "slack:U0BOB", "slack:T0KEYTURN/U0BOB ", "slack:T0KEYTURN/u0bob", "x"]
)
def test_an_account_of_another_shape_is_unknown(people: SlackPeople, account: str) -> None:
    assert people.person(account).kind is PersonKind.UNKNOWN


def test_two_accounts_of_one_person_are_one_person(people: SlackPeople) -> None:
    assert people.person("slack:T0KEYTURN/U0BOB").id == "bob"
    assert people.person("slack:T0KEYTURN/U0CAROL").id == "carol"
    assert people.person("os:carol").id == "carol"
    assert people.person("os:carol").kind is PersonKind.MEMBER
    assert people.person("os:mallory").kind is PersonKind.UNKNOWN


@pytest.mark.parametrize(
    "fault", [{"status": 503}, {"status": 429, "retry_after": 3}, {"cut": "before"}, {"error": "x"}]
)
def test_where_slack_does_not_answer_nobody_is_anybody(
    people: SlackPeople, slack: Simulator, fault: dict[str, object]
) -> None:
    slack.faults.web("*", times=5, **fault)  # type: ignore[arg-type]  # each fault fits its switch
    assert people.person("slack:T0KEYTURN/U0BOB").kind is PersonKind.UNKNOWN
    assert people.groups(["sec-oncall"]) == {"sec-oncall": None}


def test_known_is_what_was_seen_in_the_last_minutes(people: SlackPeople, clock: list[float]) -> None:
    account = "slack:T0KEYTURN/U0BOB"
    assert people.known(account) is None
    people.person(account)
    assert people.known(account) == people.person(account)
    clock[0] += 301
    assert people.known(account) is None


def test_groups_are_read_live_and_reads_that_come_together_are_one(
    people: SlackPeople, slack: Simulator, clock: list[float]
) -> None:
    assert people.groups(["sec-oncall", "listed"]) == {
        "sec-oncall": frozenset({"bob", "carol"}),
        "listed": frozenset({"bob"}),
    }
    slack.set_group("sec-oncall", ["carol", "dave"])
    people.groups(["sec-oncall"])
    assert len(slack.calls_to("usergroups.users.list")) == 1
    clock[0] += 4
    assert people.groups(["sec-oncall"]) == {"sec-oncall": frozenset({"carol", "slack:U0DAVE"})}
    assert people.remembered(["sec-oncall"]) == people.groups(["sec-oncall"])
    clock[0] += 301
    assert people.remembered(["sec-oncall"]) == {"sec-oncall": None}


def test_before_slack_has_said_which_workspace_this_is_nobody_is_a_member(slack: Simulator) -> None:
    api = SlackApi(slack.bot_token, slack.api_url)
    declared = DeclaredPeople(POLICY, {})
    people = SlackPeople(api, POLICY, Identity(api), {}, declared)
    slack.faults.web("auth.test", status=500)
    assert people.person("slack:T0KEYTURN/U0BOB").kind is PersonKind.UNKNOWN
    assert people.person("slack:T0KEYTURN/U0BOB").kind is PersonKind.MEMBER, "it does not ask again"


def test_the_organisation_of_a_grid_counts_as_home(people: SlackPeople) -> None:
    people.identity.workspace = Workspace("T0HOME", "U0KEYTURN", "E0ORG")
    user = {"id": "U1", "deleted": False, "is_bot": False, "is_restricted": False, "is_ultra_restricted": False}
    away = {**user, "team_id": "T0OTHER"}
    grid = {**away, "enterprise_user": {"enterprise_id": "E0ORG", "teams": ["T0HOME"]}}
    assert people._kind(away, "U1") is PersonKind.STRANGER
    assert people._kind(grid, "U1") is PersonKind.MEMBER
    assert people._kind({**grid, "is_bot": None}, "U1") is PersonKind.BOT
    assert people._kind({k: v for k, v in grid.items() if k != "is_restricted"}, "U1") is PersonKind.UNKNOWN
    assert people._kind(grid, "U2") is PersonKind.UNKNOWN


def test_a_token_that_slack_refuses_is_said_clearly(slack: Simulator) -> None:
    with pytest.raises(Permanent, match="does not accept SLACK_BOT_TOKEN"):
        Identity(SlackApi("xoxb-wrong", slack.api_url)).learn()
    with pytest.raises(Permanent, match="belongs to the workspace T0KEYTURN"):
        Identity(SlackApi(slack.bot_token, slack.api_url), "T0OTHER").learn()
