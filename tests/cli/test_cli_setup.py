"""`keyturn init` and `keyturn doctor`, against a workspace and a small estate."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bot.catalog import Catalog
from bot.core.policy import PersonKind
from bot.keys import make_keys, open_keys
from bot.settings import load_settings
from bot.setup.doctor import look
from bot.setup.findings import Finding, State
from bot.slack import manifest
from bot.slack.credential_forms import buttons
from playground.estate import Estate
from playground.installation import settings_of, text_of
from playground.workspace.workspace import Workspace
from tests.cli.conftest import ROOT, Installation
from tests.ssh import Key, need_ssh_keygen


@pytest.fixture(scope="module")
def estate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Estate]:
    with Estate.start(directory=tmp_path_factory.mktemp("estate")) as started:
        yield started


@pytest.fixture
def workspace() -> Iterator[Workspace]:
    with Workspace.start(manifest=ROOT / "manifest.yml", rate_factor=0) as opened:
        yield opened


@pytest.fixture
def environ(workspace: Workspace, estate: Estate, tmp_path: Path, sqlite_url: str) -> dict[str, str]:
    """The variables of a complete installation."""
    (tmp_path / "keyturn.yml").write_text(text_of(settings_of(estate)))
    make_keys(tmp_path / "keys")
    return workspace.environment() | {
        "KEYTURN_CONFIG": str(tmp_path / "keyturn.yml"),
        "KEYTURN_DATABASE_URL": sqlite_url,
        "KEYTURN_KEYS": str(tmp_path / "keys"),
    }


def change(environ: Mapping[str, str], estate: Estate, **sections: Any) -> None:
    Path(environ["KEYTURN_CONFIG"]).write_text(text_of(settings_of(estate, **sections)))


def problems(environ: Mapping[str, str]) -> list[Finding]:
    return [finding for finding in look(environ) if finding.state is State.WRONG]


def only(environ: Mapping[str, str]) -> Finding:
    found = problems(environ)
    assert len(found) == 1, found
    assert found[0].advice
    return found[0]


# --- rights -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shipped", ["init", "playground"])
def test_who_gets_a_reminder_may_do_what_it_offers(shipped: str, estate: Estate, tmp_path: Path) -> None:
    """Its owner, a person or a group, and the groups that hear when nobody acts, or where nobody owns it."""
    file = tmp_path / "keyturn.yml"
    example = (ROOT / "bot" / "setup" / "keyturn.yml").read_text()
    file.write_text(example if shipped == "init" else text_of(settings_of(estate)))
    settings = load_settings({"KEYTURN_CONFIG": str(file)})
    policy, rules, commands = settings.policy, settings.reminders, Catalog({}, dict).commands()
    offered = [one["action_id"].removeprefix("credential:") for one in buttons("key", "production")["elements"]]
    assert len(offered) == 4
    needs = {commands["own" if word == "not-mine" else word].need for word in (*offered, "record")}
    somebody = policy.resolve_person("slack:U0SOMEBODY", kind=PersonKind.MEMBER)
    for credential in settings.credentials:
        called = {*rules.route, *(name for stage in rules.stages(credential) for name in stage.to)} & policy.groups
        assert called, "no group is called"
        hear = [(somebody.id, ""), *((group, group) for group in policy.groups), *(("", group) for group in called)]
        for owner, group in hear:
            members = {name: frozenset({somebody.id} if name == group else ()) for name in policy.groups}
            given = replace(credential, owner=owner)
            refused = {need for need in needs if not policy.may(somebody, need, given, "", members).allowed}
            assert not refused, (credential.name, owner, group)


# --- init -------------------------------------------------------------------------------------------------------------


def test_init_makes_an_installation_that_loads(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    done = Installation(tmp_path).keyturn("init", "new")
    assert done.returncode == 0, done.stderr
    for number in range(1, 11):
        assert f"\n{number:2}. " in done.stdout
    settings = load_settings({"KEYTURN_CONFIG": str(folder / "keyturn.yml")})
    assert [entry.name for entry in settings.credentials] == ["identity-signing"]
    assert stat.S_IMODE((folder / "keys").stat().st_mode) == 0o700
    for name in ("keys/audit-signing.pem", "keyturn.env"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600
    assert open_keys(folder / "keys").public
    assert (folder / "manifest.yml").read_text() == manifest.render("socket")
    assert (folder / "manifest-http.yml").read_text() == manifest.render("http")
    assert Installation(folder).keyturn("lint").returncode == 0


# --- doctor -----------------------------------------------------------------------------------------------------------


def test_a_complete_installation_is_in_order(environ: dict[str, str], workspace: Workspace) -> None:
    found = list(look(environ))
    assert not [finding for finding in found if finding.state in (State.WRONG, State.SKIPPED)], found
    steps = ["settings", "keys", "database", "tokens", "scopes", "clock", "socket", "groups", "channels", "people"]
    assert [step for step in dict.fromkeys(finding.step for finding in found) if step in steps] == steps
    assert {"identity", "jwks", "gateways", "clients", "secret_files"} <= {finding.step for finding in found}
    reads = {"auth.test", "apps.connections.open", "usergroups.users.list", "conversations.history", "users.info"}
    assert {call.method for call in workspace.calls} == reads


def test_the_doctor_for_machines(environ: dict[str, str], tmp_path: Path) -> None:
    here = Installation(tmp_path, environ)
    done = here.keyturn("doctor", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["good"] is True
    here.variables["SLACK_BOT_TOKEN"] = "xoxb-000000000000-nobody"
    done = here.keyturn("doctor")
    assert done.returncode == 1
    assert "does not accept SLACK_BOT_TOKEN (invalid_auth)" in done.stdout
    assert "→ Copy the Bot User OAuth Token" in done.stdout
    assert "1 problem found; 6 could not be looked at." in done.stdout
    assert "xoxb-" not in done.stdout.replace("(xoxb-…)", "") + done.stderr


def test_scopes_that_are_missing(environ: dict[str, str], workspace: Workspace) -> None:
    lost = {"chat:write", "usergroups:read", "channels:history", "groups:history"}
    workspace.state.app = replace(workspace.state.app, scopes=workspace.state.app.scopes - lost)
    found = list(look(environ))
    wrong = {finding.text.partition(" ")[0] for finding in found if finding.state is State.WRONG}
    assert wrong == {"chat:write", "usergroups:read"}
    noted = {finding.text.partition(" ")[0] for finding in found if finding.state is State.NOTE} & lost
    assert noted == {"channels:history", "groups:history"}
    assert [finding.step for finding in found if finding.state is State.SKIPPED] == ["groups"]
    assert all("Reinstall" in finding.advice for finding in found if finding.state is State.WRONG)


def test_an_app_token_of_the_wrong_kind(environ: dict[str, str]) -> None:
    environ["SLACK_APP_TOKEN"] = "xapp-1-A0NOBODY-000000000000-aaaa"
    found = only(environ)
    assert found.step == "socket"
    assert "connections:write" in found.advice


def test_a_missing_app_token(environ: dict[str, str]) -> None:
    del environ["SLACK_APP_TOKEN"]
    assert "SLACK_APP_TOKEN is not set" in only(environ).text


def test_another_workspace(environ: dict[str, str], estate: Estate) -> None:
    change(environ, estate, slack={"team": "T0OTHER"})
    assert "T0KEYTURN" in only(environ).text


def test_slack_is_away(environ: dict[str, str]) -> None:
    environ["SLACK_API_URL"] = "http://127.0.0.1:1/api/"
    found = only(environ)
    assert (found.step, "did not answer" in found.text) == ("tokens", True)


def test_groups_channels_and_people_that_are_not_right(environ: dict[str, str], estate: Estate) -> None:
    plain = settings_of(estate)
    change(
        environ,
        estate,
        groups=plain["groups"] | {"nobody": {"slack": "S0NOBODY"}},
        channels=plain["channels"] | {"audit": "C0AUDIT", "old": "C0GONE"},
        people=plain["people"] | {"otto": {"slack": "U0OTTO"}, "gus": {"slack": "U0GUS"}, "nn": {"slack": "U0NN"}},
    )
    found = list(look(environ))
    told = [f"{finding.step}: {finding.text}" for finding in found if finding.state is State.WRONG]
    assert told == [
        "groups: nobody (S0NOBODY): no_such_subteam",
        "channels: old (C0GONE): channel_not_found",
        "people: otto (U0OTTO) is deactivated",
        "people: gus (U0GUS) is a guest",
        "people: nn (U0NN) is not known to Slack",
    ]
    assert any("audit (C0AUDIT): keyturn is not a member, and may post" in finding.text for finding in found)


def test_a_channel_where_the_bot_may_not_post(environ: dict[str, str], workspace: Workspace, estate: Estate) -> None:
    workspace.state.app = replace(workspace.state.app, scopes=workspace.state.app.scopes - {"chat:write.public"})
    change(environ, estate, channels={"default": "C0AUDIT"})
    found = only(environ)
    assert "/invite @keyturn" in found.advice


def test_the_database_is_behind(environ: dict[str, str], tmp_path: Path) -> None:
    environ["KEYTURN_DATABASE_URL"] = f"sqlite:///{tmp_path}/empty.db"
    found = only(environ)
    assert (found.step, found.advice) == ("database", "Run `keyturn migrate`.")


def test_the_key_lies_open(environ: dict[str, str]) -> None:
    path = Path(environ["KEYTURN_KEYS"]) / "audit-signing.pem"
    path.chmod(0o644)
    assert only(environ).advice == f"Run: chmod 600 {path}"


def test_an_adapter_without_rights_or_address(environ: dict[str, str], estate: Estate, tmp_path: Path) -> None:
    (tmp_path / "wrong-token").write_text("not-the-admin")
    adapters = settings_of(estate)["adapters"]
    services = {estate.identity.address: {"admin_token": f"file:{tmp_path}/wrong-token"}}
    change(environ, estate, adapters=adapters | {"identity": {"services": services}})
    found = only(environ)
    assert found.step == "identity"
    assert "lacks" in found.text
    change(environ, estate, adapters={name: part for name, part in adapters.items() if name != "identity"})
    assert only(environ).step == "identity"


def test_a_file_of_signers_is_read_line_by_line(environ: dict[str, str], estate: Estate, tmp_path: Path) -> None:
    need_ssh_keygen()
    file = Path(environ["KEYTURN_CONFIG"]).parent / "allowed_signers"
    key = Key.make(tmp_path, "alice").path.with_suffix(".pub").read_text()
    file.write_text(f"alice {key}")
    file.chmod(0o644)
    change(environ, estate, signers="allowed_signers")
    assert [finding.state for finding in look(environ) if finding.step == "signers"] == [State.GOOD]
    file.write_text(f"* {key}")
    assert "*" in only(environ).text
    file.write_text(f"alice {key}")
    file.chmod(0o666)
    assert "Others may write" in only(environ).text


def test_settings_with_mistakes_are_told_and_the_rest_is_skipped(environ: dict[str, str], estate: Estate) -> None:
    change(environ, estate, polices=[])
    found = list(look(environ))
    assert [finding.step for finding in found if finding.state is State.WRONG] == ["settings"]
    assert [finding.step for finding in found if finding.state is State.SKIPPED] == [
        "keys",
        "signers",
        "database",
        "slack",
        "adapters",
    ]
