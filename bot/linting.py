"""Lints an installation: every runbook it knows, as each credential uses it, and what is odd about its cadences."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import runbooks as shipped
from bot.core.errors import Invalid
from bot.core.lint import Context, Finding, Severity, Vocabulary, lint, lint_cadence, lint_text
from bot.engine.signers import problems
from bot.settings import Credential, Settings, load_settings
from bot.settings.environment import read_environment
from bot.settings.keeping import Offer


def lint_installation(environ: Mapping[str, str], vocabulary: Offer) -> tuple[list[Finding], list[str]]:
    """Findings, and the mistakes that keep the settings from being read.

    Without a settings file the shipped runbooks are linted alone. Where the settings have mistakes, those are reported,
    and the shipped runbooks are linted all the same.
    """
    try:
        settings = settings_if_any(environ)
    except Invalid as error:
        return lint_files(shipped_files(), vocabulary), list(error.problems)
    if settings is None:
        return lint_files(shipped_files(), vocabulary), []
    return _lint_settings(settings, vocabulary), []


def lint_files(paths: list[Path], vocabulary: Vocabulary) -> list[Finding]:
    """Findings of runbook files, those included that do not load or cannot be read."""
    found: list[Finding] = []
    for path in paths:
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "this is not UTF-8 text"
            found.append(Finding(str(path), 1, "", "unreadable", Severity.ERROR, f"cannot be read: {why}"))
            continue
        found += lint_text(text, str(path), vocabulary)
    return found


def shipped_files() -> list[Path]:
    """The runbooks that come with keyturn."""
    return sorted(path for place in shipped.__path__ for path in Path(place).glob("*.yaml"))


def settings_if_any(environ: Mapping[str, str]) -> Settings | None:
    """The settings; None where none are declared and the usual file is not there."""
    if not environ.get("KEYTURN_CONFIG", "").strip() and not read_environment(environ).config.exists():
        return None
    return load_settings(environ)


def _lint_settings(settings: Settings, vocabulary: Offer) -> list[Finding]:
    found: set[Finding] = set()
    used: set[str] = set()
    for entry in settings.credentials:
        used.add(entry.runbook)
        found |= set(lint(settings.runbooks[entry.runbook], vocabulary, _context(entry)))
    for name, loaded in settings.runbooks.items():
        if name not in used:
            found |= set(lint(loaded, vocabulary))
    hint = "let production be the last to meet a new failure, or say in a comment why not"
    for line, _, message in lint_cadence(settings.declared.cadences, settings.cadence_line):
        found.add(Finding(settings.document.file, line, "", "cadence-order", Severity.WARNING, message, hint))
    for problem in settings.warnings(datetime.now(UTC)):
        found.add(Finding(problem.file, problem.line, "", "policy", Severity.WARNING, problem.message, problem.hint))
    for problem in settings.idle_tiers():
        found.add(Finding(problem.file, problem.line, "", "reminders", Severity.WARNING, problem.message, problem.hint))
    for problem in settings.unreviewed():
        found.add(Finding(problem.file, problem.line, "", "unreviewed", Severity.ERROR, problem.message, problem.hint))
    for problem in settings.idle(vocabulary):
        found.add(Finding(problem.file, problem.line, "", "idle", Severity.ERROR, problem.message, problem.hint))
    for told in signer_problems(settings):
        hint = "signed votes of those concerned do not count before that"
        found.add(Finding(str(settings.signers), 1, "", "signers", Severity.ERROR, told, hint))
    return sorted(found)


def signer_problems(settings: Settings) -> list[str]:
    """What is wrong with the file of signers, people included who must sign and have no key; none without a file."""
    if settings.signers is None:
        return []
    people = [person.id for person in settings.policy.people]
    needed = {
        name
        for entry in settings.credentials
        for word in ("start", "skip", "revoke")
        if settings.policy.rule(entry, word).signed
        for name in settings.policy.eligible(entry, settings.members, word).people
        if name in people
    }
    return problems(settings.signers, people, sorted(needed), datetime.now(UTC))


def _context(entry: Credential) -> Context:
    return Context(
        credential=entry.name,
        inputs=entry.inputs,
        cadence=entry.cadence,
        minimum_overlap=entry.minimum_overlap,
        warn_before=entry.warn_before,
    )
