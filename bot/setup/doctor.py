"""`keyturn doctor`: looks at an installation step by step, and says what to do about each problem. Changes nothing."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from bot.app import open_database
from bot.catalog import Catalog
from bot.contracts.adapter import Run
from bot.core.alarm import Alarm
from bot.core.errors import Invalid, KeyturnError, Permanent
from bot.core.lint import Severity
from bot.engine.alarms import measured
from bot.engine.secrets import SecretDoor
from bot.engine.signers import Signers
from bot.keys import has_keys, open_keys
from bot.linting import lint_installation, signer_problems
from bot.settings import Settings, load_settings
from bot.setup.findings import Finding, good, note, show, skipped, wrong
from bot.setup.permissions import wanted
from bot.setup.slack_findings import look_at_slack

ADAPTER_SECONDS = 15.0


def examine(environ: Mapping[str, str], *, as_json: bool) -> int:
    """Look at everything and print what was found."""
    return show(list(look(environ)), as_json=as_json)


def look(environ: Mapping[str, str]) -> Iterator[Finding]:
    """Every finding, in the order in which one would mend them."""
    try:
        settings = load_settings(environ)
    except Invalid as error:
        for problem in error.problems:
            yield wrong("settings", problem, "Correct it; `keyturn init` makes a file with examples.")
        for step in ("keys", "signers", "database", "slack", "adapters"):
            yield skipped(step, "the settings have mistakes")
        return
    yield from _look_at_settings(settings, environ)
    yield _look_at_keys(settings)
    yield from _look_at_signers(settings)
    yield from _look_at_database(settings)
    yield from look_at_slack(settings)
    yield from _look_at_adapters(settings)


def _look_at_settings(settings: Settings, environ: Mapping[str, str]) -> Iterator[Finding]:
    declared = settings.declared
    counts = f"{len(settings.credentials)} credentials, {len(declared.people)} people, {len(declared.groups)} groups"
    yield good("settings", f"{settings.environment.config}: {counts}, {len(settings.runbooks)} runbooks")
    for warning in settings.environment.warnings:
        yield note("settings", warning, "Correct the variable's name, or remove it.")
    findings, _ = lint_installation(environ, _catalog(settings))
    findings = [finding for finding in findings if finding.rule != "signers"]  # they have a step of their own
    errors = [finding for finding in findings if finding.severity is Severity.ERROR]
    for finding in errors:
        yield wrong("runbooks", str(finding), "Correct the runbook, or what keyturn.yml gives to it.")
    if len(findings) > len(errors):
        yield note("runbooks", f"{len(findings) - len(errors)} warnings", "Read them with `keyturn lint`.")
    elif not errors:
        yield good("runbooks", "nothing to say")


def _look_at_keys(settings: Settings) -> Finding:
    folder, url = settings.environment.keys, settings.environment.database_url
    if not has_keys(folder) and url.startswith("sqlite"):
        return note("keys", f"there are none in {folder} yet", "The first start makes them, or `keyturn init` does.")
    try:
        keys = open_keys(folder)
    except Permanent as error:
        return wrong("keys", str(error), error.hint)
    older = len(keys.public) - 1
    return good("keys", f"{keys.folder}: the audit's signing key{f', {older} older ones' if older else ''}")


def _look_at_signers(settings: Settings) -> Iterator[Finding]:
    if settings.signers is None:
        return
    problem = Signers(settings.signers).problem()
    if problem:
        yield wrong("signers", problem, "Without ssh-keygen no signed vote can be verified; install openssh-client.")
        return
    found = signer_problems(settings)
    for told in found:
        yield wrong("signers", told, "Correct the file; signed votes of those concerned do not count before that.")
    if not found:
        yield good("signers", f"{settings.signers}: every line is sound, and ssh-keygen verifies here")


def _look_at_database(settings: Settings) -> Iterator[Finding]:
    try:
        database = open_database(settings)
    except Permanent as error:
        yield wrong("database", str(error), error.hint)
        return
    try:
        database.check_schema()
        with database.read() as reader:
            head, blind = reader.audit_head(), [one.unseen(reader.now) for one in reader.discoveries()]
    except Permanent as error:
        yield wrong("database", str(error), error.hint)
        return
    except KeyturnError as error:
        yield wrong("database", str(error), "Check KEYTURN_DATABASE_URL, and that the server runs and can be reached.")
        return
    finally:
        database.close()
    yield good("database", f"{database.dialect}: the schema is right and can be written to; {head.seq} audit rows")
    for why in filter(None, blind):
        yield wrong("discovery", why, "Mend what it says: until then nothing new is found there, and no date moves.")


def _look_at_adapters(settings: Settings) -> Iterator[Finding]:
    catalog = _catalog(settings)
    try:
        catalog.check_configs()
    except Invalid as error:
        for problem in error.problems:
            yield wrong("adapters", problem, "Correct it in keyturn.yml; docs/reference/adapters.md has every key.")
    for adapter, permissions in wanted(settings, catalog).items():
        yield _look_at_access(catalog, adapter, set(permissions))
    for alarm in settings.alarms:
        yield _look_at_alarm(catalog, alarm)


def _look_at_alarm(catalog: Catalog, alarm: Alarm) -> Finding:
    whose = f"{alarm.check} of {alarm.credential}@{alarm.environment}"
    try:
        holds, evidence = measured(catalog, SecretDoor(catalog.store), alarm, datetime.now(UTC))
    except Permanent as error:
        return wrong("alarm", f"{whose} cannot be looked at: {error}", error.hint or "Correct it in keyturn.yml.")
    except KeyturnError as error:
        hint = "Check the address in keyturn.yml, and that the system runs."
        return wrong("alarm", f"{whose} cannot be looked at: {error}", hint)
    if not holds:
        hint = f"Its callers are refused; where it has expired: expired {alarm.credential}@{alarm.environment}."
        return wrong("alarm", f"{whose}: {evidence}", hint)
    return good("alarm", f"{whose}: {evidence}")


def _look_at_access(catalog: Catalog, adapter: str, permissions: set[str]) -> Finding:
    run = Run(
        rotation="doctor",
        token="doctor",  # noqa: S106 - a marker, not a credential
        operator="doctor",
        secrets=SecretDoor(catalog.store),
        now=datetime.now(UTC),
        log=logging.LoggerAdapter(logging.getLogger(__name__), {}),
        deadline=time.monotonic() + ADAPTER_SECONDS,
    )
    try:
        lacking = catalog.access({adapter: permissions}, run).get(adapter, ())
    except Permanent as error:
        return wrong(adapter, str(error), error.hint or "Correct its configuration in keyturn.yml.")
    except KeyturnError as error:
        return wrong(adapter, str(error), "Check the address in keyturn.yml, and that the system runs.")
    if lacking:
        advice = f"Give the credential under adapters.{adapter} in keyturn.yml these rights."
        return wrong(adapter, f"lacks {', '.join(lacking)}", advice)
    return good(adapter, "configured, and may do what the runbooks ask of it")


def _catalog(settings: Settings) -> Catalog:
    catalog = Catalog(settings.declared.adapters, lambda: door)
    door = SecretDoor(catalog.store)
    return catalog
