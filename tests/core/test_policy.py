"""Who may do what: stories, and every decision against an oracle that was written another way."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.core.policy import ApprovalRule, Need, Person, PersonKind, Policy, Role, Verdict, Who


@dataclass(frozen=True)
class Credential:
    name: str = "signing"
    environment: str = "production"
    kind: str = "signing-key"
    owner: str = "platform"


ALICE = Person("alice", "Alice", frozenset({"U0ALICE", "U0ALICE2"}), PersonKind.MEMBER, "alice")
BOB = Person("bob", "Bob", frozenset({"U0BOB"}), PersonKind.MEMBER)
CAROL = Person("carol", "Carol", frozenset({"U0CAROL"}), PersonKind.MEMBER)
EVE = Person("slack:U0EVE", "Eve", frozenset({"U0EVE"}), PersonKind.MEMBER)
GROUPS = {"sec-oncall": frozenset({"bob"}), "platform": frozenset({"alice"}), "lost": None}
KEY = Credential()


def policy(**changes: Any) -> Policy:
    parts: dict[str, Any] = {
        "people": (ALICE, BOB, CAROL),
        "groups": frozenset(GROUPS),
        "roles": (
            Role("operators", Who(owner=True), frozenset({Need.START, Need.CANCEL})),
            Role("staging", Who(people=frozenset({"carol"})), frozenset({Need.START}), frozenset({"staging"})),
        ),
        "rules": (ApprovalRule(1, Who(groups=frozenset({"sec-oncall"}))),),
    }
    return Policy(**{**parts, **changes})


def test_every_member_may_see_and_nothing_else_by_default() -> None:
    bare = Policy()
    assert bare.may(EVE, Need.SEE, KEY, "C1", {})
    for need in set(Need) - {Need.SEE}:
        verdict = bare.may(EVE, need, KEY, "C1", {})
        assert not verdict
        assert verdict.code == "not-allowed"
        assert "no role in the settings grants" in verdict.because


@pytest.mark.parametrize("kind", [kind for kind in PersonKind if kind is not PersonKind.MEMBER])
def test_only_members_may_do_anything(kind: PersonKind) -> None:
    everything = Role("all", Who(everyone=True), frozenset(Need))
    person = Policy(people=(BOB,)).resolve_person("U0BOB", kind=kind)
    open_policy = policy(roles=(everything,), rules=())
    for need in Need:
        assert open_policy.may(person, need, KEY, "", GROUPS).code == f"kind-{kind.value}"
    assert open_policy.may_approve(person, KEY, "alice", "", GROUPS).code == f"kind-{kind.value}"


def test_the_owner_is_a_group_or_a_person() -> None:
    assert policy().may(ALICE, Need.START, KEY, "", GROUPS).because == "member of platform"
    owned = Credential(owner="carol")
    assert policy().may(CAROL, Need.START, owned, "", GROUPS).because == "named in the settings"
    assert not policy().may(ALICE, Need.START, owned, "", GROUPS)
    assert not policy().may(ALICE, Need.START, Credential(owner=""), "", GROUPS)


def test_environments_classes_and_channels_limit_a_role() -> None:
    here = Role(
        "here",
        Who(everyone=True),
        frozenset({Need.START}),
        environments=frozenset({"production"}),
        classes=frozenset({"signing-key"}),
        channels=frozenset({"C1"}),
    )
    asked = policy(roles=(here,))
    assert asked.may(CAROL, Need.START, KEY, "C1", GROUPS).because == "every member may"
    assert not asked.may(CAROL, Need.START, KEY, "C2", GROUPS)
    assert not asked.may(CAROL, Need.START, KEY, "", GROUPS)
    assert not asked.may(CAROL, Need.START, Credential(environment="staging"), "C1", GROUPS)
    assert not asked.may(CAROL, Need.START, Credential(kind="api-key"), "C1", GROUPS)


@pytest.mark.parametrize("groups", [{}, {"sec-oncall": None}])
def test_unknown_membership_is_refused_unless_something_else_allows(groups: dict[str, None]) -> None:
    verdict = policy().may_approve(BOB, KEY, "alice", "C1", groups)
    assert (verdict.allowed, verdict.code) == (False, "group-unknown")
    named = policy(rules=(ApprovalRule(1, Who(people=frozenset({"bob"}), groups=frozenset({"sec-oncall"}))),))
    assert named.may_approve(BOB, KEY, "alice", "C1", groups)


def test_the_verdict_says_why() -> None:
    assert policy().may_approve(BOB, KEY, "alice", "C1", GROUPS) == Verdict(True, "member of sec-oncall")
    refused = policy().may_approve(CAROL, KEY, "alice", "C1", GROUPS)
    assert refused.code == "not-an-approver"
    assert "ask sec-oncall" in refused.because


@pytest.mark.parametrize(
    "requester",
    [
        *("alice", "ALICE", " alice ", "U0ALICE", "U0ALICE2", "T9/U0ALICE2", "slack:T1/U0ALICE", "slack:U0ALICE2"),
        *("os:alice", "u0alice", "SLACK:t1/u0alice2"),
    ],
)
@pytest.mark.parametrize("account", ["U0ALICE", "T1/U0ALICE2", "slack:T1/U0ALICE", "os:alice"])
def test_nobody_approves_their_own_request_under_any_spelling_or_account(requester: str, account: str) -> None:
    everyone = policy(rules=(ApprovalRule(1, Who(everyone=True)),))
    voter = everyone.resolve_person(account, kind=PersonKind.MEMBER)
    assert voter.id == "alice"
    assert everyone.may_approve(voter, KEY, requester, "C1", GROUPS).code == "own-request"
    assert everyone.may_approve(BOB, KEY, requester, "C1", GROUPS)


def test_somebody_undeclared_cannot_approve_their_own_request_either() -> None:
    everyone = policy(rules=(ApprovalRule(1, Who(everyone=True)),))
    assert everyone.may_approve(EVE, KEY, "slack:U0EVE", "", GROUPS).code == "own-request"
    assert everyone.may_approve(EVE, KEY, "T1/U0EVE", "", GROUPS).code == "own-request"


def test_accounts_resolve_to_one_person() -> None:
    asked = policy()
    for account in ("U0ALICE", "U0ALICE2", "T1/U0ALICE", "slack:T7/U0ALICE2", "os:alice"):
        assert asked.resolve_person(account, kind=PersonKind.MEMBER) == ALICE
    assert asked.resolve_person("U0ALICE").kind is PersonKind.UNKNOWN
    stranger = asked.resolve_person("slack:T1/U0ZED", name="Zed")
    assert (stranger.id, stranger.name, stranger.slack_ids) == ("slack:U0ZED", "Zed", frozenset({"U0ZED"}))
    assert asked.resolve_person("slack:T1/U0ZED").name == "U0ZED"
    local = asked.resolve_person("os:root", name="Root")
    assert (local.name, asked.resolve_person("os:root").name) == ("Root", "root")
    assert (local.id, local.os_user, local.slack_ids) == ("os:root", "root", frozenset())


def test_an_os_user_of_another_case_is_another_user() -> None:
    assert policy().resolve_person("os:Alice").id == "os:Alice"


def test_an_account_never_resolves_to_a_person_of_the_same_name() -> None:
    william = Person("william", slack_ids=frozenset({"U0WILL"}))
    asked = Policy(people=(william,), rules=(ApprovalRule(1, Who(people=frozenset({"william"}))),))
    impostor = asked.resolve_person("WILLIAM", kind=PersonKind.MEMBER)
    assert impostor.id == "slack:WILLIAM"
    assert not asked.may_approve(impostor, KEY, "alice", "", {})


def test_the_first_rule_that_fits_holds() -> None:
    rules = (
        ApprovalRule(0, environments=frozenset({"development"}), words=frozenset({"start"})),
        ApprovalRule(2, Who(groups=frozenset({"sec-oncall"})), timedelta(hours=1), classes=frozenset({"signing-key"})),
        ApprovalRule(1, Who(people=frozenset({"bob"}), owner=True, everyone=True)),
    )
    asked = policy(rules=rules)
    assert asked.rule(Credential(environment="development")).count == 0
    assert asked.rule(Credential(environment="development"), "skip") is rules[1]
    assert asked.rule(KEY).names == ("sec-oncall",)
    assert asked.rule(Credential(kind="other")).names == ("bob", "owner", "everyone")
    default = Policy().rule(KEY)
    assert (default.count, default.expires, bool(default.who)) == (1, timedelta(hours=24), False)
    assert (rules[1].groups, rules[2].people) == (frozenset({"sec-oncall"}), frozenset({"bob"}))


def test_eligible_lists_people_and_what_is_not_known() -> None:
    rule = ApprovalRule(1, Who(people=frozenset({"carol"}), groups=frozenset({"sec-oncall", "lost"})))
    found = policy(rules=(rule,)).eligible(KEY, {**GROUPS, "sec-oncall": frozenset({"U0BOB", "slack:U0NEW"})})
    assert found.people == {
        "carol": "named in the settings",
        "bob": "member of sec-oncall",
        "slack:U0NEW": "member of sec-oncall",
    }
    assert found.unknown == ("lost",)
    assert found.open
    assert policy(rules=(ApprovalRule(1, Who(everyone=True)),)).eligible(KEY, {}).everyone


def test_needed_groups_are_those_that_matter() -> None:
    assert policy().needed_groups(KEY) == {"platform", "sec-oncall"}
    assert policy().needed_groups(Credential(owner="carol")) == {"sec-oncall"}


@pytest.mark.parametrize(
    ("people", "count", "starters", "expected"),
    [
        ({"bob"}, 1, {"alice"}, ""),
        ({"bob", "carol"}, 1, {"bob"}, ""),
        ({"bob"}, 1, {"bob"}, "start needs 1 approver besides"),
        ({"bob", "carol"}, 2, {"bob", "carol"}, "start needs 2 approvers besides"),
        ({"bob"}, 2, {"alice"}, "start needs 2 approvers and 1"),
        ({"bob"}, 1, set(), "nobody may start it"),
        ({"bob"}, 0, {"bob"}, ""),
    ],
)
def test_a_rule_that_nobody_could_satisfy_is_hopeless(
    people: set[str], count: int, starters: set[str], expected: str
) -> None:
    asked = policy(
        roles=(Role("start", Who(people=frozenset(starters)), frozenset({Need.START})),),
        rules=(ApprovalRule(count, Who(people=frozenset(people))),),
    )
    assert asked.hopeless(KEY, GROUPS).startswith(expected)
    assert bool(asked.hopeless(KEY, GROUPS)) == bool(expected)


def test_a_group_that_slack_keeps_is_taken_to_be_enough() -> None:
    live = policy(rules=(ApprovalRule(3, Who(groups=frozenset({"lost"}))),))
    assert live.hopeless(KEY, GROUPS) == ""
    role = Role("start", Who(groups=frozenset({"lost"})), frozenset({Need.START}))
    assert policy(roles=(role,), rules=(ApprovalRule(1, Who(people=frozenset({"bob"}))),)).hopeless(KEY, GROUPS) == ""


# --- the oracle: sets of (person, need) pairs, computed without any of the code above ---

NAMES = ("alice", "bob", "carol", "dave")
ENVIRONMENTS, CLASSES, CHANNELS = ("production", "staging"), ("key", "token"), ("", "C1", "C2")
_subset = lambda names: st.frozensets(st.sampled_from(names), max_size=2)  # noqa: E731 - a strategy, named once
_whos = st.builds(Who, people=_subset(NAMES), groups=_subset(("g1", "g2")), owner=st.booleans(), everyone=st.booleans())
_roles = st.builds(
    Role,
    name=st.just("r"),
    who=_whos,
    may=st.frozensets(st.sampled_from((Need.SEE, Need.START, Need.APPROVE)), min_size=1),
    environments=_subset(ENVIRONMENTS),
    classes=_subset(CLASSES),
    channels=_subset(("C1", "C2")),
)
_rules = st.builds(
    ApprovalRule, count=st.integers(0, 3), who=_whos, environments=_subset(ENVIRONMENTS), classes=_subset(CLASSES)
)
_memberships = st.dictionaries(st.sampled_from(("g1", "g2")), st.none() | st.frozensets(st.sampled_from(NAMES)))
_credentials = st.builds(
    Credential,
    environment=st.sampled_from(ENVIRONMENTS),
    kind=st.sampled_from(CLASSES),
    owner=st.sampled_from((*NAMES, "g1", "g2")),
)


def _granted(who: Who, credential: Credential, groups: dict[str, Any]) -> tuple[set[str], bool]:
    """Everybody it names for certain, and whether an unknown group could name more."""
    named, teams = set(who.people), set(who.groups)
    if who.owner:
        (teams if credential.owner in ("g1", "g2") else named).add(credential.owner)
    if who.everyone:
        named |= set(NAMES)
    sure = {team for team in teams if groups.get(team) is not None}
    for team in sure:
        named |= groups[team]
    return named, bool(teams - sure)


def _oracle(
    asked: Policy, need: Need, credential: Credential, channel: str, groups: dict[str, Any]
) -> tuple[set[str], bool]:
    whos = []
    rule = None
    for candidate in asked.rules:
        place = candidate.environments or {credential.environment}
        kind = candidate.classes or {credential.kind}
        if rule is None and credential.environment in place and credential.kind in kind:
            rule = candidate
    named = rule is not None and (rule.who.people or rule.who.groups or rule.who.owner or rule.who.everyone)
    if need is Need.APPROVE and rule is not None and named:
        whos.append(rule.who)
    else:
        for role in asked.roles:
            places = [
                (role.environments, credential.environment),
                (role.classes, credential.kind),
                (role.channels, channel),
            ]
            if need in role.may and all(not wanted or here in wanted for wanted, here in places):
                whos.append(role.who)
    certain: set[str] = set(NAMES) if need is Need.SEE else set()
    doubt = False
    for who in whos:
        people, unsure = _granted(who, credential, groups)
        certain |= people
        doubt = doubt or unsure
    return certain, doubt


@settings(max_examples=400, deadline=None)
@given(
    st.lists(_roles, max_size=4),
    st.lists(_rules, max_size=3),
    _memberships,
    _credentials,
    st.sampled_from(CHANNELS),
    st.sampled_from(NAMES),
    st.sampled_from(list(PersonKind)),
    st.sampled_from(NAMES),
    st.sampled_from((Need.SEE, Need.START, Need.APPROVE)),
)
def test_decisions_equal_the_oracle(
    roles: list[Role],
    rules: list[ApprovalRule],
    groups: dict[str, Any],
    credential: Credential,
    channel: str,
    name: str,
    kind: PersonKind,
    requester: str,
    need: Need,
) -> None:
    people = tuple(Person(person, slack_ids=frozenset({f"U{person.upper()}"})) for person in NAMES)
    asked = Policy(people, frozenset({"g1", "g2"}), tuple(roles), tuple(rules))
    person = asked.resolve_person(f"U{name.upper()}", kind=kind)
    certain, doubt = _oracle(asked, need, credential, channel, groups)
    verdict = asked.may(person, need, credential, channel, groups)
    assert verdict.allowed == (kind is PersonKind.MEMBER and name in certain)
    if kind is PersonKind.MEMBER and not verdict:
        assert verdict.code == ("group-unknown" if doubt else "not-allowed")
    approvers, _ = _oracle(asked, Need.APPROVE, credential, channel, groups)
    vote = asked.may_approve(person, credential, requester, channel, groups)
    assert vote.allowed == (kind is PersonKind.MEMBER and name in approvers - {requester})
    listed = asked.eligible(credential, groups)
    if vote:
        assert name in listed.people or listed.everyone


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.sets(st.integers(0, 30), min_size=1, max_size=4), max_size=6), st.integers(0, 30), st.integers(0, 30)
)
def test_no_two_accounts_of_one_person_approve_each_other(bound: list[set[int]], asking: int, voting: int) -> None:
    taken: set[int] = set()
    people = []
    for number, accounts in enumerate(bound):
        own = accounts - taken
        taken |= own
        people.append(Person(f"p{number}", slack_ids=frozenset(f"U0X{account}" for account in own)))
    asked = Policy(tuple(people), rules=(ApprovalRule(1, Who(everyone=True)),))
    owner = {account: person.id for person in people for account in person.slack_ids}
    voter = asked.resolve_person(f"T1/U0X{voting}", kind=PersonKind.MEMBER)
    requester = asked.resolve_person(f"slack:T1/U0X{asking}")
    same = owner.get(f"U0X{voting}", voting) == owner.get(f"U0X{asking}", asking)
    for spelled in (requester.id, f"U0X{asking}", f"slack:T2/U0X{asking}"):
        assert asked.may_approve(voter, KEY, spelled, "C1", {}).allowed == (not same)
