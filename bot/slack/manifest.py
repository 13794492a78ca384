"""The app's manifests for Socket Mode and for HTTP, and the page that explains its scopes, all made from one table."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import yaml

from bot.slack.methods import EVENTS, SCOPES, STEPS, Parameter

Mode = Literal["socket", "http"]
FILES: dict[Mode, str] = {"socket": "manifest.yml", "http": "manifest-http.yml"}
SCOPES_PAGE = "docs/slack-scopes.md"
EVENTS_PATH = "/slack/events"
EXAMPLE = "https://keyturn.example.com"

_LONG = (
    "keyturn follows a runbook step by step: it asks the right people, waits as long as it must, proves that the new "
    "credential works and that nobody uses the old one any more, retires it, and writes everything down in an audit "
    "that cannot be changed unnoticed. Type /rotate to begin. Secrets are never typed into Slack and never shown here."
)


def manifest(mode: Mode, url: str = EXAMPLE) -> dict[str, Any]:
    """The manifest as data; `url` is the public address of the bot, used in HTTP mode only."""
    request_url = url.rstrip("/") + EVENTS_PATH
    command: dict[str, Any] = {
        "command": "/rotate",
        "description": "Rotate a credential by its runbook",
        "usage_hint": "start <credential> | status | approve R-7 | help",
        "should_escape": True,
    }
    interactivity: dict[str, Any] = {"is_enabled": True}
    events: dict[str, Any] = {"bot_events": list(EVENTS)}
    if mode == "http":
        command["url"] = request_url
        interactivity |= {"request_url": request_url, "message_menu_options_url": request_url}
        events = {"request_url": request_url, **events}
    return {
        "_metadata": {"major_version": 2, "minor_version": 1},
        "display_information": {
            "name": "keyturn",
            "description": "Rotates credentials by runbook, with a second person and an audit",
            "long_description": _LONG,
            "background_color": "#1f2937",
        },
        "features": {
            "app_home": {
                "home_tab_enabled": True,
                "messages_tab_enabled": True,
                "messages_tab_read_only_enabled": True,
            },
            "bot_user": {"display_name": "keyturn", "always_online": True},
            "slash_commands": [command],
        },
        "oauth_config": {
            "scopes": {
                "bot": [scope.name for scope in SCOPES if not scope.optional],
                "bot_optional": [scope.name for scope in SCOPES if scope.optional],
            }
        },
        "settings": {
            "interactivity": interactivity,
            "event_subscriptions": events,
            "socket_mode_enabled": mode == "socket",
            "org_deploy_enabled": True,
            "token_rotation_enabled": False,
            "function_runtime": "remote",
        },
        "functions": {
            step.name: {
                "title": step.title,
                "description": step.description,
                "input_parameters": _parameters(step.takes),
                "output_parameters": _parameters(step.gives),
            }
            for step in STEPS
        },
    }


def _parameters(parameters: tuple[Parameter, ...]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for one in parameters:
        made[one.name] = {
            "type": one.type,
            "title": one.title,
            "description": one.description,
            "is_required": one.required,
        }
        if one.choices:
            typed = {"query": {"value": "{{client.query}}"}}
            made[one.name]["dynamic_options"] = {"function": f"#/functions/{one.choices}", "inputs": typed}
    return made


def render(mode: Mode, url: str = EXAMPLE) -> str:
    """The manifest as YAML, for Slack's "Create an app from a manifest"."""
    kind = "Socket Mode: no public address is needed" if mode == "socket" else "HTTP: put the bot's own address in"
    told = f"# The keyturn app for {kind}. Made from bot/slack/methods.py; docs/slack-scopes.md has the reasons.\n"
    return told + yaml.dump(manifest(mode, url), Dumper=_Indented, sort_keys=False, width=110, allow_unicode=True)


class _Indented(yaml.SafeDumper):
    """Lists stand further to the right than what they belong to, as people write them."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def scopes_page() -> str:
    """The page that says why each scope is asked for, and what is missing without it."""
    lines = [
        "# Why keyturn asks for each scope",
        "",
        "Made from the table in `bot/slack/methods.py`, as both manifests are. Scopes marked optional can be declined",
        "when the app is installed; keyturn then goes on with the note in the last column. The app-level token needs",
        "`connections:write` for Socket Mode and nothing else.",
        "",
        "| Scope | Needed | Why | Without it |",
        "|---|---|---|---|",
    ]
    for scope in SCOPES:
        need = "optional" if scope.optional else "yes"
        lines.append(f"| `{scope.name}` | {need} | {scope.why} | {scope.without or 'keyturn does not start.'} |")
    return "\n".join([*lines, ""])


def write(root: Path) -> None:
    """Write both manifests and the page into a checkout."""
    for mode, name in FILES.items():
        (root / name).write_text(render(mode), encoding="utf-8")
    page = root / SCOPES_PAGE
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(scopes_page(), encoding="utf-8")
