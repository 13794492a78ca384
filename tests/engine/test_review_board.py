"""Use cases that once let something through: a rollback under a newer rotation, one person's second account, names."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from bot.contracts.adapter import Absent, Effect, Model, Observed, Operation, Outputs, Run
from bot.contracts.command import Call, Need
from bot.core.decide import decide
from bot.core.errors import Refused, Transient
from bot.core.plan import Plan
from bot.core.policy import Person, PersonKind, Policy, Role, Who
from bot.core.rotation import Began, Done, Ended, Failed, Rotation, State, Voted
from bot.engine.board import Board
from bot.engine.electorate import Electorate
from bot.engine.executor import Executor
from bot.engine.signers import Signers
from bot.engine.target_rows import TargetRows
from bot.engine.trouble import Troubleshooter
from bot.store.database import Database
from bot.store.records import Declared
from tests.engine.test_review_recovery import ME, noted
from tests.store import samples

__all__ = ["noted"]
EVERYTHING = Role("all", Who(everyone=True), frozenset(Need))
POLICY = Policy(people=(Person("bob", slack_ids=frozenset({"U2"})),), roles=(EVERYTHING,))
pytestmark = pytest.mark.usefixtures("noted")


class Groups:
    """A directory without groups."""

    def groups(self, names: Collection[str]) -> Mapping[str, frozenset[str] | None]:
        return {}

    remembered = groups


def make_board(database: Database, troubleshooter: Any = None) -> Board:
    nothing: Any = None
    people: Any = Groups()
    electorate = Electorate(POLICY, people, Signers(None))
    return Board(database, nothing, POLICY, people, electorate, troubleshooter, nothing, dict)


def call(person: Person, need: Need, **bound: str) -> Call:
    return Call(need.value, need, person, bound=bound, intent=0)


CAROL = Person("carol", kind=PersonKind.MEMBER)


def request(database: Database, plan: Plan) -> Rotation:
    with database.begin() as tx:
        return tx.save(None, samples.opened(tx.next_number(), plan, tx.now))


def take_step(database: Database, number: int, outcome: Any) -> Rotation:
    with database.begin() as tx:
        rotation = tx.rotation(number)
        assert rotation is not None
        i = rotation.current
        assert i is not None
        began = tx.save(rotation, decide(rotation, Began(i, rotation.steps[i].attempt, ME), tx.now))
        ended = Ended(i, began.steps[i].attempt, ME, outcome)
        return tx.save(began, decide(began, ended, tx.now))


def promoted(database: Database) -> Rotation:
    rotation = samples.approve(database, request(database, samples.plan(steps=1, retire=1, counts_old=False)))
    rotation = take_step(database, rotation.number, Done())
    assert rotation.state is State.PROMOTED
    return rotation


def test_a_promoted_rotation_is_not_rolled_back_under_a_newer_one(database: Database) -> None:
    older, newer = promoted(database), promoted(database)
    board = make_board(database)
    with pytest.raises(Refused) as refused:
        board.rollback(call(CAROL, Need.ROLLBACK), older.id, "why")
    assert refused.value.code == "superseded"
    assert board.rollback(call(CAROL, Need.ROLLBACK), newer.id, "why").state is State.ROLLING_BACK


def test_an_account_bound_to_a_person_since_its_vote_does_not_vote_twice(database: Database) -> None:
    rotation = request(database, replace(samples.plan(), approvers=2))
    board = make_board(database)
    bound = {"digest": rotation.plan.digest, "nonce": rotation.nonce}
    unbound = Person("slack:U2", slack_ids=frozenset({"U2"}), kind=PersonKind.MEMBER)
    with database.begin() as tx:  # as it was counted before the settings bound U2 to bob
        samples.apply(tx, rotation, Voted(unbound.id, True, "why", **bound))
    bob = Person("bob", slack_ids=frozenset({"U2"}), kind=PersonKind.MEMBER)
    with pytest.raises(Refused) as refused:
        board.vote(call(bob, Need.APPROVE, **bound), rotation.id, approve=True)
    assert refused.value.code == "double-vote"


def test_close_names_are_not_told_to_those_who_may_not_see_them(database: Database) -> None:
    row = Declared("identity-signing", "production", "key", "ann", "by-hand", timedelta(days=7), {}, {})
    with database.begin() as tx:
        tx.apply_credentials([row])
    board = make_board(database)
    guest = Person("eve", kind=PersonKind.GUEST)
    with pytest.raises(Refused) as refused:
        board.credential(call(guest, Need.SEE), "identity-signin")
    assert "identity-signing" not in str(refused.value)
    with pytest.raises(Refused, match="Did you mean identity-signing"):
        board.credential(call(CAROL, Need.SEE), "identity-signin")


# --- troubleshooting --------------------------------------------------------------------------------------------------


class Restart(Operation):
    """Does it once per token."""

    effect = Effect.CHANGES

    class Params(Model):
        pass

    def __init__(self) -> None:
        super().__init__(None)
        self.tokens: set[str] = set()
        self.away = False

    def observe(self, p: Params, run: Run) -> Observed:
        return Absent()

    def ensure(self, p: Params, run: Run) -> Outputs:
        if self.away:
            raise Transient("it is away")
        self.tokens.add(run.token)
        return {}


class Words:
    """A registry of one word."""

    def __init__(self, operation: Operation) -> None:
        self._operation = operation

    def operation(self, word: str) -> Operation:
        return self._operation


def trouble(database: Database, operation: Operation) -> tuple[Troubleshooter, Rotation]:
    registry: Any = Words(operation)
    secrets: Any = None
    executor = Executor(registry, secrets, database.now, lambda delay: delay, TargetRows(database))
    branch = {"id": "restart", "when": "401s", "do": "gateways.restart", "with": {}, "advice": ""}
    plan = replace(samples.plan(), trouble=(branch,))
    rotation = samples.approve(database, request(database, plan))
    return Troubleshooter(database, registry, executor), take_step(database, rotation.number, Failed("401"))


def test_a_repair_is_done_again_when_it_is_asked_for_again(database: Database) -> None:
    operation = Restart()
    helper, rotation = trouble(database, operation)
    for intent in (1, 1, 2):
        helper.run(rotation, "restart", "carol", intent)
    assert len(operation.tokens) == 2, "a second try after a crash is the same repair, a second wish is another one"


def test_a_repair_that_fails_has_its_outcome_in_the_audit(database: Database) -> None:
    operation = Restart()
    operation.away = True
    helper, rotation = trouble(database, operation)
    with pytest.raises(Transient):
        helper.run(rotation, "restart", "carol", 1)
    with database.read() as reader:
        assert len(reader.history(event="trouble.outcome")) == len(reader.history(event="trouble.intent")) == 1
