"""Escalations, delegates, windows, freezes, signers and incidents in the settings: read, or refused with advice."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bot.core.errors import Invalid
from bot.core.incident_rules import Errand, Incidents
from bot.core.policy import Escalation, Who
from bot.settings import Environment, Settings, read_settings

GOOD = """\
people:
  alice: {slack: U0ALICE}
  bob: {slack: U0BOB}
  carol: {os: carol}
groups:
  sec-oncall: {slack: S0SEC}
  platform: {members: [alice, bob]}
  nobody: {members: []}
roles:
  operators: {who: [platform], may: [start, skip, revoke]}
policies:
  - environments: [production]
    words: [revoke]
    from: [sec-oncall]
    remind: 5m
    signature: required
    private: true
    break_glass: 1h
    escalate:
      - {after: 5m, to: platform, page: true}
      - {after: 15m, to: [carol, owner]}
  - {words: [skip], from: [carol], expires: 2h}
  - {from: [sec-oncall, carol]}
delegates:
  - {for: alice, to: bob, until: 2026-12-01}
windows:
  - {name: nights, environments: [production], days: [fri, sat], from: "22:00", to: "04:00", timezone: Europe/Berlin}
  - {name: lunch, classes: token}
freezes:
  - {name: year end, environments: production, from: 2026-12-20, to: 2027-01-03, timezone: Europe/Berlin, reason: away}
  - {name: move, from: 2026-12-05 18:00, to: "2026-12-05T22:30:00+01:00"}
signers: keys/allowed_signers
incidents:
  channel_prefix: sec_1
  invite: [sec-oncall, carol, owner]
  nudge: 10m
  ticket: {do: github.open_issue, with: {repository: acme/ops, labels: [credential-rotation]}}
  page: {do: pagerduty.trigger}
credentials:
  - name: signing
    environment: production
    class: signing-key
    owner: platform
    runbook: identity-es256
    inputs: {service: "http://127.0.0.1:9000", gateways: [gw1], population: apps}
"""
NOW = datetime(2026, 11, 20, tzinfo=UTC)


def read(text: str, folder: Path = Path()) -> Settings:
    return read_settings(text, Environment(), file="keyturn.yml", folder=folder)


def problems(text: str) -> list[str]:
    with pytest.raises(Invalid) as caught:
        read(text)
    return list(caught.value.problems)


def swap(old: str, new: str) -> str:
    assert old in GOOD, old
    return GOOD.replace(old, new, 1)


def runbooks(address: str) -> str:
    return swap("nudge: 10m", f'nudge: 10m\n  runbooks: "{address}"')


def test_an_approval_rule_is_what_was_declared() -> None:
    found = read(GOOD)
    (signing,) = found.credentials
    rule = found.policy.rule(signing, "revoke")
    assert (rule.count, rule.expires, rule.remind) == (1, timedelta(minutes=30), timedelta(minutes=5))
    assert (rule.signed, rule.private, rule.break_glass) == (True, True, timedelta(hours=1))
    assert rule.escalation == (
        Escalation(timedelta(minutes=5), Who(groups=frozenset({"platform"})), page=True),
        Escalation(timedelta(minutes=15), Who(people=frozenset({"carol"}), owner=True)),
    )
    plain = found.policy.rule(signing, "start")
    assert (plain.expires, plain.signed, plain.remind, plain.break_glass) == (timedelta(hours=24), False, None, None)
    assert found.policy.rule(signing, "skip").expires == timedelta(hours=2)


@pytest.mark.parametrize(
    "entry",
    [
        "{expires: 1h}",
        "{remind: 1h}",
        "{signature: required}",
        "{private: true}",
        "{break_glass: 1h}",
        "{escalate: {after: 1h, to: carol}}",
    ],
)
def test_whatever_an_entry_says_of_approvals_makes_it_a_rule(entry: str) -> None:
    entry = entry.replace("{after: 1h, to: carol}", "[{after: 1h, to: carol}]")
    text = swap("policies:\n", f"policies:\n  - {entry}\n").replace("may: [start", "may: [approve, start")
    found = read(text)
    rule = found.policy.rule(found.credentials[0], "start")
    assert rule is found.policy.rules[0]
    assert (rule.count, bool(rule.who)) == (1, False)
    assert len(read(swap("policies:\n", "policies:\n  - {minimum_overlap: 1h}\n")).policy.rules) == 3


def test_a_delegate_stands_in_to_the_end_of_the_last_day() -> None:
    (delegate,) = read(GOOD).policy.delegates
    assert delegate.because == "delegate of alice until 2026-12-01"
    assert delegate.holds(datetime(2026, 12, 1, 23, 59, 59, tzinfo=UTC))
    assert not delegate.holds(datetime(2026, 12, 2, tzinfo=UTC))
    (until_noon,) = read(swap("until: 2026-12-01", "until: 2026-12-01 12:00+01:00")).policy.delegates
    assert until_noon.until == datetime(2026, 12, 1, 11, tzinfo=UTC)


def test_windows_and_freezes_are_a_calendar() -> None:
    calendar = read(GOOD).calendar
    nights, lunch = calendar.windows
    assert (nights.name, nights.days, nights.zone.key) == ("nights", frozenset({4, 5}), "Europe/Berlin")
    assert (nights.opens.hour, nights.closes.hour, nights.environments) == (22, 4, frozenset({"production"}))
    assert (lunch.opens, lunch.closes, lunch.days, lunch.zone.key) == (
        lunch.closes,
        lunch.opens,
        frozenset(range(7)),
        "UTC",
    )
    year_end, move = calendar.freezes
    assert (year_end.start, year_end.end) == (
        datetime(2026, 12, 19, 23, tzinfo=UTC),
        datetime(2027, 1, 3, 23, tzinfo=UTC),
    )
    assert (year_end.reason, year_end.environments) == ("away", frozenset({"production"}))
    assert (move.start, move.end) == (datetime(2026, 12, 5, 18, tzinfo=UTC), datetime(2026, 12, 5, 21, 30, tzinfo=UTC))


def test_signers_lie_beside_the_file(tmp_path: Path) -> None:
    assert read(GOOD, tmp_path).signers == tmp_path / "keys" / "allowed_signers"
    assert read(swap("keys/allowed_signers", "/etc/signers"), tmp_path).signers == Path("/etc/signers")


def test_incidents_are_what_was_declared() -> None:
    found = read(GOOD).incidents
    assert found == Incidents(
        prefix="sec_1",
        invite=("sec-oncall", "carol", "owner"),
        nudge=timedelta(minutes=10),
        ticket=Errand("github.open_issue", {"repository": "acme/ops", "labels": ["credential-rotation"]}),
        page=Errand("pagerduty.trigger"),
    )
    bare = read("people: {alice: {os: alice}}\n")
    assert (bare.incidents, bare.signers, bare.calendar.windows) == (Incidents(), None, ())


@pytest.mark.parametrize(
    ("written", "address"),
    [
        ("https://git.example.com/docs/{runbook}.md", "https://git.example.com/docs/identity-es256.md"),
        ("http://127.0.0.1:8080/wiki?page={runbook}#top", "http://127.0.0.1:8080/wiki?page=identity-es256#top"),
        ("https://[::1]/{runbook}/{runbook}.yaml", "https://[::1]/identity-es256/identity-es256.yaml"),
    ],
)
def test_runbooks_are_read_where_the_settings_say(written: str, address: str) -> None:
    found = read(runbooks(written)).incidents
    assert found.address_of("identity-es256") == address
    assert found.address_of("a/../b?c") == address.replace("identity-es256", "a%2F..%2Fb%3Fc")
    assert Incidents().address_of("identity-es256") == ""


def test_errands_are_compared_with_what_adapters_offer() -> None:
    found = read(GOOD)
    assert found.errand_problems({"github.open_issue", "pagerduty.trigger"}) == ()
    assert tuple(map(str, found.errand_problems({"github.open_isue", "pagerduty.trigger"}))) == (
        "keyturn.yml:37: no adapter offers 'github.open_issue' (did you mean github.open_isue?)",
    )


PAGE = "  page: {do: pagerduty.trigger}\n"
SIGNERS = "signers: keys/allowed_signers\n"


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        (swap("from: [sec-oncall]", "from: [sec-oncall]\n    approvers: 0"), 15, "revoking need a second person"),
        (swap("after: 15m", "after: 5m"), 21, "each escalation comes later"),
        (swap("after: 15m", "after: 30m"), 21, "the request has expired by then"),
        (swap("after: 5m", "after: 0s"), 20, "longer than 0s"),
        (swap("after: 5m, to: platform", "to: platform"), 20, "'after' is missing"),
        (swap("after: 5m, to: platform", "after: 5m, to: platfrom"), 20, "did you mean platform?"),
        (swap("to: platform, page", "to: [], page"), 20, "must not be empty"),
        (swap("remind: 5m", "remind: 30m"), 15, "remind earlier"),
        (swap("remind: 5m", "remind: 5"), 15, "duration with its unit"),
        (swap("signature: required", "signature: requird"), 16, "did you mean required?"),
        (swap("signature: required", "signature: yes"), 16, "must be one of required, optional"),
        (swap("private: true", "private: perhaps"), 17, "private"),
        (swap("break_glass: 1h", "break_glass: 2d"), 18, "at most 24h"),
        (swap("break_glass: 1h", "break_glas: 1h"), 18, "did you mean break_glass?"),
        (swap(PAGE, ""), 20, "there is nothing to page with (add incidents: {page: {do: ...}})"),
        (swap(SIGNERS, ""), 16, "no keys are known to check signatures with"),
        (swap(SIGNERS, ""), 18, "breaking the glass takes a signature"),
        (swap("words: [revoke]", "words: [start]"), 17, "private is for the word revoke"),
        (swap("words: [revoke]", "words: [start]"), 18, "break_glass is for the word revoke"),
        (swap("expires: 2h", "expires: 0s"), 22, "longer than 0s"),
        (swap("for: alice", "for: alcie"), 25, "did you mean alice?"),
        (swap("for: alice", "for: platform"), 25, "'platform' is not among the people (name a person)"),
        (swap("to: bob", "to: everyone"), 25, "'everyone' is not among the people (name a person)"),
        (swap("to: bob", "to: alice"), 25, "alice cannot stand in for themselves"),
        (swap("until: 2026-12-01", "until: tomorrow"), 25, "write a date such as 2026-12-20"),
        (swap("until: 2026-12-01", "until: 2026-02-30"), 25, "there is no such day"),
        (swap("until: 2026-12-01", "until: 9999-12-31"), 25, "between 2000 and 2199"),
        (swap(", until: 2026-12-01", ""), 25, "'until' is missing"),
        (swap("days: [fri,", "days: [friday,"), 27, "must be one of mon, tue"),
        (swap('from: "22:00"', 'from: "24:00"'), 27, "write an hour such as 09:30"),
        (swap('to: "04:00"', "to: 4"), 27, "put quotes"),
        (swap('to: "04:00"', 'to: "4:00"'), 27, "24:00 is the end of the day"),
        (
            swap("timezone: Europe/Berlin}\n  - {name: lunch", "timezone: Berlin}\n  - {name: lunch"),
            27,
            "Europe/Berlin",
        ),
        (swap("timezone: Europe/Berlin}\n  - {name: lunch", "timezone: Europe}\n  - {name: lunch"), 27, "no time zone"),
        (swap("timezone: Europe/Berlin}\n  - {name: lunch", "timezone: ../etc}\n  - {name: lunch"), 27, "no time zone"),
        (
            swap("nights, environments: [production]", "nights, environments: [prodution]"),
            27,
            "did you mean production?",
        ),
        (swap("lunch, classes: token", "lunch, class: token"), 28, "did you mean classes?"),
        (swap("classes: token", "classes: signing-kye"), 28, "did you mean signing-key?"),
        (swap("to: 2027-01-03", "to: 2026-12-19"), 30, "year end ends before it begins"),
        (swap("environments: production", "environments: prodution"), 30, "did you mean production?"),
        (swap("from: 2026-12-05 18:00", "from: 2026-12-05 25:00"), 31, "there is no such day or hour"),
        (swap("T22:30:00+01:00", "T19:00:00+01:00"), 31, "move ends before it begins"),
        (swap("signers: keys/allowed_signers", 'signers: ""'), 32, "too short"),
        (swap("sec_1", "Sec-1"), 34, "up to 20 small letters"),
        (swap("invite: [sec-oncall", "invite: [sec-onacll"), 35, "did you mean sec-oncall?"),
        (swap("invite: [sec-oncall", "invite: [everyone"), 35, "a channel cannot be made for everyone"),
        (swap("nudge: 10m", "nudge: 0s"), 36, "longer than 0s"),
        (swap("do: github.open_issue", "do: open an issue"), 37, "word such as github.open_issue"),
        (swap("do: pagerduty.trigger", "od: pagerduty.trigger"), 38, "'do' is missing"),
        (
            swap("labels: [credential-rotation]", "token: xoxb-" + "1234567890-abcdefghij"),
            37,
            "looks like a Slack token",
        ),
        (runbooks("https://git.example.com/docs/"), 37, "with {runbook} for the name, such as https://"),
        (runbooks("git.example.com/{runbook}.md"), 37, "write an http or https address"),
        (runbooks("ftp://git.example.com/{runbook}.md"), 37, "write an http or https address"),
        (runbooks("javascript://git.example.com/{runbook}"), 37, "write an http or https address"),
        (runbooks("https://{runbook}.example.com/"), 37, "write an http or https address"),
        (runbooks("https:///{runbook}.md"), 37, "write an http or https address"),
        (runbooks("https://bob:pass@git.example.com/{runbook}.md"), 37, "write an http or https address"),
        (runbooks("https://git.example.com/{name}/{runbook}.md"), 37, "write an http or https address"),
        (runbooks("https://git.example.com/my docs/{runbook}.md"), 37, "write an http or https address"),
        (runbooks("https://git.example.com/" + "x" * 500 + "/{runbook}.md"), 37, "runbooks: "),
        (swap("nudge: 10m", "nudge: 10m\n  runbook: x"), 37, "did you mean runbooks?"),
    ],
)
def test_mistakes_have_line_and_advice(text: str, line: int, said: str) -> None:
    found = problems(text)
    assert any(entry.startswith(f"keyturn.yml:{line}: ") and said in entry for entry in found), found


def test_a_mistake_in_one_section_makes_none_in_another() -> None:
    text = (
        swap("keys/allowed_signers", "[1]").replace("pagerduty.trigger", "Pager Duty").replace("nudge: 10m", "nudge: x")
    )
    text = text.replace("until: 2026-12-01", "until: x").replace("days: [fri, sat]", "days: []")
    text = text.replace("from: 2026-12-05 18:00", "from: x")
    assert sorted(int(entry.split(":")[1]) for entry in problems(text)) == [25, 27, 31, 32, 36, 38]


@pytest.mark.parametrize("word", ["start", "skip", "revoke"])
def test_an_empty_group_approves_nothing(word: str) -> None:
    text = swap("policies:\n", f"policies:\n  - {{words: [{word}], from: [nobody]}}\n")
    (found,) = problems(text)
    assert f"signing (production): {word} needs 1 approver and 0 people may approve (nobody has no members)" in found
    assert found.startswith("keyturn.yml:41: ")


@pytest.mark.parametrize("word", ["start", "skip", "revoke"])
def test_the_only_requester_cannot_be_the_only_approver(word: str) -> None:
    text = swap("policies:\n", f"policies:\n  - {{words: [{word}], from: [bob]}}\n")
    text = text.replace("who: [platform]", "who: [bob]")
    (found,) = problems(text)
    assert f"{word} needs 1 approver besides the requester" in found


def test_what_only_an_escalation_brings_is_a_warning() -> None:
    rule = "  - {words: [revoke], from: [nobody], escalate: [{after: 5m, to: carol}]}\n"
    found = read(swap("policies:\n", "policies:\n" + rule))
    (warning,) = map(str, found.warnings(NOW))
    assert warning.startswith("keyturn.yml:41: signing (production): revoke needs 1 approver and 0 people may approve")
    assert "only the escalation brings more" in warning


def test_a_credential_that_nobody_may_revoke_is_a_warning() -> None:
    other = "operators: {who: [platform], may: [start, skip]}\n  far: {who: platform, may: revoke, environments: [lab]}"
    (warning,) = map(str, read(swap("operators: {who: [platform], may: [start, skip, revoke]}", other)).warnings(NOW))
    assert "signing (production): nobody may revoke it (give a role `may: revoke`)" in warning
    assert read(swap("skip, revoke]", "skip]")).warnings(NOW) == ()


def test_what_is_over_is_a_warning_and_no_mistake() -> None:
    found = read(GOOD)
    assert found.warnings(NOW) == ()
    assert tuple(map(str, found.warnings(datetime(2026, 12, 2, tzinfo=UTC)))) == (
        "keyturn.yml:25: bob stood in for alice until 2026-12-01, which is over (remove the entry)",
    )
    later = tuple(map(str, found.warnings(datetime(2028, 1, 1, tzinfo=UTC))))
    assert [int(warning.split(":")[1]) for warning in later] == [25, 30, 31]
    assert "the freeze year end ended on 2027-01-03" in later[1]


_junk: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(("a", "1h", "2026-12-01", "24:00", "UTC", "mon")),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(("for", "to", "until", "after", "do", "with", "page", "name", "from")), inner)
    ),
    max_leaves=6,
)
_keys = st.sampled_from(("escalate", "remind", "signature", "break_glass", "private", "expires", "approvers"))
_sections = st.sampled_from(("delegates", "windows", "freezes", "signers", "incidents"))


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(_sections, _junk, max_size=4), st.dictionaries(_keys, _junk, max_size=3))
def test_any_data_is_settings_or_invalid(data: dict[str, Any], rule: dict[str, Any]) -> None:
    import json

    try:
        found = read(json.dumps({**data, "policies": [rule]}))
    except Invalid as error:
        assert all(problem.startswith("keyturn.yml:") for problem in error.problems)  # noqa: PT017 - either is right
    else:
        found.warnings(NOW)
