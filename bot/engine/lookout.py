"""What people may look at: rotations, credentials, history, runbooks; each found only by those who may see it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bot.contracts.command import Call, CredentialView, HistoryLine, Need, RunbookView, Summary, Suspect
from bot.contracts.people import Directory
from bot.core.errors import Refused
from bot.core.expiry import shows, speaks_of
from bot.core.policy import Policy, Target
from bot.core.rotation import Rotation, State
from bot.core.words import rotation_number
from bot.engine.inventory_views import cursor_of, place_of, view
from bot.engine.library import Library
from bot.engine.target import Named, target_of
from bot.store.database import Database
from bot.store.listing import Place, Wanted
from bot.store.reading import Reader
from bot.store.records import CredentialRow, RotationSummary

_PAGE = 1000


class Lookout:
    """The reading half of `Board`: finds what a person means, and checks the right to it."""

    def __init__(
        self,
        database: Database,
        policy: Policy,
        directory: Directory,
        library: Library,
        commands: Callable[[], Mapping[str, Any]],
    ) -> None:
        self._database = database
        self._policy = policy
        self._directory = directory
        self._library = library
        self._commands = commands

    def find(self, call: Call, text: str) -> Rotation:
        """The rotation that the text stands for; the caller's right is checked for its credential."""
        number = rotation_number(text)
        with self._database.read() as reader:
            if number is None:
                row = self.named(reader, call, text)
                newest = reader.newest_rotation(row.name, row.environment)
                if newest is None:
                    raise Refused(
                        f"{row.name} has never been rotated; begin with: start {row.name}.", code="no-rotation"
                    )
                number = newest.number
            rotation = reader.rotation(number)
        if rotation is None:
            raise Refused(f"There is no rotation R-{number}; see which there are with: list.", code="unknown-rotation")
        self.allow(call, target_of(rotation))
        return rotation

    def credential(self, call: Call, name: str) -> CredentialView:
        """One credential, by name or `name@environment`."""
        with self._database.read() as reader:
            return view(reader, self.named(reader, call, name))

    def credentials(self, call: Call, *, limit: int = 50, offset: int = 0) -> Sequence[CredentialView]:
        """What the person may see, by due date."""
        with self._database.read() as reader:
            rows = reader.credentials(limit=limit, offset=offset)
            return [view(reader, row) for row in rows if self.sees(call, row)]

    def recent(self, call: Call, *, only_open: bool, requested: bool = False, limit: int = 20) -> Sequence[Summary]:
        """Rotations that the person may see, newest first; those that are `requested` wait for approvals."""
        states = (State.REQUESTED,) if requested else None
        with self._database.read() as reader:
            rows = reader.rotations(under_way=only_open and not requested, states=states, limit=limit)
            return [_summary(reader, row) for row in rows if self.sees(call, Named.of(row))]

    def history(self, call: Call, text: str, *, limit: int = 100) -> Sequence[HistoryLine]:
        """The audit of a rotation or a credential, oldest first."""
        rotation = self.find(call, text).id if rotation_number(text) is not None else None
        with self._database.read() as reader:
            if rotation is not None:
                rows = reader.history(rotation=rotation, limit=limit)
            else:
                row = self.named(reader, call, text)
                rows = reader.history_of(row.name, row.environment, limit)
        return [
            HistoryLine(row.seq, row.at, row.event, row.actor, row.rotation, row.credential, row.detail)
            for row in reversed(rows)
        ]

    def runbooks(self, call: Call) -> Sequence[RunbookView]:
        """Every runbook, and which credentials use it."""
        with self._database.read() as reader:
            rows = [row for row in reader.credentials(limit=10_000) if self.sees(call, row)]
        uses: dict[str, list[str]] = {}
        for row in rows:
            uses.setdefault(row.runbook, []).append(f"{row.name}@{row.environment}")
        return self._library.views(uses)

    def suspects(self, call: Call, symptom: str, *, limit: int = 10) -> Sequence[Suspect]:
        """Credentials whose class shows like this when it expires; those that are past their date come first."""
        found: list[tuple[tuple[bool, int, str, str], Suspect]] = []
        after: Place | None = None
        while True:
            with self._database.read() as reader:
                now, rows = reader.now, reader.listed(Wanted(), _PAGE, after)
            for row in rows:
                troubles = self._library.troubles(row.runbook)
                alike = speaks_of(symptom, [row.name, row.kind, shows(row.kind), *troubles])
                if alike and self.sees(call, row):
                    past = any(at is not None and at <= now for at in (row.expires_at, row.next_due))
                    how = shows(row.kind) or "; ".join(troubles[:2]) or "not described"
                    one = Suspect(row.name, row.environment, row.kind, how, row.expires_at, row.next_due)
                    found.append(((not past, -alike, row.name, row.environment), one))
            found = sorted(found, key=lambda each: each[0])[:limit]
            if len(rows) < _PAGE:
                return [one for _, one in found]
            after = place_of(cursor_of(rows[-1], by_due=False))

    def words(self) -> Mapping[str, Any]:
        """Every word there is."""
        return self._commands()

    # --- rights -------------------------------------------------------------------------------------------------------

    def named(self, reader: Reader, call: Call, name: str) -> CredentialRow:
        """The one credential of this name that the caller may see, and for which they have the word's right."""
        row = self.seen(reader, call, name)
        self.allow(call, row)
        return row

    def seen(self, reader: Reader, call: Call, name: str) -> CredentialRow:
        """The one credential of this name that the caller may see; others do not exist for them."""
        wanted, _, environment = name.partition("@")
        seen = [row for row in reader.credential(wanted, environment or None) if self.sees(call, row)]
        if not seen:
            similar = [row for name in reader.similar_names(wanted) for row in reader.credential(name)]
            near = list(dict.fromkeys(row.name for row in similar if self.sees(call, row)))
            advice = f" Did you mean {' or '.join(near)}?" if near else " See what there is with: list."
            raise Refused(f"There is no credential {name[:80]!r}.{advice}", code="unknown-credential")
        if len(seen) > 1:
            names = ", ".join(f"{row.name}@{row.environment}" for row in seen)
            raise Refused(f"{wanted} exists in several environments; name one: {names}.", code="ambiguous-name")
        return seen[0]

    def sees(self, call: Call, target: Target) -> bool:
        """Whether the caller may see it."""
        return self._policy.may(call.person, Need.SEE, target, call.channel, self._groups(call, target)).allowed

    def allow(self, call: Call, target: Target) -> None:
        """Raise `Refused` unless the caller has the right that the word needs."""
        if call.need is Need.APPROVE:
            return  # decided by `vote` on live membership
        verdict = self._policy.may(call.person, call.need, target, call.channel, self._groups(call, target))
        if not verdict.allowed:
            raise Refused(verdict.because, code=verdict.code)

    def _groups(self, call: Call, target: Target) -> Mapping[str, frozenset[str] | None]:
        """Membership, read live by a worker; a word answered at once makes do with what is remembered."""
        names = self._policy.needed_groups(target)
        if not names:
            return {}
        return self._directory.groups(names) if call.intent else self._directory.remembered(names)


def _summary(reader: Reader, row: RotationSummary) -> Summary:
    rotation = reader.rotation(row.number) if row.ended_at is None else None
    i = rotation.current if rotation is not None else None
    return Summary(
        number=row.number,
        credential=row.credential,
        environment=row.environment,
        state=row.state.value,
        overlap=row.overlap.value,
        requester=row.requester,
        created_at=row.created_at,
        ended_at=row.ended_at,
        outcome=row.outcome,
        step=rotation.plan.steps[i].title if rotation is not None and i is not None else "",
    )
