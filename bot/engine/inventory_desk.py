"""The use cases of the inventory: search, snooze, own, record, forecast. Implements `Inventory`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Protocol

from bot.contracts.command import Call
from bot.contracts.inventory import CredentialPage, CredentialView, Filters, Finding, Forecast, Told
from bot.contracts.people import Directory
from bot.core.errors import KeyturnError, Refused
from bot.core.events import Entry, Event
from bot.core.policy import Policy, Target
from bot.core.reminders import Rules, snooze_budget, snooze_used
from bot.core.windows import Calendar
from bot.engine import forecast as outlook
from bot.engine.inventory_views import cursor_of, findings_of, place_of, view, views
from bot.engine.somebody import Somebody
from bot.store.database import Database
from bot.store.listing import Place, Wanted
from bot.store.reading import Reader
from bot.store.records import CredentialRow
from bot.store.writing import Transaction

MOST_ROWS = 100
LONGEST_FORECAST = 370
MOST_OVERLAPS = 20
_PAGE = 500
LONGEST_NAME = 200


class Shown(Protocol):
    """The reading half of the board: finds what a person may see, and checks rights."""

    def named(self, reader: Reader, call: Call, name: str) -> CredentialRow: ...

    def seen(self, reader: Reader, call: Call, name: str) -> CredentialRow: ...

    def sees(self, call: Call, target: Target) -> bool: ...

    def allow(self, call: Call, target: Target) -> None: ...


class InventoryDesk:
    """Stateless; safe from many threads."""

    def __init__(
        self,
        database: Database,
        policy: Policy,
        directory: Directory,
        shown: Shown,
        rules: Rules,
        calendar: Calendar,
        automatic: Callable[[Target], bool],
        in_use: Callable[[CredentialRow, str], str],
    ) -> None:
        self._database = database
        self._policy = policy
        self._directory = directory
        self._people = Somebody(database, policy, directory)
        self._shown = shown
        self._rules = rules
        self._calendar = calendar
        self._automatic = automatic
        self._in_use = in_use
        """The id that a credential's system says is in use now; empty where nothing tells. Asks adapters."""

    # --- looking ------------------------------------------------------------------------------------------------------

    def search(self, call: Call, filters: Filters, *, limit: int = 25, cursor: str = "") -> CredentialPage:
        """A page of what the person may see."""
        limit = max(1, min(limit, MOST_ROWS))
        with self._database.read() as reader:
            wanted = _wanted(self._meant(filters), reader.now)
            rows = list(self._visible(reader, call, wanted, limit + 1, place_of(cursor) if cursor else None))
            shown = views(reader, rows[:limit])
        more = len(rows) > limit
        return CredentialPage(shown, cursor_of(rows[limit - 1], by_due=wanted.by_due) if more else "")

    def _visible(
        self, reader: Reader, call: Call, wanted: Wanted, limit: int, after: Place | None
    ) -> Iterator[CredentialRow]:
        """Rows that the person may see, as many as are wanted; those in between are passed over a page at a time."""
        found = 0
        while found < limit:
            page = reader.listed(wanted, max(limit, MOST_ROWS), after)
            for row in page:
                if self._shown.sees(call, row):
                    yield row
                    found += 1
                    if found >= limit:
                        return
            if len(page) < max(limit, MOST_ROWS):
                return
            after = place_of(cursor_of(page[-1], by_due=wanted.by_due))

    def counts(self, call: Call, filters: Filters) -> Mapping[str, int]:
        """How many stand how. Every full member may see everything, so they are counted where they are stored."""
        anything = _Anything()
        if not self._shown.sees(call, anything):
            return {}
        with self._database.read() as reader:
            return reader.standings(_wanted(self._meant(filters), reader.now))

    def _meant(self, filters: Filters) -> Filters:
        """The same with the owner's name as it is kept: a mention stands for a person."""
        given = filters.owner.strip()
        mention = re.fullmatch(r"<@([UW][A-Z0-9]{2,20})(?:\|[^<>]*)?>", given)
        if mention is not None:
            return replace(filters, owner=self._policy.resolve_person(f"slack:{mention[1]}").id)
        return replace(filters, owner=given.removeprefix("@"))

    def findings(self, call: Call, *, owner: str = "", limit: int = 100) -> Sequence[Finding]:
        """What needs a person: of everything, or of what one owner has."""
        with self._database.read() as reader:
            rows = self._visible(reader, call, Wanted(findings=True, owner=owner or None), limit, None)
            found = [finding for row in rows for finding in findings_of(row)]
            blind = reader.discoveries() if self._shown.sees(call, _Anything()) else []
            unseen = [Finding(one.name, "", "unseen", one.unseen(reader.now)) for one in blind]
        route = ", ".join(self._rules.route)
        routed = [
            Finding(one.credential, one.environment, one.code, one.text, route)
            if one.code in ("no-owner", "owner-away", "empty-group", "unseen")
            else one
            for one in (*(one for one in unseen if one.text), *found)
        ]
        return routed[:limit]

    def reminders(self, call: Call, name: str, *, limit: int = 20) -> Sequence[Told]:
        """Which reminders were sent, when and to whom."""
        with self._database.read() as reader:
            row = self._shown.named(reader, call, name)
            told = reader.reminders(row.name, row.environment, limit)
        return [Told(one.expiry, one.tier, one.told_at, tuple(one.told)) for one in told]

    def forecast(self, call: Call, days: int = 90) -> Forecast:
        """The load of the weeks to come, read a page at a time. For a worker: it asks Slack who is in groups."""
        if not 1 <= days <= LONGEST_FORECAST:
            raise Refused(f"A forecast looks 1 to {LONGEST_FORECAST} days ahead: forecast 90.", code="usage")
        now = self._database.now()
        rows = self._due_within(call, now + timedelta(days=days))
        gap = outlook.Approvals(self._policy, self._directory).gap
        found = outlook.forecast(rows, now, days, self._calendar, self._automatic, gap)
        if not self._shown.sees(call, _Anything()):
            return found
        with self._database.read() as reader:
            return replace(found, ages=tuple(reader.ages()), overlaps=reader.overlapping(MOST_OVERLAPS))

    def _due_within(self, call: Call, until: datetime) -> Iterator[CredentialRow]:
        after: Place | None = None
        while True:
            with self._database.read() as reader:
                page = reader.listed(Wanted(due_before=until), _PAGE, after)
            yield from (row for row in page if self._shown.sees(call, row))
            if len(page) < _PAGE:
                return
            after = place_of(cursor_of(page[-1], by_due=True))

    # --- snoozing -----------------------------------------------------------------------------------------------------

    def snooze_budget(self, call: Call, name: str) -> datetime | None:
        """Until when it may be snoozed at most now."""
        with self._database.read() as reader:
            return _may_snooze(reader, self._shown.named(reader, call, name))

    def snooze(self, call: Call, name: str, until: datetime | timedelta, reason: str) -> CredentialView:
        """No reminders to its owner until then; whoever is called beside them is called in time."""
        if not reason.strip():
            raise Refused(f'A snooze needs a reason: snooze {name} 3d --reason "why it can wait".', "reason-missing")

        def change(tx: Transaction, row: CredentialRow) -> Mapping[str, Any]:
            try:
                end = until if isinstance(until, datetime) else tx.now + until
            except OverflowError:
                raise Refused("That is too far away.", code="usage") from None
            due, most = row.dates.due, _may_snooze(tx, row)
            if due is None or most is None:
                why = "it has no date" if due is None else "too little time is left, or it was snoozed enough"
                raise Refused(f"{row.name} cannot be snoozed: {why}. Rotate it: start {row.name}.", "snooze-budget")
            if end <= tx.now:
                raise Refused("A snooze ends in the future: snooze NAME 3d.", code="usage")
            if end > most:
                raise Refused(
                    f"{row.name} can be snoozed until {most:%Y-%m-%d %H:%M} UTC at most: it is due on "
                    f"{due:%Y-%m-%d %H:%M} UTC, and what is left is for rotating it.",
                    code="snooze-budget",
                )
            tx.add_snooze(row.name, row.environment, due, end)
            detail = {"until": end.isoformat(), "reason": reason, "environment": row.environment}
            tx.audit(Entry(Event.SNOOZED, call.person.id, credential=row.name, detail=detail))
            return {"snoozed_until": end, "snooze_note": f"{call.person.id}: {reason}"[:300]}

        return self._change(call, name, change)

    # --- owning -------------------------------------------------------------------------------------------------------

    def own(self, call: Call, name: str, who: str) -> CredentialView:
        """Give it to a person or a group; empty: back to what is declared."""
        owner = self._owner(call, who) if who.strip() else None

        def change(tx: Transaction, row: CredentialRow) -> Mapping[str, Any]:
            given = None if owner == row.declared_owner else owner
            detail = {"owner": owner or "", "before": row.owner, "environment": row.environment}
            tx.audit(Entry(Event.OWNED, call.person.id, credential=row.name, detail=detail))
            self._tell_new_owner(tx, row, owner or row.declared_owner, call)
            return {"owner_override": given, "owner_finding": ""}

        return self._change(call, name, change)

    def disown(self, call: Call, name: str, reason: str = "") -> CredentialView:
        """Not mine: said by its owner, whatever else they may, or by whoever may give it away."""
        with self._database.read() as reader:
            known = self._shown.seen(reader, call, name)
        if not self._is_owner(call, known):
            self._shown.allow(call, known)

        def change(tx: Transaction, row: CredentialRow) -> Mapping[str, Any]:
            if row.owner != known.owner:
                raise Refused(f"{row.name} was given to somebody just now; look at it again.", code="late")
            if not row.owner:
                raise Refused(f"{row.name} has no owner already; name one with: own {row.name} @somebody.", "no-owner")
            detail = {"reason": reason, "before": row.owner, "route": list(self._rules.route)}
            detail["environment"] = row.environment
            tx.audit(Entry(Event.DISOWNED, call.person.id, credential=row.name, detail=detail))
            return {
                "owner_override": "",
                "owner_finding": f"{call.person.id} says that it is not theirs{f': {reason}' if reason else ''}."[:300],
            }

        return self._apply(call, known, change)

    def _is_owner(self, call: Call, row: CredentialRow) -> bool:
        if not row.owner:
            return False
        if row.owner not in self._policy.groups:
            return self._policy.same_person(call.person, row.owner)
        members = self._directory.groups([row.owner]).get(row.owner) or frozenset()
        return any(self._policy.same_person(call.person, member) for member in members)

    def _owner(self, call: Call, who: str) -> str:
        """The name under which an owner is kept."""
        text = who.strip()
        if text in self._policy.groups:
            return text
        return self._people.find(call, text).id

    def _tell_new_owner(self, tx: Transaction, row: CredentialRow, owner: str, call: Call) -> None:
        if not owner or owner in self._policy.groups or self._policy.same_person(call.person, owner):
            return
        due = f" It is due on {row.next_due:%Y-%m-%d}." if row.next_due else ""
        text = f"{call.person.id} gave you {row.name} ({row.environment}).{due} You get its reminders from now on."
        tx.add_notice(f"owner-{row.name}-{row.environment}-{tx.now:%Y%m%d%H%M%S%f}", f"@{owner}", "", text)

    # --- rotations by hand --------------------------------------------------------------------------------------------

    def record(
        self, call: Call, name: str, *, type: str, old_id: str, new_id: str, operator: str, reason: str
    ) -> CredentialView:
        """Record a rotation that was done by hand; refused where its system says otherwise."""
        given = {"type": type, "old": old_id, "new": new_id, "operator": operator, "reason": reason}
        for what, said in given.items():
            if not said.strip() or len(said) > LONGEST_NAME * (2 if what == "reason" else 1):
                raise Refused(f"A record needs {what}, in at most {LONGEST_NAME} signs.", code="usage")
        if old_id.strip() == new_id.strip():
            raise Refused("Old and new are the same id; a rotation replaces one by another.", code="usage")
        with self._database.read() as reader:
            row = self._shown.named(reader, call, name)
            listed = {one.version for one in reader.versions(row.place, row.environment)} if row.place else set()
        proof = self._proof(row, call.person.id, new_id, listed)

        def change(tx: Transaction, row: CredentialRow) -> Mapping[str, Any]:
            if tx.open_rotation(row.name, row.environment) is not None:
                raise Refused(f"A rotation of {row.name} is open; finish or cancel it first.", code="already-open")
            detail = given | {"proof": proof, "environment": row.environment}
            tx.audit(Entry(Event.RECORDED, call.person.id, credential=row.name, detail=detail))
            return {"last_rotated_at": tx.now, "snoozed_until": None}

        return self._change(call, name, change)

    def _proof(self, row: CredentialRow, person: str, new_id: str, listed: set[str]) -> str:
        """How it is known that the new one is in use; refused when its system shows another."""
        try:
            used = self._in_use(row, person)
        except KeyturnError as error:
            raise Refused(f"It cannot be proved just now: {error} Nothing was recorded.", code="unproved") from None
        if used and used != new_id:
            raise Refused(
                f"{row.name}: its system says that {used[:80]} is in use, not {new_id[:80]}; nothing was recorded.",
                code="not-in-use",
            )
        if used:
            return "its system says that the new one is in use"
        if listed and new_id not in listed:
            raise Refused(
                f"{new_id[:80]} is not among what was listed at {row.place}; nothing was recorded. If it is newer than "
                f"the last discovery, record it after the next one.",
                code="not-found",
            )
        return "its system lists the new one" if listed else "the word of whoever recorded it"

    # --- shared -------------------------------------------------------------------------------------------------------

    def _change(
        self, call: Call, name: str, change: Callable[[Transaction, CredentialRow], Mapping[str, Any]]
    ) -> CredentialView:
        """Check the right, and change it."""
        with self._database.read() as reader:
            row = self._shown.named(reader, call, name)
        return self._apply(call, row, change)

    def _apply(
        self, call: Call, row: CredentialRow, change: Callable[[Transaction, CredentialRow], Mapping[str, Any]]
    ) -> CredentialView:
        """Change, audit, and have dates and reminders worked out anew; once for an intent."""
        with self._database.begin() as tx:
            found = tx.hold_credential(row.name, row.environment)
            if found is None:
                raise Refused(f"{row.name} is no longer in the inventory.", code="unknown-credential")
            values = change(tx, found)
            tx.update_credential(row.name, row.environment, **values, remind_at=tx.now)
            if call.intent and not tx.mark_intent(call.intent, 0):
                raise Refused("This was done already.", code="late")
            return view(tx, tx.credential(row.name, row.environment)[0])


def _may_snooze(reader: Reader, row: CredentialRow) -> datetime | None:
    """Until when, with what was snoozed before the same date already."""
    due, now = row.dates.due, reader.now
    used = snooze_used(reader.snoozes(row.name, row.environment, due), now) if due is not None else timedelta(0)
    return snooze_budget(row.dates, now, used)


class _Anything:
    """Stands for any credential where a right does not depend on which."""

    name = environment = kind = owner = ""


def _wanted(filters: Filters, now: datetime) -> Wanted:
    return Wanted(
        due_before=now + min(filters.within, timedelta(days=3660)) if filters.within is not None else None,
        owner=filters.owner or None,
        kind=filters.kind or None,
        environment=filters.environment or None,
        text=filters.text or None,
        status="unmanaged" if filters.unmanaged else "gone" if filters.gone else None,
        overlapping=filters.overlapping,
        findings=filters.findings,
    )
