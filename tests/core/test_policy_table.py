"""Roles × rights × channels × kinds of people, and votes × words × stages × days: each against an oracle in SQL."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from bot.core.policy import ApprovalRule, Delegate, Escalation, Membership, Need, Person, PersonKind, Policy, Role, Who


@dataclass(frozen=True)
class Credential:
    name: str
    environment: str
    kind: str
    owner: str


def who(*names: str) -> Who:
    people = frozenset(name for name in names if name in PEOPLE)
    groups = frozenset(name for name in names if name in GROUPS)
    return Who(people, groups, "owner" in names, "everyone" in names)


DAY = datetime(2026, 12, 1, 12, tzinfo=UTC)
PEOPLE = {
    "ann": ("U0ANN", "U0ANN2"),
    "ben": ("U0BEN",),
    "cat": ("U0CAT",),
    "dan": ("U0DAN",),
    "fay": ("U0FAY",),
    "gus": ("U0GUS",),
    "slack:U0NEW": ("U0NEW",),
}
GROUPS = ("sec", "platform", "directors", "hidden", "empty")
KNOWN: Membership = {
    "sec": frozenset({"ben", "U0CAT"}),
    "platform": frozenset({"ann", "slack:T1/U0NEW"}),
    "directors": frozenset({"dan"}),
    "hidden": None,
    "empty": frozenset(),
}
BLIND: Membership = {"platform": frozenset({"ann"}), "sec": None}
ROLES = {  # name: (who, rights, environments, classes, channels)
    "operators": (("owner",), "start cancel advance", "", "", ""),
    "oncall": (("sec",), "revoke retry tick", "production", "", ""),
    "stagers": (("cat", "gus"), "start skip retry", "staging", "", "C1 C2"),
    "here": (("everyone",), "tick snooze", "", "", "C1"),
    "keys": (("dan",), "rollback repair record revoke", "", "signing", "C1 C2"),
    "approvers": (("platform", "fay"), "approve", "staging development", "", "C2"),
    "unseen": (("hidden", "ben"), "skip", "production", "token", ""),
}
RULES = (  # who, count, words, environments, classes, escalations
    (("sec",), 1, "revoke", "production", "", (("platform",), ("directors", "gus"))),
    (("sec", "fay"), 2, "start skip", "production", "signing", (("owner",),)),
    (("hidden", "dan"), 1, "start", "production", "token", (("everyone",),)),
    ((), 0, "start", "development", "", ()),
    (("owner",), 1, "", "staging", "signing", (("empty",), ("dan",))),
)
DELEGATES = (  # absent, stands in, days left
    ("ben", "gus", 2),
    ("gus", "fay", 2),
    ("cat", "dan", -2),
    ("ann", "dan", 2),
    ("ann", "slack:U0NEW", 2),
    ("dan", "ann", 2),
)
CREDENTIALS = (
    Credential("a", "production", "signing", "platform"),
    Credential("b", "production", "token", "dan"),
    Credential("c", "staging", "token", "cat"),
    Credential("d", "staging", "signing", "hidden"),
    Credential("e", "development", "token", "platform"),
)
CHANNELS = ("", "C1", "C2")
WORDS = ("start", "skip", "revoke")


def policy() -> Policy:
    return Policy(
        people=tuple(Person(name, slack_ids=frozenset(ids)) for name, ids in PEOPLE.items() if ":" not in name),
        groups=frozenset(GROUPS),
        roles=tuple(
            Role(name, who(*holders), frozenset(map(Need, may.split())), *(frozenset(part.split()) for part in places))
            for name, (holders, may, *places) in ROLES.items()
        ),
        rules=tuple(
            ApprovalRule(
                count,
                who(*holders),
                words=frozenset(words.split()),
                environments=frozenset(environments.split()),
                classes=frozenset(classes.split()),
                escalation=tuple(Escalation(timedelta(minutes=1 + i), who(*to)) for i, to in enumerate(further)),
            )
            for holders, count, words, environments, classes, further in RULES
        ),
        delegates=tuple(Delegate(away, here, DAY + timedelta(days=left)) for away, here, left in DELEGATES),
    )


# --- the oracle: the same declarations as rows, and questions to a database ------------------------------------------

SCHEMA = """
CREATE TABLE account(account PRIMARY KEY, person);
CREATE TABLE belongs(team, person);
CREATE TABLE secretive(team);
CREATE TABLE credential(name, environment, class, owner);
CREATE TABLE holder(part, stage, who);           -- part: a role's name, or the number of a rule
CREATE TABLE may(role, need);
CREATE TABLE place(part, what, value);           -- nothing said is everywhere
CREATE TABLE rule(number INTEGER, words);
CREATE TABLE delegate(absent, stands_in, ends);
CREATE VIEW meant(part, stage, cred, who) AS     -- the owner by name
    SELECT part, stage, c.name, CASE who WHEN 'owner' THEN c.owner ELSE who END FROM holder, credential c;
CREATE VIEW has(part, stage, cred, person) AS
    SELECT part, stage, cred, person FROM meant JOIN belongs ON team = who
    UNION SELECT part, stage, cred, person FROM meant JOIN account ON person = who
    UNION SELECT part, stage, cred, person FROM meant, account WHERE who = 'everyone';
CREATE VIEW doubtful(part, stage, cred) AS SELECT part, stage, cred FROM meant JOIN secretive ON team = who;
CREATE VIEW fitting(part, cred) AS
    SELECT p.part, c.name FROM (SELECT DISTINCT role part FROM may UNION SELECT number FROM rule) p, credential c
    WHERE c.environment IN (SELECT value FROM place WHERE part = p.part AND what = 'environment'
                            UNION SELECT c.environment WHERE NOT EXISTS
                                (SELECT 1 FROM place WHERE part = p.part AND what = 'environment'))
      AND c.class IN (SELECT value FROM place WHERE part = p.part AND what = 'class'
                      UNION SELECT c.class WHERE NOT EXISTS
                          (SELECT 1 FROM place WHERE part = p.part AND what = 'class'));
CREATE TABLE asked(word);
INSERT INTO asked VALUES ('start'), ('skip'), ('revoke');
CREATE VIEW holds(word, cred, part) AS           -- the first rule that fits
    SELECT word, cred, MIN(number) FROM asked, rule JOIN fitting ON part = number
    WHERE words = '' OR instr(' ' || words || ' ', ' ' || word || ' ') GROUP BY word, cred;
CREATE VIEW source(need, word, cred, part, stage) AS   -- where a right comes from
    SELECT need, '', cred, role, 0 FROM may JOIN fitting ON part = role
    UNION SELECT 'approve', word, cred, part, stage FROM holds JOIN holder USING (part)
    UNION SELECT 'approve', word, cred, role, 0 FROM asked, may JOIN fitting f ON f.part = role WHERE need = 'approve'
        AND NOT EXISTS (SELECT 1 FROM holds h JOIN holder USING (part)
                        WHERE h.word = asked.word AND h.cred = f.cred AND stage = 0);
"""


def database(groups: Membership) -> sqlite3.Connection:
    rows = sqlite3.connect(":memory:")
    rows.executescript(SCHEMA)
    put = rows.executemany
    put("INSERT INTO account VALUES (?, ?)", ((one, name) for name, ids in PEOPLE.items() for one in ids))
    named = {spelled: name for name, ids in PEOPLE.items() for one in ids for spelled in (name, one, f"slack:T1/{one}")}
    put(
        "INSERT INTO belongs VALUES (?, ?)",
        ((team, named[one]) for team in GROUPS for one in groups.get(team) or ()),
    )
    put("INSERT INTO secretive VALUES (?)", ((team,) for team in GROUPS if groups.get(team) is None))
    put("INSERT INTO credential VALUES (?, ?, ?, ?)", ((c.name, c.environment, c.kind, c.owner) for c in CREDENTIALS))
    for name, (holders, may, environments, classes, channels) in ROLES.items():
        put("INSERT INTO holder VALUES (?, 0, ?)", ((name, one) for one in holders))
        put("INSERT INTO may VALUES (?, ?)", ((name, need) for need in may.split()))
        for what, text in (("environment", environments), ("class", classes), ("channel", channels)):
            put("INSERT INTO place VALUES (?, ?, ?)", ((name, what, value) for value in text.split()))
    for number, (holders, _, words, environments, classes, further) in enumerate(RULES):
        put("INSERT INTO rule VALUES (?, ?)", [(number, words)])
        for stage, listed in enumerate((holders, *further)):
            put("INSERT INTO holder VALUES (?, ?, ?)", ((number, stage, one) for one in listed))
        for what, text in (("environment", environments), ("class", classes)):
            put("INSERT INTO place VALUES (?, ?, ?)", ((number, what, value) for value in text.split()))
    put("INSERT INTO delegate VALUES (?, ?, ?)", DELEGATES)
    rows.execute("INSERT INTO may VALUES ('everybody', 'see')")
    rows.execute("INSERT INTO holder VALUES ('everybody', 0, 'everyone')")
    rows.execute("CREATE TABLE source_now AS SELECT DISTINCT * FROM source")
    rows.execute("CREATE TABLE has_now AS SELECT DISTINCT * FROM has")
    return rows


HEARD = """s.part IN (SELECT part FROM place WHERE what = 'channel' AND value = :channel)
           OR NOT EXISTS (SELECT 1 FROM place WHERE what = 'channel' AND part = s.part)"""
SOURCES = f"""FROM source_now s JOIN {{0}} h ON h.part = s.part AND h.stage = s.stage AND h.cred = s.cred
              WHERE s.need = :need AND s.word = :word AND s.cred = :cred AND s.stage <= :stage AND ({HEARD})"""
HOLDERS, DOUBTS = SOURCES.format("has_now"), SOURCES.format("doubtful")


def who_may(rows: sqlite3.Connection, **cell: object) -> tuple[set[str], bool]:
    """Everybody who has a right for certain, and whether more may have it."""
    wanted = {"stage": 0, "word": "", **cell}
    people = {name for (name,) in rows.execute(f"SELECT DISTINCT h.person {HOLDERS}", wanted)}
    return people, rows.execute(f"SELECT 1 {DOUBTS} LIMIT 1", wanted).fetchone() is not None


def stand_ins(rows: sqlite3.Connection, asker: str, days: int, **cell: object) -> set[tuple[str, str]]:
    """Who may vote in place of whom."""
    return set(
        rows.execute(
            f"SELECT stands_in, absent FROM delegate WHERE absent IN (SELECT h.person {HOLDERS}) "
            "AND ends >= :days AND absent <> :asker AND stands_in <> :asker",
            {**cell, "asker": asker, "days": days},
        )
    )


@pytest.fixture(params=[KNOWN, BLIND], ids=["known", "blind"])
def membership(request: pytest.FixtureRequest) -> Membership:
    found: Membership = request.param
    return found


def everyone() -> Iterator[tuple[str, str]]:
    for name, ids in PEOPLE.items():
        yield from ((name, one) for one in ids)


def test_every_right_of_everybody_everywhere(membership: Membership) -> None:
    asked, rows = policy(), database(membership)
    cells = allowed = 0
    for credential, channel, need in itertools.product(CREDENTIALS, CHANNELS, set(Need) - {Need.APPROVE}):
        certain, doubt = who_may(rows, need=need.value, cred=credential.name, channel=channel)
        for (name, account), kind in itertools.product(everyone(), PersonKind):
            verdict = asked.may(asked.resolve_person(account, kind=kind), need, credential, channel, membership)
            expected = "allowed" if name in certain else "group-unknown" if doubt else "not-allowed"
            if kind is not PersonKind.MEMBER:
                expected = f"kind-{kind.value}"
            assert verdict.code == expected, (credential, channel, need, account, kind, verdict)
            assert verdict.allowed == (expected == "allowed")
            cells, allowed = cells + 1, allowed + verdict.allowed
    assert (cells, 100 < allowed < cells // 3) == (9360, True)


def test_every_vote_on_every_word_at_every_stage(membership: Membership) -> None:
    asked, rows = policy(), database(membership)
    cells = allowed = delegated = 0
    for credential, channel, word, stage in itertools.product(CREDENTIALS, ("", "C2"), WORDS, range(4)):
        cell = {"need": "approve", "word": word, "cred": credential.name, "channel": channel, "stage": stage}
        certain, doubt = who_may(rows, **cell)
        for asker, days in itertools.product(("ann", "ben", "dan", "gus"), (None, 0, 1)):
            instead = stand_ins(rows, asker, days, **cell) if days is not None else set()
            now = None if days is None else DAY + timedelta(days=days)
            for (name, account), kind in itertools.product(everyone(), (PersonKind.MEMBER, PersonKind.GUEST)):
                person = asked.resolve_person(account, kind=kind)
                verdict = asked.may_approve(
                    person, credential, PEOPLE[asker][-1], channel, membership, word, now=now, stage=stage
                )
                absent = {away for here, away in instead if here == name}
                expected = "allowed" if name in certain or absent else "group-unknown" if doubt else "not-an-approver"
                if kind is not PersonKind.MEMBER:
                    expected = "kind-guest"
                if name == asker:
                    expected = "own-request"
                assert verdict.code == expected, (cell, asker, days, account, kind, verdict)
                in_place = verdict.allowed and name not in certain
                assert verdict.instead_of in (absent if in_place else {""})
                cells, allowed, delegated = cells + 1, allowed + verdict.allowed, delegated + in_place
    assert (cells, 1000 < allowed < cells // 2) == (23040, True)
    assert delegated > 100


def test_the_list_of_eligible_people_is_who_may_vote(membership: Membership) -> None:
    asked, rows = policy(), database(membership)
    for credential, word, stage, asker in itertools.product(CREDENTIALS, WORDS, range(4), PEOPLE):
        found = asked.eligible(credential, membership, word, now=DAY, stage=stage, requester_id=asker)
        voters, doubt, open_to_all = set(), False, False
        for channel in CHANNELS:
            cell = {"need": "approve", "word": word, "cred": credential.name, "channel": channel, "stage": stage}
            certain, unsure = who_may(rows, **cell)
            voters |= (certain - {asker}) | {here for here, _ in stand_ins(rows, asker, 0, **cell)}
            doubt = doubt or unsure
            open_to_all = open_to_all or certain == set(PEOPLE)
        assert bool(found.unknown) == doubt
        assert set(found.people) <= voters
        assert found.everyone == open_to_all
        if not found.everyone:
            assert set(found.people) == voters


def test_the_groups_to_read_are_enough(membership: Membership) -> None:
    """Without the groups that it does not name, every answer is the same."""
    asked = policy()
    for credential, word, (_, account) in itertools.product(CREDENTIALS, WORDS, everyone()):
        needed = {name: membership.get(name) for name in asked.needed_groups(credential)}
        person = asked.resolve_person(account, kind=PersonKind.MEMBER)
        for stage in range(3):
            ask = partial(asked.may_approve, person, credential, "gus", "", word=word, stage=stage)
            assert ask(membership) == ask(needed)
        for need in Need:
            assert asked.may(person, need, credential, "C1", membership) == asked.may(
                person, need, credential, "C1", needed
            )
