"""The fuse box: the only file that knows every room. Builds a bot from its settings and starts and stops it."""

from __future__ import annotations

import logging
import os
import secrets as random
import signal
import socket
import threading
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING

from bot.catalog import Catalog
from bot.contracts.command import Summary
from bot.contracts.people import Directory
from bot.core.automatic import rule_of
from bot.core.errors import Invalid, Permanent, Refused
from bot.core.plan import Plan
from bot.engine.alarms import measured
from bot.engine.apply import apply
from bot.engine.board import Board
from bot.engine.checklist import Boxes
from bot.engine.directory import DeclaredPeople
from bot.engine.discoveries import Discoveries
from bot.engine.electorate import Electorate
from bot.engine.errands import Errands
from bot.engine.executor import Executor
from bot.engine.intake import Intake
from bot.engine.keeping import Keeping
from bot.engine.legs import Legs
from bot.engine.library import Library
from bot.engine.paging import Pager
from bot.engine.planner import Planner
from bot.engine.reminders import Setting
from bot.engine.secrets import SecretDoor
from bot.engine.signers import Signers
from bot.engine.target_rows import TargetRows
from bot.engine.timers import Timers
from bot.engine.trouble import Troubleshooter
from bot.engine.worker import Worker
from bot.keys import has_keys, make_keys, open_keys
from bot.settings import Environment, Settings
from bot.store.clock import Clock
from bot.store.database import Database
from bot.store.records import Declared
from bot.store.seal import FileWitness, Sealer, fingerprint, signers
from bot.store.verify import behind

if TYPE_CHECKING:
    from bot.health import Health
    from bot.slack.people import SlackPeople
    from bot.slack.room import Room

log = logging.getLogger(__name__)
WORKERS = 16
DRAIN_SECONDS = 10.0


@dataclass(frozen=True)
class Engine:
    """Everything but Slack: what the command line, a worker and the tests share."""

    settings: Settings
    database: Database
    catalog: Catalog
    executor: Executor
    board: Board
    intake: Intake
    worker: Worker
    timers: Timers
    errands: Errands
    keeping: Keeping
    people: Directory
    name: str
    """This process's name, fresh at every start."""

    def start(self, workers: int = WORKERS) -> None:
        """Recover what an earlier life left, then deliver and tick."""
        self.timers.enlist()
        self.database.delivery.start(self.worker.run, workers)
        self.timers.recover()
        self.database.after_commit += [self.timers.wake, self.errands.wake, self.keeping.wake]
        self.timers.start()
        self.errands.start()
        self.keeping.start()

    def stop(self) -> None:
        """Take nothing new, let running legs finish for a while, hand the rest over."""
        self.timers.stop()
        self.errands.stop()
        self.keeping.stop()
        self.database.delivery.stop(DRAIN_SECONDS)
        with self.database.begin() as tx:
            tx.leave(self.name)
        self.database.close()


def open_database(settings: Settings) -> Database:
    """The database with the settings' clock."""
    declared = settings.declared.clock
    anchor = datetime.fromtimestamp(declared.anchor, UTC) if declared.anchor is not None else None
    return Database.open(settings.environment.database_url, Clock(declared.rate, anchor))


def build_engine(settings: Settings, database: Database, directory: Directory | None = None) -> Engine:
    """Wire the engine. `directory` is Slack's where Slack is there."""
    people = directory or DeclaredPeople(settings.policy, settings.members)
    catalog = Catalog(settings.declared.adapters, lambda: door)
    door = SecretDoor(catalog.store)
    rate = database.clock.rate
    executor = Executor(catalog, door, database.now, lambda delay: delay * rate, TargetRows(database))
    policy = settings.policy

    def members(plan: Plan) -> Mapping[str, int | None]:
        groups = [name for name in plan.approve_from if name in policy.groups]
        found = people.groups(groups)
        return {name: None if who is None else len(who) for name, who in found.items()}

    library = Library(settings.runbooks, settings.policy.same_name)
    checklist = Boxes(partial(_recent, database), members, database.now)
    planner = Planner(catalog, library, door, checklist, policy.rule, database.now)
    trouble = Troubleshooter(database, catalog, executor)
    electorate = Electorate(policy, people, Signers(settings.signers, [person.id for person in policy.people]))
    board = Board(
        database,
        planner,
        policy,
        people,
        electorate,
        trouble,
        library,
        catalog.commands,
        settings.calendar,
        settings.reminders,
        lambda target: rule_of(settings.automatic, target) is not None,
    )
    setting = Setting(settings.reminders, settings.automatic, settings.calendar, settings.channels)
    pager = Pager(database, catalog, door, settings.incidents.page)
    discoveries = Discoveries(database, catalog, door, settings.finds, policy)
    name = f"{socket.gethostname()}-{os.getpid()}-{random.token_hex(4)}"
    legs = Legs(database, executor, board.replan, name, board.opening)
    worker = Worker(database, legs, catalog.commands, board, people, name)
    return Engine(
        settings=settings,
        database=database,
        catalog=catalog,
        executor=executor,
        board=board,
        intake=Intake(database, catalog.commands, board, people),
        worker=worker,
        timers=Timers(
            database,
            name,
            under_way=worker.under_way,
            called=board.called,
            nudge=settings.incidents.nudge,
            expiries=board.notice_expiries,
        ),
        errands=Errands(database, catalog, door, settings.incidents),
        keeping=Keeping(
            database,
            policy,
            people,
            setting,
            discoveries,
            board.start_by_policy,
            pager,
            settings.alarms,
            partial(measured, catalog, door),
            board.expired_by_itself,
        ),
        people=people,
        name=name,
    )


def _recent(database: Database, credential: str, environment: str) -> list[Summary]:
    with database.read() as reader:
        rows = reader.rotations(credential=credential, environment=environment, limit=20)
    return [
        Summary(
            row.number,
            row.credential,
            row.environment,
            row.state.value,
            row.overlap.value,
            row.requester,
            row.created_at,
            row.ended_at,
            row.outcome,
        )
        for row in rows
    ]


def declared_rows(settings: Settings) -> list[Declared]:
    """The settings' credentials as rows of the inventory."""
    return [
        Declared(
            name=entry.name,
            environment=entry.environment,
            kind=entry.kind,
            owner=entry.owner,
            runbook=entry.runbook,
            cadence=entry.cadence,
            inputs=entry.inputs,
            detail={
                "channel": entry.channel,
                "max_valid": entry.max_valid,
                "reviewed_runbook": entry.reviewed_runbook,
            }
            | ({"callers": list(entry.callers)} if entry.callers else {})
            | ({"warn_before": entry.warn_before.total_seconds()} if entry.warn_before is not None else {}),
            place=entry.place,
        )
        for entry in settings.credentials
    ]


def prepare(settings: Settings) -> Database:
    """Open the database, bring its schema up to date, and apply the settings.

    Raises `Permanent` before anything is written to a database that is not the one which the witness has seen.
    """
    database = open_database(settings)
    database.migrate()
    database.check_schema()
    witness = settings.environment.witness
    problem = behind(database, FileWitness(witness))
    if problem is not None:
        raise Permanent(
            f"The database is not what the audit's witness has seen: {problem.sentence}.",
            f"Restore the newest copy of the database. If the older one is meant, keep {witness} under another name as "
            "evidence, and start again.",
        )
    apply(database, declared_rows(settings), settings.config_hash)
    _note_signers(settings, database)
    return database


def _note_signers(settings: Settings, database: Database) -> None:
    """A change of the file of signers is in the audit before anybody votes by it."""
    if settings.signers is None:
        return
    known = Signers(settings.signers)
    try:
        found = known.content_hash()
    except Refused as error:
        log.error("nobody can sign: %s", error)
        return
    with database.begin() as tx:
        known.note_change(tx, found)


def make_sealer(environment: Environment, database: Database) -> Sealer:
    """Who signs the audit's heads.

    A fresh installation on SQLite gets its keys here. Raises `Permanent` when an audit that was signed before lacks its
    key now.
    """
    known = signers(database)
    first = database.path is not None and not known and not has_keys(environment.keys)
    keys = make_keys(environment.keys) if first else open_keys(environment.keys)
    if known - {fingerprint(key) for key in keys.public}:
        raise Permanent(
            f"The audit is signed with a key that is not in {environment.keys}.",
            "Restore the folder of the bot's keys from its backup, or name the right one in KEYTURN_KEYS.",
        )
    return Sealer(database, keys.signing, FileWitness(environment.witness))


class Bot:
    """A running bot: engine, Slack room unless it is a bare worker, and health."""

    def __init__(self, settings: Settings, *, slack: bool = True) -> None:
        if slack:
            settings.environment.require_slack()
        self.settings = settings
        self.database = prepare(settings)
        self.sealer = make_sealer(settings.environment, self.database)
        self.room: Room | None = None
        self.people: SlackPeople | None = None
        if settings.environment.bot_token is not None:  # a bare worker too has to ask Slack who somebody is
            from bot.slack.people import SlackPeople

            self.people = SlackPeople.build(settings, DeclaredPeople(settings.policy, settings.members))
        self.engine = build_engine(settings, self.database, self.people)
        if slack:
            from bot.slack.room import Room

            assert self.people is not None  # require_slack saw to it
            self.room = Room(settings, self.engine.intake, self.database, self.people, self.engine.board)
        self.engine.catalog.check_configs()
        self._check_words()
        self.health: Health | None = None
        self._running = ExitStack()
        self._stop = threading.Event()

    def _check_words(self) -> None:
        """Raises `Invalid` when the settings name errands, discoveries or alarms that no adapter offers."""
        if problems := self.settings.idle(self.engine.catalog):
            raise Invalid("keyturn.yml", tuple(str(problem) for problem in problems))

    def start(self) -> None:
        """Start everything; returns when the bot is ready. Where a part cannot start, those before it are stopped."""
        from bot.health import Health

        if self.people is None:
            log.warning("SLACK_BOT_TOKEN is not set: what people ask for in Slack is refused by this worker.")
        with ExitStack() as started:
            bind = self.settings.environment.http
            self.health = Health(bind, self.database, self.room, self.engine.timers, self.sealer)
            started.callback(self.health.stop)
            self.engine.start()
            started.callback(self.engine.stop)
            self.sealer.start()
            started.callback(self.sealer.stop)
            if self.room is not None:
                self.room.start()
                started.callback(self.room.stop)
            self.health.start()
            self._running = started.pop_all()

    def stop(self) -> None:
        """Stop in good order, within some ten seconds: hear nothing new, seal the audit, hand over, fall silent."""
        self._running.close()

    def serve(self) -> int:
        """Start, run until SIGTERM or SIGINT (or until fenced), stop. Returns the exit code."""

        def on_signal(number: int, frame: FrameType | None) -> None:
            self._stop.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, on_signal)
        self.start()
        while not self._stop.wait(0.5):
            if self.engine.timers.fenced.is_set():
                os._exit(70)  # others took our work over; anything we still do could be done twice
        self.stop()
        return 0
