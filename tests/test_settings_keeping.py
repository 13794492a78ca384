"""What settings say of reminders, discoveries and automatic rotations, and every mistake with its advice."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest

from bot.catalog import Catalog
from bot.core.lint import Severity
from bot.linting import _lint_settings
from tests.test_settings import GOOD, problems, read

DAY = timedelta(days=1)
GOOD_KEEPING = """\
reminders:
  tiers: [{before: [60d, 7d], classes: [api-key]}]
  hours: {from: "08:30", to: "24:00", days: [mon, sat], timezone: Europe/Berlin}
  escalate: [{within: 2d, to: [channel, security]}, {within: 0s, to: [alice], environments: [production]}]
  again: 3d
  unowned: [platform, channel]
  digest: false
discovery: [{find: identity.api_keys, environment: production, with: {service: x}, owner: alice, every: 12h}]
"""
FIRST = GOOD.count("\n")


def test_what_is_said_is_gone_by() -> None:
    found = read(GOOD.replace("carol: {os: carol}", "carol: {os: carol, timezone: Asia/Tokyo}") + GOOD_KEEPING)
    rules = found.reminders
    signing, billing = found.credentials
    assert rules.before(billing) == (60 * DAY, 7 * DAY)
    assert rules.before(signing) == (30 * DAY, 14 * DAY, 7 * DAY, 3 * DAY, DAY)
    assert [(stage.within, stage.to) for stage in rules.stages(signing)] == [
        (2 * DAY, ("channel", "security")),
        (timedelta(0), ("alice",)),
    ]
    assert (rules.opens, rules.closes, rules.days) == (time(8, 30), time(0), frozenset({0, 5}))
    assert (rules.zone, rules.zones["carol"]) == (ZoneInfo("Europe/Berlin"), ZoneInfo("Asia/Tokyo"))
    assert (rules.route, rules.digest, rules.again) == (("platform", "channel"), False, 3 * DAY)
    (find,) = found.finds
    assert (find.word, find.environment, find.owner, find.every) == (
        "identity.api_keys",
        "production",
        "alice",
        timedelta(hours=12),
    )


def test_where_nothing_is_said_policies_and_the_pager_say_who_is_called() -> None:
    """Owner, channel, group, pager; and what nobody owns goes to the team and then to on-call."""
    policies = "  - {environments: [production], words: [revoke], from: [sec-oncall], expires: 30m}\n"
    text = GOOD.replace("policies:\n", f"policies:\n{policies}")
    assert text != GOOD
    page = "incidents: {page: {do: pagerduty.trigger, with: {integration: on-call}}}\n"
    for more, paged in (("", False), (page, True)):
        found = read(text + more)
        rules = found.reminders
        assert [(stage.within, stage.to, stage.page) for stage in rules.stages(found.credentials[0])] == [
            (7 * DAY, ("channel",), False),
            (3 * DAY, ("sec-oncall",), False),
            (DAY, ("channel", "sec-oncall"), paged),
            (DAY, ("channel",), False),
        ]
        assert rules.route == ("channel", "sec-oncall")
    assert read(GOOD).reminders.route == ("channel",)


def test_a_route_that_ends_with_a_channel_is_a_warning() -> None:
    for route, warned in (("[channel]", True), ("[channel, sec-oncall]", False), ("[alice]", False)):
        found = read(f"{GOOD}reminders: {{unowned: {route}}}\n").warnings(datetime.now(UTC))
        assert any("nobody is on call" in one.message for one in found) is warned, route


def test_a_tier_that_never_comes_is_pointed_out() -> None:
    found = read(GOOD + GOOD_KEEPING)
    (problem,) = found.idle_tiers()
    assert str(problem).startswith(f"keyturn.yml:{FIRST + 2}: 60d never comes for api-key, whose cadence is 60d")
    told = [one for one in _lint_settings(found, Catalog({}, lambda: None)) if one.rule == "reminders"]  # type: ignore[arg-type, return-value]
    assert [(one.line, one.severity) for one in told] == [(FIRST + 2, Severity.WARNING)]
    short = GOOD_KEEPING.replace("60d, 7d", "29d, 7d")
    assert read(GOOD + short).idle_tiers() == ()


MISTAKES = [
    ("reminder: {}", 1, "did you mean reminders?"),
    ("reminders: {teirs: []}", 1, "did you mean tiers?"),
    ("reminders: {tiers: [{before: []}]}", 1, "must not be empty"),
    ("reminders: {tiers: [{before: [30]}]}", 1, "duration with its unit"),
    ("reminders: {tiers: [{before: [0s]}]}", 1, "longer than 0s"),
    ("reminders: {tiers: [{before: 30d}]}", 1, "list"),
    ("reminders: {hours: {from: 9}}", 1, "put quotes around it"),
    ('reminders: {hours: {from: "25:00"}}', 1, "09:30"),
    ('reminders: {hours: {to: "24:30"}}', 1, "24:00"),
    ("reminders: {hours: {days: [monday]}}", 1, "mon"),
    ("reminders: {hours: {days: []}}", 1, "must not be empty"),
    ("reminders: {hours: {timezone: Berlin}}", 1, "Europe/Berlin"),
    ("reminders: {escalate: [{within: 1d}]}", 1, "say who hears of it"),
    ("reminders: {escalate: [{to: [alice]}]}", 1, "'within' is missing"),
    ("reminders: {escalate: [{within: 1d, to: [alcie]}]}", 1, "did you mean alice?"),
    ("reminders: {escalate: [{within: 1d, page: true}]}", 1, "nothing to page with"),
    ("reminders: {again: 6h}", 1, "once a day at most"),
    ("reminders: {unowned: []}", 1, "must not be empty"),
    ("reminders: {unowned: [platfrom]}", 1, "did you mean platform?"),
    ("discovery: [{environment: production}]", 1, "'find' is missing"),
    ("discovery: [{find: identity.api_keys}]", 1, "'environment' is missing"),
    ("discovery: [{find: keys, environment: production}]", 1, "github.open_issue"),
    ("discovery: [{find: identity.api_keys, environment: Production}]", 1, "small letters"),
    ("discovery: [{find: identity.api_keys, environment: production, every: 0s}]", 1, "longer than 0s"),
    ("discovery: [{find: identity.api_keys, environment: production, owner: alcie}]", 1, "did you mean alice?"),
    (
        "discovery:\n  - {find: a.b, environment: production}\n  - {find: a.b, environment: production}",
        2,
        "two discoveries are called a.b@production",
    ),
]


@pytest.mark.parametrize(("text", "line", "said"), MISTAKES, ids=[text[:60] for text, _, _ in MISTAKES])
def test_mistakes_have_line_and_advice(text: str, line: int, said: str) -> None:
    found = problems(f"{GOOD}{text}\n")
    assert any(one.startswith(f"keyturn.yml:{FIRST + line}: ") and said in one for one in found), found


def test_hours_that_end_before_they_begin_are_a_night() -> None:
    found = read(GOOD + 'reminders: {hours: {from: "22:00", to: "06:00"}}\n')
    assert (found.reminders.opens, found.reminders.closes) == (time(22), time(6))


def test_asking_ahead_for_what_starts_by_nobody_is_a_mistake() -> None:
    text = GOOD.replace("{classes: [api-key], minimum_overlap: 7d,", "{classes: [api-key], ask_ahead: 2d,")
    assert any("starts nothing" in one and "automatic: true" in one for one in problems(text))


def test_a_discovery_that_no_adapter_offers_is_named() -> None:
    found = read(GOOD + "discovery: [{find: identity.api_keyz, environment: production}]\n")
    from bot.catalog import Catalog

    def no_secrets() -> object:
        raise AssertionError("describing needs no secrets")

    (problem,) = found.idle_discoveries(Catalog({}, no_secrets))  # type: ignore[arg-type]
    assert "no adapter discovers 'identity.api_keyz'" in str(problem)
    assert "identity.api_keys" in str(problem)
