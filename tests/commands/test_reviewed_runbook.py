"""Where policy wants a reviewed runbook, nothing starts by another one; an emergency does, and says so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from bot.app import Bot
from bot.catalog import Catalog
from bot.core.errors import Refused
from bot.core.plan import Plan, fact_lines, reviewed
from bot.core.rotation import State
from bot.linting import _lint_settings
from bot.settings import Settings, read_environment, read_settings
from tests.commands.conftest import RUNBOOK, SETTINGS, Desk
from tests.core.emergency import plan
from tests.core.reviewed import as_reviewed

EMERGENCY = """\
emergency:
  order: replace-first
  steps:
    - {id: swap, ask: "Is the new one in use?"}
"""
STRICT = SETTINGS.replace(
    "policies:\n", "policies:\n  - {environments: [production], reviewed_runbook: true}\n"
).replace("may: [see, start,", "may: [see, start, revoke,")
Open = Callable[..., Desk]


def settings_of(folder: Path, runbook: str, text: str = STRICT) -> Settings:
    (folder / "runbooks").mkdir(exist_ok=True)
    (folder / "runbooks" / "by-hand.yaml").write_text(runbook)
    environ = {"KEYTURN_DATABASE_URL": f"sqlite:///{folder / 'keyturn.db'}", "KEYTURN_KEYS": str(folder / "keys")}
    return read_settings(text, read_environment(environ), file="keyturn.yml", folder=folder)


@contextmanager
def running(settings: Settings) -> Iterator[Desk]:
    bot = Bot(settings, slack=False)
    bot.engine.start()
    try:
        yield Desk(bot)
    finally:
        bot.engine.stop()


@pytest.fixture
def open_desk(tmp_path: Path) -> Iterator[Open]:
    with ExitStack() as stack:
        yield lambda runbook, text=STRICT: stack.enter_context(running(settings_of(tmp_path, runbook, text)))


EDITED = as_reviewed(RUNBOOK).replace("rollback_within: 10m", "rollback_within: 11m")


@pytest.mark.parametrize(
    ("runbook", "said"),
    [
        (RUNBOOK, "nobody has reviewed it"),
        (as_reviewed(RUNBOOK, "platform"), "author and reviewer are both 'platform'"),
        (EDITED, "it has been changed since security reviewed it"),
    ],
)
def test_nothing_starts_by_a_runbook_that_only_its_author_has_read(open_desk: Open, runbook: str, said: str) -> None:
    desk = open_desk(runbook)
    for word in ('start door-key --reason "weekly"', "plan door-key"):
        with pytest.raises(Refused, match=said) as refused:
            desk.say("alice", word, confirmed=True, ticked=("notified",))
        assert refused.value.code == "unreviewed-runbook"
        assert "keyturn review" in str(refused.value)
    assert desk.say("alice", "plan shed-key").good  # staging is not production


def test_a_reviewed_one_starts_and_its_plan_names_both(open_desk: Open) -> None:
    desk = open_desk(as_reviewed(RUNBOOK, "bob"))
    desk.open()
    assert (desk.rotation().plan.author, desk.rotation().plan.reviewed_by) == ("platform", "bob")
    assert "The runbook was written by platform and reviewed by bob." in desk.say("alice", "plan shed-key").text


def test_the_author_is_known_under_every_name(open_desk: Open) -> None:
    desk = open_desk(as_reviewed(RUNBOOK.replace("author: platform", "author: carol"), "os:carol"))
    with pytest.raises(Refused, match="one person, 'carol' and 'os:carol'"):
        desk.open()


def test_an_emergency_goes_on_and_warns(open_desk: Open) -> None:
    desk = open_desk(RUNBOOK + EMERGENCY)
    seen = desk.say("alice", 'revoke door-key --reason "seen in a log"')
    assert seen.draft is not None
    (warned,) = seen.draft.warnings
    assert "policy wants a reviewed runbook in production" in warned
    desk.say("alice", 'revoke door-key --reason "seen in a log"', confirmed=True)
    assert (desk.rotation().state, desk.rotation().plan.reviewed_by) == (State.REQUESTED, "")


def test_without_that_policy_an_unreviewed_one_starts(open_desk: Open) -> None:
    desk = open_desk(RUNBOOK, SETTINGS)
    desk.open()
    assert desk.rotation().plan.reviewed_by == ""


def test_lint_says_it_ahead_at_the_credential_s_own_line(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, EDITED)
    found = [one for one in _lint_settings(settings, Catalog({}, lambda: None)) if one.rule == "unreviewed"]  # type: ignore[arg-type, return-value]
    (one,) = found
    assert (one.file, one.severity) == ("keyturn.yml", "error")
    assert "door-key" in STRICT.splitlines()[one.line - 1]
    assert "changed since security reviewed it" in one.message


def listing(*names: str) -> Plan:
    fact = {"value": list(names), "title": "Used by", "type": "list", "source": "s", "bound": "same", "at_most": None}
    return plan(facts={"used_by": fact})


def test_the_blast_radius_is_told_in_a_line() -> None:
    two = listing("deployment/jobs-manager", "deployment/requests-proxy")
    assert fact_lines(two) == ["Used by: deployment/jobs-manager, deployment/requests-proxy"]
    (many,) = fact_lines(listing(*(f"deployment/consumer-{i:02}" for i in range(50))))
    assert many.endswith("deployment/consumer-11 and 38 more, 50 in all")
    assert fact_lines(listing()) == ["Used by: nobody"]
    hidden = replace(two, facts={"x": {"value": "v1", "title": "", "type": "text"}})
    assert fact_lines(hidden) == []
    life = {"ttl": {"value": 7_776_000, "title": "Token life", "type": "duration"}}
    assert fact_lines(replace(two, facts=life)) == ["Token life: 90d"]
    assert reviewed(two) == "written by nobody knows whom and reviewed by nobody else"
