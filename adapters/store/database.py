"""Open the one database, SQLite beside the service or PostgreSQL by URL, and bring its tables up to date."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy.engine import URL, Connection, Engine
from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor

from adapters.store.sealing import Seal
from engine.errors import RuleWardError

__all__ = ["StoreError", "downgrade", "open_database", "upgrade", "writing"]

_LOG: Final = logging.getLogger(__name__)
_IMMEDIATE: Final = "ruleward_immediate"
# Any fixed number will do, as long as no other program locks the same one in this database.
_MIGRATION_LOCK: Final = 0x52756C6557617264


class StoreError(RuleWardError):
    """The database cannot be used as it is: which one, what is wrong, how to mend it."""


def open_database(url: str, *, patience: float) -> Engine:
    """Return an engine for ``url``; nothing is connected yet.

    ``sqlite:////var/lib/ruleward/ruleward.db`` (folder made when absent) or ``postgresql://user@host/name``.
    ``patience`` is how many seconds a lock or a connection is waited for. One engine a process: open it
    after the fork. Raises ``StoreError`` for a URL that cannot keep decisions.
    """
    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError as error:
        raise StoreError(
            "The database URL cannot be read. Write sqlite:////path or postgresql://…"
        ) from error
    match parsed.get_backend_name():
        case "sqlite":
            return _open_sqlite(parsed, patience)
        case "postgresql" | "postgres":
            return _open_postgresql(parsed, patience)
        case other:
            raise StoreError(f"{other} is not a database we know. Write sqlite:////path or postgresql://…")


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """Give a connection inside a transaction that may write, committed at the end.

    SQLite takes its write lock at the start: one that is asked for half way fails at once when
    another process has written meanwhile, however long we would have waited.
    """
    with engine.connect() as connection:
        connection.execution_options(**{_IMMEDIATE: True})
        with connection.begin():
            yield connection


def upgrade(engine: Engine, revision: str = "head") -> None:
    """Bring the tables up to ``revision``; safe when several workers start at once.

    Raises ``StoreError`` when the database was made by a newer RuleWard.
    """
    if engine.dialect.name == "sqlite":
        _settle(engine)
    with _migrating(engine) as config:
        command.upgrade(config, revision)


def downgrade(engine: Engine, revision: str, seal: Seal | None = None) -> None:
    """Take the tables back to ``revision`` (``base`` drops all of them).

    What is sealed is opened where the older tables cannot hold it so: then ``seal`` is needed.
    """
    with _migrating(engine) as config:
        config.attributes["seal"] = seal
        command.downgrade(config, revision)


@contextmanager
def _migrating(engine: Engine) -> Iterator[Config]:
    """Hold the migration lock and one transaction around what alembic does."""
    config = Config()
    config.set_main_option("script_location", "adapters.store:migrations")
    config.set_main_option("path_separator", "os")
    with writing(engine) as connection:
        if engine.dialect.name == "postgresql":
            # Whoever waits here waits for another worker's migration, which may take its time.
            connection.execute(sa.text("SET LOCAL lock_timeout = 0"))
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
        config.attributes["connection"] = connection
        try:
            yield config
        except CommandError as error:
            place = engine.url.render_as_string(hide_password=True)
            raise StoreError(
                f"{place}: {error}. Its tables belong to another RuleWard: run that one, or restore a backup."
            ) from error


def _open_sqlite(url: URL, patience: float) -> Engine:
    """Return an engine whose connections use WAL and sync on every commit."""
    if url.database in (None, "", ":memory:") or "mode" in url.query:
        raise StoreError("sqlite needs a file: decisions in memory are lost. Write sqlite:////path.")
    Path(str(url.database)).expanduser().parent.mkdir(parents=True, exist_ok=True)
    engine = sa.create_engine(
        url.set(drivername="sqlite+pysqlite", database=str(Path(str(url.database)).expanduser())),
        connect_args={"timeout": patience, "check_same_thread": False},
    )

    def prepare(connection: DBAPIConnection, _record: object) -> None:
        # We begin and commit in so many words: sqlite3's own implicit BEGIN is never IMMEDIATE.
        connection.isolation_level = None
        cursor = connection.cursor()
        _use_wal(cursor, patience)
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()

    def begin(connection: Connection) -> None:
        immediate = connection.get_execution_options().get(_IMMEDIATE, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")

    sa.event.listen(engine, "connect", prepare)
    sa.event.listen(engine, "begin", begin)
    return engine


def _use_wal(cursor: DBAPICursor, patience: float) -> None:
    """Switch to write-ahead logging; SQLite does not wait by itself when several switch at once."""
    give_up = time.monotonic() + patience
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except Exception as error:
            if "locked" not in str(error) or time.monotonic() > give_up:
                raise
            time.sleep(0.01)
            continue
        row = cursor.fetchone()
        if row is None or row[0] != "wal":
            raise StoreError("This file system cannot hold SQLite's write-ahead log. Use a local disk.")
        return


def _settle(engine: Engine) -> None:
    """Copy what an earlier process left in the write-ahead log into the database file, synced.

    After a failed fsync the log's pages may be in memory only: a commit laid on top of them would be
    acknowledged, then cut off with them by a power loss. Other workers may be reading: then they hold it.
    """
    with engine.connect() as connection:
        raw = connection.connection.cursor()
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        row = raw.fetchone()
        raw.close()
        if row is not None and row[0]:
            _LOG.debug("the write-ahead log is in use by another process and stays as it is")


def _open_postgresql(url: URL, patience: float) -> Engine:
    """Return an engine for psycopg 3 whose connections notice a dead server within ``patience``."""
    milliseconds = max(1, int(patience * 1000))
    arguments: dict[str, Any] = {
        "connect_timeout": max(2, round(patience)),  # libpq knows nothing shorter than 2 s
        "tcp_user_timeout": milliseconds,
        "keepalives_idle": max(1, round(patience)),
        "keepalives_interval": 1,
        "keepalives_count": 3,
        "application_name": "ruleward",
    }
    engine = sa.create_engine(
        url.set(drivername="postgresql+psycopg"),
        connect_args={name: value for name, value in arguments.items() if name not in url.query},
        pool_pre_ping=True,
        pool_timeout=patience,
    )

    def prepare(connection: DBAPIConnection, _record: object) -> None:
        cursor = connection.cursor()
        # A lock, not a statement timeout: that one would also end a commit's wait for a replica, silently.
        cursor.execute(f"SET lock_timeout = {milliseconds}")
        cursor.execute("SELECT current_setting('synchronous_commit'), current_setting('fsync')")
        row = cursor.fetchone()
        if row is not None and row[0] == "off":
            cursor.execute("SET synchronous_commit = on")
        if row is not None and row[1] == "off":
            _LOG.warning("PostgreSQL runs with fsync=off: a power loss can lose acknowledged decisions")
        cursor.close()
        connection.commit()

    sa.event.listen(engine, "connect", prepare)
    return engine
