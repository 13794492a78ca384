"""Opens a rotation that was planned: nothing of it may be open, and its card, log and notices are saved with it."""

from __future__ import annotations

import secrets as random
from collections.abc import Callable

from bot.contracts.command import Draft
from bot.core.decide import decide
from bot.core.errors import Refused
from bot.core.rotation import Opened, Rotation
from bot.engine.announce import announce
from bot.engine.electorate import Electorate
from bot.engine.planner import Subject
from bot.engine.retirements import retirements
from bot.engine.target import Named
from bot.store.database import Database
from bot.store.reading import Reader
from bot.store.writing import Transaction


class Opener:
    """For people and for policy alike."""

    def __init__(self, database: Database, electorate: Electorate) -> None:
        self._database = database
        self._electorate = electorate

    def open(
        self,
        subject: Subject,
        draft: Draft,
        channel: str,
        mark: Callable[[Transaction, Rotation], None],
        *,
        unconfirmed: bool = False,
    ) -> Rotation:
        """Save it as a request. `mark` is called in the same transaction, and may still refuse."""
        plan = draft.plan
        target = Named(subject.name, subject.environment, subject.kind, subject.owner)
        eligible = self._electorate.frozen(target, plan.requester, plan.word, self._database.now())
        with self._database.begin() as tx:
            self.may_open(tx, subject, plan.word)
            number = tx.next_number()
            opened = Opened(number, plan, random.token_hex(8), channel, draft.boxes, eligible, unconfirmed=unconfirmed)
            rotation = tx.save(None, decide(None, opened, tx.now))
            for form in ("card", "log"):
                tx.add_drawing(number, form, rotation.channel, rotation.version, urgent=plan.emergency)
            announce(tx, None, rotation)
            mark(tx, rotation)
        return rotation

    def may_open(self, reader: Reader, subject: Subject, word: str = "start") -> None:
        """Raise `Refused` while another one of it is open, or too many versions are valid."""
        revocation = reader.open_rotation(subject.name, subject.environment, "revoke")
        if revocation is not None:
            raise Refused(
                f"{revocation.id} is already revoking {subject.name}; follow it with: status {revocation.id}.",
                code="already-open",
            )
        if word == "revoke":
            return  # it takes over whatever is open, and no number of valid versions may stand in its way
        rotation = reader.open_rotation(subject.name, subject.environment)
        if rotation is not None:
            raise Refused(
                f"{rotation.id} is already rotating {subject.name}; follow it with: status {rotation.id}.",
                code="already-open",
            )
        overlapping = reader.open_overlaps(subject.name, subject.environment)
        if overlapping + 2 > subject.max_valid:
            raise Refused(
                f"{subject.name} still has {overlapping} old version(s) being retired, and at most {subject.max_valid} "
                f"versions may be valid; {retirements(reader, subject.name, subject.environment)}. "
                f"See: status {subject.name}.",
                code="too-many-valid",
            )
