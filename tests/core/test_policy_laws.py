"""Escalations, delegates and revocations: stories, and laws that hold whatever is declared."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.core.policy import (
    ApprovalRule,
    Delegate,
    Escalation,
    Need,
    Person,
    PersonKind,
    Policy,
    Role,
    Verdict,
    Who,
    counted,
)


@dataclass(frozen=True)
class Credential:
    name: str = "signing"
    environment: str = "production"
    kind: str = "signing-key"
    owner: str = "platform"


NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
UNTIL = datetime(2026, 12, 1, 23, 59, 59, 999999, tzinfo=UTC)
NAMES = ("alice", "bob", "carol", "dave")
PEOPLE = tuple(Person(name, slack_ids=frozenset({f"U0{name.upper()}", f"U1{name.upper()}"})) for name in NAMES)
KEY = Credential()
GROUPS = {"oncall": frozenset({"alice"}), "platform": frozenset({"dave"}), "directors": frozenset({"carol"})}


def people(*names: str) -> Who:
    return Who(people=frozenset(names))


def group(*names: str) -> Who:
    return Who(groups=frozenset(names))


def policy(*delegates: Delegate, **changes: Any) -> Policy:
    parts: dict[str, Any] = {
        "rules": (ApprovalRule(1, group("oncall"), escalation=STAGES),),
        "roles": (Role("starters", people("bob", "dave"), frozenset({Need.START})),),
    }
    return Policy(PEOPLE, frozenset(GROUPS), **{**parts, **changes}, delegates=delegates)


STAGES = (
    Escalation(timedelta(minutes=5), group("platform"), page=True),
    Escalation(timedelta(minutes=15), Who(groups=frozenset({"directors"}), owner=True)),
)


def member(name: str) -> Person:
    return policy().resolve_person(f"U0{name.upper()}", kind=PersonKind.MEMBER)


def vote(asked: Policy, name: str, requester: str = "bob", **more: Any) -> Verdict:
    return asked.may_approve(member(name), KEY, requester, "C1", GROUPS, **{"now": NOW, **more})


# --- escalations ------------------------------------------------------------------------------------------------------


def test_each_escalation_adds_people_and_takes_none_away() -> None:
    asked = policy()
    able = [{name for name in NAMES if vote(asked, name, "slack:U0NOBODY", stage=stage)} for stage in range(4)]
    assert able == [{"alice"}, {"alice", "dave"}, {"alice", "carol", "dave"}, {"alice", "carol", "dave"}]
    assert [set(asked.eligible(KEY, GROUPS, stage=stage).people) for stage in range(4)] == able
    assert vote(asked, "dave", stage=1).because == "member of platform"
    assert vote(asked, "dave", stage=-1).code == "not-an-approver"
    assert "ask oncall, platform." in vote(asked, "carol", stage=1).because


def test_the_groups_of_escalations_are_read_too() -> None:
    assert policy(roles=()).needed_groups(KEY) == {"oncall", "platform", "directors"}
    verdict = policy().may_approve(member("dave"), KEY, "bob", "", {"oncall": frozenset()}, stage=1)
    assert verdict.code == "group-unknown"


def test_an_escalation_adds_to_roles_where_the_rule_names_nobody() -> None:
    asked = policy(
        rules=(ApprovalRule(1, escalation=STAGES),),
        roles=(Role("approvers", people("bob"), frozenset({Need.APPROVE}), channels=frozenset({"C1"})),),
    )
    assert [vote(asked, "bob", "carol", stage=stage).allowed for stage in (0, 1)] == [True, True]
    assert [vote(asked, "dave", "carol", stage=stage).allowed for stage in (0, 1)] == [False, True]
    assert asked.may_approve(member("dave"), KEY, "carol", "C2", GROUPS, stage=1)
    assert not asked.may_approve(member("bob"), KEY, "carol", "C2", GROUPS, stage=1)


# --- delegates --------------------------------------------------------------------------------------------------------

BOB_FOR_ALICE = Delegate("alice", "bob", UNTIL)


def test_a_delegate_may_approve_wherever_the_absent_one_may() -> None:
    asked = policy(BOB_FOR_ALICE)
    expected = Verdict(True, "delegate of alice until 2026-12-01", instead_of="alice")
    assert vote(asked, "bob", "carol") == expected
    assert vote(asked, "bob", "carol", now=UNTIL) == expected
    assert vote(asked, "bob", "carol", now=UNTIL + timedelta(microseconds=1)).code == "not-an-approver"
    assert vote(asked, "bob", "carol", now=None).code == "not-an-approver"
    assert asked.eligible(KEY, GROUPS, now=NOW).people == {"alice": "member of oncall", "bob": expected.because}
    assert set(asked.eligible(KEY, GROUPS).people) == {"alice"}


@pytest.mark.parametrize("requester", ["alice", "U1ALICE", "slack:T1/U0ALICE", "ALICE", "bob", "T9/U1BOB"])
def test_a_delegate_decides_on_no_request_of_the_absent_one_nor_of_their_own(requester: str) -> None:
    asked = policy(BOB_FOR_ALICE)
    assert not vote(asked, "bob", requester)
    assert "bob" not in asked.eligible(KEY, GROUPS, now=NOW, requester_id=requester).people
    assert vote(asked, "bob", "carol")


def test_there_are_no_delegates_of_delegates() -> None:
    asked = policy(BOB_FOR_ALICE, Delegate("bob", "carol", UNTIL))
    assert vote(asked, "carol", "dave").code == "not-an-approver"
    assert set(asked.eligible(KEY, GROUPS, now=NOW).people) == {"alice", "bob"}


def test_a_right_of_one_s_own_comes_first() -> None:
    asked = policy(BOB_FOR_ALICE, rules=(ApprovalRule(2, people("alice", "bob")),))
    assert vote(asked, "bob", "carol") == Verdict(True, "named in the settings")
    assert vote(asked, "bob", "alice") == Verdict(True, "named in the settings")
    assert vote(asked, "bob", "carol", taken=("alice",)).instead_of == ""


def test_a_delegate_of_two_votes_for_the_one_who_has_not() -> None:
    asked = policy(BOB_FOR_ALICE, Delegate("dave", "bob", UNTIL), rules=(ApprovalRule(2, people("alice", "dave")),))
    assert vote(asked, "bob", "carol").instead_of == "alice"
    assert vote(asked, "bob", "carol", taken=("U0ALICE",)).instead_of == "dave"
    refused = vote(asked, "bob", "carol", taken=("alice", "dave"))
    assert (refused.allowed, refused.code) == (False, "stood-in-already")
    assert "in place of alice" in refused.because


def test_the_hour_of_a_delegation_is_told_where_it_is_no_whole_day() -> None:
    until = datetime(2026, 12, 1, 15, 30, tzinfo=UTC)
    assert Delegate("alice", "bob", until).because == "delegate of alice until 2026-12-01 15:30 UTC"
    assert Delegate("alice", "bob", until.replace(hour=0, minute=0)).because == "delegate of alice until 2026-12-01"


def test_a_vote_and_its_delegate_s_are_one() -> None:
    alice, bob, carol = ("alice", ""), ("bob", "alice"), ("carol", "alice")
    assert counted([bob, alice]) == (False, True)
    assert counted([alice, bob]) == (True, False)
    assert counted([bob, carol]) == (True, False)
    assert counted([bob, ("dave", "")]) == (True, True)
    assert counted([alice, alice]) == (True, False)
    assert counted([bob, ("carol", "bob")]) == (True, False)
    assert counted([]) == ()


_votes = st.tuples(st.sampled_from(NAMES), st.sampled_from(("", *NAMES)))


@given(st.lists(_votes, max_size=8))
def test_nobody_is_behind_two_votes_that_count(votes: list[tuple[str, str]]) -> None:
    kept = [vote for vote, counts in zip(votes, counted(votes), strict=True) if counts]
    behind = [name for person, away in kept for name in {person, away} - {""}]
    assert len(set(behind)) == len(behind)
    present = {person for person, away in votes if not away}
    assert not present & {away for _, away in kept}


@given(st.lists(_votes, max_size=6, unique_by=lambda vote: vote[0]))
def test_one_more_vote_never_lowers_the_count(votes: list[tuple[str, str]]) -> None:
    counts = [sum(counted(votes[:length])) for length in range(len(votes) + 1)]
    assert counts == sorted(counts)
    own = {person for person, away in votes if not away}
    assert counts[-1] >= len(own)


# --- revoking ---------------------------------------------------------------------------------------------------------


def test_revoking_needs_another_person_whatever_is_declared() -> None:
    none = ApprovalRule(0, words=frozenset({"start"}))
    assert Policy().rule(KEY, "revoke") == ApprovalRule(1, expires=timedelta(minutes=30))
    assert Policy().rule(KEY, "start").expires == timedelta(hours=24)
    assert Policy(rules=(none,)).rule(KEY, "revoke").count == 1
    everywhere = ApprovalRule(0, people("bob"), timedelta(hours=2), signed=True)
    assert Policy(rules=(everywhere,)).rule(KEY, "revoke") == replace(everywhere, count=1)
    assert Policy(rules=(everywhere,)).rule(KEY, "start") is everywhere


# --- hopeless ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["start", "skip", "revoke"])
@pytest.mark.parametrize(
    ("approvers", "escalation", "starters", "hopeless", "late"),
    [
        (people("alice"), (), "bob", "", ""),
        (people("bob"), (), "bob", "approver besides the requester", ""),
        (group("empty"), (), "bob", "0 people may approve (empty has no members)", ""),
        (group("empty"), (people("alice"),), "bob", "", "only the escalation brings more"),
        (people("bob"), (people("alice"),), "bob", "", "only the escalation brings more"),
        (people("bob"), (people("bob"),), "bob", "approver besides the requester", ""),
        (group("empty"), (group("empty"), group("unseen")), "bob", "", "only the escalation brings more"),
        (people("alice"), (people("carol"),), "", "nobody may", ""),
    ],
)
def test_what_nobody_could_approve_is_told(
    word: str, approvers: Who, escalation: tuple[Who, ...], starters: str, hopeless: str, late: str
) -> None:
    stages = tuple(Escalation(timedelta(minutes=1 + number), who) for number, who in enumerate(escalation))
    asked = Policy(
        PEOPLE,
        frozenset({"empty", "unseen"}),
        (Role("starters", people(*starters.split()), frozenset({Need(word)})),),
        (ApprovalRule(1, approvers, escalation=stages),),
    )
    membership = {"empty": frozenset[str](), "unseen": None}
    why = asked.hopeless(KEY, membership, word)
    assert (hopeless in why, bool(why)) == (True, bool(hopeless))
    why = asked.late(KEY, membership, word)
    assert (late in why, bool(why)) == (True, bool(late))


def test_a_delegate_does_not_save_a_hopeless_rule() -> None:
    """Delegations end, so what rests on one alone is a mistake."""
    asked = policy(Delegate("alice", "bob", UNTIL), rules=(ApprovalRule(2, people("alice")),))
    assert "2 approvers and 1 people" in asked.hopeless(KEY, GROUPS)


# --- laws -------------------------------------------------------------------------------------------------------------

_some = st.frozensets(st.sampled_from(NAMES), max_size=3)
_teams = st.frozensets(st.sampled_from(("g1", "g2")), max_size=2)
_whos = st.builds(Who, people=_some, groups=_teams, owner=st.booleans(), everyone=st.booleans())
_narrow = st.builds(Who, people=_some, groups=_teams)
_stages = st.lists(_whos, max_size=3).map(
    lambda whos: tuple(Escalation(timedelta(minutes=1 + number), who) for number, who in enumerate(whos))
)
_rules = st.builds(ApprovalRule, count=st.integers(0, 3), who=_whos, escalation=_stages)
_delegates = st.builds(
    Delegate, st.sampled_from(NAMES), st.sampled_from(NAMES), st.sampled_from((NOW, UNTIL, NOW - timedelta(days=1)))
)
_members = st.dictionaries(
    st.sampled_from(("g1", "g2", "platform")),
    st.none() | _some | _some.map(lambda names: {f"U1{n.upper()}" for n in names}),
)
_spelled = st.sampled_from(
    ("{}", " {} ", "U0{u}", "T1/U1{u}", "slack:U0{u}", "slack:T7/U1{u}", "SLACK:t1/u0{l}", "u1{l}")
)
_worlds = st.builds(
    lambda rules, delegates: Policy(PEOPLE, frozenset({"g1", "g2", "platform"}), (), tuple(rules), tuple(delegates)),
    st.lists(_rules, min_size=1, max_size=2),
    st.lists(_delegates, max_size=4),
)


def spelled(form: str, name: str) -> str:
    return form.format(name, u=name.upper(), l=name)


@settings(max_examples=300, deadline=None)
@given(_worlds, _members, _spelled, _spelled, st.sampled_from(NAMES), st.integers(0, 3))
def test_never_the_requester_under_any_spelling_alias_or_delegation(
    asked: Policy, groups: Any, asking: str, voting: str, name: str, stage: int
) -> None:
    account = spelled(voting, name)
    account = f"U0{name.upper()}" if "U" not in account else account
    voter = asked.resolve_person(account.strip(), kind=PersonKind.MEMBER)
    requester = spelled(asking, name)
    assert asked.may_approve(voter, KEY, requester, "", groups, now=NOW, stage=stage).code == "own-request"
    assert name not in asked.eligible(KEY, groups, now=NOW, stage=stage, requester_id=requester).people
    for other in set(NAMES) - {name}:
        verdict = asked.may_approve(member(other), KEY, requester, "", groups, now=NOW, stage=stage)
        assert verdict.instead_of != name


@settings(max_examples=300, deadline=None)
@given(_worlds, _members, st.sampled_from(NAMES), st.integers(0, 3))
def test_later_stages_and_more_members_only_add(asked: Policy, groups: Any, requester: str, stage: int) -> None:
    more = {team: frozenset(members or ()) | {"alice"} for team, members in groups.items()}
    for name in NAMES:
        now = asked.may_approve(member(name), KEY, requester, "", groups, now=NOW, stage=stage)
        later = asked.may_approve(member(name), KEY, requester, "", groups, now=NOW, stage=stage + 1)
        grown = asked.may_approve(member(name), KEY, requester, "", more, now=NOW, stage=stage)
        assert later.allowed >= now.allowed
        assert grown.allowed >= now.allowed
    few, many = (set(asked.eligible(KEY, groups, now=NOW, stage=at).people) for at in (stage, stage + 1))
    assert few <= many


@settings(max_examples=300, deadline=None)
@given(_narrow, st.lists(_delegates, max_size=4), st.sampled_from(NAMES), _members)
def test_an_unknown_group_never_allows(who: Who, delegates: list[Delegate], name: str, groups: Any) -> None:
    """What is allowed while a group is unknown is allowed however it turns out to be."""
    asked = Policy(PEOPLE, frozenset({"g1", "g2"}), (), (ApprovalRule(1, who),), tuple(delegates))
    unseen = {**groups, "g1": None}
    verdict = asked.may_approve(member(name), KEY, "slack:U0NOBODY", "", unseen, now=NOW)
    for members in (frozenset[str](), frozenset({name}), frozenset(NAMES)):
        known = asked.may_approve(member(name), KEY, "slack:U0NOBODY", "", {**groups, "g1": members}, now=NOW)
        assert known.allowed >= verdict.allowed
    missing = {team: members for team, members in unseen.items() if team != "g1"}
    assert asked.may_approve(member(name), KEY, "slack:U0NOBODY", "", missing, now=NOW) == verdict


@settings(max_examples=300, deadline=None)
@given(_worlds, _members, st.sampled_from(NAMES), st.lists(st.sampled_from(NAMES), max_size=6))
def test_votes_that_count_are_of_distinct_people_with_rights_of_distinct_people(
    asked: Policy, groups: Any, requester: str, order: list[str]
) -> None:
    votes: list[tuple[str, str]] = []
    for name in order:
        taken = {one for vote in votes for one in vote if one}
        verdict = asked.may_approve(member(name), KEY, requester, "", groups, now=NOW, taken=taken)
        if verdict:
            votes.append((name, verdict.instead_of))
    kept = [vote for vote, counts in zip(votes, counted(votes), strict=True) if counts]
    assert len({person for person, _ in kept}) == len(kept)
    rights = {away or person for person, away in kept}
    assert len(rights) == len(kept)
    assert requester not in rights | {person for person, _ in kept}
    own = replace(asked, delegates=())
    for holder in rights:
        assert own.may_approve(member(holder), KEY, requester, "", groups)


@settings(max_examples=200, deadline=None)
@given(_worlds, _members, st.sampled_from(NAMES), st.sampled_from([kind for kind in PersonKind if kind != "member"]))
def test_only_members_vote_delegates_too(asked: Policy, groups: Any, name: str, kind: PersonKind) -> None:
    person = replace(member(name), kind=kind)
    assert not asked.may_approve(person, KEY, "slack:U0NOBODY", "", groups, now=NOW, stage=3)


def test_people_whom_settings_do_not_declare_have_one_id() -> None:
    asked = policy(rules=(ApprovalRule(1, group("oncall")),))
    groups = {"oncall": frozenset({"T1/U0NEW", "slack:U0OTHER", "u0alice"})}
    assert set(asked.eligible(KEY, groups).people) == {"slack:U0NEW", "slack:U0OTHER", "alice"}
