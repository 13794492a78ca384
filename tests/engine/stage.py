"""An engine without an estate: the real board, legs, timers and signatures; groups, Slack and plans are the test's."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from bot.contracts.command import Call, Draft, Need
from bot.contracts.delivery import Leg
from bot.core.ballot import Ballot
from bot.core.plan import Plan
from bot.core.policy import ApprovalRule, Delegate, Escalation, Person, PersonKind, Policy, Role, Who
from bot.core.rotation import Done, Outcome, Rotation
from bot.core.windows import Calendar
from bot.engine.board import Board
from bot.engine.electorate import Electorate
from bot.engine.legs import Legs
from bot.engine.signers import Signers
from bot.engine.timers import Timers
from bot.store.database import Database
from bot.store.records import AuditRow, Declared
from tests.core import emergency
from tests.ssh import Key

MINUTE = timedelta(minutes=1)
NAMES = ("alice", "bob", "carol", "dave", "erin", "mallory")
GROUPS = {"sec-oncall": {"bob", "carol"}, "platform-oncall": {"erin"}, "director": {"dave"}}
REVOKING = ApprovalRule(
    who=Who(groups=frozenset({"sec-oncall"})),
    expires=timedelta(minutes=30),
    words=frozenset({"revoke"}),
    signed=True,
    break_glass=timedelta(hours=1),
    remind=2 * MINUTE,
    escalation=(
        Escalation(5 * MINUTE, Who(groups=frozenset({"platform-oncall"})), page=True),
        Escalation(15 * MINUTE, Who(groups=frozenset({"director"})), page=True),
    ),
)
ORDINARY = ApprovalRule(who=Who(groups=frozenset({"sec-oncall"})))


class People:
    """A directory whose groups a test edits. `down` is Slack being unreachable."""

    def __init__(self) -> None:
        self.members = {name: set(members) for name, members in GROUPS.items()}
        self.down = False
        self.memory = False
        self.asked = 0

    def groups(self, names: Collection[str]) -> Mapping[str, frozenset[str] | None]:
        self.asked += 1
        return dict.fromkeys(names) if self.down else {name: frozenset(self.members[name]) for name in names}

    def remembered(self, names: Collection[str]) -> Mapping[str, frozenset[str] | None]:
        return {name: frozenset(self.members[name]) if self.memory else None for name in names}

    def person(self, account: str) -> Person:
        return Person(account, kind=PersonKind.MEMBER)

    def known(self, account: str) -> Person | None:
        return self.person(account)


class Plans:
    """Plans that follow the policy; `fact` is what a test changes in the world."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.fact = "k1"
        self.changes: dict[str, Any] = {}

    def plan(self, subject: Any, requester: str, reason: str, word: str = "start", order: str = "") -> Plan:
        rule = self._policy.rule(subject, word)
        stages = tuple(
            {"after": one.after.total_seconds(), "to": list(one.names), "page": one.page} for one in rule.escalation
        )
        asked: dict[str, Any] = {
            "requester": requester,
            "reason": reason,
            "approvers": rule.count,
            "approve_from": rule.names,
            "approve_within": rule.expires,
            "signed": rule.signed,
            "remind": rule.reminds,
            "escalation": stages,
            "break_glass": rule.break_glass,
            "facts": {"old": {"value": self.fact, "source": "jwks", "bound": "same", "at_most": None}},
        }
        if word == "revoke":
            first = order in ("", "contain-first")
            asked |= {"order": order or "contain-first", "contained": 2 if first else 0}
            asked |= {"steps": emergency.CONTAIN_FIRST[:-1] if first else emergency.REPLACE_FIRST[:-1]}
            return emergency.plan(**asked | self.changes)
        return emergency.ordinary(**asked)

    def draft(self, subject: Any, requester: str, reason: str, word: str = "start", order: str = "") -> Draft:
        plan = self.plan(subject, requester, reason, word, order)
        return Draft(plan, (), emergency.START, None)


class Stage:
    """One installation on a database whose clock can be moved."""

    def __init__(
        self,
        database: Database,
        folder: Path,
        rules: tuple[ApprovalRule, ...] = (REVOKING, ORDINARY),
        delegates: tuple[Delegate, ...] = (),
        calendar: Calendar | None = None,
    ) -> None:
        self.database = database
        self.clock = database.clock
        everything = Role("all", Who(everyone=True), frozenset(Need) - {Need.APPROVE})
        people = tuple(Person(name, slack_ids=frozenset({f"U0{name.upper()}"}), os_user=name) for name in NAMES)
        self.policy = Policy(people, frozenset(GROUPS), (everything,), rules, delegates)
        self.people = People()
        self.plans = Plans(self.policy)
        self._folder = folder
        self._keys: dict[str, Key] = {}
        signers = folder / "allowed_signers"
        signers.write_text("")
        signers.chmod(0o600)
        plans: Any = self.plans
        nothing: Any = None
        electorate = Electorate(self.policy, self.people, Signers(signers, NAMES))
        self.board = Board(
            database, plans, self.policy, self.people, electorate, nothing, nothing, dict, calendar or Calendar()
        )
        self.outcome: Callable[[Rotation, int], Outcome] = lambda rotation, i: Done({"id": f"x{i}"}, "ok")
        executor: Any = self
        self.legs = Legs(database, executor, self.board.replan, "w-stage", self.board.opening)
        with database.begin() as tx:
            tx.heartbeat("w-stage")
            tx.apply_credentials(
                [Declared("identity-signing", "production", "signing-key", "alice", "identity-es256", None, {}, {})]
            )

    # --- what the engine asks of its surroundings ---------------------------------------------------------------------

    def execute(self, rotation: Rotation, i: int) -> Outcome:
        """What a step does."""
        return self.outcome(rotation, i)

    # --- people -------------------------------------------------------------------------------------------------------

    def key(self, person: str) -> Key:
        """The person's key, which counts from now on."""
        if person not in self._keys:
            self._keys[person] = Key.make(self._folder, person)
            with (self._folder / "allowed_signers").open("a") as file:
                file.write(f"{person} {self._keys[person].public}\n")
        return self._keys[person]

    def call(self, person: str, need: Need, **more: Any) -> Call:
        kind = more.pop("kind", PersonKind.MEMBER)
        who = more.pop("who", None) or replace(self.policy.resolve_person(f"slack:U0{person.upper()}"), kind=kind)
        return Call(need.value, need, who, intent=0, **more)

    def revoke(self, person: str = "alice", order: str = "", **more: Any) -> Rotation:
        return self.board.revoke(self.call(person, Need.REVOKE, **more), "identity-signing", "seen in a log", order)

    def start(self, person: str = "alice") -> Rotation:
        return self.board.start(self.call(person, Need.START), "identity-signing", "weekly")

    def signature(self, person: str, rotation: Rotation, vote: str = "approve") -> str:
        plan, bound = rotation.plan, bound_to(rotation)
        ballot = Ballot(rotation.id, plan.credential, plan.environment, bound["digest"], bound["nonce"], vote)
        return self.key(person).sign(ballot)

    def vote(
        self, person: str, rotation: Rotation, *, sign: bool | str = True, approve: bool = True, **more: Any
    ) -> Rotation:
        """A vote on the rotation as it was given; `sign` may be somebody's armored signature."""
        armored = self.signature(person, rotation) if sign is True else sign or ""
        more.setdefault("bound", bound_to(rotation))
        flags = {"signature": armored} if armored else {}
        call = self.call(person, Need.APPROVE, flags=flags, **more)
        return self.board.vote(call, rotation.id, approve=approve, reason="a false alarm")

    def contain(self, person: str, rotation: Rotation) -> Rotation:
        flags = {"signature": self.signature(person, rotation, "break-glass")}
        call = self.call(person, Need.REVOKE, flags=flags, bound=bound_to(rotation))
        return self.board.break_glass(call, rotation.id, "nobody answers")

    def rollback(self, person: str, rotation: Rotation) -> Rotation:
        return self.board.rollback(self.call(person, Need.ROLLBACK), rotation.id, "a false alarm")

    # --- machinery ----------------------------------------------------------------------------------------------------

    def work(self) -> None:
        """Run what is queued until nothing is."""
        for _ in range(50):
            with self.database.read() as reader:
                queued = reader.queued_steps()
            if not queued:
                return
            for number, step, attempt in queued:
                self.legs.run(Leg(number, step, attempt))
        raise AssertionError("it never comes to rest")

    def timers(self, database: Database | None = None) -> Timers:
        """A replica's timers, not started."""
        return Timers(database or self.database, "w-timers", called=self.board.called)

    def pass_time(self, by: timedelta, *timers: Timers) -> None:
        """Move the clock and let every replica tick until nobody has to be called."""
        self.clock.advance(by)
        for each in timers or (self.timers(),):
            each.tick()
        self.until(lambda: not self._due(timers), "people to be called")

    def _due(self, timers: tuple[Timers, ...]) -> bool:
        with self.database.read() as reader:
            due = reader.calls_due(reader.now, 10)
        for each in (timers or (self.timers(),)) if due else ():
            each.tick()
        return bool(due)

    def load(self, rotation: Rotation) -> Rotation:
        with self.database.read() as reader:
            found = reader.rotation(rotation.number)
        assert found is not None
        return found

    def audit(self, rotation: Rotation, event: str) -> list[AuditRow]:
        with self.database.read() as reader:
            return [row for row in reader.audit_rows() if row.rotation == rotation.id and row.event == event]

    @staticmethod
    def until(look: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if look():
                return
            time.sleep(0.005)
        raise AssertionError(f"timed out waiting for {what}")


def bound_to(rotation: Rotation) -> dict[str, str]:
    """What a click on its card binds to."""
    if rotation.amendment is not None:
        return {"digest": rotation.amendment.digest, "nonce": rotation.amendment.nonce}
    return {"digest": rotation.plan.digest, "nonce": rotation.nonce}
