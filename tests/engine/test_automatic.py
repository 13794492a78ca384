"""Rotations that policy starts: once for each date, with consent where it is wanted, and never silently not at all."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pytest

from bot.contracts.adapter import Effect, Operation, Outputs, Run
from bot.contracts.command import Need
from bot.core.automatic import Automatic, rule_of, starts_at
from bot.core.errors import Permanent, Transient
from bot.core.incident_rules import Errand
from bot.core.policy import ApprovalRule, Who
from bot.core.reminders import Rules, Stage
from bot.core.rotation import Done, Failed, State
from bot.core.schedule import Dates
from bot.core.windows import Calendar, Freeze, Window
from bot.engine.automatic import Starter
from bot.engine.paging import Pager
from bot.engine.reminders import Reminders, Setting
from bot.store.database import Database
from bot.store.records import NoticeRow
from bot.store.tables import NOTICE
from tests.engine.keeping_stage import DAY, HOUR, MONDAY, PRODUCTION, Keep, declared
from tests.engine.stage import ORDINARY
from tests.engine.stage import Stage as World

NAME = "identity-signing"
WEEK = 7 * DAY
MINUTE = timedelta(minutes=1)
ALONE = ApprovalRule(count=0, who=Who(groups=frozenset({"sec-oncall"})))


class Machine:
    """A world whose policy starts rotations."""

    def __init__(
        self, database: Database, folder: Path, rule: ApprovalRule, ask_ahead: timedelta = timedelta(0)
    ) -> None:
        self.world = World(database, folder, (rule,))
        rules = (Automatic(ask_ahead=ask_ahead, classes=frozenset({"signing-key"})),)
        setting = Setting(Rules(), rules, Calendar(), {})
        self.reminders = Reminders(database, self.world.policy, self.world.people, setting)
        self.starter = Starter(database, self.world.board.start_by_policy, rules, self.reminders.recipients)
        self.database = database
        with database.begin() as tx:
            tx.connection.exec_driver_sql(f"UPDATE credential SET cadence = {int(WEEK.total_seconds() * 1e6)}")
            tx.update_credential(NAME, PRODUCTION, last_rotated_at=tx.now, remind_at=tx.now)
        self.reminders.turn()

    def pass_time(self, by: timedelta) -> None:
        self.world.clock.advance(by)
        self.reminders.turn()
        self.starter.turn()
        self.reminders.turn()

    def open(self) -> list[State]:
        with self.database.read() as reader:
            return [row.state for row in reader.rotations(credential=NAME)]


def test_it_starts_by_itself_once_before_it_is_due(database: Database, tmp_path: Path) -> None:
    machine = Machine(database, tmp_path, ALONE)
    machine.pass_time(6 * DAY)
    assert machine.open() == []
    machine.pass_time(20 * HOUR)
    assert machine.open() == [State.APPROVED]
    with database.read() as reader:
        (row,) = reader.rotations(credential=NAME)
        assert (row.requester, row.owner) == ("keyturn", "alice")
        assert reader.history(event="credential.started-by-policy")
    machine.pass_time(HOUR)
    assert len(machine.open()) == 1
    machine.world.work()
    machine.pass_time(2 * DAY)
    assert len(machine.open()) == 1, "it was started twice for one date"


def test_where_policy_wants_consent_it_is_asked_for_ahead(database: Database, tmp_path: Path) -> None:
    machine = Machine(database, tmp_path, ORDINARY, ask_ahead=DAY)
    machine.pass_time(5 * DAY + 12 * HOUR)
    assert machine.open() == [State.REQUESTED]
    with database.read() as reader:
        rotation = reader.rotation(reader.rotations(credential=NAME)[0].number)
    assert rotation is not None
    assert machine.world.vote("bob", rotation, sign=False).state is State.APPROVED


def test_what_is_asked_for_ahead_lapses_no_sooner_than_what_is_asked_for_at_the_start(
    database: Database, tmp_path: Path
) -> None:
    machine = Machine(database, tmp_path, ORDINARY, ask_ahead=3 * DAY)
    machine.pass_time(4 * DAY)
    assert machine.open() == [State.REQUESTED]
    machine.world.pass_time(2 * DAY + 12 * HOUR)  # 12 hours before it is due, 12 hours before an ordinary one lapses
    assert machine.open() == [State.REQUESTED]
    with database.read() as reader:
        rotation = reader.rotation(1)
    assert rotation is not None
    approved = machine.world.vote("bob", rotation, sign=False)
    assert approved.state is State.APPROVED
    assert machine.world.board.replan(approved) is None, "it is the plan that was approved"


@pytest.mark.parametrize("looked", [False, True], ids=["it was recorded", "and looked at"])
@pytest.mark.parametrize("works", [True, False], ids=["it could start", "planning fails"])
def test_what_is_replaced_while_others_are_planned_is_not_rotated_again(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, works: bool, looked: bool
) -> None:
    machine = Machine(database, tmp_path, ALONE)
    draft = machine.world.plans.draft

    def slow(*args: Any, **more: Any) -> Any:
        """Meanwhile somebody replaces it by hand."""
        with database.begin() as tx:
            tx.update_credential(NAME, PRODUCTION, last_rotated_at=tx.now, remind_at=tx.now)
        if looked:
            machine.reminders.turn()
        if not works:
            raise Permanent("no adapter offers it", "install it")
        return draft(*args, **more)

    monkeypatch.setattr(machine.world.plans, "draft", slow)
    machine.pass_time(6 * DAY + 20 * HOUR)
    monkeypatch.setattr(machine.world.plans, "draft", draft)
    machine.pass_time(HOUR + MINUTE)
    machine.pass_time(HOUR + MINUTE)
    assert machine.open() == []
    with database.read() as reader:
        assert not reader.history(event="credential.not-started-by-policy")
    machine.pass_time(6 * DAY + 12 * HOUR)
    assert machine.open() == [State.APPROVED], "of the next date it is started"


def test_a_start_that_fails_is_told_once_and_tried_again(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(database, tmp_path, ALONE)
    draft = machine.world.plans.draft

    def broken(*args: object, **more: object) -> None:
        raise Permanent("no adapter offers it", "install it")

    monkeypatch.setattr(machine.world.plans, "draft", broken)
    machine.pass_time(6 * DAY + 20 * HOUR)
    for _ in range(3):
        machine.pass_time(HOUR + timedelta(minutes=1))
    with database.read() as reader:
        assert len(reader.history(event="credential.not-started-by-policy")) == 1
        assert reader.rotations(credential=NAME) == []
    monkeypatch.setattr(machine.world.plans, "draft", draft)
    machine.pass_time(HOUR + timedelta(minutes=1))
    assert machine.open() == [State.APPROVED]


def test_the_last_opening_before_it_is_due_is_used() -> None:
    target = declared("key")
    tuesdays = Window("tuesdays", time(10), time(12), days=frozenset({1}))
    dates = Dates(cadence=30 * DAY, last_rotated_at=MONDAY)  # due on a Wednesday
    at = starts_at(Automatic(), target, dates, Calendar((tuesdays,), ()))
    assert at == datetime(2027, 2, 2, 10, tzinfo=UTC)
    assert dates.due == datetime(2027, 2, 3, 12, tzinfo=UTC)
    frozen = Calendar((tuesdays,), (Freeze("f", MONDAY + 20 * DAY, MONDAY + 40 * DAY),))
    assert starts_at(Automatic(), target, dates, frozen) is not None


def test_the_first_rule_that_fits_holds() -> None:
    rules = (Automatic(on=False, environments=frozenset({PRODUCTION})), Automatic())
    assert rule_of(rules, declared("key")) is None
    assert rule_of(rules[1:], declared("key")) == rules[1]


# --- the pager --------------------------------------------------------------------------------------------------------


class Paged(Operation):
    """A pager that a test reads."""

    effect = Effect.CREATES

    class Params(Operation.Params):
        summary: str

    def __init__(self) -> None:
        self.sent: list[tuple[str, str]] = []
        self.ended: list[tuple[str, Outputs]] = []
        self.fails = 0
        self.meanwhile: Callable[[], None] = lambda: None

    def ensure(self, p: Params, run: Run) -> Outputs:
        if self.fails:
            self.fails -= 1
            raise Permanent("no such service", "look at the routing key")
        self.sent.append((run.token, p.summary))
        self.meanwhile()
        return {"alert": run.token}

    def undo(self, p: Params, run: Run, outputs: Outputs) -> None:
        if self.fails:
            self.fails -= 1
            raise Transient("the pager is away")
        self.ended.append((run.token, outputs))


class Pagers:
    def __init__(self, paged: Paged) -> None:
        self._paged = paged

    def operation(self, word: str) -> Operation:
        return self._paged


def pager_of(database: Database, paged: Paged) -> Pager:
    registry: Any = Pagers(paged)
    secrets: Any = None
    return Pager(database, registry, secrets, Errand("pagerduty.page"))


def test_when_nobody_acts_the_pager_rings_once(database: Database) -> None:
    keep = Keep(database, Rules(escalation=(Stage(timedelta(0), (), page=True),)))
    paged = Paged()
    paged.fails = 1
    pager = pager_of(database, paged)
    keep.declare(declared("key"))
    keep.rotated("key", MONDAY - 89 * DAY)
    keep.turn()
    keep.run_until(MONDAY + 3 * DAY)
    for _ in range(5):
        pager.turn()
        keep.database.clock.advance(timedelta(minutes=5))
    assert [summary for _, summary in paged.sent] == [
        "key (production) is due on 2027-01-05 12:00 UTC, and nobody acts"
    ]
    assert [row.detail["told"] for row in keep.audit("credential.reminded") if "escalation-1" in row.detail["tiers"]]


def test_a_failed_automatic_rotation_pages_and_its_owner_hears(database: Database, tmp_path: Path) -> None:
    machine = Machine(database, tmp_path, ALONE)
    paged = Paged()
    pager = pager_of(database, paged)
    machine.world.outcome = lambda rotation, i: Failed("the store says 403", "give it the permission")
    machine.pass_time(6 * DAY + 20 * HOUR)
    machine.world.work()
    assert machine.open() == [State.HELD]
    with database.read() as reader:
        rows = [NoticeRow(*row) for row in reader.connection.execute(NOTICE.select().order_by(NOTICE.c.id))]
    channel = next(row for row in rows if row.key.startswith("held-"))
    owner = next(row for row in rows if row.key.startswith("automatic-held-"))
    assert (channel.person, channel.payload["broadcast"]) == ("", True)
    assert (owner.person, owner.payload["owner"]["name"], owner.payload["owner"]["credential"]) == (
        "@alice", "alice", NAME,
    )  # fmt: skip
    assert owner.text.startswith("The automatic rotation needs you: R-1")
    assert "the store says 403" in owner.text
    for _ in range(3):
        pager.turn()
        machine.pass_time(HOUR)
    ((token, summary),) = paged.sent
    assert NAME in token
    assert summary.endswith("and its automatic rotation R-1 is held")
    with database.begin() as tx:
        tx.update_credential(NAME, PRODUCTION, last_rotated_at=tx.now, remind_at=tx.now)
    machine.pass_time(MINUTE)
    pager.turn()
    assert [ended for ended, _ in paged.ended] == [token], "what is replaced by hand needs nobody any more"


def test_an_automatic_rotation_that_ends_well_after_all_resolves_its_alert(database: Database, tmp_path: Path) -> None:
    machine = Machine(database, tmp_path, ALONE)
    paged = Paged()
    pager = pager_of(database, paged)
    machine.world.outcome = lambda rotation, i: Failed("the store says 403")
    machine.pass_time(6 * DAY + 20 * HOUR)
    machine.world.work()
    pager.turn()
    machine.world.outcome = lambda rotation, i: Done({"id": f"x{i}"}, "ok")
    machine.world.board.retry(machine.world.call("bob", Need.RETRY), "R-1", "mended")
    machine.world.work()
    assert machine.open() == [State.PROMOTED]
    pager.turn()
    assert len(paged.sent) == len(paged.ended) == 1


def test_a_rotation_that_somebody_started_pages_nobody(database: Database, tmp_path: Path) -> None:
    machine = Machine(database, tmp_path, ALONE)
    machine.world.outcome = lambda rotation, i: Failed("the store says 403")
    machine.world.start()
    machine.world.work()
    assert machine.open() == [State.HELD]
    with database.read() as reader:
        assert reader.pages() == []


def test_nobody_is_paged_for_what_was_replaced_meanwhile(database: Database) -> None:
    keep = Keep(database, Rules(escalation=(Stage(timedelta(0), (), page=True),)))
    paged = Paged()
    pager = pager_of(database, paged)
    keep.declare(declared("key"))
    keep.rotated("key", MONDAY - 91 * DAY)
    keep.turn()
    with keep.database.read() as reader:
        assert len(reader.pages()) == 1
    keep.rotated("key")
    keep.turn()
    pager.turn()
    with keep.database.read() as reader:
        assert reader.pages() == []
    assert paged.sent == []


def test_the_pager_is_told_once_when_somebody_has_acted(database: Database) -> None:
    keep = Keep(database, Rules(escalation=(Stage(timedelta(0), (), page=True), Stage(HOUR, (), page=True))))
    paged = Paged()
    pager = pager_of(database, paged)

    def work() -> None:
        for _ in range(6):
            pager.turn()
            keep.database.clock.advance(timedelta(minutes=5))

    keep.declare(declared("key"), declared("other"))
    for name in ("key", "other"):
        keep.rotated(name, MONDAY - 91 * DAY)
    keep.run_until(MONDAY + 3 * HOUR)
    work()
    assert len(paged.sent) == 4
    assert len({token for token, _ in paged.sent}) == 2, "one alert for each credential"
    assert paged.ended == []
    keep.rotated("key")
    keep.turn()
    paged.fails = 1
    work()
    keep.turn()
    work()
    [(token, outputs)] = paged.ended
    assert "-key-" in token
    assert outputs == {"alert": token}
    assert [row.detail["said"] for row in keep.audit("errand.outcome")][-2:] == ["failed: the pager is away", "done"]
    with keep.database.read() as reader:
        assert reader.pages() == []


def test_a_page_that_goes_out_while_somebody_acts_is_ended(database: Database) -> None:
    keep = Keep(database, Rules(escalation=(Stage(timedelta(0), (), page=True),)))
    paged = Paged()
    pager = pager_of(database, paged)
    keep.declare(declared("key"))
    keep.rotated("key", MONDAY - 91 * DAY)
    keep.turn()

    def act() -> None:
        keep.rotated("key")
        keep.turn()

    paged.meanwhile = act
    pager.turn()
    assert (len(paged.sent), paged.ended) == (1, [])
    pager.turn()
    assert [token for token, _ in paged.ended] == [token for token, _ in paged.sent]
