"""Manifests, the scopes page and the table of methods say the same, and the code calls nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from bot.slack.manifest import FILES, SCOPES_PAGE, Mode, manifest, render, scopes_page
from bot.slack.methods import EVENTS, METHODS, SCOPES, STEPS, missing
from playground.workspace.contract import METHODS as CONTRACT

ROOT = Path(__file__).parents[2]
CALL = re.compile(r"""\b_?call\((?:\s*row,\s*incident,)?\s*["']([a-z]+(?:\.[a-zA-Z]+)+)["']""")
DIRECT = re.compile(r"\.(?:chat|views|users|usergroups|conversations|auth|pins|reactions|files|bookmarks)_[a-zA-Z_]+\(")


@pytest.mark.parametrize("mode", FILES)
def test_the_manifest_at_the_root_is_the_table(mode: Mode) -> None:
    assert (ROOT / FILES[mode]).read_text(encoding="utf-8") == render(mode), "run bot.slack.manifest.write(root)"
    assert yaml.safe_load(render(mode)) == manifest(mode)


def test_the_page_about_scopes_is_the_table() -> None:
    assert (ROOT / SCOPES_PAGE).read_text(encoding="utf-8") == scopes_page()
    assert all(f"`{scope.name}`" in scopes_page() and scope.why in scopes_page() for scope in SCOPES)


def test_slacks_own_limits_of_a_manifest() -> None:
    for mode in FILES:
        made = manifest(mode)
        display = made["display_information"]
        assert len(display["name"]) <= 35
        assert len(display["description"]) <= 140
        assert 174 <= len(display["long_description"]) <= 4000
        command = made["features"]["slash_commands"][0]
        assert len(command["command"]) <= 32
        assert len(command["usage_hint"]) <= 1000


def test_http_has_request_urls_and_socket_mode_has_none() -> None:
    assert "url:" not in render("socket")
    assert manifest("socket")["settings"]["socket_mode_enabled"]
    made = manifest("http", "https://bot.example/")
    url = "https://bot.example/slack/events"
    assert made["features"]["slash_commands"][0]["url"] == url
    assert made["settings"]["interactivity"] == {
        "is_enabled": True,
        "request_url": url,
        "message_menu_options_url": url,
    }
    assert made["settings"]["event_subscriptions"]["request_url"] == url
    assert not made["settings"]["socket_mode_enabled"]


def called() -> set[str]:
    found: set[str] = set()
    for path in (ROOT / "bot" / "slack").glob("*.py"):
        text = path.read_text(encoding="utf-8")
        found |= set(CALL.findall(text))
        assert not DIRECT.search(text), f"{path.name} goes around the seam"
    return found


def test_every_method_that_the_code_calls_is_in_the_table_and_no_other() -> None:
    assert called() == set(METHODS)


def test_every_method_has_a_declared_scope_that_opens_it() -> None:
    declared = {scope.name for scope in SCOPES}
    for name, method in METHODS.items():
        row = CONTRACT[name]
        assert row.json or not method.json, f"{name} does not take JSON"
        assert set(method.scopes) <= declared
        assert not row.scopes or set(row.scopes) & set(method.scopes), f"{name} needs one of {row.scopes}"


def test_no_scope_is_asked_for_in_vain() -> None:
    used = {scope for method in METHODS.values() for scope in method.scopes}
    indirectly = {"commands", "app_mentions:read", "chat:write.public"}
    assert {scope.name for scope in SCOPES} == used | indirectly
    assert set(EVENTS) == {"app_home_opened", "app_mention", "function_executed", "subteam_members_changed"}


def test_missing_scopes_are_named_with_what_is_lost() -> None:
    granted = frozenset(scope.name for scope in SCOPES) - {"channels:join"}
    assert [scope.name for scope in missing(granted)] == ["channels:join"]
    assert "Invite" in missing(granted)[0].without


def test_every_step_of_workflows_has_a_listener_and_choices_that_exist() -> None:
    source = (ROOT / "bot" / "slack" / "workflows.py").read_text(encoding="utf-8")
    names = {step.name for step in STEPS}
    assert names == set(re.findall(r'app\.function\("([a-z_]+)", auto_acknowledge=False\)', source))
    made = manifest("socket")
    assert made["settings"]["function_runtime"] == "remote"
    assert made["settings"]["org_deploy_enabled"]
    for step in STEPS:
        assert made["functions"][step.name]["input_parameters"].keys() == {one.name for one in step.takes}
        assert {one.choices for one in step.takes} <= names | {""}
        assert all(len(text) <= 255 for text in (step.title, step.description))
