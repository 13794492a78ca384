"""Settings are read whole or refused with every mistake; tokens are never shown."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bot.core.errors import Invalid, Refused
from bot.core.policy import Need, PersonKind
from bot.settings import (
    VARIABLES,
    Bind,
    Environment,
    LogFormat,
    Settings,
    Transport,
    load_settings,
    read_environment,
    read_settings,
)

GOOD = """\
people:
  alice: {slack: [U0ALICE, T9/U0ALICE2], os: alice, name: Alice}
  bob: {slack: U0BOB}
  carol: {os: carol}
groups:
  sec-oncall: {slack: S0SEC}
  platform: {members: [alice, bob]}
channels: {default: C0OPS, security: C0SEC}
roles:
  operators: {who: [platform], may: [start, tick, advance, retry, skip, cancel, rollback], channels: [default]}
  watchers: {who: everyone, may: see}
policies:
  - {environments: [production], classes: [signing-key], approvers: 2, from: [sec-oncall, platform], expires: 4h}
  - {environments: [development], words: [start], approvers: 0}
  - {approvers: 1, from: [sec-oncall]}
  - {classes: [api-key], minimum_overlap: 7d, warn_before: 6h}
  - {minimum_overlap: 24h}
cadences:
  signing-key: {production: 7d, staging: 14d, development: 30d}
  api-key: 90d
credentials:
  - name: identity-signing
    environment: production
    class: signing-key
    owner: platform
    runbook: identity-es256
    inputs: {service: "http://127.0.0.1:9000", gateways: [gw1, gw2], population: apps}
  - name: billing-api-key
    environment: production
    class: api-key
    owner: alice
    runbook: identity-api-key
    channel: security
    cadence: 60d
    max_valid: 3
    inputs: {service: "http://127.0.0.1:9000", client: billing, population: apps, path: billing}
adapters:
  identity: {services: {"http://127.0.0.1:9000": {admin_token: "file:/run/secrets/admin-token"}}}
slack: {team: T0TEAM, edits_per_minute: 20}
"""


def read(text: str, folder: Path = Path()) -> Settings:
    return read_settings(text, Environment(), file="keyturn.yml", folder=folder)


def problems(text: str, folder: Path = Path()) -> list[str]:
    with pytest.raises(Invalid) as caught:
        read(text, folder)
    return list(caught.value.problems)


def test_good_settings_are_worked_out() -> None:
    found = read(GOOD)
    signing, billing = found.credentials
    assert (signing.kind, signing.cadence, signing.channel, signing.max_valid) == (
        "signing-key",
        timedelta(days=7),
        "C0OPS",
        2,
    )
    assert (billing.cadence, billing.channel, billing.max_valid) == (timedelta(days=60), "C0SEC", 3)
    assert billing.callers == ()
    assert read(swap("max_valid: 3", "callers: [default, C0SHOP, security]")).credentials[1].callers == (
        "C0OPS",
        "C0SHOP",
        "C0SEC",
    )
    assert (billing.minimum_overlap, billing.warn_before) == (timedelta(days=7), timedelta(hours=6))
    assert (signing.minimum_overlap, signing.warn_before) == (timedelta(hours=24), None)
    assert (signing.line, found.cadence_line("signing-key", "staging")) == (22, 19)
    assert found.members == {"sec-oncall": None, "platform": frozenset({"alice", "bob"})}
    assert found.groups_of_slack == {"sec-oncall": "S0SEC"}
    assert (found.declared.slack.edits_per_minute, found.declared.clock.rate) == (20, 1.0)
    assert set(found.runbooks) >= {"identity-es256", "identity-api-key"}
    assert found.config_hash.startswith("sha256:")
    assert found.config_hash != read(GOOD + "# a comment\n").config_hash


def test_the_policy_is_what_was_declared() -> None:
    found = read(GOOD)
    policy, (signing, billing) = found.policy, found.credentials
    alice = policy.resolve_person("slack:T1/U0ALICE2", kind=PersonKind.MEMBER)
    assert (alice.id, alice.os_user) == ("alice", "alice")
    assert policy.may(alice, Need.START, signing, "C0OPS", found.members)
    assert not policy.may(alice, Need.START, signing, "C0ELSE", found.members)
    assert (policy.rule(signing).count, policy.rule(signing).expires) == (2, timedelta(hours=4))
    assert policy.rule(billing).count == 1
    assert policy.may(policy.resolve_person("U0NEW", kind=PersonKind.MEMBER), Need.SEE, billing, "", {})


def swap(old: str, new: str) -> str:
    assert old in GOOD, old
    return GOOD.replace(old, new, 1)


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        (swap("people:", "poeple:"), 1, "did you mean people?"),
        (swap("slack: U0BOB", "slack: bob"), 3, "Slack member id"),
        (swap("slack: U0BOB", "slak: U0BOB"), 3, "did you mean slack?"),
        (swap("{slack: U0BOB}", "{name: Bob}"), 3, "give the person's accounts"),
        (swap("slack: U0BOB", "slack: U0ALICE"), 3, "already belongs to alice"),
        (swap("os: carol", "os: alice"), 4, "already belongs to alice"),
        (swap("  carol:", "  owner:"), 4, "a word of its own"),
        (swap("  carol:", "  Carol:"), 4, "small letters"),
        (swap("slack: S0SEC", "slack: C0SEC"), 6, "user group's id"),
        (swap("members: [alice, bob]", "members: [alcie, bob]"), 7, "did you mean alice?"),
        (swap("{members: [alice, bob]}", "{members: [alice], slack: S0X}"), 7, "either slack"),
        (swap("{members: [alice, bob]}", "{slack: S0SEC}"), 7, "already the group sec-oncall"),
        (swap("  platform:", "  alice:"), 7, "is a person already"),
        (swap("default: C0OPS", "default: general"), 8, "channel's id"),
        (swap("who: [platform]", "who: [platfrom]"), 10, "did you mean platform?"),
        (swap("may: [start", "may: [strat"), 10, "did you mean start?"),
        (swap("channels: [default]", "channels: [defualt]"), 10, "did you mean default?"),
        (swap("from: [sec-oncall, platform]", "from: [sec-onacll]"), 13, "did you mean sec-oncall?"),
        (
            swap("environments: [production], classes", "environments: [prodution], classes"),
            13,
            "did you mean production?",
        ),
        (swap("expires: 4h", "expires: 4"), 13, "duration with its unit"),
        (
            swap("[development], words: [start]", "[production], words: [start]"),
            14,
            "approvers: 0 is allowed for environments",
        ),
        (swap("[development], words: [start]", "[development]"), 14, "a second person"),
        (swap("[development], words: [start]", "[development], words: [start, skip]"), 14, "a second person"),
        (swap("production: 7d", "production: weekly"), 19, "write 7d"),
        (swap("production: 7d", "production: 1 month"), 19, "write 30d"),
        (swap("api-key: 90d", "api-key: 90"), 20, "not a duration"),
        (swap("name: identity-signing", "name: Identity Signing"), 22, "small letters"),
        (swap("name: identity-signing", "name: r-7"), 22, "reads like a rotation's id"),
        (swap("name: billing-api-key", "name: identity-signing"), 28, "stands twice, first in line 22"),
        (swap("owner: platform", "owner: platfrom"), 25, "did you mean platform?"),
        (swap("runbook: identity-es256", "runbook: identity-es265"), 26, "did you mean identity-es256?"),
        (swap("gateways: [gw1, gw2]", "gateways: gw1"), 27, "write a list of texts"),
        (swap(", population: apps}", "}"), 27, "'population' is missing"),
        (swap("population: apps}", "population: apps, popul: x}"), 27, "did you mean population?"),
        (swap('service: "http://127.0.0.1:9000"', "service: ftp://x"), 27, "http or https"),
        (swap("channel: security", "channel: securty"), 33, "did you mean security?"),
        (swap("max_valid: 3", "callers: [default, securty]"), 35, "did you mean security?"),
        (swap("max_valid: 3", 'callers: [""]'), 35, "'' is no channel"),
        (swap("max_valid: 3", "max_valid: 1"), 35, "greater than or equal to 2"),
        (swap("file:/run/secrets/admin-token", "xoxb-" + "1234567890-abcdefghij"), 38, "looks like a Slack token"),
        (swap("team: T0TEAM", "team: keyturn"), 39, "workspace's id"),
        (GOOD + "clock: {rate: 0}\n", 40, "greater than 0"),
        (GOOD + "runbooks: [nowhere]\n", 40, "is not a folder"),
        (GOOD + "people: {}\n", 40, "stands twice"),
        ("- a\n", 1, "the settings are a mapping"),
    ],
)
def test_mistakes_have_line_and_advice(text: str, line: int, said: str) -> None:
    found = problems(text)
    assert any(entry.startswith(f"keyturn.yml:{line}: ") and said in entry for entry in found), found


def test_every_mistake_is_named_at_once_and_none_is_invented() -> None:
    text = swap("slack: U0BOB", "slack: bob").replace("owner: platform", "owner: platfrom")
    text = text.replace("environment: production\n    class: signing-key", "class: signing-key").replace(
        "may: see", "may: look"
    )
    text = text.replace("population: apps, path", "populaton: apps, path").replace("rate:", "rat:")
    lines = sorted(int(entry.split(":")[1]) for entry in problems(text))
    assert lines == [3, 11, 22, 35, 35]


def test_a_rule_that_nobody_can_satisfy_is_a_mistake() -> None:
    alone = swap("approvers: 2, from: [sec-oncall, platform]", "approvers: 2, from: [platform]")
    assert any("besides the requester" in entry for entry in problems(alone))
    none = swap("may: [start, tick", "may: [tick")
    assert any("nobody may start it" in entry for entry in problems(none))
    few = swap("approvers: 2, from: [sec-oncall, platform]", "approvers: 3, from: [platform]")
    assert any("needs 3 approvers and 2 people may approve" in entry for entry in problems(few))


def test_own_runbooks_replace_the_shipped_ones_and_are_checked(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    body = "runbook: {}\nsummary: A runbook of our own.\nrollback_within: 1m\nsteps: [{{id: a, wait: 1s}}]\n"
    (folder / "identity-es256.yaml").write_text(body.format("identity-es256"))
    text = GOOD.replace(
        'inputs: {service: "http://127.0.0.1:9000", gateways: [gw1, gw2], population: apps}', "inputs: {}"
    )
    found = read(text + "runbooks: [mine]\n", tmp_path)
    assert found.runbooks["identity-es256"].runbook.summary == "A runbook of our own."
    (folder / "broken.yaml").write_text("runbook: broken\nstep: []\n")
    (folder / "late.yml").write_text("")
    said = problems(text + "runbooks: mine\n", tmp_path)
    assert any("broken.yaml:2: 'step' is not known here (did you mean steps?)" in entry for entry in said)
    assert any("late.yml:1: runbooks end in .yaml" in entry for entry in said)
    (folder / "broken.yaml").unlink()
    (folder / "late.yml").rename(folder / ".hidden.yml")
    assert "identity-es256" in read(text + "runbooks: mine\n", tmp_path).runbooks
    assert any("'' is not a folder (name a folder)" in entry for entry in problems(text + 'runbooks: ""\n', tmp_path))


def test_the_file_that_the_environment_names(tmp_path: Path) -> None:
    path = tmp_path / "conf.yml"
    with pytest.raises(Invalid, match=r"conf.yml is not there \(make one with `keyturn init`"):
        load_settings({"KEYTURN_CONFIG": str(path)})
    path.write_text(GOOD)
    assert len(load_settings({"KEYTURN_CONFIG": str(path)}).credentials) == 2
    path.write_bytes(b"people: \xff\n")
    with pytest.raises(Invalid, match="not UTF-8"):
        load_settings({"KEYTURN_CONFIG": str(path)})
    path.write_bytes(b"#" * 300_000)
    with pytest.raises(Invalid, match="larger than"):
        load_settings({"KEYTURN_CONFIG": str(path)})
    with pytest.raises(Invalid, match="cannot be read"):
        load_settings({"KEYTURN_CONFIG": str(tmp_path)})


def test_the_process_environment_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "KEYTURN_TRANSPORT", "http")
    assert read_environment({}).transport is Transport.SOCKET


def test_defaults() -> None:
    found = read_environment({"KEYTURN_LOG_LEVEL": "  "})
    assert found == Environment()
    assert (found.slack_api_url, found.database_url, found.http) == (
        "https://slack.com/api/",
        "sqlite:///keyturn.db",
        Bind("127.0.0.1", 8080),
    )


def test_given_variables() -> None:
    found = read_environment(
        {
            "SLACK_BOT_TOKEN": " xoxb-1 ",
            "SLACK_APP_TOKEN": "xapp-1",
            "SLACK_SIGNING_SECRET": "abc",
            "SLACK_API_URL": "http://127.0.0.1:9/api",
            "KEYTURN_DATABASE_URL": "postgresql+psycopg://u:p@h/d",
            "KEYTURN_CONFIG": "/etc/keyturn.yml",
            "KEYTURN_KEYS": "/var/keys",
            "KEYTURN_HTTP": "[::1]:0",
            "KEYTURN_TRANSPORT": "HTTP",
            "KEYTURN_LOG_LEVEL": "DEBUG",
            "KEYTURN_LOG_FORMAT": "json",
        }
    )
    assert found.bot_token is not None
    assert found.bot_token.reveal_text() == "xoxb-1"
    assert found.slack_api_url == "http://127.0.0.1:9/api/"
    assert (found.http, found.transport, found.log_level, found.log_format) == (
        Bind("::1", 0),
        Transport.HTTP,
        "debug",
        LogFormat.JSON,
    )
    assert (found.config, found.keys) == (Path("/etc/keyturn.yml"), Path("/var/keys"))
    found.require_slack()
    shown = repr(found)
    assert not any(secret in shown for secret in ("xoxb-1", "xapp-1", "abc", "u:p@"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SLACK_BOT_TOKEN", "xapp-planted-value"),
        ("SLACK_BOT_TOKEN", "xoxb-planted value"),
        ("SLACK_APP_TOKEN", "planted-value"),
        ("SLACK_SIGNING_SECRET", "planted value"),
        ("SLACK_API_URL", "http://slack.com/planted"),
        ("SLACK_API_URL", "planted"),
        ("SLACK_API_URL", "https://planted:value@slack.com/"),
        ("KEYTURN_DATABASE_URL", "mysql://planted:value@h/d"),
        ("KEYTURN_DATABASE_URL", "planted.db"),
        ("KEYTURN_HTTP", "planted"),
        ("KEYTURN_HTTP", "127.0.0.1:99999"),
        ("KEYTURN_HTTP", ":8080"),
        ("KEYTURN_TRANSPORT", "planted"),
        ("KEYTURN_LOG_LEVEL", "planted"),
        ("KEYTURN_LOG_FORMAT", "planted"),
    ],
)
def test_wrong_variables_are_named_and_not_shown(name: str, value: str) -> None:
    with pytest.raises(Invalid) as caught:
        read_environment({name: value})
    (problem,) = caught.value.problems
    assert problem.startswith(f"{name}: ")
    assert "planted" not in problem


def test_all_wrong_variables_at_once() -> None:
    with pytest.raises(Invalid) as caught:
        read_environment({"SLACK_BOT_TOKEN": "x", "KEYTURN_HTTP": "x", "KEYTURN_TRANSPORT": "x"})
    assert len(caught.value.problems) == 3


def test_a_misspelled_variable_is_told_and_those_of_a_cluster_are_left_alone() -> None:
    found = read_environment({"KEYTURN_DATABSE_URL": "x", "KEYTURN_PORT_8080_TCP": "x", "KEYTURN_SERVICE_HOST": "x"})
    assert found.warnings == ("KEYTURN_DATABSE_URL is not read; did you mean KEYTURN_DATABASE_URL?",)


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({}, "SLACK_BOT_TOKEN"),
        ({"SLACK_BOT_TOKEN": "xoxb-1"}, "SLACK_APP_TOKEN"),
        ({"SLACK_BOT_TOKEN": "xoxb-1", "KEYTURN_TRANSPORT": "http"}, "SLACK_SIGNING_SECRET"),
    ],
)
def test_a_missing_token_is_one_sentence_with_the_way_out(given: dict[str, str], missing: str) -> None:
    with pytest.raises(Refused) as caught:
        read_environment(given).require_slack()
    assert str(caught.value).startswith(f"{missing} is not set; put it into keyturn.env (made by `keyturn init`")
    assert caught.value.code == "missing-token"


def test_every_variable_is_described() -> None:
    assert all(VARIABLES.values())


_junk: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text("ab-7U", max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab-7U", max_size=4), inner, max_size=3),
    max_leaves=6,
)
_sections = st.sampled_from(
    [
        "people",
        "groups",
        "channels",
        "roles",
        "policies",
        "cadences",
        "credentials",
        "adapters",
        "runbooks",
        "clock",
        "slack",
        "x",
    ]
)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(_sections, _junk, max_size=4))
@example({"runbooks": ""})
def test_any_data_is_settings_or_invalid(data: dict[str, Any]) -> None:
    import json

    try:
        read(json.dumps(data))
    except Invalid as error:
        assert all(problem.startswith("keyturn.yml:") for problem in error.problems)  # noqa: PT017 - either is right
