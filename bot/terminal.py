"""What the command line does with the engine: say words, apply settings, lint, read the audit."""

from __future__ import annotations

import json
import os
import pwd
import sys
import time
import uuid
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bot.contracts.command import Answer
from bot.core.errors import Refused
from bot.core.policy import Person, PersonKind

if TYPE_CHECKING:
    from bot.settings import Settings
    from bot.store.database import Database

GOOD, PROBLEMS, WRONG = 0, 1, 2
LOOK_EVERY = 0.05


def say(settings: Settings, words: str, *, as_json: bool, wait: float, signature: str = "") -> int:
    """Store the words like any other intent and print the worker's answer; words that only read answer here.

    `signature` is what an approver signed with `keyturn approve`, read from a file.
    """
    from bot.app import build_engine, open_database
    from bot.engine.intake import Heard
    from bot.engine.worker import as_json as answer_json
    from bot.engine.worker import of_json

    database = open_database(settings)
    database.check_schema()
    engine = build_engine(settings, database)
    _refuse_stranger(engine.people.person(f"os:{_me()}"))
    flags = {"signature": signature} if signature else {}
    heard = Heard(key=f"cli-{uuid.uuid4()}", account=f"os:{_me()}", text=words, flags=flags, surface="cli")
    try:
        receipt = engine.intake.hear(heard)
    except Refused as error:
        return show(Answer(str(error), good=False), as_json, WRONG)
    if receipt.answer is not None:
        return show(receipt.answer, as_json)
    answer = _await_answer(database, receipt.number, wait)
    if answer is None:
        text = (
            f"Stored as intent {receipt.number}, but no worker has taken it within {wait:g} s; is `keyturn serve` "
            f"running? It will be done as soon as one runs."
        )
        return show(Answer(text, good=False), as_json)
    return show(of_json(answer), as_json, code=None if answer["good"] else PROBLEMS, raw=answer_json(of_json(answer)))


def plan(settings: Settings, credential: str, *, as_json: bool) -> int:
    """Plan in this process: nothing is stored, and no worker is needed."""
    from bot.app import build_engine, open_database
    from bot.contracts.command import Call

    database = open_database(settings)
    database.check_schema()
    engine = build_engine(settings, database)
    person = engine.people.person(f"os:{_me()}")
    _refuse_stranger(person)
    word = engine.catalog.commands()["plan"]
    call = Call("plan", word.need, person, (credential,), surface="cli")
    try:
        return show(word.run(call, engine.board), as_json)
    except Refused as error:
        return show(Answer(str(error), good=False), as_json, PROBLEMS)


def forecast(settings: Settings, days: int, png: Path | None, *, as_json: bool) -> int:
    """Look ahead in this process, as `plan` does, and draw it where a file is named."""
    from bot.app import build_engine, open_database
    from bot.contracts.command import Call

    database = open_database(settings)
    database.check_schema()
    engine = build_engine(settings, database)
    person = engine.people.person(f"os:{_me()}")
    _refuse_stranger(person)
    word = engine.catalog.commands()["forecast"]
    call = Call("forecast", word.need, person, (f"{days}d",), surface="cli")
    try:
        answer = word.run(call, engine.board)
    except Refused as error:
        return show(Answer(str(error), good=False), as_json, PROBLEMS)
    if png is not None:
        from bot.plots import save

        save(answer.charts, png)
        print(f"The picture is in {png}.", file=sys.stderr)
    return show(answer, as_json)


def _refuse_stranger(person: Person) -> None:
    """Raises `Refused` for a host user whom the settings do not know: everything would be hidden from them."""
    if person.kind is PersonKind.UNKNOWN:
        me = _me()
        raise Refused(f"The host user {me} is nobody in keyturn.yml; put `os: {me}` to a person there.", "unknown-user")


def _me() -> str:
    """Who runs this, as the system knows it; variables such as USER say whatever somebody wants."""
    uid = os.getuid()
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid-{uid}"


def _await_answer(database: Database, number: int, wait: float) -> Mapping[str, Any] | None:
    """The answer is written by another process, so the only event to wait for is the row itself."""
    until = time.monotonic() + wait
    while time.monotonic() < until:
        with database.read() as reader:
            row = reader.intent(number)
        if row is not None and row.answer is not None:
            return row.answer
        time.sleep(LOOK_EVERY)
    return None


def show(answer: Answer, as_json: bool, code: int | None = None, raw: Any = None) -> int:
    """Print an answer; the exit code follows from whether it is good."""
    from bot.engine.worker import as_json as answer_json

    if as_json:
        print(json.dumps(raw or answer_json(answer), ensure_ascii=False))
    else:
        print(answer.text, file=sys.stdout if answer.good else sys.stderr)
        if answer.table is not None:
            print(_grid(answer.table.columns, answer.table.rows))
        if answer.draft is not None:
            print(_draft(answer))
    return code if code is not None else (GOOD if answer.good else PROBLEMS)


def _grid(columns: tuple[str, ...], rows: tuple[tuple[str, ...], ...]) -> str:
    widths = [max(len(row[i]) for row in (columns, *rows)) for i in range(len(columns))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (columns, *rows)]
    return "\n".join(line.rstrip() for line in lines)


def _draft(answer: Answer) -> str:
    draft = answer.draft
    assert draft is not None
    plan = draft.plan
    lines = [f"Plan {plan.digest}", f"  runbook {plan.runbook} {plan.runbook_hash}"]
    for planned in plan.steps:
        wait = draft.waits.get(planned.id, "")
        lines.append(f"  {planned.section.value:6} {planned.id:12} {planned.title}{' · ' + wait if wait else ''}")
    lines += [
        f"  [{'x' if box.ticked else ' '}] {box.name}: {box.evidence or 'for you to tick'}" for box in draft.boxes
    ]
    lines += [f"  warning: {warning}" for warning in draft.warnings]
    lines.append(f"  promoted by about {draft.expected_end:%Y-%m-%d %H:%M} UTC")
    if draft.retired_by:
        lines.append(f"  old one retired by about {draft.retired_by:%Y-%m-%d %H:%M} UTC")
    return "\n".join(lines)


def apply_now(settings: Settings, *, yes: bool, as_json: bool) -> int:
    """Show the difference between file and inventory, ask, and apply."""
    from bot.app import declared_rows, open_database
    from bot.engine.apply import apply, difference

    database = open_database(settings)
    database.check_schema()
    rows = declared_rows(settings)
    actor = f"os:{_me()}"
    changes = difference(database, rows)
    for problem in settings.unreviewed():
        print(problem, file=sys.stderr)
    if as_json:
        print(json.dumps(asdict(changes)))
    else:
        for sign, keys in (("+", changes.added), ("~", changes.changed), ("-", changes.removed)):
            for name, environment in keys:
                print(f"{sign} {name}@{environment}")
    if not any((changes.added, changes.changed, changes.removed)):
        apply(database, rows, settings.config_hash, actor)
        print("The inventory is what keyturn.yml says.", file=sys.stderr)
        return GOOD
    if not yes:
        if as_json or not sys.stdin.isatty():
            print("Nothing was applied; say --yes.", file=sys.stderr)
            return PROBLEMS
        if input("Apply? [y/N] ").strip().lower() != "y":
            return PROBLEMS
    apply(database, rows, settings.config_hash, actor)
    print("Applied.", file=sys.stderr)
    return GOOD


def review_file(path: Path, by: str, environ: Mapping[str, str]) -> int:
    """Write the review into the file; people are who the settings say they are, where there are settings."""
    from bot.core.reviewed import same_spelling
    from bot.linting import settings_if_any
    from bot.reviewing import review

    try:
        settings = settings_if_any(environ)
        loaded = review(path, by, settings.policy.same_name if settings else same_spelling)
    except Refused as error:
        print(error, file=sys.stderr)
        return PROBLEMS
    except OSError as error:
        print(f"{path} cannot be read or written: {error.strerror}.", file=sys.stderr)
        return PROBLEMS
    print(f"{by} has reviewed {loaded.name} as it stands ({loaded.content}). Keep the file under version control.")
    return GOOD


def lint_files(files: list[Path], environ: Mapping[str, str], *, as_json: bool) -> int:
    """Lint the named runbooks, or the whole installation when none is named."""
    from bot import linting
    from bot.catalog import Catalog
    from bot.engine.secrets import SecretDoor

    catalog = Catalog({}, lambda: door)
    door = SecretDoor(catalog.store)
    mistakes: list[str] = []
    if files:
        findings = linting.lint_files(files, catalog)
    else:
        findings, mistakes = linting.lint_installation(environ, catalog)
    errors = [found for found in findings if found.severity == "error"]
    if as_json:
        print(json.dumps({"mistakes": mistakes, "findings": [asdict(finding) for finding in findings]}))
    else:
        for line in (*mistakes, *findings):
            print(line)
        if not mistakes and not findings:
            print("Nothing to say.")
    return PROBLEMS if mistakes or errors else GOOD


def verify_audit(settings: Settings, *, as_json: bool) -> int:
    """Verify the chain, its signatures and the witness; prints what was found."""
    from bot.app import open_database
    from bot.keys import open_public
    from bot.store.seal import FileWitness
    from bot.store.verify import verify

    environment = settings.environment
    database = open_database(settings)
    database.check_schema()
    report = verify(database, open_public(environment.keys), FileWitness(environment.witness))
    if as_json:
        print(json.dumps(asdict(report) | {"sound": report.is_sound}))
    elif report.is_sound:
        print(
            f"The audit verifies: {report.rows} rows, head {report.head.short}, {report.signatures} signed heads, "
            f"{report.witnessed} seen by the witness, {report.unsigned} rows since the last of them."
        )
    else:
        print(f"The audit does NOT verify ({report.rows} rows):")
        for problem in report.problems:
            print(f"  {problem.kind}: {problem.sentence}")
        if report.more:
            print(f"  and {report.more} more")
    return GOOD if report.is_sound else PROBLEMS


def export_audit(settings: Settings, since: int) -> int:
    """Stream the audit as NDJSON."""
    from bot.app import open_database
    from bot.store.audit import export

    database = open_database(settings)
    database.check_schema()
    with database.read() as reader:
        export(reader.audit_rows(since), sys.stdout)
    return GOOD
