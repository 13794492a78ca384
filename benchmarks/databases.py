"""Fresh, migrated databases of both kinds."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bot.store.database import Database
from tests import postgres

NO_POSTGRES = "PostgreSQL's binaries are not installed: nothing was measured on it"
NAMES = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}


@contextmanager
def fresh() -> Iterator[dict[str, str]]:
    """Kind -> URL; without PostgreSQL's where its binaries are not installed."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="keyturn-bench-")))
        urls = {"sqlite": f"sqlite:///{folder / 'keyturn.db'}"}
        if postgres.found():
            urls["postgresql"] = stack.enter_context(postgres.shared(folder)).create("benchmark")
        database = Database.open(urls["sqlite"])
        database.migrate()
        database.close()
        yield urls
