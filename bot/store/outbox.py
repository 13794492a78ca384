"""Drawings and notices: what Slack still has to be told, claimed by one replica at a time."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Select, bindparam, case, func, or_, select, text, update

from bot.store.records import DrawingRow, NoticeRow
from bot.store.session import Session, Writing, upsert
from bot.store.tables import DRAWING, NOTICE

LOST = "an answer was lost"
"""How the note of a row begins whose message may be posted already: it is looked for before it is posted again."""
GIVEN_UP = "given up"
"""How the note of a notice begins that nobody got."""
OF_INCIDENT = ("room", "status", "timeline", "review")
"""Forms that show the incident beside its rotation: what is wanted of them counts both their changes."""
_at = DRAWING.c.due_at
_renew = (
    update(DRAWING)
    .where(DRAWING.c.rotation == bindparam("of"), DRAWING.c.form.in_(OF_INCIDENT))
    .values(
        wanted=DRAWING.c.wanted + 1,
        due_at=case(
            (DRAWING.c.wanted > DRAWING.c.drawn, DRAWING.c.due_at), else_=bindparam("now", type_=DRAWING.c.due_at.type)
        ),
    )
)
_want = (
    update(DRAWING)
    .where(DRAWING.c.rotation == bindparam("of"))
    .values(
        wanted=case((DRAWING.c.form.in_(OF_INCIDENT), DRAWING.c.wanted + 1), else_=bindparam("to")),
        due_at=case(
            (DRAWING.c.wanted > DRAWING.c.drawn, DRAWING.c.due_at), else_=bindparam("now", type_=DRAWING.c.due_at.type)
        ),
    )
)
_due_drawings = (
    select(DRAWING)
    .where(
        text("drawing.wanted > drawing.drawn"),
        DRAWING.c.due_at <= bindparam("now"),
        or_(DRAWING.c.claimed_until.is_(None), DRAWING.c.claimed_until <= bindparam("now")),
    )
    .order_by(DRAWING.c.urgent.desc(), DRAWING.c.due_at, DRAWING.c.id)
    .limit(bindparam("limit"))
)
_due_notices = (
    select(NOTICE)
    .where(
        text("notice.sent_at IS NULL"),
        NOTICE.c.due_at <= bindparam("now"),
        or_(NOTICE.c.claimed_until.is_(None), NOTICE.c.claimed_until <= bindparam("now")),
    )
    .order_by(NOTICE.c.urgent.desc(), NOTICE.c.due_at, NOTICE.c.id)
    .limit(bindparam("limit"))
)
_unsaid = select(func.min(NOTICE.c.id)).where(
    NOTICE.c.incident == bindparam("number"), text("notice.sent_at IS NULL"), NOTICE.c.person == ""
)
_message = select(DRAWING).where(DRAWING.c.place == bindparam("at"), DRAWING.c.ts == bindparam("name"))
_claim_drawing = update(DRAWING).where(DRAWING.c.id == bindparam("of")).values(claimed_until=bindparam("until"))
_claim_notice = update(NOTICE).where(NOTICE.c.id == bindparam("of")).values(claimed_until=bindparam("until"))


class OutboxReader(Session):
    """Looking at messages."""

    def drawings(self, rotation: int) -> list[DrawingRow]:
        """Every message that shows the rotation."""
        rows = self.connection.execute(select(DRAWING).where(DRAWING.c.rotation == rotation).order_by(DRAWING.c.id))
        return [DrawingRow(*row) for row in rows]

    def drawing_at(self, place: str, ts: str) -> DrawingRow | None:
        """The drawing that is this message of this channel."""
        row = self.connection.execute(_message, {"at": place, "name": ts}).first()
        return None if row is None else DrawingRow(*row)

    def next_said(self, incident: int) -> int | None:
        """Id of the oldest notice that is still to be said in an incident, so that they are said in order."""
        found: int | None = self.connection.execute(_unsaid, {"number": incident}).scalar_one_or_none()
        return found


class OutboxWriter(OutboxReader, Writing):
    """Asking for messages, claiming them, and noting what became of them."""

    def add_drawing(
        self, rotation: int, form: str, place: str, wanted: int, *, urgent: bool = False, due_at: datetime | None = None
    ) -> int:
        """Have a message drawn and kept up to date; one per rotation, form and place. Returns its id."""
        row = {
            "rotation": rotation,
            "form": form,
            "place": place,
            "ts": "",
            "drawn": 0,
            "wanted": wanted,
            "urgent": urgent,
            "due_at": due_at or self.now,
            "failures": 0,
            "note": "",
        }
        statement: Any = upsert(DRAWING, self.connection)
        greater = func.max if self.is_sqlite else func.greatest
        statement = statement.on_conflict_do_update(
            index_elements=[DRAWING.c.rotation, DRAWING.c.form, DRAWING.c.place],
            set_={"wanted": greater(DRAWING.c.wanted, statement.excluded.wanted), "due_at": statement.excluded.due_at},
        )
        return int(self.connection.execute(statement.returning(DRAWING.c.id), row).scalar_one())

    def want_drawings(self, rotation: int, version: int) -> None:
        """Every drawing of the rotation should show this version; one that was postponed stays postponed.

        Those of its incident are numbered by themselves: what is drawn is the version wanted when it was claimed.
        """
        self.connection.execute(_want, {"of": rotation, "to": version, "now": self.now})

    def renew_incident(self, rotation: int) -> None:
        """The incident changed: whatever shows it is drawn again."""
        self.connection.execute(_renew, {"of": rotation, "now": self.now})

    def claim_drawings(self, now: datetime, until: datetime, limit: int = 20) -> list[DrawingRow]:
        """Take drawings that are due, urgent ones first; until then nobody else takes them."""
        rows = self._claim(_due_drawings, _claim_drawing, now, until, limit)
        return [DrawingRow(*row) for row in rows]

    def drawn(self, id: int, ts: str, version: int) -> None:
        """The message `ts` now shows this version; it is due again at once if a newer one is wanted."""
        statement = update(DRAWING).where(DRAWING.c.id == id)
        self.connection.execute(
            statement.values(ts=ts, drawn=version, due_at=self.now, claimed_until=None, failures=0, note="")
        )

    def postpone(self, id: int, due_at: datetime, failures: int = 0, note: str = "") -> None:
        """Slack could not take it: try again then."""
        statement = update(DRAWING).where(DRAWING.c.id == id)
        self.connection.execute(statement.values(due_at=due_at, failures=failures, note=note, claimed_until=None))

    def redraw(self, id: int, note: str = "") -> None:
        """The message is gone: post it anew."""
        statement = update(DRAWING).where(DRAWING.c.id == id)
        self.connection.execute(
            statement.values(ts="", drawn=0, due_at=self.now, claimed_until=None, failures=0, note=note)
        )

    def drop_drawing(self, id: int, note: str) -> None:
        """Give a message up, such as one in a channel that no longer exists; `note` says why."""
        statement = update(DRAWING).where(DRAWING.c.id == id)
        self.connection.execute(statement.values(drawn=2**31 - 1, claimed_until=None, note=note))

    def add_notice(
        self,
        key: str,
        person: str,
        channel: str,
        text: str,
        payload: Mapping[str, Any] | None = None,
        *,
        urgent: bool = False,
        due_at: datetime | None = None,
    ) -> bool:
        """Have a message sent once. False when the key is known, so that nothing is announced twice.

        `person` is an account (`slack:T1/U1`), or `@` and the id of a person who may have none. A payload with
        `rotation` and `incident: True` is said in the incident of that emergency.
        """
        about = payload or {}
        row = {
            "key": key,
            "person": person,
            "channel": channel,
            "text": text,
            "payload": about,
            "incident": about.get("rotation") if about.get("incident") else None,
            "urgent": urgent,
            "due_at": due_at or self.now,
            "failures": 0,
            "note": "",
            "ts": "",
        }
        statement: Any = upsert(NOTICE, self.connection)
        statement = statement.on_conflict_do_nothing(index_elements=[NOTICE.c.key]).returning(NOTICE.c.id)
        return self.connection.execute(statement, row).first() is not None

    def claim_notices(self, now: datetime, until: datetime, limit: int = 20) -> list[NoticeRow]:
        """Take notices that are due, urgent ones first; until then nobody else takes them."""
        rows = self._claim(_due_notices, _claim_notice, now, until, limit)
        return [NoticeRow(*row) for row in rows]

    def sent(self, id: int, ts: str = "") -> bool:
        """The notice is out. False when another replica has settled it."""
        return self._settle(id, ts=ts, note="")

    def give_up(self, id: int, why: str) -> bool:
        """The notice cannot be sent to where it was meant for. False when another replica has settled it."""
        return self._settle(id, note=f"{GIVEN_UP}: {why}"[:300])

    def _settle(self, id: int, **values: Any) -> bool:
        statement = update(NOTICE).where(NOTICE.c.id == id, text("notice.sent_at IS NULL"))
        done = self.connection.execute(statement.values(sent_at=self.now, claimed_until=None, **values))
        return done.rowcount == 1

    def postpone_notice(self, id: int, due_at: datetime, failures: int = 0, note: str = "") -> None:
        """Slack could not take it: try again then."""
        statement = update(NOTICE).where(NOTICE.c.id == id)
        self.connection.execute(statement.values(due_at=due_at, failures=failures, note=note, claimed_until=None))

    def _claim(self, query: Select[Any], claim: Any, now: datetime, until: datetime, limit: int) -> list[Any]:
        if not self.is_sqlite:
            query = query.with_for_update(skip_locked=True)
        rows = list(self.connection.execute(query, {"now": now, "limit": limit}))
        if rows:
            self.connection.execute(claim, [{"of": row.id, "until": until} for row in rows])
        return rows
