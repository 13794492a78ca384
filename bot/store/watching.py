"""What discoveries show beside the date that counts, and nobody was told of: leftovers, and expiries moved by hand."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Select, String, and_, exists, literal, or_, select, text

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
        is complete: what was renewed in place is none. Each is told once of a tier, whatever becomes of its expiry.
        """
        found = self.connection.execute(_leftovers(tier, self.now, self.now + within, limit))
        return [Leftover(*row) for row in found]

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


def _leftovers(tier: str, after: datetime, before: datetime, limit: int) -> Select[Any]:
    """From the few credentials that have several valid versions to those versions."""
    same = and_(_C.place == _F.place, _C.environment == _F.environment)
    newer = FOUND.alias().c
    unlisted = exists().where(newer.discovery == _F.discovery, newer.place == _F.place, newer.round > _F.round)
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
    told = exists().where(
        REMINDER.c.credential == _C.name,
        REMINDER.c.environment == _C.environment,
        REMINDER.c.tier == literal(f"{tier} ", String) + _F.version,
    )
    columns = (_C.name, _C.environment, _F.version, _F.expires_at, _C.version)
    query = select(*columns).join_from(CREDENTIAL, FOUND, same).distinct().order_by(_F.expires_at).limit(limit)
    return query.where(
        text("credential.place <> '' AND credential.versions > 1 AND credential.removed_at IS NULL"),
        _C.gone_at.is_(None),
        _F.version != _C.version,
        _F.expires_at > after,
        _F.expires_at <= before,
        or_(_C.expires_at.is_(None), _F.expires_at < _C.expires_at),
        ~rotating,
        ~overlapping,
        ~unlisted,
        ~told,
    )
