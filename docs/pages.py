"""Writes the pages that are made from declarations (`make docs`). A test keeps them current."""

from __future__ import annotations

import ast
import importlib
import inspect
import tempfile
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from typer.main import get_command

from bot.__main__ import app
from bot.catalog import Catalog
from bot.contracts.adapter import Operation
from bot.core.lint import RULES
from bot.core.policy import Need
from bot.core.runbook import (
    AskStep,
    ByHand,
    CheckStep,
    Condition,
    Cost,
    DoStep,
    Emergency,
    Expect,
    FactSource,
    QuietStep,
    Reviewed,
    Runbook,
    StepBase,
    Trouble,
    WaitStep,
    Watch,
)
from bot.core.runbook_file import load
from bot.core.runbook_input import Input
from bot.engine.secrets import SecretDoor
from bot.health import Figures
from bot.linting import shipped_files
from bot.settings import VARIABLES, declared, fields, keeping_entries
from bot.slack import manifest
from bot.store.database import Database
from docs.runbook_pages import page_path, runbook_page

ROOT = Path(__file__).parent.parent
MADE = "<!-- Made by `make docs` from the declarations in {}; change those. -->\n"

_SECTIONS: Sequence[tuple[str, type[BaseModel]]] = (
    ("people.NAME", declared.PersonEntry),
    ("groups.NAME", declared.GroupEntry),
    ("roles.NAME", declared.RoleEntry),
    ("policies[]", declared.PolicyEntry),
    ("policies[].escalate[]", declared.EscalationEntry),
    ("delegates[]", declared.DelegateEntry),
    ("windows[]", declared.WindowEntry),
    ("freezes[]", declared.FreezeEntry),
    ("incidents", declared.IncidentsEntry),
    ("incidents.ticket, incidents.page", declared.ErrandEntry),
    ("credentials[]", declared.CredentialEntry),
    ("credentials[].alarm", declared.AlarmEntry),
    ("reminders", keeping_entries.RemindersEntry),
    ("reminders.tiers[]", keeping_entries.TiersEntry),
    ("reminders.hours", keeping_entries.HoursEntry),
    ("reminders.escalate[]", keeping_entries.CallEntry),
    ("discovery[]", keeping_entries.DiscoveryEntry),
    ("clock", declared.ClockEntry),
    ("slack", declared.SlackEntry),
)
_RUNBOOK: Sequence[tuple[str, type[BaseModel]]] = (
    ("A runbook", Runbook),
    ("inputs.NAME", Input),
    ("facts.NAME", FactSource),
    ("reviewed", Reviewed),
    ("Every step", StepBase),
    ("by_hand", ByHand),
    ("do: an operation", DoStep),
    ("check: a probe", CheckStep),
    ("wait: time", WaitStep),
    ("quiet: sensors", QuietStep),
    ("ask: a person", AskStep),
    ("until", Condition),
    ("watch", Watch),
    ("expect", Expect),
    ("emergency", Emergency),
    ("emergency.costs.ORDER", Cost),
    ("trouble[]", Trouble),
)


def pages() -> Mapping[str, str]:
    """Every page by its path from the root of the checkout."""
    catalog = Catalog({}, lambda: door)
    door = SecretDoor(catalog.store)
    made: dict[str, Callable[[], str]] = {
        "docs/reference/settings.md": settings_page,
        "docs/reference/commands.md": lambda: commands_page(catalog),
        "docs/reference/adapters.md": lambda: adapters_page(catalog),
        "docs/reference/runbooks.md": runbooks_page,
        "docs/reference/metrics.md": metrics_page,
        manifest.SCOPES_PAGE: manifest.scopes_page,
        manifest.FILES["socket"]: lambda: manifest.render("socket"),
        manifest.FILES["http"]: lambda: manifest.render("http"),
    }
    found = {path: make() for path, make in made.items()}
    for path in shipped_files():
        loaded = load(path)
        found[page_path(loaded.runbook)] = runbook_page(loaded.runbook, path.read_text(encoding="utf-8"), catalog)
    return found


def write(root: Path = ROOT) -> None:
    """Write all of them."""
    for name, text in pages().items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


# --- pages ------------------------------------------------------------------------------------------------------------


def settings_page() -> str:
    """Variables and `keyturn.yml`."""
    lines = ["# Settings", "", MADE.format("bot/settings"), "## Variables", ""]
    lines += [
        "What the process is started with. Tokens stand here and nowhere else, best as files of the service manager.",
        "",
    ]
    lines += table(("Variable", "For (default)"), ([f"`{name}`", text] for name, text in VARIABLES.items()))
    lines += ["", "## keyturn.yml", ""]
    lines += [
        "Meant for git: names and places, never a secret. Unknown keys are mistakes, and all mistakes are reported at",
        "once, with their lines. Durations are written `15m`, `24h`, `90d`, `1h 30m`. Where a list is wanted, a single",
        "entry may stand alone. `owner` and `everyone` may stand where people or groups are named.",
        "",
        f"Rights for `may:` and `words:`: {', '.join(f'`{need.value}`' for need in Need)}.",
        "",
    ]
    lines += _fields(declared.Declared)
    for title, model in _SECTIONS:
        lines += ["", f"### {title}", "", doc(model), "", *_fields(model)]
    return "\n".join([*lines, ""])


def commands_page(catalog: Catalog) -> str:
    """The words of `/rotate`, and the command line."""
    lines = ["# Commands", "", MADE.format("commands/ and bot/__main__.py"), "## Words of /rotate", ""]
    lines += [
        'The same words work in Slack, as buttons, and on the bot\'s host: `keyturn run "status R-7"`. Each needs the',
        "right that is named with it, which [roles](settings.md#rolesname) give.",
    ]
    for name, command in sorted(catalog.commands().items()):
        at_once = " Answered at once; changes nothing." if getattr(command, "at_once", False) else ""
        text = inspect.cleandoc(command.__doc__ or "")
        lines += [
            "",
            f"### {name}",
            "",
            f"`/rotate {command.usage}` · right: `{command.need.value}`.{at_once}",
            "",
            text,
        ]
        flags: Mapping[str, str] = getattr(command, "flags", {})
        if flags:
            lines += ["", *table(("Flag", "Means"), ([f"`--{flag}`", told] for flag, told in flags.items()))]
    lines += ["", "## Command line", "", "Exit codes: 0 good, 1 found problems, 2 wrong use."]
    lines += _command_lines(get_command(app), "keyturn")
    return "\n".join([*lines, ""])


def _command_lines(command: Any, path: str) -> list[str]:
    lines: list[str] = []
    for name, part in sorted(command.commands.items()):
        if hasattr(part, "commands"):
            lines += _command_lines(part, f"{path} {name}")
            continue
        arguments = [one for one in part.params if one.param_type_name == "argument"]
        options = [one for one in part.params if one.param_type_name == "option" and one.name != "help"]
        words = " ".join(f"<{one.name}>" if one.required else f"[{one.name}]" for one in arguments)
        lines += ["", f"### {f'{path} {name} {words}'.strip()}", "", inspect.cleandoc(part.help or "")]
        if options:
            rows = ([f"`{'`, `'.join(one.opts)}`", one.help or ""] for one in options)
            lines += ["", *table(("Option", "Means"), rows)]
    return lines


def adapters_page(catalog: Catalog) -> str:
    """Every adapter: configuration, then words."""
    lines = ["# Adapters", "", MADE.format("adapters/")]
    lines += [
        "What runbooks may use. Secrets of the configuration are references: `env:NAME`, `file:/path`, or a store such",
        "as `secret_files:team/name`. Effects: `reads` and changes nothing, `creates` beside what is there, `changes`",
        "so that it can be put back, `destroys` for good.",
    ]
    for name in catalog.adapters():
        module = importlib.import_module(f"adapters.{name}")
        lines += ["", f"## {name}", "", inspect.cleandoc(module.__doc__ or ""), "", "### Configuration", ""]
        lines += _fields(module.Config) or ["It needs none."]
        if hasattr(module, "Store"):
            lines += ["", f"It keeps secrets: `{name}:path` and `{name}:path#version` are references."]
        for word in sorted(word for word in catalog.words() if word.partition(".")[0] == name):
            lines += _word_lines(catalog, word)
    return "\n".join([*lines, ""])


def _word_lines(catalog: Catalog, word: str) -> list[str]:
    part, info = catalog.part(word), catalog.describe(word)
    assert part is not None
    assert info is not None
    told = [info.kind]
    if issubclass(part, Operation):
        told.append(f"effect: {info.effect}")
    if info.outputs:
        told.append(f"gives: {', '.join(f'`{name}`' for name in info.outputs)}")
    if part.permissions:
        told.append(f"needs: {'; '.join(part.permissions)}")
    return [
        "",
        f"### {word}",
        "",
        f"*{' · '.join(told)}*",
        "",
        inspect.cleandoc(part.__doc__ or ""),
        "",
        *_fields(part.Params),
    ]


def runbooks_page() -> str:
    """The language of runbooks, and the linter's rules."""
    lines = ["# Runbooks", "", MADE.format("bot/core/runbook.py and bot/core/lint")]
    lines += [
        "A runbook is a YAML file. `${{ }}` looks values up (`inputs.x`, `facts.x`, `steps.id.output`,",
        "`credential.name`, `rotation.id`, `each`), adds and subtracts durations, and knows `max(...)`, `min(...)` and",
        "`seconds(...)` of them, and in `wait:` `until(...)` of a fact that is a moment. It never evaluates code. The",
        "shipped ones are described under [RUNBOOKS](../RUNBOOKS/).",
    ]
    for title, model in _RUNBOOK:
        known = set(StepBase.model_fields) if issubclass(model, StepBase) and model is not StepBase else set()
        lines += ["", f"## {title}", "", doc(model), "", *_fields(model, known)]
    lines += ["", "## Rules of `keyturn lint`", ""]
    lines += table(("Rule", "Found"), ([f"`{name}`", text] for name, text in RULES.items()))
    return "\n".join([*lines, ""])


def metrics_page() -> str:
    """What `/metrics` has."""
    lines = ["# Health and metrics", "", MADE.format("bot/health.py")]
    lines += [
        "Served on `KEYTURN_HTTP`, without authentication: keep it inside. No credential is named in them.",
        "",
        "- `/healthz`: the process is alive.",
        "- `/readyz`: database, schema and Slack's connection are as they must be; otherwise 503 and what is wrong.",
        "- `/metrics`: for Prometheus, read from the database at each scrape.",
        "",
    ]
    with tempfile.TemporaryDirectory() as folder:
        database = Database.open(f"sqlite:///{folder}/keyturn.db")
        database.migrate()
        rows = [
            [
                f"`{family.name}`",
                family.type,
                ", ".join(f"`{label}`" for label in _labels(family)),
                family.documentation,
            ]
            for family in Figures(database, _AnyRoom(), _AnySealer()).collect()  # type: ignore[arg-type]  # looked at, not used
        ]
        database.close()
    return "\n".join([*lines, *table(("Metric", "Type", "Labels", "Means"), rows), ""])


class _AnyRoom:
    def seconds_since_frame(self) -> float:
        return 0.0


class _AnySealer:
    unwitnessed = 0


def _labels(family: Any) -> Sequence[str]:
    return tuple(getattr(family, "_labelnames", ()) or ())


# --- models as tables -------------------------------------------------------------------------------------------------


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A table in Markdown."""
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    return lines + [f"| {' | '.join(_cell(cell) for cell in row)} |" for row in rows]


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def doc(model: type[Any]) -> str:
    """The docstring of a class."""
    return inspect.cleandoc(model.__doc__ or "")


def _fields(model: type[BaseModel], without: Iterable[str] = ()) -> list[str]:
    schema = model.model_json_schema(by_alias=True)
    told = _attribute_docs(model)
    rows = []
    for name, field in model.model_fields.items():
        if name in without:
            continue
        key = field.alias or name
        shown = schema["properties"][key]
        default = "required" if field.is_required() else _default(shown, field.get_default(call_default_factory=True))
        rows.append([f"`{key}`", _kind(shown, schema), default, told.get(name, field.description or "")])
    return table(("Key", "Holds", "Default", "Means"), rows) if rows else []


def _default(shown: Mapping[str, Any], value: Any) -> str:
    given = shown.get("default", value)
    if given is None or given in ("", [], {}) or isinstance(value, BaseModel):
        return ""
    if isinstance(given, list):
        given = ", ".join(getattr(one, "value", str(one)) for one in given)
    return f"`{_span(given)}`" if isinstance(given, str) else f"`{given}`"


def _span(text: str) -> str:
    """`PT24H` and `P1D` as people write them."""
    if text.startswith("P") and text[-1:] in "DHMS":
        return text.removeprefix("P").removeprefix("T").replace("DT", "d ").lower()
    return text


def _kind(shown: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """A JSON schema in a few words."""
    if "$ref" in shown:
        return _kind(schema["$defs"][shown["$ref"].rpartition("/")[2]], schema)
    if "const" in shown:
        return f"`{shown['const']}`"
    if "enum" in shown:
        return ", ".join(f"`{value}`" for value in shown["enum"])
    if "anyOf" in shown or "oneOf" in shown:
        options = [
            _kind(one, schema) for one in shown.get("anyOf", shown.get("oneOf", ())) if one.get("type") != "null"
        ]
        return " or ".join(dict.fromkeys(options))
    kind = shown.get("type", "anything")
    if kind == "array":
        return f"list of {_kind(shown.get('items', {}), schema)}"
    if kind == "object":
        return _object(shown, schema)
    if shown.get("format") == "duration":
        return "duration"
    if shown.get("pattern") in fields.MISTAKES:
        return fields.MISTAKES[shown["pattern"]].removeprefix("write ").partition(" (")[0]
    return {"string": "text", "integer": "number", "number": "number", "boolean": "yes or no"}.get(kind, str(kind))


def _object(shown: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """A mapping by name, or one with known keys."""
    by_pattern: Mapping[str, Any] = shown.get("patternProperties", {})
    inner = next(iter(by_pattern.values()), None) or shown.get("additionalProperties")
    if isinstance(inner, dict) and inner:
        return f"by name: {_kind(inner, schema)}"
    keys = shown.get("properties")
    return f"{', '.join(f'`{key}`' for key in keys)}" if keys else "mapping"


def _attribute_docs(model: type[BaseModel]) -> dict[str, str]:
    """The texts that stand below the fields of a model and of those it extends."""
    found: dict[str, str] = {}
    for part in reversed(model.__mro__):
        if not issubclass(part, BaseModel) or part is BaseModel:
            continue
        body = ast.parse(textwrap.dedent(inspect.getsource(part))).body[0]
        assert isinstance(body, ast.ClassDef)
        for before, after in zip(body.body, body.body[1:], strict=False):
            if (
                isinstance(before, ast.AnnAssign)
                and isinstance(before.target, ast.Name)
                and isinstance(after, ast.Expr)
                and isinstance(after.value, ast.Constant)
                and isinstance(after.value.value, str)
            ):
                found[before.target.id] = after.value.value
    return found


if __name__ == "__main__":
    write()
