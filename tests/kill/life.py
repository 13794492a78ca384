"""One life of the bot, driven step by step in one thread, with time that jumps instead of passing."""

from __future__ import annotations

import json
import secrets
import threading
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

import bot.engine.executor as executor_module
from bot.app import Engine, build_engine, declared_rows
from bot.contracts.delivery import Leg
from bot.core.ballot import NAMESPACE, Ballot
from bot.core.rotation import Rotation, Stage
from bot.engine.apply import apply
from bot.engine.executor import Executor
from bot.engine.intake import Heard
from bot.settings import Settings, read_environment, read_settings
from bot.store.clock import Clock
from bot.store.database import Database
from playground.installation import TEAM
from tests.kill.boundaries import Boundaries
from tests.kill.stories import SIGNERS, STORIES
from tests.ssh import SoftwareToken
from tests.world import GROUPS, Colleagues, describe

BOXES = ("access", "incidents", "rollback-plan", "notified", "dashboard", "contacts")
MOST_TURNS = 400
MOST_LATE = timedelta(minutes=30)
TOKENS = {name: SoftwareToken("ed25519") for name in ("bob", "carol")}
"""Security keys, the same in every life of one zygote."""

_opened: dict[str, Database] = {}


@dataclass(frozen=True)
class Life:
    """What one process is to do: carry a story to its end, or die at a boundary before."""

    database_url: str
    settings: str
    folder: str
    control: str
    story: str
    result: str
    die_at: str = ""
    crossed: Sequence[str] = ()
    """It goes on where another one was idle, which had crossed these."""
    place: str = "begin/1"
    """Step and attempt then."""
    records: bool = False
    """It has estate and database kept whenever it is idle."""
    naive: bool = False
    rehearsal: bool = False
    """Lived by the zygote itself, without boundaries, so that everything is imported, read and compiled once."""


@lru_cache(maxsize=8)
def _settings(text: str, folder: str, database_url: str) -> Settings:
    environment = read_environment({"KEYTURN_DATABASE_URL": database_url, "KEYTURN_KEYS": f"{folder}/keys"})
    keys = [f'{name} namespaces="{NAMESPACE}" {token.public}\n' for name, token in TOKENS.items()]
    Path(folder, SIGNERS).write_text("".join(keys))
    return read_settings(text, environment, file="keyturn.yml", folder=Path(folder))


def _open(url: str, clock: Clock) -> Database:
    """A database as at a fresh start: no connection and no state is inherited, only SQL that is compiled already."""
    known = _opened.get(url)
    if known is None:
        _opened[url] = known = Database.open(url, clock)
    return Database(known.engine, clock, known.path)


def live(life: Life) -> None:
    """Live until the story is over or the boundary comes."""
    boundaries = Boundaries(life.die_at, life.crossed)
    if not life.rehearsal:
        boundaries.install()
    if life.naive:
        _forget_how_to_look()
    settings = _settings(life.settings, life.folder, life.database_url)
    database = _open(life.database_url, Clock(offset=timedelta(seconds=_ask(life, "/offset"))))
    apply(database, declared_rows(settings), settings.config_hash)
    engine = build_engine(settings, database, Colleagues(settings.policy, GROUPS))
    boundaries.armed = not life.crossed
    with database.begin() as tx:
        tx.heartbeat(engine.name)
        for other in tx.workers():
            if other != engine.name:
                tx.leave(other)
    engine.timers.reap()
    boundaries.place, boundaries.armed = life.place, True
    _name_crossings(engine, boundaries)
    _drive(engine, life, boundaries)
    boundaries.armed = False
    Path(life.result).write_text(json.dumps(boundaries.names))
    database.close()


def _drive(engine: Engine, life: Life, boundaries: Boundaries) -> None:
    story = STORIES[life.story]
    if not life.crossed:  # whatever went before it died: Slack repeats what was not acknowledged
        engine.intake.hear(_heard(life, 0, None))
    for _ in range(MOST_TURNS):
        if _work(engine):
            continue
        with engine.database.read() as reader:
            known = reader.rotations(limit=1)  # its number has gaps where a transaction died
            rotation = reader.rotation(known[0].number) if known else None
            due, now = reader.next_due_at(), reader.now
            said = [reader.intent_by_key(_key(life, i)) for i in range(len(story.lines))]
        for intent in said:
            answer = intent.answer if intent is not None else None
            if answer is not None and not answer["good"]:
                raise AssertionError(f"refused: {answer['text']}")
        assert rotation is not None
        left = [i for i, intent in enumerate(said) if intent is None]
        if rotation.is_over and not left:
            return
        if any(run.stage is Stage.HELD for run in rotation.steps):
            raise AssertionError("held: " + describe(rotation))
        if life.records:
            engine.database.close()
            _ask(life, f"/keep?crossed={len(boundaries.names)}&place={boundaries.place}")
        if left and story.lines[left[0]].at in ("", _place(rotation)):
            engine.intake.hear(_heard(life, left[0], rotation))
            continue
        assert due is not None, "nothing is due and nothing is over: " + describe(rotation)
        offset = _ask(life, f"/jump?to={_late(rotation, due, now, story.rarely).timestamp()}")
        engine.database.clock.advance(timedelta(seconds=offset) - engine.database.clock.offset)
        engine.timers.tick()
        for thread in threading.enumerate():  # who has to be called is called beside the timers
            if thread.name == "caller":
                thread.join()
    raise AssertionError("it never ends" + (f": {describe(rotation)}" if rotation is not None else ""))


def _place(rotation: Rotation) -> str:
    """Id of the step at which it stands."""
    at = rotation.current
    return "" if at is None else rotation.plan.steps[at].id


def _late(rotation: Rotation, due: datetime, now: datetime, rarely: int) -> datetime:
    """When a worker looks next: the second time in time, and then later and later, as a busy one would.

    A step that looks every few seconds crosses the same boundaries each time: so there are few looks, at least three
    where it waits for long, and a kill at every boundary of each.
    """
    at = rotation.current
    looks = rotation.steps[at].attempt if at is not None else 0
    if looks < 2 or due <= now:
        return due
    late: timedelta = (due - now) * rarely ** min(looks - 1, 8)
    return min(now + late, due + MOST_LATE)


def _name_crossings(engine: Engine, boundaries: Boundaries) -> None:
    """Every crossing carries the step and the attempt under way."""
    execute = engine.executor.execute

    def named(rotation: Any, i: int) -> Any:
        run = rotation.steps[i]
        boundaries.place = f"{rotation.plan.steps[i].id}{'-undo' if run.undoing else ''}/{run.attempt}"
        return execute(rotation, i)

    engine.executor.execute = named  # type: ignore[method-assign]  # instrumentation


def _key(life: Life, i: int) -> str:
    return f"{life.story}-{i}"


def _heard(life: Life, i: int, rotation: Rotation | None) -> Heard:
    line = STORIES[life.story].lines[i]
    flags = {}
    if line.signs:
        assert rotation is not None
        plan = rotation.plan
        ballot = Ballot(rotation.id, plan.credential, plan.environment, plan.digest, rotation.nonce, line.signs)
        flags["signature"] = TOKENS[line.person].sign(ballot)
    return Heard(
        key=_key(life, i),
        account=f"slack:{TEAM}/U0{line.person.upper()}",
        text=line.words.format(number=rotation.number if rotation is not None else ""),
        flags=flags,
        channel="C0OPS",
        confirmed=True,
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

    Executor.run_for = with_new_token  # type: ignore[method-assign,assignment]  # the control is a broken engine
    executor_module._apply = without_looking
