"""Counting rows for metrics; a handful of grouped queries per scrape."""

from __future__ import annotations

from sqlalchemy import func, select

from bot.store.records import Counts
from bot.store.session import Session
from bot.store.tables import CREDENTIAL, DRAWING, INTENT, NOTICE, OVERLAP, ROTATION


class Counting(Session):
    """The figures of `/metrics`."""

    def counts(self) -> Counts:
        """How much of everything there is now."""
        by_state = select(ROTATION.c.state, func.count()).group_by(ROTATION.c.state)
        by_overlap = select(OVERLAP.c.state, func.count()).group_by(OVERLAP.c.state)
        known = CREDENTIAL.c.removed_at.is_(None)
        unsent = select(func.count()).select_from(NOTICE).where(NOTICE.c.sent_at.is_(None))
        undrawn = select(func.count()).select_from(DRAWING).where(DRAWING.c.drawn < DRAWING.c.wanted)
        one = self.connection.execute
        return Counts(
            rotations={row[0]: int(row[1]) for row in one(by_state)},
            overlaps={row[0]: int(row[1]) for row in one(by_overlap)},
            credentials=int(one(select(func.count()).select_from(CREDENTIAL).where(known)).scalar_one()),
            overdue=int(
                one(
                    select(func.count()).select_from(CREDENTIAL).where(known, CREDENTIAL.c.next_due <= self.now)
                ).scalar_one()
            ),
            intents=int(
                one(select(func.count()).select_from(INTENT).where(INTENT.c.state.in_(("new", "running")))).scalar_one()
            ),
            messages=int(one(unsent).scalar_one()) + int(one(undrawn).scalar_one()),
        )
