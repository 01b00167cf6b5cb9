"""Say how the two databases differ: how they begin, and what their errors mean for what was being written."""

from __future__ import annotations

import datetime as dt
import enum
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import psycopg
from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor

__all__ = ["POSTGRESQL", "SQLITE", "Backend", "Fault", "backend_of"]


_LOCK_POLL: Final = 0.0005  # seconds


class Fault(enum.Enum):
    """What an error says about the rows that were being written."""

    ROW = "one of the rows cannot be stored: the others can"
    REFUSED = "nothing was written"
    LOST = "unknown: the connection went away, perhaps after the commit"
    BROKEN = "unknown, and nothing that this process writes from now on can be trusted"


@dataclass(frozen=True)
class Backend:
    """One database as the writer sees it."""

    mark: str  # placeholder of a parameter
    begin: Callable[[DBAPICursor, float], None]  # waits for the write lock at most so many seconds
    prepare: Callable[[DBAPIConnection], None]
    moment: Callable[[dt.datetime], object]  # a time as the driver takes it, as tables.Moment stores it
    fault: Callable[[Exception], Fault]


def backend_of(name: str) -> Backend:
    """Return the backend by SQLAlchemy's name for its dialect."""
    return {"sqlite": SQLITE, "postgresql": POSTGRESQL}[name]


# What Python raises by itself while it binds a value: a lone surrogate, a number of over 64 bits.
_BINDING: Final = (ValueError, TypeError, OverflowError)

_SQLITE_BINDING: Final = (
    *_BINDING,
    sqlite3.InterfaceError,
    sqlite3.DataError,
    sqlite3.ProgrammingError,
)
_SQLITE_ROW: Final = frozenset({sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG})
# After a failed write or fsync the kernel may forget the dirty pages and report success the next time.
_SQLITE_BROKEN: Final = frozenset({sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


def _sqlite_fault(error: Exception) -> Fault:
    """Read SQLite's primary result code; busy, full, read-only and the like left nothing behind."""
    if isinstance(error, _SQLITE_BINDING):
        return Fault.ROW
    code = getattr(error, "sqlite_errorcode", None)
    if isinstance(code, int) and code & 0xFF in _SQLITE_BROKEN:
        return Fault.BROKEN
    if isinstance(code, int) and code & 0xFF in _SQLITE_ROW:
        return Fault.ROW
    return Fault.REFUSED


def _sqlite_moment(at: dt.datetime) -> str:
    return at.astimezone(dt.UTC).replace(tzinfo=None).isoformat(" ", "microseconds")


# Connection failures, and a server that shuts down, crashed or starts up.
_PG_LOST: Final = ("08", "57P01", "57P02", "57P03", "25006")
# Serialization failure and deadlock: nothing was written, and the same again will do.
_PG_AGAIN: Final = ("40001", "40P01")
_PG_ROW: Final = ("22", "23", "54")


def _postgresql_fault(error: Exception) -> Fault:
    """Read the SQLSTATE; without one it is the connection that failed.

    There is no BROKEN here: a PostgreSQL that cannot fsync its log stops itself, and we see a lost
    connection; an I/O error that it reports aborted the transaction cleanly.
    """
    if isinstance(error, _BINDING):
        return Fault.ROW
    if not isinstance(error, psycopg.Error):
        return Fault.REFUSED
    state = error.sqlstate or ""
    if state.startswith(_PG_LOST + _PG_AGAIN):
        return Fault.LOST
    if state.startswith(_PG_ROW):
        return Fault.ROW
    if not state and isinstance(
        error, psycopg.DataError | psycopg.ProgrammingError | psycopg.NotSupportedError
    ):
        return Fault.ROW
    if not state and isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return Fault.LOST
    return Fault.REFUSED


def _begin_in_words(connection: DBAPIConnection) -> None:
    """Leave BEGIN and COMMIT to us."""
    connection.autocommit = True


def _begin(cursor: DBAPICursor, _patience: float) -> None:
    """Begin; PostgreSQL waits for locks row by row, as lock_timeout says."""
    cursor.execute("BEGIN", ())


def _ask_ourselves(connection: DBAPIConnection) -> None:
    """Let a held lock be reported at once."""
    cursor = connection.cursor()
    cursor.execute("PRAGMA busy_timeout=0")
    cursor.close()


def _begin_immediate(cursor: DBAPICursor, patience: float) -> None:
    """Take the write lock, asking every half millisecond.

    SQLite's own waiting backs off to 100 ms a time: with two workers the slowest hundredth of the commits
    took 61 ms that way and 37 ms this way.
    """
    give_up = time.monotonic() + patience
    while True:
        try:
            cursor.execute("BEGIN IMMEDIATE", ())
        except sqlite3.OperationalError as error:
            busy = getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY
            if not busy or time.monotonic() > give_up:
                raise
            time.sleep(_LOCK_POLL)
        else:
            return


SQLITE: Final = Backend("?", _begin_immediate, _ask_ourselves, _sqlite_moment, _sqlite_fault)
POSTGRESQL: Final = Backend(
    "%s", _begin, _begin_in_words, lambda at: at.astimezone(dt.UTC), _postgresql_fault
)
