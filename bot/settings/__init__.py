"""Settings: environment variables and `keyturn.yml`, read once, frozen, with every mistake named at once."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import ValidationError

import runbooks as shipped
from bot.core import schedule
from bot.core.alarm import Alarm
from bot.core.automatic import Automatic
from bot.core.discovered import Find
from bot.core.document import LARGEST, Document, Problem, model_problems, read
from bot.core.errors import Invalid, KeyturnError
from bot.core.incident_rules import Errand, Incidents
from bot.core.lint import Vocabulary
from bot.core.policy import Membership, Policy
from bot.core.reminders import Rules
from bot.core.reviewed import why_unreviewed
from bot.core.runbook_file import LoadedRunbook, load
from bot.core.template import evaluate
from bot.core.windows import Calendar
from bot.settings.approvals import approval_problems, errand_problems, warnings_of
from bot.settings.calendar import calendar_of
from bot.settings.checks import cross_problems, secret_problems
from bot.settings.declared import CredentialEntry, Declared, ErrandEntry
from bot.settings.environment import VARIABLES, Bind, Environment, LogFormat, Transport, read_environment
from bot.settings.fields import MISTAKES
from bot.settings.keeping import (
    Offer,
    automatic_of,
    channels_of,
    finds_of,
    idle_alarms,
    idle_discoveries,
    idle_tiers,
    keeping_problems,
    route_warnings,
    rules_of,
)
from bot.settings.pruning import without
from bot.settings.rights import membership_of, policy_of

__all__ = [
    "VARIABLES",
    "Bind",
    "Credential",
    "Declared",
    "Environment",
    "LogFormat",
    "Settings",
    "Transport",
    "load_settings",
    "read_environment",
    "read_settings",
]


@dataclass(frozen=True)
class Credential:
    """A credential as it is declared, with its cadence and channel worked out."""

    name: str
    environment: str
    kind: str
    owner: str
    runbook: str
    inputs: Mapping[str, Any]
    cadence: timedelta | None
    channel: str
    """Slack id of the channel of its cards; empty when none is declared."""
    callers: tuple[str, ...] = ()
    """Slack ids of the channels of those who use it."""
    alarm: Alarm | None = None
    max_valid: int = 2
    reviewed_runbook: bool = False
    """Whether some policy wants its runbook reviewed."""
    place: str = ""
    """Where it lives, as its runbook says; discoveries name the same place."""
    minimum_overlap: timedelta | None = None
    warn_before: timedelta | None = None
    line: int = 1
    """Where it stands in the file."""


@dataclass(frozen=True)
class Settings:
    """Everything that was declared, checked and worked out."""

    environment: Environment
    declared: Declared
    policy: Policy
    credentials: tuple[Credential, ...]
    runbooks: Mapping[str, LoadedRunbook]
    config_hash: str
    """`sha256:` of the file's bytes; goes into the audit when the settings are applied."""
    calendar: Calendar
    """When ordinary rotations may begin."""
    signers: Path | None
    """OpenSSH's allowed_signers file; None where none is declared. It is read whenever it counts."""
    incidents: Incidents
    reminders: Rules
    automatic: tuple[Automatic, ...]
    """Rules by which rotations start by themselves."""
    finds: tuple[Find, ...]
    """What is listed regularly."""
    document: Document = field(repr=False)

    @property
    def groups_of_slack(self) -> Mapping[str, str]:
        """Group name -> id of the Slack user group whose members are read live."""
        return {name: group.slack for name, group in self.declared.groups.items() if group.slack}

    @property
    def members(self) -> Membership:
        """Group name -> its people, for groups that are listed in the file; None for those that Slack keeps."""
        return membership_of(self.declared)

    @property
    def channels(self) -> Mapping[str, str]:
        """Channels by name, and by the group that hears in one."""
        return channels_of(self.declared)

    @property
    def alarms(self) -> tuple[Alarm, ...]:
        """What is looked at all the time."""
        return tuple(entry.alarm for entry in self.credentials if entry.alarm is not None)

    def idle_discoveries(self, vocabulary: Vocabulary) -> tuple[Problem, ...]:
        """Discoveries that no adapter offers, each with its line; only those that are named are loaded."""

        def finds(word: str) -> bool:
            info = vocabulary.describe(word)
            return info is not None and info.kind == "discovery"

        named = [find.word for find in self.finds]
        near = [word for name in named if not finds(name) for word in vocabulary.close(name)]
        return tuple(idle_discoveries(self.document, self.declared, {w for w in (*named, *near) if finds(w)}))

    def idle(self, offer: Offer) -> tuple[Problem, ...]:
        """Errands, discoveries and alarms that would do nothing, each with its line."""
        alarms = idle_alarms(self.document, self.declared, offer)
        return (*self.idle_errands(offer), *self.idle_discoveries(offer), *alarms)

    def warnings(self, now: datetime) -> tuple[Problem, ...]:
        """What holds but may not be meant, each with its line; `now` tells what is over."""
        warnings = warnings_of(self.document, self.declared, self.policy, now)
        return (*warnings, *route_warnings(self.document, self.declared))

    def idle_tiers(self) -> tuple[Problem, ...]:
        """Reminders that never come, each with its line."""
        return tuple(idle_tiers(self.document, self.reminders, self.credentials))

    def errand_problems(self, operations: Collection[str]) -> tuple[Problem, ...]:
        """Errands of incidents that name none of these operations, each with its line and a hint."""
        return tuple(errand_problems(self.document, self.declared, operations))

    def idle_errands(self, vocabulary: Vocabulary) -> tuple[Problem, ...]:
        """The same, asking what adapters offer; only those that the errands name are loaded while all is well."""

        def does(word: str) -> bool:
            info = vocabulary.describe(word)
            return info is not None and info.kind == "operation"

        named = [errand.do for errand in (self.incidents.ticket, self.incidents.page) if errand is not None]
        near = [word for name in named if not does(name) for word in vocabulary.close(name)]
        return self.errand_problems({word for word in (*named, *near) if does(word)})

    def unreviewed(self) -> tuple[Problem, ...]:
        """Credentials whose policy wants a reviewed runbook and whose runbook is not, each with its line."""
        found = []
        for index, entry in enumerate(self.credentials):
            why = why_unreviewed(self.runbooks[entry.runbook], self.policy.same_name)
            if entry.reviewed_runbook and why is not None:
                message = f"{entry.name} ({entry.environment}) cannot be rotated by {entry.runbook}: {why.message}"
                found.append(self.document.problem(("credentials", index, "runbook"), message, why.hint))
        return tuple(found)

    def cadence_line(self, kind: str, environment: str) -> int:
        """Where the cadence of a class and environment is declared."""
        return self.document.line(("cadences", kind, environment))


def load_settings(environ: Mapping[str, str]) -> Settings:
    """Read the variables and the file they name. Raises `Invalid` with every mistake, each with line and hint."""
    environment = read_environment(environ)
    path = environment.config
    try:
        if path.stat().st_size > LARGEST:
            raise Invalid(path.name, (f"{path}: the file is larger than {LARGEST // 1024} KiB (import credentials)",))
        content = path.read_bytes()
    except FileNotFoundError:
        hint = "make one with `keyturn init`, or name yours in KEYTURN_CONFIG"
        raise Invalid(str(path), (f"{path} is not there ({hint})",)) from None
    except OSError as error:
        raise Invalid(str(path), (f"{path} cannot be read: {error.strerror}",)) from None
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise Invalid(str(path), (str(Problem(str(path), line, "this is not UTF-8 text")),)) from None
    return read_settings(text, environment, file=str(path), folder=path.resolve().parent)


def read_settings(text: str, environment: Environment, *, file: str, folder: Path) -> Settings:
    """Read the text of a settings file; relative folders of runbooks count from `folder`. Raises `Invalid`."""
    document = read(text, file)
    if not isinstance(document.data, dict):
        raise Invalid(file, (str(Problem(file, 1, "the settings are a mapping", "run `keyturn init` for an example")),))
    problems = secret_problems(document)
    checked = document
    try:
        declared = Declared.model_validate(document.data)
    except ValidationError as error:
        problems += model_problems(document, (), Declared, error, MISTAKES)
        checked = without(document, error)
        declared = Declared.model_validate(checked.data)
    found, broken = _runbooks(checked, declared, folder)
    policy = policy_of(declared)
    problems += cross_problems(checked, declared, found)
    problems += keeping_problems(checked, declared)
    problems += approval_problems(checked, declared, policy, complete=not problems)
    if problems or broken:
        raise Invalid(file, (*(str(problem) for problem in sorted(set(problems))), *broken))
    return Settings(
        environment=environment,
        declared=declared,
        policy=policy,
        credentials=tuple(
            _credential(document, declared, index, entry, found) for index, entry in enumerate(declared.credentials)
        ),
        runbooks=found,
        config_hash="sha256:" + hashlib.sha256(text.encode()).hexdigest(),
        document=document,
        calendar=calendar_of(declared),
        signers=folder / declared.signers if declared.signers else None,
        reminders=rules_of(declared),
        automatic=automatic_of(declared),
        finds=finds_of(declared),
        incidents=Incidents(
            prefix=declared.incidents.channel_prefix,
            invite=tuple(declared.incidents.invite),
            nudge=declared.incidents.nudge,
            runbooks=declared.incidents.runbooks or "",
            ticket=_errand(declared.incidents.ticket),
            page=_errand(declared.incidents.page),
        ),
    )


def _errand(entry: ErrandEntry | None) -> Errand | None:
    return Errand(entry.do, entry.with_) if entry else None


def _credential(
    document: Document, declared: Declared, index: int, entry: CredentialEntry, runbooks: Mapping[str, LoadedRunbook]
) -> Credential:
    fitting = [
        policy
        for policy in declared.policies
        if (not policy.environments or entry.environment in policy.environments)
        and (not policy.classes or entry.class_ in policy.classes)
    ]
    overlaps = [policy.minimum_overlap for policy in fitting if policy.minimum_overlap is not None]
    channel = entry.channel or ("default" if "default" in declared.channels else "")
    return Credential(
        name=entry.name,
        environment=entry.environment,
        kind=entry.class_,
        owner=entry.owner,
        runbook=entry.runbook,
        inputs=entry.inputs,
        cadence=entry.cadence or schedule.cadence_for(entry.class_, entry.environment, declared.cadences),
        channel=declared.channels.get(channel, channel),
        callers=tuple(dict.fromkeys(declared.channels.get(name, name) for name in entry.callers)),
        alarm=_alarm(entry),
        max_valid=entry.max_valid,
        reviewed_runbook=any(policy.reviewed_runbook for policy in fitting),
        place=_place(entry, runbooks),
        minimum_overlap=max(overlaps, default=None),
        warn_before=next((policy.warn_before for policy in fitting if policy.warn_before is not None), None),
        line=document.line(("credentials", index)),
    )


def _alarm(entry: CredentialEntry) -> Alarm | None:
    one = entry.alarm
    return Alarm(entry.name, entry.environment, one.check, one.with_, one.for_) if one is not None else None


def _place(entry: CredentialEntry, runbooks: Mapping[str, LoadedRunbook]) -> str:
    """Where it lives, by the `lives` of its runbook; empty where the runbook or an input does not say."""
    runbook = runbooks[entry.runbook].runbook
    inputs = {name: entry.inputs.get(name, one.default) for name, one in runbook.inputs.items()}
    try:
        return str(evaluate(runbook.lives, {"inputs": inputs})) if runbook.lives else ""
    except KeyturnError:
        return ""


def _runbooks(document: Document, declared: Declared, folder: Path) -> tuple[dict[str, LoadedRunbook], tuple[str, ...]]:
    """Every runbook by name: those that come with keyturn, then the declared folders, which may replace them."""
    found: dict[str, LoadedRunbook] = {}
    broken: list[str] = []
    folders = [Path(place) for place in shipped.__path__]
    for index, name in enumerate(declared.runbooks):
        place = folder / name
        if name.strip() and place.is_dir():
            folders.append(place)
        else:
            broken.append(str(document.problem(("runbooks", index), f"{name!r} is not a folder", "name a folder")))
    for place in folders:
        for path in sorted(place.glob("[!.]*.y*ml")):
            if path.suffix == ".yml":
                broken.append(f"{path}:1: runbooks end in .yaml (rename it to {path.stem}.yaml)")
                continue
            try:
                loaded = load(path)
                found[loaded.name] = loaded
            except Invalid as error:
                broken.extend(error.problems)
            except OSError as error:
                broken.append(f"{path}:1: cannot be read: {error.strerror}")
    return found, tuple(broken)
