"""One life of the bot, driven step by step in one thread, with time that jumps instead of passing."""

from __future__ import annotations

import json
import secrets
import urllib.request
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

import bot.engine.executor as executor_module
from adapters._web import open_http
from bot.app import Engine, build_engine, declared_rows
from bot.catalog import Catalog
from bot.contracts.delivery import Leg
from bot.core.rotation import Stage
from bot.engine.apply import apply
from bot.engine.executor import Executor
from bot.engine.intake import Heard
from bot.engine.secrets import SecretDoor
from bot.settings import Settings, read_environment, read_settings
from bot.store.clock import Clock
from bot.store.database import Database
from playground.installation import TEAM
from tests.kill.boundaries import Boundaries
from tests.world import GROUPS, Colleagues, describe

BOXES = ("access", "incidents", "rollback-plan", "notified", "dashboard", "contacts")
MOST_TURNS = 400


@dataclass(frozen=True)
class Life:
    """What one process is to do: carry the rotation of `credential` to its end, or die at a boundary before."""

    database_url: str
    settings: str
    folder: str
    control: str
    credential: str
    requester: str
    result: str
    die_at: int = 0
    naive: bool = False
    roll_back_at: str = ""
    """Id of the step at whose wait somebody asks for a rollback."""


@lru_cache(maxsize=8)
def _settings(text: str, folder: str, database_url: str) -> Settings:
    environment = read_environment({"KEYTURN_DATABASE_URL": database_url, "KEYTURN_KEYS": f"{folder}/keys"})
    return read_settings(text, environment, file="keyturn.yml", folder=Path(folder))


def preload(text: str, folder: str, database_url: str) -> None:
    """Do the slow, pure part before the fork: settings, imports, the machine's certificate authorities."""
    settings = _settings(text, folder, database_url)
    catalog = Catalog(settings.declared.adapters, lambda: SecretDoor(catalog.store))
    catalog.commands()
    list(catalog.words())
    open_http().close()


def live(life: Life) -> None:
    """Live until the rotation is over or the boundary comes."""
    boundaries = Boundaries(life.die_at)
    boundaries.install()
    if life.naive:
        _forget_how_to_look()
    settings = _settings(life.settings, life.folder, life.database_url)
    database = Database.open(life.database_url, Clock(offset=timedelta(seconds=_ask(life, "/offset"))))
    apply(database, declared_rows(settings), settings.config_hash)
    engine = build_engine(settings, database, Colleagues(settings.policy, GROUPS))
    boundaries.armed = True
    with database.begin() as tx:
        tx.heartbeat(engine.name)
        for other in tx.workers():
            if other != engine.name:
                tx.leave(other)
    engine.timers.reap()
    _name_crossings(engine, boundaries)
    _drive(engine, life)
    boundaries.armed = False
    Path(life.result).write_text(json.dumps(boundaries.names))
    database.close()


def _drive(engine: Engine, life: Life) -> None:
    hear = engine.intake.hear
    hear(_heard(life, "start", life.requester, f'start {life.credential} --reason "weekly"', True))
    for _ in range(MOST_TURNS):
        if _work(engine):
            continue
        with engine.database.read() as reader:
            known = reader.rotations(limit=1)  # its number has gaps where a transaction died
            rotation = reader.rotation(known[0].number) if known else None
            due = reader.next_due_at()
        if rotation is None:
            raise AssertionError("the start was refused")
        number = rotation.number
        if rotation.is_over:
            return
        if any(run.stage is Stage.HELD for run in rotation.steps):
            raise AssertionError(f"held: {rotation.outcome}")
        if not rotation.votes:
            hear(_heard(life, "approve", "bob", f"approve R-{number}"))
            continue
        if life.roll_back_at and not rotation.outcome.startswith("Rolled back"):
            at = rotation.current
            if at is not None and rotation.plan.steps[at].id == life.roll_back_at:
                hear(_heard(life, "rollback", "bob", f'rollback R-{number} --reason "errors"'))
                continue
        assert due is not None, "nothing is due and nothing is over"
        offset = _ask(life, f"/jump?to={due.timestamp()}")
        engine.database.clock.advance(timedelta(seconds=offset) - engine.database.clock.offset)
        engine.timers.tick()
    raise AssertionError("it never ends: " + describe(rotation))


def _name_crossings(engine: Engine, boundaries: Boundaries) -> None:
    """Every crossing carries the step and the attempt under way."""
    execute = engine.executor.execute

    def named(rotation: Any, i: int) -> Any:
        run = rotation.steps[i]
        boundaries.place = f"{rotation.plan.steps[i].id}{'-undo' if run.undoing else ''}/{run.attempt}"
        return execute(rotation, i)

    engine.executor.execute = named  # type: ignore[method-assign]  # instrumentation


def _heard(life: Life, what: str, person: str, words: str, confirmed: bool = False) -> Heard:
    return Heard(
        key=f"{life.credential}-{what}",
        account=f"slack:{TEAM}/U0{person.upper()}",
        text=words,
        channel="C0OPS",
        confirmed=confirmed,
        ticked=BOXES,
    )


def _work(engine: Engine) -> bool:
    """Run what is stored: the rows are the truth, so that no delivery is needed to find it."""
    with engine.database.read() as reader:
        legs = [Leg(number) for number in reader.new_intents()]
        legs += [Leg(number, step, attempt) for number, step, attempt in reader.queued_steps()]
    for leg in legs:
        engine.worker.run(leg)
    return bool(legs)


def _ask(life: Life, path: str) -> float:
    with urllib.request.urlopen(f"{life.control}{path}", timeout=30) as answer:
        return float(answer.read())


def _forget_how_to_look() -> None:
    """The control: an engine that repeats after a crash without looking, under a new token each time."""
    run_for = Executor.run_for

    def with_new_token(self: Executor, *arguments: Any) -> Any:
        return replace(run_for(self, *arguments), token=f"naive-{secrets.token_hex(6)}")

    def without_looking(operation: Any, p: Any, run: Any, *, look_first: bool) -> Any:
        return operation.ensure(p, run), "done"

    Executor.run_for = with_new_token  # type: ignore[method-assign]  # the control is a broken engine
    executor_module._apply = without_looking
