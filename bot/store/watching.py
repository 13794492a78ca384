"""What discoveries show beside the date that counts, and nobody was told of: leftovers, and expiries moved by hand."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import String, and_, exists, literal, or_, select, text

from bot.core.discovered import MOVED
from bot.core.rotation import OPEN
from bot.store.session import Session
from bot.store.tables import CREDENTIAL, FOUND, OVERLAP, REMINDER, ROTATION

MOVED_TIER = "moved "
"""And the version: systems that work out an expiry anew at every look would tell of each of them otherwise."""
_C, _F = CREDENTIAL.c, FOUND.c


@dataclass(frozen=True, slots=True)
class Leftover:
    """An older version that expires before the one in use."""

    name: str
    environment: str
    version: str
    expires_at: datetime
    in_use: str


class WatchReader(Session):
    """Both are bounded, and leave out what was told."""

    def leftovers(self, tier: str, within: timedelta, limit: int = 100) -> list[Leftover]:
        """Versions that expire within so long and before the one in use, while no rotation is replacing or retiring.

        The first to expire come first. One that expires with the version in use, or later, has its reminders anyway.
        One that a round did not list, which has listed another version of its place, is concluded on when that round
        is complete: what was renewed in place is none.
        """
        later = FOUND.alias()
        unlisted = exists().where(
            later.c.discovery == _F.discovery, later.c.place == _F.place, later.c.round > _F.round
        )
        same = and_(_C.place == _F.place, _C.environment == _F.environment)
        rotating = exists().where(
            ROTATION.c.credential == _C.name,
            ROTATION.c.environment == _C.environment,
            text("rotation.state IN (" + ", ".join(f"'{state.value}'" for state in sorted(OPEN)) + ")"),
        )
        overlapping = exists().where(
            OVERLAP.c.credential == _C.name,
            OVERLAP.c.environment == _C.environment,
            text("overlap.state IN ('blocked', 'retiring')"),
        )
        query = (
            select(_C.name, _C.environment, _F.version, _F.expires_at, _C.version)
            .join_from(FOUND, CREDENTIAL, same)
            .where(
                text("credential.place <> ''"),
                _C.removed_at.is_(None),
                _C.gone_at.is_(None),
                _F.version != _C.version,
                _F.expires_at > self.now,
                _F.expires_at <= self.now + within,
                or_(_C.expires_at.is_(None), _F.expires_at < _C.expires_at),
                ~rotating,
                ~overlapping,
                ~unlisted,
                ~exists().where(
                    REMINDER.c.credential == _C.name,
                    REMINDER.c.environment == _C.environment,
                    REMINDER.c.expiry == _F.expires_at,
                    REMINDER.c.tier == tier,
                ),
            )
            .order_by(_F.expires_at)
            .distinct()
            .limit(limit)
        )
        return [Leftover(*row) for row in self.connection.execute(query)]

    def moved(self, limit: int = 100) -> list[tuple[str, str]]:
        """Name and environment of credentials whose expiry was moved by hand, once for each version of them."""
        query = (
            select(_C.name, _C.environment)
            .where(
                text("(credential.finding <> '' OR credential.owner_finding <> '') AND credential.removed_at IS NULL"),
                _C.finding.contains(MOVED),
                ~exists().where(
                    REMINDER.c.credential == _C.name,
                    REMINDER.c.environment == _C.environment,
                    REMINDER.c.tier == literal(MOVED_TIER, String) + _C.version,
                ),
            )
            .limit(limit)
        )
        return [(name, environment) for name, environment in self.connection.execute(query)]
