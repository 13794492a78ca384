"""The inventory's lanes on a database whose clock can be moved; owners, groups and a system are the test's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from bot.contracts.adapter import Discovery, Found, Run
from bot.contracts.command import Call, Need
from bot.core.automatic import Automatic
from bot.core.discovered import Find
from bot.core.policy import ApprovalRule, Person, PersonKind, Policy, Role, Who
from bot.core.reminders import Rules
from bot.core.windows import Calendar
from bot.engine.discoveries import Discoveries
from bot.engine.inventory_desk import InventoryDesk
from bot.engine.lookout import Lookout
from bot.engine.owners import Owners
from bot.engine.reminders import Reminders, Setting
from bot.engine.watching import Watch
from bot.store.database import Database
from bot.store.records import AuditRow, CredentialRow, Declared, NoticeRow
from bot.store.tables import CREDENTIAL, NOTICE, REMINDER

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
MONDAY = datetime(2027, 1, 4, 12, tzinfo=UTC)
NAMES = ("alice", "bob", "carol", "dave")
GROUPS = {"platform": {"carol", "dave"}, "nobody": set[str](), "security": {"bob"}}
PRODUCTION = "production"


class People:
    """A directory that a test edits: who is away, who is in which group, and whether Slack answers."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.away: dict[str, PersonKind] = {}
        self.members = {name: set(members) for name, members in GROUPS.items()}
        self.down = False
        self._read: set[str] = set()

    def person(self, account: str) -> Person:
        found = self._policy.resolve_person(account)
        kind = PersonKind.UNKNOWN if self.down else self.away.get(found.id, PersonKind.MEMBER)
        return replace(found, kind=kind)

    def known(self, account: str) -> Person | None:
        return self.person(account)

    def groups(self, names: Any) -> Mapping[str, frozenset[str] | None]:
        self._read |= set() if self.down else set(names)
        return {name: None if self.down else frozenset(self.members.get(name, ())) for name in names}

    def remembered(self, names: Any) -> Mapping[str, frozenset[str] | None]:
        return {name: frozenset(self.members.get(name, ())) if name in self._read else None for name in names}


class Listed(Discovery):
    """What a system holds; `breaks` is what it raises after so many pages."""

    def __init__(self) -> None:
        self.held: list[Found] = []
        self.page = 2
        self.breaks: tuple[int, Exception] | None = None
        self.rounds = 0
        self.after_a_page: Callable[[], None] | None = None
        """Happens once, when a page has been listed."""

    def pages(self, p: Any, run: Run) -> Iterator[Sequence[Found]]:
        self.rounds += 1
        for number, begin in enumerate(range(0, max(len(self.held), 1), self.page)):
            if self.breaks is not None and number >= self.breaks[0]:
                raise self.breaks[1]
            listed = self.held[begin : begin + self.page]
            if self.after_a_page is not None:
                after, self.after_a_page = self.after_a_page, None
                after()
            yield listed


class Keep:
    """One installation."""

    def __init__(
        self,
        database: Database,
        rules: Rules | None = None,
        automatic: tuple[Automatic, ...] = (),
        calendar: Calendar | None = None,
        at: datetime | None = MONDAY,
        may: frozenset[Need] = frozenset(Need) - {Need.APPROVE},
        approvals: tuple[ApprovalRule, ...] = (),
    ) -> None:
        self.database = database
        everything = Role("all", Who(everyone=True), may)
        people = tuple(Person(name, slack_ids=frozenset({f"U0{name.upper()}"}), os_user=name) for name in NAMES)
        self.policy = Policy(people, frozenset(GROUPS), (everything,), approvals)
        self.people = People(self.policy)
        self.rules = rules or Rules()
        self.setting = Setting(self.rules, automatic, calendar or Calendar(), {"default": "C0DEFAULT"})
        self.system = Listed()
        self.find = Find("identity", "identity.keys", PRODUCTION, {}, "", 6 * HOUR)
        self.reminders = Reminders(database, self.policy, self.people, self.setting)
        nothing: Any = None
        self.lookout = lookout = Lookout(database, self.policy, self.people, nothing, dict)
        self.in_use = ""
        self.desk = InventoryDesk(
            database,
            self.policy,
            self.people,
            lookout,
            self.rules,
            self.setting.calendar,
            lambda target: False,
            lambda row, person: self.in_use,
        )
        self.declare_discoveries(self.find)
        self.owners = Owners(database, self.rules, self.reminders.recipients, "C0DEFAULT")
        self.watch = Watch(database, self.reminders.recipients, "C0DEFAULT")
        if at is not None:
            self.go_to(at)

    def declare_discoveries(self, *finds: Find) -> None:
        """As settings do; a start brings the tables in line."""
        nothing: Any = None
        self.discoveries = Discoveries(self.database, self, nothing, finds, self.policy)  # type: ignore[arg-type]  # discovers only

    def discovery(self, word: str) -> Discovery:
        return self.system

    # --- time ---------------------------------------------------------------------------------------------------------

    @property
    def now(self) -> datetime:
        return self.database.now()

    def go_to(self, at: datetime) -> None:
        self.database.clock.advance(at - self.now)

    def turn(self, most: int = 50) -> datetime | None:
        """Look until nothing is due; says what will be next."""
        for _ in range(most):
            with self.database.read() as reader:
                due, now = reader.next_remind_at(), reader.now
            if due is None or due > now:
                return due
            self.reminders.turn()
        raise AssertionError("it never comes to rest")

    def pass_days(self, days: float, each: timedelta = HOUR) -> None:
        """Hour by hour, as a running bot does."""
        until = self.now + days * DAY
        while self.now < until:
            self.database.clock.advance(min(each, until - self.now))
            self.turn()

    def run_until(self, until: datetime) -> None:
        """From one due time to the next."""
        while True:
            due = self.turn()
            if due is None or due > until:
                self.go_to(until)
                return
            self.go_to(max(due, self.now))

    # --- what there is ------------------------------------------------------------------------------------------------

    def declare(self, *rows: Declared) -> None:
        with self.database.begin() as tx:
            tx.apply_credentials(rows)

    def row(self, name: str, environment: str = PRODUCTION) -> CredentialRow:
        with self.database.read() as reader:
            return reader.credential(name, environment)[0]

    def rotated(self, name: str, at: datetime | None = None) -> None:
        """As if a rotation had ended."""
        with self.database.begin() as tx:
            tx.update_credential(name, PRODUCTION, last_rotated_at=at or tx.now, remind_at=tx.now)

    def discover(self) -> None:
        """One round, now."""
        self.discoveries.declare()
        with self.database.begin() as tx:
            again = "UPDATE discovery SET due_at = 0, claimed_until = NULL WHERE due_at IS NOT NULL"
            tx.connection.exec_driver_sql(again)
        self.discoveries.turn()
        self.turn()

    def notices(self, unsent: bool = False) -> list[NoticeRow]:
        with self.database.read() as reader:
            query = NOTICE.select().order_by(NOTICE.c.id)
            if unsent:
                query = query.where(NOTICE.c.sent_at.is_(None))
            return [NoticeRow(*row) for row in reader.connection.execute(query)]

    def deliver(self) -> list[NoticeRow]:
        """Slack takes what waits."""
        waiting = self.notices(unsent=True)
        with self.database.begin() as tx:
            for row in waiting:
                tx.sent(row.id, "1.0")
        return waiting

    def told(self) -> list[tuple[str, datetime, str]]:
        """Every tier that was told: name, expiry, tier."""
        with self.database.read() as reader:
            query = REMINDER.select().order_by(REMINDER.c.told_at, REMINDER.c.due_at)
            return [(row.credential, row.expiry, row.tier) for row in reader.connection.execute(query)]

    def all_rows(self) -> list[CredentialRow]:
        with self.database.read() as reader:
            return [CredentialRow(*row) for row in reader.connection.execute(CREDENTIAL.select())]

    def audit(self, event: str) -> list[AuditRow]:
        with self.database.read() as reader:
            return list(reversed(reader.history(event=event, limit=1000)))

    def call(self, person: str = "alice", need: Need = Need.SEE) -> Call:
        who = replace(self.policy.resolve_person(f"slack:U0{person.upper()}"), kind=PersonKind.MEMBER)
        return Call(need.value, need, who, channel="C0DEFAULT")


def declared(
    name: str, owner: str = "alice", cadence: timedelta | None = 90 * DAY, place: str = "", channel: str = "C0TEAM"
) -> Declared:
    """A credential as settings declare it."""
    return Declared(name, PRODUCTION, "api-key", owner, "identity-api-key", cadence, {}, {"channel": channel}, place)
