"""The use cases behind every word: find, check the right, decide, save. Implements `Rotations`."""

from __future__ import annotations

import secrets as random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

from bot.contracts.command import Call, Draft, Need, Suspect
from bot.contracts.people import Directory
from bot.core.calling import stage_due
from bot.core.consent import check_ballot
from bot.core.decide import decide
from bot.core.errors import KeyturnError, Refused
from bot.core.events import Entry, Event
from bot.core.plan import EXPIRED
from bot.core.policy import Policy, Target
from bot.core.reminders import Rules
from bot.core.rotation import (
    Called,
    Confirmed,
    GlassBroken,
    Opened,
    PlanChanged,
    Rotation,
    State,
    Ticked,
    Voted,
)
from bot.core.windows import Calendar
from bot.core.words import rotation_number
from bot.engine.announce import announce
from bot.engine.electorate import ON_THE_HOST, Electorate, ballot
from bot.engine.expiry import open_expiry
from bot.engine.incident_desk import IncidentDesk
from bot.engine.inventory_desk import InventoryDesk
from bot.engine.legs import Opening
from bot.engine.library import Library
from bot.engine.opener import Opener
from bot.engine.planner import Planner, Subject, changes, resolved
from bot.engine.steering import Steering
from bot.engine.target import target_of
from bot.engine.trouble import Troubleshooter
from bot.store.database import Database
from bot.store.reading import Reader
from bot.store.records import CredentialRow
from bot.store.writing import Transaction

ALWAYS = Calendar()
USUAL = Rules()
BOT = "keyturn"
"""Who asks for what policy starts."""
NO_OPENING = timedelta(hours=1)
"""When no window is in sight, the calendar is asked again after so long."""


LOOKED_AT, CHECKS_EACH, LOOKING_SECONDS, MOST_READING = 3, 2, 20.0, 300
"""Of how many suspects the checks are made, how many of each, for how long in all, and what is shown of each."""


class Board(Steering):
    """Every use case, for one installation. Stateless; safe from many threads."""

    def __init__(
        self,
        database: Database,
        planner: Planner,
        policy: Policy,
        directory: Directory,
        electorate: Electorate,
        troubleshooter: Troubleshooter,
        library: Library,
        commands: Callable[[], Mapping[str, Any]],
        calendar: Calendar = ALWAYS,
        rules: Rules = USUAL,
        automatic: Callable[[Target], bool] = lambda target: False,
    ) -> None:
        super().__init__(database, policy, directory, electorate, library, commands)
        self._calendar = calendar
        self._planner = planner
        self._opener = Opener(database, electorate)
        self._troubleshooter = troubleshooter
        self.incidents = IncidentDesk(database, policy, directory, self.find)
        self.inventory = InventoryDesk(database, policy, directory, self, rules, calendar, automatic, self._in_use)

    # --- starting and consenting --------------------------------------------------------------------------------------

    def draft(self, call: Call, credential: str, reason: str) -> Draft:
        """Plan without touching anything. Refused while another rotation of it is open."""
        subject = self._subject(call, credential)
        with self._database.read() as reader:
            self._opener.may_open(reader, subject)
        return self._planner.draft(subject, call.person.id, reason)

    def start(self, call: Call, credential: str, reason: str) -> Rotation:
        """Plan again and open. The plan that the person saw (`bound`) must be the plan that is opened.

        Only the reason may differ: it is typed under the plan, and `bound["reason"]` is the one that was shown.
        """
        return self._open(call, credential, reason, "start", "")

    def revocation(self, call: Call, credential: str, reason: str, order: str) -> Draft:
        """Plan an emergency revocation without touching anything."""
        subject = self._subject(call, credential)
        with self._database.read() as reader:
            self._opener.may_open(reader, subject, "revoke")
        return self._planner.draft(subject, call.person.id, reason, "revoke", order)

    def revoke(self, call: Call, credential: str, reason: str, order: str) -> Rotation:
        """Ask for an emergency revocation; a second person has to approve it, whatever policy says."""
        return self._open(call, credential, reason, "revoke", order)

    def expired(self, call: Call, credential: str, symptom: str) -> Rotation:
        """Open the incident of a credential that expired in use. Nothing is changed by that."""
        with self._database.read() as reader:
            row = self.named(reader, call, credential)
        reason = symptom.strip() or f"{call.person.id} says that it has expired"
        plan = self._planner.plan(subject_of(row), call.person.id, reason, EXPIRED)
        with self._database.begin() as tx:
            rotation = open_expiry(tx, plan, subject_of(row).channel or call.channel)
            announce(tx, None, rotation)
            self._mark(tx, call, rotation)
        return rotation

    def suspects(self, call: Call, symptom: str, *, limit: int = 10) -> Sequence[Suspect]:
        """What may be behind a symptom; of the first few also what the checks of their runbooks say now."""
        found = list(super().suspects(call, symptom, limit=limit))
        ends = time.monotonic() + LOOKING_SECONDS
        for index, one in enumerate(found[:LOOKED_AT]):
            with self._database.read() as reader:
                rows = reader.credential(one.name, one.environment)
            with suppress(KeyturnError):  # nobody may ask, or its runbook is not there: it is listed all the same
                self.allow(call, rows[0])
                plan = self._planner.plan(subject_of(rows[0]), call.person.id, symptom, EXPIRED)
                rotation = decide(None, Opened(0, plan, "", "", ()), self._database.now()).rotation
                said = self._troubleshooter.readings(rotation, ends, CHECKS_EACH)
                found[index] = replace(one, reading=said[:MOST_READING])
        return found

    def notice_expiries(self) -> int:
        """Open the incidents of credentials that expired in use without anybody's word; returns how many."""
        with self._database.read() as reader:
            rows = reader.expired_in_use(reader.now)
        return sum(self._notice_expiry(row) for row in rows)

    def _notice_expiry(self, row: CredentialRow) -> bool:
        """Looked at again in the transaction, in which another replica or a person may have come first."""
        when = f"{row.expires_at:%Y-%m-%d %H:%M} UTC" if row.expires_at else "a time that is not known"
        reason = f"the inventory shows that it expired at {when}, and no replacement"

        def still(reader: Reader) -> bool:
            found = {(one.name, one.environment) for one in reader.expired_in_use(reader.now, 1000)}
            return (row.name, row.environment) in found

        return self.expired_by_itself(row, reason, still)

    def expired_by_itself(
        self, row: CredentialRow, reason: str, still: Callable[[Reader], bool] = lambda reader: True
    ) -> bool:
        """Open the incident of an expiry that nobody has reported; False where it has one, or is being revoked."""
        subject = subject_of(row)
        try:
            plan = self._planner.plan(subject, BOT, reason, EXPIRED)
            with self._database.begin() as tx:
                if not still(tx):
                    return False
                announce(tx, None, open_expiry(tx, plan, subject.channel))
        except Refused:
            return False
        return True

    def _open(self, call: Call, credential: str, reason: str, word: str, order: str) -> Rotation:
        subject = self._subject(call, credential)
        if not reason.strip():
            raise Refused(f'A {word} needs a reason: {word} {credential} --reason "why now".', code="reason-missing")
        draft = self._planner.draft(subject, call.person.id, reason, word, order)
        seen = call.bound.get("digest")
        shown = replace(draft.plan, reason=call.bound.get("reason", reason))
        if seen and seen != shown.digest:
            raise Refused(
                f"The plan for {subject.name} changed while you looked at it; nothing was started. Ask again to see "
                f"the new plan.",
                code="stale-plan",
            )
        boxes = tuple(
            box if box.ticked or box.name not in call.ticked else replace(box, ticked=True, by=call.person.id)
            for box in draft.boxes
        )

        def mark(tx: Transaction, rotation: Rotation) -> None:
            if call.execution:
                tx.add_drawing(rotation.number, "step", call.execution, rotation.version)
            self._mark(tx, call, rotation)

        unconfirmed = draft.plan.emergency and call.surface == ON_THE_HOST
        return self._opener.open(
            subject, replace(draft, boxes=boxes), subject.channel or call.channel, mark, unconfirmed=unconfirmed
        )

    def start_by_policy(
        self, row: CredentialRow, reason: str, ahead: timedelta, keep: Callable[[Transaction], None]
    ) -> Rotation:
        """Open a rotation that policy wants: the bot asks for it, and it needs the approvals that anybody's needs.

        It is asked for so much `ahead`, and waits for consent so much longer. `keep` is called in the transaction that
        opens it, and may still refuse.
        """
        subject = subject_of(row)
        with self._database.read() as reader:
            self._opener.may_open(reader, subject)
        draft = self._planner.draft(subject, BOT, reason)
        draft = replace(draft, plan=replace(draft.plan, approve_within=draft.plan.approve_within + ahead))
        return self._opener.open(subject, draft, subject.channel, lambda tx, rotation: keep(tx))

    def vote(self, call: Call, text: str, *, approve: bool, reason: str = "") -> Rotation:
        """Count an approval or a rejection, on membership read now.

        Cheap refusals come first: what was signed, then what is late or of another plan; Slack is asked last.
        """
        rotation = self.find(call, text)
        bound = {"digest": call.bound.get("digest", ""), "nonce": call.bound.get("nonce", "")}
        if approve and rotation.unconfirmed and self._policy.same_person(call.person, rotation.plan.requester):
            return self._confirm(call, rotation, bound)
        try:
            signed = self._electorate.signature(call, rotation, "approve" if approve else "reject")
            now = self._database.now()
            check_ballot(rotation, Voted(call.person.id, approve, "", **bound), now)
            verdict = self._electorate.verdict(call, rotation, target_of(rotation), now, signed=signed is not None)
            if not verdict.allowed:
                raise Refused(f"{verdict.because} Your vote on {rotation.id} was not counted.", code=verdict.code)
            if approve and rotation.amendment is None:
                self._is_first_vote(call, rotation)
            elif approve and rotation.amendment is not None and rotation.amendment.undoes:
                self._is_newest(rotation)
        except Refused as error:
            self._record_refusal(call, rotation, str(error), error.code)
            raise
        event = Voted(
            person=call.person.id,
            approve=approve,
            because=verdict.because,
            reason=reason,
            key=signed.fingerprint if signed else "",
            signature=signed.signature if signed else "",
            instead_of=verdict.instead_of,
            **bound,
        )
        return self._decide(call, rotation.number, event, signed)

    def _confirm(self, call: Call, rotation: Rotation, bound: Mapping[str, str]) -> Rotation:
        """Who asked on the command line signs it too: an account of the host is not enough for an emergency."""
        try:
            still_here = self._policy.may(call.person, Need.SEE, target_of(rotation), call.channel, {})
            if not still_here.allowed:
                raise Refused(still_here.because, code=still_here.code)
            signed = self._electorate.signature(call, rotation, "request")
            if signed is None:
                raise Refused(
                    f"What was asked for on the command line is confirmed with a signature. On your own machine, run: "
                    f"{ballot(call, rotation, 'request').command()}",
                    code="unsigned",
                )
        except Refused as error:
            self._record_refusal(call, rotation, str(error), error.code)
            raise
        event = Confirmed(rotation.plan.requester, key=signed.fingerprint, signature=signed.signature, **bound)
        return self._decide(call, rotation.number, event, signed)

    def break_glass(self, call: Call, text: str, reason: str) -> Rotation:
        """Contain on one person's signature, where policy allows it; undone unless a second person approves."""
        rotation = self.find(call, text)
        try:
            signed = self._electorate.signature(call, rotation, "break-glass")
            if signed is None:
                raise Refused(
                    f"Breaking the glass needs your SSH signature. On your own machine, run: "
                    f"{ballot(call, rotation, 'break-glass').command()}",
                    code="unsigned",
                )
        except Refused as error:
            self._record_refusal(call, rotation, str(error), error.code)
            raise
        self._still_planned(call, rotation)
        bound = {"digest": call.bound.get("digest", ""), "nonce": call.bound.get("nonce", "")}
        event = GlassBroken(call.person.id, reason, key=signed.fingerprint, signature=signed.signature, **bound)
        return self._decide(call, rotation.number, event, signed)

    def _still_planned(self, call: Call, rotation: Rotation) -> None:
        """Nobody contains by a plan that does not hold any more: then it is asked for again, by what holds now."""
        if rotation.state is not State.REQUESTED or rotation.glass or self._database.now() >= rotation.expires_at:
            return
        changed = self.replan(rotation)
        if changed is None:
            return
        with self._database.begin() as tx:
            fresh = tx.rotation(rotation.number)
            if fresh is not None and fresh.version == rotation.version:
                announce(tx, fresh, tx.save(fresh, decide(fresh, changed, tx.now)))
        raise Refused(
            f"The plan of {rotation.id} has changed ({', '.join(changed.what)}); look at its card and sign what stands "
            f"there now.",
            code="stale-plan",
        )

    def _is_first_vote(self, call: Call, rotation: Rotation) -> None:
        """Two accounts that the settings have bound to one person meanwhile are one vote."""
        if rotation.state is not State.REQUESTED:
            return
        if self._electorate.double(call.person, [vote.person for vote in rotation.votes]):
            raise Refused(f"Your approval of {rotation.id} is already counted.", code="double-vote")
        if rotation.glass is not None and self._electorate.double(call.person, [rotation.glass.by]):
            raise Refused(
                f"You contained {rotation.id} alone; another person has to approve the rest.", code="self-approval"
            )

    def tick(self, call: Call, text: str, box: str, evidence: str = "") -> Rotation:
        """Vouch for a box of the checklist."""
        rotation = self.find(call, text)
        return self._decide(call, rotation.number, Ticked(call.person.id, box, evidence))

    def trouble(self, call: Call, text: str, branch: str) -> str:
        """Run a branch of the runbook's troubleshooting."""
        return self._troubleshooter.run(self.find(call, text), branch, call.person.id, call.intent)

    # --- for the engine -----------------------------------------------------------------------------------------------

    def called(self, rotation: Rotation) -> Called:
        """Nobody has approved in time: who may, from now on."""
        now = self._database.now()
        if not stage_due(rotation, now):
            return Called(rotation.eligible, rotation.escalated)
        stage = rotation.escalated + 1
        return Called(self._electorate.widened(rotation, target_of(rotation), now, stage), stage)

    def replan(self, rotation: Rotation) -> PlanChanged | None:
        """Just before the first step: does the approved plan still hold? Facts that cannot be read hold it too."""
        try:
            with self._database.read() as reader:
                rows = reader.credential(rotation.plan.credential, rotation.plan.environment)
            if not rows:
                raise Refused(f"{rotation.plan.credential} is no longer declared")
            asked = rotation.plan
            plan = self._planner.plan(subject_of(rows[0]), asked.requester, asked.reason, asked.word, asked.order)
            plan = replace(plan, approve_within=asked.approve_within)  # for how long it was asked changes nothing now
        except Refused as error:
            if rotation.plan.emergency and error.code == "fact-unreadable":
                return None  # what cannot be read has not changed, and an emergency does not wait for it
            return PlanChanged(rotation.plan, random.token_hex(8), (str(error),))
        except KeyturnError:
            return None  # a passing fault; the step itself will meet it and retry
        if plan.digest == rotation.plan.digest:
            return None
        return PlanChanged(plan, random.token_hex(8), changes(rotation.plan, plan))

    def _in_use(self, row: CredentialRow, person: str) -> str:
        """The id that is in use now, as the runbook's facts tell; empty where they do not."""
        if not row.runbook or "old" not in self._library.get(row.runbook)[0].replaced:
            return ""
        return resolved(self._planner.plan(subject_of(row), person, "record"), "old", {})

    def opening(self, rotation: Rotation) -> Opening | None:
        """When an approved rotation may begin, if not now."""
        target, plan = target_of(rotation), rotation.plan
        with self._database.read() as reader:
            now, rows = reader.now, reader.credential(plan.credential, plan.environment)
        due = rows[0].next_due if rows else None
        may = self._calendar.may_begin(target, now, word=plan.word, due=due)
        if may.allowed:
            return None
        at = self._calendar.next_opening(target, now, word=plan.word, due=due)
        if at is None:
            return Opening(now + NO_OPENING, rotation.expires_at, may.because)
        until = self._calendar.closes_at(target, at, due=due) or at + plan.approve_within
        return Opening(at, until, may.because)

    # --- shared -------------------------------------------------------------------------------------------------------

    def _subject(self, call: Call, name: str) -> Subject:
        """The credential of this name, or that of an incident (`R-9`)."""
        if rotation_number(name) is not None:
            plan = self.find(call, name).plan
            if plan.expiry:
                name = f"{plan.credential}@{plan.environment}"
        with self._database.read() as reader:
            return subject_of(self.named(reader, call, name))

    def _record_refusal(self, call: Call, rotation: Rotation, because: str, code: str) -> None:
        detail = {"because": because, "code": code, "word": call.word}
        with self._database.begin() as tx:
            tx.audit(Entry(Event.VOTE_REFUSED, call.person.id, rotation.id, rotation.plan.credential, detail))


def subject_of(row: CredentialRow) -> Subject:
    """A credential of the inventory, as the planner wants it."""
    return Subject(
        name=row.name,
        environment=row.environment,
        kind=row.kind,
        owner=row.owner,
        runbook=row.runbook,
        inputs=row.inputs,
        cadence=row.cadence,
        channel=str(row.detail.get("channel", "")),
        max_valid=int(row.detail.get("max_valid", 2)),
        reviewed_runbook=bool(row.detail.get("reviewed_runbook", False)),
    )
