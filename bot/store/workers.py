"""Worker processes: heartbeats by the database's own clock, and who counts as dead."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import delete, select, update

from bot.store.session import Writing, upsert
from bot.store.tables import WORKER

_KEPT = timedelta(days=30)


class WorkerWriter(Writing):
    """Keeping the list of workers."""

    def heartbeat(self, worker: str) -> bool:
        """Say that this worker lives; send the first one before any step is begun.

        False when others have declared it dead: it must stop at once, its work is being taken over.
        """
        alive = update(WORKER).where(WORKER.c.id == worker, WORKER.c.dead_at.is_(None))
        if self.connection.execute(alive.values(seen_at=self.database_now)).rowcount:
            return True
        statement = upsert(WORKER, self.connection).on_conflict_do_nothing(index_elements=[WORKER.c.id])
        row = {"id": worker, "started_at": self.database_now, "seen_at": self.database_now}
        return self.connection.execute(statement.returning(WORKER.c.id), row).first() is not None

    def is_dead(self, worker: str) -> bool:
        """Whether others have declared this worker dead; then it begins nothing any more."""
        query = select(WORKER.c.id).where(WORKER.c.id == worker, WORKER.c.dead_at.is_not(None))
        return self.connection.execute(query).first() is not None

    def mark_dead(self, older_than: timedelta) -> list[str]:
        """Declare workers dead that were not seen for so long, and say which; each one is named to one caller only."""
        statement = update(WORKER).where(WORKER.c.dead_at.is_(None), WORKER.c.seen_at < self.database_now - older_than)
        self.connection.execute(delete(WORKER).where(WORKER.c.dead_at < self.database_now - _KEPT))
        rows = self.connection.execute(statement.values(dead_at=self.database_now).returning(WORKER.c.id))
        return sorted(rows.scalars())

    def mark_others_dead(self, worker: str) -> list[str]:
        """Declare all others dead; for SQLite, where holding the file lock proves it."""
        statement = update(WORKER).where(WORKER.c.dead_at.is_(None), WORKER.c.id != worker)
        rows = self.connection.execute(statement.values(dead_at=self.database_now).returning(WORKER.c.id))
        return sorted(rows.scalars())

    def leave(self, worker: str) -> None:
        """The worker stops in good order; what it still runs is picked up by others at once."""
        statement = update(WORKER).where(WORKER.c.id == worker, WORKER.c.dead_at.is_(None))
        self.connection.execute(statement.values(dead_at=self.database_now))
