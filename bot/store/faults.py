"""Database errors in keyturn's words: one sentence, what to do, and never a parameter of the statement."""

from __future__ import annotations

import sqlite3
from datetime import timedelta

from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from bot.core.errors import Ambiguous, KeyturnError, Permanent, Transient

_SOON = timedelta(seconds=2)
_FULL = Permanent(
    "The database has no space left, so nothing was done.",
    "Free space on its disk; keyturn goes on by itself as soon as it can write again.",
)
_READ_ONLY = Permanent(
    "The database cannot be written to, so nothing was done.",
    "Give keyturn's user write access to the database file and to its folder (SQLite keeps its journal beside it).",
)
_NO_FILE = Permanent(
    "The database file cannot be opened.",
    "Check that the folder in KEYTURN_DATABASE_URL exists and that keyturn's user may write to it.",
)
_BROKEN = Permanent(
    "The database file is damaged or is not a database.",
    "Stop keyturn, keep a copy of the file, and restore the last backup.",
)
_SQLITE = {
    sqlite3.SQLITE_FULL: _FULL,
    sqlite3.SQLITE_READONLY: _READ_ONLY,
    sqlite3.SQLITE_PERM: _READ_ONLY,
    sqlite3.SQLITE_CANTOPEN: _NO_FILE,
    sqlite3.SQLITE_CORRUPT: _BROKEN,
    sqlite3.SQLITE_NOTADB: _BROKEN,
}
_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_NOMEM})
_AGAIN = ("08", "40", "53", "55", "57", "25P03")
"""Classes of PostgreSQL's codes that pass: connection, deadlock, resources, locks, shutdown, idle too long."""
_STATES = {
    "53100": _FULL,
    "25006": Permanent(
        "The PostgreSQL server is read-only, so nothing was done.",
        "Point KEYTURN_DATABASE_URL at the primary server; a standby cannot be used.",
    ),
    "28P01": Permanent("PostgreSQL refused the password.", "Check the user and password in KEYTURN_DATABASE_URL."),
    "28000": Permanent("PostgreSQL refused the login.", "Check pg_hba.conf and the user in KEYTURN_DATABASE_URL."),
    "3D000": Permanent("The PostgreSQL database does not exist.", "Create it, or correct KEYTURN_DATABASE_URL."),
    "42501": Permanent(
        "PostgreSQL does not let keyturn's user do this.", "Grant the user all rights on keyturn's own tables."
    ),
}


def explain(error: BaseException, committing: bool = False) -> KeyturnError:
    """The error to raise instead; raise it `from None`, so that the original's parameters stay out of tracebacks.

    `committing` says that the connection broke while the commit was under way: nobody knows whether it is stored.
    """
    if isinstance(error, KeyturnError):
        return error
    if isinstance(error, PoolTimeout):
        return Transient("All connections to the database are in use; try again in a moment.", _SOON)
    original = error.orig if isinstance(error, DBAPIError) else error
    lost = isinstance(error, DBAPIError) and error.connection_invalidated
    if committing and (lost or _is_lost(original)):
        return Ambiguous(
            "The connection to the database broke while saving.", "look the change up by its key before repeating it"
        )
    if isinstance(original, sqlite3.Error):
        return _explain_sqlite(original)
    state = getattr(original, "sqlstate", None)
    if state is None:
        text = str(original)
        if "password authentication failed" in text or "no password supplied" in text:
            return _copy(_STATES["28P01"])
        if "does not exist" in text and "database" in text:
            return _copy(_STATES["3D000"])
        if lost or _is_lost(original):
            return Transient("The database cannot be reached; nothing was stored.", _SOON)
        return Permanent(f"The database failed ({type(original).__name__}).", "Look at the server's log.")
    if state in _STATES:
        return _copy(_STATES[state])
    if str(state).startswith(_AGAIN):
        return Transient(f"The database could not do it just now ({state}); nothing was stored.", _SOON)
    return Permanent(f"The database refused a statement (SQLSTATE {state}).", "Look at the server's log.")


def _explain_sqlite(error: sqlite3.Error) -> KeyturnError:
    code = getattr(error, "sqlite_errorcode", None)
    primary = code & 0xFF if isinstance(code, int) else None
    if primary in _SQLITE:
        return _copy(_SQLITE[primary])
    if primary in _BUSY:
        name = getattr(error, "sqlite_errorname", "busy")
        return Transient(f"The database could not do it just now ({name}); nothing was stored.", _SOON)
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    return Permanent(f"The database refused a statement ({name}).", "Run `keyturn doctor`.")


def _is_lost(error: BaseException | None) -> bool:
    return type(error).__name__ in {"OperationalError", "InterfaceError"} and not isinstance(error, sqlite3.Error)


def _copy(error: Permanent) -> Permanent:
    return Permanent(str(error), error.hint)


DATABASE_ERRORS = (SQLAlchemyError, sqlite3.Error)
"""What `explain` translates; psycopg's own errors arrive wrapped in SQLAlchemy's."""
