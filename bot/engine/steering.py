"""The use cases that steer a rotation that is open, and the way every use case decides: load, decide, save."""

from __future__ import annotations

import secrets as random
from collections.abc import Callable, Mapping
from typing import Any

from bot.contracts.command import Call
from bot.contracts.people import Directory
from bot.core.decide import Stale, decide
from bot.core.errors import Refused
from bot.core.incident import gone_on
from bot.core.plan import EXPIRED
from bot.core.policy import Policy
from bot.core.rotation import Advanced, Cancelled, Happening, Retried, RolledBack, Rotation, Skipped, State, TakenOver
from bot.engine.announce import announce
from bot.engine.electorate import Electorate
from bot.engine.expiry import check_stage
from bot.engine.library import Library
from bot.engine.lookout import Lookout
from bot.engine.signers import Signed
from bot.store.database import Database
from bot.store.writing import Transaction

ATTEMPTS = 8


class Steering(Lookout):
    """What people do with a rotation that is under way."""

    def __init__(
        self,
        database: Database,
        policy: Policy,
        directory: Directory,
        electorate: Electorate,
        library: Library,
        commands: Callable[[], Mapping[str, Any]],
    ) -> None:
        super().__init__(database, policy, directory, library, commands)
        self._electorate = electorate

    def advance(self, call: Call, text: str, evidence: str = "", step: str = "") -> Rotation:
        """Confirm a manual gate, or look again now."""
        return self._decide(call, self.find(call, text).number, Advanced(call.person.id, evidence, step))

    def retry(self, call: Call, text: str, reason: str = "") -> Rotation:
        """Try a failed step again."""
        return self._decide(call, self.find(call, text).number, Retried(call.person.id, reason))

    def skip(self, call: Call, text: str, reason: str, step: str = "") -> Rotation:
        """Skip the current step, or ask a second person whether to."""
        event = Skipped(call.person.id, reason, random.token_hex(8), step)
        return self._decide(call, self.find(call, text).number, event)

    def cancel(self, call: Call, text: str, reason: str) -> Rotation:
        """Withdraw a request of which nothing was done."""
        return self._decide(call, self.find(call, text).number, Cancelled(call.person.id, reason))

    def rollback(self, call: Call, text: str, reason: str) -> Rotation:
        """Put everything back."""
        rotation = self.find(call, text)
        self._is_newest(rotation)
        return self._decide(call, rotation.number, RolledBack(call.person.id, reason, random.token_hex(8)))

    def _is_newest(self, rotation: Rotation) -> None:
        """What a later rotation builds upon cannot be taken away under it."""
        plan = rotation.plan
        if rotation.state is not State.PROMOTED:
            return
        with self._database.read() as reader:
            for word in ("start", "revoke"):
                other = reader.open_rotation(plan.credential, plan.environment, word)
                if other is not None and other.number != rotation.number:
                    raise Refused(
                        f"{other.id} already rotates {plan.credential} further; finish or roll back that one first.",
                        code="already-open",
                    )
            promoted = reader.rotations(
                credential=plan.credential,
                environment=plan.environment,
                states=(State.PROMOTED,),
                limit=1,
                incidents=False,
            )
        if promoted and promoted[0].number > rotation.number:
            raise Refused(
                f"R-{promoted[0].number} has rotated {plan.credential} since; roll that one back first.",
                code="superseded",
            )

    def _decide(self, call: Call, number: int, event: Happening, signed: Signed | None = None) -> Rotation:
        """Load, decide, save; again when another decision came first."""
        for _ in range(ATTEMPTS):
            try:
                with self._database.begin() as tx:
                    rotation = tx.rotation(number)
                    check_stage(tx, rotation, event)
                    saved = tx.save(rotation, decide(rotation, event, tx.now))
                    announce(tx, rotation, saved)
                    self._take_over(tx, rotation, saved)
                    if signed is not None:
                        self._electorate.signers.note_change(tx, signed.file)
                    self._mark(tx, call, saved)
                return saved
            except Stale:
                continue
        raise Refused(f"R-{number} is changing too fast right now; try again in a moment.", code="busy")

    @staticmethod
    def _take_over(tx: Transaction, before: Rotation | None, after: Rotation) -> None:
        """A revocation that begins ends what else is under way for the credential, in the same transaction."""
        begins = before is not None and before.state is State.REQUESTED and before.glass is None
        if not after.plan.emergency or not begins or (after.state is State.REQUESTED and after.glass is None):
            return
        for word in ("start", EXPIRED):
            other = tx.open_rotation(after.plan.credential, after.plan.environment, word)
            if other is None or after.state is State.CANCELLED:
                continue
            announce(tx, other, tx.save(other, decide(other, TakenOver(after.id), tx.now)))
            incident = tx.incident(other.number) if other.plan.expiry else None
            if incident is not None and incident.is_open:
                closed, entry = gone_on(incident, after.id, tx.now)
                tx.save_incident(incident, closed, entry)

    @staticmethod
    def _mark(tx: Transaction, call: Call, rotation: Rotation) -> None:
        """The intent has had its effect: when it runs a second time it only answers."""
        if call.intent and not tx.mark_intent(call.intent, rotation.number):
            raise Refused(f"This was done already; see {rotation.id}.", code="late")
