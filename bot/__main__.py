"""The command line. Exit codes: 0 good, 1 found problems, 2 wrong use. Everything heavy is imported by its command."""

from __future__ import annotations

import json
import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from bot import __version__
from bot.core.errors import Invalid, KeyturnError, Permanent, Refused, Transient

if TYPE_CHECKING:
    from bot.settings import Settings

app = typer.Typer(
    name="keyturn",
    help="Rotate credentials by runbook, from Slack.",
    no_args_is_help=True,
    rich_markup_mode=None,  # rich would cost half of the time of --help
    pretty_exceptions_enable=False,
    add_completion=True,
)
audit_app = typer.Typer(help="The audit chain: verify it, export it.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(audit_app, name="audit")

GOOD, PROBLEMS, WRONG = 0, 1, 2


class Where(StrEnum):
    """What the playground has to rotate in."""

    SMALL = "small"
    KUBERNETES = "kubernetes"


Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    """Rotate credentials by runbook, from Slack."""
    if version:
        typer.echo(f"keyturn {__version__}")
        raise typer.Exit


@app.command()
def serve() -> None:
    """Run the bot: Slack, worker, timers, health."""
    _run_bot(slack=True)


@app.command()
def worker() -> None:
    """Run a worker without Slack, beside others on PostgreSQL."""
    _run_bot(slack=False)


@app.command()
def run(
    words: Annotated[str, typer.Argument(help='What you would type after /rotate, such as "status R-7".')],
    as_json: Json = False,
    wait: Annotated[float, typer.Option(help="Seconds to wait for the worker's answer.")] = 60.0,
    signature: Annotated[
        str, typer.Option(help="File with what `keyturn approve` printed; - for standard input.")
    ] = "",
) -> None:
    """Say a word of /rotate from this host, also when Slack is down."""
    from bot.signing import read_signature
    from bot.terminal import say

    try:
        signed = read_signature(signature) if signature else ""
    except Refused as error:
        _fail(str(error), WRONG)
    _exit(say(_settings(), words, as_json=as_json, wait=wait, signature=signed))


@app.command()
def plan(credential: str, as_json: Json = False) -> None:
    """Show what a rotation of the credential would do. Touches nothing."""
    from bot.terminal import plan as show_plan

    _exit(show_plan(_settings(), credential, as_json=as_json))


@app.command()
def forecast(
    days: Annotated[int, typer.Option(help="How far to look ahead.", min=1, max=370)] = 90,
    png: Annotated[Path | None, typer.Option(help="Draw it into this file; needs keyturn[plots].")] = None,
    as_json: Json = False,
) -> None:
    """Show what is due week by week, collisions, and where approvers are missing."""
    from bot.terminal import forecast as look_ahead

    _exit(look_ahead(_settings(), days, png, as_json=as_json))


@app.command()
def approve(
    rotation: Annotated[str, typer.Argument(help="The rotation, such as R-7.")],
    credential: Annotated[str, typer.Option(help="Its credential, as the card shows it.")],
    environment: Annotated[str, typer.Option(help="The credential's environment.")],
    plan: Annotated[str, typer.Option(help="The plan's digest, sha256:…")],
    nonce: Annotated[str, typer.Option(help="The nonce on the card.")],
    vote: Annotated[str, typer.Option(help="What the card asks you to sign.")] = "approve",
    key: Annotated[str, typer.Option(help="The SSH key; git's, a usual one or your agent's when left out.")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Sign without asking.")] = False,
    as_json: Json = False,
) -> None:
    """Sign an approval with your SSH key, on your own machine. Needs no settings and sends nothing."""
    from bot.core.ballot import Ballot
    from bot.signing import approve as sign

    try:
        ballot = Ballot(rotation, credential, environment, plan, nonce, vote)
    except Refused as error:
        _fail(str(error), WRONG)
    _exit(sign(ballot, key, yes=yes, as_json=as_json))


@app.command()
def migrate() -> None:
    """Bring the database's schema up to date."""
    from bot.app import open_database

    applied = open_database(_settings()).migrate()
    typer.echo(f"Applied {', '.join(applied)}." if applied else "The schema is up to date.")


@app.command("apply")
def apply_settings(
    yes: Annotated[bool, typer.Option("--yes", help="Apply without asking.")] = False, as_json: Json = False
) -> None:
    """Show what keyturn.yml would change in the inventory, then apply it."""
    from bot.terminal import apply_now

    _exit(apply_now(_settings(), yes=yes, as_json=as_json))


@app.command()
def lint(
    files: Annotated[list[Path] | None, typer.Argument(help="Runbooks; all of the installation when left out.")] = None,
    as_json: Json = False,
) -> None:
    """Check runbooks: references, waits, order, and what contradicts itself."""
    from bot.terminal import lint_files

    _exit(lint_files(files or [], dict(os.environ), as_json=as_json))


@app.command()
def review(
    file: Annotated[Path, typer.Argument(help="The runbook.")],
    by: Annotated[str, typer.Option(help="Who has read it: a person of the settings, not its author.")],
) -> None:
    """Write into a runbook that you have read it as it stands. The next edit makes that void."""
    from bot.terminal import review_file

    _exit(review_file(file, by, dict(os.environ)))


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="Where keyturn.yml, the manifest and the keys go.")] = Path("."),
) -> None:
    """Begin an installation: settings, Slack manifest, keys, and what to do next."""
    from bot.setup.begin import begin

    _exit(begin(folder))


@app.command()
def doctor(as_json: Json = False) -> None:
    """Check an installation: settings, tokens, scopes, groups, channels, database, adapters."""
    from bot.setup.doctor import examine

    _exit(examine(dict(os.environ), as_json=as_json))


@app.command()
def permissions(
    roles: Annotated[bool, typer.Option("--roles", help="Print Roles and bindings for Kubernetes.")] = False,
    values: Annotated[bool, typer.Option("--values", help="Print values for the Helm chart.")] = False,
    cluster: Annotated[str, typer.Option(help="For which cluster, as keyturn.yml calls it.")] = "default",
    account: Annotated[str, typer.Option(help="The service account to bind, as NAMESPACE/NAME.")] = "keyturn/keyturn",
    as_json: Json = False,
) -> None:
    """Show what each system has to allow keyturn for the declared credentials. Touches nothing."""
    from bot.setup.permissions import show_grants, show_permissions

    if roles + values + as_json > 1:
        _fail("Say one of --roles, --values and --json.", WRONG)
    if not (roles or values):
        _exit(show_permissions(_settings(), as_json=as_json))
    _exit(show_grants(_settings(), "roles" if roles else "values", cluster, account))


@app.command()
def playground(
    port: Annotated[int, typer.Option(help="Port of the page.")] = 8765,
    folder: Annotated[Path, typer.Option(help="Where its database and keys are kept.")] = Path(".playground"),
    rate: Annotated[
        float | None, typer.Option(help="How much faster its clock runs: 1440 times, or 60 times with a cluster.")
    ] = None,
    estate: Annotated[
        Where, typer.Option(help="What there is to rotate in: small, or kubernetes for a real control plane as well.")
    ] = Where.SMALL,
) -> None:
    """Try everything on this machine: a Slack workspace, a small estate, and the bot."""
    try:
        from playground.launch import play
    except ModuleNotFoundError as error:
        _fail(f"The playground needs the package {error.name}; install keyturn[playground].", WRONG)
    _exit(play(port, folder, rate, estate.value))


@audit_app.command("verify")
def audit_verify(as_json: Json = False) -> None:
    """Check every row, the chain, the signed heads and the witness."""
    from bot.terminal import verify_audit

    _exit(verify_audit(_settings(), as_json=as_json))


@audit_app.command("export")
def audit_export(
    since: Annotated[int, typer.Option(help="Begin after this row.")] = 0,
) -> None:
    """Write the audit as NDJSON to standard output."""
    from bot.terminal import export_audit

    _exit(export_audit(_settings(), since))


def _settings() -> Settings:
    from bot.settings import load_settings

    return load_settings(os.environ)


def _run_bot(*, slack: bool) -> None:
    from bot.app import Bot
    from bot.logs import configure

    settings = _settings()
    configure(settings.environment.log_level, settings.environment.log_format.value)
    _exit(Bot(settings, slack=slack).serve())


def _exit(code: int) -> NoReturn:
    raise typer.Exit(code)


def _fail(message: str, code: int, **more: Any) -> NoReturn:
    if "--json" in sys.argv:
        typer.echo(json.dumps({"good": False, "text": message, **more}))
    else:
        typer.echo(message, err=True)
    raise SystemExit(code)


def main() -> None:
    """The console script: every error of ours is a sentence, never a traceback."""
    try:
        app()
    except Invalid as error:
        lines = "\n".join(f"  {problem}" for problem in error.problems)
        count = len(error.problems)
        _fail(f"{error.what} has {count} mistake{'s' if count > 1 else ''}:\n{lines}", WRONG, problems=error.problems)
    except Permanent as error:
        _fail(f"{error} {error.hint}".strip(), PROBLEMS)
    except Transient as error:
        _fail(f"{error} Try again, or let `keyturn doctor` look for the cause.", PROBLEMS)
    except KeyturnError as error:
        _fail(str(error), PROBLEMS)
    except BrokenPipeError:  # whoever read our output has enough, such as head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(PROBLEMS) from None


if __name__ == "__main__":
    main()
