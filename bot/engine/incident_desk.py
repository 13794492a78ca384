"""The use cases of an incident: who leads it, what is noted, its review and its end. `Board` takes them in."""

from __future__ import annotations

from collections.abc import Callable

from bot.contracts.command import Call, IncidentView, Need
from bot.contracts.people import Directory
from bot.core import incident as core
from bot.core.decide import Stale
from bot.core.errors import Refused
from bot.core.expiry import RECOVER, unmended
from bot.core.incident import Incident
from bot.core.policy import PersonKind, Policy
from bot.core.review import QUESTIONS, review, unanswered
from bot.core.rotation import Rotation, Stage
from bot.engine.expiry import dates_of
from bot.engine.incident_facts import facts_of, recovery_of, view_of
from bot.engine.incidents import say
from bot.engine.somebody import Somebody
from bot.engine.target import target_of
from bot.store.database import Database
from bot.store.reading import Reader
from bot.store.writing import Transaction

ATTEMPTS = 8


class IncidentDesk:
    """Implements `Incidents`. `find` is the board's: it finds the rotation and checks the word's own right."""

    def __init__(
        self, database: Database, policy: Policy, directory: Directory, find: Callable[[Call, str], Rotation]
    ) -> None:
        self._database = database
        self._policy = policy
        self._directory = directory
        self._people = Somebody(database, policy, directory)
        self._find = find

    def view(self, call: Call, text: str) -> IncidentView:
        """How it stands: roles, timeline, review."""
        rotation = self._find(call, text)
        with self._database.read() as reader:
            return view_of(reader, _opened(reader, rotation), rotation)

    def hand_over(self, call: Call, text: str, role: str, who: str) -> Incident:
        """Give a role to a person, who is looked up now. By whoever has it, and by whoever may revoke."""
        rotation = self._find(call, text)
        with self._database.read() as reader:
            incident = _opened(reader, rotation)
        self._may(call, rotation, incident, leading=True)
        person = self._people.find(call, who)

        def change(tx: Transaction, found: Incident) -> core.Change:
            return core.with_role(found, role, person.id, call.person.id)

        return self._change(call, rotation, change)

    def note(self, call: Call, text: str, said: str) -> Incident:
        """Write something down for the timeline."""
        return self._by_one_of_them(call, text, lambda tx, found: core.noted(found, said, call.person.id, tx.now))

    def answer(self, call: Call, text: str, question: str, said: str) -> Incident:
        """Answer a question of the review."""
        return self._by_one_of_them(
            call, text, lambda tx, found: core.answered(found, question, said, call.person.id, tx.now, QUESTIONS)
        )

    def mend(self, call: Call, text: str, said: str) -> Incident:
        """Say what was changed so that the reminder works."""
        return self._by_one_of_them(call, text, lambda tx, found: core.mended(found, said, call.person.id, tx.now))

    def close(self, call: Call, text: str) -> Incident:
        """Close it, once it is over, reviewed and mended."""
        rotation = self._find(call, text)
        with self._database.read() as reader:
            self._may(call, rotation, _opened(reader, rotation))

        def change(tx: Transaction, found: Incident) -> core.Change:
            fresh = tx.rotation(rotation.number) or rotation
            left = unanswered(review(found, facts_of(tx, fresh)))
            alone = [name for name in (found.solo, found.opened_by) if found.solo]
            own = any(self._policy.same_person(call.person, name) for name in alone)
            open_ends = _open_ends(tx, fresh) if fresh.plan.expiry and fresh.is_over else ()
            after, entry = core.closed(
                found,
                call.person.id,
                tx.now,
                own=own,
                unanswered=left,
                is_over=fresh.is_over,
                unmended=open_ends,
            )
            say(tx, fresh, f"closed-{after.version}", f"{call.person.id} closed the incident of {fresh.id}.")
            return after, entry

        return self._change(call, rotation, change)

    # --- shared -------------------------------------------------------------------------------------------------------

    def _by_one_of_them(
        self, call: Call, text: str, change: Callable[[Transaction, Incident], core.Change]
    ) -> Incident:
        rotation = self._find(call, text)
        with self._database.read() as reader:
            self._may(call, rotation, _opened(reader, rotation))
        return self._change(call, rotation, change)

    def _change(
        self, call: Call, rotation: Rotation, change: Callable[[Transaction, Incident], core.Change]
    ) -> Incident:
        """Load, change, save; again when somebody else was first. Once for an intent, however often it runs."""
        for _ in range(ATTEMPTS):
            try:
                with self._database.begin() as tx:
                    tx.rotation(rotation.number)  # its row first, in the order of every decision
                    found = _opened(tx, rotation)
                    after, entry = change(tx, found)
                    saved = tx.save_incident(found, after, entry)
                    _tell_roles(tx, rotation, found, saved)
                    if call.intent and not tx.mark_intent(call.intent, rotation.number):
                        raise Refused(f"This was done already; see {rotation.id}.", code="late")
                return saved
            except Stale:
                continue
        raise Refused(f"{rotation.id} is changing too fast right now; try again in a moment.", code="busy")

    def _may(self, call: Call, rotation: Rotation, incident: Incident, *, leading: bool = False) -> None:
        """Those who take part may write, and whoever may revoke (after an expiry: start); roles are handed over by
        those who have one."""
        me = call.person
        if me.kind is PersonKind.MEMBER:
            part = [incident.commander, incident.scribe]
            if not leading:
                part += [incident.opened_by, incident.solo, *(vote.person for vote in rotation.votes)]
                part += rotation.eligible or ()
            if any(name and self._policy.same_person(me, name) for name in part):
                return
        target = target_of(rotation)
        groups = self._directory.groups(self._policy.needed_groups(target))
        need = Need.START if rotation.plan.expiry else Need.REVOKE
        verdict = self._policy.may(me, need, target, call.channel, groups)
        if not verdict.allowed:
            raise Refused(
                f"Only those who take part in {incident.id} may do that, and whoever may {need.value}. "
                f"{verdict.because}",
                code=verdict.code,
            )


def _open_ends(reader: Reader, rotation: Rotation) -> tuple[str, ...]:
    """What an expiry has left open by what the inventory shows now, whatever anybody says of it."""
    plan = rotation.plan
    rows = reader.credential(plan.credential, plan.environment)
    left = unmended(dates_of(rows[0] if rows else None), reader.now)
    i = plan.index(RECOVER)
    waived = i is not None and rotation.steps[i].stage is Stage.SKIPPED
    found = recovery_of(reader, rotation)
    if not waived and (found is None or found.promoted_at is None):
        left = ("its replacement was rolled back, and there is no other one", *left)
    return left


def _opened(reader: Reader, rotation: Rotation) -> Incident:
    found = reader.incident(rotation.number)
    if found is None:
        why = "nobody has approved it" if rotation.plan.emergency else "only revocations and expiries have one"
        raise Refused(f"{rotation.id} has no incident: {why}.", code="no-incident")
    return found


def _tell_roles(tx: Transaction, rotation: Rotation, before: Incident, after: Incident) -> None:
    """Who leads from now on is said aloud."""
    for role in core.ROLES:
        person = getattr(after, role)
        if person != getattr(before, role):
            say(tx, rotation, f"role-{after.version}", f"{person} is the {role} from now on.")
